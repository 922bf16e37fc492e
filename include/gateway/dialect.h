/*
 * dialect.h: what differs between the two faces of the gateway, as two tables: the dialects (paths, where the
 * provider's key goes, how a stream ends) and the faults (status and words of every error we make ourselves).
 *
 * Clients are SDKs that show nothing of an error they do not know, so every error has the shape of the provider whose
 * SDK is listening:
 *
 *   openai      { "error": { "message", "type", "param", "code" } }
 *   anthropic   { "type": "error", "error": { "type", "message" }, "request_id" }
 *
 * Invariant: trouble of our own (no snapshot, an expired one, a full disk) is 503 and never 401: a client that reads
 * 401 throws its key away.
 */
#ifndef GATEWAY_DIALECT_H
#define GATEWAY_DIALECT_H

#include "base/arena.h"

typedef enum Dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_COUNT } Dialect;

typedef struct DialectRow {
    Str name;
    Str prefix;        /* "/openai": the same routes are served behind it */
    Str route;         /* "/v1/chat/completions" */
    Str endpoint;      /* behind a base URL that ends in a version: "/chat/completions" */
    Str secret_header; /* where the provider expects its key */
    Str secret_prefix;
    bool asks_for_usage; /* a stream tells its usage only with stream_options.include_usage */
} DialectRow;

const DialectRow *dialect_row(Dialect dialect);
bool dialect_parse(Str name, Dialect *ret_dialect);
bool dialect_of_path(Str path, Dialect *ret_dialect);        /* exact routes only */
Dialect dialect_guess(Str path, bool has_anthropic_version); /* whose error shape an unknown path gets */

/* base_url + endpoint; "/v1" is put between when the base URL does not end in a version segment ("/v1", "/v4"). */
Str dialect_url(Arena *arena, Dialect dialect, Str base_url);

typedef enum Fault {
    FAULT_NONE,
    FAULT_KEY_MISSING,
    FAULT_KEYS_DIFFER,
    FAULT_KEY_UNKNOWN,
    FAULT_URL_UNKNOWN,
    FAULT_METHOD,
    FAULT_REQUEST, /* framing: the server floor's refusals */
    FAULT_BODY,
    FAULT_TOO_LARGE,
    FAULT_MODEL_UNKNOWN,
    FAULT_WRONG_DIALECT,
    FAULT_NO_SNAPSHOT,
    FAULT_EXPIRED,
    FAULT_SPOOL,
    FAULT_BUSY,
    FAULT_DRAINING,
    FAULT_ROUTE,            /* the route cannot be used: no live key, a base URL that is not allowed */
    FAULT_UPSTREAM,         /* no target answered */
    FAULT_UPSTREAM_TIMEOUT, /* no target answered in time */
    FAULT_UPSTREAM_REFUSED, /* the provider did not accept the gateway's key */
    FAULT_STREAM_BROKEN,
    FAULT_INTERNAL,
    FAULT_COUNT,
} Fault;

int fault_status(Fault fault, Dialect dialect);
const char *fault_name(Fault fault); /* "key-unknown": for logs and metrics */

/* The error document; message empty = the fault's own sentence; param (OpenAI) may be empty. */
Str fault_body(Arena *arena, Fault fault, Dialect dialect, Str message, Str param, Str request_id);

/* The error as a stream's last event. */
Str fault_event(Arena *arena, Fault fault, Dialect dialect, Str request_id);

Str json_quote(Arena *arena, Str text); /* a JSON string of UTF-8 text, quotes included */

#endif
