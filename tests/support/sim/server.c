#include "server.h"
#include "control.h"
#include "exchange.h"
#include "wheel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BYTES ((size_t)256 << 10)
#define STREAM_AHEAD_BYTES ((size_t)64 << 10)
#define PIPELINED_BYTES_MAX (HEAD_BYTES_MAX + BODY_BYTES_MAX)
#define EVENTS_PER_TURN 512
#define FLUSH_MS 20

typedef enum State {
    STATE_READING,   /* between calls */
    STATE_WAITING,   /* the first byte is not due yet */
    STATE_STREAMING, /* content events are due one by one */
    STATE_DRIPPING,  /* bytes are due one by one */
    STATE_FINISHING, /* the last bytes wait for the socket */
    STATE_HANGING,   /* as a fault asked, until the caller leaves */
    STATE_DEAD,      /* closed; freed at the end of the turn */
} State;

typedef struct Conn {
    Timer timer; /* first: a fired timer is its connection */
    Loop *loop;
    struct Conn *next, *prev;
    int fd;
    State state;
    bool wants_write;
    bool close_after;
    bool continued;
    bool serving;      /* inside conn_serve, which goes on by itself */
    bool has_exchange; /* the exchange has not been journalled yet */
    int64_t due_us;    /* of the next event */
    size_t out_sent;
    Buf in;
    Buf out;
    Exchange exchange;
} Conn;

struct Loop {
    World *world;
    int epoll, listener, wake;
    int64_t epoch_us; /* from the monotonic clock to the time of day */
    int64_t now_us;
    int64_t drain_until_us;
    int64_t flush_at_us;
    int count;
    Wheel wheel;
    Conn conns; /* head of the ring of all */
    Conn *graveyard;
    Prompt prompt;
    Buf out;     /* an answer on its way to the socket */
    Buf scratch; /* a part of an answer while it is built */
    char *received;
};

static int64_t read_clock_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Time of day as it was at the start, moved on by a clock that nobody sets. */
static int64_t clock_us(const Loop *loop)
{
    return read_clock_us(CLOCK_MONOTONIC) + loop->epoch_us;
}

/* --- the life of a connection ------------------------------------------------------------------------------------- */

static void conn_watch(Conn *conn, bool write)
{
    if (conn->wants_write == write)
        return;
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | (write ? EPOLLOUT : 0), .data.ptr = conn };
    conn->wants_write = write;
    epoll_ctl(conn->loop->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static void conn_close(Conn *conn)
{
    Loop *loop = conn->loop;
    if (conn->state == STATE_DEAD)
        return;
    wheel_disarm(&loop->wheel, &conn->timer);
    close(conn->fd);
    conn->state = STATE_DEAD;
    conn->prev->next = conn->next;
    conn->next->prev = conn->prev;
    conn->next = loop->graveyard;
    loop->graveyard = conn;
    loop->count--;
}

static void exchange_finish(Conn *conn, bool complete)
{
    if (!conn->has_exchange)
        return;
    conn->has_exchange = false;
    exchange_end(&conn->exchange, conn->loop->world, complete, clock_us(conn->loop));
}

/* The caller left, or the socket failed. */
static void conn_gone(Conn *conn)
{
    conn->exchange.client_gone = conn->has_exchange;
    exchange_finish(conn, false);
    conn_close(conn);
}

static void conn_reset(Conn *conn)
{
    struct linger hard = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    exchange_finish(conn, false);
    conn_close(conn);
}

/* --- sending --------------------------------------------------------------------------------------------------------
 */

static bool conn_keep(Conn *conn, Text rest)
{
    buf_put(&conn->out, rest);
    conn_watch(conn, true);
    return true;
}

/* Hands bytes to the socket and keeps what it does not take. False when the connection is dead. */
static bool conn_send(Conn *conn, Text bytes)
{
    if (bytes.len == 0)
        return true;
    if (conn->out.len)
        return conn_keep(conn, bytes);
    ssize_t n = send(conn->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn_gone(conn);
        return false;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    if (sent == bytes.len)
        return true;
    return conn_keep(conn, (Text){ bytes.ptr + sent, bytes.len - sent });
}

static void conn_serve_rest(Conn *conn);

/* The call's last byte is with the socket. */
static void conn_done(Conn *conn)
{
    FaultKind kind = conn->exchange.fault.kind;
    bool whole = !conn->has_exchange || (kind != FAULT_CUT_AFTER_EVENTS && kind != FAULT_ERROR_EVENT);
    exchange_finish(conn, whole);
    conn->state = STATE_READING;
    conn->continued = false;
    if (conn->out.size > 4096)
        buf_release(&conn->out);
    if (conn->close_after || atomic_load_explicit(&conn->loop->world->stopping, memory_order_relaxed))
        conn_close(conn);
    else if (!conn->serving)
        conn_serve_rest(conn);
}

/* Nothing more will be added to the answer. */
static void conn_finish(Conn *conn)
{
    if (conn->state == STATE_DEAD)
        return;
    if (conn->out.len == 0)
        conn_done(conn);
    else
        conn->state = STATE_FINISHING;
}

static void conn_at(Conn *conn, int64_t due_us)
{
    conn->due_us = due_us;
    wheel_arm(&conn->loop->wheel, &conn->timer, (due_us + 999) / 1000);
}

static Buf *fresh_out(Conn *conn)
{
    conn->loop->out.len = 0;
    return &conn->loop->out;
}

/* --- answering -------------------------------------------------------------------------------------------------------
 */

static int64_t events_until(const Exchange *exchange, bool *ret_ends_early)
{
    FaultKind kind = exchange->fault.kind;
    *ret_ends_early = kind == FAULT_CUT_AFTER_EVENTS || kind == FAULT_ERROR_EVENT || kind == FAULT_HANG_AFTER_EVENTS;
    return *ret_ends_early && exchange->fault.events < exchange->events ? exchange->fault.events : exchange->events;
}

/* What comes after the content; out may hold content that was not sent yet. */
static void conn_end_stream(Conn *conn, Buf *out, bool early)
{
    Exchange *exchange = &conn->exchange;
    if (exchange->gap_us) { /* as with real providers, the end is a write of its own */
        if (!conn_send(conn, buf_text(out)))
            return;
        out->len = 0;
    }
    if (exchange->fault.kind == FAULT_ERROR_EVENT)
        exchange_stream_error(exchange, out);
    else if (!early)
        exchange_stream_closing(exchange, out);
    conn->close_after |= exchange->fault.kind == FAULT_CUT_AFTER_EVENTS;
    if (exchange->fault.kind == FAULT_HANG_AFTER_EVENTS) {
        conn->state = STATE_HANGING;
        conn_send(conn, buf_text(out));
        return;
    }
    if (conn_send(conn, buf_text(out)))
        conn_finish(conn);
}

/* The next content events: all that are due; without a pace as many as the socket takes. */
static void conn_stream(Conn *conn, Buf *out)
{
    Exchange *exchange = &conn->exchange;
    bool early;
    int64_t until = events_until(exchange, &early);
    while (exchange->events_sent < until) {
        if (exchange->gap_us && conn->due_us > conn->loop->now_us) {
            if (conn_send(conn, buf_text(out)))
                conn_at(conn, conn->due_us);
            return;
        }
        exchange_stream_content(exchange, out);
        conn->due_us += exchange->gap_us;
        if (exchange->events_sent == until || (!exchange->gap_us && out->len < STREAM_AHEAD_BYTES))
            continue;
        if (!conn_send(conn, buf_text(out)))
            return;
        out->len = 0;
        if (conn->out.len) /* goes on when the socket is writable */
            return;
    }
    conn_end_stream(conn, out, early);
}

static void conn_start_stream(Conn *conn)
{
    Exchange *exchange = &conn->exchange;
    Buf *out = fresh_out(conn);
    FaultKind kind = exchange->fault.kind;
    exchange_stream_head(exchange, out);
    if (kind == FAULT_HANG_AFTER_HEADERS) {
        conn->state = STATE_HANGING;
        conn_send(conn, buf_text(out));
        return;
    }
    if (kind == FAULT_EMPTY || kind == FAULT_MALFORMED) {
        exchange_stream_error(exchange, out);
        if (conn_send(conn, buf_text(out)))
            conn_finish(conn);
        return;
    }
    exchange_stream_opening(exchange, out);
    conn->state = STATE_STREAMING;
    conn->due_us = exchange->started_us + exchange->first_us;
    conn_stream(conn, out);
}

/* Builds everything, then lets it out byte by byte. */
static void conn_start_drip(Conn *conn)
{
    Exchange *exchange = &conn->exchange;
    if (exchange_streams(exchange)) {
        exchange_stream_head(exchange, &conn->out);
        exchange_stream_opening(exchange, &conn->out);
        while (exchange->events_sent < exchange->events)
            exchange_stream_content(exchange, &conn->out);
        exchange_stream_closing(exchange, &conn->out);
    } else {
        exchange_answer(exchange, &conn->out, NULL);
    }
    conn->out_sent = 0;
    conn->state = STATE_DRIPPING;
    conn_at(conn, conn->loop->now_us);
}

static void conn_drip(Conn *conn)
{
    ssize_t n = send(conn->fd, conn->out.ptr + conn->out_sent, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn_gone(conn);
        return;
    }
    conn->out_sent += n > 0;
    if (conn->out_sent < conn->out.len) {
        conn_at(conn, conn->due_us + conn->exchange.fault.gap_ms * 1000);
        return;
    }
    conn->out.len = 0;
    conn_done(conn);
}

static void conn_send_whole(Conn *conn)
{
    Exchange *exchange = &conn->exchange;
    Buf *out = fresh_out(conn);
    size_t body_at;
    exchange_answer(exchange, out, &body_at);
    FaultKind kind = exchange->fault.kind;
    bool hangs = kind == FAULT_HANG_AFTER_HEADERS || kind == FAULT_HANG_AFTER_EVENTS;
    bool cut = kind == FAULT_CUT_AFTER_EVENTS || kind == FAULT_HANG_AFTER_EVENTS;
    if (kind == FAULT_HANG_AFTER_HEADERS) {
        exchange->served = (Served){ 0 };
        out->len = body_at;
    }
    if (cut)
        out->len = body_at + (out->len - body_at) / 2;
    exchange->usage_sent &= !cut && !hangs;
    conn->close_after |= cut;
    if (hangs) {
        conn->state = STATE_HANGING;
        conn_send(conn, buf_text(out));
        return;
    }
    if (conn_send(conn, buf_text(out)))
        conn_finish(conn);
}

/* The first byte is due. */
static void conn_answer(Conn *conn)
{
    if (conn->exchange.fault.kind == FAULT_DRIP)
        conn_start_drip(conn);
    else if (exchange_streams(&conn->exchange))
        conn_start_stream(conn);
    else
        conn_send_whole(conn);
}

static void conn_call(Conn *conn, const Request *request)
{
    Exchange *exchange = &conn->exchange;
    exchange_begin(exchange, conn->loop->world, &conn->loop->prompt, &conn->loop->scratch, request, conn->loop->now_us);
    conn->has_exchange = true;
    conn->close_after = !request->keep_alive;
    conn->state = STATE_WAITING;
    if (exchange->fault.kind == FAULT_HANG)
        conn->state = STATE_HANGING;
    else if (exchange->fault.kind == FAULT_RESET)
        conn_reset(conn);
    else if (exchange->first_us > 0)
        conn_at(conn, exchange->started_us + exchange->first_us);
    else
        conn_answer(conn);
}

static void conn_control(Conn *conn, const Request *request, int status, const Buf *body)
{
    Buf *out = fresh_out(conn);
    http_status_line(out, status);
    PUT(out, "content-type: application/json\r\ncontent-length: ");
    buf_int(out, (int64_t)body->len);
    buf_put(out, request->keep_alive ? TEXT("\r\n\r\n") : TEXT("\r\nconnection: close\r\n\r\n"));
    buf_put(out, buf_text(body));
    conn->close_after = !request->keep_alive;
    conn->state = STATE_FINISHING;
    if (conn_send(conn, buf_text(out)))
        conn_finish(conn);
}

static void conn_route(Conn *conn, const Request *request)
{
    Buf *body = &conn->loop->scratch;
    int status;
    body->len = 0;
    if (control_answer(conn->loop->world, request, body, &status))
        conn_control(conn, request, status, body);
    else
        conn_call(conn, request);
}

/* --- receiving -------------------------------------------------------------------------------------------------------
 */

static void conn_refuse(Conn *conn, HttpState why)
{
    static const int statuses[] = { [HTTP_BAD] = 400, [HTTP_CHUNKED] = 411, [HTTP_TOO_LARGE] = 413 };
    Request closing = { .keep_alive = false };
    Buf body = { 0 };
    PUT(&body, "{\"error\":{\"message\":\"The simulated provider cannot read this request.\","
               "\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}");
    conn_control(conn, &closing, statuses[why], &body);
    buf_release(&body);
}

/* Serves the whole requests at the start of bytes; answers how many bytes they were. */
static size_t conn_serve(Conn *conn, Text bytes)
{
    size_t total = 0;
    conn->serving = true;
    while (conn->state == STATE_READING && total < bytes.len) {
        Request request;
        size_t used = 0;
        HttpState state = http_read((Text){ bytes.ptr + total, bytes.len - total }, &request, &used);
        if (state == HTTP_MORE) {
            if (request.expects_continue && !conn->continued)
                conn->continued = conn_send(conn, TEXT("HTTP/1.1 100 Continue\r\n\r\n"));
            break;
        }
        total += used;
        if (state == HTTP_DONE)
            conn_route(conn, &request);
        else
            conn_refuse(conn, state);
    }
    conn->serving = false;
    return total;
}

/* What was received while a call was running. */
static void conn_serve_rest(Conn *conn)
{
    if (conn->in.len == 0)
        return;
    size_t used = conn_serve(conn, buf_text(&conn->in));
    buf_drop(&conn->in, used);
    if (conn->in.len == 0)
        buf_release(&conn->in);
}

static void conn_readable(Conn *conn)
{
    Loop *loop = conn->loop;
    ssize_t n = recv(conn->fd, loop->received, RECEIVE_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || conn->in.len + (size_t)n > PIPELINED_BYTES_MAX) {
        conn_gone(conn);
        return;
    }
    Text bytes = { loop->received, (size_t)n };
    if (conn->in.len || conn->state != STATE_READING) {
        buf_put(&conn->in, bytes);
        if (conn->state == STATE_READING)
            conn_serve_rest(conn);
        return;
    }
    size_t used = conn_serve(conn, bytes);
    if (conn->state != STATE_DEAD)
        buf_put(&conn->in, (Text){ bytes.ptr + used, bytes.len - used });
}

static void conn_writable(Conn *conn)
{
    ssize_t n = send(conn->fd, conn->out.ptr, conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn_gone(conn);
        return;
    }
    buf_drop(&conn->out, n > 0 ? (size_t)n : 0);
    if (conn->out.len)
        return;
    conn_watch(conn, false);
    if (conn->state == STATE_STREAMING)
        conn_stream(conn, fresh_out(conn));
    else if (conn->state == STATE_FINISHING)
        conn_done(conn);
}

static void conn_due(Conn *conn)
{
    if (conn->state == STATE_WAITING)
        conn_answer(conn);
    else if (conn->state == STATE_STREAMING && conn->out.len == 0)
        conn_stream(conn, fresh_out(conn));
    else if (conn->state == STATE_DRIPPING)
        conn_drip(conn);
}

static void conn_event(Conn *conn, uint32_t events)
{
    if (conn->state == STATE_DEAD)
        return;
    if (events & EPOLLIN)
        conn_readable(conn);
    if (conn->state != STATE_DEAD && (events & EPOLLOUT) && conn->out.len)
        conn_writable(conn);
    if (conn->state != STATE_DEAD && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        conn_gone(conn);
}

/* --- the loop
 * ---------------------------------------------------------------------------------------------------------- */

static void loop_add(Loop *loop, int fd)
{
    int one = 1;
    Conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        abort();
    *conn = (Conn){ .loop = loop, .fd = fd, .next = loop->conns.next, .prev = &loop->conns };
    loop->conns.next->prev = conn;
    loop->conns.next = conn;
    loop->count++;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = conn };
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        conn_close(conn);
    pthread_mutex_lock(&loop->world->lock);
    loop->world->stats.connections++;
    pthread_mutex_unlock(&loop->world->lock);
}

static void loop_accept(Loop *loop)
{
    for (int i = 0; i < 64; i++) {
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (loop->count >= CONNECTIONS_MAX)
            close(fd);
        else
            loop_add(loop, fd);
    }
}

static void loop_bury(Loop *loop)
{
    while (loop->graveyard) {
        Conn *conn = loop->graveyard;
        loop->graveyard = conn->next;
        buf_release(&conn->in);
        buf_release(&conn->out);
        free(conn);
    }
}

/* Stops accepting, and ends the connections that wait for a call or hang. */
static void loop_drain(Loop *loop)
{
    if (loop->drain_until_us)
        return;
    loop->drain_until_us = loop->now_us + loop->world->options.drain_s * 1000000;
    close(loop->listener);
    loop->listener = -1;
    for (Conn *conn = loop->conns.next, *next = conn->next; conn != &loop->conns; conn = next, next = conn->next) {
        if (conn->state != STATE_READING && conn->state != STATE_HANGING)
            continue;
        exchange_finish(conn, false);
        conn_close(conn);
    }
}

static int smaller_wait(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static bool journal_waits(Loop *loop)
{
    World *world = loop->world;
    if (!world->journal)
        return false;
    pthread_mutex_lock(&world->lock);
    bool dirty = journal_is_dirty(world->journal);
    pthread_mutex_unlock(&world->lock);
    return dirty;
}

static int loop_wait(Loop *loop)
{
    int wait = wheel_wait(&loop->wheel, loop->now_us / 1000);
    if (journal_waits(loop))
        wait = smaller_wait(wait, FLUSH_MS);
    return loop->drain_until_us ? smaller_wait(wait, 50) : wait;
}

static void loop_flush(Loop *loop)
{
    if (loop->now_us < loop->flush_at_us || !journal_waits(loop))
        return;
    loop->flush_at_us = loop->now_us + FLUSH_MS * 1000;
    pthread_mutex_lock(&loop->world->lock);
    journal_flush(loop->world->journal);
    pthread_mutex_unlock(&loop->world->lock);
}

static void loop_event(Loop *loop, const struct epoll_event *event)
{
    uint64_t ignored;
    if (event->data.ptr == &loop->listener)
        loop_accept(loop);
    else if (event->data.ptr == &loop->wake)
        (void)!read(loop->wake, &ignored, sizeof ignored);
    else
        conn_event(event->data.ptr, event->events);
}

static void loop_turn(Loop *loop)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll, events, EVENTS_PER_TURN, loop_wait(loop));
    loop->now_us = clock_us(loop);
    for (int i = 0; i < count; i++)
        loop_event(loop, &events[i]);
    for (Timer *timer; (timer = wheel_fire(&loop->wheel, loop->now_us / 1000));)
        conn_due((Conn *)timer);
    loop_flush(loop);
    loop_bury(loop);
}

void loop_run(Loop *loop)
{
    while (!loop->drain_until_us || (loop->count > 0 && loop->now_us < loop->drain_until_us)) {
        loop_turn(loop);
        if (atomic_load(&loop->world->stopping))
            loop_drain(loop);
    }
    while (loop->conns.next != &loop->conns)
        conn_gone(loop->conns.next);
    loop_bury(loop);
}

void loop_wake(Loop *loop)
{
    uint64_t one = 1;
    (void)!write(loop->wake, &one, sizeof one);
}

static void loop_watch(Loop *loop, int fd, void *tag)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = tag };
    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event);
}

Loop *loop_new(World *world, int listener)
{
    Loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        abort();
    loop->world = world;
    loop->listener = listener;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->conns.next = loop->conns.prev = &loop->conns;
    loop->received = malloc(RECEIVE_BYTES);
    loop->epoch_us = read_clock_us(CLOCK_REALTIME) - read_clock_us(CLOCK_MONOTONIC);
    loop->now_us = clock_us(loop);
    if (!loop->received || loop->epoll < 0 || loop->wake < 0)
        abort();
    wheel_init(&loop->wheel, loop->now_us / 1000);
    loop_watch(loop, listener, &loop->listener);
    loop_watch(loop, loop->wake, &loop->wake);
    return loop;
}

void loop_free(Loop *loop)
{
    close(loop->epoll);
    close(loop->wake);
    if (loop->listener >= 0)
        close(loop->listener);
    prompt_release(&loop->prompt);
    buf_release(&loop->out);
    buf_release(&loop->scratch);
    free(loop->received);
    free(loop);
}

int server_listen(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 4096) == 0)
        return fd;
    close(fd);
    return -1;
}

int server_port(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    return ntohs(address.sin_port);
}
