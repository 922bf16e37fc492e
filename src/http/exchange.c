/*
 * exchange.c: one request and its answer. See server.h.
 *
 * An exchange has two owners: the handler, until it replied or ended its stream, and the connection, until the reply is
 * out or the client left. Who lets go last frees it.
 */
#include "server_parts.h"

#include <assert.h>
#include <string.h>

#include "base/id.h"
#include "base/mem.h"
#include "http/problem.h"

/* What a stream may hold in memory before it is taken for a producer that ignores backpressure. */
#define STREAM_BYTES_MAX ((size_t)(256 * 1024 * 1024))

/* --- life --- */

static Arena *take_arena(Server *server)
{
    return server->arena_count > 0 ? server->arenas[--server->arena_count] : arena_new();
}

static void give_arena(Server *server, Arena *arena)
{
    if (server->arena_count == ARENAS_KEPT) {
        arena_free(&arena);
        return;
    }
    arena_clear(arena);
    server->arenas[server->arena_count++] = arena;
}

Exchange *exchange_new(Connection *connection)
{
    Server *server = connection->server;
    Arena *arena = take_arena(server);
    Exchange *exchange = NEW(arena, Exchange, 1);
    exchange->arena = arena;
    exchange->server = server;
    exchange->connection = connection;
    exchange->started_us = connection->used ? loop_now_us(server->loop) : connection->since_us;
    exchange->request_id = typeid_format(arena, STR("req"), uuid_v7(time_now()));
    exchange->peer = arena_str(arena, str_from_c(connection->peer));
    exchange->out = buf_new(STREAM_BYTES_MAX);
    exchange->next = server->exchanges;
    if (exchange->next != NULL)
        exchange->next->prev = exchange;
    server->exchanges = exchange;
    return exchange;
}

void exchange_free(Exchange *exchange)
{
    Server *server = exchange->server;
    if (exchange->prev != NULL)
        exchange->prev->next = exchange->next;
    else
        server->exchanges = exchange->next;
    if (exchange->next != NULL)
        exchange->next->prev = exchange->prev;
    loop_forget(server->loop, exchange);
    if (exchange->response != NULL)
        MHD_destroy_response(exchange->response);
    buf_release(&exchange->body_buf);
    buf_release(&exchange->out);
    give_arena(server, exchange->arena);
}

static void close_now(void *arg)
{
    Exchange *exchange = arg;
    if (exchange->on_close != NULL)
        exchange->on_close(exchange, exchange->sent, exchange->on_close_arg);
    exchange_free(exchange);
}

/* Put off to the end of the turn: the caller may still hold the pointer in its hands. */
static void close_if_over(Exchange *exchange)
{
    if (!exchange->ended || !exchange->done || exchange->closing)
        return;
    exchange->closing = true;
    loop_defer(exchange->server->loop, close_now, exchange);
}

static void handler_ended(Exchange *exchange)
{
    exchange->ended = true;
    close_if_over(exchange);
}

/* The connection lets go: `sent` when the whole reply went to the kernel. */
void exchange_done(Exchange *exchange, bool sent)
{
    if (exchange->connection != NULL)
        exchange->connection->exchange = NULL;
    exchange->connection = NULL;
    exchange->done = true;
    exchange->sent = sent && !exchange->gone && exchange->ended;
    if (exchange->phase == EXCHANGE_NEW)
        exchange->ended = true; /* no handler ever saw it */
    if (!exchange->ended && !exchange->gone) {
        exchange->gone = true;
        if (exchange->on_gone != NULL)
            exchange->on_gone(exchange, exchange->on_gone_arg);
    }
    close_if_over(exchange);
}

void exchange_gone(Exchange *exchange)
{
    if (exchange->gone)
        return;
    exchange->gone = true;
    connection_resume(exchange->connection); /* server.c closes it, now that it is marked */
    if (exchange->on_gone != NULL && !exchange->ended)
        exchange->on_gone(exchange, exchange->on_gone_arg);
}

/* --- reading the request --- */

Arena *exchange_arena(Exchange *exchange)
{
    return exchange->arena;
}

Str exchange_method(const Exchange *exchange)
{
    return exchange->head.method;
}

Str exchange_target(const Exchange *exchange)
{
    return exchange->head.target;
}

Str exchange_path(const Exchange *exchange)
{
    return exchange->head.path;
}

Str exchange_query(const Exchange *exchange)
{
    return exchange->head.query;
}

Str exchange_header(const Exchange *exchange, Str name)
{
    for (size_t i = 0; i < exchange->head.header_count; i++)
        if (exchange->head.headers[i].name.len == name.len && str_eq_nocase(exchange->head.headers[i].name, name))
            return exchange->head.headers[i].value;
    return (Str){ 0 };
}

size_t exchange_headers(const Exchange *exchange, const Header **ret_headers)
{
    *ret_headers = exchange->head.headers;
    return exchange->head.header_count;
}

Str exchange_body(const Exchange *exchange)
{
    return exchange->body;
}

Str exchange_peer(const Exchange *exchange)
{
    return exchange->peer;
}

Str exchange_request_id(const Exchange *exchange)
{
    return exchange->request_id;
}

int64_t exchange_started_us(const Exchange *exchange)
{
    return exchange->started_us;
}

void exchange_set_user(Exchange *exchange, void *user)
{
    exchange->user = user;
}

void *exchange_user(const Exchange *exchange)
{
    return exchange->user;
}

bool exchange_client_gone(const Exchange *exchange)
{
    return exchange->gone;
}

void exchange_on_gone(Exchange *exchange, void (*fn)(Exchange *exchange, void *arg), void *arg)
{
    exchange->on_gone = fn;
    exchange->on_gone_arg = arg;
}

void exchange_on_close(Exchange *exchange, void (*fn)(Exchange *exchange, bool sent, void *arg), void *arg)
{
    exchange->on_close = fn;
    exchange->on_close_arg = arg;
}

void exchange_on_drain(Exchange *exchange, size_t low_water, void (*fn)(Exchange *exchange, void *arg), void *arg)
{
    exchange->low_water = low_water;
    exchange->on_drain = fn;
    exchange->on_drain_arg = arg;
}

/* --- replying --- */

/* A header of ours that cannot be sent (a line end in a value) is a bug or an attack through us: it is left out. */
static void add_header(Exchange *exchange, Str name, Str value)
{
    if (memchr(name.ptr, 0, name.len) != NULL || (value.len > 0 && memchr(value.ptr, 0, value.len) != NULL))
        return;
    (void)MHD_add_response_header(
        exchange->response, arena_str(exchange->arena, name).ptr, arena_str(exchange->arena, value).ptr);
}

static bool is_framing_header(Str name)
{
    static const Str framing[] = { STR_INIT("content-length"), STR_INIT("transfer-encoding"), STR_INIT("connection"),
        STR_INIT("keep-alive"), STR_INIT("upgrade"), STR_INIT("trailer"), STR_INIT("date"), STR_INIT("x-request-id") };
    for (size_t i = 0; i < COUNT_OF(framing); i++)
        if (str_eq_nocase(framing[i], name))
            return true;
    return false;
}

static void add_headers(Exchange *exchange, const Response *response)
{
    (void)MHD_add_response_header(exchange->response, "x-request-id", exchange->request_id.ptr);
    if (response->content_type != NULL)
        (void)MHD_add_response_header(exchange->response, "content-type", response->content_type);
    for (size_t i = 0; i < response->header_count; i++)
        if (!is_framing_header(response->headers[i].name))
            add_header(exchange, response->headers[i].name, response->headers[i].value);
    if (exchange->head.closes || exchange->server->draining)
        (void)MHD_add_response_header(exchange->response, "Connection", "close");
}

static void respond(Exchange *exchange, struct MHD_Response *made, const Response *response)
{
    exchange->response = made;
    if (made == NULL)
        die("out of memory (response)");
    exchange->status = response->status;
    /* A client that has shut its side makes no further event: the connection would linger. */
    exchange->head.closes |= exchange->connection->peer_closed || response->close;
    add_headers(exchange, response);
    exchange->phase = EXCHANGE_REPLIED;
    connection_resume(exchange->connection);
}

void exchange_reply(Exchange *exchange, const Response *response)
{
    assert(exchange->phase < EXCHANGE_REPLIED);
    if (exchange->connection == NULL) {
        exchange->phase = EXCHANGE_REPLIED;
        handler_ended(exchange);
        return;
    }
    Str body = response->body_static ? response->body : arena_str(exchange->arena, response->body);
    /* The arena outlives libmicrohttpd's use of the body, so it need not copy it again. */
    respond(exchange, MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr, MHD_RESPMEM_PERSISTENT),
        response);
    handler_ended(exchange);
}

/* --- streaming --- */

static size_t waiting(const Exchange *exchange)
{
    return exchange->out.len - exchange->out_taken;
}

static void drained(void *arg)
{
    Exchange *exchange = arg;
    exchange->drain_due = false;
    if (exchange->on_drain != NULL && !exchange->ended && !exchange->gone)
        exchange->on_drain(exchange, exchange->on_drain_arg);
}

static void note_drain(Exchange *exchange)
{
    if (!exchange->above_low_water || waiting(exchange) > exchange->low_water || exchange->drain_due)
        return;
    exchange->above_low_water = false;
    exchange->drain_due = true;
    loop_defer(exchange->server->loop, drained, exchange);
}

/* libmicrohttpd asks for the next bytes of a stream: its send buffer is empty. */
static ssize_t next_bytes(void *arg, uint64_t position, char *ptr, size_t max)
{
    (void)position;
    Exchange *exchange = arg;
    size_t n = waiting(exchange) < max ? waiting(exchange) : max;
    if (exchange->stream_aborted || exchange->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && exchange->stream_ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        /* To return 0 without suspending would be a busy loop. */
        exchange->connection->suspended = true;
        MHD_suspend_connection(exchange->connection->mhd);
        connection_note_gone(exchange->connection);
        return 0;
    }
    memcpy(ptr, exchange->out.ptr + exchange->out_taken, n);
    exchange->out_taken += n;
    if (waiting(exchange) == 0) {
        buf_clear(&exchange->out);
        exchange->out_taken = 0;
    }
    note_drain(exchange);
    return (ssize_t)n;
}

#define STREAM_BLOCK_BYTES ((size_t)(4 * 1024))

void exchange_stream_begin(Exchange *exchange, const Response *response)
{
    assert(exchange->phase < EXCHANGE_REPLIED);
    exchange->is_stream = true;
    if (exchange->connection == NULL) {
        exchange->phase = EXCHANGE_REPLIED;
        return;
    }
    respond(exchange,
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, next_bytes, exchange, NULL), response);
}

size_t exchange_stream_write(Exchange *exchange, Str chunk)
{
    assert(exchange->is_stream && !exchange->ended);
    if (exchange->connection == NULL || exchange->gone)
        return 0;
    if (exchange->out_taken > 0 && exchange->out_taken >= exchange->out.len / 2) {
        buf_drop(&exchange->out, exchange->out_taken);
        exchange->out_taken = 0;
    }
    buf_add(&exchange->out, chunk);
    if (buf_overflowed(&exchange->out)) {
        exchange_stream_abort(exchange);
        return 0;
    }
    if (waiting(exchange) > exchange->low_water)
        exchange->above_low_water = true;
    connection_resume(exchange->connection);
    return waiting(exchange);
}

void exchange_stream_end(Exchange *exchange)
{
    assert(exchange->is_stream && !exchange->ended);
    exchange->stream_ended = true;
    connection_resume(exchange->connection);
    handler_ended(exchange);
}

void exchange_stream_abort(Exchange *exchange)
{
    if (exchange->ended)
        return;
    exchange->stream_aborted = true;
    connection_resume(exchange->connection);
    handler_ended(exchange);
}

/* --- the floor's own refusals --- */

static void refuse_as_problem(Exchange *exchange)
{
    Response response = { .status = exchange->refusal.status, .content_type = "application/problem+json" };
    response.body = problem_text(exchange->arena, exchange->refusal.status, exchange->refusal.code,
        exchange->refusal.detail, exchange->request_id, (FieldErrs){ 0 });
    exchange_reply(exchange, &response);
}

void exchange_fill_reply(Exchange *exchange)
{
    const ServerOptions *options = &exchange->server->options;
    const Refusal *why = &exchange->refusal;
    if (exchange->phase != EXCHANGE_NEW)
        return;
    exchange->phase = EXCHANGE_HANDLING;
    if (why->status == 0) {
        options->on_request(exchange, options->arg);
        return;
    }
    if (options->shape_error != NULL)
        options->shape_error(exchange, why->status, why->code, why->detail, options->arg);
    if (exchange->phase == EXCHANGE_HANDLING)
        refuse_as_problem(exchange);
}
