/* normalise.c: usage bytes to disjoint meters, by the tables of dialects.c. */
#include "usage/normalise.h"
#include "scan.h"

#include <string.h>

/* --- gathering: several documents of one stream become one set of counts --- */

/* A later count replaces an earlier one, but a later 0 does not erase: a stream's last message repeats fields that it
 * does not know as 0. */
static void counts_merge(Counts *into, const Counts *later)
{
    uint64_t left = later->present;
    while (left != 0) {
        unsigned slot = (unsigned)__builtin_ctzll(left);
        left &= left - 1;
        if (later->value[slot] != 0 || (into->present >> slot & 1) == 0)
            into->value[slot] = later->value[slot];
    }
    into->present |= later->present;
    into->bad_value |= later->bad_value;
    if (later->model.len > 0)
        into->model = later->model;
    if (later->tier.len > 0)
        into->tier = later->tier;
}

static bool has(const Counts *counts, unsigned slot)
{
    return (counts->present >> slot & 1) != 0;
}

static uint32_t spellings_settle(Counts *counts)
{
    uint32_t flags = 0;
    for (size_t i = 0; i < usage_spelling_count; i++) {
        Spelling spelling = usage_spellings[i];
        if (!has(counts, spelling.other))
            continue;
        if (!has(counts, spelling.slot)) {
            counts->present |= UINT64_C(1) << spelling.slot;
            counts->value[spelling.slot] = counts->value[spelling.other];
        } else if (counts->value[spelling.slot] != counts->value[spelling.other]) {
            flags |= USAGE_SPELLINGS_DIFFER;
        }
    }
    return flags;
}

/* --- reading: counts to meters --- */

/* Sums stay within 128 bits: each has at most nine parts of 63. */
__extension__ typedef __int128 Wide;

static Wide value_of(const Counts *counts, unsigned slot)
{
    return slot != SLOT_NONE && has(counts, slot) ? counts->value[slot] : 0;
}

static Wide term_value(const Counts *counts, const Term *term)
{
    Wide value = value_of(counts, term->plus);
    for (size_t i = 0; i < COUNT_OF(term->minus) && term->minus[i] != SLOT_NONE; i++)
        value -= value_of(counts, term->minus[i]);
    for (size_t i = 0; i < COUNT_OF(term->back) && term->back[i] != SLOT_NONE; i++)
        value += value_of(counts, term->back[i]);
    return value;
}

static Wide parts_total(const Counts *counts, const Reading *reading)
{
    Wide total = 0;
    for (size_t i = 0; i < COUNT_OF(reading->parts) && reading->parts[i] != SLOT_NONE; i++)
        total += value_of(counts, reading->parts[i]);
    return total;
}

static Wide expected_total(const Counts *counts, const Reading *reading)
{
    bool stated = reading->total != SLOT_NONE && has(counts, reading->total);
    return stated ? counts->value[reading->total] : parts_total(counts, reading);
}

static int64_t narrowed(Wide value)
{
    return value > INT64_MAX ? INT64_MAX : value < INT64_MIN ? INT64_MIN : (int64_t)value;
}

/* Fills the meters of one reading. */
static void reading_apply(const Reading *reading, const Counts *counts, UsageUnit *unit)
{
    Wide sum = 0;
    for (size_t i = 0; i < READING_TERMS_MAX && reading->terms[i].meter != METER_NONE; i++) {
        const Term *term = &reading->terms[i];
        if (!has(counts, term->plus))
            continue;
        Wide value = term_value(counts, term);
        if (value < 0 || value > INT64_MAX) {
            unit->flags |= USAGE_CONTRADICTION;
            continue;
        }
        if (value == 0 && term->skip_zero)
            continue;
        unit->present |= UINT32_C(1) << term->meter;
        unit->quantity[term->meter] = (int64_t)value;
        if (meter_is_tokens(term->meter))
            sum += value;
    }
    unit->residual = narrowed(expected_total(counts, reading) - sum);
    if (unit->residual != 0)
        unit->flags |= USAGE_RESIDUAL;
}

/* How well a reading fits: 3 it adds up; 2 the provider's own sum is made its way, though a class in it cannot be; 1 no
 * class is impossible, but the sum is another; 0 neither. */
static int reading_rank(const Reading *reading, const Counts *counts, const UsageUnit *unit)
{
    bool contradiction = (unit->flags & USAGE_CONTRADICTION) != 0;
    if (unit->residual == 0 && !contradiction)
        return 3;
    if (contradiction)
        return parts_total(counts, reading) == expected_total(counts, reading) ? 2 : 0;
    return 1;
}

/* The first of the readings that fit best. */
static void unit_read(const Dialect *dialect, Counts *counts, UsageUnit *ret_unit)
{
    uint32_t flags = spellings_settle(counts) | (counts->bad_value ? USAGE_BAD_VALUE : 0);
    UsageUnit best = { .flags = USAGE_EMPTY };
    int best_rank = -1;
    bool first = true;
    for (size_t i = 0; i < dialect->count && best_rank < 3; i++) {
        const Reading *reading = &dialect->readings[i];
        if (!has(counts, reading->needs))
            continue;
        UsageUnit unit = { 0 };
        reading_apply(reading, counts, &unit);
        int rank = reading_rank(reading, counts, &unit);
        if (rank > best_rank) {
            best_rank = rank;
            best = unit;
            best.flags |= first ? 0 : USAGE_OTHER_READING;
        }
        first = false;
    }
    best.flags |= flags;
    best.model = counts->model;
    best.kind = counts->kind;
    *ret_unit = best;
}

/* --- iterations: a call that made several model calls --- */

static bool is_own_message(const Counts *iteration, Str base_model)
{
    bool other_model = iteration->model.len > 0 && base_model.len > 0 && !str_eq(iteration->model, base_model);
    return !other_model && (iteration->kind.len == 0 || str_eq(iteration->kind, STR("message")));
}

static void counts_sum(Counts *into, const Counts *more)
{
    for (unsigned slot = 1; slot < SLOT_COUNT; slot++)
        if (has(more, slot) && __builtin_add_overflow(into->value[slot], more->value[slot], &into->value[slot])) {
            into->value[slot] = more->value[slot];
            into->bad_value = true;
        }
    into->present |= more->present;
    into->bad_value |= more->bad_value;
}

/* Counts that stand at the top alone belong to the message: searches, and how much of the output was thinking. */
static void counts_keep_top_only(Counts *message, const Counts *top)
{
    static const uint8_t slots[] = { SLOT_SEARCHES, SLOT_O_THINKING };
    for (size_t i = 0; i < COUNT_OF(slots); i++)
        if (has(top, slots[i]) && !has(message, slots[i])) {
            message->present |= UINT64_C(1) << slots[i];
            message->value[slots[i]] = top->value[slots[i]];
        }
}

static bool top_agrees(const Counts *top, const Counts *message)
{
    static const uint8_t slots[] = { SLOT_INPUT, SLOT_OUTPUT, SLOT_READ, SLOT_CREATION };
    for (size_t i = 0; i < COUNT_OF(slots); i++)
        if (has(top, slots[i]) && value_of(top, slots[i]) != value_of(message, slots[i]))
            return false;
    return true;
}

/* The message's own iterations are one unit; each compaction and each advisor is its own, with its own model. */
static void iterations_read(
    Arena *arena, const Dialect *dialect, Scan *scan, const Counts *top, UsageReading *ret_reading)
{
    UsageUnit *units = NEW(arena, UsageUnit, scan->iteration_count + 1);
    size_t count = 1;
    Counts message = { .model = top->model, .kind = STR("message") };
    bool hidden = false;
    for (size_t i = 0; i < scan->iteration_count; i++) {
        Counts *iteration = &scan->iterations[i];
        if (is_own_message(iteration, top->model)) {
            counts_sum(&message, iteration);
        } else {
            unit_read(dialect, iteration, &units[count++]);
            hidden = true;
        }
    }
    uint32_t flags = hidden || !top_agrees(top, &message) ? USAGE_TOP_DIFFERS : 0;
    counts_keep_top_only(&message, top);
    message.bad_value |= top->bad_value;
    unit_read(dialect, &message, &units[0]);
    units[0].flags |= flags;
    ret_reading->units = units;
    ret_reading->count = count;
}

static void reading_sum_up(UsageReading *reading)
{
    Wide residual = 0;
    for (size_t i = 0; i < reading->count; i++) {
        residual += reading->units[i].residual;
        reading->flags |= reading->units[i].flags;
    }
    reading->residual = narrowed(residual);
}

bool usage_dialect_known(Str dialect)
{
    return usage_dialect_find(dialect) != NULL;
}

/* Every document of the text, merged into *ret_top; the last list of iterations stays in the scan. */
static Err documents_read(Scan *scan, Counts *ret_top)
{
    size_t iterations = 0;
    for (size_t n = 0; n == 0 || scan->at < scan->end; n++) {
        if (n == USAGE_DOCUMENTS_MAX)
            return FAIL(ERR_INVALID, "usage-too-large", "The usage consists of more than 64 documents.");
        if (!scan_document(scan))
            return FAIL(ERR_INVALID, "usage-malformed", "The usage is not a well-formed JSON object.");
        if (n == 0)
            *ret_top = scan->top;
        else
            counts_merge(ret_top, &scan->top);
        if (scan->iteration_count > 0)
            iterations = scan->iteration_count;
    }
    scan->iteration_count = iterations;
    return OK;
}

Err usage_normalise(Arena *arena, Str dialect_name, Str endpoint, bool stream, Str raw, UsageReading *ret_reading)
{
    (void)endpoint;
    (void)stream;
    const Dialect *dialect = usage_dialect_find(dialect_name);
    if (dialect == NULL)
        return FAIL(ERR_INVALID, "usage-unknown-dialect", "No table reads the usage of this dialect.");
    if (raw.len > USAGE_RAW_BYTES_MAX)
        return FAIL(ERR_INVALID, "usage-too-large", "The usage is longer than 65536 bytes.");
    Scan scan;
    scan.at = raw.ptr;
    scan.end = raw.ptr + raw.len;
    scan.iterations = NULL;
    scan.iteration_count = 0;
    if (raw.len > 0 && memmem(raw.ptr, raw.len, "\"iterations\"", 12) != NULL)
        scan.iterations = NEW(arena, Counts, USAGE_ITERATIONS_MAX);
    Counts top;
    TRY(documents_read(&scan, &top));
    UsageReading reading = { .version = USAGE_NORMALISER_VERSION, .service_tier = top.tier };
    if (scan.iteration_count > 0) {
        iterations_read(arena, dialect, &scan, &top, &reading);
    } else {
        reading.units = NEW(arena, UsageUnit, 1);
        reading.count = 1;
        top.kind = STR("message");
        unit_read(dialect, &top, &reading.units[0]);
    }
    reading_sum_up(&reading);
    *ret_reading = reading;
    return OK;
}
