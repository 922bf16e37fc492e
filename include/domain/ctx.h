/*
 * ctx.h: what a domain function may reach: its request's memory, its transaction, who asks and for which tenant.
 *
 * A Ctx is made by the dispatcher (or by a test) and passed down. The tenant and the project were resolved from the
 * credential and the path before any handler ran; SQL sees them as app_org() and app_project().
 *
 *     TRY(db_one(ctx->db, ctx->arena, &SQL_SECRET_GET, REC(&REF_FIELDS, &ref), REC(&SECRET_FIELDS, &secret)));
 */
#ifndef DOMAIN_CTX_H
#define DOMAIN_CTX_H

#include "domain/policy.h"
#include "store/db.h"

#include "crypto/digest.h"

struct KeeperClient;
struct Vitals;

/* What lives as long as the daemon. */
typedef struct World {
    struct KeeperClient *keeper; /* NULL in tests that need none */
    Str root_file;               /* path of the root document: read when asked, so a new one needs no restart */
    Str root_hash;               /* of the first root that was pinned, base64url; empty: none pinned */
    Str kms_uri;                 /* for new project and fleet keys */
    bool plain_http;             /* tests and quickstart: base URLs may be http:// to loopback */
    const struct Vitals *vitals; /* api/vitals.h; for /readyz and /metrics */
} World;

typedef enum PrincipalKind { PRINCIPAL_NONE, PRINCIPAL_SERVICE, PRINCIPAL_DATA_PLANE } PrincipalKind;

typedef struct Principal {
    PrincipalKind kind;
    Uuid id;            /* service account, or data plane */
    Uuid token;         /* which of its tokens; zero for data planes */
    Uuid home;          /* the organization it belongs to, or the installation */
    bool is_operator;   /* home is the installation */
    Uuid fleet;         /* data planes */
    Strs org_roles;     /* held at the tenant of this request */
    Strs project_roles; /* held at the project of this request */
} Principal;

/* What the caller said about the version it means to change. */
typedef struct IfMatch {
    bool given, any;
    int64_t version;
} IfMatch;

typedef struct Ctx {
    Arena *arena;
    Db *db; /* NULL in a prepare step */
    const World *world;
    Time now;
    Uuid installation;
    Uuid org;     /* the tenant; the installation's own id for work on the installation */
    Uuid project; /* of the path; zero without */
    Principal who;
    IfMatch if_match;
    Str request_id;
    void *state; /* from a prepare step to its commit step; in the arena */
} Ctx;

bool ctx_allows(const Ctx *ctx, Action action); /* deny by default */

/* A path's or body's way to name a thing: by TypeID or by name. One of the two is set. */
typedef struct Ref {
    Uuid id;
    Str name;
    Uuid parent; /* the thing it is part of, where there is one */
    Str parent_name;
    MaybeInt number; /* a secret's version, a revision's number */
} Ref;
extern const FieldTable REF_FIELDS;

/* ERR_NOT_FOUND for what is neither a TypeID of this prefix nor a name: a stranger learns nothing. */
CHECKED Err ref_parse(Str text, Str prefix, Ref *ret_ref);
/* Names never look like a TypeID, so that a path segment has one meaning. */
CHECKED Err name_check(Str name);

/* https, or, where the configuration says plain_http, http to this machine. */
bool ctx_takes_origin(const Ctx *ctx, Str origin);

/* ERR_PRECONDITION "version-mismatch" (412) when the caller named another version than the row has. */
CHECKED Err ctx_match(const Ctx *ctx, int64_t version);

/* Tells the publisher, in this transaction, that the configuration of a project changed (zero: of the whole
 * organization). */
CHECKED Err publish_enqueue(Ctx *ctx, Uuid project, Str reason);
CHECKED Err publish_enqueue_organization(Ctx *ctx, Uuid org, Str reason); /* in the name of the installation */

#endif
