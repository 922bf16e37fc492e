/* Strangers' bytes as a keyring: parsed or refused, and what is parsed survives being built again. */
#include "snapshot/keyring.h"

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
    Keyring first, second;
    Err err = keyring_parse(arena, text, &first);
    if (err.kind != ERR_NONE)
        return 0;
    Str built = keyring_build(arena, &first);
    err = keyring_parse(arena, built, &second);
    assert(err.kind == ERR_NONE && str_eq(built, keyring_build(arena, &second)));
    return 0;
}
