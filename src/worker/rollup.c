/* rollup.c: the ledger's housekeeping: partitions ahead of time, batches that rating is done with. */
#include "worker/rating.h"

#include "base/log.h"
#include "store/sql.h"

#include <time.h>

typedef struct Days {
    int64_t ahead, made;
} Days;
static const Field days_fields[] = { FIELD(Days, ahead, .internal = true), FIELD(Days, made, .internal = true) };
static const FieldTable DAYS_FIELDS = FIELD_TABLE(Days, days_fields);

Err ledger_keep(Pool *pool, Arena *arena, int64_t *ret_days_made)
{
    Days days = { .ahead = LEDGER_DAYS_AHEAD };
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    TRY(db_one(lease.db, arena, &SQL_LEDGER_PARTITIONS_AHEAD, REC(&DAYS_FIELDS, &days), REC(&DAYS_FIELDS, &days)));
    TRY(db_exec(lease.db, arena, &SQL_LEDGER_BATCHES_FORGET, REC_NONE, NULL));
    *ret_days_made = days.made;
    return OK;
}

void ledger_keeper_run(Pool *pool, const _Atomic bool *stop)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    int64_t next_us = 0;
    while (!*stop) {
        if (monotonic_us() >= next_us) {
            int64_t made = 0;
            Err err = ledger_keep(pool, arena, &made);
            if (err.kind != ERR_NONE)
                log_err("the ledger's days cannot be made", err);
            else if (made > 0)
                log_info("days of the ledger were made", LOG_INT("days", made));
            next_us = monotonic_us() + (err.kind == ERR_NONE ? LEDGER_KEEPING_S : 5) * US_PER_S;
            arena_clear(arena);
        }
        nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
    }
}
