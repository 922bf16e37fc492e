/* record.c: see record.h. */
#include "record.h"

#include "base/encode.h"
#include <string.h>

static const char *const attempt_names[ATTEMPT_OUTCOME_COUNT] = {
    [ATTEMPT_INDETERMINATE] = "indeterminate",
    [ATTEMPT_OK] = "ok",
    [ATTEMPT_CONNECT] = "connect",
    [ATTEMPT_CONNECT_TIMEOUT] = "connect-timeout",
    [ATTEMPT_TLS] = "tls",
    [ATTEMPT_FIRST_BYTE_TIMEOUT] = "first-byte-timeout",
    [ATTEMPT_IDLE_TIMEOUT] = "idle-timeout",
    [ATTEMPT_TOTAL_TIMEOUT] = "total-timeout",
    [ATTEMPT_RESET] = "reset",
    [ATTEMPT_STATUS_429] = "status-429",
    [ATTEMPT_STATUS_5XX] = "status-5xx",
    [ATTEMPT_STATUS_4XX] = "status-4xx",
    [ATTEMPT_EMPTY] = "empty",
    [ATTEMPT_MALFORMED] = "malformed",
    [ATTEMPT_CANCELLED] = "cancelled",
    [ATTEMPT_PARTIAL] = "partial",
};

static const char *const call_names[CALL_OUTCOME_COUNT] = {
    [CALL_INDETERMINATE] = "indeterminate",
    [CALL_OK] = "ok",
    [CALL_FAILED] = "failed",
    [CALL_REFUSED] = "refused",
    [CALL_CLIENT_GONE] = "client_gone",
};

const char *attempt_outcome_name(AttemptOutcome outcome)
{
    return attempt_names[outcome];
}

const char *call_outcome_name(CallOutcome outcome)
{
    return call_names[outcome];
}

/* --- members, each with its leading comma --- */

static inline void add_c(Buf *out, const char *text)
{
    buf_add_bytes(out, text, strlen(text));
}

/* Texts of ours: ids and names that need no escape. */
static void add_plain(Buf *out, const char *key, Str value)
{
    add_c(out, ",\"");
    add_c(out, key);
    add_c(out, "\":\"");
    buf_add(out, value);
    buf_add_char(out, '"');
}

static void add_null(Buf *out, const char *key)
{
    add_c(out, ",\"");
    add_c(out, key);
    add_c(out, "\":null");
}

/* Others' texts: escaped, and null when empty or not UTF-8. */
static void add_text(Arena *arena, Buf *out, const char *key, Str value)
{
    if (str_is_empty(value) || !str_is_utf8(value)) {
        add_null(out, key);
        return;
    }
    add_c(out, ",\"");
    add_c(out, key);
    add_c(out, "\":");
    buf_add(out, json_quote(arena, value));
}

static void add_digits(Buf *out, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t left = value < 0 ? (uint64_t)-value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        digits[--at] = '-';
    buf_add_bytes(out, digits + at, sizeof digits - at);
}

static void add_int(Buf *out, const char *key, int64_t value)
{
    add_c(out, ",\"");
    add_c(out, key);
    add_c(out, "\":");
    add_digits(out, value);
}

static void add_labels(Arena *arena, Buf *out, const CallRecord *record)
{
    add_c(out, ",\"labels\":{");
    for (size_t i = 0; i < record->label_count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add(out, json_quote(arena, record->labels[i].name));
        buf_add_char(out, ':');
        buf_add(out, json_quote(arena, record->labels[i].value));
    }
    buf_add_char(out, '}');
}

/* --- units: one an attempt, since its raw bytes are one answer's; the ledger's own reading splits it by model --- */

static void sum_units(const UsageReading *reading, UsageUnit *ret_sum)
{
    for (size_t i = 0; i < reading->count; i++) {
        ret_sum->present |= reading->units[i].present;
        for (int meter = 1; meter < METER_COUNT; meter++)
            if (usage_unit_has(&reading->units[i], (Meter)meter))
                ret_sum->quantity[meter] += reading->units[i].quantity[meter];
    }
}

static void add_meters(Buf *out, const UsageUnit *unit)
{
    const char *comma = "";
    add_c(out, ",\"meters\":{");
    for (int meter = 1; meter < METER_COUNT; meter++) {
        if (!usage_unit_has(unit, (Meter)meter))
            continue;
        add_c(out, comma);
        buf_add_char(out, '"');
        buf_add(out, meter_name((Meter)meter));
        add_c(out, "\":");
        add_digits(out, unit->quantity[meter]);
        comma = ",";
    }
    buf_add_char(out, '}');
}

void record_meter(Arena *arena, const CallRecord *call, AttemptRecord *attempt)
{
    UsageReading reading = { 0 };
    Str provider = str_from_c(attempt->target->connection->dialect);
    Str endpoint = dialect_row(call->dialect)->endpoint;
    attempt->normaliser = USAGE_NORMALISER_VERSION;
    if (attempt->usage_raw.len == 0 ||
        usage_normalise(arena, provider, endpoint, call->stream, attempt->usage_raw, &reading).kind != ERR_NONE)
        return;
    attempt->normaliser = reading.version;
    attempt->residual = reading.residual;
    sum_units(&reading, &attempt->meters);
}

static void add_unit(Arena *arena, Buf *out, const CallRecord *call, const AttemptRecord *attempt)
{
    Str model = str_is_empty(attempt->model_answered) ? str_from_c(attempt->target->model) : attempt->model_answered;
    add_c(out, "{\"model\":");
    buf_add(out, json_quote(arena, model));
    add_meters(out, &attempt->meters);
    add_plain(out, "usage_raw", base64_encode(arena, str_bytes(attempt->usage_raw)));
    add_int(out, "normaliser", attempt->normaliser);
    add_int(out, "residual", attempt->residual);
    add_c(out, call->stream ? ",\"stream\":true}" : ",\"stream\":false}");
}

/* --- attempts and the call --- */

static void add_attempt(Arena *arena, Buf *out, const CallRecord *call, size_t i, bool open)
{
    const AttemptRecord *attempt = call->attempts[i];
    const ReeveConnection *connection = attempt->target->connection;
    add_c(out, i == 0 ? "{\"n\":" : ",{\"n\":");
    add_digits(out, (int64_t)i + 1);
    add_plain(out, "connection", str_from_c(connection->id));
    add_plain(out, "provider", str_from_c(connection->dialect));
    add_text(arena, out, "model_asked", str_from_c(attempt->target->model));
    add_text(arena, out, "model_answered", attempt->model_answered);
    add_plain(out, "outcome", str_from_c(attempt_names[open ? ATTEMPT_INDETERMINATE : attempt->outcome]));
    if (attempt->status == 0 || open)
        add_null(out, "status");
    else
        add_int(out, "status", attempt->status);
    if (connection->secret_id == NULL) {
        add_null(out, "secret");
        add_null(out, "secret_version");
    } else {
        add_plain(out, "secret", str_from_c(connection->secret_id));
        add_int(out, "secret_version", attempt->secret_version);
    }
    add_c(out, ",\"timings\":{\"connect_us\":");
    add_digits(out, attempt->connect_us);
    add_int(out, "first_byte_us", attempt->first_byte_us);
    add_int(out, "total_us", attempt->total_us);
    add_c(out, "}");
    add_text(arena, out, "provider_request_id", attempt->provider_request_id);
    add_c(out, ",\"lease\":null,\"units\":[");
    if (attempt->usage_raw.len > 0 && !open)
        add_unit(arena, out, call, attempt);
    add_c(out, "]}");
}

static void add_data(Arena *arena, Buf *out, const CallRecord *call, bool intent)
{
    add_c(out, ",\"data\":{\"epoch\":");
    add_digits(out, call->epoch);
    add_int(out, "sequence", (int64_t)call->sequence);
    add_plain(out, "org", str_from_c(call->key->project->organization));
    add_plain(out, "project", str_from_c(call->key->project->id));
    add_plain(out, "workflow", str_from_c(call->workflow->id));
    add_plain(out, "revision", str_from_c(call->workflow->revision->id));
    add_plain(out, "client_key", str_from_c(call->key->id));
    add_plain(out, "dialect", dialect_row(call->dialect)->name);
    add_c(out, call->stream ? ",\"stream\":true" : ",\"stream\":false");
    add_text(arena, out, "end_user", call->end_user);
    add_labels(arena, out, call);
    add_text(arena, out, "correlation_id", call->correlation_id);
    add_text(arena, out, "trace_id", call->trace_id);
    add_plain(out, "request_id", call->request_id);
    add_plain(out, "outcome", str_from_c(call_names[intent ? CALL_INDETERMINATE : call->outcome]));
    add_int(out, "status", intent ? 0 : call->status);
    add_c(out, ",\"timings\":{\"queue_us\":");
    add_digits(out, call->queue_us);
    add_int(out, "first_byte_us", intent ? 0 : call->first_byte_us);
    add_int(out, "total_us", intent ? 0 : call->total_us);
    add_c(out, "},\"attempts\":[");
    for (size_t i = 0; i < call->attempt_count; i++)
        add_attempt(arena, out, call, i, intent && i + 1 == call->attempt_count);
    add_c(out, "]}}");
}

void record_write(Arena *arena, Buf *out, const CallRecord *call, bool intent)
{
    add_c(out, "{\"specversion\":\"1.0\",\"type\":\"reeve.usage.v1\"");
    add_plain(out, "source", str_from_c(call->data_plane));
    add_plain(out, "id", typeid_format(arena, STR("evt"), call->id));
    add_plain(out, "time", time_format(arena, call->time));
    add_plain(out, "datacontenttype", STR("application/json"));
    add_data(arena, out, call, intent);
}

/* --- what callers say about a call --- */

static bool is_label_text(Str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e)
            return false;
    return text.len > 0 && text.len <= LABEL_BYTES_MAX;
}

size_t labels_parse(Str header, Label labels[LABELS_MAX])
{
    size_t count = 0;
    for (Str rest = header, item; rest.len > 0 && count < LABELS_MAX;) {
        Label label;
        (void)str_cut(rest, ';', &item, &rest);
        if (!str_cut(item, '=', &label.name, &label.value))
            continue;
        label.name = str_trim(label.name);
        label.value = str_trim(label.value);
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || str_eq(labels[i].name, label.name);
        if (!known && is_label_text(label.name) && is_label_text(label.value))
            labels[count++] = label;
    }
    return count;
}

Str trace_id_of(Str traceparent)
{
    if (traceparent.len < 55 || traceparent.ptr[2] != '-' || traceparent.ptr[35] != '-')
        return STR("");
    Str id = str_n(traceparent.ptr + 3, 32);
    for (size_t i = 0; i < id.len; i++)
        if (memchr("0123456789abcdef", id.ptr[i], 16) == NULL)
            return STR("");
    return id;
}
