/*
 * wire.h: a usage event as it travels: CloudEvents 1.0, type reeve.usage.v1. The tables are the format.
 */
#ifndef LEDGER_WIRE_H
#define LEDGER_WIRE_H

#include "crypto/digest.h"
#include "ledger/ingest.h"
#include "usage/normalise.h"

typedef struct WireUnit {
    Str model;
    Json meters;
    Str usage_raw; /* base64 */
    MaybeInt normaliser;
    int64_t residual;
    bool stream;
    Bytes raw; /* decoded */
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
    Json labels;
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
} WireEvent;

extern const FieldTable WIRE_EVENT_FIELDS;

/* Decodes one item; ERR_INVALID names the first member that is wrong. */
CHECKED Err wire_event_decode(Arena *arena, json_t *item, WireEvent *ret_event);

/* SHA-256 over the decoded fields in table order (the source aside, which is stamped anew): the same event in another
 * spelling has the same digest. */
Digest wire_event_digest(Arena *arena, const WireEvent *event);

#endif
