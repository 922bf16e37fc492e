/* server.c: the daemon, its callbacks, drain. See server.h and server_parts.h. */
#include "server_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* libmicrohttpd's own memory per connection: our short request, the reply's header, a block of a stream. It clears the
 * whole of it for each request, so all of it is resident. */
#define DAEMON_POOL_BYTES ((size_t)(16 * 1024))
#define LISTEN_BACKLOG 1024
#define LINGER_BYTES_MAX ((size_t)(1024 * 1024))

/* --- the daemon's callbacks --- */

static Connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void on_connection(
    void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    Server *server = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *context = connection_new(server, mhd);
    else if (*context != NULL)
        connection_free(*context);
}

static enum MHD_Result suspend(Connection *connection)
{
    connection->suspended = true;
    connection->has_more = false; /* a resumed connection is read again in any case */
    MHD_suspend_connection(connection->mhd);
    connection_note_gone(connection);
    return MHD_YES;
}

static enum MHD_Result queue_reply(Connection *connection)
{
    Exchange *exchange = connection->exchange;
    /* Pipelined bytes that we hold make no event: a suspended and resumed connection is read without one. */
    if (connection->has_more && !exchange->head.closes) {
        enum MHD_Result result = suspend(connection);
        connection_resume(connection);
        return result;
    }
    exchange->phase = EXCHANGE_QUEUED;
    return MHD_queue_response(connection->mhd, (unsigned)exchange->status, exchange->response);
}

/* Called when libmicrohttpd has read our request, and again whenever the connection is resumed. */
static enum MHD_Result on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
    const char *version, const char *upload, size_t *upload_len, void **context)
{
    (void)arg, (void)url, (void)method, (void)version, (void)upload, (void)upload_len, (void)context;
    Connection *connection = connection_of(mhd);
    if (connection == NULL || connection->state != CONNECTION_SERVING || connection->exchange == NULL) {
        log_error("a request came past the guard", LOG_C("cause", "tap.c is without effect"));
        return MHD_NO;
    }
    Exchange *exchange = connection->exchange;
    if (exchange->gone)
        return MHD_NO;
    /* The first call is for the header, the second for the (empty) body: a reply queued in the first one closes. */
    if (!exchange->is_announced) {
        exchange->is_announced = true;
        return MHD_YES;
    }
    exchange_fill_reply(exchange);
    if (exchange->phase == EXCHANGE_REPLIED)
        return queue_reply(connection);
    if (exchange->phase == EXCHANGE_QUEUED)
        return MHD_YES;
    return suspend(connection);
}

/* What a client still sends after a reply that closes would otherwise reset the connection under the reply. */
static void read_away(const Connection *connection)
{
    char *scratch = connection->server->scratch;
    for (size_t total = 0; total < LINGER_BYTES_MAX; total += READ_BYTES)
        if (recvfrom(connection->fd, scratch, READ_BYTES, MSG_DONTWAIT, NULL, NULL) <= 0)
            return;
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    (void)arg, (void)context;
    Connection *connection = connection_of(mhd);
    if (connection == NULL || connection->exchange == NULL)
        return;
    Exchange *exchange = connection->exchange;
    bool is_sent =
        code == MHD_REQUEST_TERMINATED_COMPLETED_OK && exchange->phase == EXCHANGE_QUEUED && !exchange->stream_aborted;
    if (exchange->head.closes && connection->tls == NULL)
        read_away(connection);
    timer_cancel(&connection->grace);
    if (exchange->head.closes || !is_sent)
        connection->server->daemon_ready = true; /* see connection_read: closing takes a second look */
    exchange_done(exchange, is_sent);
    connection_next_request(connection);
}

static void on_log(void *arg, const char *format, va_list args) PRINTF(2, 0);

static void on_log(void *arg, const char *format, va_list args)
{
    (void)arg;
    char text[256];
    int len = vsnprintf(text, sizeof(text), format, args);
    size_t shown = len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    log_debug("libmicrohttpd", LOG_STR("text", str_trim(str_n(text, shown))));
}

_Noreturn static void on_panic(void *arg, const char *file, unsigned line, const char *reason)
{
    (void)arg;
    die("libmicrohttpd: %s (%s:%u)", reason == NULL ? "no reason" : reason, file, line);
}

/* --- its share of the loop --- */

static void run_daemon(Server *server)
{
    server->daemon_ready = false;
    tap_enter(server);
    (void)MHD_run(server->daemon);
    tap_leave();
}

static bool is_due(const Server *server)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    return server->daemon_ready || (MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0);
}

static int64_t server_deadline_us(void *arg)
{
    return is_due(arg) ? 0 : INT64_MAX;
}

static void check_drained(Server *server);

static void server_turn(void *arg)
{
    Server *server = arg;
    if (is_due(server))
        run_daemon(server);
    if (server->draining)
        check_drained(server);
}

static void on_daemon_ready(void *arg, uint32_t events)
{
    (void)events;
    ((Server *)arg)->daemon_ready = true;
}

/* --- starting --- */

static CHECKED Err parse_address(const ServerOptions *options, struct sockaddr_storage *ret_address, socklen_t *ret_len)
{
    char text[INET6_ADDRSTRLEN + 2];
    if (options->address.len == 0 || options->address.len >= sizeof(text))
        return FAIL(ERR_INVALID, "bad-address", "The listen address must be an IPv4 or IPv6 address.");
    memcpy(text, options->address.ptr, options->address.len);
    text[options->address.len] = '\0';
    struct sockaddr_in *v4 = (void *)ret_address;
    struct sockaddr_in6 *v6 = (void *)ret_address;
    memset(ret_address, 0, sizeof(*ret_address));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(options->port);
        *ret_len = sizeof(*v4);
        return OK;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(options->port);
        *ret_len = sizeof(*v6);
        return OK;
    }
    return FAIL(ERR_INVALID, "bad-address", "The listen address must be an IPv4 or IPv6 address.");
}

/* Its words hold until this thread fails to listen again. */
static Err cannot_listen(const ServerOptions *options, int number)
{
    static _Thread_local char detail[160];
    const char *why = number == EADDRINUSE      ? "in use by another program"
                      : number == EADDRNOTAVAIL ? "not an address of this machine"
                      : number == EACCES        ? "not for this user to open"
                                                : strerrordesc_np(number);
    snprintf(detail, sizeof detail, "The address " STR_FMT " port %u cannot be served: it is %s.",
        STR_ARG(str_first(options->address, 64)), options->port, why);
    return (Err){ .kind = ERR_UNAVAILABLE, .code = STR("listen"), .detail = str_from_c(detail) };
}

static CHECKED Err listen_on(const ServerOptions *options, int *ret_fd)
{
    struct sockaddr_storage address;
    socklen_t len;
    TRY(parse_address(options, &address, &len));
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0)
        return FAIL(ERR_INTERNAL, "listen", "A socket could not be made: too many open files?");
    bool is_set = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0;
    if (options->reuse_port)
        is_set = is_set && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0;
    if (address.ss_family == AF_INET6)
        is_set = is_set && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0;
    if (!is_set || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        Err err = cannot_listen(options, errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return OK;
}

Err server_address_check(Str address, uint16_t port)
{
    ServerOptions options = { .address = address, .port = port };
    int fd;
    if (port == 0)
        return OK;
    TRY(listen_on(&options, &fd));
    close(fd);
    return OK;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static CHECKED Err start_daemon(Server *server)
{
    const ServerLimits *limits = &server->options.limits;
    bool is_tls = server->tls != NULL;
    /* After OPTION_ARRAY's terminator nothing is read: without TLS the second list is empty. */
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" },
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)tls_keys_retrieve },
        { MHD_OPTION_END, 0, NULL },
    };
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (is_tls ? MHD_USE_TLS : 0);
    MHD_set_panic_func(on_panic, NULL);
    server->daemon = MHD_start_daemon(flags, server->port, NULL, NULL, on_access, server, /* */
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,                                         /* */
        MHD_OPTION_LISTEN_SOCKET, server->listen_fd,                                      /* */
        MHD_OPTION_CONNECTION_LIMIT, limits->connections_max,                             /* */
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, limits->connections_per_address_max,          /* */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, DAEMON_POOL_BYTES,                            /* */
        MHD_OPTION_CONNECTION_TIMEOUT, 0U,                                                /* */
        MHD_OPTION_STRICT_FOR_CLIENT, 1,                                                  /* */
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,                              /* */
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,                                /* */
        MHD_OPTION_ARRAY, is_tls ? tls : &tls[2],                                         /* */
        MHD_OPTION_END);
    if (server->daemon == NULL)
        return FAIL(ERR_INTERNAL, "listen", "The HTTP daemon could not be started.");
    int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    server->daemon_watch = watch_new(server->loop, epoll_fd, EPOLLIN, on_daemon_ready, server);
    return OK;
}

static CHECKED Err prepare(Server *server)
{
    const ServerOptions *options = &server->options;
    if (options->tls_cert_pem.len > 0)
        TRY(tls_keys_add(server, options->tls_cert_pem, options->tls_key_file));
    if (options->listen_fd > 0)
        server->listen_fd = options->listen_fd;
    else
        TRY(listen_on(options, &server->listen_fd));
    server->port = port_of(server->listen_fd);
    return start_daemon(server);
}

Err server_start(Loop *loop, const ServerOptions *options, Server **ret_server)
{
    Server *server = MEM_NEW(Server, 1);
    server->loop = loop;
    server->options = *options;
    server->listen_fd = -1;
    Err err = prepare(server);
    if (err.kind != ERR_NONE) {
        server_free(&server);
        return err;
    }
    loop_part_add(loop, (LoopPart){ .deadline_us = server_deadline_us, .turn = server_turn, .arg = server });
    connections_sweep(server);
    *ret_server = server;
    return OK;
}

uint16_t server_port(const Server *server)
{
    return server->port;
}

ServerStats server_stats(const Server *server)
{
    return (ServerStats){ .accepted = server->stats.accepted,
        .requests = server->stats.requests,
        .refused = server->stats.refused,
        .connections = server->stats.connections };
}

Err server_reload_tls(Server *server, Str cert_pem, Str key_file)
{
    if (server->tls == NULL)
        return FAIL(ERR_INVALID, "not-tls", "The server was started without TLS.");
    return tls_keys_add(server, cert_pem, key_file);
}

/* --- ending --- */

static void stop_listening(Server *server)
{
    if (server->daemon == NULL || server->listen_fd < 0)
        return;
    (void)MHD_quiesce_daemon(server->daemon);
    close(server->listen_fd);
    server->listen_fd = -1;
}

static void check_drained(Server *server)
{
    if (server->drained == NULL || (server->stats.connections > 0 && server->drain_timer != NULL))
        return;
    void (*done)(void *arg) = server->drained;
    server->drained = NULL;
    timer_cancel(&server->drain_timer);
    loop_defer(server->loop, done, server->drained_arg);
}

static void drain_is_late(void *arg)
{
    check_drained(arg);
}

static bool is_idle(const Connection *connection)
{
    return connection->state == CONNECTION_HEAD && connection->input.len == 0;
}

void server_drain(Server *server, int64_t within_us, void (*done)(void *arg), void *arg)
{
    server->draining = true;
    server->drained = done;
    server->drained_arg = arg;
    stop_listening(server);
    for (Connection *connection = server->connections; connection != NULL; connection = connection->next)
        if (is_idle(connection))
            (void)shutdown(connection->fd, SHUT_RDWR);
    timer_start(server->loop, &server->drain_timer, within_us, drain_is_late, server);
}

/* A daemon with suspended connections must not be stopped: it would end the program. */
static void let_all_go(Server *server)
{
    for (Connection *connection = server->connections; connection != NULL; connection = connection->next) {
        if (connection->exchange != NULL)
            exchange_gone(connection->exchange);
        (void)shutdown(connection->fd, SHUT_RDWR);
    }
    run_daemon(server);
}

/* Handlers that still had an exchange in hand are told that it is over. */
static void end_exchanges(Server *server)
{
    while (server->exchanges != NULL) {
        Exchange *exchange = server->exchanges;
        if (exchange->on_close != NULL)
            exchange->on_close(exchange, exchange->sent, exchange->on_close_arg);
        exchange_free(exchange);
    }
}

void server_free(Server **server_ptr)
{
    Server *server = TAKE(*server_ptr);
    if (server == NULL)
        return;
    loop_part_remove(server->loop, server);
    timer_cancel(&server->sweep);
    timer_cancel(&server->drain_timer);
    if (server->daemon != NULL) {
        stop_listening(server);
        let_all_go(server);
        watch_free(&server->daemon_watch);
        tap_enter(server);
        MHD_stop_daemon(server->daemon);
        tap_leave();
    } else if (server->listen_fd >= 0 && server->options.listen_fd <= 0)
        close(server->listen_fd);
    end_exchanges(server);
    tls_keys_free(server);
    while (server->arena_count > 0)
        arena_free(&server->arenas[--server->arena_count]);
    mem_free(server->by_fd);
    mem_free(server);
}
