/*
 * fleet.h: fleets (the audience of a manifest), the organizations they may serve, and the data planes enrolled in them.
 *
 * Enrolment is not this process's to give: it checks that a join certificate chains to the root and that a request was
 * signed by the certified one-time key; the keeper checks the same again before it makes a keyring.
 */
#ifndef DOMAIN_FLEET_H
#define DOMAIN_FLEET_H

#include "domain/noun.h"

#include "crypto/secret.h"
#include "snapshot/statement.h"

#define DATA_PLANE_TOKEN_TTL_S 600

typedef struct Fleet {
    Uuid id;
    Str name;
    int64_t generation;
    int64_t max_stale_s, hard_expiry_s;
    int64_t version;
    Time created_at, updated_at;
    Str kms_uri; /* of the generation's key */
    Bytes wrapped;
    Str statement;
} Fleet;
extern const FieldTable FLEET_FIELDS;
extern const Noun FLEET;

typedef struct FleetOrganization {
    Uuid id; /* the organization */
    Str name;
    Time created_at;
    Uuid fleet;
} FleetOrganization;
extern const FieldTable FLEET_ORGANIZATION_FIELDS;

typedef struct FleetGeneration {
    int64_t generation;
    Str statement;
} FleetGeneration;
extern const FieldTable FLEET_GENERATION_FIELDS;

typedef struct DataPlane {
    Uuid id, fleet;
    Str name, state;
    int64_t generation, offered_seq, verified_seq, active_seq;
    Str ack_state, ack_code, ack_detail, ack_pointer;
    Time enrolled_at, last_seen_at, revoked_at;
} DataPlane;
extern const FieldTable DATA_PLANE_FIELDS;

/* Outside a transaction: the keeper makes the key of the fleet's (next) generation. */
CHECKED Err fleet_key_make(Ctx *ctx, Fleet *fleet);
CHECKED Err fleet_create(Ctx *ctx, Fleet *fleet);
/* The next generation as it is asked for; nothing else may be asked of the keeper, which never goes back. */
CHECKED Err fleet_plan_advance(Ctx *ctx, const Ref *ref, const FleetGeneration *ask, Fleet *ret_fleet);
CHECKED Err fleet_advance(Ctx *ctx, const Ref *ref, const Fleet *next, Fleet *ret_fleet);
CHECKED Err fleet_serve(Ctx *ctx, const Ref *fleet, const Ref *organization, bool serve, FleetOrganization *ret_row);
CHECKED Err data_plane_revoke(Ctx *ctx, const Ref *ref, DataPlane *ret_data_plane);

/* --- enrolment: the request proves itself --- */

typedef struct EnrolmentAsk {
    Str cert, request;
} EnrolmentAsk;
extern const FieldTable ENROLMENT_ASK_FIELDS;

typedef struct Enrolment {
    Uuid data_plane;
    Str keyring, root;
} Enrolment;
extern const FieldTable ENROLMENT_FIELDS;

typedef struct EnrolmentPlan EnrolmentPlan;
CHECKED Err enrolment_check(Ctx *ctx, const EnrolmentAsk *ask, EnrolmentPlan **ret_plan); /* reads */
CHECKED Err enrolment_keyring(Ctx *ctx, EnrolmentPlan *plan);                             /* keeper */
CHECKED Err enrolment_commit(Ctx *ctx, EnrolmentPlan *plan, Enrolment *ret_enrolment);

/* Exchanges a data plane's signed assertion for an access token. */
CHECKED Err data_plane_token_issue(Ctx *ctx, Str assertion, Secret *ret_token);

/* The newest root document as it lies on disk, followed from the pinned one. */
CHECKED Err root_load(Ctx *ctx, Root *ret_root);
/* A version before the newest: a RootOlder over the path of the root file, a Str. */
CHECKED Err root_file_read(Arena *arena, const void *file, int64_t version, Str *ret_text);

#endif
