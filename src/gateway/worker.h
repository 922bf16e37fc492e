/*
 * worker.h: one I/O thread of the gateway and all that belongs to it: loop, server, client, spool writer, locked slab,
 * counters. Nothing here is shared but the spool and the truth, which are safe for threads.
 */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include <pthread.h>

#include "crypto/secret.h"
#include "gateway/spool.h"
#include "http/client.h"
#include "metrics.h"
#include "gateway/truth.h"

#define SECRET_SLOT_BYTES 4096
#define SECRET_SLOTS 4

/* What a route leaves open. */
typedef struct RouteDefaults {
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    int64_t retry_budget_ms, retry_base_ms, retry_max_ms, retry_attempts;
} RouteDefaults;

typedef struct WorkerOptions {
    Truth truth;
    Spool *spool;
    ServerOptions server;
    RouteDefaults defaults;
    size_t body_bytes_max, response_bytes_max;
    int64_t calls_max; /* in flight in this worker */
    unsigned connections_idle_max;
    int64_t keepalive_us, stall_us;
    bool allow_private_upstreams;
    Str upstream_ca_pem;
} WorkerOptions;

typedef struct Call Call;

typedef struct Worker {
    WorkerOptions options;
    Arena *scratch;
    Loop *loop;
    Server *server;
    Client *client;
    SpoolWriter *writer;
    SecretSlab *slab;
    Buf event;       /* where events are written before they are copied to the spool */
    Call *unflushed; /* calls whose intent goes out at the end of this turn */
    int64_t calls;   /* in flight */
    int64_t streams;
    char data_plane[40];
    Metrics metrics;
    Timer *retry_flush; /* runs while the spool could not take our events */
    pthread_t thread;
    bool running;
} Worker;

CHECKED Err worker_start(const WorkerOptions *options, Worker **ret_worker); /* its thread runs */
/* Stops accepting, waits for calls in flight at most within_us, ends the thread. Any other thread. */
void worker_drain(Worker *worker, int64_t within_us); /* begins it */
void worker_free(Worker **worker);                    /* joins the thread and frees */

#endif
