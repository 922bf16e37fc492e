/*
 * record.h: what one call came to, and how that is written as the CloudEvent that the ledger takes.
 *
 * A CallRecord is filled in as the call goes on and written twice: as the intent, before anything is dispatched (with
 * the outcome "indeterminate", should we die), and as the event, when all is known. Names of outcomes are on the wire.
 */
#ifndef GATEWAY_RECORD_H
#define GATEWAY_RECORD_H

#include "base/buf.h"
#include "base/id.h"
#include "gateway/dialect.h"
#include "reeve/reeve.h"
#include "usage/normalise.h"

#define ATTEMPTS_MAX 8
#define LABELS_MAX 16
#define LABEL_BYTES_MAX 128

typedef enum AttemptOutcome {
    ATTEMPT_INDETERMINATE,
    ATTEMPT_OK,
    ATTEMPT_CONNECT,
    ATTEMPT_CONNECT_TIMEOUT,
    ATTEMPT_TLS,
    ATTEMPT_FIRST_BYTE_TIMEOUT,
    ATTEMPT_IDLE_TIMEOUT,
    ATTEMPT_TOTAL_TIMEOUT,
    ATTEMPT_RESET,
    ATTEMPT_STATUS_429,
    ATTEMPT_STATUS_5XX,
    ATTEMPT_STATUS_4XX,
    ATTEMPT_EMPTY,
    ATTEMPT_MALFORMED,
    ATTEMPT_CANCELLED,
    ATTEMPT_PARTIAL,
    ATTEMPT_OUTCOME_COUNT,
} AttemptOutcome;
const char *attempt_outcome_name(AttemptOutcome outcome);

typedef enum CallOutcome {
    CALL_INDETERMINATE,
    CALL_OK,
    CALL_FAILED,
    CALL_REFUSED,
    CALL_CLIENT_GONE,
    CALL_OUTCOME_COUNT,
} CallOutcome;
const char *call_outcome_name(CallOutcome outcome);

typedef struct AttemptRecord {
    const ReeveTarget *target;
    AttemptOutcome outcome;
    int status; /* 0: none came */
    int64_t secret_version;
    int64_t connect_us, first_byte_us, total_us;
    Str model_answered, provider_request_id;
    Str usage_raw;
    UsageUnit meters; /* the gateway's own reading, from record_meter; the ledger reads the raw bytes again */
    int64_t residual;
    int normaliser;
} AttemptRecord;

typedef struct Label {
    Str name, value;
} Label;

typedef struct CallRecord {
    Uuid id;
    uint32_t epoch;
    uint64_t sequence;
    Time time;
    const char *data_plane;
    const ReeveClientKey *key;
    const ReeveWorkflow *workflow;
    Dialect dialect;
    bool stream;
    Str end_user, correlation_id, trace_id, request_id;
    Label labels[LABELS_MAX];
    size_t label_count;
    CallOutcome outcome;
    int status;
    int64_t queue_us, first_byte_us, total_us;
    AttemptRecord *attempts[ATTEMPTS_MAX]; /* made one by one: nearly all calls have one */
    size_t attempt_count;
} CallRecord;

/* Reads an attempt's raw usage into its meters. */
void record_meter(Arena *arena, const CallRecord *record, AttemptRecord *attempt);

/* Appends the CloudEvent; the arena is for scratch. As an intent, the last attempt and the call are indeterminate. */
void record_write(Arena *arena, Buf *out, const CallRecord *record, bool intent);

/* `team=a;job=b` of the request's header into labels: what is not name=value in printable ASCII is left out. */
size_t labels_parse(Str header, Label labels[LABELS_MAX]);

/* The trace id of a traceparent header (W3C), or empty. */
Str trace_id_of(Str traceparent);

#endif
