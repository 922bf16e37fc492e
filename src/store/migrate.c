/*
 * migrate.c: brings a database to the schema this program knows, one transaction a migration, under an advisory lock,
 * so that two that start together do it once. What was applied is remembered with its SHA-256: an edited migration is
 * noticed, and never applied over.
 */
#include "store/migrate.h"

#include "crypto/digest.h"
#include "internal.h"

#include <string.h>

#define MIGRATION_LOCK "6072417364028123" /* any number, always this one */
#define MIGRATION_TIMEOUT_MS (15 * 60 * 1000)
#define APPLIED_SQL "select number, digest from reeve.migration order by number"

static int64_t long_deadline(void)
{
    return monotonic_us() + (MIGRATION_TIMEOUT_MS + ROUND_TRIP_GRACE_MS) * US_PER_MS;
}

static int newest(void)
{
    int number = 0;
    for (const Migration *m = MIGRATIONS; m->number != 0; m++)
        number = m->number;
    return number;
}

static const Migration *migration_find(int number)
{
    for (const Migration *m = MIGRATIONS; m->number != 0; m++)
        if (m->number == number)
            return m;
    return NULL;
}

/* bytea in text form: \x and hex */
static bool digest_matches(Arena *arena, const Migration *migration, const char *stored)
{
    Digest digest = digest_of(str_bytes(str_from_c(migration->sql)));
    Str text = arena_fmt(arena, "\\x");
    for (size_t i = 0; i < sizeof(digest.b); i++)
        text = arena_fmt(arena, STR_FMT "%02x", STR_ARG(text), digest.b[i]);
    return str_eq(text, str_from_c(stored));
}

static Err has_table(Arena *arena, PGconn *connection, bool *ret_has)
{
    _cleanup_(result_clear) PGresult *result = NULL;
    TRY(connection_query(
        arena, connection, "select to_regclass('reeve.migration') is not null", long_deadline(), &result));
    *ret_has = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    return OK;
}

/* `missing` (may be NULL): the lowest migration of ours that is not applied, 0 for none. */
static Err read_state(Arena *arena, PGconn *connection, MigrationState *ret_state, int *ret_missing)
{
    MigrationState state = { .program = newest() };
    bool has;
    TRY(has_table(arena, connection, &has));
    _cleanup_(result_clear) PGresult *rows = NULL;
    if (has)
        TRY(connection_query(arena, connection, APPLIED_SQL, long_deadline(), &rows));
    int count = has ? PQntuples(rows) : 0;
    int missing = 0, row = 0;
    for (const Migration *m = MIGRATIONS; m->number != 0; m++) {
        int64_t number = 0;
        for (int i = row; i < count && number < m->number; i++)
            if (str_to_i64(str_from_c(PQgetvalue(rows, i, 0)), &number) && number == m->number)
                state.edited |= !digest_matches(arena, m, PQgetvalue(rows, i, 1));
        if (number != m->number && missing == 0)
            missing = m->number;
    }
    if (count > 0) {
        int64_t last = 0;
        (void)str_to_i64(str_from_c(PQgetvalue(rows, count - 1, 0)), &last);
        state.database = (int)last;
        if (missing != 0 && state.database == state.program)
            state.database = missing - 1; /* a gap below: as old as the gap */
    }
    *ret_state = state;
    if (ret_missing != NULL)
        *ret_missing = missing;
    return OK;
}

static Err open_migrator(Arena *arena, Str conninfo, PGconn **ret_connection)
{
    const ConnectOptions options = { .conninfo = conninfo,
        .application = STR("reeve-migrate"),
        .statement_timeout_ms = MIGRATION_TIMEOUT_MS,
        .as_owner = true };
    return connection_open(arena, &options, monotonic_us() + CONNECT_DEADLINE_MS * US_PER_MS, ret_connection);
}

Err migrate_state(Str conninfo, MigrationState *ret_state)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(connection_close) PGconn *connection = NULL;
    TRY(open_migrator(arena, conninfo, &connection));
    return read_state(arena, connection, ret_state, NULL);
}

/* A failed migration names itself and PostgreSQL's reason: migrations hold no values of anybody. */
static Err migration_failed(PGconn *connection, const Migration *migration)
{
    static char sentence[1024];
    const char *message = PQerrorMessage(connection);
    int length = (int)strcspn(message, "\n");
    snprintf(sentence, sizeof(sentence), "The migration %04d_%s could not be applied: %.*s.", migration->number,
        migration->name, length, message);
    return FAIL_STR(ERR_INTERNAL, "migration-failed", str_from_c(sentence));
}

static Err record_applied(Arena *arena, PGconn *connection, const Migration *migration)
{
    Digest digest = digest_of(str_bytes(str_from_c(migration->sql)));
    Str sql = arena_fmt(arena, "insert into reeve.migration (number, name, digest) values (%d, '%s', '\\x",
        migration->number, migration->name); /* both are checked by sqlembed */
    for (size_t i = 0; i < sizeof(digest.b); i++)
        sql = arena_fmt(arena, STR_FMT "%02x", STR_ARG(sql), digest.b[i]);
    sql = arena_fmt(arena, STR_FMT "'); commit", STR_ARG(sql));
    return connection_query(arena, connection, sql.ptr, long_deadline(), NULL);
}

/* Applies the lowest missing migration in a transaction; *ret_number is 0 when there is none. */
static Err apply_next(Arena *arena, PGconn *connection, int *ret_number)
{
    TRY(connection_query(
        arena, connection, "begin; select pg_advisory_xact_lock(" MIGRATION_LOCK ")", long_deadline(), NULL));
    MigrationState state;
    int missing;
    TRY(read_state(arena, connection, &state, &missing));
    if (state.edited)
        return FAIL(ERR_CONFLICT, "schema-edited", "An applied migration differs from the one in this program.");
    if (state.database > state.program)
        return FAIL(ERR_CONFLICT, "schema-too-new", "The database schema is newer than this program.");
    *ret_number = missing;
    if (missing == 0)
        return connection_query(arena, connection, "rollback", long_deadline(), NULL);
    const Migration *migration = migration_find(missing);
    if (connection_query(arena, connection, migration->sql, long_deadline(), NULL).kind != ERR_NONE)
        return migration_failed(connection, migration);
    return record_applied(arena, connection, migration);
}

Err migrate_apply(Str conninfo, int *ret_applied)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(connection_close) PGconn *connection = NULL;
    TRY(open_migrator(arena, conninfo, &connection));
    for (int applied = 0;; applied++) {
        int number = 0;
        TRY(apply_next(arena, connection, &number));
        if (number == 0) {
            *ret_applied = applied;
            return OK;
        }
    }
}

Err migrate_check(Pool *pool)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(connection_close) PGconn *connection = NULL;
    const ConnectOptions options = { .conninfo = pool->options.conninfo,
        .application = STR("reeve-check"),
        .statement_timeout_ms = pool->options.statement_timeout_ms };
    TRY(connection_open(arena, &options, monotonic_us() + CONNECT_DEADLINE_MS * US_PER_MS, &connection));
    MigrationState state;
    TRY(read_state(arena, connection, &state, NULL));
    if (state.edited)
        return FAIL(ERR_CONFLICT, "schema-edited", "An applied migration differs from the one in this program.");
    if (state.database > state.program)
        return FAIL(ERR_CONFLICT, "schema-too-new", "The database schema is newer than this program.");
    if (state.database < state.program)
        return FAIL(
            ERR_CONFLICT, "schema-too-old", "The database schema is older than this program: run `reeved migrate`.");
    return OK;
}
