/*
 * service_account.h: who may call the admin API: service accounts, their tokens, and the roles bound to them.
 *
 * A token is shown once, by the call that made it, and stored as a digest. It always ends.
 */
#ifndef DOMAIN_SERVICE_ACCOUNT_H
#define DOMAIN_SERVICE_ACCOUNT_H

#include "domain/noun.h"

#include "crypto/secret.h"

#define TOKEN_DAYS_DEFAULT 90
#define TOKEN_DAYS_MAX 400

typedef struct ServiceAccount {
    Uuid id;
    Str name, description;
    int64_t version;
    Time created_at, updated_at;
} ServiceAccount;
extern const FieldTable SERVICE_ACCOUNT_FIELDS;
extern const Noun SERVICE_ACCOUNT;

typedef struct Token {
    Uuid id;
    Uuid service_account;
    Str name, hint, state;
    Bytes digest;
    Time created_at, expires_at, revoked_at;
} Token;
extern const FieldTable TOKEN_FIELDS;
extern const NounRef TOKEN_REFS[];

CHECKED Err token_issue(Ctx *ctx, Token *token, Secret *ret_text);
CHECKED Err token_reshow(Ctx *ctx, Uuid id, Secret *ret_text);
CHECKED Err token_revoke(Ctx *ctx, const Ref *ref, Token *ret_token);

typedef struct OwnerToken {
    Str name; /* of the service account */
    Time expires_at;
} OwnerToken;
extern const FieldTable OWNER_TOKEN_FIELDS;
/* The operator's way to let an organization in: a service account with the role owner, and a token for it. */
CHECKED Err organization_admit(Ctx *ctx, const OwnerToken *in, Token *ret_token, Secret *ret_text);

typedef struct Binding {
    Uuid id;
    Uuid service_account;
    Str role;
    Uuid project; /* none: at the organization */
    Time created_at;
} Binding;
extern const FieldTable BINDING_FIELDS;
extern const Noun BINDING;

#endif
