/*
 * route.h: the route table, what a handler gets and what it answers. Everything a handler must not forget is a column.
 *
 * A resource is one file of src/api: field tables, handlers and `const Route NOUN_ROUTES[]`, named once in routes.c.
 *
 *     static Err post_project(Ctx *ctx, const Req *req, Reply *reply)
 *     {
 *         Project project = { 0 };
 *         TRY(req_body(req, &PROJECT_FIELDS, &project));
 *         TRY(project_create(ctx, &project));
 *         reply_created(reply, &PROJECT_FIELDS, &project, project.id);
 *         return OK;
 *     }
 *     static const Read GET_PROJECT = { .stmt = &SQL_PROJECT_GET, .table = &PROJECT_FIELDS };
 *
 *     const Route PROJECT_ROUTES[] = {
 *         ROUTE(GET,  "/v1/projects/{project}", PROJECT_READ,   .says = "Read a project.", .read = &GET_PROJECT),
 *         ROUTE(POST, "/v1/projects",           PROJECT_CREATE, .says = "…", .commit = post_project,
 *               .body = &PROJECT_FIELDS, .reply = &PROJECT_FIELDS, .status = 201),
 *         ROUTE_END,
 *     };
 *
 * Steps, in the order the dispatcher runs them; a row has some of them:
 *   read     a declarative read: one statement, pipelined with the authentication (one round trip).
 *   look     runs in a short read-only transaction: a GET that one statement cannot answer, or the reads of a change.
 *   prepare  runs outside any transaction (ctx->db is NULL): keeper and other network calls.
 *   commit   runs in the writing transaction. The dispatcher commits only when it returns OK, and answers after that.
 * ctx->state carries what look and prepare found to commit, which must check again what may have changed.
 * A commit step may run more than once (serialization failures): it must not act outside the database.
 */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include "domain/noun.h"
#include "http/server.h"

#include "crypto/secret.h"

typedef enum Method { METHOD_GET, METHOD_POST, METHOD_PUT, METHOD_PATCH, METHOD_DELETE, METHOD_COUNT } Method;
const char *method_name(Method method);

/* Who may knock at all; what they may do is the action's business. */
typedef enum Credential {
    CREDENTIAL_SERVICE = 0, /* Authorization: Bearer rv_svc_… */
    CREDENTIAL_DATA_PLANE,  /* Authorization: Bearer rv_dpl_… */
    CREDENTIAL_NONE,        /* the request carries its own proof, or needs none */
} Credential;

typedef enum DbRole { DB_API = 0, DB_INGEST, DB_ROLE_COUNT } DbRole;

typedef struct Req Req;
typedef struct Reply Reply;
typedef Err (*Handler)(Ctx *ctx, const Req *req, Reply *reply);
/* Replaces the unused credential that an earlier call of the same Idempotency-Key showed by a fresh one. */
typedef Err (*Reshow)(Ctx *ctx, Uuid id, Secret *ret_token);

/*
 * A declarative read. The statement's parameters come from ReadIn, by name: `:id`/`:name` (the last path parameter),
 * `:parent`/`:parent_name` (the one before it), `:number`, and for lists `:after`, `:limit` and the query's members.
 * A list selects `limit` rows with id > :after in the order of id; the dispatcher asks for one more than a page.
 */
typedef struct Read {
    const Stmt *stmt;
    const FieldTable *table;
    bool list;
    const Stmt *within; /* of a list below another thing: its id; no row, and the list is "not found" */
    /* Without the action at the organization, what the caller sees through its roles at projects: `:roles` are those
     * that hold the action. No row of `seen_by` and the answer is 403. */
    const Stmt *seen_by, *seen;
    /* Answers otherwise than by the row: row is zeroed when nothing was found. May park; ctx->db is not to be used. */
    Err (*answer)(Ctx *ctx, const struct Req *req, struct Reply *reply, const void *row, bool found);
} Read;

typedef struct ReadIn {
    Uuid id, parent;
    Str name, parent_name;
    MaybeInt number;
    Uuid after;
    int64_t after_number; /* the same for lists whose rows have a number and no id */
    int64_t limit;
    bool show_deleted;
    Str state;
    Strs roles; /* for `seen` */
} ReadIn;
extern const FieldTable READ_IN_FIELDS;
extern const FieldTable QUERY_SHOW_DELETED; /* ?show_deleted=true */
extern const FieldTable QUERY_STATE;        /* ?state= */

typedef struct Route {
    Method method;
    const char
        *pattern; /* "/v1/projects/{project}/secrets/{secret}"; {org} and {project} are resolved by the dispatcher */
    Action action;
    Credential credential;
    DbRole role;
    const char *says; /* one sentence for the API reference */
    const Read *read;
    /* In the loop's thread: answers from memory what the database answered a moment ago to the same credential, or
     * parks; false: ask it. Not asked once the time of a parked call is over. */
    bool (*quick)(Ctx *ctx, const Req *req, Reply *reply);
    Handler look, prepare, commit;
    const Noun *noun;            /* for noun_post, noun_patch and noun_delete */
    const FieldTable *body;      /* of the request: for the API reference; req_body names it again */
    const FieldTable *reply;     /* of the answer; a list route's is one item's */
    const FieldTable *query;     /* the query parameters it takes beside dry_run, page_size, page_token */
    const char *const *prefixes; /* of its path parameters other than org and project, in order: a TypeID's prefix, or
                                    "#" for a number */
    Reshow reshow;               /* shows a token: required where reply_reveal is used */
    int status;                  /* of success; 0 is 200 */
    size_t body_max;             /* 0: 256 KiB */
    bool pages;                  /* a handler's list: takes page_size and page_token */
    bool no_tenant;              /* runs without a database at all (healthz): look with ctx->db NULL */
    bool if_match;               /* 428 without If-Match */
    bool no_replay;              /* a POST that is idempotent by its own content: takes no Idempotency-Key */
    bool archived_too;           /* a change that an archived project allows */
    bool deleted_too;            /* reaches projects that were deleted and not yet purged */
    bool reveals;                /* the answer has a "token" member, shown once */
    const char *media;           /* of the answer when it is not JSON */
} Route;

#define ROUTE(method_, pattern_, action_, ...)                                                                         \
    {                                                                                                                  \
        .method = METHOD_##method_, .pattern = (pattern_), .action = ACTION_##action_, __VA_ARGS__                     \
    }
/* Without a credential: `why` is the sentence that a reviewer reads. */
#define ROUTE_PUBLIC(method_, pattern_, why_, ...)                                                                     \
    {                                                                                                                  \
        .method = METHOD_##method_, .pattern = (pattern_), .credential = CREDENTIAL_NONE, .says = "" why_, __VA_ARGS__ \
    }
#define ROUTE_END                                                                                                      \
    {                                                                                                                  \
        .pattern = NULL                                                                                                \
    }

extern const Route *const ROUTE_TABLES[]; /* routes.c; NULL-terminated */

/* Commit steps for a plain thing with a name, driven by the row's `noun`; the last path parameter says which. */
CHECKED Err noun_post(Ctx *ctx, const Req *req, Reply *reply);
CHECKED Err noun_patch(Ctx *ctx, const Req *req, Reply *reply);
CHECKED Err noun_delete(Ctx *ctx, const Req *req, Reply *reply);

/* --- the request --- */

/* Decodes the body strictly; for PATCH as a merge patch (RFC 7396) over what *ret_struct holds. */
CHECKED Err req_body(const Req *req, const FieldTable *table, void *ret_struct);
/* Before req_body, in a transaction: names in the body become ids (domain/noun.h). */
CHECKED Err req_resolve(Ctx *ctx, const Req *req, const NounRef *refs);
CHECKED Err req_json(const Req *req, json_t **ret_value); /* the parsed body; borrowed */
bool req_has_body(const Req *req);
Str req_raw_body(const Req *req);
Str req_header(const Req *req, Str name);
Str req_path(const Req *req, const char *parameter); /* decoded; the empty Str when the route has none of that name */
CHECKED Err req_ref(const Req *req, const char *parameter, const char *prefix, Ref *ret_ref);
CHECKED Err req_number(const Req *req, const char *parameter, int64_t *ret_number); /* a number in the path */
CHECKED Err req_query(const Req *req, const FieldTable *table, void *ret_struct);   /* text to the members' kinds */
/* For handlers that page themselves: size and the row behind which to go on. */
CHECKED Err req_page(const Req *req, int64_t *ret_limit, Uuid *ret_after);
bool req_dry_run(const Req *req);
bool req_timed_out(const Req *req); /* the call was parked and nothing woke it in time */
Str req_client(const Req *req);     /* the peer's address */

/* --- the answer --- */

void reply_one(Reply *reply, const FieldTable *table, const void *item); /* and ETag when it has a `version` */
void reply_created(Reply *reply, const FieldTable *table, const void *item, Uuid id);
/* items: up to limit + 1 of them, ordered by their member `id` (or `number`). */
void reply_list(Reply *reply, const Req *req, const FieldTable *table, List items, int64_t limit);
void reply_json(Reply *reply, json_t *value);                     /* takes the reference */
void reply_raw(Reply *reply, const char *content_type, Str body); /* body lives in the arena or is static */
void reply_none(Reply *reply);                                    /* 204 */
void reply_status(Reply *reply, int status);
void reply_header(Reply *reply, Str name, Str value);
void reply_before(Reply *reply, const FieldTable *table, const void *item); /* for dry_run: what the change replaces */
/* The one way a credential leaves: as member "token" of the answer, sent once, never stored. */
void reply_reveal(Reply *reply, const Secret *token);
void reply_reveal_as(Reply *reply, const char *member, const Secret *token);
/*
 * The answer comes later: the call waits, without a thread and without the database, until call_wake(key) or for
 * wait_us; then the steps run again from the start (authentication too), with req_timed_out when it was the time.
 * Wakes that came after the step began are not lost.
 */
void reply_park(Reply *reply, Uuid key, int64_t wait_us);

#endif
