/*
 * posting.h: charge rows and the sums they change, gathered in memory and written together.
 *
 *     Posting *posting = posting_new(arena);
 *     posting_add(posting, &place, &line, counted, reversal);
 *     TRY(posting_write(posting, db, run));        // charge rows, hourly and daily sums, in the caller's transaction
 *
 * Invariant: what is added to a sum is exactly what stands on the lines; keys are written in one fixed order, so two
 * writers never wait for each other in a ring.
 */
#ifndef LEDGER_POSTING_H
#define LEDGER_POSTING_H

#include "ledger/rate.h"

#define COUNTED_ATTEMPT 1
#define COUNTED_EVENT 2

/* Where a line belongs. */
typedef struct Place {
    Uuid org, event, project, workflow, client_key, connection;
    int64_t attempt;
    Str provider, outcome;
} Place;

typedef struct Posting Posting;

Posting *posting_new(Arena *arena);
/* A reversal takes back `line` as it was: its quantities and amounts are negated here. */
void posting_add(Posting *posting, const Place *place, const RateLine *line, int64_t counted, bool reversal);
size_t posting_lines(const Posting *posting);
/* Under run 0 (rating) or that of a re-rating. */
CHECKED Err posting_write(Posting *posting, Db *db, int64_t run);

#endif
