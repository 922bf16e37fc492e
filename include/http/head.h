/*
 * head.h: the strict reading of one request's head (RFC 9112), as a function of bytes.
 *
 *     GET /v1/projects HTTP/1.1 CRLF
 *     Host: api CRLF
 *     CRLF
 *
 * What is not plainly well formed is refused with a status and the connection is closed: nothing is repaired, nothing
 * is skipped to find the next request. So no proxy before us and no parser behind us can disagree about where a request
 * ends.
 */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "http/server.h"

#define HEAD_TARGET_BYTES_MAX 8192
#define HEAD_HEADERS_MAX 100
#define HEAD_LENGTH_DIGITS_MAX 15
#define HEAD_EMPTY_LINES_MAX 2 /* before a request line; RFC 9112 2.2 */

typedef struct Refusal {
    int status; /* 0: none */
    Str code;
    Str detail;
} Refusal;

typedef struct Head {
    Str method, target, path, query;
    const Header *headers;
    size_t header_count;
    uint64_t body_len;
    bool is_head;
    bool is_http10;
    bool expects_continue;
    bool closes; /* the connection is not reused after this request */
} Head;

/* Looks for the end of a head in bytes that arrive in pieces; zeroed at the start of a request. */
typedef struct HeadScan {
    size_t seen;       /* bytes already looked at */
    size_t line;       /* where the current line starts */
    size_t empty;      /* bytes of the empty lines before the request line */
    size_t first_line; /* length of the request line, once complete */
} HeadScan;

typedef enum HeadState { HEAD_MORE, HEAD_COMPLETE, HEAD_REFUSED } HeadState;

/* ptr[0, len) is all that came of this request so far. HEAD_COMPLETE: the head is ptr[0, *ret_len). */
HeadState head_scan(HeadScan *scan, const char *ptr, size_t len, size_t bytes_max, size_t *ret_len, Refusal *ret_why);

/* Reads a complete head. The result borrows from `head` (which must live in the arena, or as long as the result). Of a
 * head that is refused behind its request line, that line is still read. */
bool head_read(Arena *arena, Str head, Head *ret_head, Refusal *ret_why);

#endif
