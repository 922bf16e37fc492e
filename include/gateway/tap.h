/*
 * tap.h: listening to a provider's answer for what the ledger needs: the raw bytes of its usage, the model that
 * answered, and whether the answer is complete.
 *
 * A stream is heard event by event, a whole answer at once. What is kept as raw usage:
 *
 *   openai, either        the `usage` object, as written
 *   anthropic, whole      the `usage` object, as written
 *   anthropic, stream     [ usage of message_start, usage of message_delta, ... ]: both are needed, since a later 0
 * does not always replace an earlier count
 *
 *     TapVerdict verdict = tap_event(&tap, arena, raw);
 *     if (verdict == TAP_HIDE) skip it;
 *     ...
 *     Str usage = tap_usage(&tap);
 */
#ifndef GATEWAY_TAP_H
#define GATEWAY_TAP_H

#include "base/buf.h"
#include "gateway/dialect.h"

#define TAP_MODEL_MAX 128
#define TAP_USAGE_MAX (64 * 1024)

typedef enum TapVerdict {
    TAP_PASS,
    TAP_HIDE,  /* the usage chunk that the client did not ask for */
    TAP_ERROR, /* the provider says that it failed: decides a failover when it is the first, else passes */
    TAP_BLANK, /* a comment or a ping that says nothing about the answer */
} TapVerdict;

typedef struct Tap {
    Dialect dialect;
    bool hide_usage;
    bool usage_seen;
    bool finished; /* the last event was seen: [DONE], message_stop */
    bool closing;  /* OpenAI: a finish_reason was seen, so a missing [DONE] loses nothing */
    bool failed;   /* an error event was seen */
    size_t model_len;
    char model[TAP_MODEL_MAX];
    Buf usage;
} Tap;

void tap_init(Tap *tap, Dialect dialect, bool hide_usage);
void tap_release(Tap *tap);

/* One complete event of a stream. The arena is for scratch. */
TapVerdict tap_event(Tap *tap, Arena *arena, Str raw);

/* A whole answer: false when it is not a JSON object. */
bool tap_body(Tap *tap, Arena *arena, Str body);

Str tap_model(const Tap *tap);
Str tap_usage(const Tap *tap); /* empty when the provider told none; borrowed until the next event */

/* The error's kind in a body or event of a provider: "overloaded_error", "rate_limit_error"; empty when it is none. */
Str tap_error_type(Arena *arena, Str json);

#endif
