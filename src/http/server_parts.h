/*
 * server_parts.h: how a Server is made inside. Private to this floor.
 *
 *   socket ─▶ connection_read ─▶ guard (head.c) ─▶ Exchange ─▶ a request of our own words ─▶ libmicrohttpd ─▶ handler
 *
 * libmicrohttpd reads every connection through connection_read (tap.c), which gives it nothing of what a stranger sent:
 * only `GET / HTTP/1.1` with a `Host`, once per request that the guard has read in full, one at a time. So its lenient
 * parser has nothing to be lenient about; what it does for us is the reply, the connection's life and TLS.
 */
#ifndef HTTP_SERVER_PARTS_H
#define HTTP_SERVER_PARTS_H

#include "http/head.h"
#include "loop_parts.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <stdatomic.h>

#include "base/buf.h"

typedef struct Connection Connection;

typedef enum ConnectionState {
    CONNECTION_HEAD,    /* collecting a head */
    CONNECTION_BODY,    /* collecting a body */
    CONNECTION_READY,   /* a request is whole (or refused); libmicrohttpd has not been told all of it */
    CONNECTION_SERVING, /* libmicrohttpd has it; nothing more is read until its reply is out */
} ConnectionState;

struct Connection {
    Server *server;
    struct MHD_Connection *mhd;
    Connection *prev, *next;
    Watch *watch; /* the peer's FIN or reset, whatever libmicrohttpd is doing */
    Timer *grace;
    Exchange *exchange; /* of this request */
    gnutls_session_t tls;
    Buf input; /* bytes of the head so far, or pipelined ones */
    HeadScan scan;
    Str told; /* our request, as libmicrohttpd reads it */
    size_t told_len;
    int fd;
    ConnectionState state;
    int64_t since_us; /* when this state began */
    bool used;        /* served a request already */
    bool has_more;    /* bytes may wait that no event will announce */
    bool suspended;
    bool peer_closed;
    bool timed_out;
    char peer[INET6_ADDRSTRLEN];
};

typedef enum ExchangePhase {
    EXCHANGE_NEW,      /* the handler was not called yet */
    EXCHANGE_HANDLING, /* it was; no reply yet */
    EXCHANGE_REPLIED,  /* exchange_reply or exchange_stream_begin was called */
    EXCHANGE_QUEUED,   /* libmicrohttpd has the reply */
} ExchangePhase;

struct Exchange {
    Server *server;
    Connection *connection; /* NULL: the client left */
    Exchange *prev, *next;
    Arena *arena;
    Head head;
    Refusal refusal;
    Buf body_buf; /* of a body that did not come with its head */
    Str body;
    Str request_id;
    Str peer;
    int64_t started_us;
    ExchangePhase phase;
    struct MHD_Response *response;
    int status;
    void *user;
    void (*on_gone)(Exchange *exchange, void *arg);
    void *on_gone_arg;
    void (*on_close)(Exchange *exchange, bool sent, void *arg);
    void *on_close_arg;
    void (*on_drain)(Exchange *exchange, void *arg);
    void *on_drain_arg;
    size_t low_water;
    Buf out; /* a stream's bytes that libmicrohttpd has not taken: out.ptr[out_taken, out.len) */
    size_t out_taken;
    bool is_announced; /* libmicrohttpd's first call was made */
    bool gone;
    bool ended; /* the handler will not touch it any more: replied, or its stream ended */
    bool done;  /* the connection is done with it */
    bool sent;
    bool is_stream;
    bool stream_ended;
    bool stream_aborted;
    bool above_low_water;
    bool drain_due;
    bool closing; /* a deferred end is on its way */
};

typedef struct TlsKeys TlsKeys;

#define ARENAS_KEPT 64
#define READ_BYTES (64 * 1024)

struct Server {
    Loop *loop;
    ServerOptions options;
    struct MHD_Daemon *daemon;
    Watch *daemon_watch;
    int listen_fd;
    uint16_t port;
    bool daemon_ready; /* its epoll set has events, or a connection was resumed */
    Connection *connections;
    Connection **by_fd;
    size_t by_fd_count;
    Exchange *exchanges;
    Arena *arenas[ARENAS_KEPT];
    size_t arena_count;
    Timer *sweep;
    struct {
        atomic_uint_fast64_t accepted, requests, refused;
        atomic_uint connections;
    } stats; /* read from any thread */
    bool draining;
    Timer *drain_timer;
    void (*drained)(void *arg);
    void *drained_arg;
    TlsKeys *tls; /* newest first; NULL: plain */
    char scratch[READ_BYTES];
};

/* --- tap.c --- */
void tap_enter(Server *server); /* around every call into the daemon that may read */
void tap_leave(void);
Server *tap_server(void); /* whose daemon this thread is in; NULL outside */

/* --- connection.c --- */
/* Stands for recv: what libmicrohttpd reads. -1 with errno EAGAIN when there is nothing (yet) to tell it. */
ssize_t connection_read(Connection *connection, void *ptr, size_t len);
Connection *connection_new(Server *server, struct MHD_Connection *mhd);
void connection_free(Connection *connection);
Connection *connection_of_fd(Server *server, int fd);
void connection_next_request(Connection *connection); /* the reply is out */
void connection_resume(Connection *connection);
void connections_sweep(void *server);
void connection_note_gone(Connection *connection); /* when it is being suspended */

/* --- exchange.c --- */
Exchange *exchange_new(Connection *connection);
void exchange_fill_reply(Exchange *exchange); /* a refused or answered request gets its response made */
void exchange_gone(Exchange *exchange);       /* the client left before the reply was complete */
void exchange_done(Exchange *exchange, bool sent);
void exchange_free(Exchange *exchange);

/* --- tls.c --- */
CHECKED Err tls_keys_add(Server *server, Str cert_pem, Str key_file);
void tls_keys_free(Server *server);
int tls_keys_retrieve(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
    const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_certs, unsigned *ret_count,
    gnutls_privkey_t *ret_key);

#endif
