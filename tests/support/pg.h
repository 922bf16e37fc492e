/*
 * pg.h: a private PostgreSQL for a test program: on a Unix socket in a temporary directory, fsync off, stopped and
 * deleted at the end, and with the program when that is killed. A migrated cluster is made once per build directory and
 * schema; a program unpacks it (a tenth of a second) and a test clones a database in it (another tenth).
 *
 *     static PgServer *server;                       group setup:     server = pg_start();
 *     PgDatabase database = pg_database_new(server); each test
 *     Str conninfo = pg_conninfo(arena, &database, "api");
 *     pg_database_drop(&database);
 *                                                    group teardown:  pg_stop(&server);
 *
 * PostgreSQL refuses root: then it runs as `postgres` or `nobody`. Any failure of the fixture ends the program.
 */
#ifndef SUPPORT_PG_H
#define SUPPORT_PG_H

#include "store/db.h"

typedef struct PgServer PgServer;

typedef struct PgDatabase {
    PgServer *server;
    char name[32];
} PgDatabase;

PgServer *pg_start(void);
void pg_stop(PgServer **server);

PgDatabase pg_database_new(PgServer *server);       /* migrated and empty */
PgDatabase pg_database_new_empty(PgServer *server); /* not even migrated */
void pg_database_drop(PgDatabase *database);        /* with its connections */

/* role: "api", "worker", "publish", "ingest", "migrate", or "super". */
Str pg_conninfo(Arena *arena, const PgDatabase *database, const char *role);
/* A pool of a role with test-sized limits; dies when it cannot be opened. */
Pool *pg_pool(const PgDatabase *database, const char *role, unsigned size_max);
/* Runs SQL with psql as the role; the rows as lines, columns apart by '|'. Dies with psql's message on an error. */
Str pg_sql(Arena *arena, const PgDatabase *database, const char *role, const char *sql);
/* The same, where failing is the point: true when it succeeded. */
bool pg_sql_try(Arena *arena, const PgDatabase *database, const char *role, const char *sql, Str *ret_output);
/* An installation and two organizations to play with; ids are fixed. */
extern const Uuid PG_INSTALLATION, PG_ORG_A, PG_ORG_B;
void pg_found(const PgDatabase *database);

/* Bad days. */
void pg_restart(PgServer *server); /* fast shutdown and start */
void pg_down(PgServer *server);    /* fast shutdown */
void pg_crash(PgServer *server);   /* immediate: no checkpoint, recovery at the next start */
void pg_up(PgServer *server);
void pg_kill_backend(PgServer *server, int64_t pid); /* SIGKILL: the whole server recovers */
Str pg_socket_dir(const PgServer *server);           /* the socket in it is .s.PGSQL.5432 */

#endif
