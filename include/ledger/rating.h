/*
 * rating.h: from stored events to charge rows and sums.
 *
 * rating_pass takes the next committed batches and, in one transaction, writes their lines, adds them to the hourly and
 * daily sums, and moves the cursor: after a crash at any point everything is as if the pass had not begun or had ended.
 * Any number of replicas may run it; the cursor's row lock lets one work at a time.
 *
 *     RatingPass pass;
 *     TRY(rating_pass(db, arena, book, &pass));          // db of role worker
 *     if (pass.events == 0) wait();
 *
 * rerate looks at the events of one organization in a span of time with today's book: where a line would be another
 * now, it writes a reversal of the old one and the new one, under a run of their own. With `dry_run` it only tells.
 */
#ifndef LEDGER_RATING_H
#define LEDGER_RATING_H

#include "ledger/rate.h"

#define RATING_BATCHES_MAX 16

typedef struct RatingPass {
    size_t batches, events, lines;
    bool busy; /* another replica holds the cursor */
} RatingPass;

CHECKED Err rating_pass(Db *db, Arena *arena, const PriceBook *book, RatingPass *ret_pass);

typedef struct Rerate {
    Uuid org;
    Time from, to; /* of the events' ids */
    Str reason;
    bool dry_run;
} Rerate;

typedef struct RerateReport {
    int64_t run; /* 0 with dry_run, and when nothing changed */
    int64_t events, lines_changed;
    MoneySum amount_before, amount_after; /* of the changed lines */
    int64_t unrated_before, unrated_after;
} RerateReport;

extern const FieldTable RERATE_REPORT_FIELDS;

CHECKED Err rerate(Db *db, const PriceBook *book, const Rerate *what, RerateReport *ret_report);

/* How many sums of these organizations differ from what their lines say, between two hours; 0 when all is well. */
CHECKED Err rollup_check(Db *db, Arena *arena, Uuids orgs, Time from, Time to, int64_t *ret_differences);

/* Makes the sums of whole days again from their lines, in one transaction that keeps rating out; the rows are the same.
 */
CHECKED Err rollup_rebuild(Db *db, Arena *arena, Uuids orgs, Time from, Time to);

#endif
