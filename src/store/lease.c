/* lease.c: see lease.h. */
#include "store/lease.h"

#include "store/sql.h"

static const Field lease_fields[] = {
    FIELD(Lease, job, .internal = true),
    FIELD(Lease, holder, .internal = true),
    FIELD(Lease, ttl_ms, .internal = true),
    FIELD(Lease, epoch, .internal = true),
};
static const FieldTable LEASE = FIELD_TABLE(Lease, lease_fields);

Err lease_claim(Db *db, Arena *arena, Lease *lease, bool *ret_held)
{
    const DbCall call = { .stmt = &SQL_LEASE_CLAIM,
        .in = REC(&LEASE, lease),
        .out = REC(&LEASE, lease),
        .allow_none = true,
        .ret_found = ret_held };
    return db_pipeline(db, arena, &call, 1);
}

Err lease_hold(Db *db, Arena *arena, const Lease *lease)
{
    Lease found = *lease;
    Err err = db_one(db, arena, &SQL_LEASE_HOLD, REC(&LEASE, &found), REC(&LEASE, &found));
    if (err.kind == ERR_NOT_FOUND)
        return FAIL(ERR_CONFLICT, "lease-lost", "Another replica does this job now.");
    return err;
}

Err lease_drop(Db *db, Arena *arena, const Lease *lease)
{
    Lease mine = *lease;
    return db_exec(db, arena, &SQL_LEASE_DROP, REC(&LEASE, &mine), NULL);
}
