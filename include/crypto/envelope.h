/*
 * envelope.h: what is stored sealed. Committing XChaCha20-Poly1305 under a 256-bit key, bound to a context.
 *
 * format 1:  version(1) | algorithm(1) | key id(16) | nonce(24) | commitment(32) | ciphertext | tag(16)
 *
 * The context is a list of byte strings, encoded with their lengths, so that no two lists have one encoding. Opening
 * with another key, context or key id fails exactly as a forgery does: ERR_SEALED, code "cannot-open".
 */
#ifndef CRYPTO_ENVELOPE_H
#define CRYPTO_ENVELOPE_H

#include "base/id.h"
#include "crypto/digest.h"

#define KEY_BYTES 32
#define ENVELOPE_OVERHEAD (1 + 1 + 16 + 24 + 32 + 16)
#define ENVELOPE_PLAIN_MAX (64 * 1024)

typedef struct Context {
    const Bytes *items;
    size_t count;
} Context;

/* sealed is in the arena. */
CHECKED Err envelope_seal(
    Arena *arena, const Secret *key, Uuid key_id, Context context, Bytes plain, Bytes *ret_sealed);
CHECKED Err envelope_open(const Secret *key, Context context, Bytes sealed, Secret *ret_plain);
CHECKED Err envelope_key_id(Bytes sealed, Uuid *ret_key_id); /* which key would open it; says nothing of its truth */

#endif
