/*
 * client_key.h: what an application presents to a gateway. Shown once, kept and distributed as a digest.
 */
#ifndef DOMAIN_CLIENT_KEY_H
#define DOMAIN_CLIENT_KEY_H

#include "domain/noun.h"

#include "crypto/secret.h"

#define CLIENT_KEY_OVERLAP_S_DEFAULT 900

typedef struct ClientKey {
    Uuid id;
    Str name, hint, state;
    Bytes digest;
    Time expires_at, revoked_at, created_at;
    Uuid replaced_by;
} ClientKey;
extern const FieldTable CLIENT_KEY_FIELDS;

typedef struct ClientKeyRotate {
    MaybeInt overlap_s;
    Time expires_at;
} ClientKeyRotate;
extern const FieldTable CLIENT_KEY_ROTATE_FIELDS;

CHECKED Err client_key_issue(Ctx *ctx, ClientKey *key, Secret *ret_text);
CHECKED Err client_key_reshow(Ctx *ctx, Uuid id, Secret *ret_text);
CHECKED Err client_key_rotate(
    Ctx *ctx, const Ref *ref, const ClientKeyRotate *in, ClientKey *ret_key, Secret *ret_text);
CHECKED Err client_key_revoke(Ctx *ctx, const Ref *ref, ClientKey *ret_key);

#endif
