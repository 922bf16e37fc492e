/*
 * token.h: bearer credentials: service tokens, client keys, data-plane access tokens.
 *
 *   rv_<kind>_<43 characters of base62: 256 random bits><6 characters of base62: CRC-32>
 *
 * The prefix and checksum let secret scanners and us reject junk without a look-up. Stored and distributed as SHA-256
 * of the whole text. kinds: "svc" service token, "key" client key, "dpl" data-plane access token, "ses" console
 * session.
 */
#ifndef CRYPTO_TOKEN_H
#define CRYPTO_TOKEN_H

#include "crypto/digest.h"

#define TOKEN_LEN_MAX 64

CHECKED Err token_new(Str kind, Secret *ret_text);
CHECKED Err token_check(Str kind, Str text); /* shape and checksum: ERR_UNAUTHENTICATED "token-malformed" */
Digest token_digest(Str text);
Str token_hint(Arena *arena, Str text); /* "rv_key_Ab3d…": what logs and lists may show */

#endif
