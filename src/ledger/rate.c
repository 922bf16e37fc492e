/* rate.c: see rate.h. */
#include "ledger/rate.h"

#include <string.h>

/* What an attempt without usage means, by its outcome. */
static const struct {
    Str outcome, reason;
} silent_reasons[] = {
    { STR_INIT("ok"), STR_INIT("no-usage") },
    { STR_INIT("connect"), STR_INIT("not-billed") },
    { STR_INIT("connect-timeout"), STR_INIT("not-billed") },
    { STR_INIT("tls"), STR_INIT("not-billed") },
    { STR_INIT("status-429"), STR_INIT("not-billed") },
    { STR_INIT("status-4xx"), STR_INIT("not-billed") },
    { STR_INIT("status-5xx"), STR_INIT("not-billed") },
    { STR_INIT("indeterminate"), STR_INIT("indeterminate") },
};

static Str silent_reason(Str outcome)
{
    for (size_t i = 0; i < COUNT_OF(silent_reasons); i++)
        if (str_eq(silent_reasons[i].outcome, outcome))
            return silent_reasons[i].reason;
    return STR("unknown-usage"); /* cut off, timed out, cancelled: the provider may bill what nobody told us */
}

/* The words providers have for "nothing special". */
static Str tier_canonical(Str tier)
{
    static const Str standard[] = { STR_INIT("standard"), STR_INIT("default"), STR_INIT("on_demand"), STR_INIT("auto"),
        STR_INIT("STANDARD") };
    for (size_t i = 0; i < COUNT_OF(standard); i++)
        if (str_eq(tier, standard[i]))
            return STR("");
    return tier;
}

static Str first_of(Str a, Str b, Str c)
{
    return a.len > 0 ? a : b.len > 0 ? b : c;
}

/* The model that answered; where the book does not know it, the one asked for, if the answer is a dated form of it. */
static const PriceModel *model_of(const PriceBook *book, const RateAttempt *attempt, Str model)
{
    const PriceModel *found = price_book_model(book, attempt->provider, model);
    if (found == NULL && str_starts_with(model, attempt->model_asked))
        found = price_book_model(book, attempt->provider, attempt->model_asked);
    return found;
}

static void add_unrated(RateLine *line, int64_t quantity)
{
    if (__builtin_add_overflow(line->unrated, quantity, &line->unrated))
        line->unrated = INT64_MAX;
}

/* Adds quantity × rate, or says that it could not. */
static bool add_amount(RateLine *line, int64_t quantity, Money rate)
{
    Money amount;
    int64_t sum;
    if (money_times(quantity, rate, &amount).kind != ERR_NONE ||
        __builtin_add_overflow(line->amount.pico, amount.pico, &sum))
        return false;
    line->amount.pico = sum;
    return true;
}

static int64_t context_of(const UsageUnit *unit)
{
    int64_t context = 0;
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++)
        if (usage_unit_has(unit, m) && meter_is_input(m) &&
            __builtin_add_overflow(context, unit->quantity[m], &context))
            return INT64_MAX;
    return context;
}

static Str priced_reason(const RateLine *line, size_t rated, bool overflow)
{
    if (overflow)
        return STR("overflow");
    if (line->count == 0)
        return STR("zero");
    if (rated == line->count)
        return STR("priced");
    return rated == 0 ? STR("unrated") : STR("partly-unrated");
}

static RateLine line_of(const PriceBook *book, const RateAttempt *attempt, const UsageUnit *unit, Str model, Str tier)
{
    RateLine line = { .model = model, .residual = unit->residual, .flags = unit->flags };
    const PriceModel *prices = model_of(book, attempt, model);
    PriceQuery query = { .service_tier = tier_canonical(tier), .context = context_of(unit), .at = attempt->at };
    size_t rated = 0;
    bool overflow = false;
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++) {
        if (!usage_unit_has(unit, m) || unit->quantity[m] == 0)
            continue;
        query.meter = m;
        Money rate = { .pico = RATE_NONE };
        bool has_rate = prices != NULL && price_rate_or_fallback(prices, &query, &rate);
        if (has_rate && !add_amount(&line, unit->quantity[m], rate)) {
            has_rate = false;
            overflow = true;
        }
        if (!has_rate)
            add_unrated(&line, unit->quantity[m]);
        rated += has_rate;
        line.meters[line.count] = m;
        line.quantities[line.count] = unit->quantity[m];
        line.rates[line.count++] = has_rate ? rate.pico : RATE_NONE;
    }
    line.reason = priced_reason(&line, rated, overflow);
    return line;
}

/* --- an attempt's readings --- */

typedef struct Lines {
    RateLine *items;
    size_t count;
} Lines;

static RateLine *lines_add(Arena *arena, Lines *lines, RateLine line)
{
    if ((lines->count & (lines->count - 1)) == 0) { /* full at each power of two */
        RateLine *grown = NEW(arena, RateLine, lines->count == 0 ? 1 : lines->count * 2);
        if (lines->count > 0)
            memcpy(grown, lines->items, lines->count * sizeof(RateLine));
        lines->items = grown;
    }
    line.unit = (int64_t)lines->count + 1;
    lines->items[lines->count] = line;
    return &lines->items[lines->count++];
}

static bool read_before(const RateAttempt *attempt, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (bytes_eq(attempt->units[i].usage_raw, attempt->units[index].usage_raw))
            return true;
    return false;
}

static void rate_raw(
    Arena *arena, const PriceBook *book, const RateAttempt *attempt, const RateUnit *unit, Lines *lines)
{
    Str base = first_of(attempt->model_answered, unit->model, attempt->model_asked);
    UsageReading reading;
    Err err = usage_normalise(arena, attempt->dialect, STR(""), unit->stream, bytes_str(unit->usage_raw), &reading);
    if (err.kind != ERR_NONE) {
        lines_add(arena, lines, (RateLine){ .model = base, .reason = STR("bad-usage") });
        return;
    }
    for (size_t i = 0; i < reading.count; i++) {
        const UsageUnit *of = &reading.units[i];
        bool own = i == 0; /* the message itself; the others name their model when it is another */
        Str model = own ? base : first_of(of->model, base, STR(""));
        lines_add(arena, lines, line_of(book, attempt, of, model, reading.service_tier))->normaliser = reading.version;
    }
}

/* The gateway's own meters, where it sent no bytes. */
static void rate_meters(
    Arena *arena, const PriceBook *book, const RateAttempt *attempt, const RateUnit *unit, Lines *lines)
{
    UsageUnit read = { 0 };
    for (size_t i = 0; i < unit->meters.count && i < unit->quantities.count; i++) {
        int64_t meter = unit->meters.items[i];
        if (meter <= METER_NONE || meter >= METER_COUNT || unit->quantities.items[i] < 0)
            continue;
        read.present |= UINT32_C(1) << meter;
        read.quantity[meter] = unit->quantities.items[i];
    }
    Str model = first_of(unit->model, attempt->model_answered, attempt->model_asked);
    lines_add(arena, lines, line_of(book, attempt, &read, model, STR("")));
}

void rate_attempt(
    Arena *arena, const PriceBook *book, const RateAttempt *attempt, RateLine **ret_lines, size_t *ret_count)
{
    Lines lines = { 0 };
    bool any_raw = false;
    for (size_t i = 0; i < attempt->unit_count; i++)
        any_raw |= attempt->units[i].usage_raw.len > 0;
    for (size_t i = 0; i < attempt->unit_count; i++) {
        const RateUnit *unit = &attempt->units[i];
        if (!any_raw)
            rate_meters(arena, book, attempt, unit, &lines);
        else if (unit->usage_raw.len > 0 && !read_before(attempt, i))
            rate_raw(arena, book, attempt, unit, &lines);
    }
    if (lines.count == 0) {
        Str model = first_of(attempt->model_answered, attempt->model_asked, STR(""));
        lines_add(arena, &lines, (RateLine){ .model = model, .reason = silent_reason(attempt->outcome) })->unit = 0;
    }
    *ret_lines = lines.items;
    *ret_count = lines.count;
}

RateLine rate_no_attempt(void)
{
    return (RateLine){ .reason = STR("no-attempt") };
}
