/*
 * workflow.h: logical model names, their immutable revisions, and the releases that say which revision runs where.
 *
 * A release is a list of shares of the fleet that add up to 100. It is never edited: a change is a new release, and
 * rolling back is a new release with the stages of an older one.
 */
#ifndef DOMAIN_WORKFLOW_H
#define DOMAIN_WORKFLOW_H

#include "domain/noun.h"
#include "snapshot/object.h"

typedef struct Workflow {
    Uuid id;
    Str name, dialect, description;
    int64_t version;
    MaybeInt release;  /* the current one's number */
    MaybeInt revision; /* the newest one's number */
    Time created_at, updated_at;
} Workflow;
extern const FieldTable WORKFLOW_FIELDS;
extern const Noun WORKFLOW;

typedef struct Revision {
    Uuid id, workflow;
    int64_t number;
    List targets; /* RoutingTarget */
    RoutingRetry retry;
    Str note;
    Uuid created_by;
    Time created_at;
    Uuids connections;
    Ints positions;
} Revision;
extern const FieldTable REVISION_FIELDS;
extern const NounRef TARGET_REFS[];

typedef struct Stage {
    Uuid revision;
    int64_t number; /* of the revision */
    int64_t percent;
} Stage;

typedef struct Release {
    Uuid workflow;
    int64_t number;
    int64_t version; /* of the workflow: its ETag */
    Str salt;
    List stages; /* Stage */
    Uuid created_by;
    Time created_at;
    Uuids revisions;
    Ints percents, positions;
} Release;
extern const FieldTable RELEASE_FIELDS;

/* What a caller asks to release: one revision for everybody, or shares. A revision is named by id or number. */
typedef struct ReleaseAsk {
    Json revision;
    Json stages;
} ReleaseAsk;
extern const FieldTable RELEASE_ASK_FIELDS;

CHECKED Err revision_create(Ctx *ctx, const Ref *workflow, Revision *revision);
CHECKED Err release_create(Ctx *ctx, const Ref *workflow, const ReleaseAsk *ask, Release *ret_release);
/* A new release with the stages of the one before the current. */
CHECKED Err release_rollback(Ctx *ctx, const Ref *workflow, Release *ret_release);
CHECKED Err release_get(Ctx *ctx, const Ref *workflow, Release *ret_release);

#endif
