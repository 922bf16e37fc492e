/*
 * publisher.c: rounds, and the thread that runs them.
 */
#include "parts.h"

#include "base/log.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LEASE_TTL_MS 15000
#define SWEEP_EVERY_US (600 * US_PER_S)
#define RETRY_MS_MAX 5000

typedef struct PublisherThread {
    pthread_t thread;
} PublisherThread;

Err publisher_open(const PublisherOptions *options, Publisher **ret_publisher)
{
    Pool *pool = NULL;
    TRY(pool_open(&options->pool, &pool));
    Arena *arena = arena_new();
    Publisher *publisher = NEW(arena, Publisher, 1);
    publisher->arena = arena;
    publisher->options = *options;
    publisher->options.pool.conninfo = arena_str(arena, options->pool.conninfo);
    publisher->options.pool.role = arena_str(arena, options->pool.role);
    publisher->pool = pool;
    publisher->keeper = options->keeper;
    publisher->lease = (Lease){ .job = STR("publish"), .holder = uuid_v7(time_now()), .ttl_ms = LEASE_TTL_MS };
    *ret_publisher = publisher;
    return OK;
}

/* --- a round --- */

static Err with_db(Round *round, Err (*step)(Round *round))
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(round->publisher->pool, &lease));
    round->db = lease.db;
    Err err = step(round);
    if (err.kind != ERR_NONE)
        tx_rollback(round->db);
    round->db = NULL;
    return err;
}

/* Renewed well before its end and not in every round: a claim is a commit, and lease_hold fences each write anyway. */
static Err claim(Round *round)
{
    Publisher *publisher = round->publisher;
    bool held = monotonic_us() < publisher->claimed_until_us;
    if (!held) {
        TRY(lease_claim(round->db, round->arena, &publisher->lease, &held));
        publisher->claimed_until_us = held ? monotonic_us() + LEASE_TTL_MS / 3 * US_PER_MS : 0;
    }
    if (!held)
        return FAIL(ERR_CONFLICT, "lease-held", "Another replica publishes.");
    return round_read(round);
}

static Err commit(Round *round, int *ret_manifests)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(round->publisher->pool, &lease));
    round->db = lease.db;
    TRY(round_commit(round, ret_manifests));
    if (monotonic_us() - round->publisher->swept_us > SWEEP_EVERY_US)
        TRY(publisher_sweep(round->publisher, round->db, round->arena));
    return OK;
}

static Err run_round(Round *round, int *ret_manifests)
{
    TRY(with_db(round, claim));
    TRY(round_seal(round));
    TRY(round_build(round));
    TRY(with_db(round, round_shards));
    TRY(round_manifests(round));
    return commit(round, ret_manifests);
}

Err publisher_round(Publisher *publisher, int *ret_manifests)
{
    static _Thread_local char code[64];
    _cleanup_(arena_free) Arena *arena = arena_new();
    Round round = { .arena = arena, .publisher = publisher, .now = time_now() };
    int64_t began = monotonic_us();
    *ret_manifests = 0;
    Err err = run_round(&round, ret_manifests);
    publisher->rounds++;
    publisher->last_round_us = monotonic_us() - began;
    if (err.kind != ERR_NONE)
        publisher->claimed_until_us = 0;
    if (err.kind != ERR_NONE) { /* its words lie in the round's arena */
        Str kept = arena_fmt(arena, STR_FMT, STR_ARG(str_first(err.code, sizeof code - 1)));
        for (size_t i = 0; i <= kept.len; i++)
            code[i] = i < kept.len ? kept.ptr[i] : 0;
        return (Err){ .kind = err.kind, .code = str_from_c(code), .detail = STR("The round could not be published.") };
    }
    publisher->manifests += *ret_manifests;
    publisher->objects += (int64_t)round.object_count;
    publisher->sealed += round.sealed;
    return OK;
}

PublisherStats publisher_stats(const Publisher *publisher)
{
    return (PublisherStats){
        .rounds = publisher->rounds,
        .manifests = publisher->manifests,
        .objects = publisher->objects,
        .sealed = publisher->sealed,
        .failures = publisher->failures,
        .last_round_us = publisher->last_round_us,
    };
}

/* --- the thread --- */

static void sleep_us(int64_t us)
{
    struct timespec time = { .tv_sec = us / US_PER_S, .tv_nsec = us % US_PER_S * 1000 };
    nanosleep(&time, NULL);
}

/* Changes that come together go out together: a round begins at most every 20 ms. */
static void coalesce(int64_t began)
{
    int64_t rest = began + PUBLISH_COALESCE_US - monotonic_us();
    if (rest > 0)
        sleep_us(rest < PUBLISH_COALESCE_US ? rest : PUBLISH_COALESCE_US);
}

static Err open_listener(Publisher *publisher)
{
    static const char *const channels[] = { "reeve_publish" };
    if (publisher->listener != NULL)
        return OK;
    return listener_open(&publisher->options.pool, channels, COUNT_OF(channels), &publisher->listener);
}

static void log_failure(Publisher *publisher, Err err, unsigned failures)
{
    if (err_is(err, "lease-held"))
        return;
    publisher->failures++;
    if (failures <= 1)
        log_err("snapshots could not be published", err);
}

static int wait_ms(unsigned failures)
{
    if (failures == 0)
        return PUBLISH_POLL_MS;
    int64_t ceiling = INT64_C(100) << (failures < 7 ? failures : 7);
    return (int)random_below((uint64_t)(ceiling < RETRY_MS_MAX ? ceiling : RETRY_MS_MAX)) + 20;
}

static void *publish_thread(void *arg)
{
    Publisher *publisher = arg;
    unsigned failures = 0;
    while (!publisher->stopping) {
        int64_t began = monotonic_us();
        int manifests = 0;
        bool notified = false;
        Err err = open_listener(publisher); /* listen, then read */
        if (err.kind == ERR_NONE)
            err = publisher_round(publisher, &manifests);
        failures = err.kind == ERR_NONE || err_is(err, "lease-held") ? 0 : failures + 1;
        if (failures > 0)
            log_failure(publisher, err, failures);
        if (publisher->listener == NULL)
            sleep_us(wait_ms(failures) * US_PER_MS);
        else if (listener_wait(publisher->listener, wait_ms(failures), &notified).kind != ERR_NONE)
            sleep_us(100 * US_PER_MS);
        coalesce(began);
    }
    return NULL;
}

void publisher_start(Publisher *publisher)
{
    PublisherThread *thread = NEW(publisher->arena, PublisherThread, 1);
    if (pthread_create(&thread->thread, NULL, publish_thread, publisher) != 0)
        die("could not start the publisher's thread");
    publisher->thread = thread;
}

static void drop_lease(Publisher *publisher)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    Err err = db_lease(publisher->pool, &lease);
    if (err.kind == ERR_NONE)
        err = lease_drop(lease.db, arena, &publisher->lease);
    if (err.kind != ERR_NONE)
        log_err("the publisher's lease was left to run out", err);
}

void publisher_stop(Publisher **ret_publisher)
{
    Publisher *publisher = *ret_publisher;
    if (publisher == NULL)
        return;
    *ret_publisher = NULL;
    publisher->stopping = true;
    if (publisher->listener != NULL && eventfd_write(listener_wake_fd(publisher->listener), 1) < 0)
        log_warn("the publisher could not be woken", LOG_INT("fd", listener_wake_fd(publisher->listener)));
    if (publisher->thread != NULL)
        pthread_join(((PublisherThread *)publisher->thread)->thread, NULL);
    drop_lease(publisher);
    listener_free(&publisher->listener);
    pool_free(&publisher->pool);
    Arena *arena = publisher->arena;
    arena_free(&arena);
}
