/*
 * db.c: statements and transactions on one connection. Everything is one round trip of a pipeline: what is sent, then
 * one Sync, then the results in order. BEGIN waits for the first statement and goes out with it.
 *
 * COMMIT: the tag is compared, because COMMIT of a failed transaction answers ROLLBACK without an error. A transaction
 * that changed something (each round trip asks for its id until it has one) leaves a mark in the round trip of its
 * COMMIT; when the answer is lost, the mark tells what became of it (sql/migrations/0002_commit_mark.sql).
 */
#include "internal.h"

#include "store/sql.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define XID_STATEMENT "reeve_xid"
#define COMMIT_QUESTION_MS 8000 /* how long the outcome of a lost COMMIT is asked for */
#define COMMIT_QUESTION_PAUSE_MS 50
#define COMMIT_CONNECT_MS 2000

static void check_db(const Db *db)
{
    if (db == NULL || db->magic != DB_MAGIC)
        die("not a database connection");
}

static int64_t round_trip_deadline(const Db *db)
{
    return monotonic_us() + (db->pool->options.statement_timeout_ms + ROUND_TRIP_GRACE_MS) * US_PER_MS;
}

void db_disconnect(Db *db)
{
    connection_close(&db->connection);
    arena_free(&db->arena);
    db->prepared = NULL;
    db->tx = TX_NONE;
    db->begin_waits = false;
    db->wrote = false;
}

/* The connection is in doubt: closed now, made again by the next take. */
static Err lose(Db *db)
{
    connection_close(&db->connection);
    return error_unavailable();
}

/* --- reading what a pipeline answers -------------------------------------------------------------------------------
 */

/* The result of the next command of the pipeline; errors are *ret_err, the first wins. False: connection lost. */
static bool take_command(Db *db, Arena *arena, const char *name, int64_t deadline_us, PGresult **ret_result, Err *err)
{
    PGresult *result = NULL, *end = NULL;
    if (!connection_result(db->connection, deadline_us, &result) || result == NULL) {
        PQclear(result);
        return false;
    }
    ExecStatusType status = PQresultStatus(result);
    bool doubt = status == PGRES_FATAL_ERROR && error_ends_connection(result);
    if (status == PGRES_FATAL_ERROR && err->kind == ERR_NONE)
        *err = error_of_result(arena, result, name, &db->pool->sentences);
    *ret_result = result;
    if (doubt)
        return false;
    bool ended = connection_result(db->connection, deadline_us, &end) && end == NULL;
    PQclear(end);
    return ended;
}

/* The Sync that ends a round trip. */
static bool take_sync(Db *db, int64_t deadline_us)
{
    PGresult *result = NULL;
    bool there = connection_result(db->connection, deadline_us, &result) && result != NULL &&
                 PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
    return there;
}

static bool send_text(Db *db, const char *sql)
{
    return PQsendQueryParams(db->connection, sql, 0, NULL, NULL, NULL, NULL, /* resultFormat= */ 1) == 1;
}

/* One command without parameters as a round trip of its own; the result is the caller's. */
static Err round_trip_text(Db *db, Arena *arena, const char *sql, PGresult **ret_result)
{
    int64_t deadline_us = round_trip_deadline(db);
    _cleanup_(result_clear) PGresult *result = NULL;
    Err err = OK;
    if (db->connection == NULL)
        return error_unavailable();
    if (!send_text(db, sql) || !PQpipelineSync(db->connection) ||
        !take_command(db, arena, "(transaction)", deadline_us, &result, &err) || !take_sync(db, deadline_us)) {
        Err lost = lose(db);
        return err.kind == ERR_NONE ? lost : err;
    }
    TRY(err);
    *ret_result = TAKE(result);
    return OK;
}

/* --- connecting and preparing --------------------------------------------------------------------------------------
 */

/* A statement that cannot be prepared is our mistake, or a schema we do not know; its text holds no values. */
static Err statement_invalid(Db *db, const char *name, const PGresult *result)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(db->problem, sizeof(db->problem), "The statement %s cannot be prepared: %s.", name,
        message == NULL ? "no reason given" : message);
    return FAIL_STR(ERR_INTERNAL, "statement-invalid", str_from_c(db->problem));
}

/* Types that some field can be filled from. Anything else wants a cast in the statement. */
static bool is_known_type(Oid type)
{
    static const Oid known[] = { TYPE_BOOL, TYPE_BYTEA, TYPE_NAME, TYPE_INT8, TYPE_INT2, TYPE_INT4, TYPE_TEXT, TYPE_OID,
        TYPE_JSON, TYPE_BOOL_ARRAY, TYPE_BYTEA_ARRAY, TYPE_INT2_ARRAY, TYPE_INT4_ARRAY, TYPE_TEXT_ARRAY,
        TYPE_INT8_ARRAY, TYPE_BPCHAR, TYPE_VARCHAR, TYPE_DATE, TYPE_TIMESTAMPTZ, TYPE_TIMESTAMPTZ_ARRAY, TYPE_NUMERIC,
        TYPE_VOID, TYPE_UUID, TYPE_UUID_ARRAY, TYPE_JSONB, TYPE_XID8 };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i] == type)
            return true;
    return false;
}

/* Columns are filled by name, so each has a name of its own and a type that a field can have. */
static Err check_columns(Db *db, const char *name, const PGresult *description)
{
    for (int i = 0; i < PQnfields(description); i++) {
        const char *column = PQfname(description, i);
        const char *fault = is_known_type(PQftype(description, i)) ? NULL : "has a type that no field has";
        if (column[0] == '?')
            fault = "has no name";
        for (int j = 0; j < i; j++)
            if (strcmp(column, PQfname(description, j)) == 0)
                fault = "is there twice";
        if (fault != NULL) {
            snprintf(db->problem, sizeof(db->problem), "The statement %s cannot be used: its column %d, %s, %s.", name,
                i + 1, column, fault);
            return FAIL_STR(ERR_INTERNAL, "statement-invalid", str_from_c(db->problem));
        }
    }
    return OK;
}

static void note_types(Db *db, Prepared *prepared, const PGresult *description)
{
    int count = PQnparams(description);
    prepared->parameter_types = NEW(db->arena, Oid, (size_t)count);
    for (int i = 0; i < count; i++)
        prepared->parameter_types[i] = PQparamtype(description, i);
}

/* Reads the two answers (prepared, described) of one statement. */
static bool take_prepared(Db *db, Arena *arena, const char *name, Prepared *prepared, int64_t deadline_us, Err *err)
{
    _cleanup_(result_clear) PGresult *made = NULL;
    _cleanup_(result_clear) PGresult *described = NULL;
    Err first = OK;
    bool well = take_command(db, arena, name, deadline_us, &made, &first) &&
                take_command(db, arena, name, deadline_us, &described, &first);
    if (made != NULL && PQresultStatus(made) == PGRES_FATAL_ERROR && err->kind == ERR_NONE)
        *err = first.kind == ERR_INTERNAL ? statement_invalid(db, name, made) : first;
    if (well && prepared != NULL && PQresultStatus(described) == PGRES_COMMAND_OK) {
        note_types(db, prepared, described);
        if (err->kind == ERR_NONE)
            *err = check_columns(db, name, described);
    }
    return well;
}

static bool send_prepare(Db *db, const char *name, const char *sql)
{
    return PQsendPrepare(db->connection, name, sql, 0, NULL) && PQsendDescribePrepared(db->connection, name);
}

/* All statements of the role in one round trip. */
static Err prepare_all(Db *db, Arena *arena, int64_t deadline_us)
{
    const Pool *pool = db->pool;
    bool well = send_prepare(db, XID_STATEMENT, "select pg_current_xact_id_if_assigned()");
    for (size_t i = 0; well && i < pool->statement_count; i++)
        well = send_prepare(db, pool->statements[i]->name, pool->statements[i]->sql);
    well = well && PQpipelineSync(db->connection);
    Err err = OK;
    well = well && take_prepared(db, arena, XID_STATEMENT, NULL, deadline_us, &err);
    for (size_t i = 0; well && i < pool->statement_count; i++)
        well = take_prepared(db, arena, pool->statements[i]->name, &db->prepared[i], deadline_us, &err);
    TRY(err);
    return well && take_sync(db, deadline_us) ? OK : error_unavailable();
}

static Err read_sentences(Db *db, Arena *arena)
{
    Pool *pool = db->pool;
    pthread_mutex_lock(&pool->lock);
    bool known = pool->sentences.items != NULL;
    pthread_mutex_unlock(&pool->lock);
    if (known)
        return OK;
    _cleanup_(result_clear) PGresult *rows = NULL;
    TRY(round_trip_text(db, arena,
        "select c.conname::text, d.description from pg_constraint c join pg_description d on d.objoid = c.oid "
        "and d.classoid = 'pg_constraint'::regclass join pg_namespace n on n.oid = c.connamespace "
        "where n.nspname in ('reeve', 'ledger') union all "
        "select c.relname::text, d.description from pg_class c join pg_description d on d.objoid = c.oid "
        "and d.objsubid = 0 and d.classoid = 'pg_class'::regclass join pg_namespace n on n.oid = c.relnamespace "
        "where c.relkind = 'i' and n.nspname in ('reeve', 'ledger') and d.description not like 'global:%'",
        &rows));
    pthread_mutex_lock(&pool->lock);
    if (pool->sentences.items == NULL) {
        size_t count = (size_t)PQntuples(rows);
        struct Sentence *items = NEW(pool->sentences.arena, struct Sentence, count + 1);
        for (size_t i = 0; i < count; i++) {
            Str name = str_from_c(PQgetvalue(rows, (int)i, 0));
            items[i].constraint = arena_str(pool->sentences.arena, name);
            items[i].code = code_of_name(pool->sentences.arena, name);
            items[i].text = arena_str(pool->sentences.arena, str_from_c(PQgetvalue(rows, (int)i, 1)));
        }
        pool->sentences.count = count;
        pool->sentences.items = items;
    }
    pthread_mutex_unlock(&pool->lock);
    return OK;
}

static Err make_ready(Db *db, Arena *arena, int64_t deadline_us)
{
    if (!PQenterPipelineMode(db->connection))
        return error_unavailable();
    TRY(prepare_all(db, arena, deadline_us));
    return read_sentences(db, arena);
}

Err db_connect(Db *db, int64_t deadline_us)
{
    const PoolOptions *options = &db->pool->options;
    db->arena = arena_new();
    db->session = uuid_v7(time_now());
    db->marks = 0;
    db->prepared = NEW(db->arena, Prepared, db->pool->statement_count);
    _cleanup_(arena_free) Arena *scratch = arena_new();
    const ConnectOptions connect = { .conninfo = options->conninfo,
        .application = arena_fmt(scratch, "reeve-" STR_FMT, STR_ARG(options->role)),
        .statement_timeout_ms = options->statement_timeout_ms,
        .as_owner = str_eq(options->role, STR("migrate")) };
    Err err = connection_open(scratch, &connect, deadline_us, &db->connection);
    if (err.kind == ERR_NONE)
        err = make_ready(db, scratch, deadline_us);
    if (err.kind != ERR_NONE)
        db_disconnect(db);
    return err;
}

/* --- binding -------------------------------------------------------------------------------------------------------
 */

/* A call whose parameters are bound, ready to be sent. */
typedef struct Bound {
    const char **values;
    int *lengths;
    int *formats;
} Bound;

static const Prepared *prepared_find(const Db *db, const Stmt *stmt)
{
    size_t low = 0, high = db->pool->statement_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const Stmt *at = db->pool->statements[middle];
        if (at == stmt)
            return &db->prepared[middle];
        if (at < stmt)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static Err bind_call(const Db *db, Arena *arena, const DbCall *call, Bound *ret_bound)
{
    const Stmt *stmt = call->stmt;
    const Prepared *prepared = prepared_find(db, stmt);
    if (prepared == NULL)
        return FAIL_FMT(arena, ERR_INTERNAL, "statement-mismatch", "%s: not a statement of the role " STR_FMT ".",
            stmt->name, STR_ARG(db->pool->options.role));
    size_t count = stmt->parameter_count;
    Bound bound = { NEW(arena, const char *, count), NEW(arena, int, count), NEW(arena, int, count) };
    for (size_t i = 0; i < count; i++) {
        const Field *field =
            call->in.table == NULL ? NULL : field_find(call->in.table, str_from_c(stmt->parameters[i]));
        if (field == NULL)
            return FAIL_FMT(arena, ERR_INTERNAL, "statement-mismatch", "%s: the parameter %s has no field in %s.",
                stmt->name, stmt->parameters[i], call->in.table == NULL ? "(none)" : call->in.table->name);
        Parameter parameter;
        TRY(value_bind(arena, stmt->name, field, prepared->parameter_types[i], call->in.ptr, &parameter));
        bound.values[i] = parameter.value;
        bound.lengths[i] = parameter.length;
        bound.formats[i] = parameter.format;
    }
    *ret_bound = bound;
    return OK;
}

static bool send_call(Db *db, const DbCall *call, const Bound *bound)
{
    return PQsendQueryPrepared(db->connection, call->stmt->name, (int)call->stmt->parameter_count, bound->values,
               bound->lengths, bound->formats, /* resultFormat= */ 1) == 1;
}

/* --- filling -------------------------------------------------------------------------------------------------------
 */

/* The field of each column, once for all rows. */
static Err columns_of(
    Arena *arena, const char *name, const PGresult *result, const FieldTable *table, const Field ***ret_fields)
{
    int count = PQnfields(result);
    const Field **fields = NEW(arena, const Field *, (size_t)count);
    for (int i = 0; i < count; i++) {
        fields[i] = field_find(table, str_from_c(PQfname(result, i)));
        if (fields[i] == NULL)
            return FAIL_FMT(arena, ERR_INTERNAL, "statement-mismatch", "%s: the column %s has no field in %s.", name,
                PQfname(result, i), table->name);
    }
    *ret_fields = fields;
    return OK;
}

static Err fill_row(
    Arena *arena, const char *name, const PGresult *result, int row, const Field *const *fields, void *record)
{
    for (int i = 0; i < PQnfields(result); i++) {
        const uint8_t *value = PQgetisnull(result, row, i) ? NULL : (const uint8_t *)PQgetvalue(result, row, i);
        TRY(value_fill(arena, name, fields[i], PQftype(result, i), value, PQgetlength(result, row, i), record));
    }
    return OK;
}

static Err fill_list(Arena *arena, const DbCall *call, const PGresult *result)
{
    const Field **fields = NULL;
    TRY(columns_of(arena, call->stmt->name, result, call->list, &fields));
    List list = { .count = (size_t)PQntuples(result) };
    list.items = arena_alloc(arena, list.count, call->list->size);
    for (size_t i = 0; i < list.count; i++)
        TRY(fill_row(arena, call->stmt->name, result, (int)i, fields, (char *)list.items + i * call->list->size));
    *call->ret_list = list;
    return OK;
}

static Err fill_one(Arena *arena, const DbCall *call, const PGresult *result)
{
    int rows = PQntuples(result);
    if (call->ret_found != NULL)
        *call->ret_found = rows > 0;
    if (rows == 0)
        return call->allow_none ? OK : FAIL(ERR_NOT_FOUND, "not-found", "There is no such thing.");
    if (rows > 1)
        return FAIL_FMT(
            arena, ERR_INTERNAL, "statement-mismatch", "%s: %d rows where one was expected.", call->stmt->name, rows);
    const Field **fields = NULL;
    TRY(columns_of(arena, call->stmt->name, result, call->out.table, &fields));
    return fill_row(arena, call->stmt->name, result, 0, fields, call->out.ptr);
}

static Err fill_call(Arena *arena, const DbCall *call, const PGresult *result)
{
    if (call->ret_rows != NULL) {
        *call->ret_rows = 0;
        if (PQresultStatus(result) == PGRES_TUPLES_OK)
            *call->ret_rows = PQntuples(result);
        else
            (void)str_to_i64(str_from_c(PQcmdTuples((PGresult *)result)), call->ret_rows);
    }
    if (call->list != NULL)
        return fill_list(arena, call, result);
    if (call->out.table != NULL)
        return fill_one(arena, call, result);
    if (call->ret_found != NULL)
        *call->ret_found = PQntuples(result) > 0;
    return OK;
}

/* --- a round trip --------------------------------------------------------------------------------------------------
 */

static const char *begin_text(const Db *db)
{
    return db->tx == TX_READ ? "begin isolation level repeatable read read only" : "begin";
}

static bool wants_xid(const Db *db)
{
    return db->tx == TX_WRITE && !db->wrote;
}

static bool send_all(Db *db, const DbCall *calls, const Bound *bound, size_t count)
{
    bool well = !db->begin_waits || send_text(db, begin_text(db));
    for (size_t i = 0; well && i < count; i++)
        well = send_call(db, &calls[i], &bound[i]);
    if (well && wants_xid(db))
        well = PQsendQueryPrepared(db->connection, XID_STATEMENT, 0, NULL, NULL, NULL, 1) == 1;
    return well && PQpipelineSync(db->connection);
}

static void note_xid(Db *db, const PGresult *result)
{
    db->wrote = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 && !PQgetisnull(result, 0, 0);
}

/* Reads all answers into `results`; the first error of the server is *err. False: the connection is lost. */
static bool take_all(Db *db, Arena *arena, const DbCall *calls, PGresult **results, size_t count, Err *err)
{
    int64_t deadline_us = round_trip_deadline(db);
    bool well = true;
    if (db->begin_waits) {
        _cleanup_(result_clear) PGresult *begun = NULL;
        well = take_command(db, arena, "(begin)", deadline_us, &begun, err);
        db->begin_waits = false;
    }
    for (size_t i = 0; well && i < count; i++)
        well = take_command(db, arena, calls[i].stmt->name, deadline_us, &results[i], err);
    if (well && wants_xid(db)) {
        _cleanup_(result_clear) PGresult *xid = NULL;
        well = take_command(db, arena, XID_STATEMENT, deadline_us, &xid, err);
        if (well)
            note_xid(db, xid);
    }
    return well && take_sync(db, deadline_us);
}

static Err fill_all(Arena *arena, const DbCall *calls, PGresult *const *results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(fill_call(arena, &calls[i], results[i]));
    return OK;
}

Err db_pipeline(Db *db, Arena *arena, const DbCall *calls, size_t count)
{
    check_db(db);
    if (count == 0 || count > CALLS_MAX)
        die("a pipeline of %zu calls", count);
    if (db->connection == NULL)
        return error_unavailable();
    Bound *bound = NEW(arena, Bound, count);
    for (size_t i = 0; i < count; i++)
        TRY(bind_call(db, arena, &calls[i], &bound[i]));
    PGresult **results = NEW(arena, PGresult *, count);
    Err err = OK;
    bool well = send_all(db, calls, bound, count) && take_all(db, arena, calls, results, count, &err);
    if (!well) {
        Err lost = lose(db);
        err = err.kind == ERR_NONE ? lost : err;
    }
    if (err.kind == ERR_NONE)
        err = fill_all(arena, calls, results, count);
    for (size_t i = 0; i < count; i++)
        PQclear(results[i]);
    return err;
}

Err db_exec(Db *db, Arena *arena, const Stmt *stmt, Record in, int64_t *ret_rows)
{
    const DbCall call = { .stmt = stmt, .in = in, .ret_rows = ret_rows };
    return db_pipeline(db, arena, &call, 1);
}

Err db_one(Db *db, Arena *arena, const Stmt *stmt, Record in, Record out)
{
    bool found = false;
    const DbCall call = { .stmt = stmt, .in = in, .out = out, .ret_found = &found };
    TRY(db_pipeline(db, arena, &call, 1));
    return found ? OK : FAIL(ERR_NOT_FOUND, "not-found", "There is no such thing.");
}

Err db_list(Db *db, Arena *arena, const Stmt *stmt, Record in, const FieldTable *table, List *ret_rows)
{
    const DbCall call = { .stmt = stmt, .in = in, .list = table, .ret_list = ret_rows };
    return db_pipeline(db, arena, &call, 1);
}

/* --- transactions --------------------------------------------------------------------------------------------------
 */

static Err begin(Db *db, TxState state)
{
    check_db(db);
    if (db->tx != TX_NONE)
        die("a transaction inside a transaction");
    if (db->connection == NULL)
        return error_unavailable();
    db->tx = state;
    db->begin_waits = true;
    db->wrote = false;
    return OK;
}

Err tx_begin(Db *db)
{
    return begin(db, TX_WRITE);
}

Err tx_begin_read(Db *db)
{
    return begin(db, TX_READ);
}

static void pause_ms(int ms)
{
    struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
    nanosleep(&pause, NULL);
}

typedef struct Mark {
    Uuid session;
    int64_t mark;
    bool committed;
} Mark;
static const Field mark_fields[] = {
    FIELD(Mark, session, .internal = true),
    FIELD(Mark, mark, .internal = true),
    FIELD(Mark, committed, .internal = true),
};
static const FieldTable MARK = FIELD_TABLE(Mark, mark_fields);

/* The connection was lost in COMMIT: its mark says what became of the transaction. A COMMIT that is still running is
 * waited for by the row's lock; one that has not arrived is fenced off. */
static Err resolve_commit(Db *db, Mark mark)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Err err = OK;
    for (int64_t until = monotonic_us() + COMMIT_QUESTION_MS * US_PER_MS; monotonic_us() < until;) {
        db_disconnect(db);
        err = db_connect(db, monotonic_us() + COMMIT_CONNECT_MS * US_PER_MS);
        if (err.kind == ERR_NONE)
            err = db_one(db, arena, &SQL_COMMIT_ASK, REC(&MARK, &mark), REC(&MARK, &mark));
        if (err.kind == ERR_NONE)
            return mark.committed ? OK : error_unavailable();
        pause_ms(COMMIT_QUESTION_PAUSE_MS);
    }
    return FAIL(ERR_UNAVAILABLE, "commit-unknown",
        "The database was lost while the change was being saved; whether it was saved is not known. Read before trying "
        "again.");
}

/* The detail of an error made in a scratch arena, kept by the connection. */
static Err keep(Db *db, Err err)
{
    if (err.kind == ERR_NONE || (err.code.len == 0 && err.detail.len == 0))
        return err;
    snprintf(db->problem, sizeof(db->problem), STR_FMT "%c" STR_FMT, STR_ARG(err.code), '\0', STR_ARG(err.detail));
    size_t code = err.code.len < sizeof(db->problem) ? err.code.len : 0;
    size_t room = sizeof(db->problem) - 2 - code;
    size_t detail = err.detail.len < room ? err.detail.len : room;
    err.code = str_n(db->problem, code);
    err.detail = str_n(db->problem + code + 1, detail);
    return err;
}

static void roll_back(Db *db)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(result_clear) PGresult *result = NULL;
    if (round_trip_text(db, arena, "rollback", &result).kind != ERR_NONE)
        connection_close(&db->connection);
}

/* The mark (of a transaction that wrote) and COMMIT in one round trip; the tag is COMMIT's. */
static Err commit_round_trip(Db *db, Arena *arena, const DbCall *mark, PGresult **ret_result)
{
    int64_t deadline_us = round_trip_deadline(db);
    Bound bound = { 0 };
    if (mark != NULL)
        TRY(bind_call(db, arena, mark, &bound));
    Err err = OK;
    _cleanup_(result_clear) PGresult *marked = NULL;
    _cleanup_(result_clear) PGresult *result = NULL;
    bool well = (mark == NULL || send_call(db, mark, &bound)) && send_text(db, "commit") &&
                PQpipelineSync(db->connection) &&
                (mark == NULL || take_command(db, arena, mark->stmt->name, deadline_us, &marked, &err)) &&
                take_command(db, arena, "(commit)", deadline_us, &result, &err) && take_sync(db, deadline_us);
    if (!well)
        return lose(db);
    TRY(err);
    *ret_result = TAKE(result);
    return OK;
}

static Err commit(Db *db, Arena *arena, bool wrote)
{
    Mark mark = { .session = db->session, .mark = ++db->marks };
    const DbCall call = { .stmt = &SQL_COMMIT_MARK, .in = REC(&MARK, &mark) };
    _cleanup_(result_clear) PGresult *result = NULL;
    Err err = commit_round_trip(db, arena, wrote ? &call : NULL, &result);
    if (err.kind != ERR_NONE && db->connection == NULL)
        return wrote ? resolve_commit(db, mark) : error_unavailable();
    if (err.kind != ERR_NONE) { /* deferred constraints speak here */
        if (PQtransactionStatus(db->connection) != PQTRANS_IDLE)
            roll_back(db); /* the mark failed, so COMMIT was not run */
        return keep(db, err);
    }
    if (strcmp(PQcmdStatus(result), "COMMIT") != 0)
        return FAIL(ERR_INTERNAL, "transaction-aborted", "The transaction had failed before it was to be committed.");
    return OK;
}

Err tx_commit(Db *db)
{
    check_db(db);
    if (db->tx == TX_NONE)
        die("commit without a transaction");
    bool wrote = db->wrote;
    bool began = !db->begin_waits;
    db->tx = TX_NONE;
    db->begin_waits = false;
    db->wrote = false;
    if (!began)
        return OK; /* nothing was ever sent */
    if (db->connection == NULL)
        return error_unavailable(); /* it was lost before COMMIT: rolled back */
    _cleanup_(arena_free) Arena *arena = arena_new();
    return commit(db, arena, wrote);
}

void tx_rollback(Db *db)
{
    check_db(db);
    bool began = !db->begin_waits && db->tx != TX_NONE;
    db->tx = TX_NONE;
    db->begin_waits = false;
    db->wrote = false;
    if (began && db->connection != NULL)
        roll_back(db);
}

void db_reset(Db *db)
{
    check_db(db);
    tx_rollback(db);
    if (db->connection != NULL && PQtransactionStatus(db->connection) != PQTRANS_IDLE)
        connection_close(&db->connection);
}

Err tx_set_tenant(Db *db, Uuid org)
{
    check_db(db);
    if (db->tx == TX_NONE)
        die("a tenant is set inside a transaction");
    typedef struct Tenant {
        Uuid org;
    } Tenant;
    static const Field fields[] = { FIELD(Tenant, org, .internal = true) };
    static const FieldTable table = FIELD_TABLE(Tenant, fields);
    _cleanup_(arena_free) Arena *arena = arena_new();
    return keep(db, db_exec(db, arena, &SQL_TENANT_SET, REC(&table, &(Tenant){ .org = org }), NULL));
}
