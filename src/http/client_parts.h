/*
 * client_parts.h: how a Client is made inside. Private to this floor.
 *
 * Transfers and their easy handles are pooled: a handle keeps its fixed settings, and only what differs is set again.
 * libcurl's callbacks never remove, resume or start anything: they note it, and the loop does it after them.
 */
#ifndef HTTP_CLIENT_PARTS_H
#define HTTP_CLIENT_PARTS_H

#include "http/client.h"
#include "loop_parts.h"

#include <curl/curl.h>

#define RESPONSE_HEADERS_MAX 256
#define RESPONSE_HEADER_BYTES_MAX ((size_t)(64 * 1024))

/* A socket of libcurl's. A connection's stays in the epoll set while it idles, which spares two system calls a
 * transfer; should it speak while nobody listens (the upstream closes it), it is taken out. Others (the pairs by which
 * look-ups report) leave the set at once: libcurl closes them without a word, and their numbers come back. */
typedef struct Socket {
    Client *client;
    Watch *watch;
    uint32_t events; /* what the epoll set has; 0 without a watch */
    bool is_wanted;
    bool is_connection; /* we opened it, and are asked to close it */
    int fd;
} Socket;

typedef enum TransferStage {
    STAGE_QUEUED,
    STAGE_CONNECT,
    STAGE_SEND,
    STAGE_FIRST_BYTE,
    STAGE_BODY,
    STAGE_OVER,
} TransferStage;

struct Transfer {
    Client *client;
    Transfer *prev, *next; /* of the client's live ones, or of its pool */
    CURL *easy;
    Arena *arena; /* request headers and response headers; wiped after each use */
    TransferOptions options;
    Str secret_line; /* in the arena; wiped when the response's head is complete */
    Str secret;      /* its end: what no response should hold */
    size_t body_sent;
    struct curl_slist *headers;
    TransferStage stage;
    Timer *timer;
    int64_t start_us, stage_us;
    TransferTimes times;
    int status;
    Header *response;
    size_t response_count, response_room, response_bytes;
    unsigned sends;    /* how often libcurl was about to send the request */
    TransferEnd cause; /* why a callback of ours stopped it; TRANSFER_OK: it did not */
    bool is_added;     /* to the multi handle */
    bool is_paused;
    bool headers_done;
    bool has_blob;
    bool had_secret;
    bool is_tainted; /* the secret came back: the handle and its connection are not used again */
};

struct Client {
    Loop *loop;
    CURLM *multi;
    int64_t deadline_us;
    Socket **by_fd;
    size_t by_fd_count;
    Transfer *live;
    Transfer **queue;
    size_t queue_count, queue_room;
    Transfer *pool;
    size_t pool_count;
};

/* --- transfer.c --- */
Transfer *transfer_take(Client *client); /* from the pool, or new */
void transfer_give(Transfer *transfer);
void transfer_free(Transfer *transfer);
CHECKED Err transfer_prepare(Transfer *transfer, const TransferOptions *options);
void transfer_begin_timer(Transfer *transfer);
TransferEnd transfer_end_of(const Transfer *transfer, CURLcode code);

/* --- client.c --- */
void client_note_connection(Client *client, int fd);
void client_forget_socket(Client *client, int fd);
void client_stop_transfer(Transfer *transfer, TransferEnd end); /* removes it and calls on_end; not in a callback */

#endif
