/*
 * problem.h: an Err as an RFC 9457 problem document.
 *
 *   { "type": "/problems/<code>", "title", "status", "detail", "code", "request_id", "errors": [{ "pointer", "detail"
 * }] }
 */
#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include "http/server.h"

int err_http_status(Err err);
Str problem_document(Arena *arena, Err err, Str request_id);
/* The same from its parts. */
Str problem_text(Arena *arena, int status, Str code, Str detail, Str request_id, FieldErrs fields);
void exchange_reply_err(Exchange *exchange, Err err); /* application/problem+json, Retry-After where it applies */

#endif
