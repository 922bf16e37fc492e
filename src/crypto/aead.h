/*
 * aead.h: the primitives of the libraries below, one line each, so that test vectors meet exactly what the formats use.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include "crypto/jose.h"

#define GCM_NONCE_BYTES 12
#define GCM_TAG_BYTES 16
#define XCHACHA_NONCE_BYTES 24
#define XCHACHA_TAG_BYTES 16
#define ED25519_SIGNATURE_BYTES 64

/* out has the length of plain; tag has 16 bytes. */
void aes256gcm_seal(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes plain, uint8_t *out, uint8_t *tag);
/* False, and out wiped, when the tag does not hold. */
bool aes256gcm_open(
    const uint8_t *key, const uint8_t *nonce, Str aad, Bytes ciphertext, const uint8_t *tag, uint8_t *out);

/* The sealed bytes end in the tag. */
void xchacha_seal(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes plain, uint8_t *ret_sealed);
bool xchacha_open(const uint8_t *key, const uint8_t *nonce, Str aad, Bytes sealed, uint8_t *ret_plain);

void ed25519_sign(const KeyPair *pair, Str message, uint8_t *ret_signature);
/* Refuses S >= L, keys and R of small order or in another than their shortest form. */
bool ed25519_verify(const uint8_t *public_key, Str message, const uint8_t *signature);
/* False for points of small order. */
bool x25519_agree(const uint8_t *secret, const uint8_t *point, uint8_t *ret_shared);

#endif
