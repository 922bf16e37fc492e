/* wire.c: the tables of a usage event, and its digest. */
#include "wire.h"

#include "base/buf.h"
#include "base/encode.h"
#include "base/json.h"

#define TEXT_MAX 256
#define RAW_BASE64_MAX (USAGE_RAW_BYTES_MAX / 3 * 4 + 8)
#define COUNT_LIMIT INT64_MAX

static const char *const event_outcomes[] = { "ok", "failed", "refused", "client_gone", "indeterminate", NULL };
static const char *const attempt_outcomes[] = { "ok", "connect", "connect-timeout", "tls", "first-byte-timeout",
    "idle-timeout", "total-timeout", "reset", "status-429", "status-5xx", "status-4xx", "empty", "malformed",
    "cancelled", "partial", "indeterminate", NULL };

static const Field unit_fields[] = {
    FIELD(WireUnit, model, .max = TEXT_MAX),
    FIELD(WireUnit, meters, .required = false),
    FIELD(WireUnit, usage_raw, .max = RAW_BASE64_MAX),
    FIELD(WireUnit, normaliser, .max = 1000000),
    FIELD(WireUnit, residual, .min = INT64_MIN, .max = INT64_MAX),
    FIELD(WireUnit, stream, .required = false),
};
static const FieldTable unit_table = FIELD_TABLE(WireUnit, unit_fields);

static const Field timing_fields[] = {
    FIELD(WireTimings, queue_us, .max = COUNT_LIMIT),
    FIELD(WireTimings, connect_us, .max = COUNT_LIMIT),
    FIELD(WireTimings, first_byte_us, .max = COUNT_LIMIT),
    FIELD(WireTimings, total_us, .max = COUNT_LIMIT),
};
static const FieldTable timing_table = FIELD_TABLE(WireTimings, timing_fields);

static const Field attempt_fields[] = {
    FIELD(WireAttempt, n, .required = true, .min = 1, .max = INGEST_ATTEMPTS_MAX),
    FIELD(WireAttempt, connection, .prefix = "con"),
    FIELD(WireAttempt, provider, .required = true, .min = 1, .max = 64),
    FIELD(WireAttempt, model_asked, .max = TEXT_MAX),
    FIELD(WireAttempt, model_answered, .max = TEXT_MAX),
    FIELD(WireAttempt, outcome, .required = true, .one_of = attempt_outcomes),
    FIELD(WireAttempt, status, .min = 0, .max = 999),
    FIELD(WireAttempt, secret, .prefix = "sec"),
    FIELD(WireAttempt, secret_version, .max = INT32_MAX),
    FIELD_NESTED(WireAttempt, timings, &timing_table, .required = false),
    FIELD(WireAttempt, provider_request_id, .max = TEXT_MAX),
    FIELD(WireAttempt, lease, .prefix = "lse"),
    FIELD(WireAttempt, units, .table = &unit_table, .max = INGEST_UNITS_MAX),
};
static const FieldTable attempt_table = FIELD_TABLE(WireAttempt, attempt_fields);

static const Field data_fields[] = {
    FIELD(WireData, epoch, .required = true, .min = 0, .max = INT64_MAX),
    FIELD(WireData, sequence, .required = true, .min = 1, .max = INT64_MAX - 1),
    FIELD(WireData, org, .required = true, .prefix = "org"),
    FIELD(WireData, project, .required = true, .prefix = "prj"),
    FIELD(WireData, workflow, .prefix = "wfl"),
    FIELD(WireData, revision, .prefix = "rev"),
    FIELD(WireData, client_key, .prefix = "cky"),
    FIELD(WireData, dialect, .required = true, .min = 1, .max = 64),
    FIELD(WireData, stream, .required = false),
    FIELD(WireData, end_user, .max = TEXT_MAX),
    FIELD(WireData, labels, .required = false),
    FIELD(WireData, correlation_id, .max = TEXT_MAX),
    FIELD(WireData, trace_id, .max = TEXT_MAX),
    FIELD(WireData, request_id, .max = TEXT_MAX),
    FIELD(WireData, outcome, .required = true, .one_of = event_outcomes),
    FIELD(WireData, status, .min = 0, .max = 999),
    FIELD_NESTED(WireData, timings, &timing_table, .required = false),
    FIELD(WireData, attempts, .table = &attempt_table, .max = INGEST_ATTEMPTS_MAX),
};
static const FieldTable data_table = FIELD_TABLE(WireData, data_fields);

static const Field event_fields[] = {
    FIELD(WireEvent, specversion, .required = true, .max = 8),
    FIELD(WireEvent, type, .required = true, .max = 64),
    FIELD(WireEvent, source, .max = TEXT_MAX),
    FIELD(WireEvent, id, .required = true, .prefix = "evt"),
    FIELD(WireEvent, time, .required = false),
    FIELD(WireEvent, datacontenttype, .max = 64),
    FIELD_NESTED(WireEvent, data, &data_table, .required = true),
};
const FieldTable WIRE_EVENT_FIELDS = FIELD_TABLE(WireEvent, event_fields);

/* --- checks that a table cannot say --- */

static Err check_labels(const Json *labels)
{
    if (labels->value == NULL)
        return OK;
    if (!json_is_object(labels->value) || json_object_size(labels->value) > INGEST_LABELS_MAX)
        return FAIL(ERR_INVALID, "malformed", "/data/labels must be an object of at most 16 members.");
    const char *key;
    json_t *value;
    json_object_foreach(labels->value, key,
        value) if (!json_is_string(value) || json_string_length(value) > TEXT_MAX) return FAIL(ERR_INVALID, "malformed",
        "/data/labels must have texts of at most 256 bytes as values.");
    return OK;
}

static Err check_meters(const Json *meters)
{
    if (meters->value == NULL)
        return OK;
    if (!json_is_object(meters->value) || json_object_size(meters->value) > 64)
        return FAIL(ERR_INVALID, "malformed", "meters must be an object of at most 64 members.");
    const char *key;
    json_t *value;
    json_object_foreach(meters->value, key,
        value) if (!json_is_integer(value) || json_integer_value(value) < 0) return FAIL(ERR_INVALID, "malformed",
        "meters must be whole numbers from 0.");
    return OK;
}

static Err finish_attempts(Arena *arena, WireData *data)
{
    WireAttempt *attempts = data->attempts.items;
    for (size_t a = 0; a < data->attempts.count; a++) {
        if (attempts[a].n != (int64_t)a + 1)
            return FAIL(ERR_INVALID, "malformed", "/data/attempts must be numbered 1, 2, 3 in order.");
        WireUnit *units = attempts[a].units.items;
        for (size_t u = 0; u < attempts[a].units.count; u++) {
            TRY(check_meters(&units[u].meters));
            if (units[u].usage_raw.len == 0)
                continue;
            if (base64_decode(arena, units[u].usage_raw, &units[u].raw).kind != ERR_NONE ||
                units[u].raw.len > USAGE_RAW_BYTES_MAX)
                return FAIL(ERR_INVALID, "malformed", "usage_raw must be base64 of at most 65536 bytes.");
        }
    }
    return OK;
}

Err wire_event_decode(Arena *arena, json_t *item, WireEvent *ret_event)
{
    WireEvent event = { 0 };
    Err err = fields_decode(arena, &WIRE_EVENT_FIELDS, item, DECODE_STRICT, &event);
    if (err.kind == ERR_INVALID && err.fields.count > 0)
        return FAIL_FMT(arena, ERR_INVALID, "malformed", STR_FMT " " STR_FMT ".", STR_ARG(err.fields.items[0].pointer),
            STR_ARG(err.fields.items[0].detail));
    TRY(err);
    if (!str_eq(event.specversion, STR("1.0")) || !str_eq(event.type, STR("reeve.usage.v1")))
        return FAIL(ERR_INVALID, "malformed", "Only CloudEvents 1.0 of type reeve.usage.v1 are taken.");
    if (!uuid_is_v7(event.id))
        return FAIL(ERR_INVALID, "malformed", "/id must be a version 7 id.");
    TRY(check_labels(&event.data.labels));
    TRY(finish_attempts(arena, &event.data));
    *ret_event = event;
    return OK;
}

/* --- the digest --- */

#define DIGEST_BYTES_MAX (16 * 1024 * 1024)

static void add_struct(Arena *arena, Buf *out, const FieldTable *table, const char *ptr);

static void add_text(Buf *out, Str text)
{
    buf_u32(out, text.ptr == NULL ? UINT32_MAX : (uint32_t)text.len); /* null is not the empty text */
    buf_add(out, text);
}

static void add_json(Buf *out, const json_t *value)
{
    if (value == NULL) {
        buf_u32(out, UINT32_MAX);
        return;
    }
    size_t room = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    buf_u32(out, (uint32_t)room);
    char *at = buf_reserve(out, room);
    if (at != NULL)
        buf_used(out, json_dumpb(value, at, room, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY));
}

static void add_field(Arena *arena, Buf *out, const Field *field, const char *ptr)
{
    const void *at = ptr + field->offset;
    switch (field->kind) {
    case FIELD_STR:
        add_text(out, *(const Str *)at);
        break;
    case FIELD_BOOL:
        buf_add_char(out, *(const bool *)at ? 1 : 0);
        break;
    case FIELD_INT:
        buf_u64(out, (uint64_t) * (const int64_t *)at);
        break;
    case FIELD_MAYBE_INT:
        buf_add_char(out, ((const MaybeInt *)at)->set ? 1 : 0);
        buf_u64(out, (uint64_t)((const MaybeInt *)at)->value);
        break;
    case FIELD_UUID:
        buf_add_bytes(out, ((const Uuid *)at)->b, 16);
        break;
    case FIELD_TIME:
        buf_u64(out, (uint64_t)((const Time *)at)->us);
        break;
    case FIELD_JSON:
        add_json(out, ((const Json *)at)->value);
        break;
    case FIELD_OBJECT:
        add_struct(arena, out, field->table, at);
        break;
    case FIELD_LIST: {
        const List *list = at;
        buf_u32(out, (uint32_t)list->count);
        for (size_t i = 0; i < list->count; i++)
            add_struct(arena, out, field->table, (const char *)list->items + i * field->table->size);
        break;
    }
    default:
        die("a usage event has a field of a kind that has no digest: %s", field->name);
    }
}

static void add_struct(Arena *arena, Buf *out, const FieldTable *table, const char *ptr)
{
    for (size_t i = 0; i < table->count; i++)
        add_field(arena, out, &table->fields[i], ptr);
}

Digest wire_event_digest(Arena *arena, const WireEvent *event)
{
    _cleanup_(buf_release) Buf out = buf_new(DIGEST_BYTES_MAX);
    for (size_t i = 0; i < WIRE_EVENT_FIELDS.count; i++)
        if (WIRE_EVENT_FIELDS.fields[i].offset != offsetof(WireEvent, source))
            add_field(arena, &out, &WIRE_EVENT_FIELDS.fields[i], (const char *)event);
    return digest_of(str_bytes(buf_str(&out)));
}
