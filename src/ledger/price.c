/* price.c: see price.h. Rates of a model stand side by side, sorted, and are searched from the end. */
#include "ledger/price.h"

#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

static const Field rate_fields[] = {
    FIELD(PriceRate, provider, .required = true),
    FIELD(PriceRate, model, .required = true),
    FIELD(PriceRate, meter, .required = true),
    FIELD(PriceRate, service_tier, .required = false),
    FIELD(PriceRate, above_input, .required = false),
    FIELD(PriceRate, valid_from, .required = false),
    FIELD(PriceRate, pico, .required = false),
};
const FieldTable PRICE_RATE_FIELDS = FIELD_TABLE(PriceRate, rate_fields);

static const Field alias_fields[] = {
    FIELD(PriceAlias, provider, .required = true),
    FIELD(PriceAlias, kind, .required = true),
    FIELD(PriceAlias, pattern, .required = true),
    FIELD(PriceAlias, model, .required = true),
    FIELD(PriceAlias, rank, .required = false),
};
const FieldTable PRICE_ALIAS_FIELDS = FIELD_TABLE(PriceAlias, alias_fields);

struct PriceModel {
    Str provider, model;
    const PriceRate *rates; /* by meter, tier, above_input, valid_from */
    size_t count;
};

struct PriceBook {
    Arena *arena;
    PriceRate *rates;
    size_t rate_count;
    PriceModel *models; /* by provider, model */
    size_t model_count;
    PriceAlias *exact; /* by provider, pattern */
    size_t exact_count;
    PriceAlias *patterns; /* by rank */
    size_t pattern_count;
    int64_t revision;
};

/* --- making a book --- */

static int order_of(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_key(const void *left, const void *right)
{
    const PriceRate *a = left, *b = right;
    int orders[] = { str_compare(a->provider, b->provider), str_compare(a->model, b->model),
        order_of(a->meter, b->meter), str_compare(a->service_tier, b->service_tier),
        order_of(a->above_input, b->above_input), order_of(a->valid_from.us, b->valid_from.us) };
    for (size_t i = 0; i < COUNT_OF(orders); i++)
        if (orders[i] != 0)
            return orders[i];
    return 0;
}

static int by_pattern(const void *left, const void *right)
{
    const PriceAlias *a = left, *b = right;
    int order = str_compare(a->provider, b->provider);
    return order != 0 ? order : str_compare(a->pattern, b->pattern);
}

static int by_rank(const void *left, const void *right)
{
    const PriceAlias *a = left, *b = right;
    int order = order_of(a->rank, b->rank);
    return order != 0 ? order : by_pattern(left, right);
}

static void copy_rates(PriceBook *book, List rates)
{
    book->rates = NEW(book->arena, PriceRate, rates.count + 1);
    book->rate_count = rates.count;
    if (rates.count > 0)
        memcpy(book->rates, rates.items, rates.count * sizeof(PriceRate));
    for (size_t i = 0; i < rates.count; i++) {
        book->rates[i].provider = arena_str(book->arena, book->rates[i].provider);
        book->rates[i].model = arena_str(book->arena, book->rates[i].model);
        book->rates[i].service_tier = arena_str(book->arena, book->rates[i].service_tier);
    }
    qsort(book->rates, book->rate_count, sizeof(PriceRate), by_key);
}

static void group_models(PriceBook *book)
{
    book->models = NEW(book->arena, PriceModel, book->rate_count + 1);
    for (size_t i = 0; i < book->rate_count; i++) {
        const PriceRate *rate = &book->rates[i];
        PriceModel *last = book->model_count > 0 ? &book->models[book->model_count - 1] : NULL;
        if (last == NULL || !str_eq(last->provider, rate->provider) || !str_eq(last->model, rate->model))
            book->models[book->model_count++] =
                (PriceModel){ .provider = rate->provider, .model = rate->model, .rates = rate, .count = 1 };
        else
            last->count++;
    }
}

static PriceAlias alias_copy(Arena *arena, const PriceAlias *alias)
{
    return (PriceAlias){ .provider = arena_str(arena, alias->provider),
        .kind = arena_str(arena, alias->kind),
        .pattern = arena_str(arena, alias->pattern),
        .model = arena_str(arena, alias->model),
        .rank = alias->rank };
}

static void copy_aliases(PriceBook *book, List aliases)
{
    const PriceAlias *items = aliases.items;
    book->exact = NEW(book->arena, PriceAlias, aliases.count + 1);
    book->patterns = NEW(book->arena, PriceAlias, aliases.count + 1);
    for (size_t i = 0; i < aliases.count; i++) {
        bool exact = str_eq(items[i].kind, STR("exact"));
        PriceAlias *into = exact ? &book->exact[book->exact_count++] : &book->patterns[book->pattern_count++];
        *into = alias_copy(book->arena, &items[i]);
    }
    qsort(book->exact, book->exact_count, sizeof(PriceAlias), by_pattern);
    qsort(book->patterns, book->pattern_count, sizeof(PriceAlias), by_rank);
}

PriceBook *price_book_new(List rates, List aliases, int64_t revision)
{
    Arena *arena = arena_new();
    PriceBook *book = NEW(arena, PriceBook, 1);
    book->arena = arena;
    book->revision = revision;
    copy_rates(book, rates);
    group_models(book);
    copy_aliases(book, aliases);
    return book;
}

void price_book_free(PriceBook **book)
{
    if (*book == NULL)
        return;
    Arena *arena = (*book)->arena; /* which holds the book itself */
    *book = NULL;
    arena_free(&arena);
}

int64_t price_book_revision(const PriceBook *book)
{
    return book->revision;
}

/* --- from the database --- */

typedef struct BookKey {
    Str book;
    int64_t revision;
} BookKey;
static const Field book_key_fields[] = { FIELD(BookKey, book, .internal = true),
    FIELD(BookKey, revision, .internal = true) };
static const FieldTable BOOK_KEY_FIELDS = FIELD_TABLE(BookKey, book_key_fields);

Err price_book_revision_now(Db *db, Arena *arena, Str name, int64_t *ret_revision)
{
    BookKey key = { .book = name };
    TRY(db_one(db, arena, &SQL_LEDGER_PRICE_BOOK_GET, REC(&BOOK_KEY_FIELDS, &key), REC(&BOOK_KEY_FIELDS, &key)));
    *ret_revision = key.revision;
    return OK;
}

Err price_book_load(Db *db, Str name, PriceBook **ret_book)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    BookKey key = { .book = name };
    List rates = { 0 }, aliases = { 0 };
    const DbCall calls[] = {
        { .stmt = &SQL_LEDGER_PRICE_BOOK_GET, .in = REC(&BOOK_KEY_FIELDS, &key), .out = REC(&BOOK_KEY_FIELDS, &key) },
        { .stmt = &SQL_LEDGER_RATES,
            .in = REC(&BOOK_KEY_FIELDS, &key),
            .list = &PRICE_RATE_FIELDS,
            .ret_list = &rates },
        { .stmt = &SQL_LEDGER_ALIASES,
            .in = REC(&BOOK_KEY_FIELDS, &key),
            .list = &PRICE_ALIAS_FIELDS,
            .ret_list = &aliases },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    *ret_book = price_book_new(rates, aliases, key.revision);
    return OK;
}

/* --- looking up --- */

static const PriceModel *model_exact(const PriceBook *book, Str provider, Str model)
{
    size_t low = 0, high = book->model_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const PriceModel *at = &book->models[middle];
        int order = str_compare(at->provider, provider);
        order = order != 0 ? order : str_compare(at->model, model);
        if (order == 0)
            return at;
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return NULL;
}

static bool pattern_matches(const PriceAlias *alias, Str model)
{
    if (str_eq(alias->kind, STR("prefix")))
        return str_starts_with(model, alias->pattern);
    if (str_eq(alias->kind, STR("suffix")))
        return str_ends_with(model, alias->pattern);
    return str_contains(model, alias->pattern);
}

const PriceModel *price_book_model(const PriceBook *book, Str provider, Str model)
{
    if (model.len == 0)
        return NULL;
    const PriceModel *found = model_exact(book, provider, model);
    if (found != NULL)
        return found;
    PriceAlias wanted = { .provider = provider, .pattern = model };
    const PriceAlias *exact = bsearch(&wanted, book->exact, book->exact_count, sizeof(PriceAlias), by_pattern);
    if (exact != NULL)
        return model_exact(book, provider, exact->model);
    for (size_t i = 0; i < book->pattern_count; i++) {
        const PriceAlias *alias = &book->patterns[i];
        if (str_eq(alias->provider, provider) && pattern_matches(alias, model))
            return model_exact(book, provider, alias->model);
    }
    return NULL;
}

Str price_model_name(const PriceModel *model)
{
    return model->model;
}

/* Rates of a meter and tier come by rising context length, and for one length by rising date: the last that has begun
 * holds. Of the lengths that the context exceeds, the longest with a price wins; an ended one no longer hides those
 * below. */
bool price_rate(const PriceModel *model, const PriceQuery *query, Money *ret_rate)
{
    const PriceRate *best = NULL, *current = NULL;
    for (size_t i = 0; i < model->count; i++) {
        const PriceRate *rate = &model->rates[i];
        if (rate->meter != query->meter || !str_eq(rate->service_tier, query->service_tier))
            continue;
        if (rate->valid_from.us > query->at.us || (rate->above_input > 0 && query->context <= rate->above_input))
            continue;
        if (current != NULL && current->above_input != rate->above_input && current->pico.set)
            best = current;
        current = rate;
    }
    if (current != NULL && current->pico.set)
        best = current;
    if (best == NULL)
        return false;
    *ret_rate = (Money){ .pico = best->pico.value };
    return true;
}

bool price_rate_or_fallback(const PriceModel *model, const PriceQuery *query, Money *ret_rate)
{
    PriceQuery at = *query;
    for (; at.meter != METER_NONE; at.meter = meter_fallback(at.meter))
        if (price_rate(model, &at, ret_rate))
            return true;
    return false;
}
