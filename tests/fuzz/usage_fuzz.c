/* Any bytes as usage of any dialect: no crash, no negative quantity, Σ token meters + residual = the stated total. */
#include "usage/normalise.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const dialects[] = { "openai", "anthropic", "gemini", "bedrock", "deepseek", "cohere" };
    if (size == 0)
        return 0;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str dialect = str_from_c(dialects[data[0] % 6]);
    Str raw = str_n((const char *)data + 1, size - 1);
    UsageReading reading, again;
    if (usage_normalise(arena, dialect, STR(""), false, raw, &reading).kind != ERR_NONE)
        return 0;
    assert(reading.count >= 1 && reading.count <= USAGE_ITERATIONS_MAX + 1);
    for (size_t i = 0; i < reading.count; i++)
        for (Meter m = METER_NONE + 1; m < METER_COUNT; m++)
            assert(!usage_unit_has(&reading.units[i], m) || reading.units[i].quantity[m] >= 0);
    assert(usage_normalise(arena, dialect, STR(""), true, raw, &again).kind == ERR_NONE);
    assert(again.count == reading.count && again.flags == reading.flags && again.residual == reading.residual);
    return 0;
}
