/* connection.c: from a socket's bytes to whole requests, one at a time. See server_parts.h. */
#include "server_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/id.h"
#include "base/mem.h"

#define READ_BODY_BYTES ((size_t)(128 * 1024))
/* A FIN may be the second half of a request that was sent with shutdown(SHUT_WR): an answer that comes at once is still
 * delivered. Later the client counts as gone. */
#define GONE_GRACE_US (150 * US_PER_MS)

/* --- reading --- */

static ssize_t read_tls(Connection *connection, void *ptr, size_t len)
{
    unsigned char sequence[8];
    ssize_t got = gnutls_record_recv_seq(connection->tls, ptr, len, sequence);
    if (got >= 0)
        return got;
    errno = got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED ? EAGAIN : ECONNRESET;
    return -1;
}

/* As recv: 0 at the end, -1 with errno. */
static ssize_t read_some(Connection *connection, void *ptr, size_t len)
{
    ssize_t got;
    if (connection->tls != NULL)
        return read_tls(connection, ptr, len);
    do
        got = recvfrom(connection->fd, ptr, len, MSG_DONTWAIT, NULL, NULL);
    while (got < 0 && errno == EINTR);
    return got;
}

static void enter_state(Connection *connection, ConnectionState state)
{
    connection->state = state;
    connection->since_us = loop_now_us(connection->server->loop);
}

/* --- what libmicrohttpd is told --- */

#define TOLD(method, version, rest) method " / " version "\r\nHost: reeve\r\n" rest "\r\n"

static Str told_for(const Exchange *exchange)
{
    static const Str told[2][2][2] = {
        { { STR_INIT(TOLD("GET", "HTTP/1.1", "")), STR_INIT(TOLD("GET", "HTTP/1.1", "Connection: close\r\n")) },
            { STR_INIT(TOLD("HEAD", "HTTP/1.1", "")), STR_INIT(TOLD("HEAD", "HTTP/1.1", "Connection: close\r\n")) } },
        { { STR_INIT(TOLD("GET", "HTTP/1.0", "")), STR_INIT(TOLD("GET", "HTTP/1.0", "Connection: close\r\n")) },
            { STR_INIT(TOLD("HEAD", "HTTP/1.0", "")), STR_INIT(TOLD("HEAD", "HTTP/1.0", "Connection: close\r\n")) } },
    };
    return told[exchange->head.is_http10][exchange->head.is_head][exchange->head.closes];
}

static void request_is_whole(Connection *connection)
{
    Exchange *exchange = connection->exchange;
    if (exchange->refusal.status != 0 || exchange->server->draining || exchange->server->options.proxy_close)
        exchange->head.closes = true;
    connection->told = told_for(exchange);
    connection->told_len = 0;
    enter_state(connection, CONNECTION_READY);
}

static void refuse(Connection *connection, Refusal why)
{
    if (connection->exchange == NULL)
        connection->exchange = exchange_new(connection);
    connection->exchange->refusal = why;
    atomic_fetch_add_explicit(&connection->server->stats.refused, 1, memory_order_relaxed);
    buf_clear(&connection->input); /* nothing after a refusal is read as a request */
    request_is_whole(connection);
}

static ssize_t tell(Connection *connection, void *ptr, size_t len)
{
    Str rest = str_skip(connection->told, connection->told_len);
    size_t n = rest.len < len ? rest.len : len;
    memcpy(ptr, rest.ptr, n);
    connection->told_len += n;
    if (connection->told_len == connection->told.len)
        enter_state(connection, CONNECTION_SERVING);
    return (ssize_t)n;
}

/* --- the body --- */

static void send_continue(Connection *connection)
{
    static const Str go_on = STR_INIT("HTTP/1.1 100 Continue\r\n\r\n");
    if (connection->tls != NULL)
        (void)gnutls_record_send(connection->tls, go_on.ptr, go_on.len);
    else
        (void)send(connection->fd, go_on.ptr, go_on.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static size_t body_missing(const Exchange *exchange)
{
    return exchange->head.body_len - exchange->body_buf.len;
}

static void body_is_whole(Connection *connection)
{
    Exchange *exchange = connection->exchange;
    exchange->body = buf_str(&exchange->body_buf);
    request_is_whole(connection);
}

/* Reads on straight into the body. False: nothing more can be had now (*ret_end says what recv said). */
static bool read_body(Connection *connection, ssize_t *ret_end)
{
    Exchange *exchange = connection->exchange;
    size_t missing = body_missing(exchange);
    size_t want = missing < READ_BODY_BYTES ? missing : READ_BODY_BYTES;
    ssize_t got = read_some(connection, buf_reserve(&exchange->body_buf, want), want);
    *ret_end = got;
    if (got <= 0)
        return false;
    buf_used(&exchange->body_buf, (size_t)got);
    if (body_missing(exchange) == 0) {
        connection->has_more = true; /* we asked for no byte beyond the body */
        body_is_whole(connection);
    }
    return true;
}

/* The body, or its beginning, has come with the head. Returns how many of the bytes were the body's. */
static size_t body_begins(Connection *connection, Str rest)
{
    Exchange *exchange = connection->exchange;
    uint64_t body_len = exchange->head.body_len;
    if (rest.len >= body_len) {
        exchange->body = arena_str(exchange->arena, str_first(rest, body_len));
        request_is_whole(connection);
        return body_len;
    }
    exchange->body_buf = buf_new(body_len);
    buf_add(&exchange->body_buf, rest);
    enter_state(connection, CONNECTION_BODY);
    if (exchange->head.expects_continue && rest.len == 0)
        send_continue(connection);
    return rest.len;
}

/* --- the head --- */

static Refusal body_too_large(Exchange *exchange, size_t body_max)
{
    return (Refusal){ .status = 413,
        .code = STR("body-too-large"),
        .detail = arena_fmt(exchange->arena, "The request body is larger than %zu bytes.", body_max) };
}

/* The head is good: asks admit, and decides what happens to the body. Returns how many bytes of `rest` it took. */
static size_t admit(Connection *connection, Str rest)
{
    Exchange *exchange = connection->exchange;
    const ServerOptions *options = &connection->server->options;
    size_t body_max = options->limits.body_bytes_max;
    atomic_fetch_add_explicit(&connection->server->stats.requests, 1, memory_order_relaxed);
    if (options->admit != NULL && !options->admit(exchange, options->arg, &body_max)) {
        bool body_is_here = rest.len >= exchange->head.body_len;
        exchange->head.closes |= !body_is_here;
        request_is_whole(connection);
        return body_is_here ? exchange->head.body_len : rest.len;
    }
    if (exchange->head.body_len > body_max) {
        refuse(connection, body_too_large(exchange, body_max));
        return rest.len;
    }
    return body_begins(connection, rest);
}

/* data: all bytes of this request so far. False: the head is not complete. */
static bool take_head(Connection *connection, Str data, size_t *ret_taken)
{
    size_t head_len;
    Refusal why = { 0 };
    size_t bytes_max = connection->server->options.limits.header_bytes_max;
    HeadState state = head_scan(&connection->scan, data.ptr, data.len, bytes_max, &head_len, &why);
    if (state == HEAD_MORE)
        return false;
    *ret_taken = data.len;
    connection->scan = (HeadScan){ 0 };
    Exchange *exchange = connection->exchange = exchange_new(connection);
    if (state == HEAD_REFUSED) {
        refuse(connection, why);
        return true;
    }
    Str head = arena_str(exchange->arena, str_first(data, head_len));
    if (!head_read(exchange->arena, head, &exchange->head, &why)) {
        refuse(connection, why);
        return true;
    }
    *ret_taken = head_len + admit(connection, str_skip(data, head_len));
    return true;
}

static void keep_rest(Connection *connection, Str data, size_t taken)
{
    bool is_input = data.ptr == connection->input.ptr;
    bool was_refused = connection->exchange != NULL && connection->exchange->refusal.status != 0;
    if (was_refused)
        buf_clear(&connection->input);
    else if (is_input)
        buf_drop(&connection->input, taken);
    else
        buf_add(&connection->input, str_skip(data, taken));
    if (connection->input.len > 0)
        connection->has_more = true;
}

/* One more read towards a head. False: nothing more can be had now (*ret_end says what recv said). */
static bool read_head(Connection *connection, ssize_t *ret_end)
{
    Server *server = connection->server;
    ssize_t got = read_some(connection, server->scratch, sizeof(server->scratch));
    *ret_end = got;
    if (got <= 0)
        return false;
    if (connection->input.len == 0 && connection->used)
        connection->since_us = loop_now_us(server->loop); /* a kept connection's header time starts at its first byte */
    Str data = str_n(server->scratch, (size_t)got);
    if (connection->input.len > 0) {
        buf_add(&connection->input, data);
        data = buf_str(&connection->input);
    }
    connection->has_more = (size_t)got == sizeof(server->scratch);
    size_t taken;
    if (take_head(connection, data, &taken))
        keep_rest(connection, data, taken);
    else if (data.ptr != connection->input.ptr)
        buf_add(&connection->input, data);
    return true;
}

static bool use_input(Connection *connection)
{
    Str data = buf_str(&connection->input);
    size_t taken;
    connection->has_more = true; /* what the kernel holds beyond the kept bytes is unknown */
    if (data.len == 0 || !take_head(connection, data, &taken))
        return false;
    keep_rest(connection, data, taken);
    return true;
}

/* --- the state machine --- */

/* EAGAIN would tell libmicrohttpd that the next bytes make an event, which those that are here already do not. */
static ssize_t not_now(void)
{
    errno = EINTR;
    return -1;
}

ssize_t connection_read(Connection *connection, void *ptr, size_t len)
{
    ssize_t end;
    if (connection->state == CONNECTION_HEAD && connection->scan.seen < connection->input.len)
        (void)use_input(connection);
    for (;;) {
        switch (connection->state) {
        case CONNECTION_READY:
            return tell(connection, ptr, len);
        case CONNECTION_SERVING:
            return not_now();
        case CONNECTION_HEAD:
            if (!read_head(connection, &end))
                goto ended;
            break;
        case CONNECTION_BODY:
            if (!read_body(connection, &end))
                goto ended;
            break;
        }
    }
ended:
    /* A connection that ends is freed by the daemon's next run, which it does not always ask for. */
    if (end == 0 || errno != EAGAIN)
        connection->server->daemon_ready = true;
    if (!connection->timed_out)
        return end;
    refuse(connection,
        (Refusal){
            .status = 408, .code = STR("request-timeout"), .detail = STR("The request did not arrive in time.") });
    return tell(connection, ptr, len);
}

/* The peer's FIN came with bytes that were read: there will be no event to read the end by. */
static void close_if_deserted(Connection *connection)
{
    char byte;
    if (connection->peer_closed && connection->exchange == NULL && connection->input.len == 0 &&
        recvfrom(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) == 0)
        (void)shutdown(connection->fd, SHUT_RDWR);
}

void connection_next_request(Connection *connection)
{
    connection->exchange = NULL;
    connection->used = true;
    enter_state(connection, CONNECTION_HEAD);
    close_if_deserted(connection);
}

/* --- suspended connections --- */

void connection_resume(Connection *connection)
{
    if (connection == NULL || !connection->suspended)
        return;
    connection->suspended = false;
    connection->server->daemon_ready = true;
    MHD_resume_connection(connection->mhd);
}

static void peer_is_gone(void *arg)
{
    Connection *connection = arg;
    if (connection->exchange != NULL && connection->suspended)
        exchange_gone(connection->exchange);
}

static void start_grace(Connection *connection, bool is_certain)
{
    timer_start(connection->server->loop, &connection->grace, is_certain ? 0 : GONE_GRACE_US, peer_is_gone, connection);
}

/* For a connection that is being suspended: its client's end will make no further event. */
void connection_note_gone(Connection *connection)
{
    if (connection->peer_closed && connection->grace == NULL)
        start_grace(connection, connection->exchange->is_stream);
}

static void on_peer_event(void *arg, uint32_t events)
{
    Connection *connection = arg;
    connection->peer_closed = true;
    connection->server->daemon_ready = true;
    if (connection->exchange == NULL) {
        close_if_deserted(connection);
        return;
    }
    bool is_certain = (events & (EPOLLHUP | EPOLLERR)) != 0 || connection->exchange->is_stream;
    start_grace(connection, is_certain);
}

/* --- life --- */

static void index_by_fd(Server *server, int fd, Connection *connection)
{
    if ((size_t)fd >= server->by_fd_count) {
        size_t count = (size_t)fd + 256;
        server->by_fd = mem_grow(server->by_fd, server->by_fd_count, count, sizeof(Connection *));
        server->by_fd_count = count;
    }
    server->by_fd[fd] = connection;
}

Connection *connection_of_fd(Server *server, int fd)
{
    return fd >= 0 && (size_t)fd < server->by_fd_count ? server->by_fd[fd] : NULL;
}

static void note_peer(Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL)
        return;
    const struct sockaddr *address = info->client_addr;
    if (address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, connection->peer,
            sizeof(connection->peer));
    else if (address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, connection->peer,
            sizeof(connection->peer));
}

/* A peer that vanished, or reads nothing, is cut off after the idle time. */
static void set_user_timeout(int fd, int idle_s)
{
    unsigned timeout_ms = (unsigned)idle_s * 1000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

Connection *connection_new(Server *server, struct MHD_Connection *mhd)
{
    Connection *connection = MEM_NEW(Connection, 1);
    connection->server = server;
    connection->mhd = mhd;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    connection->input = buf_new(server->options.limits.header_bytes_max + READ_BYTES);
    connection->since_us = loop_now_us(server->loop);
    if (server->tls != NULL)
        connection->tls = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
    note_peer(connection);
    set_user_timeout(connection->fd, server->options.limits.idle_s);
    connection->watch = watch_new(server->loop, connection->fd, EPOLLRDHUP | EPOLLET, on_peer_event, connection);
    index_by_fd(server, connection->fd, connection);
    connection->next = server->connections;
    if (connection->next != NULL)
        connection->next->prev = connection;
    server->connections = connection;
    atomic_fetch_add_explicit(&server->stats.accepted, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->stats.connections, 1, memory_order_relaxed);
    return connection;
}

void connection_free(Connection *connection)
{
    Server *server = connection->server;
    if (connection->exchange != NULL)
        exchange_done(connection->exchange, false);
    timer_cancel(&connection->grace);
    watch_free(&connection->watch);
    server->by_fd[connection->fd] = NULL;
    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    atomic_fetch_sub_explicit(&server->stats.connections, 1, memory_order_relaxed);
    buf_release(&connection->input);
    mem_free(connection);
}

/* --- the reaper --- */

static int allowed_s(const Connection *connection)
{
    const ServerLimits *limits = &connection->server->options.limits;
    switch (connection->state) {
    case CONNECTION_HEAD:
        return connection->used && connection->input.len == 0 ? limits->idle_s : limits->header_s;
    case CONNECTION_BODY:
        return limits->body_s;
    default:
        return 0; /* the handler's business, and TCP_USER_TIMEOUT's */
    }
}

/* A half-sent request gets 408: the read side is shut, which makes libmicrohttpd read, which makes us say so. */
static void cut_off(Connection *connection)
{
    bool is_halfway = connection->state == CONNECTION_BODY || connection->input.len > 0;
    connection->timed_out = is_halfway && connection->tls == NULL;
    (void)shutdown(connection->fd, connection->timed_out ? SHUT_RD : SHUT_RDWR);
}

void connections_sweep(void *arg)
{
    Server *server = arg;
    int64_t now_us = loop_now_us(server->loop);
    server->daemon_ready = true;
    for (Connection *connection = server->connections; connection != NULL; connection = connection->next) {
        int seconds = allowed_s(connection);
        if (seconds > 0 && now_us - connection->since_us > seconds * US_PER_S)
            cut_off(connection);
    }
    timer_start(server->loop, &server->sweep, US_PER_S / 2, connections_sweep, server);
}
