/*
 * object.h: what a gateway needs to know of one project: `routing` (the same bytes for every fleet) and `secrets` (per
 * fleet and generation; every provider key a JWE that only this fleet opens, for one origin).
 *
 *   { v, kind: "routing", org, project, version, connections, workflows, client_keys, limits }
 *   { v, kind: "secrets", org, project, version, fleet, generation, secrets }
 *
 * The structs are the schema: the same field tables parse and build. Ids are unique per list, references point inside.
 */
#ifndef SNAPSHOT_OBJECT_H
#define SNAPSHOT_OBJECT_H

#include "base/field.h"
#include "crypto/digest.h"

#define OBJECT_VERSION 1
#define OBJECT_BYTES_MAX (8 * 1024 * 1024)
#define PROJECT_CONNECTIONS_MAX 256
#define PROJECT_WORKFLOWS_MAX 256
#define PROJECT_CLIENT_KEYS_MAX 4096
#define PROJECT_SECRETS_MAX 256
#define WORKFLOW_REVISIONS_MAX 16 /* those a release names, not its history */
#define REVISION_TARGETS_MAX 16
#define RELEASE_STAGES_MAX 16
#define SECRET_VERSIONS_MAX 16
#define MODEL_BYTES_MAX 256
#define SECRET_JWE_BYTES_MAX 16384
#define TIMEOUT_MS_MAX (60 * 60 * 1000)
#define TARGET_ATTEMPTS_MAX 10
#define OBJECT_URL_BYTES_MAX 2048

typedef struct RoutingConnection {
    Uuid id;
    Str name;
    Str dialect;
    Str base_url;
    Uuid secret; /* none: the provider needs no key */
} RoutingConnection;

typedef struct RoutingTimeouts { /* 0: the gateway's default */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
} RoutingTimeouts;

typedef struct RoutingTarget {
    Uuid connection;
    Str model;
    MaybeInt weight;
    RoutingTimeouts timeouts;
    int64_t max_attempts; /* 0: the gateway's default */
    Json parameters;
} RoutingTarget;

typedef struct RoutingRetry {
    int64_t budget_ms, base_ms, max_ms, attempts;
} RoutingRetry;

typedef struct RoutingRevision {
    Uuid id;
    int64_t number;
    List targets; /* RoutingTarget, in order */
    RoutingRetry retry;
} RoutingRevision;

typedef struct RoutingStage {
    Uuid revision;
    int64_t percent;
} RoutingStage;

typedef struct RoutingRelease {
    Str salt;
    List stages; /* RoutingStage; the percents add up to 100; none: not released */
} RoutingRelease;

typedef struct RoutingWorkflow {
    Uuid id;
    Str name;
    Str dialect;
    List revisions; /* RoutingRevision */
    RoutingRelease release;
} RoutingWorkflow;

typedef struct RoutingClientKey {
    Uuid id;
    Str digest; /* base64url of SHA-256 of the key's text */
    Time not_after;
} RoutingClientKey;

typedef struct Routing {
    int64_t v;
    Str kind;
    Uuid org;
    Uuid project;
    int64_t version;
    List connections; /* RoutingConnection */
    List workflows;   /* RoutingWorkflow */
    List client_keys; /* RoutingClientKey */
    Json limits;
} Routing;

typedef struct SecretsVersion {
    int64_t version;
    Str state; /* active, retiring */
    Time not_after;
    Str jwe;
} SecretsVersion;

typedef struct SecretsEntry {
    Uuid id;
    List versions; /* SecretsVersion; at most one is active */
} SecretsEntry;

typedef struct Secrets {
    int64_t v;
    Str kind;
    Uuid org;
    Uuid project;
    int64_t version;
    Uuid fleet;
    int64_t generation;
    List secrets; /* SecretsEntry */
} Secrets;

extern const FieldTable ROUTING_FIELDS;
extern const FieldTable ROUTING_RELEASE_FIELDS;
extern const FieldTable ROUTING_TARGET_FIELDS;
extern const FieldTable SECRETS_FIELDS;

/* Item n of a List of Type. */
#define LIST_AT(Type, list, n) (&((Type *)(list).items)[(n)])

/* v and kind are filled in. */
Str routing_build(Arena *arena, Routing *routing);
Str secrets_build(Arena *arena, Secrets *secrets);
/* ERR_INVALID "object-malformed" (fields say where), "version-unsupported". What they give lives in the arena. */
CHECKED Err routing_parse(Arena *arena, Str text, Routing *ret_routing);
CHECKED Err secrets_parse(Arena *arena, Str text, Secrets *ret_secrets);

/*
 * Which stage a data plane runs: it falls at point p of 0..9999 by SHA-256(salt ‖ data plane's 16 bytes), and takes the
 * first stage whose percents up to it exceed p / 100. NULL when nothing is released.
 */
const RoutingStage *release_select(const RoutingRelease *release, Uuid data_plane);

#endif
