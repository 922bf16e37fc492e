/* Strangers' bytes as a bearer token, and as what a log may show of one. */
#include "crypto/token.h"

#include <assert.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crypto_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = bytes_str((Bytes){ .ptr = data, .len = size });
    if (token_check(STR("key"), text).kind == ERR_NONE) {
        assert(size <= TOKEN_LEN_MAX);
        assert(token_check(STR("svc"), text).kind != ERR_NONE);
    }
    assert(token_hint(arena, text).len <= 32);
    return 0;
}
