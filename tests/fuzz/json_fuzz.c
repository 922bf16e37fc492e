/* json_fuzz.c: what the first pass accepts, jansson parses or refuses within limits; what it parses round-trips. */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_start();
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(json_release) json_t *value = NULL, *again = NULL;
    if (json_parse(str_n((const char *)data, size), JSON_LIMITS_ADMIN, &value).kind != ERR_NONE)
        return 0;
    Str text = json_write(arena, value);
    JsonLimits wide = { .bytes_max = SIZE_MAX, .depth_max = 64, .tokens_max = SIZE_MAX };
    if (json_parse(text, wide, &again).kind != ERR_NONE || json_equal(value, again) == 0)
        die("a document did not survive its own writing");
    return 0;
}
