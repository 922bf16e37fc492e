/*
 * answer.c: what the client gets: the provider's body, our error, or a stream as it comes.
 *
 * Of a provider's headers only the named ones pass: an upstream that echoes its key in a header tells nobody.
 */
#include <string.h>

#include "base/log.h"
#include "call.h"

#define ANSWER_HEADERS_MAX 24

/* --- headers --- */

static bool passes(Str name)
{
    static const Str exact[] = { STR_INIT("retry-after"), STR_INIT("retry-after-ms"), STR_INIT("x-should-retry"),
        STR_INIT("openai-processing-ms"), STR_INIT("openai-version"), STR_INIT("openai-model") };
    static const Str prefixes[] = { STR_INIT("x-ratelimit-"), STR_INIT("anthropic-ratelimit-") };
    for (size_t i = 0; i < COUNT_OF(exact); i++)
        if (name.len == exact[i].len && str_eq_nocase(name, exact[i]))
            return true;
    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (str_eq_nocase(str_first(name, prefixes[i].len), prefixes[i]))
            return true;
    return false;
}

/* Ours, then the provider's that pass. */
static size_t answer_headers(Call *call, const Transfer *transfer, Header headers[ANSWER_HEADERS_MAX])
{
    const CallRecord *record = &call->record;
    const Header *theirs;
    size_t count = 0, their_count = transfer == NULL ? 0 : transfer_headers(transfer, &theirs);
    headers[count++] = (Header){ STR("request-id"), exchange_request_id(call->exchange) };
    if (record->attempt_count > 0) {
        headers[count++] =
            (Header){ STR("reeve-model"), str_from_c(record->attempts[record->attempt_count - 1]->target->model) };
        headers[count++] = (Header){ STR("reeve-attempts"), arena_fmt(call->arena, "%zu", record->attempt_count) };
    }
    for (size_t i = 0; i < their_count && count < ANSWER_HEADERS_MAX; i++)
        if (passes(theirs[i].name))
            headers[count++] = theirs[i];
    return count;
}

static void note_first_byte(Call *call)
{
    call->record.first_byte_us = monotonic_us() - exchange_started_us(call->exchange);
}

static CallOutcome outcome_if_here(const Call *call, CallOutcome outcome)
{
    return call->gone || call->stalled ? CALL_CLIENT_GONE : outcome;
}

/* --- whole answers --- */

static void release_answer(void *arg)
{
    buf_release(arg);
}

/* An error body that holds the key that was sent: providers have been seen to echo it. */
static bool tells_the_key(Call *call, Str body)
{
    const Truth *truth = &call->worker->options.truth;
    const ReeveConnection *connection = call->record.attempts[call->record.attempt_count - 1]->target->connection;
    uint8_t *slot = secret_slab_take(call->worker->slab);
    size_t len = 0;
    int64_t version;
    bool told = connection->secret_id != NULL; /* unless it can be seen that it is not */
    if (slot == NULL)
        die("no locked slot for a key is free");
    if (told && truth->secret_open(truth->arg, call->snapshot, connection, connection->origin, slot, SECRET_SLOT_BYTES,
                    &len, &version) == REEVE_OK)
        told = len > 0 && memmem(body.ptr, body.len, slot, len) != NULL;
    secret_slab_give(call->worker->slab, slot);
    return told;
}

void answer_whole(Call *call, Transfer *transfer)
{
    Header headers[ANSWER_HEADERS_MAX];
    int status = transfer_status(transfer);
    Str body = buf_str(&call->answer);
    if (status >= 400 && tells_the_key(call, body)) {
        log_error(
            "a provider echoed the key that it was sent", LOG_STR("request_id", exchange_request_id(call->exchange)));
        answer_fault(call, FAULT_UPSTREAM, STR(""), STR(""));
        return;
    }
    Str type = transfer_header(transfer, STR("content-type"));
    size_t count = answer_headers(call, transfer, headers);
    note_first_byte(call);
    call_finish(call, outcome_if_here(call, status < 300 ? CALL_OK : CALL_FAILED), status);
    arena_defer(call->arena, release_answer, &call->answer);
    exchange_reply(
        call->exchange, &(Response){ .status = status,
                            .content_type = str_is_empty(type) ? "application/json" : arena_c(call->arena, type),
                            .body = body,
                            .body_static = true,
                            .headers = headers,
                            .header_count = count });
}

void answer_fault(Call *call, Fault fault, Str message, Str param)
{
    Header headers[ANSWER_HEADERS_MAX];
    int status = fault_status(fault, call->record.dialect);
    size_t count = answer_headers(call, NULL, headers);
    bool refused = call->record.attempt_count == 0;
    Str body =
        fault_body(call->arena, fault, call->record.dialect, message, param, exchange_request_id(call->exchange));
    if (status == 503 || status == 529)
        headers[count++] = (Header){ STR("retry-after"), STR("1") };
    counter_add(&call->worker->metrics.faults[fault], 1);
    call_finish(call, outcome_if_here(call, refused ? CALL_REFUSED : CALL_FAILED), status);
    buf_release(&call->answer);
    exchange_reply(call->exchange, &(Response){ .status = status,
                                       .content_type = "application/json",
                                       .body = body,
                                       .body_static = true,
                                       .headers = headers,
                                       .header_count = count });
}

/* --- streams --- */

static void keepalive_due(void *arg)
{
    Call *call = arg;
    int64_t every_us = call->worker->options.keepalive_us, quiet_us = monotonic_us() - call->written_us;
    if (quiet_us >= every_us && !call->paused) {
        exchange_stream_write(call->exchange, STR(": keepalive\n\n"));
        call->written_us = monotonic_us();
        quiet_us = 0;
    }
    timer_start(call->worker->loop, &call->keepalive, every_us - (call->paused ? 0 : quiet_us), keepalive_due, call);
}

/* The client has taken nothing for too long. */
static void stall_due(void *arg)
{
    Call *call = arg;
    call->stalled = true;
    if (call->transfer != NULL)
        transfer_cancel(call->transfer);
}

static void drained(Exchange *exchange, void *arg)
{
    (void)exchange;
    Call *call = arg;
    timer_cancel(&call->stall);
    if (!call->paused || call->phase != PHASE_STREAMING)
        return;
    call->paused = false;
    if (call->transfer != NULL)
        transfer_resume(call->transfer);
}

static void commit(Call *call, Transfer *transfer)
{
    Header headers[ANSWER_HEADERS_MAX];
    size_t count = answer_headers(call, transfer, headers);
    headers[count < ANSWER_HEADERS_MAX ? count++ : count - 1] = (Header){ STR("cache-control"), STR("no-cache") };
    call->phase = PHASE_STREAMING;
    note_first_byte(call);
    exchange_on_drain(call->exchange, STREAM_LOW_WATER, drained, call);
    exchange_stream_begin(call->exchange, &(Response){ .status = 200,
                                              .content_type = "text/event-stream; charset=utf-8",
                                              .headers = headers,
                                              .header_count = count });
    timer_start(call->worker->loop, &call->keepalive, call->worker->options.keepalive_us, keepalive_due, call);
}

static void write_run(Call *call, Str run)
{
    if (run.len == 0)
        return;
    call->written_us = loop_now_us(call->worker->loop);
    if (exchange_stream_write(call->exchange, run) <= STREAM_HIGH_WATER || call->paused)
        return;
    call->paused = true;
    timer_start(call->worker->loop, &call->stall, call->worker->options.stall_us, stall_due, call);
}

/* Whether this whole event goes to the client. The first one that says something decides whether there is a stream. */
static bool take_event(Call *call, Transfer *transfer, Str raw)
{
    TapVerdict verdict = tap_event(&call->tap, call->worker->scratch, raw);
    if (call->phase == PHASE_STREAMING)
        return verdict != TAP_HIDE;
    if (verdict == TAP_BLANK)
        return false;
    if (verdict == TAP_ERROR) {
        SseEvent event = sse_read(call->worker->scratch, raw);
        call->first_failed = true;
        call->failed_type = arena_str(call->arena, tap_error_type(call->worker->scratch, event.data));
        transfer_cancel(transfer);
        return false;
    }
    commit(call, transfer);
    return verdict != TAP_HIDE;
}

/* An event that came in pieces. */
static void take_held(Call *call, Transfer *transfer, Str piece, bool complete)
{
    buf_add(&call->answer, piece);
    if (call->answer.len > SSE_EVENT_MAX) {
        call->too_large = true;
        transfer_cancel(transfer);
        return;
    }
    if (!complete)
        return;
    if (take_event(call, transfer, buf_str(&call->answer)))
        write_run(call, buf_str(&call->answer));
    buf_clear(&call->answer);
}

bool answer_stream(Call *call, Transfer *transfer, Bytes data)
{
    Str rest = bytes_str(data), run = str_first(rest, 0);
    if (call->paused)
        return false;
    while (rest.len > 0 && !call->first_failed && !call->too_large) {
        bool complete;
        size_t taken = sse_cut(&call->cutter, rest, &complete);
        Str piece = str_first(rest, taken);
        rest = str_skip(rest, taken);
        if (call->answer.len > 0 || !complete) {
            write_run(call, run);
            take_held(call, transfer, piece, complete);
            run = str_first(rest, 0);
        } else if (take_event(call, transfer, piece)) {
            run.len += piece.len;
        } else {
            write_run(call, run);
            run = str_first(rest, 0);
        }
    }
    write_run(call, run);
    arena_clear(call->worker->scratch);
    return true;
}

void answer_stream_ended(Call *call, bool complete)
{
    Exchange *exchange = call->exchange;
    const char *tail = call->record.dialect == DIALECT_OPENAI && !call->tap.finished ? "data: [DONE]\n\n" : "";
    CallOutcome outcome = outcome_if_here(call, complete ? CALL_OK : CALL_FAILED);
    bool stalled = call->stalled;
    if (!complete && !call->tap.failed && outcome == CALL_FAILED)
        tail = fault_event(call->arena, FAULT_STREAM_BROKEN, call->record.dialect, exchange_request_id(exchange)).ptr;
    else if (!complete)
        tail = "";
    call_finish(call, outcome, 200);
    buf_release(&call->answer);
    if (stalled) {
        exchange_stream_abort(exchange);
        return;
    }
    if (*tail != '\0')
        exchange_stream_write(exchange, str_from_c(tail));
    exchange_stream_end(exchange);
}
