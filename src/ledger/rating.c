/* rating.c: see rating.h. */
#include "ledger/rating.h"
#include "posting.h"

#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

/* --- what is read --- */

typedef struct RatingRow {
    Uuid org, event, project, workflow, client_key;
    Str event_outcome;
    int64_t attempt;
    Uuid connection;
    Str provider, model_asked, model_answered, outcome;
    int64_t unit;
    Str unit_model;
    Bytes usage_raw;
    Ints meters, quantities;
    bool stream;
} RatingRow;

#define COLUMN(T, member) FIELD(T, member, .internal = true)
static const Field rating_row_fields[] = { COLUMN(RatingRow, org), COLUMN(RatingRow, event), COLUMN(RatingRow, project),
    COLUMN(RatingRow, workflow), COLUMN(RatingRow, client_key), COLUMN(RatingRow, event_outcome),
    COLUMN(RatingRow, attempt), COLUMN(RatingRow, connection), COLUMN(RatingRow, provider),
    COLUMN(RatingRow, model_asked), COLUMN(RatingRow, model_answered), COLUMN(RatingRow, outcome),
    COLUMN(RatingRow, unit), COLUMN(RatingRow, unit_model), COLUMN(RatingRow, usage_raw), COLUMN(RatingRow, meters),
    COLUMN(RatingRow, quantities), COLUMN(RatingRow, stream) };
static const FieldTable RATING_ROW_FIELDS = FIELD_TABLE(RatingRow, rating_row_fields);

typedef struct BatchRow {
    int64_t position; /* xid8 */
    Uuids tenants, events;
} BatchRow;
static const Field batch_row_fields[] = { COLUMN(BatchRow, position), COLUMN(BatchRow, tenants),
    COLUMN(BatchRow, events) };
static const FieldTable BATCH_ROW_FIELDS = FIELD_TABLE(BatchRow, batch_row_fields);

/* Every parameter of the statements here. */
typedef struct Parameters {
    int64_t position, most, run;
    Uuid org;
    Uuids orgs, tenants, events;
    Uuid lowest, highest, after;
    Str reason;
    Time from_time, to_time;
    int64_t differences;
} Parameters;
static const Field parameter_fields[] = { COLUMN(Parameters, position), COLUMN(Parameters, most),
    COLUMN(Parameters, run), COLUMN(Parameters, org), COLUMN(Parameters, orgs), COLUMN(Parameters, tenants),
    COLUMN(Parameters, events), COLUMN(Parameters, lowest), COLUMN(Parameters, highest), COLUMN(Parameters, after),
    COLUMN(Parameters, reason), COLUMN(Parameters, from_time), COLUMN(Parameters, to_time),
    COLUMN(Parameters, differences) };
static const FieldTable PARAMETER_FIELDS = FIELD_TABLE(Parameters, parameter_fields);

/* --- from rows to lines --- */

static bool same_attempt(const RatingRow *a, const RatingRow *b)
{
    return a->attempt == b->attempt && uuid_eq(a->event, b->event) && uuid_eq(a->org, b->org);
}

static bool same_event(const RatingRow *a, const RatingRow *b)
{
    return uuid_eq(a->event, b->event) && uuid_eq(a->org, b->org);
}

/* The lines of one attempt, with where they belong. */
typedef struct Rated {
    Place place;
    RateLine *lines;
    size_t count;
    bool last; /* of its event */
} Rated;

static Place place_of(const RatingRow *row)
{
    return (Place){ .org = row->org,
        .event = row->event,
        .project = row->project,
        .workflow = row->workflow,
        .client_key = row->client_key,
        .connection = row->connection,
        .attempt = row->attempt,
        .provider = row->provider,
        .outcome = row->attempt == 0 ? row->event_outcome : row->outcome };
}

static void rate_rows(Arena *arena, const PriceBook *book, const RatingRow *rows, size_t count, Rated *rated)
{
    if (rows[0].attempt == 0) {
        rated->lines = NEW(arena, RateLine, 1);
        rated->lines[0] = rate_no_attempt();
        rated->count = 1;
        return;
    }
    RateUnit *units = NEW(arena, RateUnit, count);
    size_t unit_count = 0;
    for (size_t i = 0; i < count; i++)
        if (rows[i].unit > 0)
            units[unit_count++] = (RateUnit){ .model = rows[i].unit_model,
                .usage_raw = rows[i].usage_raw,
                .meters = rows[i].meters,
                .quantities = rows[i].quantities,
                .stream = rows[i].stream };
    RateAttempt attempt = { .dialect = rows[0].provider,
        .provider = rows[0].provider,
        .model_asked = rows[0].model_asked,
        .model_answered = rows[0].model_answered,
        .outcome = rows[0].outcome,
        .at = uuid_time(rows[0].event),
        .units = units,
        .unit_count = unit_count };
    rate_attempt(arena, book, &attempt, &rated->lines, &rated->count);
}

/* Takes the next attempt off the rows; false at their end. */
static bool next_rated(Arena *arena, const PriceBook *book, List rows, size_t *at, Rated *ret_rated)
{
    const RatingRow *items = rows.items;
    size_t first = *at, end = first;
    if (first >= rows.count)
        return false;
    while (end < rows.count && same_attempt(&items[first], &items[end]))
        end++;
    Rated rated = { .place = place_of(&items[first]) };
    rated.last = end == rows.count || !same_event(&items[first], &items[end]);
    rate_rows(arena, book, &items[first], end - first, &rated);
    *at = end;
    *ret_rated = rated;
    return true;
}

/* The first line of an attempt counts for it, that of an event's last attempt for the event. */
static int64_t counted_of(const Rated *rated, size_t line)
{
    if (line > 0)
        return 0;
    return (rated->place.attempt > 0 ? COUNTED_ATTEMPT : 0) | (rated->last ? COUNTED_EVENT : 0);
}

/* --- a pass --- */

static int uuid_order(const void *a, const void *b)
{
    return uuid_compare(*(const Uuid *)a, *(const Uuid *)b);
}

static Uuids distinct(Arena *arena, Uuids all)
{
    Uuids sorted = { .items = NEW(arena, Uuid, all.count + 1), .count = 0 };
    if (all.count > 0)
        memcpy(sorted.items, all.items, all.count * sizeof(Uuid));
    qsort(sorted.items, all.count, sizeof(Uuid), uuid_order);
    for (size_t i = 0; i < all.count; i++)
        if (sorted.count == 0 || !uuid_eq(sorted.items[sorted.count - 1], sorted.items[i]))
            sorted.items[sorted.count++] = sorted.items[i];
    return sorted;
}

static void bounds(Uuids ids, Uuid *ret_lowest, Uuid *ret_highest)
{
    *ret_lowest = *ret_highest = ids.items[0];
    for (size_t i = 1; i < ids.count; i++) {
        if (uuid_compare(ids.items[i], *ret_lowest) < 0)
            *ret_lowest = ids.items[i];
        if (uuid_compare(ids.items[i], *ret_highest) > 0)
            *ret_highest = ids.items[i];
    }
}

static void gather(Arena *arena, List batches, Parameters *parameters)
{
    const BatchRow *items = batches.items;
    size_t count = 0;
    for (size_t i = 0; i < batches.count; i++)
        count += items[i].events.count;
    parameters->tenants.items = NEW(arena, Uuid, count + 1);
    parameters->events.items = NEW(arena, Uuid, count + 1);
    for (size_t i = 0; i < batches.count; i++)
        for (size_t e = 0; e < items[i].events.count; e++) {
            parameters->tenants.items[parameters->tenants.count++] = items[i].tenants.items[e];
            parameters->events.items[parameters->events.count++] = items[i].events.items[e];
        }
    parameters->orgs = distinct(arena, parameters->tenants);
    bounds(parameters->events, &parameters->lowest, &parameters->highest);
    parameters->position = items[batches.count - 1].position;
}

static Err read_rows(Db *db, Arena *arena, Parameters *parameters, List *ret_rows)
{
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_SCOPE_SET, .in = REC(&PARAMETER_FIELDS, parameters) },
        { .stmt = &SQL_LEDGER_RATING_ROWS,
            .in = REC(&PARAMETER_FIELDS, parameters),
            .list = &RATING_ROW_FIELDS,
            .ret_list = ret_rows },
    };
    return db_pipeline(db, arena, calls, COUNT_OF(calls));
}

static Err pass_in_transaction(Db *db, Arena *arena, const PriceBook *book, RatingPass *pass)
{
    Parameters parameters = { .most = RATING_BATCHES_MAX };
    Err err = db_one(db, arena, &SQL_LEDGER_CURSOR_TAKE, REC_NONE, REC(&PARAMETER_FIELDS, &parameters));
    pass->busy = err_is(err, "not-found");
    if (pass->busy)
        return OK;
    TRY(err);
    List batches = { 0 }, rows = { 0 };
    TRY(db_list(db, arena, &SQL_LEDGER_BATCHES_NEXT, REC(&PARAMETER_FIELDS, &parameters), &BATCH_ROW_FIELDS, &batches));
    if (batches.count == 0)
        return OK;
    gather(arena, batches, &parameters);
    TRY(read_rows(db, arena, &parameters, &rows));
    Posting *posting = posting_new(arena);
    Rated rated;
    for (size_t at = 0; next_rated(arena, book, rows, &at, &rated);)
        for (size_t i = 0; i < rated.count; i++)
            posting_add(posting, &rated.place, &rated.lines[i], counted_of(&rated, i), /* reversal= */ false);
    TRY(posting_write(posting, db, /* run= */ 0));
    TRY(db_exec(db, arena, &SQL_LEDGER_CURSOR_PUT, REC(&PARAMETER_FIELDS, &parameters), NULL));
    pass->batches = batches.count;
    pass->events = parameters.events.count;
    pass->lines = posting_lines(posting);
    return OK;
}

Err rating_pass(Db *db, Arena *arena, const PriceBook *book, RatingPass *ret_pass)
{
    RatingPass pass = { 0 };
    TRY(tx_begin(db));
    Err err = pass_in_transaction(db, arena, book, &pass);
    if (err.kind != ERR_NONE || pass.events == 0) {
        tx_rollback(db);
        TRY(err);
    } else {
        TRY(tx_commit(db));
    }
    *ret_pass = pass;
    return OK;
}

/* --- again, at other prices --- */

#define RERATE_PAGE 2000

typedef struct ChargeRow {
    Uuid org, event;
    int64_t attempt, unit, run;
    Str model, reason;
    Ints meters, quantities, rates;
    int64_t amount, unrated, residual, flags, normaliser, counted;
} ChargeRow;
static const Field charge_row_fields[] = { COLUMN(ChargeRow, org), COLUMN(ChargeRow, event), COLUMN(ChargeRow, attempt),
    COLUMN(ChargeRow, unit), COLUMN(ChargeRow, run), COLUMN(ChargeRow, model), COLUMN(ChargeRow, reason),
    COLUMN(ChargeRow, meters), COLUMN(ChargeRow, quantities), COLUMN(ChargeRow, rates), COLUMN(ChargeRow, amount),
    COLUMN(ChargeRow, unrated), COLUMN(ChargeRow, residual), COLUMN(ChargeRow, flags), COLUMN(ChargeRow, normaliser),
    COLUMN(ChargeRow, counted) };
static const FieldTable CHARGE_ROW_FIELDS = FIELD_TABLE(ChargeRow, charge_row_fields);

static const Field report_fields[] = {
    FIELD(RerateReport, run, .required = true),
    FIELD(RerateReport, events, .required = true),
    FIELD(RerateReport, lines_changed, .required = true),
    FIELD_AS(RerateReport, amount_before, "amount_before_usd", .required = true),
    FIELD_AS(RerateReport, amount_after, "amount_after_usd", .required = true),
    FIELD(RerateReport, unrated_before, .required = true),
    FIELD(RerateReport, unrated_after, .required = true),
};
const FieldTable RERATE_REPORT_FIELDS = FIELD_TABLE(RerateReport, report_fields);

static bool ints_are(Ints ints, const int64_t *items, size_t count)
{
    return ints.count == count && (count == 0 || memcmp(ints.items, items, count * sizeof(int64_t)) == 0);
}

static bool line_stands(const ChargeRow *old, const RateLine *line, int64_t counted)
{
    return str_eq(old->model, line->model) && str_eq(old->reason, line->reason) && old->amount == line->amount.pico &&
           old->unrated == line->unrated && old->residual == line->residual && old->flags == line->flags &&
           old->normaliser == line->normaliser && old->counted == counted &&
           ints_are(old->meters, line->meters, line->count) &&
           ints_are(old->quantities, line->quantities, line->count) && ints_are(old->rates, line->rates, line->count);
}

static void ints_copy(int64_t *into, Ints from)
{
    if (from.count > 0)
        memcpy(into, from.items, (from.count < METER_COUNT ? from.count : METER_COUNT) * sizeof(int64_t));
}

static RateLine line_as_it_was(const ChargeRow *old)
{
    RateLine line = { .unit = old->unit,
        .model = old->model,
        .reason = old->reason,
        .count = old->meters.count < METER_COUNT ? old->meters.count : METER_COUNT,
        .amount = { .pico = old->amount },
        .unrated = old->unrated,
        .residual = old->residual,
        .flags = old->flags,
        .normaliser = old->normaliser };
    ints_copy(line.meters, old->meters);
    ints_copy(line.quantities, old->quantities);
    ints_copy(line.rates, old->rates);
    return line;
}

/* What one page of a re-rating has to change. */
typedef struct Change {
    Posting *posting;
    RerateReport *report;
} Change;

static void take_back(Change *change, const Place *place, const ChargeRow *old)
{
    RateLine line = line_as_it_was(old);
    posting_add(change->posting, place, &line, old->counted, /* reversal= */ true);
    change->report->amount_before.pico += old->amount;
    change->report->unrated_before += old->unrated;
    change->report->lines_changed++;
}

static void put_anew(Change *change, const Place *place, const RateLine *line, int64_t counted)
{
    posting_add(change->posting, place, line, counted, /* reversal= */ false);
    change->report->amount_after.pico += line->amount.pico;
    change->report->unrated_after += line->unrated;
}

/* Lines of an attempt stand in order of their units, old and new alike. */
static size_t compare_attempt(Change *change, const Rated *rated, List charges, size_t at)
{
    const ChargeRow *old = charges.items;
    size_t i = 0;
    for (; at < charges.count && uuid_eq(old[at].event, rated->place.event) && old[at].attempt == rated->place.attempt;
         at++) {
        while (i < rated->count && rated->lines[i].unit < old[at].unit) {
            put_anew(change, &rated->place, &rated->lines[i], counted_of(rated, i));
            i++;
        }
        bool paired = i < rated->count && rated->lines[i].unit == old[at].unit;
        if (!paired || !line_stands(&old[at], &rated->lines[i], counted_of(rated, i))) {
            take_back(change, &rated->place, &old[at]);
            if (paired)
                put_anew(change, &rated->place, &rated->lines[i], counted_of(rated, i));
        }
        i += paired;
    }
    for (; i < rated->count; i++)
        put_anew(change, &rated->place, &rated->lines[i], counted_of(rated, i));
    return at;
}

/* Events that rating has not reached have no line yet; they are left to it. */
static bool has_charges(const Rated *rated, List charges, size_t at)
{
    const ChargeRow *old = charges.items;
    return at < charges.count && uuid_eq(old[at].event, rated->place.event);
}

static Err rerate_page(Db *db, Arena *arena, const PriceBook *book, Parameters *page, Change *change)
{
    List rows = { 0 }, charges = { 0 };
    TRY(read_rows(db, arena, page, &rows));
    TRY(db_list(db, arena, &SQL_LEDGER_CHARGES_CURRENT, REC(&PARAMETER_FIELDS, page), &CHARGE_ROW_FIELDS, &charges));
    change->posting = posting_new(arena);
    size_t next = 0;
    Rated rated;
    for (size_t at = 0; next_rated(arena, book, rows, &at, &rated);)
        if (has_charges(&rated, charges, next))
            next = compare_attempt(change, &rated, charges, next);
    change->report->events += (int64_t)page->events.count;
    return OK;
}

/* The smallest version 7 id of a moment. */
static Uuid uuid_floor(Time time)
{
    Uuid id = { 0 };
    uint64_t ms = (uint64_t)(time.us > 0 ? time.us : 0) / US_PER_MS;
    for (size_t i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (8 * (5 - i)));
    return id;
}

static Err run_open(Db *db, Arena *arena, const Rerate *what, RerateReport *report)
{
    if (report->run != 0)
        return OK;
    Parameters run = { .org = what->org, .reason = what->reason, .from_time = what->from, .to_time = what->to };
    TRY(db_one(db, arena, &SQL_LEDGER_RUN_INSERT, REC(&PARAMETER_FIELDS, &run), REC(&PARAMETER_FIELDS, &run)));
    report->run = run.run;
    return OK;
}

/* One transaction a page; it holds the cursor, so that rating and re-rating do not write the same event's lines. */
static Err rerate_step(
    Db *db, const PriceBook *book, const Rerate *what, Uuid *after, RerateReport *report, bool *ret_done)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Parameters page = { .org = what->org,
        .most = RERATE_PAGE,
        .after = *after,
        .lowest = uuid_floor(what->from),
        .highest = uuid_floor(what->to),
        .orgs = { .items = (Uuid *)&what->org, .count = 1 } };
    Parameters place = { 0 };
    Err taken = db_one(db, arena, &SQL_LEDGER_CURSOR_TAKE, REC_NONE, REC(&PARAMETER_FIELDS, &place));
    if (err_is(taken, "not-found"))
        return FAIL(ERR_UNAVAILABLE, "ledger-busy", "Rating is at work; try again.");
    TRY(taken);
    TRY(db_exec(db, arena, &SQL_LEDGER_SCOPE_SET, REC(&PARAMETER_FIELDS, &page), NULL));
    TRY(db_one(db, arena, &SQL_LEDGER_TENANT_EVENTS, REC(&PARAMETER_FIELDS, &page), REC(&PARAMETER_FIELDS, &page)));
    *ret_done = page.events.count == 0;
    if (*ret_done)
        return OK;
    *after = page.events.items[page.events.count - 1];
    bounds(page.events, &page.lowest, &page.highest);
    Change change = { .report = report };
    TRY(rerate_page(db, arena, book, &page, &change));
    if (what->dry_run || posting_lines(change.posting) == 0)
        return OK;
    TRY(run_open(db, arena, what, report));
    return posting_write(change.posting, db, report->run);
}

Err rerate(Db *db, const PriceBook *book, const Rerate *what, RerateReport *ret_report)
{
    RerateReport report = { 0 };
    Uuid after = { 0 };
    for (bool done = false; !done;) {
        TRY(tx_begin(db));
        Err err = rerate_step(db, book, what, &after, &report, &done);
        if (err.kind != ERR_NONE || what->dry_run || done) {
            tx_rollback(db);
            TRY(err);
        } else {
            TRY(tx_commit(db));
        }
    }
    *ret_report = report;
    return OK;
}

Err rollup_check(Db *db, Arena *arena, Uuids orgs, Time from, Time to, int64_t *ret_differences)
{
    Parameters parameters = { .orgs = orgs, .from_time = from, .to_time = to };
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_SCOPE_SET, .in = REC(&PARAMETER_FIELDS, &parameters) },
        { .stmt = &SQL_LEDGER_ROLLUP_RECOUNT,
            .in = REC(&PARAMETER_FIELDS, &parameters),
            .out = REC(&PARAMETER_FIELDS, &parameters) },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    *ret_differences = parameters.differences;
    return OK;
}

static Err rebuild_in_transaction(Db *db, Arena *arena, Parameters *parameters)
{
    Parameters place = { 0 };
    Err taken = db_one(db, arena, &SQL_LEDGER_CURSOR_TAKE, REC_NONE, REC(&PARAMETER_FIELDS, &place));
    if (err_is(taken, "not-found"))
        return FAIL(ERR_UNAVAILABLE, "ledger-busy", "Rating is at work; try again.");
    TRY(taken);
    const Stmt *const steps[] = { &SQL_LEDGER_SCOPE_SET, &SQL_LEDGER_ROLLUP_FORGET_HOURS,
        &SQL_LEDGER_ROLLUP_FORGET_DAYS, &SQL_LEDGER_ROLLUP_AGAIN_HOURS, &SQL_LEDGER_ROLLUP_AGAIN_DAYS };
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        TRY(db_exec(db, arena, steps[i], REC(&PARAMETER_FIELDS, parameters), NULL));
    return OK;
}

Err rollup_rebuild(Db *db, Arena *arena, Uuids orgs, Time from, Time to)
{
    Parameters parameters = { .orgs = orgs,
        .from_time = { .us = from.us / US_PER_DAY * US_PER_DAY },
        .to_time = { .us = (to.us + US_PER_DAY - 1) / US_PER_DAY * US_PER_DAY } };
    TRY(tx_begin(db));
    Err err = rebuild_in_transaction(db, arena, &parameters);
    if (err.kind != ERR_NONE) {
        tx_rollback(db);
        return err;
    }
    return tx_commit(db);
}
