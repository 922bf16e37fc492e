/*
 * client.h: the HTTP client floor: libcurl multi on the loop for the daemons, and one blocking call for the CLI, the
 * keeper and worker threads.
 *
 * Settings that hold for every transfer: HTTP/1.1, no proxy from the environment, no redirects, no netrc, no cookies,
 * no transparent re-send of a POST, identity encoding, TLS verified, libcurl's and OpenSSL's memory wiped on free
 * (client_start installs the allocators).
 */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "http/server.h"

typedef struct Client Client;
typedef struct Transfer Transfer;

void client_start(void); /* once per process, before threads */

/* Why a transfer ended; the gateway's failure taxonomy begins here. */
typedef enum TransferEnd {
    TRANSFER_OK,      /* a complete response was received, whatever its status */
    TRANSFER_RESOLVE, /* name not found */
    TRANSFER_CONNECT, /* refused, unreachable */
    TRANSFER_CONNECT_TIMEOUT,
    TRANSFER_TLS,
    TRANSFER_DENIED, /* the address is not allowed (private, metadata) */
    TRANSFER_FIRST_BYTE_TIMEOUT,
    TRANSFER_IDLE_TIMEOUT,
    TRANSFER_TOTAL_TIMEOUT,
    TRANSFER_RESET,     /* connection lost before the response was complete */
    TRANSFER_MALFORMED, /* not HTTP, header limits passed, body longer or shorter than said */
    TRANSFER_CANCELLED,
    TRANSFER_END_COUNT,
} TransferEnd;
const char *transfer_end_name(TransferEnd end); /* "connect-timeout" */

typedef struct TransferTimes { /* microseconds since transfer_start; 0 = not reached */
    int64_t connected_us, sent_us, first_byte_us, total_us;
    bool reused; /* an idle connection served it */
} TransferTimes;

typedef struct TransferOptions {
    const char *method;
    Str url;
    const Header *headers; /* copied; values of secret headers are wiped after use */
    size_t header_count;
    Str secret_header; /* e.g. "authorization": sent as secret_header: secret_prefix + secret_value */
    Str secret_prefix;
    Bytes secret_value; /* copied into locked memory, wiped when the request was sent */
    Str body;           /* borrowed until the end */
    int64_t connect_timeout_us, first_byte_timeout_us, idle_timeout_us, total_timeout_us;
    size_t header_bytes_max;
    Str ca_pem;         /* empty: the system's */
    Str unix_socket;    /* empty: TCP */
    bool allow_private; /* loopback, RFC 1918; never link-local metadata unless allow_metadata */
    bool allow_metadata;
    void (*on_headers)(Transfer *transfer, int status, void *arg); /* once, status >= 200 */
    bool (*on_data)(
        Transfer *transfer, Bytes data, void *arg); /* false: pause; the same data comes again after transfer_resume */
    void (*on_end)(Transfer *transfer, TransferEnd end, void *arg); /* exactly once; the transfer is freed after it */
    void *arg;
    const _Atomic bool *stop; /* http_fetch only: given up (cancelled) soon after it becomes true; NULL: never */
} TransferOptions;

CHECKED Err client_new(Loop *loop, unsigned connections_idle_max, Client **ret_client);
void client_free(Client **client);
CHECKED Err transfer_start(Client *client, const TransferOptions *options, Transfer **ret_transfer);
void transfer_cancel(Transfer *transfer); /* on_end(TRANSFER_CANCELLED) comes later, from the loop */
void transfer_resume(Transfer *transfer);
int transfer_status(const Transfer *transfer);
size_t transfer_headers(const Transfer *transfer, const Header **ret_headers); /* of the response */
Str transfer_header(const Transfer *transfer, Str name);
TransferTimes transfer_times(const Transfer *transfer);

/* --- blocking --- */
typedef struct HttpReply {
    int status;
    Header *headers;
    size_t header_count;
    Str body;
} HttpReply;
Str http_reply_header(const HttpReply *reply, Str name);
/* One request on a fresh or kept connection of this thread. Only transport failures are errors (ERR_UNAVAILABLE,
 * ERR_TIMEOUT; the code is transfer_end_name's). The reply is in the arena; at most body_max bytes. */
CHECKED Err http_fetch(Arena *arena, const TransferOptions *options, size_t body_max, HttpReply *ret_reply);

#endif
