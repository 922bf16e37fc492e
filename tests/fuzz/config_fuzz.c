/* config_fuzz.c: YAML text becomes JSON or a named refusal; what was read, written as YAML, reads back the same. */
#include "base/config.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_start();
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(json_release) json_t *value = NULL, *again = NULL;
    if (yaml_parse(arena, STR("fuzz"), str_n((const char *)data, size), &value).kind != ERR_NONE)
        return 0;
    Str text = yaml_write(arena, value);
    if (text.len > CONFIG_BYTES_MAX)
        return 0;
    Err err = yaml_parse(arena, STR("again"), text, &again);
    if (err.kind != ERR_NONE || json_equal(value, again) == 0)
        die("YAML did not survive its own writing: " STR_FMT, STR_ARG(err.detail));
    return 0;
}
