/*
 * jose_parts.h: what the JOSE files share among themselves: compact parts, protected headers, keys.
 */
#ifndef CRYPTO_JOSE_PARTS_H
#define CRYPTO_JOSE_PARTS_H

#include "aead.h"
#include "base/json.h"

#define JOSE_HEADER_BYTES_MAX 4096

#define JOSE_MALFORMED(sentence) FAIL(ERR_INVALID, "jose-malformed", sentence)

/* Cuts text at dots into exactly `count` parts. */
CHECKED Err jose_split(Str text, size_t count, Str *ret_parts);
/* A protected header from its base64url: a small JSON object. */
CHECKED Err jose_header_parse(Arena *arena, Str part, json_t **ret_header);
/* {"alg":alg,"kid":kid,"typ":typ} as the base64url text that is signed. */
Str jose_header_write(Arena *arena, const json_t *header);
/* alg first, then typ: each refused under its own code. */
CHECKED Err jose_check_alg_typ(const json_t *header, Str alg, Str typ);
const PublicKey *jose_key_find(KeySet keys, Str kid); /* NULL when there is none */

#endif
