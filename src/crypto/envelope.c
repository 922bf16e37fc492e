/*
 * envelope.c: committing XChaCha20-Poly1305.
 *
 * From the key, the nonce and the associated data one keyed BLAKE2b gives 64 bytes: the first half encrypts, the second
 * half is stored as the commitment. The commitment is compared before a byte is decrypted, so a ciphertext opens under
 * one key and one context only (XChaCha20-Poly1305 alone does not promise that).
 */
#include "crypto/envelope.h"

#include "aead.h"
#include "base/buf.h"

#include <sodium.h>

#include <string.h>

#define FORMAT_VERSION 1
#define ALGORITHM_XCHACHA20_COMMITTING 1
#define KEY_ID_AT 2
#define NONCE_AT 18
#define NONCE_BYTES XCHACHA_NONCE_BYTES
#define COMMITMENT_AT (NONCE_AT + NONCE_BYTES)
#define COMMITMENT_BYTES 32
#define CIPHERTEXT_AT (COMMITMENT_AT + COMMITMENT_BYTES)
#define TAG_BYTES XCHACHA_TAG_BYTES
#define CONTEXT_BYTES_MAX (16 * 1024)

_Static_assert(CIPHERTEXT_AT + TAG_BYTES == ENVELOPE_OVERHEAD, "the overhead is what the format adds");

static const char derive_label[] = "reeve-envelope-1";

typedef struct Derived {
    uint8_t encryption[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    uint8_t commitment[COMMITMENT_BYTES];
} Derived;

static void derived_release(Derived *derived)
{
    sodium_memzero(derived, sizeof(*derived));
}

/* version | algorithm | key id | count(4) | for each item: length(8), bytes */
static Err context_encode(const uint8_t *head, Context context, Buf *out)
{
    buf_add_bytes(out, head, NONCE_AT);
    buf_u32(out, (uint32_t)context.count);
    for (size_t i = 0; i < context.count; i++) {
        buf_u64(out, context.items[i].len);
        buf_add_bytes(out, context.items[i].ptr, context.items[i].len);
    }
    if (buf_overflowed(out))
        return FAIL(ERR_INVALID, "context-too-large", "The context of an envelope is too large.");
    return OK;
}

static void derive(const Secret *key, const uint8_t *nonce, Str aad, Derived *ret_derived)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, key->ptr, key->len, sizeof(Derived));
    crypto_generichash_update(&state, (const uint8_t *)derive_label, sizeof(derive_label));
    crypto_generichash_update(&state, nonce, NONCE_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)aad.ptr, aad.len);
    crypto_generichash_final(&state, (uint8_t *)ret_derived, sizeof(*ret_derived));
    sodium_memzero(&state, sizeof(state));
}

_Static_assert(sizeof(Derived) == crypto_generichash_BYTES_MAX, "one BLAKE2b gives both halves");

Err envelope_seal(Arena *arena, const Secret *key, Uuid key_id, Context context, Bytes plain, Bytes *ret_sealed)
{
    if (key->len != KEY_BYTES)
        die("an envelope's key has %zu bytes", key->len);
    if (plain.len > ENVELOPE_PLAIN_MAX)
        return FAIL(ERR_TOO_LARGE, "envelope-too-large", "More than 64 KiB cannot be sealed at once.");
    uint8_t *out = arena_alloc(arena, ENVELOPE_OVERHEAD + plain.len, 1);
    out[0] = FORMAT_VERSION;
    out[1] = ALGORITHM_XCHACHA20_COMMITTING;
    memcpy(out + KEY_ID_AT, key_id.b, sizeof(key_id.b));
    random_bytes(out + NONCE_AT, NONCE_BYTES);

    _cleanup_(buf_release) Buf aad = buf_new(CONTEXT_BYTES_MAX);
    TRY(context_encode(out, context, &aad));
    _cleanup_(derived_release) Derived derived;
    derive(key, out + NONCE_AT, buf_str(&aad), &derived);
    memcpy(out + COMMITMENT_AT, derived.commitment, COMMITMENT_BYTES);
    xchacha_seal(derived.encryption, out + NONCE_AT, buf_str(&aad), plain, out + CIPHERTEXT_AT);
    *ret_sealed = (Bytes){ .ptr = out, .len = ENVELOPE_OVERHEAD + plain.len };
    return OK;
}

static bool envelope_shape_is_known(Bytes sealed)
{
    return sealed.len >= ENVELOPE_OVERHEAD && sealed.len <= ENVELOPE_OVERHEAD + ENVELOPE_PLAIN_MAX &&
           sealed.ptr[0] == FORMAT_VERSION && sealed.ptr[1] == ALGORITHM_XCHACHA20_COMMITTING;
}

Err envelope_open(const Secret *key, Context context, Bytes sealed, Secret *ret_plain)
{
    const Err cannot_open = FAIL(ERR_SEALED, "cannot-open", "The envelope cannot be opened.");
    if (key->len != KEY_BYTES || !envelope_shape_is_known(sealed))
        return cannot_open;
    _cleanup_(buf_release) Buf aad = buf_new(CONTEXT_BYTES_MAX);
    TRY(context_encode(sealed.ptr, context, &aad));
    _cleanup_(derived_release) Derived derived;
    derive(key, sealed.ptr + NONCE_AT, buf_str(&aad), &derived);
    if (sodium_memcmp(sealed.ptr + COMMITMENT_AT, derived.commitment, COMMITMENT_BYTES) != 0)
        return cannot_open;
    _cleanup_(secret_release) Secret plain = secret_new(sealed.len - ENVELOPE_OVERHEAD);
    const Bytes body = { .ptr = sealed.ptr + CIPHERTEXT_AT, .len = sealed.len - CIPHERTEXT_AT };
    if (!xchacha_open(derived.encryption, sealed.ptr + NONCE_AT, buf_str(&aad), body, plain.ptr))
        return cannot_open;
    *ret_plain = TAKE(plain);
    return OK;
}

Err envelope_key_id(Bytes sealed, Uuid *ret_key_id)
{
    if (!envelope_shape_is_known(sealed))
        return FAIL(ERR_SEALED, "cannot-open", "The envelope is of no known format.");
    memcpy(ret_key_id->b, sealed.ptr + KEY_ID_AT, sizeof(ret_key_id->b));
    return OK;
}
