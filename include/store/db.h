/*
 * db.h: PostgreSQL through named statements bound by member name. The home of libpq.
 *
 * Statements come from sql/<noun>.sql (`-- name: project_get`, parameters `:name`) as Stmt constants SQL_PROJECT_GET in
 * the generated "store/sql.h". Parameters are read from a Record and columns are written into a Record by name, through
 * its field table; a parameter or column without a field is refused when the pool starts (and by a test).
 * Every statement that a role may run is prepared when its connection opens.
 *
 *     TRY(db_one(db, arena, &SQL_PROJECT_GET, REC(&PROJECT_FIELDS, &key), REC(&PROJECT_FIELDS, &project)));
 *
 * Blocking, on a worker thread; no network call inside a transaction. A constraint's name is the error code: unique
 * constraint project_name_taken → ERR_CONFLICT "project-name-taken", its sentence is the comment on the constraint.
 * Raised exceptions with SQLSTATE RV4xx map likewise (RV401 unauthenticated, RV403, RV404, RV409, RV412, RV422, RV429),
 * message = code.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "base/field.h"

typedef struct Stmt {
    const char *name;
    const char *sql;               /* with $1... */
    const char *const *parameters; /* their names in order */
    size_t parameter_count;
    const char *roles; /* "api worker": from `-- roles:`; who prepares it */
} Stmt;

typedef struct Pool Pool; /* connections of one database role */
typedef struct Db Db;     /* one connection; one thread at a time */

typedef struct PoolOptions {
    Str conninfo; /* libpq's, without password; may name a passfile */
    Str role; /* "api", "worker", "publish", "ingest": which statements to prepare (SET ROLE is not used: the login is
                 it) */
    unsigned size_max;
    int take_timeout_ms; /* waiting for a free connection; then ERR_UNAVAILABLE "database-busy" */
    int statement_timeout_ms;
    const Stmt *const *statements; /* which to choose from, ending with NULL; NULL is all of sql/ */
} PoolOptions;

CHECKED Err pool_open(const PoolOptions *options, Pool **ret_pool); /* does not need the database to be up */
void pool_free(Pool **pool);
CHECKED Err pool_take(
    Pool *pool, Db **ret_db); /* connects or reconnects with a deadline; ERR_UNAVAILABLE "database-unavailable" */
void pool_give(Pool *pool, Db **db); /* rolls back what was left open; for _cleanup_ use DbLease */
bool pool_is_up(const Pool *pool);   /* last known state, for readiness */

typedef struct PoolStats {
    unsigned size, lent; /* now */
    uint64_t takes;
    uint64_t waits; /* of them, those that found every connection lent */
    uint64_t busy;  /* of them, those that waited in vain: "database-busy" */
    uint64_t connects, connect_failures;
} PoolStats;
PoolStats pool_stats(Pool *pool);

/* _cleanup_(db_lease_release) DbLease lease = {0}; TRY(db_lease(pool, &lease)); ... lease.db */
typedef struct DbLease {
    Pool *pool;
    Db *db;
} DbLease;
CHECKED Err db_lease(Pool *pool, DbLease *ret_lease);
void db_lease_release(DbLease *lease);

/* --- transactions; without one each call is its own --- */
CHECKED Err tx_begin(Db *db);
CHECKED Err tx_begin_read(Db *db); /* read only, repeatable read */
/* OK: saved. When the answer is lost, the outcome is learnt on a new connection: OK, or "database-unavailable" (not
 * saved, and never will be), or after eight seconds without a database "commit-unknown". */
CHECKED Err tx_commit(Db *db);
void tx_rollback(Db *db);
CHECKED Err tx_set_tenant(
    Db *db, Uuid org);          /* set_config('app.org', ..., true): for workers that take the tenant from a job row */
bool err_is_retryable(Err err); /* serialization failure, deadlock: run the whole transaction again */

/* --- statements --- */
CHECKED Err db_exec(Db *db, Arena *arena, const Stmt *stmt, Record in, int64_t *ret_rows /* may be NULL */);
CHECKED Err db_one(
    Db *db, Arena *arena, const Stmt *stmt, Record in, Record out); /* no row: ERR_NOT_FOUND "not-found" */
CHECKED Err db_list(Db *db, Arena *arena, const Stmt *stmt, Record in, const FieldTable *table, List *ret_rows);

/* --- one pipelined round trip: queue, then run; results come in order --- */
typedef struct DbCall {
    const Stmt *stmt;
    Record in;
    Record out;             /* one row; REC_NONE to ignore */
    const FieldTable *list; /* or a list */
    List *ret_list;
    int64_t *ret_rows;
    bool allow_none; /* no row is not an error; *ret_found says */
    bool *ret_found;
} DbCall;
/* All in one implicit transaction: the first failure fails all. Arrays of calls run in order. */
CHECKED Err db_pipeline(Db *db, Arena *arena, const DbCall *calls, size_t count);

/* --- notifications: a connection of its own, listening; blocks up to timeout_ms --- */
typedef struct Listener Listener;
CHECKED Err listener_open(
    const PoolOptions *options, const char *const *channels, size_t count, Listener **ret_listener);
void listener_free(Listener **listener);
/* True when a notification came (or the connection was lost and made again: the caller reads state anyhow). */
CHECKED Err listener_wait(Listener *listener, int timeout_ms, bool *ret_notified);
int listener_wake_fd(const Listener *listener); /* writing to it ends a wait early (shutdown) */

#endif
