/*
 * http.h: reading one HTTP/1.1 request from bytes. Bodies come with a Content-Length; chunked ones are refused (411).
 */
#ifndef SIM_HTTP_H
#define SIM_HTTP_H

#include "text.h"

#define HEAD_BYTES_MAX ((size_t)64 << 10)
#define BODY_BYTES_MAX ((size_t)64 << 20)

typedef struct Request {
    Text method, path, query, body;
    Text authorization; /* the header as it came */
    Text bearer;        /* the token of an Authorization: Bearer */
    Text api_key;
    Text pace;
    Text anthropic_version;
    int64_t length;
    bool keep_alive;
    bool expects_continue;
    bool chunked;
} Request;

typedef enum HttpState { HTTP_MORE, HTTP_DONE, HTTP_BAD, HTTP_CHUNKED, HTTP_TOO_LARGE } HttpState;

/* HTTP_DONE: *ret_used bytes were this request's. HTTP_MORE: call again with more bytes from the same start. */
HttpState http_read(Text bytes, Request *ret_request, size_t *ret_used);

/* The status line, e.g. "HTTP/1.1 200 OK\r\n". */
void http_status_line(Buf *out, int status);

#endif
