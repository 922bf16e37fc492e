/*
 * verify.h: the check of an organization's account: are the sums what the lines say, has every attempt a line, is
 * anything missing, kept aside or without a price?
 *
 *     UsageVerdict verdict;
 *     TRY(usage_verify(db, arena, from, to, now, &verdict));
 *     if (!verdict.healthy) ...
 *
 * Everything is looked at in one statement, and so at one moment: rating that goes on beside it disturbs nothing. It
 * reads every line of its span, which is therefore short.
 */
#ifndef LEDGER_VERIFY_H
#define LEDGER_VERIFY_H

#include "store/db.h"

#define VERIFY_SPAN_MAX_US (31 * US_PER_DAY)

typedef struct UsageCheck {
    Str check;  /* "hourly-sums", ... */
    Str found;  /* a whole number */
    bool wrong; /* something was found that must not be */
    Str detail; /* what it counts */
} UsageCheck;

typedef struct UsageVerdict {
    Time from, to; /* whole hours, as used */
    Time complete_to;
    bool healthy;
    List checks; /* UsageCheck */
} UsageVerdict;

/* In a transaction (or implicit one) whose tenant is set. Without `from` the last day, without `to` until now. */
CHECKED Err usage_verify(Db *db, Arena *arena, Time from, Time to, Time now, UsageVerdict *ret_verdict);

json_t *usage_verdict_json(Arena *arena, const UsageVerdict *verdict); /* a new reference */

#endif
