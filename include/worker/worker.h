/*
 * worker.h: the background threads of the control plane: one row each in workers.c.
 *
 * A worker runs until `stop` is set; it takes what it needs from the context, opens its own pools, and logs its own
 * errors when they change.
 *
 *     static void run_audit(const WorkerContext *context, const _Atomic bool *stop) { … }
 *     static const Worker WORKERS[] = { { "audit", run_audit }, … };
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "domain/ctx.h"
#include "worker/signs.h"

typedef struct WorkerContext {
    Str worker_conninfo, publish_conninfo;
    struct KeeperClient *keeper;
    World world;
    Signs *signs; /* NULL: nobody looks */
} WorkerContext;

typedef struct Worker {
    const char *name;
    void (*run)(const WorkerContext *context, const _Atomic bool *stop);
} Worker;

typedef struct Workers Workers;
CHECKED Err workers_start(const WorkerContext *context, Workers **ret_workers);
void workers_stop(Workers **workers); /* sets every stop flag, then joins */

#endif
