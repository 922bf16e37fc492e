/*
 * attempt.c: one try at a provider, and what is done when it fails.
 *
 * A try is dispatched only after its intent is in the kernel: transfers that are started in a turn of the loop leave
 * after the turn's end, where the spool is flushed.
 */
#include <string.h>

#include "base/log.h"
#include "call.h"

#define REQUEST_HEADERS_MAX 12
#define RESPONSE_HEADER_BYTES_MAX ((size_t)32 * 1024)
#define RETRY_AFTER_MAX_S 3600

/* What to do after an outcome. */
typedef enum Remedy {
    REMEDY_NONE,  /* the answer stands */
    REMEDY_AGAIN, /* the same target may do better later */
    REMEDY_OTHER, /* another target may do better; this one will not soon */
} Remedy;

static const struct {
    Remedy remedy;
    Fault fault; /* when nothing else is left and the provider said nothing that can be passed on */
} outcomes[ATTEMPT_OUTCOME_COUNT] = {
    [ATTEMPT_INDETERMINATE] = { REMEDY_NONE, FAULT_INTERNAL },
    [ATTEMPT_OK] = { REMEDY_NONE, FAULT_INTERNAL },
    [ATTEMPT_CONNECT] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_CONNECT_TIMEOUT] = { REMEDY_OTHER, FAULT_UPSTREAM_TIMEOUT },
    [ATTEMPT_TLS] = { REMEDY_OTHER, FAULT_UPSTREAM },
    [ATTEMPT_FIRST_BYTE_TIMEOUT] = { REMEDY_OTHER, FAULT_UPSTREAM_TIMEOUT },
    [ATTEMPT_IDLE_TIMEOUT] = { REMEDY_OTHER, FAULT_UPSTREAM_TIMEOUT },
    [ATTEMPT_TOTAL_TIMEOUT] = { REMEDY_OTHER, FAULT_UPSTREAM_TIMEOUT },
    [ATTEMPT_RESET] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_STATUS_429] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_STATUS_5XX] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_STATUS_4XX] = { REMEDY_OTHER, FAULT_UPSTREAM_REFUSED },
    [ATTEMPT_EMPTY] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_MALFORMED] = { REMEDY_AGAIN, FAULT_UPSTREAM },
    [ATTEMPT_CANCELLED] = { REMEDY_NONE, FAULT_UPSTREAM },
    [ATTEMPT_PARTIAL] = { REMEDY_NONE, FAULT_STREAM_BROKEN },
};

static const AttemptOutcome of_transfer[TRANSFER_END_COUNT] = {
    [TRANSFER_OK] = ATTEMPT_OK,
    [TRANSFER_RESOLVE] = ATTEMPT_CONNECT,
    [TRANSFER_CONNECT] = ATTEMPT_CONNECT,
    [TRANSFER_CONNECT_TIMEOUT] = ATTEMPT_CONNECT_TIMEOUT,
    [TRANSFER_TLS] = ATTEMPT_TLS,
    [TRANSFER_DENIED] = ATTEMPT_CONNECT,
    [TRANSFER_FIRST_BYTE_TIMEOUT] = ATTEMPT_FIRST_BYTE_TIMEOUT,
    [TRANSFER_IDLE_TIMEOUT] = ATTEMPT_IDLE_TIMEOUT,
    [TRANSFER_TOTAL_TIMEOUT] = ATTEMPT_TOTAL_TIMEOUT,
    [TRANSFER_RESET] = ATTEMPT_RESET,
    [TRANSFER_MALFORMED] = ATTEMPT_MALFORMED,
    [TRANSFER_CANCELLED] = ATTEMPT_CANCELLED,
};

static const ReeveRevision *revision_of(const Call *call)
{
    return call->record.workflow->revision;
}

static AttemptRecord *current(Call *call)
{
    return call->record.attempts[call->record.attempt_count - 1];
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

/* --- the request --- */

static void add_request_header(Header *headers, size_t *count, Str name, Str value)
{
    if (*count < REQUEST_HEADERS_MAX && !str_is_empty(value))
        headers[(*count)++] = (Header){ .name = name, .value = value };
}

/* Ours, and of the client's exactly those that belong to the dialect. */
static size_t request_headers(const Call *call, Header headers[REQUEST_HEADERS_MAX])
{
    static const Str forwarded[] = { STR_INIT("anthropic-version"), STR_INIT("anthropic-beta"), STR_INIT("openai-beta"),
        STR_INIT("openai-organization"), STR_INIT("openai-project") };
    size_t count = 0;
    add_request_header(headers, &count, STR("content-type"), STR("application/json"));
    add_request_header(
        headers, &count, STR("accept"), call->record.stream ? STR("text/event-stream") : STR("application/json"));
    add_request_header(headers, &count, STR("accept-encoding"), STR("identity"));
    add_request_header(headers, &count, STR("user-agent"), STR("reeve-gateway/" REEVE_VERSION));
    for (size_t i = 0; i < COUNT_OF(forwarded); i++)
        add_request_header(headers, &count, forwarded[i], exchange_header(call->exchange, forwarded[i]));
    return count;
}

static Str request_url(const Call *call, const ReeveConnection *connection)
{
    Str url = dialect_url(call->arena, call->record.dialect, str_from_c(connection->base_url));
    if (!str_eq(exchange_query(call->exchange), STR("beta=true")))
        return url;
    return arena_fmt(call->arena, STR_FMT "?beta=true", STR_ARG(url));
}

/* --- the end of a try --- */

static int64_t retry_after_us(const Transfer *transfer)
{
    int64_t value;
    if (str_to_i64(transfer_header(transfer, STR("retry-after-ms")), &value) && value >= 0 &&
        value <= RETRY_AFTER_MAX_S * 1000)
        return value * US_PER_MS;
    if (str_to_i64(transfer_header(transfer, STR("retry-after")), &value) && value >= 0 && value <= RETRY_AFTER_MAX_S)
        return value * US_PER_S;
    return 0;
}

static AttemptOutcome outcome_of_error_type(Str type)
{
    if (str_contains(type, STR("rate_limit")))
        return ATTEMPT_STATUS_429;
    return str_contains(type, STR("invalid_request")) ? ATTEMPT_STATUS_4XX : ATTEMPT_STATUS_5XX;
}

static AttemptOutcome outcome_of_status(int status)
{
    if (status == 429)
        return ATTEMPT_STATUS_429;
    return status >= 500 ? ATTEMPT_STATUS_5XX : status >= 400 ? ATTEMPT_STATUS_4XX : ATTEMPT_MALFORMED;
}

/* What a transfer that ended before anything went to the client came to. */
static AttemptOutcome classify(Call *call, Transfer *transfer, TransferEnd end)
{
    int status = transfer_status(transfer);
    if (call->too_large)
        return ATTEMPT_MALFORMED;
    if (call->first_failed)
        return outcome_of_error_type(call->failed_type);
    if (end != TRANSFER_OK)
        return of_transfer[end];
    if (status < 200 || status >= 300)
        return outcome_of_status(status);
    if (call->answer.len == 0 && !call->tap.usage_seen)
        return ATTEMPT_EMPTY;
    if (call->record.stream || call->is_sse)
        return ATTEMPT_MALFORMED; /* a stream whose first event never came, or one that was not asked for */
    return tap_body(&call->tap, call->worker->scratch, buf_str(&call->answer)) ? ATTEMPT_OK : ATTEMPT_MALFORMED;
}

static void note_attempt(Call *call, Transfer *transfer, AttemptOutcome outcome)
{
    AttemptRecord *attempt = current(call);
    TransferTimes times = transfer_times(transfer);
    Str request_id = transfer_header(transfer, STR("x-request-id"));
    if (str_is_empty(request_id))
        request_id = transfer_header(transfer, STR("request-id"));
    attempt->outcome = outcome;
    attempt->status = transfer_status(transfer);
    attempt->connect_us = times.connected_us;
    attempt->first_byte_us = times.first_byte_us;
    attempt->total_us = times.total_us > 0 ? times.total_us : monotonic_us() - call->attempt_us;
    attempt->provider_request_id = arena_str(call->arena, str_first(request_id, LABEL_BYTES_MAX));
    attempt->model_answered = arena_str(call->arena, tap_model(&call->tap));
    attempt->usage_raw = arena_str(call->arena, tap_usage(&call->tap));
    record_meter(call->arena, &call->record, attempt);
}

/* --- what comes after a failure --- */

static int64_t budget_left_us(const Call *call)
{
    int64_t budget_ms = or_default(revision_of(call)->retry_budget_ms, call->worker->options.defaults.retry_budget_ms);
    return budget_ms * US_PER_MS - (monotonic_us() - exchange_started_us(call->exchange));
}

static size_t attempts_max(const Call *call)
{
    int64_t most = or_default(revision_of(call)->retry_attempts, call->worker->options.defaults.retry_attempts);
    return most < ATTEMPTS_MAX ? (size_t)most : ATTEMPTS_MAX;
}

/* How often one target is tried: as it says, else once, or twice when there is no other behind it. */
static size_t tries_max(const Call *call)
{
    const ReeveRevision *revision = revision_of(call);
    int64_t said = revision->targets[call->target].max_attempts;
    return said > 0 ? (size_t)said : call->target + 1 < revision->target_count ? 1 : 2;
}

/* Full jitter: anything between nothing and the exponential bound. */
static int64_t backoff_us(const Call *call)
{
    const RouteDefaults *defaults = &call->worker->options.defaults;
    int64_t base_ms = or_default(revision_of(call)->retry_base_ms, defaults->retry_base_ms);
    int64_t max_ms = or_default(revision_of(call)->retry_max_ms, defaults->retry_max_ms);
    int64_t bound_ms = base_ms;
    for (size_t i = 1; i < call->tries && bound_ms < max_ms; i++)
        bound_ms *= 2;
    return (int64_t)random_below((uint64_t)(bound_ms < max_ms ? bound_ms : max_ms) * 1000 + 1);
}

static void retry_due(void *arg)
{
    attempt_begin(arg);
}

/* Plans another try; false when there is none left. */
static bool plan_another(Call *call, AttemptOutcome outcome, int64_t asked_us)
{
    int64_t delay_us = backoff_us(call);
    if (asked_us > delay_us)
        delay_us = asked_us;
    if (call->record.attempt_count >= attempts_max(call))
        return false;
    bool again =
        outcomes[outcome].remedy == REMEDY_AGAIN && call->tries < tries_max(call) && delay_us < budget_left_us(call);
    if (!again) {
        call->target++;
        call->tries = 0;
        delay_us = 0;
    }
    if (call->target >= revision_of(call)->target_count || budget_left_us(call) <= 0)
        return false;
    timer_start(call->worker->loop, &call->retry, delay_us, retry_due, call);
    return true;
}

/* The statuses that say something about the request rather than about the provider or our key. */
static bool is_clients_own(int status)
{
    return status >= 400 && status < 500 && status != 401 && status != 403 && status != 408 && status != 429;
}

/* The provider's answer may stand as it is: it is about the request, or it tells how long to wait. */
static bool can_pass_on(const Call *call, AttemptOutcome outcome, int status)
{
    bool told = (outcome == ATTEMPT_STATUS_4XX && is_clients_own(status)) || outcome == ATTEMPT_STATUS_429 ||
                outcome == ATTEMPT_STATUS_5XX;
    return told && !call->first_failed && call->answer.len > 0;
}

static void attempt_failed(Call *call, Transfer *transfer, AttemptOutcome outcome)
{
    int status = transfer_status(transfer);
    bool final = outcome == ATTEMPT_STATUS_4XX && is_clients_own(status) && !call->first_failed;
    if (!final && plan_another(call, outcome, retry_after_us(transfer)))
        return;
    if (can_pass_on(call, outcome, status))
        answer_whole(call, transfer);
    else
        answer_fault(call, outcomes[outcome].fault, STR(""), STR(""));
}

static void on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Call *call = arg;
    call->transfer = NULL;
    if (call->spool_failed) { /* it was never dispatched */
        call->record.attempt_count--;
        answer_fault(call, FAULT_SPOOL, STR(""), STR(""));
        return;
    }
    if (call->phase == PHASE_STREAMING) {
        bool whole = end == TRANSFER_OK && (call->tap.finished || call->tap.closing) && !call->tap.failed;
        AttemptOutcome outcome = whole ? ATTEMPT_OK : call->gone || call->stalled ? ATTEMPT_CANCELLED : ATTEMPT_PARTIAL;
        if (!whole && end != TRANSFER_OK && end != TRANSFER_RESET && end != TRANSFER_CANCELLED)
            outcome = of_transfer[end];
        note_attempt(call, transfer, outcome);
        answer_stream_ended(call, whole);
        return;
    }
    AttemptOutcome outcome = call->gone ? ATTEMPT_CANCELLED : classify(call, transfer, end);
    note_attempt(call, transfer, outcome);
    if (outcome == ATTEMPT_OK)
        answer_whole(call, transfer);
    else if (call->gone)
        answer_fault(call, FAULT_UPSTREAM, STR(""), STR(""));
    else
        attempt_failed(call, transfer, outcome);
}

/* --- the answer as it comes --- */

static void on_headers(Transfer *transfer, int status, void *arg)
{
    Call *call = arg;
    Str type = transfer_header(transfer, STR("content-type"));
    call->is_sse =
        status >= 200 && status < 300 && type.len >= 17 && str_eq_nocase(str_first(type, 17), STR("text/event-stream"));
}

static bool on_data(Transfer *transfer, Bytes data, void *arg)
{
    Call *call = arg;
    if (call->is_sse && call->record.stream)
        return answer_stream(call, transfer, data);
    buf_add(&call->answer, bytes_str(data));
    if (buf_overflowed(&call->answer) && !call->too_large) {
        call->too_large = true;
        transfer_cancel(transfer);
    }
    return true;
}

/* --- starting --- */

static void clear_attempt(Call *call)
{
    call->is_sse = call->too_large = call->first_failed = false;
    call->cutter = (SseCutter){ 0 };
    buf_clear(&call->answer);
    tap_release(&call->tap);
    tap_init(&call->tap, call->record.dialect, call->body.hide_usage);
}

/* Written before the dispatch: the event that stands for this call if we die. */
static void write_intent(Call *call)
{
    Worker *worker = call->worker;
    if (!call->metered) {
        call->record.epoch = spool_epoch(worker->options.spool);
        call->record.sequence = spool_next(worker->options.spool);
        call->metered = true;
    }
    buf_clear(&worker->event);
    record_write(worker->scratch, &worker->event, &call->record, true);
    spool_intent(worker->writer, call->record.sequence, buf_str(&worker->event));
    arena_clear(worker->scratch);
    call->unflushed = true;
    call->next_unflushed = worker->unflushed;
    worker->unflushed = call;
}

static Err dispatch(Call *call, const ReeveTarget *target, Bytes secret)
{
    const WorkerOptions *options = &call->worker->options;
    const DialectRow *dialect = dialect_row(call->record.dialect);
    Header headers[REQUEST_HEADERS_MAX];
    TransferOptions transfer = {
        .method = "POST",
        .url = request_url(call, target->connection),
        .headers = headers,
        .header_count = request_headers(call, headers),
        .body = body_edit(call->arena, &call->body, str_from_c(target->model)),
        .connect_timeout_us = or_default(target->connect_ms, options->defaults.connect_ms) * US_PER_MS,
        .first_byte_timeout_us = or_default(target->first_byte_ms, options->defaults.first_byte_ms) * US_PER_MS,
        .idle_timeout_us = or_default(target->idle_ms, options->defaults.idle_ms) * US_PER_MS,
        .total_timeout_us = or_default(target->total_ms, options->defaults.total_ms) * US_PER_MS,
        .header_bytes_max = RESPONSE_HEADER_BYTES_MAX,
        .ca_pem = options->upstream_ca_pem,
        .allow_private = options->allow_private_upstreams,
        .on_headers = on_headers,
        .on_data = on_data,
        .on_end = on_end,
        .arg = call,
    };
    if (secret.len > 0) {
        transfer.secret_header = dialect->secret_header;
        transfer.secret_prefix = dialect->secret_prefix;
        transfer.secret_value = secret;
    }
    return transfer_start(call->worker->client, &transfer, &call->transfer);
}

/* Opens the key into a locked slot, hands it to the transfer, wipes the slot. */
static bool dispatch_with_secret(Call *call, const ReeveTarget *target, AttemptRecord *attempt)
{
    const Truth *truth = &call->worker->options.truth;
    const ReeveConnection *connection = target->connection;
    uint8_t *slot = secret_slab_take(call->worker->slab);
    size_t len = 0;
    ReeveResult result = REEVE_OK;
    if (slot == NULL)
        die("no locked slot for a key is free");
    if (connection->secret_id != NULL)
        result = truth->secret_open(truth->arg, call->snapshot, connection, connection->origin, slot, SECRET_SLOT_BYTES,
            &len, &attempt->secret_version);
    Err err = OK;
    if (result == REEVE_OK)
        err = dispatch(call, target, (Bytes){ .ptr = slot, .len = len });
    secret_slab_give(call->worker->slab, slot);
    if (result != REEVE_OK) {
        counter_add(&call->worker->metrics.secret_failures, 1);
        log_warn("a provider key could not be opened", LOG_C("why", reeve_result_name(result)),
            LOG_C("connection", connection->id), LOG_STR("request_id", call->record.request_id));
    }
    if (err.kind != ERR_NONE)
        log_err("a provider could not be called", err);
    return result == REEVE_OK && err.kind == ERR_NONE;
}

static bool speaks_our_dialect(const Call *call, const ReeveTarget *target)
{
    return str_eq(str_from_c(target->connection->dialect), dialect_row(call->record.dialect)->name);
}

/* The current target, or the first behind it that can be called at all. */
void attempt_begin(Call *call)
{
    const ReeveRevision *revision = revision_of(call);
    CallRecord *record = &call->record;
    for (; call->target < revision->target_count; call->target++, call->tries = 0) {
        const ReeveTarget *target = &revision->targets[call->target];
        clear_attempt(call);
        AttemptRecord *attempt = NEW(call->arena, AttemptRecord, 1);
        attempt->target = target;
        call->attempt_us = monotonic_us();
        if (!speaks_our_dialect(call, target) || !dispatch_with_secret(call, target, attempt))
            continue;
        record->attempts[record->attempt_count++] = attempt;
        call->tries++;
        write_intent(call);
        return;
    }
    answer_fault(call, FAULT_ROUTE, STR(""), STR(""));
}

void attempt_next(Call *call)
{
    call->target = call->tries = 0;
    attempt_begin(call);
}
