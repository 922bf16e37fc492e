/*
 * ledger_load.h: both sides of the ledger's benches: our server taking events over HTTP, and plain libpq clients that
 * insert the very same rows, read back from the tables as binary arrays of 500.
 */
#ifndef SUPPORT_LEDGER_LOAD_H
#define SUPPORT_LEDGER_LOAD_H

#include "pg.h"
#include "usage_events.h"

typedef struct LedgerServer LedgerServer;

/* An HTTP server whose POST of a batch is ingest_batch on one of `threads` threads: 200 after commit. */
LedgerServer *ledger_server_start(Pool *ingest, unsigned threads);
uint16_t ledger_server_port(const LedgerServer *server);
void ledger_server_stop(LedgerServer **server);

/* Posts the batches from two clients, one connection each; seconds it took. Every verdict must be "stored". */
double load_post(uint16_t port, const Strs *batches);

/* The rows of the tables as parameters of raw inserts, 500 events each. With `rated`, charge rows and sums too. */
typedef struct RawRows RawRows;
RawRows *raw_rows_read(Str conninfo, bool rated);
void raw_rows_free(RawRows **rows);
/* Inserts them from two libpq clients into the emptied tables; seconds it took. */
double raw_rows_insert(Str conninfo, const RawRows *rows);

void ledger_empty(const PgDatabase *database);
/* Prints the one JSON line every bench ends with. */
typedef struct Figure {
    const char *name, *unit, *better;
    double value, goal; /* goal 0: none */
} Figure;
void figures_print(const char *bench, const Figure *figures, size_t count);

#endif
