/*
 * http.c: the transport of real life: blocking calls over the HTTP floor, on the thread that asks.
 */
#include "parts.h"

#include "http/client.h"

typedef struct HttpTransport {
    Puller *puller;
    Arena *arena;
    Str base; /* without a slash at its end */
} HttpTransport;

#define PULL_HEADER_BYTES_MAX 16384
#define PULL_CONNECT_TIMEOUT_US (5 * US_PER_S)

static Err http_call(void *arg, Arena *arena, const PullCall *call, PullReply *ret_reply)
{
    const HttpTransport *http = arg;
    Header headers[2] = { { .name = STR("accept"), .value = STR("*/*") } };
    size_t header_count = 1;
    if (call->body.len > 0)
        headers[header_count++] = (Header){ .name = STR("content-type"), .value = STR("application/json") };
    TransferOptions options = {
        .method = call->method,
        .url = arena_fmt(arena, STR_FMT STR_FMT, STR_ARG(http->base), STR_ARG(call->path)),
        .headers = headers,
        .header_count = header_count,
        .body = call->body,
        .connect_timeout_us = PULL_CONNECT_TIMEOUT_US,
        .first_byte_timeout_us = call->timeout_us,
        .total_timeout_us = call->timeout_us,
        .header_bytes_max = PULL_HEADER_BYTES_MAX,
        .ca_pem = http->puller->options.ca_pem,
        .allow_private = http->puller->options.allow_private,
        .stop = &http->puller->stopping,
    };
    if (call->bearer.len > 0) {
        options.secret_header = STR("authorization");
        options.secret_prefix = STR("Bearer ");
        options.secret_value = str_bytes(call->bearer);
    }
    HttpReply reply = { 0 };
    TRY(http_fetch(arena, &options, call->body_max, &reply));
    *ret_reply = (PullReply){
        .status = reply.status,
        .content_type = http_reply_header(&reply, STR("content-type")),
        .content_encoding = http_reply_header(&reply, STR("content-encoding")),
        .body = reply.body,
    };
    return OK;
}

Err pull_http_new(Puller *puller, PullTransport *ret_transport)
{
    Str base = puller->identity.url;
    if (str_is_empty(base))
        return FAIL(ERR_INVALID, "url-needed", "Neither the configuration nor the join token names the control plane.");
    while (str_ends_with(base, STR("/")))
        base = str_first(base, base.len - 1);
    Arena *arena = arena_new();
    HttpTransport *http = NEW(arena, HttpTransport, 1);
    *http = (HttpTransport){ .puller = puller, .arena = arena, .base = arena_str(arena, base) };
    puller->http = http;
    *ret_transport = (PullTransport){ .call = http_call, .arg = http };
    return OK;
}

void pull_http_free(void **http)
{
    if (*http == NULL)
        return;
    Arena *arena = ((HttpTransport *)*http)->arena;
    *http = NULL;
    arena_free(&arena);
}
