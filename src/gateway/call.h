/*
 * call.h: one client's call, from its request to its last byte and its event.
 *
 *   admit        the route, the key: refused before the body is read
 *   prepare      snapshot, key, body, workflow: refused in the provider's shape
 *   attempt      target by target, until one answers, the budget is spent, or the client leaves   (attempt.c)
 *   answer       a whole body, or a stream once its first event decided; then nothing can be taken back
 *   finish       the event is written, the snapshot let go, the exchange ended
 *
 * A Call lives in its exchange's arena. The exchange is ended last, and only when no transfer runs any more.
 */
#ifndef GATEWAY_CALL_H
#define GATEWAY_CALL_H

#include "gateway/body.h"
#include "gateway/sse.h"
#include "gateway/tap.h"
#include "worker.h"

#define STREAM_HIGH_WATER ((size_t)64 * 1024)
#define STREAM_LOW_WATER ((size_t)16 * 1024)
#define SSE_EVENT_MAX ((size_t)1024 * 1024)

typedef enum CallPhase {
    PHASE_WAITING,   /* for a provider */
    PHASE_STREAMING, /* the first event went to the client */
    PHASE_OVER,
} CallPhase;

struct Call {
    Worker *worker;
    Exchange *exchange;
    Arena *arena;
    CallPhase phase;
    CallRecord record;
    ChatBody body;
    const ReeveSnapshot *snapshot;

    /* the attempt that runs */
    Transfer *transfer;
    size_t target, tries; /* index of the target, how often it was tried */
    int64_t attempt_us;   /* when it began */
    bool is_sse;
    bool too_large;
    bool first_failed; /* the stream's first event was an error */
    Str failed_type;
    Buf answer; /* a whole answer, or an event whose end has not come */
    SseCutter cutter;
    Tap tap;

    /* the client */
    bool gone, stalled, paused, spool_failed;
    int64_t written_us;
    Timer *retry, *keepalive, *stall;

    bool unflushed;
    Call *next_unflushed;
    bool metered; /* an intent was written: an event must follow */
};

bool call_admit(Exchange *exchange, void *worker, size_t *ret_body_max);
void call_begin(Exchange *exchange, void *worker);
void call_shape_error(Exchange *exchange, int status, Str code, Str detail, void *worker);

/* The end of a loop's turn: intents go out, or their calls are refused. */
void call_turn_end(void *worker);

/* --- between call.c, attempt.c and answer.c --- */
void attempt_next(Call *call);  /* starts the next try, or gives up */
void attempt_begin(Call *call); /* on the current target */

void answer_whole(Call *call, Transfer *transfer);                  /* the provider's body as it is */
void answer_fault(Call *call, Fault fault, Str message, Str param); /* ours */
bool answer_stream(Call *call, Transfer *transfer, Bytes data);     /* more of a stream; false: later */
void answer_stream_ended(Call *call, bool complete);                /* after the last byte */
void call_finish(Call *call, CallOutcome outcome, int status);      /* event, counters, snapshot */

#endif
