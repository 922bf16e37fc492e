/*
 * audit.h: the thread that sequences and signs audit logs, every 200 ms. Several replicas may run it: a lease chooses
 * one, and its epoch fences the others off. Unsigned heads of a time without a keeper are signed when it is back.
 */
#ifndef WORKER_AUDIT_H
#define WORKER_AUDIT_H

#include "domain/audit.h"

typedef struct AuditWorker {
    Pool *pool; /* role worker */
    CheckpointSigner signer;
    Lease lease;
    int64_t sequenced; /* leaves, since the start */
    int64_t checkpoints;
} AuditWorker;

#define AUDIT_TURN_MS 200

/* One turn: sequence what waits, sign what grew. *ret_more: something may be left. */
CHECKED Err audit_turn(AuditWorker *worker, Arena *arena, bool *ret_more);
/* Turns until `stop` is set (an atomic flag of the caller); errors are logged when they change. */
void audit_worker_run(AuditWorker *worker, const _Atomic bool *stop);

#endif
