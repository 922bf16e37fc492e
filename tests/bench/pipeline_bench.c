/*
 * pipeline_bench.c: from the first event posted to the last one rated, charge rows and sums written, while posting goes
 * on; against raw inserts of the same rows and an inline upsert of sums by two libpq clients. fsync is on for both.
 */
#include "base/json.h"
#include "support/ledger_load.h"
#include "worker/rating.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 3
#define BATCH 250

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

typedef struct Rating {
    RatingWorker worker;
    size_t events; /* until so many are rated */
} Rating;

static void *rate(void *arg)
{
    Rating *rating = arg;
    _cleanup_(arena_free) Arena *arena = arena_new();
    while ((size_t)rating->worker.events < rating->events) {
        bool more;
        Err err = rating_turn(&rating->worker, arena, &more);
        if (err.kind != ERR_NONE)
            die("rating: " STR_FMT " " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
        arena_clear(arena);
        if (!more)
            (void)sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    json_start();
    size_t events = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PgServer *server = pg_start();
    PgDatabase database = pg_database_new(server);
    pg_found(&database);
    (void)pg_sql(arena, &database, "super", "alter system set fsync = on");
    (void)pg_sql(arena, &database, "super", "alter system set max_wal_size = '4GB'");
    (void)pg_sql(arena, &database, "super", "select pg_reload_conf()");
    (void)pg_sql(arena, &database, "super", event_rates_sql(arena).ptr);
    Pool *ingest = pg_pool(&database, "ingest", 2), *worker = pg_pool(&database, "worker", 2);
    LedgerServer *ours = ledger_server_start(ingest, 2);
    Str super = pg_conninfo(arena, &database, "super");
    EventMix mix = event_mix(2, PG_ORG_A, PG_ORG_B, time_add_s(time_now(), -7200));
    mix.plain = true;
    double ratios[ROUNDS], ours_s[ROUNDS], raw_s[ROUNDS];
    for (size_t round = 0; round < ROUNDS; round++) {
        _cleanup_(arena_free) Arena *own = arena_new();
        Strs batches = { .items = NEW(own, Str, events / BATCH), .count = events / BATCH };
        for (size_t i = 0; i < batches.count; i++)
            batches.items[i] = events_batch(own, events_make(own, &mix, BATCH).items, BATCH);
        ledger_empty(&database);
        Rating rating = { .worker = { .pool = worker }, .events = batches.count * BATCH };
        pthread_t thread;
        int64_t start_us = monotonic_us();
        if (pthread_create(&thread, NULL, rate, &rating) != 0)
            die("no thread");
        (void)load_post(ledger_server_port(ours), &batches);
        pthread_join(thread, NULL);
        ours_s[round] = (double)(monotonic_us() - start_us) / 1e6;
        rating_worker_release(&rating.worker);
        RawRows *rows = raw_rows_read(super, /* rated= */ true);
        ledger_empty(&database);
        raw_s[round] = raw_rows_insert(super, rows);
        raw_rows_free(&rows);
        ratios[round] = raw_s[round] / ours_s[round];
        fprintf(stderr, "round %zu: %.0f events/s rated, %.0f raw, %.2f\n", round + 1, (double)events / ours_s[round],
            (double)events / raw_s[round], ratios[round]);
    }
    qsort(ratios, ROUNDS, sizeof(double), by_value);
    qsort(ours_s, ROUNDS, sizeof(double), by_value);
    qsort(raw_s, ROUNDS, sizeof(double), by_value);
    ledger_server_stop(&ours);
    pool_free(&ingest);
    pool_free(&worker);
    pg_database_drop(&database);
    pg_stop(&server);
    const Figure figures[] = {
        { "pipeline_to_raw", "ratio", "higher", ratios[ROUNDS / 2], 0.30 },
        { "rated_events_per_s", "1/s", "higher", (double)events / ours_s[ROUNDS / 2], 0 },
        { "raw_events_per_s", "1/s", "higher", (double)events / raw_s[ROUNDS / 2], 0 },
    };
    figures_print("pipeline", figures, sizeof(figures) / sizeof(figures[0]));
    return 0;
}
