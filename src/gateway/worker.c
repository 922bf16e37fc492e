/* worker.c: see worker.h. */
#include "worker.h"

#include "base/log.h"
#include "base/mem.h"
#include "call.h"

#define EVENT_BYTES_MAX ((size_t)SPOOL_RECORD_MAX)

static void *run(void *arg)
{
    Worker *worker = arg;
    loop_run(worker->loop);
    return NULL;
}

static Err open_worker(Worker *worker)
{
    ServerOptions server = worker->options.server;
    TRY(loop_new(&worker->loop));
    TRY(client_new(worker->loop, worker->options.connections_idle_max, &worker->client));
    server.admit = call_admit;
    server.on_request = call_begin;
    server.shape_error = call_shape_error;
    server.arg = worker;
    TRY(server_start(worker->loop, &server, &worker->server));
    loop_on_turn_end(worker->loop, call_turn_end, worker);
    return OK;
}

Err worker_start(const WorkerOptions *options, Worker **ret_worker)
{
    Worker *worker = MEM_NEW(Worker, 1);
    worker->options = *options;
    worker->scratch = arena_new();
    worker->event = buf_new(EVENT_BYTES_MAX);
    worker->writer = spool_writer_new(options->spool);
    worker->slab = secret_slab_new(SECRET_SLOT_BYTES, SECRET_SLOTS);
    Err err = open_worker(worker);
    if (err.kind != ERR_NONE) {
        worker_free(&worker);
        return err;
    }
    worker->running = pthread_create(&worker->thread, NULL, run, worker) == 0;
    if (!worker->running)
        die("could not start a thread");
    *ret_worker = worker;
    return OK;
}

typedef struct Drain {
    Worker *worker;
    int64_t within_us;
} Drain;

static void drained(void *arg)
{
    Worker *worker = arg;
    loop_stop(worker->loop);
}

static void begin_drain(void *arg)
{
    Drain *drain = arg;
    server_drain(drain->worker->server, drain->within_us, drained, drain->worker);
    mem_free(drain);
}

void worker_drain(Worker *worker, int64_t within_us)
{
    Drain *drain = MEM_NEW(Drain, 1);
    *drain = (Drain){ .worker = worker, .within_us = within_us };
    loop_post(worker->loop, begin_drain, drain);
}

void worker_free(Worker **worker_ptr)
{
    Worker *worker = *worker_ptr;
    if (worker == NULL)
        return;
    *worker_ptr = NULL;
    if (worker->running)
        pthread_join(worker->thread, NULL);
    timer_cancel(&worker->retry_flush);
    client_free(&worker->client);
    server_free(&worker->server);
    spool_writer_free(&worker->writer);
    loop_free(&worker->loop);
    secret_slab_free(&worker->slab);
    buf_release(&worker->event);
    arena_free(&worker->scratch);
    mem_free(worker);
}
