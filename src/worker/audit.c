/* audit.c: turns of the audit sequencer. See audit.h. */
#include "worker/audit.h"

#include "base/log.h"

#include <time.h>

#define ORGS_PER_TURN 256
#define LEASE_MS 10000

static Err sequence_waiting(AuditWorker *worker, Db *db, Arena *arena, bool *ret_more)
{
    Uuids orgs = { 0 };
    TRY(audit_waiting(db, arena, ORGS_PER_TURN, &orgs));
    for (size_t i = 0; i < orgs.count; i++) {
        int64_t count = 0;
        TRY(audit_sequence(db, arena, &worker->lease, orgs.items[i], &count));
        worker->sequenced += count;
    }
    *ret_more = orgs.count > 0;
    return OK;
}

static Err sign_grown(AuditWorker *worker, Db *db, Arena *arena)
{
    Uuids orgs = { 0 };
    TRY(audit_unsigned(db, arena, ORGS_PER_TURN, &orgs));
    for (size_t i = 0; i < orgs.count; i++) {
        TRY(audit_sign(db, arena, &worker->lease, orgs.items[i], &worker->signer));
        worker->checkpoints++;
    }
    return OK;
}

Err audit_turn(AuditWorker *worker, Arena *arena, bool *ret_more)
{
    *ret_more = false;
    if (uuid_is_zero(worker->lease.holder))
        worker->lease = (Lease){ .job = STR("audit"), .holder = uuid_v7(time_now()), .ttl_ms = LEASE_MS };
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(worker->pool, &lease));
    bool held = false;
    TRY(lease_claim(lease.db, arena, &worker->lease, &held));
    if (!held)
        return OK;
    TRY(sequence_waiting(worker, lease.db, arena, ret_more));
    return sign_grown(worker, lease.db, arena);
}

static void rest(int64_t turn_start_us)
{
    int64_t left_us = AUDIT_TURN_MS * US_PER_MS - (monotonic_us() - turn_start_us);
    if (left_us > 0)
        nanosleep(&(struct timespec){ .tv_nsec = left_us * 1000 }, NULL);
}

void audit_worker_run(AuditWorker *worker, const _Atomic bool *stop)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    ErrKind last = ERR_NONE;
    while (!*stop) {
        int64_t start_us = monotonic_us();
        bool more;
        Err err = audit_turn(worker, arena, &more);
        if (err.kind != ERR_NONE && err.kind != last)
            log_err("the audit log cannot be sequenced", err);
        else if (err.kind == ERR_NONE && last != ERR_NONE)
            log_info("the audit log is sequenced again", LOG_INT("leaves", worker->sequenced));
        last = err.kind;
        arena_clear(arena);
        rest(start_us);
    }
}
