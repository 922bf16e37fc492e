/* Strangers' bytes as a routing: parsed or refused, and what is parsed survives being built again. */
#include "snapshot/object.h"

#include "base/json.h"

#include <assert.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crypto_start();
    json_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = bytes_str((Bytes){ .ptr = data, .len = size });
    Routing first, second;
    Err err = routing_parse(arena, text, &first);
    if (err.kind != ERR_NONE)
        return 0;
    Str built = routing_build(arena, &first);
    err = routing_parse(arena, built, &second);
    assert(err.kind == ERR_NONE && str_eq(built, routing_build(arena, &second)));
    return 0;
}
