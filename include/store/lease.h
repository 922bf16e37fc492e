/*
 * lease.h: a background job is done by one replica at a time, and a replica that slept through its lease writes
 * nothing more.
 *
 *     Lease lease = { .job = STR("audit"), .holder = uuid_v7(time_now()), .ttl_ms = 10000 };
 *     TRY(lease_claim(db, arena, &lease, &held));            before each turn; renews
 *     TRY(tx_begin(db)); TRY(lease_hold(db, arena, &lease)); first thing in each writing transaction of the job
 */
#ifndef STORE_LEASE_H
#define STORE_LEASE_H

#include "store/db.h"

typedef struct Lease {
    Str job;
    Uuid holder;
    int64_t ttl_ms;
    int64_t epoch; /* set by lease_claim; rises with each new holder */
} Lease;

CHECKED Err lease_claim(Db *db, Arena *arena, Lease *lease, bool *ret_held);
CHECKED Err lease_hold(Db *db, Arena *arena, const Lease *lease); /* ERR_CONFLICT "lease-lost" */
CHECKED Err lease_drop(Db *db, Arena *arena, const Lease *lease);

#endif
