/*
 * pool.c: connections of one database role, made when they are needed, checked before they are lent, closed in doubt.
 *
 * The circuit: after a failed attempt to connect nobody tries again before a random moment within a growing bound, so
 * that a database that comes back is not met by everyone at once; in between a take fails at once.
 */
#include "internal.h"

#include "store/sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKOFF_BASE_MS 50
#define BACKOFF_MAX_MS 2000
#define POOL_SIZE_MAX 1024

static void check_pool(const Pool *pool)
{
    if (pool == NULL || pool->magic != POOL_MAGIC)
        die("not a pool");
}

/* "api" in "api worker" */
static bool has_role(const char *roles, Str role)
{
    Str rest = str_from_c(roles);
    while (rest.len > 0) {
        Str head;
        str_cut(rest, ' ', &head, &rest);
        if (str_eq(head, role))
            return true;
    }
    return false;
}

static int by_address(const void *a, const void *b)
{
    const Stmt *left = *(const Stmt *const *)a;
    const Stmt *right = *(const Stmt *const *)b;
    return (left > right) - (left < right);
}

/* What db.c itself runs, whichever statements the pool has. */
static const Stmt *const own_statements[] = { &SQL_TENANT_SET, &SQL_COMMIT_MARK, &SQL_COMMIT_ASK };

static bool is_own(const Stmt *stmt)
{
    for (size_t i = 0; i < COUNT_OF(own_statements); i++)
        if (stmt == own_statements[i])
            return true;
    return false;
}

static void choose_statements(Pool *pool)
{
    const Stmt *const *all = pool->options.statements != NULL ? pool->options.statements : ALL_STATEMENTS;
    size_t total = 0;
    while (all[total] != NULL)
        total++;
    pool->statements = NEW(pool->arena, const Stmt *, total + COUNT_OF(own_statements));
    for (size_t i = 0; i < COUNT_OF(own_statements); i++)
        pool->statements[pool->statement_count++] = own_statements[i];
    for (size_t i = 0; i < total; i++)
        if (has_role(all[i]->roles, pool->options.role) && !is_own(all[i]))
            pool->statements[pool->statement_count++] = all[i];
    qsort(pool->statements, pool->statement_count, sizeof(*pool->statements), by_address);
}

Err pool_open(const PoolOptions *options, Pool **ret_pool)
{
    if (options->size_max == 0 || options->size_max > POOL_SIZE_MAX)
        return FAIL(ERR_INVALID, "bad-pool-size", "A database pool has from 1 to 1024 connections.");
    Arena *arena = arena_new();
    Pool *pool = NEW(arena, Pool, 1);
    *pool = (Pool){ .magic = POOL_MAGIC, .arena = arena, .options = *options };
    pool->options.conninfo = arena_str(arena, options->conninfo);
    pool->options.role = arena_str(arena, options->role);
    if (pool->options.take_timeout_ms <= 0)
        pool->options.take_timeout_ms = 2000;
    if (pool->options.statement_timeout_ms <= 0)
        pool->options.statement_timeout_ms = 5000;
    pool->idle = NEW(arena, Db *, options->size_max);
    pool->sentences.arena = arena_new();
    choose_statements(pool);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->given, &attributes);
    pthread_condattr_destroy(&attributes);
    *ret_pool = pool;
    return OK;
}

static void db_free(Db *db)
{
    db_disconnect(db);
    db->magic = 0;
    Arena *home = db->home;
    arena_free(&home);
}

void pool_free(Pool **pool_at)
{
    Pool *pool = *pool_at;
    if (pool == NULL)
        return;
    check_pool(pool);
    if (pool->idle_count != pool->open_count)
        die("a pool is freed while %u of its connections are lent", pool->open_count - pool->idle_count);
    for (unsigned i = 0; i < pool->idle_count; i++)
        db_free(pool->idle[i]);
    pthread_cond_destroy(&pool->given);
    pthread_mutex_destroy(&pool->lock);
    arena_free(&pool->sentences.arena);
    pool->magic = 0;
    Arena *arena = pool->arena;
    arena_free(&arena);
    *pool_at = NULL;
}

/* --- the circuit ---------------------------------------------------------------------------------------------------
 */

static bool circuit_allows(Pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool allows = monotonic_us() >= pool->closed_until_us;
    pthread_mutex_unlock(&pool->lock);
    return allows;
}

static void circuit_note(Pool *pool, bool connected)
{
    pthread_mutex_lock(&pool->lock);
    pool->up = connected;
    pool->stats.connects += connected;
    pool->stats.connect_failures += !connected;
    pool->failures = connected ? 0 : pool->failures + 1;
    if (!connected) {
        uint64_t bound_ms = BACKOFF_BASE_MS;
        for (unsigned i = 1; i < pool->failures && bound_ms < BACKOFF_MAX_MS; i++)
            bound_ms *= 2;
        if (bound_ms > BACKOFF_MAX_MS)
            bound_ms = BACKOFF_MAX_MS;
        pool->closed_until_us = monotonic_us() + (int64_t)random_below(bound_ms + 1) * US_PER_MS;
    } else {
        pool->closed_until_us = 0;
    }
    pthread_mutex_unlock(&pool->lock);
}

bool pool_is_up(const Pool *pool)
{
    check_pool(pool);
    Pool *open = (Pool *)pool; /* the lock is not part of what the pool says */
    pthread_mutex_lock(&open->lock);
    bool up = open->up;
    pthread_mutex_unlock(&open->lock);
    return up;
}

PoolStats pool_stats(Pool *pool)
{
    check_pool(pool);
    pthread_mutex_lock(&pool->lock);
    PoolStats stats = pool->stats;
    stats.size = pool->options.size_max;
    stats.lent = pool->open_count - pool->idle_count;
    pthread_mutex_unlock(&pool->lock);
    return stats;
}

/* --- taking and giving ---------------------------------------------------------------------------------------------
 */

static Db *db_new(Pool *pool)
{
    Arena *home = arena_new();
    Db *db = NEW(home, Db, 1);
    *db = (Db){ .magic = DB_MAGIC, .pool = pool, .home = home };
    return db;
}

/* An idle connection, or a new one while there is room, or what another gives back in time; NULL when none is. */
static Db *claim(Pool *pool)
{
    int64_t until_us = monotonic_us() + pool->options.take_timeout_ms * US_PER_MS;
    struct timespec until = { .tv_sec = until_us / US_PER_S, .tv_nsec = until_us % US_PER_S * 1000 };
    Db *db = NULL;
    pthread_mutex_lock(&pool->lock);
    bool waits = pool->idle_count == 0 && pool->open_count == pool->options.size_max;
    pool->stats.takes++;
    pool->stats.waits += waits;
    while (pool->idle_count == 0 && pool->open_count == pool->options.size_max)
        if (pthread_cond_timedwait(&pool->given, &pool->lock, &until) == ETIMEDOUT)
            break;
    if (pool->idle_count > 0) {
        db = pool->idle[--pool->idle_count];
    } else if (pool->open_count < pool->options.size_max) {
        pool->open_count++;
        db = db_new(pool);
    }
    pool->stats.busy += db == NULL;
    pthread_mutex_unlock(&pool->lock);
    return db;
}

static void put_back(Pool *pool, Db *db)
{
    pthread_mutex_lock(&pool->lock);
    pool->idle[pool->idle_count++] = db;
    pthread_cond_signal(&pool->given);
    pthread_mutex_unlock(&pool->lock);
}

static Err make_ready(Pool *pool, Db *db)
{
    if (db->connection != NULL && connection_is_idle_and_well(db->connection))
        return OK;
    db_disconnect(db);
    if (!circuit_allows(pool))
        return error_unavailable();
    Err err = db_connect(db, monotonic_us() + CONNECT_DEADLINE_MS * US_PER_MS);
    circuit_note(pool, err.kind == ERR_NONE);
    return err;
}

Err pool_take(Pool *pool, Db **ret_db)
{
    check_pool(pool);
    Db *db = claim(pool);
    if (db == NULL) {
        Err err = FAIL(ERR_UNAVAILABLE, "database-busy", "All connections to the database are in use; try again.");
        err.retry_after_s = 1;
        return err;
    }
    Err err = make_ready(pool, db);
    if (err.kind != ERR_NONE) {
        put_back(pool, db);
        return err;
    }
    *ret_db = db;
    return OK;
}

void pool_give(Pool *pool, Db **db)
{
    check_pool(pool);
    if (*db == NULL)
        return;
    db_reset(*db);
    put_back(pool, *db);
    *db = NULL;
}

Err db_lease(Pool *pool, DbLease *ret_lease)
{
    Db *db;
    TRY(pool_take(pool, &db));
    *ret_lease = (DbLease){ .pool = pool, .db = db };
    return OK;
}

void db_lease_release(DbLease *lease)
{
    if (lease->pool != NULL)
        pool_give(lease->pool, &lease->db);
    *lease = (DbLease){ 0 };
}
