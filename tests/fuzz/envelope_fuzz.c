/* Strangers' bytes as an envelope: never opened; and what is sealed from them opens to them. */
#include "crypto/envelope.h"

#include <assert.h>
#include <string.h>

static Secret key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crypto_start();
    key = secret_new(KEY_BYTES);
    memset(key.ptr, 7, key.len);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(secret_release) Secret plain = { 0 }, back = { 0 };
    const Bytes all = { .ptr = data, .len = size };
    const Context context = { .items = &all, .count = 1 };
    Bytes sealed;
    Uuid id;
    Err err = envelope_open(&key, (Context){ 0 }, all, &plain);
    assert(err.kind != ERR_NONE); /* nobody finds a commitment by chance */
    (void)!envelope_key_id(all, &id).kind;
    if (size > 1024)
        return 0;
    err = envelope_seal(arena, &key, (Uuid){ { 1 } }, context, all, &sealed);
    assert(err.kind == ERR_NONE);
    err = envelope_open(&key, context, sealed, &back);
    assert(err.kind == ERR_NONE && back.len == size && (size == 0 || memcmp(back.ptr, data, size) == 0));
    return 0;
}
