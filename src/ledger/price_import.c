/* price_import.c: a price list against the book: the difference, and taking it over. */
#include "ledger/import.h"

#include "base/json.h"
#include "crypto/digest.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

#define BEGINNING_US INT64_C(1577836800000000) /* 2020-01-01: before the first event there can be */

static const Field finding_fields[] = {
    FIELD(PriceFinding, code, .required = true),
    FIELD(PriceFinding, provider, .required = true),
    FIELD(PriceFinding, model, .required = true),
    FIELD(PriceFinding, meter, .omit_null = true),
    FIELD(PriceFinding, detail, .required = true),
    FIELD(PriceFinding, held, .required = true),
};
static const FieldTable FINDING_FIELDS = FIELD_TABLE(PriceFinding, finding_fields);

static const Field change_fields[] = {
    FIELD(PriceChange, kind, .required = true),
    FIELD(PriceChange, provider, .required = true),
    FIELD(PriceChange, model, .required = true),
    FIELD(PriceChange, meter, .required = true),
    FIELD(PriceChange, service_tier, .required = true),
    FIELD(PriceChange, above_input, .required = true),
    FIELD(PriceChange, valid_from, .required = true),
    FIELD(PriceChange, before_pico, .required = true),
    FIELD(PriceChange, after_pico, .required = true),
};
static const FieldTable CHANGE_FIELDS = FIELD_TABLE(PriceChange, change_fields);

static const Field plan_fields[] = {
    FIELD(PricePlan, book, .required = true),
    FIELD(PricePlan, source, .required = true),
    FIELD(PricePlan, digest, .required = true),
    FIELD(PricePlan, models, .required = true),
    FIELD(PricePlan, rates_unchanged, .required = true),
    FIELD(PricePlan, rates_new, .required = true),
    FIELD(PricePlan, rates_changed, .required = true),
    FIELD(PricePlan, held, .required = true),
    FIELD(PricePlan, aliases, .required = true),
    FIELD(PricePlan, changes, .table = &CHANGE_FIELDS),
    FIELD(PricePlan, findings, .table = &FINDING_FIELDS),
};
const FieldTable PRICE_PLAN_FIELDS = FIELD_TABLE(PricePlan, plan_fields);

/* --- comparing --- */

static int order_of(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int key_compare(const PriceRate *a, const PriceRate *b)
{
    int orders[] = { str_compare(a->provider, b->provider), str_compare(a->model, b->model),
        order_of(a->meter, b->meter), str_compare(a->service_tier, b->service_tier),
        order_of(a->above_input, b->above_input) };
    for (size_t i = 0; i < COUNT_OF(orders); i++)
        if (orders[i] != 0)
            return orders[i];
    return 0;
}

static int rate_compare(const void *left, const void *right)
{
    const PriceRate *a = left, *b = right;
    int order = key_compare(a, b);
    return order != 0 ? order : order_of(a->valid_from.us, b->valid_from.us);
}

/* The book's rates of one key, by date. */
typedef struct Known {
    const PriceRate *rates;
    size_t count;
} Known;

static Known known_of(List book, const PriceRate *key)
{
    const PriceRate *rates = book.items;
    size_t low = 0, high = book.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (key_compare(&rates[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    Known known = { .rates = rates + low };
    while (low + known.count < book.count && key_compare(&rates[low + known.count], key) == 0)
        known.count++;
    return known;
}

static const PriceRate *known_at(Known known, Time at)
{
    const PriceRate *found = NULL;
    for (size_t i = 0; i < known.count; i++)
        if (known.rates[i].valid_from.us <= at.us)
            found = &known.rates[i];
    return found;
}

static bool same_price(MaybeInt a, MaybeInt b)
{
    return a.set == b.set && (!a.set || a.value == b.value);
}

typedef struct Planning {
    Arena *arena;
    List book; /* PriceRate, sorted */
    Time effective;
    PricePlan *plan;
    PriceChange *changes;
    PriceRate *rates;
    PriceFinding *findings;
} Planning;

static void note_change(Planning *p, const PriceRate *rate, const PriceRate *before)
{
    PricePlan *plan = p->plan;
    *(before == NULL ? &plan->rates_new : &plan->rates_changed) += 1;
    p->rates[plan->rates.count++] = *rate;
    if (plan->changes.count == PRICE_CHANGES_SHOWN_MAX)
        return;
    p->changes[plan->changes.count++] = (PriceChange){ .kind = before == NULL   ? STR("new")
                                                               : rate->pico.set ? STR("changed")
                                                                                : STR("ended"),
        .provider = rate->provider,
        .model = rate->model,
        .meter = meter_name((Meter)rate->meter),
        .service_tier = rate->service_tier,
        .above_input = rate->above_input,
        .valid_from = rate->valid_from,
        .before_pico = before == NULL ? (MaybeInt){ 0 } : before->pico,
        .after_pico = rate->pico };
}

static void note_finding(Planning *p, const PriceRate *rate, Str code, Str detail)
{
    if (p->plan->findings.count < PRICE_FINDINGS_SHOWN_MAX)
        p->findings[p->plan->findings.count++] = (PriceFinding){ .code = code,
            .provider = rate->provider,
            .model = rate->model,
            .meter = meter_name((Meter)rate->meter),
            .detail = detail };
}

static void note_disagreement(Planning *p, const PriceRate *rate, const PriceRate *before)
{
    if (!before->pico.set || !rate->pico.set)
        return;
    Int128 more = before->pico.value > rate->pico.value ? before->pico.value : rate->pico.value;
    Int128 less = before->pico.value > rate->pico.value ? rate->pico.value : before->pico.value;
    if (more * 10 > less * 11)
        note_finding(p, rate, STR("disagrees"),
            arena_fmt(p->arena, "The book has %lld picodollars, the list %lld.", (long long)before->pico.value,
                (long long)rate->pico.value));
}

/* A rate with a date of its own. */
static void plan_dated(Planning *p, const PriceRate *rate, Known known)
{
    const PriceRate *there = known_at(known, rate->valid_from);
    if (there == NULL || !same_price(there->pico, rate->pico)) {
        if (there != NULL && there->valid_from.us == rate->valid_from.us)
            note_finding(p, rate, STR("history-differs"), STR("The book has another price from this date; it stays."));
        else
            note_change(p, rate, there);
    } else {
        p->plan->rates_unchanged++;
    }
}

/* A rate without a date: the first of its key where the list has dated ones behind it, else what holds now. */
static void plan_undated(Planning *p, const PriceRate *rate, Known known, const PriceRate *next_dated)
{
    Time at = next_dated != NULL ? (Time){ .us = next_dated->valid_from.us - 1 } : p->effective;
    const PriceRate *there = known_at(known, at);
    if (there != NULL && same_price(there->pico, rate->pico)) {
        p->plan->rates_unchanged++;
        return;
    }
    PriceRate added = *rate;
    added.valid_from = known.count == 0 ? (Time){ .us = BEGINNING_US } : p->effective;
    if (there != NULL)
        note_disagreement(p, &added, there);
    if (next_dated != NULL && known.count > 0)
        note_finding(p, rate, STR("history-differs"), STR("The book has another price before the date; it stays."));
    else
        note_change(p, &added, there);
}

static void plan_rates(Planning *p, List file)
{
    PriceRate *rates = file.items;
    qsort(rates, file.count, sizeof(PriceRate), rate_compare);
    for (size_t i = 0; i < file.count; i++) {
        const PriceRate *next = i + 1 < file.count && key_compare(&rates[i], &rates[i + 1]) == 0 ? &rates[i + 1] : NULL;
        if (next != NULL && next->valid_from.us == rates[i].valid_from.us) {
            if (!same_price(next->pico, rates[i].pico))
                note_finding(p, next, STR("listed-twice"), STR("The list has two prices of this; the last counts."));
            continue;
        }
        Known known = known_of(p->book, &rates[i]);
        if (time_is_none(rates[i].valid_from))
            plan_undated(p, &rates[i], known, next);
        else
            plan_dated(p, &rates[i], known);
    }
}

typedef struct BookKey {
    Str book;
} BookKey;
static const Field book_key_fields[] = { FIELD(BookKey, book, .internal = true) };
static const FieldTable BOOK_KEY_FIELDS = FIELD_TABLE(BookKey, book_key_fields);

static void keep_new_aliases(PricePlan *plan, Arena *arena, List have, List want)
{
    const PriceAlias *old = have.items, *aliases = want.items;
    PriceAlias *rows = NEW(arena, PriceAlias, want.count + 1);
    for (size_t i = 0; i < want.count; i++) {
        bool there = false;
        for (size_t j = 0; j < have.count && !there; j++)
            there = str_eq(old[j].provider, aliases[i].provider) && str_eq(old[j].kind, aliases[i].kind) &&
                    str_eq(old[j].pattern, aliases[i].pattern) && str_eq(old[j].model, aliases[i].model);
        if (!there)
            rows[plan->alias_rows.count++] = aliases[i];
    }
    plan->alias_rows.items = rows;
    plan->aliases = (int64_t)plan->alias_rows.count;
}

Err price_import_plan(Db *db, Arena *arena, Str book, const PriceFile *file, Time effective, PricePlan *ret_plan)
{
    BookKey key = { .book = book };
    List rates = { 0 }, aliases = { 0 };
    TRY(db_list(db, arena, &SQL_LEDGER_RATES, REC(&BOOK_KEY_FIELDS, &key), &PRICE_RATE_FIELDS, &rates));
    TRY(db_list(db, arena, &SQL_LEDGER_ALIASES, REC(&BOOK_KEY_FIELDS, &key), &PRICE_ALIAS_FIELDS, &aliases));
    if (rates.count > 0)
        qsort(rates.items, rates.count, sizeof(PriceRate), rate_compare);
    PricePlan plan = { .book = book, .source = file->source, .digest = file->digest, .models = file->models };
    Planning p = { .arena = arena,
        .book = rates,
        .effective = effective,
        .plan = &plan,
        .changes = NEW(arena, PriceChange, PRICE_CHANGES_SHOWN_MAX),
        .rates = NEW(arena, PriceRate, file->rates.count + 1),
        .findings = NEW(arena, PriceFinding, PRICE_FINDINGS_SHOWN_MAX) };
    const PriceFinding *found = file->findings.items;
    for (size_t i = 0; i < file->findings.count; i++) {
        plan.held += found[i].held;
        if (plan.findings.count < PRICE_FINDINGS_SHOWN_MAX)
            p.findings[plan.findings.count++] = found[i];
    }
    if (file->rates.count > 0)
        plan_rates(&p, file->rates);
    plan.changes.items = p.changes;
    plan.findings.items = p.findings;
    plan.rates.items = p.rates;
    keep_new_aliases(&plan, arena, aliases, file->aliases);
    *ret_plan = plan;
    return OK;
}

/* --- applying --- */

typedef struct Rows {
    Uuid import;
    Str book, source;
    Bytes digest;
    Json report;
    Strs provider, model, service_tier;
    Ints meter, above_input;
    Times valid_from;
    Ints pico; /* -1: ended */
    Strs kind, pattern;
    Ints rank;
} Rows;
#define COLUMN(member) FIELD(Rows, member, .internal = true)
static const Field row_fields[] = { COLUMN(import), COLUMN(book), COLUMN(source), COLUMN(digest), COLUMN(report),
    COLUMN(provider), COLUMN(model), COLUMN(service_tier), COLUMN(meter), COLUMN(above_input), COLUMN(valid_from),
    COLUMN(pico), COLUMN(kind), COLUMN(pattern), COLUMN(rank) };
static const FieldTable ROW_FIELDS = FIELD_TABLE(Rows, row_fields);

#define PUT(rows, member, value) ((rows)->member.items[(rows)->member.count++] = (value))

static Rows rate_rows(Arena *arena, List list)
{
    Rows rows = { 0 };
    const PriceRate *rates = list.items;
    Strs *texts[] = { &rows.provider, &rows.model, &rows.service_tier };
    Ints *ints[] = { &rows.meter, &rows.above_input, &rows.pico };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        texts[i]->items = NEW(arena, Str, list.count + 1);
    for (size_t i = 0; i < COUNT_OF(ints); i++)
        ints[i]->items = NEW(arena, int64_t, list.count + 1);
    rows.valid_from.items = NEW(arena, Time, list.count + 1);
    for (size_t i = 0; i < list.count; i++) {
        PUT(&rows, provider, rates[i].provider);
        PUT(&rows, model, rates[i].model);
        PUT(&rows, service_tier, rates[i].service_tier);
        PUT(&rows, meter, rates[i].meter);
        PUT(&rows, above_input, rates[i].above_input);
        PUT(&rows, valid_from, rates[i].valid_from);
        PUT(&rows, pico, rates[i].pico.set ? rates[i].pico.value : -1);
    }
    return rows;
}

static Rows alias_rows(Arena *arena, List list)
{
    Rows rows = { 0 };
    const PriceAlias *aliases = list.items;
    Strs *texts[] = { &rows.provider, &rows.kind, &rows.pattern, &rows.model };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        texts[i]->items = NEW(arena, Str, list.count + 1);
    rows.rank.items = NEW(arena, int64_t, list.count + 1);
    for (size_t i = 0; i < list.count; i++) {
        PUT(&rows, provider, aliases[i].provider);
        PUT(&rows, kind, aliases[i].kind);
        PUT(&rows, pattern, aliases[i].pattern);
        PUT(&rows, model, aliases[i].model);
        PUT(&rows, rank, aliases[i].rank);
    }
    return rows;
}

Err price_import_apply(Db *db, Arena *arena, const PricePlan *plan, Uuid import)
{
    if (plan->rates.count == 0 && plan->alias_rows.count == 0)
        return OK;
    Digest digest;
    TRY(digest_parse(plan->digest, &digest));
    json_t *report = json_pack("{s:I,s:I,s:I,s:I}", "new", (json_int_t)plan->rates_new, "changed",
        (json_int_t)plan->rates_changed, "held", (json_int_t)plan->held, "aliases", (json_int_t)plan->aliases);
    Rows head = { .import = import, .book = plan->book, .source = plan->source, .digest = digest_bytes(&digest) };
    head.report.value = report;
    Rows rates = rate_rows(arena, plan->rates), aliases = alias_rows(arena, plan->alias_rows);
    rates.book = aliases.book = plan->book;
    rates.import = import;
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_PRICE_IMPORT_INSERT, .in = REC(&ROW_FIELDS, &head) },
        { .stmt = &SQL_LEDGER_RATES_INSERT, .in = REC(&ROW_FIELDS, &rates) },
        { .stmt = &SQL_LEDGER_ALIASES_PUT, .in = REC(&ROW_FIELDS, &aliases) },
        { .stmt = &SQL_LEDGER_PRICE_BOOK_TOUCH, .in = REC(&ROW_FIELDS, &head) },
    };
    Err err = db_pipeline(db, arena, calls, COUNT_OF(calls));
    json_decref(report);
    return err;
}
