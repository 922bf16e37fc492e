/* Strangers' bytes as a shard: parsed or refused, and what is parsed survives being built again. */
#include "snapshot/shard.h"

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
    int number = size > 0 ? data[0] : 0;
    Shard first, second;
    Err err = shard_parse(arena, str_skip(text, 1), number, &first);
    if (err.kind != ERR_NONE)
        return 0;
    Str built = shard_build(arena, &first);
    err = shard_parse(arena, built, number, &second);
    assert(err.kind == ERR_NONE && first.count == second.count);
    return 0;
}
