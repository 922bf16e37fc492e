/*
 * wire.h: a usage event as it travels: CloudEvents 1.0, type reeve.usage.v1, read from a batch's bytes straight into
 * structs by the tables of wire.c. Half of what taking events in costs would be a parser that builds trees.
 *
 *     WireBatch batch;
 *     TRY(wire_batch_open(arena, body, &batch));
 *     while (wire_batch_next(&batch, &text, &event, &err)) ...      // err: why this item is refused; the next is read
 *     TRY(batch.err);                                               // the array itself was broken
 *
 * Texts without escapes are borrowed from the body. Strict: unknown and repeated members, bad UTF-8, NUL characters,
 * fractions and anything over its limit are refused, and the detail names the member.
 */
#ifndef LEDGER_WIRE_H
#define LEDGER_WIRE_H

#include "base/buf.h"
#include "crypto/digest.h"
#include "ledger/ingest.h"
#include "usage/normalise.h"

/* Counts by meter as the gateway read them; meters this program does not know are left out. */
typedef struct WireMeters {
    uint32_t present;
    int64_t quantity[METER_COUNT];
} WireMeters;

typedef struct WireUnit {
    Str model;
    WireMeters meters;
    Bytes usage_raw;
    MaybeInt normaliser;
    int64_t residual;
    bool stream;
} WireUnit;

typedef struct WireTimings {
    MaybeInt queue_us, connect_us, first_byte_us, total_us;
} WireTimings;

typedef struct WireAttempt {
    int64_t n;
    Uuid connection;
    Str provider, model_asked, model_answered, outcome;
    MaybeInt status;
    Uuid secret;
    MaybeInt secret_version;
    WireTimings timings;
    Str provider_request_id;
    Uuid lease;
    List units;
} WireAttempt;

typedef struct WireData {
    int64_t epoch, sequence;
    Uuid org, project, workflow, revision, client_key;
    Str dialect;
    bool stream;
    Str end_user;
    Str labels; /* JSON text of our own making: members sorted by name; ptr NULL: none */
    Str correlation_id, trace_id, request_id, outcome;
    MaybeInt status;
    WireTimings timings;
    List attempts;
} WireData;

typedef struct WireEvent {
    Str specversion, type, source;
    Uuid id;
    Time time;
    Str datacontenttype;
    WireData data;
    Str id_text; /* as it was spelt, when it was a text of sane length */
} WireEvent;

typedef struct WireBatch {
    Arena *arena;
    const char *at, *end;
    size_t count;
    bool started;
    Err err;
} WireBatch;

/* The body must be UTF-8 and outlive the events. */
CHECKED Err wire_batch_open(Arena *arena, Str body, WireBatch *ret_batch);
/* The next item: its bytes, the event, and why it is refused (ERR_NONE: it is not). False at the end, and when the
 * array is broken, which batch->err then says. */
bool wire_batch_next(WireBatch *batch, Str *ret_text, WireEvent *ret_event, Err *ret_err);

void wire_quote(Buf *out, Str text); /* as a JSON string */

/* SHA-256 over the decoded fields in table order (the source aside, which is stamped anew): the same event in another
 * spelling has the same digest. */
Digest wire_event_digest(Buf *scratch, const WireEvent *event);

#endif
