/*
 * server.h: the HTTP/1.1 server floor of both daemons: libmicrohttpd behind a strict framing guard.
 *
 * A handler is called once, with the whole request (body within the route's limit), in the loop's thread, and answers
 * now or later. Before any handler runs, the guard has refused every framing that a strict parser refuses or reads as
 * part of an earlier request.
 *
 *     static void on_request(Exchange *exchange, void *arg)      // hand to a worker, answer from loop_post
 *     { exchange_reply(exchange, &(Response){ .status = 200, .content_type = "application/json", .body = STR("{}") });
 * }
 *
 *     // streaming: status and headers first, then chunks as they come, with backpressure
 *     exchange_stream_begin(exchange, &(Response){ .status = 200, .content_type = "text/event-stream" });
 *     if (exchange_stream_write(exchange, chunk) > HIGH_WATER) transfer_pause(...);    // on_drain resumes
 *     exchange_stream_end(exchange);
 *
 * Life: an exchange has two owners, the handler and the connection. The handler lets go by exchange_reply,
 * exchange_stream_end or exchange_stream_abort, and must do one of them, also when the client has left (then it costs
 * nothing and sends nothing). The connection lets go when the reply is out or the client left. When both have,
 * on_close is called exactly once, and after it the pointer is dead. So a pointer in a worker's hands stays good until
 * its reply. (server_free closes what is left: stop the workers first.)
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "http/loop.h"

typedef struct Server Server;
typedef struct Exchange Exchange;

typedef struct Header {
    Str name;
    Str value;
} Header;

typedef struct ServerLimits {
    size_t header_bytes_max; /* 32 KiB */
    size_t body_bytes_max;   /* default; admit may lower or raise it per request */
    unsigned connections_max;
    unsigned connections_per_address_max; /* 0 = none */
    int idle_s;                           /* keep-alive and inactivity */
    int header_s;                         /* from accept to a complete header (slowloris) */
    int body_s;                           /* from header to a complete body */
} ServerLimits;
#define SERVER_LIMITS_DEFAULT                                                                                          \
    ((ServerLimits){ .header_bytes_max = 32 * 1024,                                                                    \
        .body_bytes_max = 256 * 1024,                                                                                  \
        .connections_max = 10000,                                                                                      \
        .connections_per_address_max = 0,                                                                              \
        .idle_s = 75,                                                                                                  \
        .header_s = 10,                                                                                                \
        .body_s = 30 })

typedef struct ServerOptions {
    Str address;   /* "127.0.0.1", "::1", "0.0.0.0" */
    uint16_t port; /* 0: the kernel's choice, see server_port */
    int listen_fd; /* > 0: an inherited or shared socket instead (several loops share one port by SO_REUSEPORT) */
    bool reuse_port;
    Str tls_cert_pem; /* empty: plain */
    Str tls_key_file;
    bool proxy_close; /* `tls: proxy`: close after each response */
    ServerLimits limits;
    /* Called when the header is complete, before the body: may change the body limit, and returns true; or answers at
     * once (401, 404, 405, 413...) with exchange_reply and returns false. The connection is then closed unless the body
     * has come already. on_gone and on_close are not called for what admit answered. */
    bool (*admit)(Exchange *exchange, void *arg, size_t *ret_body_max);
    void (*on_request)(Exchange *exchange, void *arg);
    void *arg;
    /* Refusals of the floor itself (400, 408, 413, 414, 431) go through this, to have the program's error shape; NULL =
     * problem+json. */
    void (*shape_error)(Exchange *exchange, int status, Str code, Str detail, void *arg);
} ServerOptions;

typedef struct Response {
    int status;
    const char *content_type;
    Str body; /* copied unless body_static */
    bool body_static;
    const Header *headers;
    size_t header_count;
    bool close; /* Connection: close */
} Response;

CHECKED Err server_start(Loop *loop, const ServerOptions *options, Server **ret_server);
uint16_t server_port(const Server *server);
void server_drain(Server *server, int64_t within_us, void (*done)(void *arg),
    void *arg); /* stops accepting; done when idle or late */
void server_free(Server **server);
typedef struct ServerStats {
    uint64_t accepted, requests, refused;
    unsigned connections;
} ServerStats;
ServerStats server_stats(const Server *server); /* from any thread */
CHECKED Err server_reload_tls(Server *server, Str cert_pem, Str key_file);
/* Whether server_reload_tls would take them; without a server, so that all of them are asked before any is changed. */
CHECKED Err server_tls_check(Str cert_pem, Str key_file);
/* Whether nobody listens there yet. Servers that share a port (reuse_port) would share it with a stranger, too. */
CHECKED Err server_address_check(Str address, uint16_t port);

/* --- an exchange: one request and its answer --- */
Arena *exchange_arena(Exchange *exchange); /* lives as long as the exchange */
Str exchange_method(const Exchange *exchange);
Str exchange_target(const Exchange *exchange);           /* raw request target, never decoded */
Str exchange_path(const Exchange *exchange);             /* raw, before '?' */
Str exchange_query(const Exchange *exchange);            /* raw, after '?' */
Str exchange_header(const Exchange *exchange, Str name); /* case-insensitive; the empty Str when absent; ptr NULL too */
size_t exchange_headers(const Exchange *exchange, const Header **ret_headers); /* all, in order */
Str exchange_body(const Exchange *exchange);
Str exchange_peer(const Exchange *exchange);       /* "127.0.0.1" */
Str exchange_request_id(const Exchange *exchange); /* "req_…", made here; goes out as x-request-id with every reply */
int64_t exchange_started_us(const Exchange *exchange); /* monotonic, at the first byte of the header */
void exchange_set_user(Exchange *exchange, void *user);
void *exchange_user(const Exchange *exchange);
bool exchange_client_gone(const Exchange *exchange);

/* Called in the loop's thread when the client went away before the reply was complete. */
void exchange_on_gone(Exchange *exchange, void (*fn)(Exchange *exchange, void *arg), void *arg);
/* Called exactly once at the end; `sent` = the whole reply was handed to the kernel. */
void exchange_on_close(Exchange *exchange, void (*fn)(Exchange *exchange, bool sent, void *arg), void *arg);

void exchange_reply(Exchange *exchange, const Response *response);        /* loop's thread */
void exchange_stream_begin(Exchange *exchange, const Response *response); /* body ignored; chunked */
size_t exchange_stream_write(Exchange *exchange, Str chunk);              /* copies; returns bytes waiting in memory */
void exchange_stream_end(Exchange *exchange);
void exchange_stream_abort(Exchange *exchange); /* closes the connection without the last chunk */
void exchange_on_drain(Exchange *exchange, size_t low_water, void (*fn)(Exchange *exchange, void *arg), void *arg);

/* Percent-decodes one path segment or query value: refuses %00, %2F, %5C, "..", ".", malformed escapes, invalid UTF-8.
 */
CHECKED Err url_decode(Arena *arena, Str raw, Str *ret_text);
/* The value of a query parameter: OK and ptr NULL when absent; ERR_INVALID when it stands twice. */
CHECKED Err query_get(Arena *arena, Str query, Str name, Str *ret_value);
const char *http_status_phrase(int status);

#endif
