/*
 * digest.h: SHA-256, HMAC-SHA256, HKDF-SHA256 (RFC 5869), as values.
 */
#ifndef CRYPTO_DIGEST_H
#define CRYPTO_DIGEST_H

#include "crypto/secret.h"

typedef struct Digest {
    uint8_t b[32];
} Digest;

#define DIGEST_TEXT_LEN 43 /* base64url */

Digest digest_of(Bytes bytes);
Digest digest_of_two(Bytes a, Bytes b); /* of a followed by b */
bool digest_eq(Digest a, Digest b);     /* constant-time */
bool digest_is_zero(Digest d);
Bytes digest_bytes(const Digest *d);
Str digest_text(Arena *arena, Digest d); /* base64url */
CHECKED Err digest_parse(Str text, Digest *ret_digest);
Digest hmac_sha256(Bytes key, Bytes message);
/* HKDF extract and expand; okm_len at most 255 * 32. */
void hkdf_sha256(Bytes ikm, Bytes salt, Bytes info, uint8_t *okm, size_t okm_len);
/* The two halves, for many expansions of one key: whoever keeps an HkdfKey keeps it as it keeps a Secret. */
typedef struct HkdfKey {
    Digest prk;
} HkdfKey;
void hkdf_extract(Bytes ikm, Bytes salt, HkdfKey *ret_prk);
void hkdf_expand(const HkdfKey *prk, Bytes info, uint8_t *okm, size_t okm_len);

#endif
