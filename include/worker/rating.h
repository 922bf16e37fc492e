/*
 * rating.h: the thread that rates what data planes reported, and the one that keeps the ledger's house: days made
 * ahead, rated batches forgotten. Any number of replicas may run both.
 */
#ifndef WORKER_RATING_H
#define WORKER_RATING_H

#include "ledger/rating.h"

#define RATING_IDLE_MS 100 /* between turns that found nothing */
#define LEDGER_DAYS_AHEAD 3
#define LEDGER_KEEPING_S 600

typedef struct RatingWorker {
    Pool *pool;            /* role worker */
    PriceBook *book;       /* freed by rating_worker_release */
    int64_t events, lines; /* since the start */
} RatingWorker;

void rating_worker_release(RatingWorker *worker);
/* One turn: the next batches, if any. *ret_more: something may be left. */
CHECKED Err rating_turn(RatingWorker *worker, Arena *arena, bool *ret_more);
/* Turns until `stop` is set (an atomic flag of the caller); errors are logged when they change. */
void rating_worker_run(RatingWorker *worker, const _Atomic bool *stop);

/* Makes the coming days' partitions; harmless when they are there. */
CHECKED Err ledger_keep(Pool *pool, Arena *arena, int64_t *ret_days_made);
void ledger_keeper_run(Pool *pool, const _Atomic bool *stop);

#endif
