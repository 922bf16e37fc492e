/*
 * price.h: a price book in memory: what one unit of a meter costs, by provider, model, date and conditions.
 *
 * A rate is an integer number of picodollars per unit (a token, a search). Rates are effective-dated: one holds from
 * its date until the next of the same key. A rate may hold only above a context length (the whole unit is then priced
 * at it, as providers do) or only for a service tier that the provider echoed in its answer.
 *
 *     _cleanup_(price_book_free) PriceBook *book = NULL;
 *     TRY(price_book_load(db, STR("cost"), &book));
 *     const PriceModel *model = price_book_model(book, STR("openai"), STR("gpt-4o-2024-08-06"));   // NULL: unrated
 *     if (price_rate(model, &(PriceQuery){ .meter = METER_OUTPUT, .at = at, .context = 1200 }, &rate)) ...
 *
 * Invariant: a book never changes after it was made; looking up is a pure function of the book and the query.
 */
#ifndef LEDGER_PRICE_H
#define LEDGER_PRICE_H

#include "store/db.h"
#include "usage/meter.h"

typedef struct PriceBook PriceBook;
typedef struct PriceModel PriceModel; /* the rates of one provider's model */

typedef struct PriceRate {
    Str provider, model;
    int64_t meter;
    Str service_tier;    /* empty: standard */
    int64_t above_input; /* holds when the unit's input is more than this many tokens */
    Time valid_from;
    MaybeInt pico; /* not set: from here on there is no price */
} PriceRate;

typedef struct PriceAlias {
    Str provider, kind /* exact, prefix, suffix, contains */, pattern, model;
    int64_t rank;
} PriceAlias;

extern const FieldTable PRICE_RATE_FIELDS, PRICE_ALIAS_FIELDS;

typedef struct PriceQuery {
    Meter meter;
    Str service_tier;
    int64_t context; /* input tokens of the unit */
    Time at;
} PriceQuery;

/* Copies what it is given. Lists of PriceRate and PriceAlias, in any order. */
PriceBook *price_book_new(List rates, List aliases, int64_t revision);
void price_book_free(PriceBook **book);
CHECKED Err price_book_load(Db *db, Str name, PriceBook **ret_book);
int64_t price_book_revision(const PriceBook *book);
CHECKED Err price_book_revision_now(Db *db, Arena *arena, Str name, int64_t *ret_revision);

/* By its name, else by its aliases in their order; NULL when the book does not know it. */
const PriceModel *price_book_model(const PriceBook *book, Str provider, Str model);
Str price_model_name(const PriceModel *model);

/* The rate of exactly this meter. False: there is none. */
bool price_rate(const PriceModel *model, const PriceQuery *query, Money *ret_rate);
/* The same, or that of the meter's fallbacks. */
bool price_rate_or_fallback(const PriceModel *model, const PriceQuery *query, Money *ret_rate);

#endif
