/*
 * What an admin read costs at the least: the bare server floor, one prepared SELECT by key without row-level security,
 * authentication or authorisation, one JSON document. The `admin` bench compares the real GET of a project with it.
 *
 *     bench_admin_reference [CONNINFO ORGANIZATION PROJECT [LOOPS]]
 *
 * Prints its URL and serves until its standard input ends. Without arguments it starts a private PostgreSQL.
 */
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "http/server.h"
#include "support/pg.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define LOOPS_DEFAULT 4
#define LOOPS_MAX 32

typedef struct Row {
    Uuid org;
    Uuid id;
    Str name;
    Time created_at;
    int64_t version;
} Row;
static const Field row_fields[] = {
    FIELD(Row, org, .internal = true),
    FIELD(Row, id, .prefix = "prj"),
    FIELD(Row, name, .required = true),
    FIELD(Row, created_at, .required = true),
    FIELD(Row, version, .required = true),
};
static const FieldTable ROW = FIELD_TABLE(Row, row_fields);

static const char *const parameters[] = { "org", "id" };
static const Stmt GET_PROJECT = { .name = "bench_project_get",
    .sql = "select id, name, created_at, version from reeve.project where org = $1 and id = $2",
    .parameters = parameters,
    .parameter_count = 2,
    .roles = "bench" };
static const Stmt *const statements[] = { &GET_PROJECT, NULL };

typedef struct Unit {
    Loop *loop;
    Server *server;
    DbLease lease;
    Uuid org, project;
    pthread_t thread;
} Unit;

static void must(Err err)
{
    if (err.kind != ERR_NONE)
        die(STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
}

/* Blocks its loop for the length of a query, as a plain program does: there is a loop for each connection. */
static void on_request(Exchange *exchange, void *arg)
{
    Unit *unit = arg;
    Arena *arena = exchange_arena(exchange);
    Row row = { .org = unit->org, .id = unit->project };
    Err err = db_one(unit->lease.db, arena, &GET_PROJECT, REC(&ROW, &row), REC(&ROW, &row));
    if (err.kind != ERR_NONE) {
        exchange_reply(exchange, &(Response){ .status = 500 });
        return;
    }
    _cleanup_(json_release) json_t *body = fields_encode(arena, &ROW, &row);
    exchange_reply(
        exchange, &(Response){ .status = 200, .content_type = "application/json", .body = json_write(arena, body) });
}

static void *run_unit(void *arg)
{
    loop_run(((Unit *)arg)->loop);
    return NULL;
}

static uint16_t start_unit(Unit *unit, Pool *pool, Uuid org, Uuid project, uint16_t port)
{
    unit->org = org;
    unit->project = project;
    must(db_lease(pool, &unit->lease));
    must(loop_new(&unit->loop));
    const ServerOptions options = { .address = STR("127.0.0.1"),
        .port = port,
        .reuse_port = true,
        .limits = SERVER_LIMITS_DEFAULT,
        .on_request = on_request,
        .arg = unit };
    must(server_start(unit->loop, &options, &unit->server));
    if (pthread_create(&unit->thread, NULL, run_unit, unit) != 0)
        die("no thread");
    return server_port(unit->server);
}

static void stop_unit(Unit *unit)
{
    loop_stop(unit->loop);
    pthread_join(unit->thread, NULL);
    server_free(&unit->server);
    loop_free(&unit->loop);
    db_lease_release(&unit->lease);
}

static void serve(Str conninfo, Uuid org, Uuid project, unsigned loops)
{
    Pool *pool = NULL;
    must(pool_open(
        &(PoolOptions){ .conninfo = conninfo, .role = STR("bench"), .size_max = loops, .statements = statements },
        &pool));
    static Unit units[LOOPS_MAX];
    uint16_t port = 0;
    for (unsigned i = 0; i < loops; i++)
        port = start_unit(&units[i], pool, org, project, port);
    printf("http://127.0.0.1:%u/\n", port);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    for (unsigned i = 0; i < loops; i++)
        stop_unit(&units[i]);
    pool_free(&pool);
}

/* A private database with one project. */
static void serve_alone(Arena *arena)
{
    PgServer *server = pg_start();
    PgDatabase database = pg_database_new(server);
    pg_found(&database);
    pg_sql(arena, &database, "super",
        "insert into reeve.project (org, id, name, display_name, description) values "
        "('018f0000-0000-7000-8000-00000000000a', '018f0000-0000-7000-8000-0000000000c1', 'alpha', '', '')");
    Uuid project;
    must(uuid_parse(STR("018f0000-0000-7000-8000-0000000000c1"), &project));
    serve(pg_conninfo(arena, &database, "super"), PG_ORG_A, project, LOOPS_DEFAULT);
    pg_database_drop(&database);
    pg_stop(&server);
}

int main(int argc, char **argv)
{
    json_start();
    crypto_start();
    log_start("bench_admin_reference", LOG_WARN, /* as_text= */ true);
    signal(SIGPIPE, SIG_IGN);
    _cleanup_(arena_free) Arena *arena = arena_new();
    if (argc < 4) {
        serve_alone(arena);
        return 0;
    }
    Uuid org, project;
    int64_t loops = LOOPS_DEFAULT;
    must(uuid_parse(str_from_c(argv[2]), &org));
    must(uuid_parse(str_from_c(argv[3]), &project));
    if (argc > 4 && (!str_to_i64(str_from_c(argv[4]), &loops) || loops < 1 || loops > LOOPS_MAX))
        die("from 1 to %d loops", LOOPS_MAX);
    serve(str_from_c(argv[1]), org, project, (unsigned)loops);
    return 0;
}
