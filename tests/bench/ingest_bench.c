/*
 * ingest_bench.c: usage events over HTTP, durable and deduplicated, two posting clients; against raw inserts of the
 * same rows by two libpq clients, 500 events a statement, into the same tables. fsync is on for both.
 */
#include "base/json.h"
#include "support/ledger_load.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 5 /* and one before them that is not counted: caches, prepared plans, the first pages of files */
#define BATCH 500

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static Strs batches_make(Arena *arena, EventMix *mix, size_t events)
{
    Strs batches = { .items = NEW(arena, Str, events / BATCH), .count = events / BATCH };
    for (size_t i = 0; i < batches.count; i++)
        batches.items[i] = events_batch(arena, events_make(arena, mix, BATCH).items, BATCH);
    return batches;
}

int main(int argc, char **argv)
{
    json_start();
    size_t events = argc > 1 ? strtoul(argv[1], NULL, 10) : 30000;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PgServer *server = pg_start();
    PgDatabase database = pg_database_new(server);
    pg_found(&database);
    (void)pg_sql(arena, &database, "super", "alter system set fsync = on");
    (void)pg_sql(arena, &database, "super", "alter system set max_wal_size = '4GB'");
    (void)pg_sql(arena, &database, "super", "select pg_reload_conf()");
    Pool *ingest = pg_pool(&database, "ingest", 2);
    LedgerServer *ours = ledger_server_start(ingest, 2);
    Str super = pg_conninfo(arena, &database, "super");
    EventMix mix = event_mix(1, PG_ORG_A, PG_ORG_B, time_add_s(time_now(), -7200));
    mix.plain = true;
    double ratios[ROUNDS], ours_s[ROUNDS], raw_s[ROUNDS];
    for (size_t turn = 0; turn <= ROUNDS; turn++) {
        size_t round = turn == 0 ? 0 : turn - 1;
        _cleanup_(arena_free) Arena *own = arena_new();
        Strs batches = batches_make(own, &mix, events);
        ledger_empty(&database);
        ours_s[round] = load_post(ledger_server_port(ours), &batches);
        RawRows *rows = raw_rows_read(super, /* rated= */ false);
        ledger_empty(&database);
        raw_s[round] = raw_rows_insert(super, rows);
        raw_rows_free(&rows);
        ratios[round] = raw_s[round] / ours_s[round];
        fprintf(stderr, "round %zu: %.0f events/s over HTTP, %.0f raw, %.2f\n", turn, (double)events / ours_s[round],
            (double)events / raw_s[round], ratios[round]);
    }
    qsort(ratios, ROUNDS, sizeof(double), by_value);
    qsort(ours_s, ROUNDS, sizeof(double), by_value);
    qsort(raw_s, ROUNDS, sizeof(double), by_value);
    ledger_server_stop(&ours);
    pool_free(&ingest);
    pg_database_drop(&database);
    pg_stop(&server);
    const Figure figures[] = {
        { "ingest_to_raw", "ratio", "higher", ratios[ROUNDS / 2], 0.40 },
        { "events_per_s", "1/s", "higher", (double)events / ours_s[ROUNDS / 2], 0 },
        { "raw_events_per_s", "1/s", "higher", (double)events / raw_s[ROUNDS / 2], 0 },
    };
    figures_print("ingest", figures, sizeof(figures) / sizeof(figures[0]));
    return 0;
}
