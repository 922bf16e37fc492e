/* report.c: see report.h. */
#include "ledger/report.h"

#include "base/buf.h"
#include "base/json.h"
#include "store/sql.h"
#include "usage/meter.h"

#include <stdio.h>
#include <string.h>

#define REPORT_SPAN_MAX_US (400 * US_PER_DAY)
#define CSV_BYTES_MAX (8 * 1024 * 1024)

/* The query as parameters. */
typedef struct Ask {
    bool by_organization, by_project, by_workflow, by_client_key, by_connection, by_provider, by_model,
        by_attempt_outcome, by_meter, by_hour, by_day;
    Time from_time, to_time;
    Time days_from, days_to; /* the whole days within, when there is no need for hours */
    Uuid project, workflow, client_key, connection;
    Str project_name, workflow_name, provider, model, attempt_outcome;
    MaybeInt meter;
    int64_t skip, limit;
    Time complete_to;
} Ask;

#define COLUMN(T, member) FIELD(T, member, .internal = true)
static const Field ask_fields[] = { COLUMN(Ask, by_organization), COLUMN(Ask, by_project), COLUMN(Ask, by_workflow),
    COLUMN(Ask, by_client_key), COLUMN(Ask, by_connection), COLUMN(Ask, by_provider), COLUMN(Ask, by_model),
    COLUMN(Ask, by_attempt_outcome), COLUMN(Ask, by_meter), COLUMN(Ask, by_hour), COLUMN(Ask, by_day),
    COLUMN(Ask, from_time), COLUMN(Ask, to_time), COLUMN(Ask, days_from), COLUMN(Ask, days_to), COLUMN(Ask, project),
    COLUMN(Ask, workflow), COLUMN(Ask, client_key), COLUMN(Ask, connection), COLUMN(Ask, project_name),
    COLUMN(Ask, workflow_name), COLUMN(Ask, provider), COLUMN(Ask, model), COLUMN(Ask, attempt_outcome),
    COLUMN(Ask, meter), COLUMN(Ask, skip), COLUMN(Ask, limit), COLUMN(Ask, complete_to) };
static const FieldTable ASK_FIELDS = FIELD_TABLE(Ask, ask_fields);

static const Field row_fields[] = { COLUMN(UsageRow, groups), COLUMN(UsageRow, organization), COLUMN(UsageRow, project),
    COLUMN(UsageRow, workflow), COLUMN(UsageRow, client_key), COLUMN(UsageRow, connection), COLUMN(UsageRow, provider),
    COLUMN(UsageRow, model), COLUMN(UsageRow, attempt_outcome), COLUMN(UsageRow, meter), COLUMN(UsageRow, time),
    COLUMN(UsageRow, quantity), COLUMN(UsageRow, amount), COLUMN(UsageRow, unrated_quantity),
    COLUMN(UsageRow, attempts), COLUMN(UsageRow, events) };
static const FieldTable ROW_FIELDS = FIELD_TABLE(UsageRow, row_fields);

/* What a dimension is called, where it stands in a row and how it is shown. */
typedef struct DimensionRow {
    Str name;
    size_t flag;        /* in Ask */
    size_t value;       /* in UsageRow */
    const char *prefix; /* of an id; NULL: a text */
    bool is_time;
} DimensionRow;

static const DimensionRow dimensions[USAGE_DIMENSION_COUNT] = {
#define ID(dimension, member, text, id_prefix)                                                                         \
    [dimension] = { .name = STR_INIT(text),                                                                            \
        .flag = offsetof(Ask, by_##member),                                                                            \
        .value = offsetof(UsageRow, member),                                                                           \
        .prefix = (id_prefix) }
#define TEXT(dimension, member, text)                                                                                  \
    [dimension] = { .name = STR_INIT(text), .flag = offsetof(Ask, by_##member), .value = offsetof(UsageRow, member) }
#define TIME(dimension, member, text)                                                                                  \
    [dimension] = {                                                                                                    \
        .name = STR_INIT(text), .flag = offsetof(Ask, by_##member), .value = offsetof(UsageRow, time), .is_time = true \
    }
    ID(USAGE_BY_ORGANIZATION, organization, "organization", "org"),
    ID(USAGE_BY_PROJECT, project, "project", "prj"),
    ID(USAGE_BY_WORKFLOW, workflow, "workflow", "wfl"),
    ID(USAGE_BY_CLIENT_KEY, client_key, "client_key", "cky"),
    ID(USAGE_BY_CONNECTION, connection, "connection", "con"),
    TEXT(USAGE_BY_PROVIDER, provider, "provider"),
    TEXT(USAGE_BY_MODEL, model, "model"),
    TEXT(USAGE_BY_ATTEMPT_OUTCOME, attempt_outcome, "attempt_outcome"),
    TEXT(USAGE_BY_METER, meter, "meter"),
    TIME(USAGE_BY_HOUR, hour, "hour"),
    TIME(USAGE_BY_DAY, day, "day"),
};

static Err invalid(Arena *arena, const char *parameter, Str detail)
{
    Err err = FAIL(ERR_INVALID, "invalid-parameters", "The request has query parameters that cannot be accepted.");
    FieldErr *field = NEW(arena, FieldErr, 1);
    *field = (FieldErr){ .pointer = arena_fmt(arena, "/%s", parameter), .detail = detail };
    err.fields = (FieldErrs){ .items = field, .count = 1 };
    return err;
}

static Err group_parse(Arena *arena, Str group_by, Ask *ask, uint32_t *ret_dimensions)
{
    Str head, tail = group_by;
    while (tail.len > 0) {
        Str rest = tail;
        str_cut(rest, ',', &head, &tail);
        size_t i = 0;
        while (i < USAGE_DIMENSION_COUNT && !str_eq(dimensions[i].name, head))
            i++;
        if (i == USAGE_DIMENSION_COUNT)
            return invalid(arena, "group_by",
                STR("must be of organization, project, workflow, client_key, connection, provider, model, "
                    "attempt_outcome, meter, hour, day"));
        *(bool *)(void *)((char *)ask + dimensions[i].flag) = true;
        *ret_dimensions |= UINT32_C(1) << i;
    }
    if (ask->by_hour && ask->by_day)
        return invalid(arena, "group_by", STR("must not have both hour and day"));
    return OK;
}

static Err span_settle(Arena *arena, const UsageQuery *query, Time now, Ask *ask)
{
    int64_t to = time_is_none(query->to) ? now.us + US_PER_HOUR - 1 : query->to.us + US_PER_HOUR - 1;
    int64_t from = time_is_none(query->from) ? now.us - US_PER_DAY : query->from.us;
    ask->from_time.us = from / US_PER_HOUR * US_PER_HOUR;
    ask->to_time.us = to / US_PER_HOUR * US_PER_HOUR;
    if (ask->from_time.us >= ask->to_time.us)
        return invalid(arena, "from", STR("must be before to"));
    if (ask->to_time.us - ask->from_time.us > REPORT_SPAN_MAX_US)
        return invalid(arena, "from", STR("must be at most 400 days before to"));
    ask->days_from.us = (ask->from_time.us + US_PER_DAY - 1) / US_PER_DAY * US_PER_DAY;
    ask->days_to.us = ask->to_time.us / US_PER_DAY * US_PER_DAY;
    if (ask->by_hour || ask->days_from.us >= ask->days_to.us)
        ask->days_from = ask->days_to = ask->to_time;
    return OK;
}

Err usage_report(Db *db, Arena *arena, const UsageQuery *query, Time now, UsageReport *ret_report)
{
    Ask ask = { .project = query->project,
        .workflow = query->workflow,
        .client_key = query->client_key,
        .connection = query->connection,
        .project_name = query->project_name,
        .workflow_name = query->workflow_name,
        .provider = query->provider,
        .model = query->model,
        .attempt_outcome = query->attempt_outcome,
        .skip = query->skip,
        .limit = query->limit };
    UsageReport report = { 0 };
    Meter meter;
    TRY(group_parse(arena, query->group_by, &ask, &report.dimensions));
    TRY(span_settle(arena, query, now, &ask));
    if (query->meter.len > 0 && !meter_find(query->meter, &meter))
        return invalid(arena, "meter", STR("is not a meter"));
    if (query->meter.len > 0)
        ask.meter = (MaybeInt){ .value = meter, .set = true };
    Ask whole = ask;
    for (size_t i = 0; i < USAGE_DIMENSION_COUNT; i++)
        *(bool *)(void *)((char *)&whole + dimensions[i].flag) = false;
    whole.skip = 0;
    whole.limit = 1;
    List totals = { 0 };
    const DbCall calls[] = {
        { .stmt = &SQL_USAGE_REPORT, .in = REC(&ASK_FIELDS, &ask), .list = &ROW_FIELDS, .ret_list = &report.rows },
        { .stmt = &SQL_USAGE_REPORT, .in = REC(&ASK_FIELDS, &whole), .list = &ROW_FIELDS, .ret_list = &totals },
        { .stmt = &SQL_USAGE_COMPLETE_TO, .in = REC_NONE, .out = REC(&ASK_FIELDS, &whole) },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    if (totals.count > 0)
        report.totals = *(const UsageRow *)totals.items;
    report.groups = report.rows.count > 0 ? ((const UsageRow *)report.rows.items)->groups : 0;
    report.complete_to = whole.complete_to;
    report.from = ask.from_time;
    report.to = ask.to_time;
    *ret_report = report;
    return OK;
}

/* --- showing --- */

static Str dimension_text(Arena *arena, const UsageRow *row, size_t i)
{
    const void *value = (const char *)row + dimensions[i].value;
    if (dimensions[i].is_time)
        return time_is_none(row->time) ? (Str){ 0 } : time_format(arena, row->time);
    if (dimensions[i].prefix == NULL)
        return *(const Str *)value;
    Uuid id = *(const Uuid *)value;
    return uuid_is_zero(id) ? (Str){ 0 } : typeid_format(arena, str_from_c(dimensions[i].prefix), id);
}

/* A number that every reader of JSON keeps exactly, or its digits. */
static json_t *count_json(Arena *arena, MoneySum count)
{
    const Int128 exact_max = INT64_C(9007199254740992);
    if (count.pico < exact_max && count.pico > -exact_max)
        return json_integer((int64_t)count.pico);
    return json_from_str(money_sum_digits(arena, count));
}

json_t *usage_row_json(Arena *arena, const UsageRow *row, uint32_t asked)
{
    json_t *object = json_object();
    for (size_t i = 0; i < USAGE_DIMENSION_COUNT; i++) {
        if ((asked >> i & 1) == 0)
            continue;
        Str text = dimension_text(arena, row, i);
        json_object_set_new(object, dimensions[i].name.ptr, text.ptr == NULL ? json_null() : json_from_str(text));
    }
    json_object_set_new(object, "quantity", count_json(arena, row->quantity));
    json_object_set_new(object, "amount_usd", json_from_str(money_sum_format(arena, row->amount)));
    json_object_set_new(object, "unrated_quantity", count_json(arena, row->unrated_quantity));
    json_object_set_new(object, "attempts", json_integer(row->attempts));
    json_object_set_new(object, "events", json_integer(row->events));
    return object;
}

/* A cell that a spreadsheet would read as a formula gets an apostrophe. */
static void csv_cell(Buf *out, Str text)
{
    bool formula = text.len > 0 && strchr("=+-@\t\r", text.ptr[0]) != NULL;
    buf_add_char(out, '"');
    if (formula)
        buf_add_char(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"')
            buf_add_char(out, '"');
        buf_add_char(out, text.ptr[i]);
    }
    buf_add_char(out, '"');
}

Err usage_csv(Arena *arena, const UsageReport *report, Str *ret_text)
{
    _cleanup_(buf_release) Buf out = buf_new(CSV_BYTES_MAX);
    for (size_t i = 0; i < USAGE_DIMENSION_COUNT; i++)
        if ((report->dimensions >> i & 1) != 0)
            buf_fmt(&out, STR_FMT ",", STR_ARG(dimensions[i].name));
    buf_add(&out, STR("quantity,amount_usd,unrated_quantity,attempts,events\r\n"));
    const UsageRow *rows = report->rows.items;
    for (size_t r = 0; r < report->rows.count; r++) {
        for (size_t i = 0; i < USAGE_DIMENSION_COUNT; i++)
            if ((report->dimensions >> i & 1) != 0) {
                csv_cell(&out, dimension_text(arena, &rows[r], i));
                buf_add_char(&out, ',');
            }
        buf_fmt(&out, STR_FMT "," STR_FMT "," STR_FMT ",%lld,%lld\r\n",
            STR_ARG(money_sum_digits(arena, rows[r].quantity)), STR_ARG(money_sum_format(arena, rows[r].amount)),
            STR_ARG(money_sum_digits(arena, rows[r].unrated_quantity)), (long long)rows[r].attempts,
            (long long)rows[r].events);
    }
    if (buf_overflowed(&out) || report->groups > (int64_t)report->rows.count)
        return FAIL(ERR_INVALID, "report-too-long",
            "The report is too long for one table: ask for a shorter span or fewer groups, or for JSON in pages.");
    *ret_text = arena_str(arena, buf_str(&out));
    return OK;
}
