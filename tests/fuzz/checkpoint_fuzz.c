/* Strangers' bytes as a signed checkpoint: what verifies says what it signs. */
#include "crypto/merkle.h"

#include <assert.h>
#include <string.h>

static KeyPair signer;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crypto_start();
    Secret seed = secret_new(32);
    memset(seed.ptr, 7, seed.len);
    signer = ed25519_from_seed(&seed);
    secret_release(&seed);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = bytes_str((Bytes){ .ptr = data, .len = size });
    Checkpoint out;
    KeySet keys = { &signer.public_key, 1 };
    if (checkpoint_verify(arena, text, STR("reeve/ins_1"), keys, &out).kind == ERR_NONE)
        assert(str_starts_with(text, checkpoint_text(arena, &out)));
    return 0;
}
