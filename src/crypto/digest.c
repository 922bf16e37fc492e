/*
 * digest.c: SHA-256 and what is made of it.
 */
#include "crypto/digest.h"

#include "base/encode.h"

#include <sodium.h>

#include <string.h>

Digest digest_of(Bytes bytes)
{
    Digest digest;
    crypto_hash_sha256(digest.b, bytes.ptr, bytes.len);
    return digest;
}

Digest digest_of_two(Bytes a, Bytes b)
{
    Digest digest;
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, a.ptr, a.len);
    crypto_hash_sha256_update(&state, b.ptr, b.len);
    crypto_hash_sha256_final(&state, digest.b);
    sodium_memzero(&state, sizeof(state));
    return digest;
}

bool digest_eq(Digest a, Digest b)
{
    return sodium_memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

bool digest_is_zero(Digest d)
{
    return sodium_is_zero(d.b, sizeof(d.b));
}

Bytes digest_bytes(const Digest *d)
{
    return BYTES_OF(d->b);
}

Str digest_text(Arena *arena, Digest d)
{
    return base64url_encode(arena, BYTES_OF(d.b));
}

Err digest_parse(Str text, Digest *ret_digest)
{
    Digest digest;
    if (base64url_decode_into(text, digest.b, sizeof(digest.b)).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "bad-digest", "A digest is 43 characters of base64url.");
    *ret_digest = digest;
    return OK;
}

/* libsodium declares some pointers never to be null, even of nothing. */
static const uint8_t *address_of(Bytes bytes)
{
    static const uint8_t nothing[1];
    return bytes.ptr == NULL ? nothing : bytes.ptr;
}

Digest hmac_sha256(Bytes key, Bytes message)
{
    Digest digest;
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, address_of(key), key.len);
    crypto_auth_hmacsha256_update(&state, address_of(message), message.len);
    crypto_auth_hmacsha256_final(&state, digest.b);
    sodium_memzero(&state, sizeof(state));
    return digest;
}

/* RFC 5869, 2.2: an absent salt is 32 zero bytes, which HMAC's padding makes the same as an empty one. */
void hkdf_extract(Bytes ikm, Bytes salt, HkdfKey *ret_prk)
{
    ret_prk->prk = hmac_sha256(salt, ikm);
}

/* RFC 5869, 2.3: T(i) = HMAC(PRK, T(i-1) | info | i). */
void hkdf_expand(const HkdfKey *prk, Bytes info, uint8_t *okm, size_t okm_len)
{
    if (okm_len > 255 * sizeof(Digest))
        die("HKDF cannot give %zu bytes", okm_len);
    Digest block = { 0 };
    size_t block_len = 0, done = 0;
    crypto_auth_hmacsha256_state state;
    for (uint8_t counter = 1; done < okm_len; counter++) {
        crypto_auth_hmacsha256_init(&state, prk->prk.b, sizeof(prk->prk.b));
        crypto_auth_hmacsha256_update(&state, block.b, block_len);
        crypto_auth_hmacsha256_update(&state, address_of(info), info.len);
        crypto_auth_hmacsha256_update(&state, &counter, 1);
        crypto_auth_hmacsha256_final(&state, block.b);
        block_len = sizeof(block.b);
        size_t take = okm_len - done < block_len ? okm_len - done : block_len;
        memcpy(okm + done, block.b, take);
        done += take;
    }
    sodium_memzero(&state, sizeof(state));
    sodium_memzero(&block, sizeof(block));
}

void hkdf_sha256(Bytes ikm, Bytes salt, Bytes info, uint8_t *okm, size_t okm_len)
{
    HkdfKey prk;
    hkdf_extract(ikm, salt, &prk);
    hkdf_expand(&prk, info, okm, okm_len);
    sodium_memzero(&prk, sizeof(prk));
}
