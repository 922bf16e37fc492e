/* posting.c: see posting.h. */
#include "posting.h"

#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

#define METER_ALL 0
#define METER_SILENT (-1)

/* One key of the hourly sums. */
typedef struct Cell {
    struct Cell *next; /* of its hash chain */
    uint64_t hash;
    Time hour;
    Uuid org, project, workflow, client_key, connection;
    Str provider, model, outcome;
    int64_t meter;
    MoneySum quantity, amount, unrated; /* quantities are plain counts, 128 bits wide */
    int64_t attempts, events;
} Cell;

typedef struct Charge {
    Place place;
    RateLine line;
    int64_t counted;
    bool reversal;
} Charge;

#define CELL_CHAINS 4096
#define CHARGES_CHUNK 1024

typedef struct Chunk {
    struct Chunk *next;
    size_t count;
    Charge items[CHARGES_CHUNK];
} Chunk;

struct Posting {
    Arena *arena;
    Cell *chains[CELL_CHAINS];
    size_t cell_count;
    Chunk *first, *last;
    size_t charge_count, meter_count;
};

Posting *posting_new(Arena *arena)
{
    Posting *posting = NEW(arena, Posting, 1);
    posting->arena = arena;
    return posting;
}

size_t posting_lines(const Posting *posting)
{
    return posting->charge_count;
}

/* --- sums --- */

static uint64_t mix(uint64_t hash, const void *ptr, size_t len)
{
    const uint8_t *bytes = ptr;
    for (; len >= 8; len -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t cell_hash(const Cell *key)
{
    uint64_t hash = (uint64_t)key->hour.us * UINT64_C(0x9e3779b97f4a7c15);
    const Uuid *ids[] = { &key->org, &key->project, &key->workflow, &key->client_key, &key->connection };
    const Str *texts[] = { &key->provider, &key->model, &key->outcome };
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        hash = mix(hash, ids[i]->b, sizeof(ids[i]->b));
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        hash = mix(hash ^ texts[i]->len, texts[i]->ptr, texts[i]->len);
    return hash;
}

/* In the order of the primary key, days and hours before what they hold. */
static int cell_compare(const Cell *a, const Cell *b)
{
    int order = uuid_compare(a->org, b->org);
    if (order == 0)
        order = a->hour.us < b->hour.us ? -1 : a->hour.us > b->hour.us;
    const Uuid *left[] = { &a->project, &a->workflow, &a->client_key, &a->connection };
    const Uuid *right[] = { &b->project, &b->workflow, &b->client_key, &b->connection };
    for (size_t i = 0; order == 0 && i < COUNT_OF(left); i++)
        order = uuid_compare(*left[i], *right[i]);
    if (order == 0)
        order = str_compare(a->provider, b->provider);
    if (order == 0)
        order = str_compare(a->model, b->model);
    if (order == 0)
        order = str_compare(a->outcome, b->outcome);
    return order != 0 ? order : a->meter < b->meter ? -1 : a->meter > b->meter;
}

static Cell *cell_of(Posting *posting, const Cell *key)
{
    uint64_t hash = mix(key->hash, &key->meter, sizeof(key->meter));
    Cell **chain = &posting->chains[hash % CELL_CHAINS];
    for (Cell *cell = *chain; cell != NULL; cell = cell->next)
        if (cell->hash == hash && cell_compare(cell, key) == 0)
            return cell;
    Cell *cell = NEW(posting->arena, Cell, 1);
    *cell = *key;
    cell->hash = hash;
    cell->next = *chain;
    *chain = cell;
    posting->cell_count++;
    return cell;
}

static void cell_count(Cell *cell, const Charge *charge)
{
    int64_t sign = charge->reversal ? -1 : 1;
    cell->attempts += (charge->counted & COUNTED_ATTEMPT) != 0 ? sign : 0;
    cell->events += (charge->counted & COUNTED_EVENT) != 0 ? sign : 0;
}

static void sums_add(Posting *posting, const Charge *charge)
{
    const RateLine *line = &charge->line;
    const Place *place = &charge->place;
    Cell key = { .hour = { .us = uuid_time(place->event).us / US_PER_HOUR * US_PER_HOUR },
        .org = place->org,
        .project = place->project,
        .workflow = place->workflow,
        .client_key = place->client_key,
        .connection = place->connection,
        .provider = place->provider,
        .model = line->model,
        .outcome = place->outcome,
        .meter = METER_ALL };
    key.hash = cell_hash(&key);
    Cell *all = cell_of(posting, &key);
    cell_count(all, charge);
    all->amount.pico += line->amount.pico;
    all->unrated.pico += line->unrated;
    for (size_t i = 0; i < line->count; i++) {
        if (meter_is_tokens((Meter)line->meters[i]))
            all->quantity.pico += line->quantities[i];
        key.meter = line->meters[i];
        Cell *cell = cell_of(posting, &key);
        cell_count(cell, charge);
        cell->quantity.pico += line->quantities[i];
        if (line->rates[i] >= 0)
            cell->amount.pico += (Int128)line->quantities[i] * line->rates[i];
        else
            cell->unrated.pico += line->quantities[i];
    }
    if (line->count == 0) {
        key.meter = METER_SILENT;
        cell_count(cell_of(posting, &key), charge);
    }
}

void posting_add(Posting *posting, const Place *place, const RateLine *line, int64_t counted, bool reversal)
{
    if (posting->last == NULL || posting->last->count == CHARGES_CHUNK) {
        Chunk *chunk = NEW(posting->arena, Chunk, 1);
        if (posting->last == NULL)
            posting->first = chunk;
        else
            posting->last->next = chunk;
        posting->last = chunk;
    }
    Charge *charge = &posting->last->items[posting->last->count++];
    *charge = (Charge){ .place = *place, .line = *line, .counted = counted, .reversal = reversal };
    if (reversal) {
        charge->line.amount.pico = -line->amount.pico;
        charge->line.unrated = -line->unrated;
        charge->line.residual = -line->residual;
        for (size_t i = 0; i < line->count; i++)
            charge->line.quantities[i] = -line->quantities[i];
    }
    posting->charge_count++;
    posting->meter_count += line->count;
    sums_add(posting, charge);
}

/* --- charge rows --- */

typedef struct ChargeRows {
    int64_t run;
    Uuids org, event;
    Ints attempt, unit;
    Bools reversal;
    Strs model, reason;
    Ints m_first, m_last, amount, unrated, residual, flags, normaliser, counted;
    Ints m_code, m_quantity, m_rate;
} ChargeRows;

#define COLUMN(T, member) FIELD(T, member, .internal = true)
static const Field charge_row_fields[] = { COLUMN(ChargeRows, run), COLUMN(ChargeRows, org), COLUMN(ChargeRows, event),
    COLUMN(ChargeRows, attempt), COLUMN(ChargeRows, unit), COLUMN(ChargeRows, reversal), COLUMN(ChargeRows, model),
    COLUMN(ChargeRows, reason), COLUMN(ChargeRows, m_first), COLUMN(ChargeRows, m_last), COLUMN(ChargeRows, amount),
    COLUMN(ChargeRows, unrated), COLUMN(ChargeRows, residual), COLUMN(ChargeRows, flags),
    COLUMN(ChargeRows, normaliser), COLUMN(ChargeRows, counted), COLUMN(ChargeRows, m_code),
    COLUMN(ChargeRows, m_quantity), COLUMN(ChargeRows, m_rate) };
static const FieldTable CHARGE_ROW_FIELDS = FIELD_TABLE(ChargeRows, charge_row_fields);

#define PUT(rows, member, value) ((rows)->member.items[(rows)->member.count++] = (value))

static void charge_rows_make(Arena *arena, ChargeRows *rows, size_t charges, size_t meters)
{
    Ints *ints[] = { &rows->attempt, &rows->unit, &rows->m_first, &rows->m_last, &rows->amount, &rows->unrated,
        &rows->residual, &rows->flags, &rows->normaliser, &rows->counted };
    Ints *flat[] = { &rows->m_code, &rows->m_quantity, &rows->m_rate };
    for (size_t i = 0; i < COUNT_OF(ints); i++)
        ints[i]->items = NEW(arena, int64_t, charges);
    for (size_t i = 0; i < COUNT_OF(flat); i++)
        flat[i]->items = NEW(arena, int64_t, meters);
    rows->org.items = NEW(arena, Uuid, charges);
    rows->event.items = NEW(arena, Uuid, charges);
    rows->reversal.items = NEW(arena, bool, charges);
    rows->model.items = NEW(arena, Str, charges);
    rows->reason.items = NEW(arena, Str, charges);
}

static void charge_put(ChargeRows *rows, const Charge *charge)
{
    const RateLine *line = &charge->line;
    PUT(rows, org, charge->place.org);
    PUT(rows, event, charge->place.event);
    PUT(rows, attempt, charge->place.attempt);
    PUT(rows, unit, line->unit);
    PUT(rows, reversal, charge->reversal);
    PUT(rows, model, line->model.ptr == NULL ? STR("") : line->model);
    PUT(rows, reason, line->reason);
    PUT(rows, m_first, (int64_t)rows->m_code.count + 1);
    for (size_t i = 0; i < line->count; i++) {
        PUT(rows, m_code, line->meters[i]);
        PUT(rows, m_quantity, line->quantities[i]);
        PUT(rows, m_rate, line->rates[i]);
    }
    PUT(rows, m_last, (int64_t)rows->m_code.count);
    PUT(rows, amount, line->amount.pico);
    PUT(rows, unrated, line->unrated);
    PUT(rows, residual, line->residual);
    PUT(rows, flags, line->flags);
    PUT(rows, normaliser, line->normaliser);
    PUT(rows, counted, charge->counted);
}

static ChargeRows *charge_rows(Posting *posting, int64_t run)
{
    ChargeRows *rows = NEW(posting->arena, ChargeRows, 1);
    rows->run = run;
    charge_rows_make(posting->arena, rows, posting->charge_count, posting->meter_count);
    for (const Chunk *chunk = posting->first; chunk != NULL; chunk = chunk->next)
        for (size_t i = 0; i < chunk->count; i++)
            charge_put(rows, &chunk->items[i]);
    return rows;
}

/* --- sums as rows --- */

typedef struct SumRows {
    Uuids org;
    Times time;
    Uuids project, workflow, client_key, connection;
    Strs provider, model, outcome;
    Ints meter;
    Strs quantity, amount, unrated;
    Ints attempts, events;
} SumRows;

static const Field sum_row_fields[] = { COLUMN(SumRows, org), COLUMN(SumRows, time), COLUMN(SumRows, project),
    COLUMN(SumRows, workflow), COLUMN(SumRows, client_key), COLUMN(SumRows, connection), COLUMN(SumRows, provider),
    COLUMN(SumRows, model), COLUMN(SumRows, outcome), COLUMN(SumRows, meter), COLUMN(SumRows, quantity),
    COLUMN(SumRows, amount), COLUMN(SumRows, unrated), COLUMN(SumRows, attempts), COLUMN(SumRows, events) };
static const FieldTable SUM_ROW_FIELDS = FIELD_TABLE(SumRows, sum_row_fields);

static void sum_rows_make(Arena *arena, SumRows *rows, size_t count)
{
    Uuids *ids[] = { &rows->org, &rows->project, &rows->workflow, &rows->client_key, &rows->connection };
    Strs *texts[] = { &rows->provider, &rows->model, &rows->outcome, &rows->quantity, &rows->amount, &rows->unrated };
    Ints *ints[] = { &rows->meter, &rows->attempts, &rows->events };
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        ids[i]->items = NEW(arena, Uuid, count);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        texts[i]->items = NEW(arena, Str, count);
    for (size_t i = 0; i < COUNT_OF(ints); i++)
        ints[i]->items = NEW(arena, int64_t, count);
    rows->time.items = NEW(arena, Time, count);
}

static Str or_empty(Str text)
{
    return text.ptr == NULL ? STR("") : text;
}

static void sum_put(Arena *arena, SumRows *rows, const Cell *cell)
{
    PUT(rows, org, cell->org);
    PUT(rows, time, cell->hour);
    PUT(rows, project, cell->project);
    PUT(rows, workflow, cell->workflow);
    PUT(rows, client_key, cell->client_key);
    PUT(rows, connection, cell->connection);
    PUT(rows, provider, or_empty(cell->provider));
    PUT(rows, model, or_empty(cell->model));
    PUT(rows, outcome, or_empty(cell->outcome));
    PUT(rows, meter, cell->meter);
    PUT(rows, quantity, money_sum_digits(arena, cell->quantity));
    PUT(rows, amount, money_sum_digits(arena, cell->amount));
    PUT(rows, unrated, money_sum_digits(arena, cell->unrated));
    PUT(rows, attempts, cell->attempts);
    PUT(rows, events, cell->events);
}

static int by_key(const void *a, const void *b)
{
    return cell_compare(a, b);
}

/* The cells in key order; with `days`, cells of one day are one. */
static SumRows *sum_rows(Posting *posting, bool days)
{
    Cell *cells = NEW(posting->arena, Cell, posting->cell_count + 1);
    size_t count = 0;
    for (size_t i = 0; i < CELL_CHAINS; i++)
        for (const Cell *cell = posting->chains[i]; cell != NULL; cell = cell->next) {
            cells[count] = *cell;
            if (days)
                cells[count].hour.us = cell->hour.us / US_PER_DAY * US_PER_DAY;
            count++;
        }
    qsort(cells, count, sizeof(Cell), by_key);
    SumRows *rows = NEW(posting->arena, SumRows, 1);
    sum_rows_make(posting->arena, rows, count);
    for (size_t i = 0; i < count;) {
        Cell sum = cells[i++];
        for (; i < count && cell_compare(&sum, &cells[i]) == 0; i++) {
            sum.quantity.pico += cells[i].quantity.pico;
            sum.amount.pico += cells[i].amount.pico;
            sum.unrated.pico += cells[i].unrated.pico;
            sum.attempts += cells[i].attempts;
            sum.events += cells[i].events;
        }
        sum_put(posting->arena, rows, &sum);
    }
    return rows;
}

Err posting_write(Posting *posting, Db *db, int64_t run)
{
    if (posting->charge_count == 0)
        return OK;
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_CHARGE_INSERT, .in = REC(&CHARGE_ROW_FIELDS, charge_rows(posting, run)) },
        { .stmt = &SQL_LEDGER_ROLLUP_HOUR_ADD, .in = REC(&SUM_ROW_FIELDS, sum_rows(posting, /* days= */ false)) },
        { .stmt = &SQL_LEDGER_ROLLUP_DAY_ADD, .in = REC(&SUM_ROW_FIELDS, sum_rows(posting, /* days= */ true)) },
    };
    return db_pipeline(db, posting->arena, calls, COUNT_OF(calls));
}
