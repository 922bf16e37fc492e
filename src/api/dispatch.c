/*
 * dispatch.c: carries calls between the loops, the worker threads and the waiting room of long polls, and is the only
 * place of this floor that logs an error.
 */
#include "call.h"

#include "base/log.h"
#include "crypto/token.h"
#include "http/problem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define WAKE_SLOTS 1024
#define BODY_BYTES_MAX_DEFAULT (256 * 1024)
#define BUSY_RETRY_S 1

struct Dispatch {
    DispatchOptions options;
    pthread_mutex_t lock; /* of everything about waiting below */
    Call *waiting;
    unsigned waiting_count;
    uint64_t wakes;
    uint64_t wake_slots[WAKE_SLOTS]; /* the number of the last wake of a key that falls there */
    bool closing;
    atomic_ullong requests, errors, retried, micros, by_class[6];
};

Err dispatch_new(const DispatchOptions *options, Dispatch **ret_dispatch)
{
    static Arena *arena; /* one dispatcher lives as long as its process; tests may make several */
    if (arena == NULL)
        arena = arena_new();
    Dispatch *dispatch = NEW(arena, Dispatch, 1);
    dispatch->options = *options;
    pthread_mutex_init(&dispatch->lock, NULL);
    *ret_dispatch = dispatch;
    return OK;
}

void dispatch_free(Dispatch **dispatch)
{
    if (*dispatch != NULL)
        pthread_mutex_destroy(&(*dispatch)->lock);
    *dispatch = NULL;
}

Pool *dispatch_pool(const Dispatch *dispatch, DbRole role)
{
    return dispatch->options.pools[role];
}

const World *dispatch_world(const Dispatch *dispatch)
{
    return dispatch->options.world;
}

void dispatch_count_retry(Dispatch *dispatch)
{
    dispatch->retried++;
}

DispatchStats dispatch_stats(const Dispatch *dispatch)
{
    Dispatch *d = (Dispatch *)(uintptr_t)dispatch;
    pthread_mutex_lock(&d->lock);
    unsigned waiting = d->waiting_count;
    pthread_mutex_unlock(&d->lock);
    DispatchStats stats = { .requests = dispatch->requests,
        .errors = dispatch->errors,
        .waiting = waiting,
        .retried = dispatch->retried,
        .micros = dispatch->micros };
    for (int i = 0; i < 6; i++)
        stats.by_class[i] = dispatch->by_class[i];
    return stats;
}

/* --- answers --- */

static void add_header(Call *call, Header *headers, size_t *count, Str name, Str value)
{
    if (value.len > 0)
        headers[(*count)++] = (Header){ .name = name, .value = arena_str(call->arena, value) };
}

static Str location_of(const Call *call)
{
    if (call->reply.location.len == 0 || call->reply.status != 201)
        return STR("");
    return arena_fmt(call->arena, STR_FMT "/" STR_FMT, STR_ARG(call->req.path), STR_ARG(call->reply.location));
}

#define ANSWER_HEADERS_MAX (REPLY_HEADERS_MAX + 4)

static void answer_reply(Call *call)
{
    Reply *reply = &call->reply;
    Header *headers = NEW(call->arena, Header, ANSWER_HEADERS_MAX);
    size_t count = 0;
    add_header(call, headers, &count, STR("ETag"), reply->etag);
    add_header(call, headers, &count, STR("Location"), location_of(call));
    add_header(call, headers, &count, STR("Idempotency-Replayed"), reply->replayed ? STR("true") : STR(""));
    for (size_t i = 0; i < reply->header_count; i++)
        add_header(call, headers, &count, reply->headers[i].name, reply->headers[i].value);
    call->response = (Response){ .status = reply->status,
        .content_type = reply->empty                  ? NULL
                        : reply->content_type != NULL ? reply->content_type
                                                      : "application/json",
        .body = reply_text(reply),
        .headers = headers,
        .header_count = count };
}

static Response error_response(Arena *arena, Err err, Str request_id, Str allow)
{
    Header *headers = NEW(arena, Header, 3);
    size_t count = 0;
    int retry_after_s = err.retry_after_s > 0 ? err.retry_after_s : err.kind == ERR_UNAVAILABLE ? BUSY_RETRY_S : 0;
    if (err.kind == ERR_UNAUTHENTICATED)
        headers[count++] = (Header){ STR("WWW-Authenticate"), STR("Bearer realm=\"reeve\"") };
    if (allow.len > 0)
        headers[count++] = (Header){ STR("Allow"), allow };
    if (retry_after_s > 0)
        headers[count++] = (Header){ STR("Retry-After"), arena_fmt(arena, "%d", retry_after_s) };
    return (Response){ .status = err_http_status(err),
        .content_type = "application/problem+json",
        .body = problem_document(arena, err, request_id),
        .headers = headers,
        .header_count = count };
}

/* Where an error stops: the caller gets the document, the log the line. */
static void answer_error(Call *call, Err err)
{
    bool ours = err.kind == ERR_INTERNAL || err.kind == ERR_UNAVAILABLE || err.kind == ERR_TIMEOUT;
    log_write(ours ? LOG_ERROR : LOG_DEBUG, "request refused",
        (const LogPair[]){ LOG_STR("request_id", call->request_id),
            LOG_C("method", method_name(call->req.route->method)), LOG_C("route", call->req.route->pattern),
            LOG_STR("code", err.code), LOG_STR("detail", err.detail) },
        5);
    call->response = error_response(call->arena, err, call->request_id, STR(""));
    call->dispatch->errors++;
}

/* Loop's thread; the call is gone after it. */
static void send_answer(void *arg)
{
    Call *call = arg;
    Dispatch *dispatch = call->dispatch;
    Exchange *exchange = call->exchange;
    dispatch->requests++;
    dispatch->by_class[call->response.status / 100 % 6]++;
    dispatch->micros += (uint64_t)(monotonic_us() - exchange_started_us(exchange));
    Response response = call->response;
    exchange_reply(exchange, &response);
}

/* Nobody reads the answer, and nothing went wrong: a client may leave. */
static void end_for_nobody(Call *call)
{
    reply_clear(&call->reply);
    req_release(&call->req);
    log_debug("a client left before its answer", LOG_STR("request_id", call->request_id),
        LOG_C("route", call->req.route->pattern));
    call->response = (Response){ .status = 204 };
    send_answer(call);
}

static void end_with_error(Call *call, Err err)
{
    reply_clear(&call->reply);
    req_release(&call->req);
    answer_error(call, err);
    send_answer(call);
}

/* --- waiting --- */

static unsigned slot_of(Uuid key)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < sizeof(key.b); i++)
        hash = (hash ^ key.b[i]) * 16777619u;
    return hash % WAKE_SLOTS;
}

static void run_call(void *arg);

/* Loop's thread. */
static void submit(Call *call)
{
    if (!work_submit(call->dispatch->options.work, run_call, call))
        end_with_error(call, FAIL(ERR_UNAVAILABLE, "busy", "Too many requests are waiting; ask again in a moment."));
}

/* With the lock held. */
static void unlink_waiting(Call *call)
{
    Dispatch *dispatch = call->dispatch;
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        dispatch->waiting = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    call->next = call->previous = NULL;
    call->waiting = false;
    dispatch->waiting_count--;
}

/* Whether the call was still waiting: then it is this caller's to run on. */
static bool take_waiting(Call *call)
{
    pthread_mutex_lock(&call->dispatch->lock);
    bool mine = call->waiting;
    if (mine)
        unlink_waiting(call);
    pthread_mutex_unlock(&call->dispatch->lock);
    return mine;
}

static void note_wakes(Call *call)
{
    pthread_mutex_lock(&call->dispatch->lock);
    call->wakes_seen = call->dispatch->wakes;
    pthread_mutex_unlock(&call->dispatch->lock);
}

static void park(void *arg);

/* Loop's thread: what is in memory costs no other thread and no database. */
static bool answer_at_once(Call *call)
{
    if (call->req.route->quick == NULL || call->req.timed_out)
        return false;
    note_wakes(call);
    reply_clear(&call->reply);
    if (!call_quick(call))
        return false;
    if (call->reply.park_us > 0) {
        park(call);
        return true;
    }
    answer_reply(call);
    reply_clear(&call->reply);
    req_release(&call->req);
    send_answer(call);
    return true;
}

static void run_again(void *arg)
{
    Call *call = arg;
    timer_cancel(&call->timer);
    if (call->gone)
        end_for_nobody(call);
    else if (!answer_at_once(call))
        submit(call);
}

static void wait_is_over(void *arg)
{
    Call *call = arg;
    if (!take_waiting(call))
        return; /* a wake has it, and run_again is on its way */
    call->req.timed_out = true;
    run_again(call);
}

/* Loop's thread: into the waiting room, unless what it waits for has come meanwhile. */
static void park(void *arg)
{
    Call *call = arg;
    Dispatch *dispatch = call->dispatch;
    pthread_mutex_lock(&dispatch->lock);
    bool late =
        dispatch->wake_slots[slot_of(call->reply.park_key)] > call->wakes_seen || dispatch->closing || call->gone;
    bool full = !late && dispatch->waiting_count >= dispatch->options.parked_max;
    if (!late && !full) {
        call->next = dispatch->waiting;
        call->previous = NULL;
        if (call->next != NULL)
            call->next->previous = call;
        dispatch->waiting = call;
        dispatch->waiting_count++;
        call->waiting = true;
        timer_start(call->loop, &call->timer, call->reply.park_us, wait_is_over, call);
    }
    call->req.timed_out |= dispatch->closing;
    pthread_mutex_unlock(&dispatch->lock);
    if (full)
        end_with_error(call, FAIL(ERR_UNAVAILABLE, "too-many-waiting", "Too many calls are waiting for news."));
    else if (late)
        run_again(call);
}

static void wake(Dispatch *dispatch, const Uuid *key)
{
    pthread_mutex_lock(&dispatch->lock);
    dispatch->wakes++;
    if (key != NULL)
        dispatch->wake_slots[slot_of(*key)] = dispatch->wakes;
    else
        dispatch->closing = true;
    for (Call *call = dispatch->waiting, *next; call != NULL; call = next) {
        next = call->next;
        if (key != NULL && !uuid_eq(call->reply.park_key, *key))
            continue;
        unlink_waiting(call);
        call->req.timed_out |= key == NULL;
        loop_post(call->loop, run_again, call);
    }
    pthread_mutex_unlock(&dispatch->lock);
}

void dispatch_wake(Dispatch *dispatch, Uuid key)
{
    wake(dispatch, &key);
}

void dispatch_wake_all(Dispatch *dispatch)
{
    wake(dispatch, NULL);
}

static void client_gone(Exchange *exchange, void *arg)
{
    (void)exchange;
    Call *call = arg;
    call->gone = true;
    if (take_waiting(call))
        run_again(call);
}

/* --- a worker thread's part --- */

static void run_call(void *arg)
{
    Call *call = arg;
    note_wakes(call);
    reply_clear(&call->reply);
    Err err = call_steps(call);
    if (err.kind == ERR_NONE && call->reply.park_us > 0) {
        loop_post(call->loop, park, call);
        return;
    }
    if (err.kind != ERR_NONE)
        answer_error(call, err);
    else
        answer_reply(call);
    reply_clear(&call->reply);
    req_release(&call->req);
    loop_post(call->loop, send_answer, call);
}

/* --- the loop's part --- */

static void refuse(Exchange *exchange, Err err, Str allow)
{
    Response response = error_response(exchange_arena(exchange), err, exchange_request_id(exchange), allow);
    exchange_reply(exchange, &response);
}

static Err unauthenticated(void)
{
    return FAIL(ERR_UNAUTHENTICATED, "credential-missing", "This needs a credential: Authorization: Bearer TOKEN.");
}

static Err check_credential(const Exchange *exchange, const Route *route, Digest *ret_digest)
{
    if (route->credential == CREDENTIAL_NONE)
        return OK;
    Str value = exchange_header(exchange, STR("authorization")), scheme, token;
    if (value.len == 0 || !str_cut(value, ' ', &scheme, &token) || !str_eq_nocase(scheme, STR("bearer")))
        return unauthenticated();
    token = str_trim(token);
    TRY(token_check(route->credential == CREDENTIAL_DATA_PLANE ? STR("dpl") : STR("svc"), token));
    *ret_digest = token_digest(token);
    return OK;
}

static size_t body_max_of(const Route *route)
{
    if (route->body_max > 0)
        return route->body_max;
    return route->method == METHOD_GET ? 0 : BODY_BYTES_MAX_DEFAULT;
}

/* HEAD is answered like GET; the server floor leaves the body out. */
static Str method_of(const Exchange *exchange)
{
    Str method = exchange_method(exchange);
    return str_eq(method, STR("HEAD")) ? STR("GET") : method;
}

bool dispatch_admit(Exchange *exchange, void *loop, size_t *ret_body_max)
{
    DispatchLoop *here = loop;
    Arena *arena = exchange_arena(exchange);
    Call *call = NEW(arena, Call, 1);
    Str allow = STR("");
    *call = (Call){ .dispatch = here->dispatch,
        .loop = here->loop,
        .exchange = exchange,
        .arena = arena,
        .request_id = exchange_request_id(exchange),
        .req = { .arena = arena },
        .reply = { .arena = arena } };
    Err err = router_match(arena, method_of(exchange), exchange_path(exchange), &call->req.route, call->req.parameters,
        &call->req.parameter_count, &allow);
    if (err.kind == ERR_NONE)
        err = check_credential(exchange, call->req.route, &call->req.credential);
    if (err.kind != ERR_NONE) {
        refuse(exchange, err, allow);
        return false;
    }
    *ret_body_max = body_max_of(call->req.route);
    exchange_set_user(exchange, call);
    return true;
}

/* The credential itself goes no further than its digest. */
static void take_headers(Call *call)
{
    const Header *headers;
    size_t count = exchange_headers(call->exchange, &headers), kept = 0;
    Header *mine = NEW(call->arena, Header, count > 0 ? count : 1);
    for (size_t i = 0; i < count; i++)
        if (!str_eq_nocase(headers[i].name, STR("authorization")))
            mine[kept++] = headers[i];
    call->req.headers = mine;
    call->req.header_count = kept;
}

void dispatch_request(Exchange *exchange, void *loop)
{
    (void)loop;
    Call *call = exchange_user(exchange);
    take_headers(call);
    call->req.path = exchange_path(exchange);
    call->req.query = exchange_query(exchange);
    call->req.body = exchange_body(exchange);
    call->req.client = exchange_peer(exchange);
    call->req.content_type = exchange_header(exchange, STR("content-type"));
    exchange_on_gone(exchange, client_gone, call);
    Err err = req_shape(&call->req);
    if (err.kind != ERR_NONE)
        end_with_error(call, err);
    else if (!answer_at_once(call))
        submit(call);
}
