/* ingest.c: one batch, one transaction, a verdict per item. */
#include "ledger/ingest.h"
#include "wire.h"

#include "base/buf.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

static const Field verdict_fields[] = {
    FIELD(IngestVerdict, id, .required = true),
    FIELD(IngestVerdict, verdict, .required = true),
    FIELD(IngestVerdict, code, .omit_null = true),
    FIELD(IngestVerdict, detail, .omit_null = true),
};
const FieldTable INGEST_VERDICT_FIELDS = FIELD_TABLE(IngestVerdict, verdict_fields);

/* --- the parameters of ledger_ingest: a struct of arrays, by name --- */

typedef struct Rows {
    Uuid data_plane;
    Uuids e_org, e_id;
    BytesList e_digest;
    Ints e_epoch, e_sequence;
    Uuids e_project, e_workflow, e_revision, e_client_key;
    Strs e_dialect;
    Bools e_stream;
    Strs e_outcome;
    Ints e_status;
    Strs e_end_user, e_labels, e_correlation_id, e_trace_id, e_request_id;
    Ints e_queue_us, e_first_byte_us, e_total_us;

    Uuids a_event;
    Ints a_n;
    Uuids a_connection;
    Strs a_provider, a_model_asked, a_model_answered, a_outcome;
    Ints a_status;
    Uuids a_secret;
    Ints a_secret_version, a_connect_us, a_first_byte_us, a_total_us;
    Strs a_provider_request_id;
    Uuids a_lease;

    Uuids u_event;
    Ints u_attempt, u_n;
    Strs u_model;
    Ints u_m_first, u_m_last;
    BytesList u_usage_raw;
    Ints u_normaliser, u_residual;
    Bools u_stream;
    Ints m_code, m_quantity;
} Rows;

#define ROW(member) FIELD(Rows, member, .internal = true)
static const Field row_fields[] = { ROW(data_plane), ROW(e_org), ROW(e_id), ROW(e_digest), ROW(e_epoch),
    ROW(e_sequence), ROW(e_project), ROW(e_workflow), ROW(e_revision), ROW(e_client_key), ROW(e_dialect), ROW(e_stream),
    ROW(e_outcome), ROW(e_status), ROW(e_end_user), ROW(e_labels), ROW(e_correlation_id), ROW(e_trace_id),
    ROW(e_request_id), ROW(e_queue_us), ROW(e_first_byte_us), ROW(e_total_us), ROW(a_event), ROW(a_n),
    ROW(a_connection), ROW(a_provider), ROW(a_model_asked), ROW(a_model_answered), ROW(a_outcome), ROW(a_status),
    ROW(a_secret), ROW(a_secret_version), ROW(a_connect_us), ROW(a_first_byte_us), ROW(a_total_us),
    ROW(a_provider_request_id), ROW(a_lease), ROW(u_event), ROW(u_attempt), ROW(u_n), ROW(u_model), ROW(u_m_first),
    ROW(u_m_last), ROW(u_usage_raw), ROW(u_normaliser), ROW(u_residual), ROW(u_stream), ROW(m_code), ROW(m_quantity) };
static const FieldTable ROW_FIELDS = FIELD_TABLE(Rows, row_fields);

typedef struct IdRow {
    Uuid org, id;
    Bytes digest;
} IdRow;
static const Field id_row_fields[] = { FIELD(IdRow, org, .internal = true), FIELD(IdRow, id, .internal = true),
    FIELD(IdRow, digest, .internal = true) };
static const FieldTable ID_ROW_FIELDS = FIELD_TABLE(IdRow, id_row_fields);

typedef struct Ids {
    Uuids orgs, ids;
    BytesList digests;
    Strs reasons;
    BytesList bodies;
    Uuid data_plane;
} Ids;
static const Field ids_fields[] = { FIELD(Ids, orgs, .internal = true), FIELD(Ids, ids, .internal = true),
    FIELD(Ids, digests, .internal = true), FIELD(Ids, reasons, .internal = true), FIELD(Ids, bodies, .internal = true),
    FIELD(Ids, data_plane, .internal = true) };
static const FieldTable IDS_FIELDS = FIELD_TABLE(Ids, ids_fields);

typedef struct Seen {
    Uuid data_plane;
    Ints epochs;
    Strs ranges; /* int8multirange */
    Times last_events;
} Seen;
static const Field seen_fields[] = { FIELD(Seen, data_plane, .internal = true), FIELD(Seen, epochs, .internal = true),
    FIELD(Seen, ranges, .internal = true), FIELD(Seen, last_events, .internal = true) };
static const FieldTable SEEN_FIELDS = FIELD_TABLE(Seen, seen_fields);

typedef struct Window {
    Time oldest, newest;
} Window;
static const Field window_fields[] = { FIELD(Window, oldest, .internal = true),
    FIELD(Window, newest, .internal = true) };
static const FieldTable WINDOW_FIELDS = FIELD_TABLE(Window, window_fields);

/* --- one batch --- */

typedef struct Item {
    Str text; /* its bytes in the body */
    WireEvent event;
    Digest digest;
    IngestVerdict verdict;
    bool decoded;
    bool candidate; /* to be stored, unless it is there */
} Item;

typedef struct Batch {
    Db *db;
    Arena *arena;
    const IngestSource *source;
    Time now;
    Item *items;
    size_t count;
} Batch;

static const Str verdict_names[] = {
    [VERDICT_STORED] = STR_INIT("stored"),
    [VERDICT_DUPLICATE] = STR_INIT("duplicate"),
    [VERDICT_CONFLICT] = STR_INIT("conflict"),
    [VERDICT_QUARANTINED] = STR_INIT("quarantined"),
    [VERDICT_REFUSED] = STR_INIT("refused"),
};

static void decide(Item *item, IngestVerdictKind kind, Str code, Str detail)
{
    item->candidate = false;
    item->verdict.kind = kind;
    item->verdict.verdict = verdict_names[kind];
    item->verdict.code = code;
    item->verdict.detail = detail;
}

static void decide_conflict(Item *item)
{
    decide(item, VERDICT_CONFLICT, STR("id-conflict"), STR("Another event has this id."));
}

static int by_project(const void *a, const void *b)
{
    const IngestProject *left = a, *right = b;
    int order = uuid_compare(left->org, right->org);
    return order != 0 ? order : uuid_compare(left->project, right->project);
}

static size_t projects_of(const Batch *batch, IngestProject *projects)
{
    size_t all = 0, count = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].decoded)
            projects[all++] =
                (IngestProject){ .org = batch->items[i].event.data.org, .project = batch->items[i].event.data.project };
    qsort(projects, all, sizeof(IngestProject), by_project);
    for (size_t i = 0; i < all; i++)
        if (count == 0 || by_project(&projects[count - 1], &projects[i]) != 0)
            projects[count++] = projects[i];
    return count;
}

/* Who may report for what is asked once for the batch. */
static Err items_admit(Batch *batch)
{
    IngestProject *projects = NEW(batch->arena, IngestProject, batch->count + 1);
    size_t count = projects_of(batch, projects);
    if (count > 0)
        TRY(batch->source->may_serve(batch->source->arg, batch->db, batch->arena, projects, count));
    for (size_t i = 0; i < batch->count; i++) {
        Item *item = &batch->items[i];
        if (!item->decoded)
            continue;
        IngestProject key = { .org = item->event.data.org, .project = item->event.data.project };
        const IngestProject *found = bsearch(&key, projects, count, sizeof(IngestProject), by_project);
        item->candidate = found != NULL && found->served;
        if (!item->candidate)
            decide(item, VERDICT_REFUSED, STR("not-served"), STR("The data plane does not serve this project."));
    }
    return OK;
}

Err ingest_served(void *arg, Db *db, Arena *arena, IngestProject *projects, size_t count)
{
    (void)arg;
    Ids ids = { .orgs.items = NEW(arena, Uuid, count), .ids.items = NEW(arena, Uuid, count) };
    for (size_t i = 0; i < count; i++) {
        ids.orgs.items[ids.orgs.count++] = projects[i].org;
        ids.ids.items[ids.ids.count++] = projects[i].project;
    }
    List rows = { 0 };
    TRY(db_list(db, arena, &SQL_LEDGER_SERVED, REC(&IDS_FIELDS, &ids), &ID_ROW_FIELDS, &rows));
    const IdRow *served = rows.items;
    for (size_t i = 0; i < rows.count; i++) {
        IngestProject key = { .org = served[i].org, .project = served[i].id };
        IngestProject *found = bsearch(&key, projects, count, sizeof(IngestProject), by_project);
        if (found != NULL)
            found->served = true;
    }
    return OK;
}

static Err items_read(Batch *batch, Str body)
{
    _cleanup_(buf_release) Buf scratch = buf_new(INGEST_BYTES_MAX * 2);
    WireBatch wire;
    TRY(wire_batch_open(batch->arena, body, &wire));
    Item item = { 0 };
    for (Err err; wire_batch_next(&wire, &item.text, &item.event, &err); item = (Item){ 0 }) {
        if (batch->count == INGEST_EVENTS_MAX)
            return FAIL(ERR_TOO_LARGE, "batch-too-long", "A batch has at most 1000 events.");
        item.verdict.id = item.event.id_text;
        item.decoded = err.kind == ERR_NONE;
        if (item.decoded)
            item.digest = wire_event_digest(&scratch, &item.event);
        else
            decide(&item, VERDICT_REFUSED, err.code, err.detail);
        batch->items[batch->count++] = item;
    }
    return wire.err;
}

/* --- the same id twice in one batch --- */

static int by_id(const void *a, const void *b)
{
    const Item *const *left = a, *const *right = b;
    int order = uuid_compare((*left)->event.id, (*right)->event.id);
    return order != 0 ? order : (*left < *right ? -1 : *left > *right);
}

static void settle_repeats(Batch *batch)
{
    Item **sorted = NEW(batch->arena, Item *, batch->count);
    size_t n = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].candidate)
            sorted[n++] = &batch->items[i];
    qsort(sorted, n, sizeof(Item *), by_id);
    const Item *first = n > 0 ? sorted[0] : NULL;
    for (size_t i = 1; i < n; i++) {
        if (!uuid_eq(first->event.id, sorted[i]->event.id))
            first = sorted[i];
        else if (digest_eq(first->digest, sorted[i]->digest))
            decide(sorted[i], VERDICT_DUPLICATE, (Str){ 0 }, (Str){ 0 });
        else
            decide_conflict(sorted[i]);
    }
}

/* --- ids outside the open days --- */

static Err settle_window(Batch *batch, DbCall *ret_call, Ids *ret_ids, bool *ret_needed)
{
    Window window = { 0 };
    TRY(db_one(batch->db, batch->arena, &SQL_LEDGER_PARTITION_OLDEST, REC_NONE, REC(&WINDOW_FIELDS, &window)));
    Arena *arena = batch->arena;
    Ids ids = { .data_plane = batch->source->data_plane };
    ids.orgs.items = NEW(arena, Uuid, batch->count);
    ids.ids.items = NEW(arena, Uuid, batch->count);
    ids.digests.items = NEW(arena, Bytes, batch->count);
    ids.reasons.items = NEW(arena, Str, batch->count);
    ids.bodies.items = NEW(arena, Bytes, batch->count);
    size_t n = 0;
    for (size_t i = 0; i < batch->count; i++) {
        Item *item = &batch->items[i];
        if (!item->candidate)
            continue;
        Time time = uuid_time(item->event.id);
        bool early = time_before(time, window.oldest);
        bool late = time.us > batch->now.us + INGEST_AHEAD_US || !time_before(time, window.newest);
        if (!early && !late)
            continue;
        Str reason = early ? STR("id-too-old") : STR("id-in-future");
        ids.orgs.items[n] = item->event.data.org;
        ids.ids.items[n] = item->event.id;
        ids.digests.items[n] = digest_bytes(&item->digest);
        ids.reasons.items[n] = reason;
        ids.bodies.items[n] = str_bytes(item->text);
        decide(item, VERDICT_QUARANTINED, reason, STR("The day inside the id is not open."));
        n++;
    }
    ids.orgs.count = ids.ids.count = ids.digests.count = ids.reasons.count = ids.bodies.count = n;
    *ret_ids = ids;
    *ret_call = (DbCall){ .stmt = &SQL_LEDGER_QUARANTINE, .in = REC(&IDS_FIELDS, ret_ids) };
    *ret_needed = n > 0;
    return OK;
}

/* --- rows --- */

#define MAKE(rows, member, T, n) ((rows)->member.items = NEW(arena, T, n))

static void rows_make(Arena *arena, Rows *rows, size_t events, size_t attempts, size_t units, size_t meters)
{
    Uuids *event_ids[] = { &rows->e_org, &rows->e_id, &rows->e_project, &rows->e_workflow, &rows->e_revision,
        &rows->e_client_key };
    Ints *event_ints[] = { &rows->e_epoch, &rows->e_sequence, &rows->e_status, &rows->e_queue_us,
        &rows->e_first_byte_us, &rows->e_total_us };
    Strs *event_texts[] = { &rows->e_dialect, &rows->e_outcome, &rows->e_end_user, &rows->e_labels,
        &rows->e_correlation_id, &rows->e_trace_id, &rows->e_request_id };
    Uuids *attempt_ids[] = { &rows->a_event, &rows->a_connection, &rows->a_secret, &rows->a_lease };
    Ints *attempt_ints[] = { &rows->a_n, &rows->a_status, &rows->a_secret_version, &rows->a_connect_us,
        &rows->a_first_byte_us, &rows->a_total_us };
    Strs *attempt_texts[] = { &rows->a_provider, &rows->a_model_asked, &rows->a_model_answered, &rows->a_outcome,
        &rows->a_provider_request_id };
    Ints *unit_ints[] = { &rows->u_attempt, &rows->u_n, &rows->u_m_first, &rows->u_m_last, &rows->u_normaliser,
        &rows->u_residual };
    for (size_t i = 0; i < COUNT_OF(event_ids); i++)
        event_ids[i]->items = NEW(arena, Uuid, events);
    for (size_t i = 0; i < COUNT_OF(event_ints); i++)
        event_ints[i]->items = NEW(arena, int64_t, events);
    for (size_t i = 0; i < COUNT_OF(event_texts); i++)
        event_texts[i]->items = NEW(arena, Str, events);
    for (size_t i = 0; i < COUNT_OF(attempt_ids); i++)
        attempt_ids[i]->items = NEW(arena, Uuid, attempts);
    for (size_t i = 0; i < COUNT_OF(attempt_ints); i++)
        attempt_ints[i]->items = NEW(arena, int64_t, attempts);
    for (size_t i = 0; i < COUNT_OF(attempt_texts); i++)
        attempt_texts[i]->items = NEW(arena, Str, attempts);
    for (size_t i = 0; i < COUNT_OF(unit_ints); i++)
        unit_ints[i]->items = NEW(arena, int64_t, units);
    MAKE(rows, e_digest, Bytes, events);
    MAKE(rows, e_stream, bool, events);
    MAKE(rows, u_event, Uuid, units);
    MAKE(rows, u_model, Str, units);
    MAKE(rows, u_usage_raw, Bytes, units);
    MAKE(rows, u_stream, bool, units);
    MAKE(rows, m_code, int64_t, meters);
    MAKE(rows, m_quantity, int64_t, meters);
}

#define PUT(rows, member, value) ((rows)->member.items[(rows)->member.count++] = (value))

static int64_t or_none(MaybeInt value)
{
    return value.set ? value.value : -1;
}

static Str text_or_empty(Str text)
{
    return text.ptr == NULL ? STR("") : text;
}

static void put_event(Rows *rows, const Item *item)
{
    const WireData *data = &item->event.data;
    PUT(rows, e_org, data->org);
    PUT(rows, e_id, item->event.id);
    PUT(rows, e_digest, digest_bytes(&item->digest));
    PUT(rows, e_epoch, data->epoch);
    PUT(rows, e_sequence, data->sequence);
    PUT(rows, e_project, data->project);
    PUT(rows, e_workflow, data->workflow);
    PUT(rows, e_revision, data->revision);
    PUT(rows, e_client_key, data->client_key);
    PUT(rows, e_dialect, data->dialect);
    PUT(rows, e_stream, data->stream);
    PUT(rows, e_outcome, data->outcome);
    PUT(rows, e_status, or_none(data->status));
    PUT(rows, e_end_user, text_or_empty(data->end_user));
    PUT(rows, e_labels, text_or_empty(data->labels));
    PUT(rows, e_correlation_id, text_or_empty(data->correlation_id));
    PUT(rows, e_trace_id, text_or_empty(data->trace_id));
    PUT(rows, e_request_id, text_or_empty(data->request_id));
    PUT(rows, e_queue_us, or_none(data->timings.queue_us));
    PUT(rows, e_first_byte_us, or_none(data->timings.first_byte_us));
    PUT(rows, e_total_us, or_none(data->timings.total_us));
}

static void put_attempt(Rows *rows, Uuid event, const WireAttempt *attempt)
{
    PUT(rows, a_event, event);
    PUT(rows, a_n, attempt->n);
    PUT(rows, a_connection, attempt->connection);
    PUT(rows, a_provider, attempt->provider);
    PUT(rows, a_model_asked, text_or_empty(attempt->model_asked));
    PUT(rows, a_model_answered, text_or_empty(attempt->model_answered));
    PUT(rows, a_outcome, attempt->outcome);
    PUT(rows, a_status, or_none(attempt->status));
    PUT(rows, a_secret, attempt->secret);
    PUT(rows, a_secret_version, or_none(attempt->secret_version));
    PUT(rows, a_connect_us, or_none(attempt->timings.connect_us));
    PUT(rows, a_first_byte_us, or_none(attempt->timings.first_byte_us));
    PUT(rows, a_total_us, or_none(attempt->timings.total_us));
    PUT(rows, a_provider_request_id, text_or_empty(attempt->provider_request_id));
    PUT(rows, a_lease, attempt->lease);
}

static void put_meters(Rows *rows, const WireMeters *meters)
{
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++)
        if ((meters->present >> m & 1) != 0) {
            PUT(rows, m_code, m);
            PUT(rows, m_quantity, meters->quantity[m]);
        }
}

static void put_unit(Rows *rows, Uuid event, int64_t attempt, int64_t n, const WireUnit *unit)
{
    PUT(rows, u_event, event);
    PUT(rows, u_attempt, attempt);
    PUT(rows, u_n, n);
    PUT(rows, u_model, text_or_empty(unit->model));
    PUT(rows, u_m_first, (int64_t)rows->m_code.count + 1);
    put_meters(rows, &unit->meters);
    PUT(rows, u_m_last, (int64_t)rows->m_code.count);
    PUT(rows, u_usage_raw, unit->usage_raw.ptr == NULL ? str_bytes(STR("")) : unit->usage_raw);
    PUT(rows, u_normaliser, or_none(unit->normaliser));
    PUT(rows, u_residual, unit->residual);
    PUT(rows, u_stream, unit->stream);
}

static void count_rows(const Batch *batch, size_t *events, size_t *attempts, size_t *units, size_t *meters)
{
    *events = *attempts = *units = *meters = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i].candidate)
            continue;
        const List *list = &batch->items[i].event.data.attempts;
        (*events)++;
        *attempts += list->count;
        for (size_t a = 0; a < list->count; a++) {
            const List *of_attempt = &((const WireAttempt *)list->items)[a].units;
            *units += of_attempt->count;
            for (size_t u = 0; u < of_attempt->count; u++)
                *meters += (size_t)__builtin_popcount(((const WireUnit *)of_attempt->items)[u].meters.present);
        }
    }
}

static size_t rows_fill(const Batch *batch, Rows *rows)
{
    size_t events, attempts, units, meters;
    count_rows(batch, &events, &attempts, &units, &meters);
    rows->data_plane = batch->source->data_plane;
    rows_make(batch->arena, rows, events, attempts, units, meters);
    for (size_t i = 0; i < batch->count; i++) {
        const Item *item = &batch->items[i];
        if (!item->candidate)
            continue;
        put_event(rows, item);
        const WireAttempt *list = item->event.data.attempts.items;
        for (size_t a = 0; a < item->event.data.attempts.count; a++) {
            put_attempt(rows, item->event.id, &list[a]);
            const WireUnit *of_attempt = list[a].units.items;
            for (size_t u = 0; u < list[a].units.count; u++)
                put_unit(rows, item->event.id, list[a].n, (int64_t)u + 1, &of_attempt[u]);
        }
    }
    return events;
}

/* --- numbers that arrived --- */

static int by_number(const void *a, const void *b)
{
    const WireEvent *const *left = a, *const *right = b;
    const WireData *l = &(*left)->data, *r = &(*right)->data;
    if (l->epoch != r->epoch)
        return l->epoch < r->epoch ? -1 : 1;
    return l->sequence < r->sequence ? -1 : l->sequence > r->sequence;
}

/* The run of numbers from sorted[*at] on, as one range of an epoch. */
static void add_run(const Batch *batch, const WireEvent **sorted, size_t n, size_t *at, Buf *ranges, Time *last)
{
    const int64_t epoch = sorted[*at]->data.epoch, from = sorted[*at]->data.sequence;
    int64_t to = from;
    for (; *at < n && sorted[*at]->data.epoch == epoch && sorted[*at]->data.sequence <= to + 1; (*at)++) {
        to = sorted[*at]->data.sequence;
        Time time = uuid_time(sorted[*at]->id);
        if (time_before(*last, time) && time.us <= batch->now.us + INGEST_AHEAD_US)
            *last = time;
    }
    buf_fmt(ranges, "%c[%lld,%lld]", ranges->len == 0 ? '{' : ',', (long long)from, (long long)to);
}

/* The numbers of each epoch as ranges, neighbours joined. Refused events count too: they are not missing. */
static void seen_fill(const Batch *batch, Seen *seen)
{
    const WireEvent **sorted = NEW(batch->arena, const WireEvent *, batch->count + 1);
    size_t n = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].decoded)
            sorted[n++] = &batch->items[i].event;
    qsort(sorted, n, sizeof(WireEvent *), by_number);
    seen->data_plane = batch->source->data_plane;
    seen->epochs.items = NEW(batch->arena, int64_t, n + 1);
    seen->ranges.items = NEW(batch->arena, Str, n + 1);
    seen->last_events.items = NEW(batch->arena, Time, n + 1);
    for (size_t i = 0; i < n;) {
        _cleanup_(buf_release) Buf ranges = buf_new(64 * INGEST_EVENTS_MAX);
        const int64_t epoch = sorted[i]->data.epoch;
        Time last = TIME_NONE;
        while (i < n && sorted[i]->data.epoch == epoch)
            add_run(batch, sorted, n, &i, &ranges, &last);
        buf_add_char(&ranges, '}');
        PUT(seen, epochs, epoch);
        PUT(seen, ranges, arena_str(batch->arena, buf_str(&ranges)));
        PUT(seen, last_events, time_is_none(last) ? batch->now : last);
    }
}

/* --- the transaction --- */

static int uuid_order(const void *a, const void *b)
{
    return uuid_compare(*(const Uuid *)a, *(const Uuid *)b);
}

static Uuids orgs_of(const Batch *batch)
{
    Uuids orgs = { .items = NEW(batch->arena, Uuid, batch->count + 1) };
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].candidate || batch->items[i].verdict.kind == VERDICT_QUARANTINED)
            orgs.items[orgs.count++] = batch->items[i].event.data.org;
    qsort(orgs.items, orgs.count, sizeof(Uuid), uuid_order);
    size_t n = 0;
    for (size_t i = 0; i < orgs.count; i++)
        if (n == 0 || !uuid_eq(orgs.items[n - 1], orgs.items[i]))
            orgs.items[n++] = orgs.items[i];
    orgs.count = n;
    return orgs;
}

static int item_by_id(const void *key, const void *element)
{
    return uuid_compare(*(const Uuid *)key, (*(const Item *const *)element)->event.id);
}

/* The candidates by id, for the answers of the database. */
typedef struct Index {
    Item **items;
    size_t count;
} Index;

static Index candidates_by_id(const Batch *batch)
{
    Index index = { .items = NEW(batch->arena, Item *, batch->count + 1) };
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].candidate)
            index.items[index.count++] = &batch->items[i];
    qsort(index.items, index.count, sizeof(Item *), by_id);
    return index;
}

static Item *index_find(const Index *index, Uuid id)
{
    Item **found = bsearch(&id, index->items, index->count, sizeof(Item *), item_by_id);
    return found == NULL ? NULL : *found;
}

/* What was not stored is there already: the same event, or another. */
static Err settle_known(Batch *batch, const Index *index, Uuids orgs)
{
    Ids ids = { .orgs.items = NEW(batch->arena, Uuid, index->count),
        .ids.items = NEW(batch->arena, Uuid, index->count) };
    for (size_t i = 0; i < index->count; i++)
        if (index->items[i]->candidate) {
            PUT(&ids, orgs, index->items[i]->event.data.org);
            PUT(&ids, ids, index->items[i]->event.id);
        }
    if (ids.ids.count == 0)
        return OK;
    Ids scope = { .orgs = orgs };
    List rows = { 0 };
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_SCOPE_SET, .in = REC(&IDS_FIELDS, &scope) },
        { .stmt = &SQL_LEDGER_DIGESTS, .in = REC(&IDS_FIELDS, &ids), .list = &ID_ROW_FIELDS, .ret_list = &rows },
    };
    TRY(db_pipeline(batch->db, batch->arena, calls, COUNT_OF(calls)));
    const IdRow *known = rows.items;
    for (size_t i = 0; i < rows.count; i++) {
        Item *item = index_find(index, known[i].id);
        if (item == NULL || !item->candidate)
            continue;
        if (bytes_eq(known[i].digest, digest_bytes(&item->digest)))
            decide(item, VERDICT_DUPLICATE, (Str){ 0 }, (Str){ 0 });
        else
            decide_conflict(item);
    }
    for (size_t i = 0; i < index->count; i++)
        if (index->items[i]->candidate)
            return FAIL(ERR_UNAVAILABLE, "ledger-busy", "Some events could not be stored now; send the batch again.");
    return OK;
}

static Err batch_store(Batch *batch)
{
    DbCall quarantine;
    Ids quarantined;
    bool any_quarantined;
    TRY(settle_window(batch, &quarantine, &quarantined, &any_quarantined));
    Uuids orgs = orgs_of(batch);
    Ids scope = { .orgs = orgs };
    Rows *rows = NEW(batch->arena, Rows, 1);
    size_t candidates = rows_fill(batch, rows);
    Seen seen = { 0 };
    seen_fill(batch, &seen);
    List stored = { 0 };
    DbCall calls[4];
    size_t n = 0;
    calls[n++] = (DbCall){ .stmt = &SQL_LEDGER_SCOPE_SET, .in = REC(&IDS_FIELDS, &scope) };
    if (candidates > 0)
        calls[n++] = (DbCall){
            .stmt = &SQL_LEDGER_INGEST, .in = REC(&ROW_FIELDS, rows), .list = &ID_ROW_FIELDS, .ret_list = &stored
        };
    if (any_quarantined)
        calls[n++] = quarantine;
    calls[n++] = (DbCall){ .stmt = &SQL_LEDGER_SOURCE_SEEN, .in = REC(&SEEN_FIELDS, &seen) };
    TRY(db_pipeline(batch->db, batch->arena, calls, n));

    Index index = candidates_by_id(batch);
    const IdRow *ids = stored.items;
    for (size_t i = 0; i < stored.count; i++)
        decide(index_find(&index, ids[i].id), VERDICT_STORED, (Str){ 0 }, (Str){ 0 });
    return stored.count == candidates ? OK : settle_known(batch, &index, orgs);
}

Err ingest_batch(Db *db, Arena *arena, const IngestSource *source, Str body, Time now, List *ret_verdicts)
{
    if (body.len > INGEST_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "batch-too-large", "A batch has at most 4194304 bytes.");
    Batch batch = { .db = db, .arena = arena, .source = source, .now = now };
    batch.items = NEW(arena, Item, INGEST_EVENTS_MAX);
    TRY(items_read(&batch, body));
    TRY(items_admit(&batch));
    settle_repeats(&batch);
    TRY(batch_store(&batch));
    IngestVerdict *verdicts = NEW(arena, IngestVerdict, batch.count + 1);
    for (size_t i = 0; i < batch.count; i++)
        verdicts[i] = batch.items[i].verdict;
    *ret_verdicts = (List){ .items = verdicts, .count = batch.count };
    return OK;
}

Str ingest_reply(Arena *arena, List verdicts)
{
    const IngestVerdict *items = verdicts.items;
    _cleanup_(buf_release) Buf out = buf_new(INGEST_BYTES_MAX);
    buf_add(&out, STR("{\"verdicts\":["));
    for (size_t i = 0; i < verdicts.count; i++) {
        const Str members[][2] = { { STR("id"), items[i].id }, { STR("verdict"), items[i].verdict },
            { STR("code"), items[i].code }, { STR("detail"), items[i].detail } };
        buf_add_char(&out, i == 0 ? '{' : ',');
        if (i > 0)
            buf_add_char(&out, '{');
        for (size_t m = 0; m < COUNT_OF(members); m++) {
            if (m >= 2 && members[m][1].ptr == NULL)
                continue;
            buf_add(&out, m == 0 ? STR("\"") : STR(",\""));
            buf_add(&out, members[m][0]);
            buf_add(&out, STR("\":"));
            wire_quote(&out, members[m][1]);
        }
        buf_add_char(&out, '}');
    }
    buf_add(&out, STR("]}"));
    return arena_str(arena, buf_str(&out));
}
