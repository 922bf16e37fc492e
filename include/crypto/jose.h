/*
 * jose.h: the exact JOSE shapes Reeve speaks, and nothing else.
 *
 * - JWS compact, EdDSA (RFC 7515, 8037), header members: alg, kid, typ; jwk, jku, x5c, crit and all else is refused
 * - JWS general JSON, EdDSA, many signatures (root documents)
 * - JWE compact dir + A256GCM (a secret for a gateway), header: alg, enc, typ, and the bound members of the caller
 * - JWE compact ECDH-ES + A256GCM, X25519 (keyring, intake), header: alg, enc, epk, kid, typ, and the bound members
 * - JWK OKP Ed25519 and X25519; key ids are RFC 7638 thumbprints (SHA-256, base64url)
 *
 * Verification never asks the token which algorithm or key to trust: the caller passes the keys of one role and the
 * typ. Errors: "jose-malformed", "jose-algorithm", "jose-type", "jose-key-unknown", "jose-signature", "cannot-open".
 */
#ifndef CRYPTO_JOSE_H
#define CRYPTO_JOSE_H

#include "crypto/digest.h"

#include <jansson.h>

#define JWS_BYTES_MAX (4 * 1024 * 1024)
#define KID_LEN 43

typedef struct PublicKey { /* Ed25519 or X25519 */
    uint8_t b[32];
    char kid[KID_LEN + 1];
} PublicKey;

typedef struct KeyPair {
    PublicKey public_key;
    Secret secret; /* Ed25519: 64 bytes (libsodium's form); X25519: 32 */
} KeyPair;

typedef struct KeySet {
    const PublicKey *items;
    size_t count;
} KeySet;

KeyPair ed25519_new(void);
KeyPair x25519_new(void);
KeyPair ed25519_from_seed(const Secret *seed); /* 32 bytes, "d" of the private JWK */
void keypair_release(KeyPair *pair);
json_t *ed25519_jwk(const PublicKey *key); /* {"kty":"OKP","crv":"Ed25519","x":…,"kid":…} */
json_t *x25519_jwk(const PublicKey *key);
CHECKED Err ed25519_from_jwk(
    const json_t *jwk, PublicKey *ret_key); /* kid is recomputed; a given one must match; small-order points refused */
CHECKED Err x25519_from_jwk(const json_t *jwk, PublicKey *ret_key);
/* Private JWK text ("d") for files that hold a key at rest; the Secret holds the text. */
CHECKED Err ed25519_private_jwk(const KeyPair *pair, Secret *ret_text);
CHECKED Err ed25519_from_private_jwk(Bytes text, KeyPair *ret_pair);
CHECKED Err x25519_private_jwk(const KeyPair *pair, Secret *ret_text);
CHECKED Err x25519_from_private_jwk(Bytes text, KeyPair *ret_pair);

Str jws_sign(Arena *arena, const KeyPair *pair, Str typ, Str payload);
/* The payload, decoded, in the arena. ret_kid may be NULL. */
CHECKED Err jws_verify(Arena *arena, Str jws, KeySet keys, Str typ, Str *ret_payload, Str *ret_kid);
/* The payload without verification: only to learn which keys to fetch, never to act on. */
CHECKED Err jws_peek(Arena *arena, Str jws, Str *ret_payload);

/* General JSON serialisation with several signatures over one payload. */
Str jws_sign_general(Arena *arena, const KeyPair *const *pairs, size_t count, Str typ, Str payload);
CHECKED Err jws_add_signature(Arena *arena, Str jws_general, const KeyPair *pair, Str typ, Str *ret_jws);
/* How many *different* keys of `keys` signed it; a bad signature by a listed key is an error, unknown keys are not
 * counted. */
CHECKED Err jws_verify_general(Arena *arena, Str jws, KeySet keys, Str typ, Str *ret_payload, unsigned *ret_signers);

/* dir + A256GCM; `bound` members stand in the protected header. header_extra is a JSON object, borrowed. */
CHECKED Err jwe_seal_dir(
    Arena *arena, const Secret *key, Str typ, const json_t *header_extra, Bytes plain, Str *ret_jwe);
/* Opens into a caller's buffer (locked slab): *ret_len ≤ out_max. The header's bound members are compared to `expected`
 * (every member of expected must be there and equal; no member beyond alg, enc, typ and expected may be there). */
CHECKED Err jwe_open_dir(Arena *arena, const Secret *key, Str typ, const json_t *expected, Str jwe, uint8_t *out,
    size_t out_max, size_t *ret_len);
/* The same in two steps: read and compare the header once, when a snapshot is activated; open in a microsecond, without
 * an allocation, at request time. A JwePrepared points into its arena and holds ciphertext only. */
typedef struct JwePrepared {
    Str aad;
    Bytes ciphertext;
    uint8_t nonce[12];
    uint8_t tag[16];
} JwePrepared;
CHECKED Err jwe_prepare_dir(Arena *arena, Str typ, const json_t *expected, Str jwe, JwePrepared *ret_prepared);
/* key: 32 bytes, kept by the caller as it keeps a Secret; out_max must be at least the plaintext's length. */
CHECKED Err jwe_prepared_open(const JwePrepared *prepared, Bytes key, uint8_t *out, size_t out_max, size_t *ret_len);
CHECKED Err jwe_header(Arena *arena, Str jwe, json_t **ret_header); /* new reference; unverified */

/* ECDH-ES. apu and apv (base64url) go into the key agreement when header_extra, and then expected, has them. */
CHECKED Err jwe_seal_to(
    Arena *arena, const PublicKey *recipient, Str typ, const json_t *header_extra, Bytes plain, Str *ret_jwe);
CHECKED Err jwe_open_from(
    Arena *arena, const KeyPair *recipient, Str typ, const json_t *expected, Str jwe, Secret *ret_plain);

#endif
