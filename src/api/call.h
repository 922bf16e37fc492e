/*
 * call.h: one request on its way through the dispatcher. Private to src/api.
 *
 * A Call lives in its exchange's arena, which lives until the exchange is answered, whether its client is still there
 * or not. The arena is used by one thread at a time: the loop's, then a worker's, then the loop's again.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include "api/dispatch.h"
#include "base/json.h"

#include <assert.h>

#define PATH_PARAMETERS_MAX 4
#define SEGMENTS_MAX 12
#define REPLY_HEADERS_MAX 6
#define PAGE_SIZE_DEFAULT 50
#define PAGE_SIZE_MAX 500
#define QUERY_PARAMETERS_MAX 24

typedef struct Pair {
    Str name, value;
} Pair;

struct Req {
    Arena *arena;
    const Route *route;
    Str path, query, body, client, content_type;
    Pair parameters[PATH_PARAMETERS_MAX];
    size_t parameter_count;
    Pair arguments[QUERY_PARAMETERS_MAX]; /* of the query, decoded */
    size_t argument_count;
    const Header *headers; /* without authorization */
    size_t header_count;
    Digest credential;
    Str idempotency_key; /* empty: none */
    Digest fingerprint;
    IfMatch if_match;
    bool dry_run, timed_out;
    int64_t page_size;
    Uuid page_after;
    Str page_token;
    Digest page_key; /* filled when the call began */
    json_t *json;    /* the body, once decoded */
};

struct Reply {
    Arena *arena;
    int status;
    json_t *body;
    json_t *before;
    Str raw;
    const char *content_type;
    Str etag, location;
    Header headers[REPLY_HEADERS_MAX];
    size_t header_count;
    Uuid subject;
    Secret token;
    const char *token_member;
    bool replayed;
    Uuid park_key;
    int64_t park_us; /* > 0: parked */
    bool empty;
};

typedef struct Call Call;
struct Call {
    Dispatch *dispatch;
    Loop *loop;
    Exchange *exchange;
    Arena *arena;
    Req req;
    Reply reply;
    Str request_id;
    Response response; /* what the worker thread made, for the loop to send */
    bool gone;         /* the client left; loop's thread */
    Timer *timer;
    uint64_t wakes_seen; /* of the dispatcher when the run began */
    bool waiting;        /* in the list of parked calls */
    Call *next, *previous;
};

/* --- router.c --- */
/* The route of a method and a raw path. ERR_NOT_FOUND, or ERR_METHOD with the allowed ones in *ret_allow. */
CHECKED Err router_match(Arena *arena, Str method, Str path, const Route **ret_route, Pair *ret_parameters,
    size_t *ret_count, Str *ret_allow);
/* The parameter names of a pattern, in order: "{project}" → "project". */
size_t pattern_parameters(const char *pattern, Str ret_names[PATH_PARAMETERS_MAX]);

/* --- request.c --- */
CHECKED Err req_shape(Req *req); /* query, page, If-Match, Idempotency-Key, dry_run */
void req_release(Req *req);
CHECKED Err req_page_open(Req *req, const Ctx *ctx); /* checks the page token; needs page_key */
Str page_token_make(const Req *req, Uuid after);
CHECKED Err req_read_in(const Req *req, ReadIn *ret_in);

/* --- reply.c --- */
void reply_clear(Reply *reply);
void reply_dry_run(Reply *reply, const Route *route);
Str reply_text(Reply *reply); /* the body as sent; the token is in it and wiped here */
Str etag_of(Arena *arena, int64_t version);

/* --- steps.c --- */
CHECKED Err call_steps(Call *call); /* on a worker thread */
bool call_quick(Call *call);        /* in the loop's thread: the route's `quick` */

/* --- idempotency.c --- */
CHECKED Err idempotency_find(Ctx *ctx, Call *call, bool *ret_done); /* was it done already? */
/* *ret_done: the earlier answer is in the reply. */
CHECKED Err idempotency_begin(Ctx *ctx, Call *call, bool *ret_done);
CHECKED Err idempotency_end(Ctx *ctx, Call *call);

Pool *dispatch_pool(const Dispatch *dispatch, DbRole role);
const World *dispatch_world(const Dispatch *dispatch);
void dispatch_count_retry(Dispatch *dispatch);

#endif
