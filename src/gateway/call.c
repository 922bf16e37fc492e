/* call.c: admission, preparation and the end of a call. See call.h. */
#include "call.h"

#include "base/log.h"
#include "crypto/digest.h"
#include "crypto/token.h"

#define KEY_BYTES_MAX 256
#define REQUEST_BYTES_EVENT_MAX (192 * 1024)

/* --- the client's key --- */

/* The key of a request; empty and a fault when there is none, or two that differ. */
static Fault presented_key(const Exchange *exchange, Str *ret_key)
{
    Str bearer = exchange_header(exchange, STR("authorization")), plain = exchange_header(exchange, STR("x-api-key"));
    Str key = STR("");
    if (bearer.len >= 7 && str_eq_nocase(str_first(bearer, 7), STR("bearer ")))
        key = str_trim(str_skip(bearer, 7));
    plain = str_trim(plain);
    if (key.len > 0 && plain.len > 0 && !str_eq(key, plain))
        return FAULT_KEYS_DIFFER;
    *ret_key = key.len > 0 ? key : plain;
    return ret_key->len == 0 ? FAULT_KEY_MISSING : FAULT_NONE;
}

/* Who calls, by the snapshot: trouble of ours comes before any doubt about the key. */
static Fault authenticate(
    Worker *worker, const Exchange *exchange, const ReeveSnapshot *snapshot, const ReeveClientKey **ret_key)
{
    const Truth *truth = &worker->options.truth;
    Str text;
    if (snapshot == NULL)
        return FAULT_NO_SNAPSHOT;
    if (truth->hard_expiry_us(snapshot) <= time_now().us)
        return FAULT_EXPIRED;
    Fault fault = presented_key(exchange, &text);
    if (fault != FAULT_NONE)
        return fault;
    if (text.len > KEY_BYTES_MAX || token_check(STR("key"), text).kind != ERR_NONE)
        return FAULT_KEY_UNKNOWN;
    Digest digest = token_digest(text);
    *ret_key = truth->client_key(snapshot, digest.b);
    return *ret_key == NULL ? FAULT_KEY_UNKNOWN : FAULT_NONE;
}

/* --- refusals --- */

static Dialect dialect_for(const Exchange *exchange)
{
    Dialect dialect;
    Str path = exchange_path(exchange);
    if (dialect_of_path(path, &dialect))
        return dialect;
    return dialect_guess(path, !str_is_empty(exchange_header(exchange, STR("anthropic-version"))));
}

static void reply_fault(
    Worker *worker, Exchange *exchange, Dialect dialect, Fault fault, int status, Str message, Str param)
{
    Str request_id = exchange_request_id(exchange);
    const Header headers[] = { { STR("request-id"), request_id }, { STR("retry-after"), STR("1") } };
    counter_add(&worker->metrics.faults[fault], 1);
    counter_add(&worker->metrics.requests[dialect][status / 100], 1);
    exchange_reply(
        exchange, &(Response){ .status = status,
                      .content_type = "application/json",
                      .body = fault_body(exchange_arena(exchange), fault, dialect, message, param, request_id),
                      .body_static = true,
                      .headers = headers,
                      .header_count = status == 503 || status == 529 ? 2 : 1 });
}

void call_shape_error(Exchange *exchange, int status, Str code, Str detail, void *arg)
{
    (void)code;
    Fault fault = status == 413 ? FAULT_TOO_LARGE : FAULT_REQUEST;
    reply_fault(arg, exchange, dialect_for(exchange), fault, status, detail, STR(""));
}

bool call_admit(Exchange *exchange, void *arg, size_t *ret_body_max)
{
    Worker *worker = arg;
    const ReeveClientKey *key;
    Dialect dialect = dialect_for(exchange), exact;
    Fault fault = FAULT_NONE;
    if (!dialect_of_path(exchange_path(exchange), &exact))
        fault = FAULT_URL_UNKNOWN;
    else if (!str_eq(exchange_method(exchange), STR("POST")))
        fault = FAULT_METHOD;
    if (fault == FAULT_NONE) {
        const ReeveSnapshot *snapshot = worker->options.truth.acquire(worker->options.truth.arg);
        fault = authenticate(worker, exchange, snapshot, &key);
        worker->options.truth.release(worker->options.truth.arg, snapshot);
    }
    if (fault == FAULT_NONE && worker->calls >= worker->options.calls_max)
        fault = FAULT_BUSY;
    if (fault == FAULT_NONE && spool_refuses(worker->options.spool))
        fault = FAULT_SPOOL;
    if (fault != FAULT_NONE) {
        reply_fault(worker, exchange, dialect, fault, fault_status(fault, dialect), STR(""), STR(""));
        return false;
    }
    *ret_body_max = worker->options.body_bytes_max;
    return true;
}

/* --- preparation --- */

static void note_caller(Call *call)
{
    CallRecord *record = &call->record;
    Exchange *exchange = call->exchange;
    Str correlation = exchange_header(exchange, STR("reeve-correlation-id"));
    record->request_id = exchange_request_id(exchange);
    record->label_count = labels_parse(exchange_header(exchange, STR("reeve-labels")), record->labels);
    record->correlation_id = correlation.len <= LABEL_BYTES_MAX ? correlation : STR("");
    record->trace_id = trace_id_of(exchange_header(exchange, STR("traceparent")));
}

/* Finds what the call may use. The message and member of a bad body go to *ret_message and call->body.bad_param. */
static Fault prepare(Call *call, Str *ret_message)
{
    const Truth *truth = &call->worker->options.truth;
    CallRecord *record = &call->record;
    Fault fault = authenticate(call->worker, call->exchange, call->snapshot, &record->key);
    if (fault != FAULT_NONE)
        return fault;
    Err err = body_read(call->arena, exchange_body(call->exchange), record->dialect, &call->body);
    if (err.kind != ERR_NONE) {
        *ret_message = err.detail;
        return FAULT_BODY;
    }
    record->stream = call->body.stream;
    record->end_user = call->body.end_user;
    record->workflow = truth->workflow(record->key->project, call->body.model.ptr, call->body.model.len);
    if (record->workflow == NULL || record->workflow->revision == NULL ||
        record->workflow->revision->target_count == 0) {
        call->body.bad_param = STR("model");
        return FAULT_MODEL_UNKNOWN;
    }
    if (!str_eq(str_from_c(record->workflow->dialect), dialect_row(record->dialect)->name))
        return FAULT_WRONG_DIALECT;
    return FAULT_NONE;
}

static const char *data_plane_id(Worker *worker)
{
    if (worker->data_plane[0] == '\0') {
        ReeveStatus status = { 0 };
        worker->options.truth.status(worker->options.truth.arg, &status);
        __builtin_memcpy(worker->data_plane, status.data_plane, sizeof worker->data_plane);
    }
    return worker->data_plane;
}

static void client_left(Exchange *exchange, void *arg)
{
    (void)exchange;
    Call *call = arg;
    if (call->phase == PHASE_OVER)
        return;
    call->gone = true;
    if (call->transfer != NULL) {
        transfer_cancel(call->transfer); /* its end ends the call */
        return;
    }
    timer_cancel(&call->retry);
    answer_fault(call, FAULT_UPSTREAM, STR(""), STR(""));
}

static void open_gauge(Worker *worker, int64_t calls, int64_t streams)
{
    worker->calls += calls;
    worker->streams += streams;
    atomic_store_explicit(&worker->metrics.calls_open, (uint64_t)worker->calls, memory_order_relaxed);
    atomic_store_explicit(&worker->metrics.streams_open, (uint64_t)worker->streams, memory_order_relaxed);
}

void call_begin(Exchange *exchange, void *arg)
{
    Worker *worker = arg;
    Call *call = NEW(exchange_arena(exchange), Call, 1);
    Str message = STR("");
    call->worker = worker;
    call->exchange = exchange;
    call->arena = exchange_arena(exchange);
    call->record.dialect = dialect_for(exchange);
    call->record.time = time_now();
    call->answer = buf_new(worker->options.response_bytes_max);
    call->snapshot = worker->options.truth.acquire(worker->options.truth.arg);
    tap_init(&call->tap, call->record.dialect, false);
    Fault fault = prepare(call, &message);
    open_gauge(worker, 1, call->record.stream);
    if (fault != FAULT_NONE) {
        answer_fault(call, fault, message, call->body.bad_param);
        return;
    }
    note_caller(call);
    call->record.id = uuid_v7(call->record.time);
    call->record.data_plane = data_plane_id(worker);
    call->record.queue_us = monotonic_us() - exchange_started_us(exchange);
    exchange_on_gone(exchange, client_left, call);
    attempt_next(call);
}

/* --- the end --- */

static void count_call(const Call *call, int status)
{
    const CallRecord *record = &call->record;
    Metrics *metrics = &call->worker->metrics;
    counter_add(&metrics->requests[record->dialect][status / 100 % STATUS_CLASSES], 1);
    if (!call->metered)
        return;
    histogram_add(&metrics->duration[record->dialect], record->total_us);
    if (record->first_byte_us > 0)
        histogram_add(&metrics->first_byte[record->dialect], record->first_byte_us);
    for (size_t i = 0; i < record->attempt_count; i++) {
        const AttemptRecord *attempt = record->attempts[i];
        counter_add(&metrics->attempts[record->dialect][attempt->outcome], 1);
        for (int meter = 1; meter < METER_COUNT; meter++)
            if (usage_unit_has(&attempt->meters, (Meter)meter))
                counter_add(&metrics->tokens[record->dialect][meter], (uint64_t)attempt->meters.quantity[meter]);
    }
    counter_add(&metrics->failovers, record->attempt_count > 0 ? record->attempt_count - 1 : 0);
}

/* A call can end in the turn that began its try (its client left): its memory is gone before the turn's end. */
static void leave_unflushed(Call *call)
{
    Call **at = &call->worker->unflushed;
    if (!call->unflushed)
        return;
    while (*at != call)
        at = &(*at)->next_unflushed;
    *at = call->next_unflushed;
    call->unflushed = false;
}

void call_finish(Call *call, CallOutcome outcome, int status)
{
    Worker *worker = call->worker;
    CallRecord *record = &call->record;
    call->phase = PHASE_OVER;
    leave_unflushed(call);
    timer_cancel(&call->retry);
    timer_cancel(&call->keepalive);
    timer_cancel(&call->stall);
    record->outcome = outcome;
    record->status = status;
    record->total_us = monotonic_us() - exchange_started_us(call->exchange);
    count_call(call, status);
    if (call->metered) {
        buf_clear(&worker->event);
        record_write(worker->scratch, &worker->event, record, false);
        spool_event(worker->writer, record->sequence, buf_str(&worker->event));
        arena_clear(worker->scratch);
    }
    worker->options.truth.release(worker->options.truth.arg, call->snapshot);
    call->snapshot = NULL;
    tap_release(&call->tap);
    open_gauge(worker, -1, call->record.stream ? -1 : 0);
}

static void flush_again(void *arg)
{
    (void)arg; /* the turn that this timer made flushes at its end */
}

void call_turn_end(void *arg)
{
    Worker *worker = arg;
    Err err = spool_flush(worker->writer);
    for (Call *call = worker->unflushed, *next; call != NULL; call = next) {
        next = call->next_unflushed;
        call->unflushed = false;
        call->next_unflushed = NULL;
        if (err.kind == ERR_NONE)
            continue;
        call->spool_failed = true;
        if (call->transfer != NULL)
            transfer_cancel(call->transfer); /* before it was dispatched; its end answers the client */
    }
    worker->unflushed = NULL;
    if (err.kind == ERR_NONE)
        return;
    log_err("the spool takes no intents: calls are refused", err);
    timer_start(worker->loop, &worker->retry_flush, 200 * US_PER_MS, flush_again, worker);
}
