/*
 * secret_record.h: provider keys as the control plane knows them: a name, an origin for ever, and sealed versions. This
 * process carries ciphertext; only the keeper opens it.
 *
 * A version is pending, active, retiring (until its not_after) or revoked. One version is active at most.
 */
#ifndef DOMAIN_SECRET_RECORD_H
#define DOMAIN_SECRET_RECORD_H

#include "domain/noun.h"

#define SECRET_OVERLAP_S_DEFAULT 900
#define OVERLAP_S_MAX (30 * 86400)
#define SECRET_LIVE_VERSIONS_MAX 16

typedef struct SecretRecord {
    Uuid id; /* the caller may choose it: a sealed key names it */
    Str name, origin;
    Str sealed;    /* in a body: the intake JWE */
    Str plaintext; /* in a body, where the organization's policy allows it */
    int64_t version;
    MaybeInt active; /* the active version's number */
    Str hint;
    Time created_at, updated_at;
} SecretRecord;
extern const FieldTable SECRET_RECORD_FIELDS;
extern const Noun SECRET_RECORD;

typedef struct SecretVersion {
    int64_t number;
    Str state, hint;
    Time not_after, created_at, revoked_at;
} SecretVersion;
extern const FieldTable SECRET_VERSION_FIELDS;

typedef struct SecretVersionNew {
    Str sealed, plaintext;
    MaybeInt overlap_s;
    bool pending;
} SecretVersionNew;
extern const FieldTable SECRET_VERSION_NEW_FIELDS;

typedef struct SecretOverlap {
    MaybeInt overlap_s;
} SecretOverlap;
extern const FieldTable SECRET_OVERLAP_FIELDS;

/* What one intake needs, from its reads to its writes. */
typedef struct SecretPlan SecretPlan;

/* In a read transaction. */
CHECKED Err secret_plan_create(Ctx *ctx, const SecretRecord *in, SecretPlan **ret_plan);
CHECKED Err secret_plan_rotate(Ctx *ctx, const Ref *secret, const SecretVersionNew *in, SecretPlan **ret_plan);
/* Outside any: the keeper opens the intake and seals it under the project's key. */
CHECKED Err secret_intake(Ctx *ctx, SecretPlan *plan);
/* In the writing transaction. */
CHECKED Err secret_create(Ctx *ctx, SecretPlan *plan, SecretRecord *ret_secret);
CHECKED Err secret_rotate(Ctx *ctx, const Ref *secret, SecretPlan *plan, SecretVersion *ret_version);
CHECKED Err secret_activate(
    Ctx *ctx, const Ref *secret, int64_t number, MaybeInt overlap_s, SecretVersion *ret_version);
CHECKED Err secret_revoke(Ctx *ctx, const Ref *secret, int64_t number, SecretVersion *ret_version);

#endif
