/*
 * rate.h: what an attempt costs: a pure function of what was stored and a price book.
 *
 * Every attempt gets at least one line: priced, or zero with a reason. The provider's bytes are read again here and
 * this reading counts; equal bytes that several units of one attempt carry are one reading. A meter without a price is
 * unrated (rate -1): its quantity is on the line and in every sum of unrated quantities, and its amount is nothing
 * until a re-rating finds a price.
 *
 * Invariants: amount = Σ quantity × rate over the rated meters, exactly; no floating point; the same input and book
 * give the same lines.
 */
#ifndef LEDGER_RATE_H
#define LEDGER_RATE_H

#include "ledger/price.h"
#include "usage/normalise.h"

#define RATE_NONE INT64_C(-1)
#define RATE_LINES_MAX (66 * (USAGE_ITERATIONS_MAX + 1))

typedef struct RateUnit {
    Str model;
    Bytes usage_raw; /* empty: the gateway's meters count */
    Ints meters, quantities;
    bool stream;
} RateUnit;

typedef struct RateAttempt {
    Str dialect; /* of the attempt's provider */
    Str provider, model_asked, model_answered, outcome;
    Time at; /* when the event's id was minted */
    const RateUnit *units;
    size_t unit_count;
} RateAttempt;

/* One charge row's own part. Reasons: priced, unrated, partly-unrated, zero, no-usage, unknown-usage, not-billed,
 * indeterminate, bad-usage, no-attempt, overflow. */
typedef struct RateLine {
    int64_t unit; /* 1.., or 0 for an attempt without usage */
    Str model, reason;
    size_t count;
    int64_t meters[METER_COUNT], quantities[METER_COUNT], rates[METER_COUNT];
    Money amount;
    int64_t unrated; /* units of quantity without a price */
    int64_t residual;
    int64_t flags, normaliser;
} RateLine;

/* Lines in the arena, at least one. */
void rate_attempt(
    Arena *arena, const PriceBook *book, const RateAttempt *attempt, RateLine **ret_lines, size_t *ret_count);

/* The line of an event that never tried a provider. */
RateLine rate_no_attempt(void);

#endif
