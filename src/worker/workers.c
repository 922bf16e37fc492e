/*
 * workers.c: every background thread there is. A new one is one more row.
 */
#include "worker/worker.h"

#include "base/log.h"
#include "keeper/client.h"
#include "snapshot/publish.h"
#include "store/sql.h"
#include "worker/audit.h"
#include "worker/rating.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static Pool *open_pool(const char *role, Str conninfo)
{
    PoolOptions options = { .conninfo = conninfo,
        .role = str_from_c(role),
        .size_max = 2,
        .take_timeout_ms = 2000,
        .statement_timeout_ms = 30000 };
    Pool *pool = NULL;
    Err err = pool_open(&options, &pool);
    if (err.kind != ERR_NONE)
        die("the pool of role %s cannot be made: " STR_FMT, role, STR_ARG(err.detail));
    return pool;
}

/* --- the audit log --- */

static Err sign_checkpoint(void *context, Arena *arena, const Checkpoint *checkpoint, Str *ret_note)
{
    CheckpointAsk ask = { .origin = checkpoint->origin, .size = (int64_t)checkpoint->size, .root = checkpoint->root };
    return keeper_sign_checkpoint(context, arena, &ask, ret_note);
}

static void run_audit(const WorkerContext *context, const _Atomic bool *stop)
{
    AuditWorker worker = { .pool = open_pool("worker", context->worker_conninfo),
        .signer = { .context = context->keeper, .sign = sign_checkpoint } };
    audit_worker_run(&worker, stop);
    pool_free(&worker.pool);
}

/* --- the ledger --- */

static void run_rating(const WorkerContext *context, const _Atomic bool *stop)
{
    RatingWorker worker = { .pool = open_pool("worker", context->worker_conninfo) };
    rating_worker_run(&worker, stop);
    rating_worker_release(&worker);
    pool_free(&worker.pool);
}

static void run_ledger_keeper(const WorkerContext *context, const _Atomic bool *stop)
{
    Pool *pool = open_pool("worker", context->worker_conninfo);
    ledger_keeper_run(pool, stop);
    pool_free(&pool);
}

/* --- the publisher --- */

static void wait_for(const _Atomic bool *stop)
{
    while (!*stop)
        nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
}

static void run_publisher(const WorkerContext *context, const _Atomic bool *stop)
{
    PublisherOptions options = { .pool = { .conninfo = context->publish_conninfo,
                                     .role = STR("publish"),
                                     .size_max = 4,
                                     .take_timeout_ms = 2000,
                                     .statement_timeout_ms = 30000 },
        .keeper = context->keeper };
    Publisher *publisher = NULL;
    if (context->publish_conninfo.len == 0)
        return;
    Err err = publisher_open(&options, &publisher);
    if (err.kind != ERR_NONE) {
        log_err("nothing will be published", err);
        return;
    }
    publisher_start(publisher);
    wait_for(stop);
    publisher_stop(&publisher);
}

/* --- housekeeping: what nobody needs any more is forgotten --- */

#define KEEPING_TURN_S 60
#define IDEMPOTENCY_KEEP_S (24 * 3600)

typedef struct Forget {
    Time before;
    int64_t count;
} Forget;
static const Field forget_fields[] = {
    FIELD(Forget, before, .internal = true),
    FIELD(Forget, count, .internal = true),
};
static const FieldTable FORGET_FIELDS = FIELD_TABLE(Forget, forget_fields);

static Err keep_house(Pool *pool, Arena *arena)
{
    Time now = time_now();
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    Forget keys = { .before = time_add_s(now, -IDEMPOTENCY_KEEP_S) }, tokens = { .before = now }, gone = tokens;
    TRY(db_one(lease.db, arena, &SQL_HOUSE_PURGE_PROJECTS, REC(&FORGET_FIELDS, &gone), REC(&FORGET_FIELDS, &gone)));
    TRY(db_one(lease.db, arena, &SQL_HOUSE_FORGET_KEYS, REC(&FORGET_FIELDS, &keys), REC(&FORGET_FIELDS, &keys)));
    return db_one(
        lease.db, arena, &SQL_HOUSE_FORGET_TOKENS, REC(&FORGET_FIELDS, &tokens), REC(&FORGET_FIELDS, &tokens));
}

static void rest(int seconds, const _Atomic bool *stop)
{
    for (int i = 0; i < seconds * 10 && !*stop; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
}

static void run_keeping(const WorkerContext *context, const _Atomic bool *stop)
{
    Pool *pool = open_pool("worker", context->worker_conninfo);
    ErrKind last = ERR_NONE;
    while (!*stop) {
        _cleanup_(arena_free) Arena *arena = arena_new();
        Err err = keep_house(pool, arena);
        if (err.kind != ERR_NONE && err.kind != last)
            log_err("old idempotency keys and tokens could not be forgotten", err);
        last = err.kind;
        rest(KEEPING_TURN_S, stop);
    }
    pool_free(&pool);
}

/* --- what /metrics tells --- */

static void run_signs(const WorkerContext *context, const _Atomic bool *stop)
{
    if (context->signs == NULL)
        return;
    Pool *pool = open_pool("worker", context->worker_conninfo);
    while (!*stop) {
        signs_look(context->signs, pool, context->keeper);
        rest(SIGNS_EVERY_S, stop);
    }
    pool_free(&pool);
}

static const Worker WORKERS[] = {
    { "audit", run_audit },
    { "publisher", run_publisher },
    { "rating", run_rating },
    { "ledger-keeper", run_ledger_keeper },
    { "keeping", run_keeping },
    { "signs", run_signs },
};

/* --- threads --- */

typedef struct WorkerThread {
    Workers *workers;
    const Worker *worker;
    pthread_t thread;
    bool running;
} WorkerThread;

struct Workers {
    Arena *arena;
    WorkerContext context;
    WorkerThread threads[COUNT_OF(WORKERS)];
    _Atomic bool stop;
};

static void *run_worker(void *arg)
{
    WorkerThread *thread = arg;
    thread->worker->run(&thread->workers->context, &thread->workers->stop);
    return NULL;
}

Err workers_start(const WorkerContext *context, Workers **ret_workers)
{
    Arena *arena = arena_new();
    Workers *workers = NEW(arena, Workers, 1);
    workers->arena = arena;
    workers->context = *context;
    for (size_t i = 0; i < COUNT_OF(WORKERS); i++) {
        WorkerThread *thread = &workers->threads[i];
        *thread = (WorkerThread){ .workers = workers, .worker = &WORKERS[i] };
        thread->running = pthread_create(&thread->thread, NULL, run_worker, thread) == 0;
        if (!thread->running) {
            workers_stop(&workers);
            return FAIL(ERR_INTERNAL, "no-thread", "A thread could not be started.");
        }
    }
    *ret_workers = workers;
    return OK;
}

void workers_stop(Workers **workers)
{
    Workers *w = *workers;
    if (w == NULL)
        return;
    *workers = NULL;
    w->stop = true;
    for (size_t i = 0; i < COUNT_OF(WORKERS); i++)
        if (w->threads[i].running)
            pthread_join(w->threads[i].thread, NULL);
    Arena *arena = w->arena;
    arena_free(&arena);
}
