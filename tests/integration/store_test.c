/* The store floor against a private PostgreSQL: every kind of value both ways, errors, transactions, bad days. */
#include "store/db.h"

#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "store/migrate.h"
#include "support/pg.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- a table with every kind ------------------------------------------------------------------------------------- */

typedef struct Inner {
    Str name;
    int64_t weight;
} Inner;
static const Field inner_fields[] = {
    FIELD(Inner, name, .required = false),
    FIELD(Inner, weight, .min = -100, .max = 100),
};
static const FieldTable INNER = FIELD_TABLE(Inner, inner_fields);

typedef struct Every {
    Uuid id;
    Str text;
    Strs texts;
    bool flag;
    int64_t big;
    int64_t small;
    MaybeInt maybe;
    Uuid other;
    Uuids uuids;
    Time at;
    Time day;
    Bytes bytes;
    Json json;
    Money money;
    MoneySum sum;
    Inner object;
    List list;
    Ints ints;
    Ints shorts;
    Times times;
    BytesList bytes_list;
    Bools bools;
} Every;
static const Field every_fields[] = {
    FIELD(Every, id, .required = true),
    FIELD(Every, text, .required = false),
    FIELD(Every, texts, .required = false),
    FIELD(Every, flag, .required = false),
    FIELD(Every, big, .required = false),
    FIELD(Every, small, .required = false),
    FIELD(Every, maybe, .required = false),
    FIELD(Every, other, .required = false),
    FIELD(Every, uuids, .required = false),
    FIELD(Every, at, .required = false),
    FIELD(Every, day, .required = false),
    FIELD(Every, bytes, .required = false),
    FIELD(Every, json, .required = false),
    FIELD(Every, money, .required = false),
    FIELD(Every, sum, .required = false),
    FIELD_NESTED(Every, object, &INNER, .required = false),
    FIELD(Every, list, .table = &INNER),
    FIELD(Every, ints, .required = false),
    FIELD(Every, shorts, .required = false),
    FIELD(Every, times, .required = false),
    FIELD(Every, bytes_list, .required = false),
    FIELD(Every, bools, .required = false),
};
static const FieldTable EVERY = FIELD_TABLE(Every, every_fields);

static const char every_sql[] =
    "set role reeve_owner; create table reeve.every (id uuid primary key, text text, texts text[], flag boolean, big "
    "bigint, small smallint, maybe integer, other uuid, uuids uuid[], at timestamptz, day date, bytes bytea, json "
    "jsonb, "
    "money bigint, sum numeric(38,0), object jsonb, list jsonb, ints bigint[], shorts smallint[], times timestamptz[], "
    "bytes_list bytea[], bools boolean[], constraint every_text_taken unique (text), constraint every_big_small check "
    "(big < 1000000000000000000), constraint every_silent unique (money));"
    "comment on constraint every_text_taken on reeve.every is 'This text is taken already.';"
    "create table reeve.late (id uuid primary key, constraint late_first foreign key (id) references reeve.every (id) "
    "deferrable initially deferred);"
    "grant select, insert, update, delete on reeve.every, reeve.late to reeve_api;"
    "create function reeve.slow_commit() returns trigger language plpgsql as $$ begin perform pg_sleep(0.6); return "
    "null; "
    "end $$; grant execute on function reeve.slow_commit() to reeve_api;"
    "create table reeve.slow (id uuid primary key); grant select, insert on reeve.slow to reeve_api;"
    "create constraint trigger slow_commit after insert on reeve.slow deferrable initially deferred for each row "
    "execute "
    "function reeve.slow_commit()";

#define STMT(variable, statement_name, text, ...)                                                                      \
    static const char *const variable##_parameters[] = { __VA_ARGS__ };                                                \
    static const Stmt variable = { .name = statement_name,                                                             \
        .sql = text,                                                                                                   \
        .roles = "api",                                                                                                \
        .parameters = variable##_parameters,                                                                           \
        .parameter_count = sizeof(variable##_parameters) / sizeof(char *) - 1 }

STMT(EVERY_INSERT, "every_insert",
    "insert into every (id, text, texts, flag, big, small, maybe, other, uuids, at, day, bytes, json, money, sum, "
    "object, "
    "list, ints, shorts, times, bytes_list, bools) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
    "$14, "
    "$15, $16, $17, $18, $19, $20, $21, $22)",
    "id", "text", "texts", "flag", "big", "small", "maybe", "other", "uuids", "at", "day", "bytes", "json", "money",
    "sum", "object", "list", "ints", "shorts", "times", "bytes_list", "bools", NULL);
STMT(EVERY_GET, "every_get", "select * from every where id = $1", "id", NULL);
STMT(EVERY_ALL, "every_all", "select id, big from every order by big", NULL);
STMT(EVERY_COUNT, "every_count", "select count(*) as big from every", NULL);
STMT(EVERY_BRIEF, "every_brief", "insert into every (id, text, big, money) values ($1, $2, $3, $4) returning id", "id",
    "text", "big", "money", NULL);
STMT(LATE_INSERT, "late_insert", "insert into late (id) values ($1)", "id", NULL);
STMT(SLOW_INSERT, "slow_insert", "insert into slow (id) values ($1)", "id", NULL);
STMT(SLOW_COUNT, "slow_count", "select count(*) as big from slow", NULL);
STMT(SLEEP, "sleep", "select pg_sleep($1::bigint) as text", "big", NULL);
STMT(REFUSED, "refused", "select refuse('404', 'thing-unknown') as text", NULL);
STMT(PID, "pid", "select pg_backend_pid() as big", NULL);
STMT(ORG, "org", "select current_setting('app.org', true) as text, current_org() as other", NULL);
STMT(UNKNOWN_COLUMN, "unknown_column", "select 1 as nobody_knows", NULL);
STMT(UNKNOWN_PARAMETER, "unknown_parameter", "select $1::text as text", "nobody_knows", NULL);
STMT(NULL_NUMBER, "null_number", "select null::bigint as big", NULL);
STMT(WRONG_TYPE, "wrong_type", "select true as big", NULL);
STMT(TENANT, "tenant", "select set_config('app.org', $1::uuid::text, true) as text", "other", NULL);
STMT(TOUCH, "touch", "update every set flag = true where id = $1", "id", NULL);
static const Stmt MISSPELT = { .name = "misspelt", .sql = "select nonsense from every", .roles = "api" };

static const Stmt *const statements[] = { &EVERY_INSERT, &EVERY_GET, &EVERY_ALL, &EVERY_COUNT, &EVERY_BRIEF,
    &LATE_INSERT, &SLOW_INSERT, &SLOW_COUNT, &SLEEP, &REFUSED, &PID, &ORG, &UNKNOWN_COLUMN, &UNKNOWN_PARAMETER,
    &NULL_NUMBER, &WRONG_TYPE, &TENANT, &TOUCH, NULL };
static const Stmt *const broken_statements[] = { &EVERY_GET, &MISSPELT, NULL };
static const Stmt TWICE = { .name = "twice", .sql = "select 1 as a, 2 as a", .roles = "api" };
static const Stmt NAMELESS = { .name = "nameless", .sql = "select 1 + 1", .roles = "api" };
static const Stmt STRANGE = { .name = "strange", .sql = "select interval '1 day' as a", .roles = "api" };
static const Stmt *const unusable[][2] = { { &TWICE, NULL }, { &NAMELESS, NULL }, { &STRANGE, NULL } };

/* --- fixture ------------------------------------------------------------------------------------------------------ */

static PgServer *server;

typedef struct World {
    Arena *arena;
    PgDatabase database;
    Pool *pool;
    Db *db;
} World;

static Pool *open_pool(const World *w, Str conninfo, unsigned size, int statement_timeout_ms, const Stmt *const *all)
{
    (void)w;
    const PoolOptions options = { .conninfo = conninfo,
        .role = STR("api"),
        .size_max = size,
        .take_timeout_ms = 300,
        .statement_timeout_ms = statement_timeout_ms,
        .statements = all };
    Pool *pool = NULL;
    assert_int_equal(pool_open(&options, &pool).kind, ERR_NONE);
    return pool;
}

static int setup(void **state)
{
    Arena *arena = arena_new();
    World *w = NEW(arena, World, 1);
    w->arena = arena;
    w->database = pg_database_new(server);
    pg_sql(arena, &w->database, "migrate", every_sql);
    w->pool = open_pool(w, pg_conninfo(arena, &w->database, "api"), 2, 2000, statements);
    Err err = pool_take(w->pool, &w->db);
    if (err.kind != ERR_NONE)
        die(STR_FMT, STR_ARG(err.detail));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;
    if (w->db != NULL)
        pool_give(w->pool, &w->db);
    pool_free(&w->pool);
    pg_database_drop(&w->database);
    Arena *arena = w->arena;
    arena_free(&arena);
    return 0;
}

static int group_setup(void **state)
{
    (void)state;
    server = pg_start();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    pg_stop(&server);
    return 0;
}

#define EXPECT_OK(expression)                                                                                          \
    do {                                                                                                               \
        Err err_ = (expression);                                                                                       \
        if (err_.kind != ERR_NONE)                                                                                     \
            fail_msg("%s: " STR_FMT ": " STR_FMT, #expression, STR_ARG(err_.code), STR_ARG(err_.detail));              \
    } while (0)
#define EXPECT_CODE(expression, text)                                                                                  \
    do {                                                                                                               \
        Err err_ = (expression);                                                                                       \
        if (!err_is(err_, text))                                                                                       \
            fail_msg("%s: wanted %s, got " STR_FMT ": " STR_FMT, #expression, text, STR_ARG(err_.code),                \
                STR_ARG(err_.detail));                                                                                 \
    } while (0)

static Every brief(int64_t n, Str text)
{
    return (Every){ .id = uuid_v7(time_now()), .text = text, .big = n, .money = { n } };
}

static int64_t count_of(World *w, Db *db, const Stmt *stmt)
{
    Every out = { 0 };
    EXPECT_OK(db_one(db, w->arena, stmt, REC_NONE, REC(&EVERY, &out)));
    return out.big;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static Every full_row(Arena *arena)
{
    static Str texts[] = { STR_INIT("a"), STR_INIT(""), { NULL, 0 }, STR_INIT("\xc3\xa9\"{},\\") };
    static int64_t ints[] = { 0, -1, INT64_MAX, INT64_MIN }, shorts[] = { -32768, 32767 };
    static Uuid uuids[2];
    static Time times[3] = { { 1 }, { 0 }, { -62135596800000000 } };
    static uint8_t octets[] = { 0, 255, 39, 92 };
    static Bytes blobs[3];
    static bool bools[] = { true, false };
    static Inner inner[] = { { STR_INIT("x"), 1 }, { STR_INIT("y"), -2 } };
    uuids[0] = uuid_v7(time_now());
    blobs[0] = BYTES_OF(octets);
    blobs[1] = (Bytes){ .ptr = octets, .len = 0 };
    json_t *json = json_pack("{s:[i,n,s],s:b}", "a", 1, "text", "b", 1);
    arena_defer(arena, (void (*)(void *))json_decref, json);
    return (Every){ .id = uuid_v7(time_now()),
        .text = STR("it's; --\n$1 :x"),
        .texts = { texts, 4 },
        .flag = true,
        .big = -987654321012345678,
        .small = -32768,
        .maybe = { .value = 0, .set = true },
        .other = uuids[0],
        .uuids = { uuids, 2 },
        .at = { 1795200000123456 },
        .day = { 1795132800000000 },
        .bytes = BYTES_OF(octets),
        .json = { json },
        .money = { INT64_MIN },
        .sum = { ((Int128)INT64_MAX * 1000000007 + 123456789) * -1 },
        .object = { STR("inner"), 42 },
        .list = { inner, 2 },
        .ints = { ints, 4 },
        .shorts = { shorts, 2 },
        .times = { times, 3 },
        .bytes_list = { blobs, 3 },
        .bools = { bools, 2 } };
}

static void test_every_kind_comes_back_as_it_went(void **state)
{
    World *w = *state;
    Every in = full_row(w->arena), out = { 0 };
    int64_t rows = 0;
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), &rows));
    assert_int_equal(rows, 1);
    EXPECT_OK(db_one(w->db, w->arena, &EVERY_GET, REC(&EVERY, &in), REC(&EVERY, &out)));
    assert_true(uuid_eq(in.id, out.id) && uuid_eq(in.other, out.other));
    assert_true(str_eq(in.text, out.text));
    assert_int_equal(out.texts.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(str_eq(in.texts.items[i], out.texts.items[i]));
        assert_int_equal(in.texts.items[i].ptr == NULL, out.texts.items[i].ptr == NULL);
    }
    assert_true(out.flag);
    assert_int_equal(in.big, out.big);
    assert_int_equal(in.small, out.small);
    assert_true(out.maybe.set && out.maybe.value == 0);
    assert_int_equal(out.uuids.count, 2);
    assert_memory_equal(in.uuids.items, out.uuids.items, 32);
    assert_int_equal(in.at.us, out.at.us);
    assert_int_equal(in.day.us, out.day.us);
    assert_true(bytes_eq(in.bytes, out.bytes));
    assert_true(json_equal(in.json.value, out.json.value));
    assert_int_equal(in.money.pico, out.money.pico);
    assert_true(in.sum.pico == out.sum.pico);
    assert_true(str_eq(out.object.name, STR("inner")) && out.object.weight == 42);
    assert_int_equal(out.list.count, 2);
    assert_int_equal(((Inner *)out.list.items)[1].weight, -2);
    assert_memory_equal(in.ints.items, out.ints.items, 4 * sizeof(int64_t));
    assert_memory_equal(in.shorts.items, out.shorts.items, 2 * sizeof(int64_t));
    assert_memory_equal(in.times.items, out.times.items, 3 * sizeof(Time));
    assert_int_equal(out.bytes_list.count, 3);
    assert_true(bytes_eq(in.bytes_list.items[0], out.bytes_list.items[0]));
    assert_true(out.bytes_list.items[1].ptr != NULL && out.bytes_list.items[2].ptr == NULL);
    assert_true(out.bools.count == 2 && out.bools.items[0] && !out.bools.items[1]);
}

static void test_zero_is_null_and_null_is_zero(void **state)
{
    World *w = *state;
    Every in = { .id = uuid_v7(time_now()) }, out = { .text = STR("old"), .at = { 5 }, .maybe = { 1, true } };
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), NULL));
    Str row = pg_sql(w->arena, &w->database, "super",
        "select num_nulls(text, maybe, other, at, day, bytes, json), cardinality(texts), list from reeve.every");
    assert_true(str_eq(row, STR("7|0|[]")));
    EXPECT_OK(db_one(w->db, w->arena, &EVERY_GET, REC(&EVERY, &in), REC(&EVERY, &out)));
    assert_null(out.text.ptr);
    assert_int_equal(out.at.us, 0);
    assert_false(out.maybe.set);
    assert_int_equal(out.texts.count, 0);
}

static void test_the_ends_of_a_money_sum_hold(void **state)
{
    World *w = *state;
    static const char *const sums[] = { "0", "1", "-1", "9999", "10000", "100000000",
        "-99999999999999999999999999999999999999", "99999999999999999999999999999999999999",
        "12345678900000000000000000000000000000" };
    for (size_t i = 0; i < COUNT_OF(sums); i++) {
        Every in = { .id = uuid_v7(time_now()), .money = { (int64_t)i } }, out = { 0 };
        EXPECT_OK(money_sum_from_digits(str_from_c(sums[i]), &in.sum));
        EXPECT_OK(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), NULL));
        EXPECT_OK(db_one(w->db, w->arena, &EVERY_GET, REC(&EVERY, &in), REC(&EVERY, &out)));
        assert_true(in.sum.pico == out.sum.pico);
    }
}

static void test_a_value_out_of_range_is_the_callers_error(void **state)
{
    World *w = *state;
    Every in = brief(1, STR("x"));
    in.small = 32768;
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), NULL), "value-not-storable");
    in.small = 0;
    in.text = (Str){ .ptr = "a\0b", .len = 3 };
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), NULL), "value-not-storable");
    in.text = STR("\xff");
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_INSERT, REC(&EVERY, &in), NULL), "value-not-storable");
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

static void test_a_column_or_parameter_without_a_field_is_named(void **state)
{
    World *w = *state;
    Every out = { 0 };
    Err err = db_one(w->db, w->arena, &UNKNOWN_COLUMN, REC_NONE, REC(&EVERY, &out));
    assert_true(err_is(err, "statement-mismatch") && str_contains(err.detail, STR("nobody_knows")));
    err = db_one(w->db, w->arena, &UNKNOWN_PARAMETER, REC(&EVERY, &out), REC(&EVERY, &out));
    assert_true(err_is(err, "statement-mismatch") && str_contains(err.detail, STR("nobody_knows")));
    EXPECT_CODE(db_one(w->db, w->arena, &NULL_NUMBER, REC_NONE, REC(&EVERY, &out)), "statement-mismatch");
    EXPECT_CODE(db_one(w->db, w->arena, &WRONG_TYPE, REC_NONE, REC(&EVERY, &out)), "statement-mismatch");
    EXPECT_CODE(db_one(w->db, w->arena, &MISSPELT, REC_NONE, REC(&EVERY, &out)), "statement-mismatch");
}

static void test_a_misspelt_statement_stops_the_pool_by_name(void **state)
{
    World *w = *state;
    Pool *pool = open_pool(w, pg_conninfo(w->arena, &w->database, "api"), 1, 2000, broken_statements);
    Db *db = NULL;
    Err err = pool_take(pool, &db);
    assert_true(err_is(err, "statement-invalid"));
    assert_true(str_contains(err.detail, STR("misspelt")) && str_contains(err.detail, STR("nonsense")));
    pool_free(&pool);
}

static void test_a_column_that_no_field_could_take_stops_the_pool(void **state)
{
    World *w = *state;
    for (size_t i = 0; i < COUNT_OF(unusable); i++) {
        Pool *pool = open_pool(w, pg_conninfo(w->arena, &w->database, "api"), 1, 2000, unusable[i]);
        Db *db = NULL;
        Err err = pool_take(pool, &db);
        assert_true(err_is(err, "statement-invalid") && str_contains(err.detail, str_from_c(unusable[i][0]->name)));
        pool_free(&pool);
    }
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

static void test_a_constraints_name_is_the_code_and_its_comment_the_sentence(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("secret-value")), b = brief(2, STR("secret-value")), out;
    EXPECT_OK(db_one(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), REC(&EVERY, &out)));
    Err err = db_one(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &b), REC(&EVERY, &out));
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_true(err_is(err, "every-text-taken"));
    assert_true(str_eq(err.detail, STR("This text is taken already.")));
    b = brief(1, STR("other"));
    err = db_one(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &b), REC(&EVERY, &out));
    assert_true(err_is(err, "every-silent"));
    assert_false(str_contains(err.detail, STR("other")));
    b = brief(2000000000000000000, STR("large"));
    err = db_one(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &b), REC(&EVERY, &out));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_true(err_is(err, "every-big-small"));
}

static void test_our_own_exceptions_carry_their_status_and_code(void **state)
{
    World *w = *state;
    Err err = db_exec(w->db, w->arena, &REFUSED, REC_NONE, NULL);
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_true(err_is(err, "thing-unknown"));
}

static void test_no_row_is_not_found_unless_allowed(void **state)
{
    World *w = *state;
    Every in = brief(1, STR("x")), out = { 0 };
    EXPECT_CODE(db_one(w->db, w->arena, &EVERY_GET, REC(&EVERY, &in), REC(&EVERY, &out)), "not-found");
    bool found = true;
    const DbCall call = {
        .stmt = &EVERY_GET, .in = REC(&EVERY, &in), .out = REC(&EVERY, &out), .allow_none = true, .ret_found = &found
    };
    EXPECT_OK(db_pipeline(w->db, w->arena, &call, 1));
    assert_false(found);
}

/* --- transactions and pipelines ----------------------------------------------------------------------------------- */

static void test_a_committed_transaction_is_there_and_a_rolled_back_one_is_not(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a")), b = brief(2, STR("b"));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL));
    EXPECT_OK(tx_commit(w->db));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &b), NULL));
    tx_rollback(w->db);
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 1);
}

static void test_commit_of_a_failed_transaction_is_an_error(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a"));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL));
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL), "every-pkey");
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_COUNT, REC_NONE, NULL), "transaction-aborted");
    EXPECT_CODE(tx_commit(w->db), "transaction-aborted");
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

static void test_a_deferred_constraint_speaks_at_commit(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a"));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &LATE_INSERT, REC(&EVERY, &a), NULL));
    EXPECT_CODE(tx_commit(w->db), "late-first");
}

static void test_a_read_transaction_cannot_write(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a"));
    EXPECT_OK(tx_begin_read(w->db));
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL), "database-read-only");
    tx_rollback(w->db);
}

static void test_a_pipeline_is_one_transaction(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a")), b = brief(2, STR("a"));
    const DbCall calls[] = { { .stmt = &EVERY_BRIEF, .in = REC(&EVERY, &a) },
        { .stmt = &EVERY_BRIEF, .in = REC(&EVERY, &b) }, { .stmt = &EVERY_COUNT } };
    EXPECT_CODE(db_pipeline(w->db, w->arena, calls, 3), "every-text-taken");
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
    b.text = STR("b");
    Every counted = { 0 };
    List list = { 0 };
    int64_t rows = 0;
    const DbCall good[] = { { .stmt = &EVERY_BRIEF, .in = REC(&EVERY, &a), .ret_rows = &rows },
        { .stmt = &EVERY_BRIEF, .in = REC(&EVERY, &b) }, { .stmt = &EVERY_COUNT, .out = REC(&EVERY, &counted) },
        { .stmt = &EVERY_ALL, .list = &EVERY, .ret_list = &list } };
    EXPECT_OK(db_pipeline(w->db, w->arena, good, 4));
    assert_int_equal(rows, 1);
    assert_int_equal(counted.big, 2);
    assert_int_equal(list.count, 2);
    assert_int_equal(((Every *)list.items)[1].big, 2);
}

static void test_a_large_pipeline_does_not_deadlock(void **state)
{
    World *w = *state;
    static char text[200000];
    memset(text, 'x', sizeof(text));
    Every rows[64], outs[64];
    DbCall calls[128];
    for (size_t i = 0; i < 64; i++) {
        rows[i] = full_row(w->arena);
        rows[i].money.pico = (int64_t)i;
        text[i] = 'y';
        rows[i].text = (Str){ 0 };
        rows[i].bytes = (Bytes){ .ptr = (uint8_t *)text, .len = sizeof(text) };
        calls[2 * i] = (DbCall){ .stmt = &EVERY_INSERT, .in = REC(&EVERY, &rows[i]) };
        calls[2 * i + 1] = (DbCall){ .stmt = &EVERY_GET, .in = REC(&EVERY, &rows[i]), .out = REC(&EVERY, &outs[i]) };
    }
    EXPECT_OK(db_pipeline(w->db, w->arena, calls, 128));
    assert_int_equal(outs[63].bytes.len, sizeof(text));
}

static void test_the_tenant_ends_with_its_transaction(void **state)
{
    World *w = *state;
    Every in = { .other = PG_ORG_A }, out = { 0 };
    const DbCall calls[] = { { .stmt = &TENANT, .in = REC(&EVERY, &in) }, { .stmt = &ORG, .out = REC(&EVERY, &out) } };
    EXPECT_OK(db_pipeline(w->db, w->arena, calls, 2));
    assert_true(uuid_eq(out.other, PG_ORG_A));
    EXPECT_OK(db_one(w->db, w->arena, &ORG, REC_NONE, REC(&EVERY, &out)));
    assert_true(str_is_empty(out.text)); /* '' and not null, which current_org() must know */
    assert_true(uuid_is_zero(out.other));
}

static void test_what_was_left_open_is_rolled_back_when_given(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a"));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL));
    pool_give(w->pool, &w->db);
    EXPECT_OK(pool_take(w->pool, &w->db));
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

/* --- bad days ----------------------------------------------------------------------------------------------------- */

static void test_an_exhausted_pool_says_busy_in_time(void **state)
{
    World *w = *state;
    _cleanup_(db_lease_release) DbLease second = { 0 };
    EXPECT_OK(db_lease(w->pool, &second));
    int64_t start = monotonic_us();
    DbLease third = { 0 };
    EXPECT_CODE(db_lease(w->pool, &third), "database-busy");
    int64_t took = monotonic_us() - start;
    assert_in_range(took, 250 * US_PER_MS, 2 * US_PER_S);
    db_lease_release(&second);
    EXPECT_OK(db_lease(w->pool, &third));
    PoolStats stats = pool_stats(w->pool);
    assert_int_equal(stats.size, 2);
    assert_int_equal(stats.lent, 2);
    assert_int_equal(stats.takes, 4);
    assert_int_equal(stats.waits, 1);
    assert_int_equal(stats.busy, 1);
    assert_int_equal(stats.connects, 2);
    db_lease_release(&third);
}

static void test_a_statement_that_takes_too_long_is_ended(void **state)
{
    World *w = *state;
    Pool *pool = open_pool(w, pg_conninfo(w->arena, &w->database, "api"), 1, 100, statements);
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    EXPECT_OK(db_lease(pool, &lease));
    Every in = { .big = 30 };
    Err err = db_exec(lease.db, w->arena, &SLEEP, REC(&EVERY, &in), NULL);
    assert_true(err_is(err, "database-timeout"));
    assert_int_equal(err.kind, ERR_TIMEOUT);
    assert_int_equal(count_of(w, lease.db, &EVERY_COUNT), 0); /* the connection is well */
    db_lease_release(&lease);
    pool_free(&pool);
}

static void test_no_database_is_said_at_once_and_its_return_is_noticed(void **state)
{
    World *w = *state;
    pool_give(w->pool, &w->db);
    pg_down(server);
    for (int i = 0; i < 3; i++) {
        Err err = pool_take(w->pool, &w->db);
        assert_int_equal(err.kind, ERR_UNAVAILABLE);
        assert_true(err_is(err, "database-unavailable"));
    }
    assert_false(pool_is_up(w->pool));
    pg_up(server);
    Err err = OK;
    for (int i = 0; i < 300; i++) {
        err = pool_take(w->pool, &w->db);
        if (err.kind == ERR_NONE)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    EXPECT_OK(err);
    assert_true(pool_is_up(w->pool));
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

static void test_a_restart_in_mid_transaction_loses_it_and_says_so(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a")), b = brief(2, STR("b"));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL));
    pg_restart(server);
    EXPECT_CODE(db_exec(w->db, w->arena, &EVERY_BRIEF, REC(&EVERY, &b), NULL), "database-unavailable");
    EXPECT_CODE(tx_commit(w->db), "database-unavailable");
    pool_give(w->pool, &w->db);
    EXPECT_OK(pool_take(w->pool, &w->db));
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

static void test_an_idle_connection_that_died_is_made_again(void **state)
{
    World *w = *state;
    pool_give(w->pool, &w->db);
    pg_restart(server);
    EXPECT_OK(pool_take(w->pool, &w->db));
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

typedef struct Killer {
    int64_t pid;
    int after_ms;
} Killer;

static void *kill_later(void *argument)
{
    const Killer *killer = argument;
    nanosleep(&(struct timespec){ .tv_nsec = killer->after_ms * 1000000L }, NULL);
    pg_kill_backend(server, killer->pid);
    return NULL;
}

static void test_a_backend_killed_before_its_commit_is_decided_leaves_nothing(void **state)
{
    World *w = *state;
    Every a = brief(1, STR("a")), pid = { 0 };
    EXPECT_OK(db_one(w->db, w->arena, &PID, REC_NONE, REC(&EVERY, &pid)));
    EXPECT_OK(tx_begin(w->db));
    EXPECT_OK(db_exec(w->db, w->arena, &SLOW_INSERT, REC(&EVERY, &a), NULL));
    Killer killer = { pid.big, 200 }; /* COMMIT takes 600 ms here */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, kill_later, &killer), 0);
    Err err = tx_commit(w->db);
    pthread_join(thread, NULL);
    assert_true(err_is(err, "database-unavailable")); /* known: aborted */
    pool_give(w->pool, &w->db);
    for (int i = 0; i < 300 && (err = pool_take(w->pool, &w->db)).kind != ERR_NONE; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    EXPECT_OK(err);
    assert_int_equal(count_of(w, w->db, &SLOW_COUNT), 0);
}

/* A wire that passes everything on until it sees COMMIT go by on its first connection. Then it either delivers it and
 * keeps the answer for itself, or holds it back until all is over and delivers it then. */
typedef enum WireMode { WIRE_LOSES_ANSWER, WIRE_DELIVERS_LATE } WireMode;

typedef struct Wire {
    WireMode mode;
    char dir[64];
    struct sockaddr_un address;
    int listener;
    pthread_t thread;
    int late_upstream; /* -1: nothing is held back */
    char late[4096];
    size_t late_len;
} Wire;

static int connect_server(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), STR_FMT "/.s.PGSQL.5432", STR_ARG(pg_socket_dir(server)));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The text of COMMIT as it stands in a Parse message. */
static bool has_commit(const char *bytes, ssize_t len)
{
    return memmem(bytes, (size_t)len, "\0commit\0", 8) != NULL;
}

/* True while the connection goes on. */
static bool pass_on(Wire *wire, int client, int upstream, bool watched)
{
    char bytes[65536];
    ssize_t got = read(client, bytes, sizeof(bytes));
    if (got <= 0)
        return false;
    bool commit = watched && has_commit(bytes, got);
    if (commit && wire->mode == WIRE_DELIVERS_LATE) {
        assert_true((size_t)got <= sizeof(wire->late));
        memcpy(wire->late, bytes, (size_t)got);
        wire->late_len = (size_t)got;
        wire->late_upstream = upstream;
        return false;
    }
    bool sent = write(upstream, bytes, (size_t)got) == got;
    return sent && !(commit && read(upstream, bytes, sizeof(bytes)) > 0); /* committed; nobody will hear */
}

static bool pass_back(int upstream, int client)
{
    char bytes[65536];
    ssize_t got = read(upstream, bytes, sizeof(bytes));
    return got > 0 && write(client, bytes, (size_t)got) == got;
}

static void carry(Wire *wire, int client, int upstream, bool watched)
{
    struct pollfd fds[2] = { { .fd = client, .events = POLLIN }, { .fd = upstream, .events = POLLIN } };
    bool open = true;
    while (open && poll(fds, 2, 10000) > 0) {
        if (fds[0].revents != 0)
            open = pass_on(wire, client, upstream, watched);
        if (open && fds[1].revents != 0)
            open = pass_back(upstream, client);
    }
    close(client);
    if (wire->late_upstream != upstream)
        close(upstream);
}

static void *run_wire(void *argument)
{
    Wire *wire = argument;
    for (int n = 0;; n++) {
        int client = accept(wire->listener, NULL, NULL);
        if (client < 0)
            return NULL;
        carry(wire, client, connect_server(), n == 0);
    }
}

static void wire_open(Wire *wire, WireMode mode)
{
    *wire = (Wire){ .mode = mode, .dir = "/tmp/reeve-wire.XXXXXX", .late_upstream = -1 };
    assert_non_null(mkdtemp(wire->dir));
    wire->address.sun_family = AF_UNIX;
    snprintf(wire->address.sun_path, sizeof(wire->address.sun_path), "%s/.s.PGSQL.5432", wire->dir);
    wire->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(wire->listener, (struct sockaddr *)&wire->address, sizeof(wire->address)), 0);
    assert_int_equal(listen(wire->listener, 4), 0);
    assert_int_equal(pthread_create(&wire->thread, NULL, run_wire, wire), 0);
}

static void wire_close(Wire *wire)
{
    shutdown(wire->listener, SHUT_RDWR);
    pthread_join(wire->thread, NULL);
    if (wire->late_upstream >= 0) {
        char bytes[4096];
        assert_int_equal(write(wire->late_upstream, wire->late, wire->late_len), wire->late_len);
        assert_true(read(wire->late_upstream, bytes, sizeof(bytes)) > 0); /* the server's word on it */
        close(wire->late_upstream);
    }
    close(wire->listener);
    unlink(wire->address.sun_path);
    rmdir(wire->dir);
}

/* One row through the wire, and what was said of its COMMIT. */
static Err commit_through(World *w, WireMode mode)
{
    Wire wire;
    wire_open(&wire, mode);
    Str conninfo = arena_fmt(w->arena, "host=%s port=5432 dbname=%s user=reeve_api", wire.dir, w->database.name);
    Pool *pool = open_pool(w, conninfo, 1, 2000, statements);
    DbLease lease = { 0 };
    EXPECT_OK(db_lease(pool, &lease));
    Every a = brief(1, STR("a"));
    EXPECT_OK(tx_begin(lease.db));
    EXPECT_OK(db_exec(lease.db, w->arena, &EVERY_BRIEF, REC(&EVERY, &a), NULL));
    Err err = tx_commit(lease.db);
    db_lease_release(&lease);
    pool_free(&pool);
    wire_close(&wire);
    return err;
}

static void test_a_commit_whose_answer_is_lost_is_asked_for(void **state)
{
    World *w = *state;
    EXPECT_OK(commit_through(w, WIRE_LOSES_ANSWER)); /* the outcome was learnt on another connection */
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 1);
}

static void test_a_commit_that_arrives_after_it_was_given_up_changes_nothing(void **state)
{
    World *w = *state;
    EXPECT_CODE(commit_through(w, WIRE_DELIVERS_LATE), "database-unavailable");
    assert_int_equal(count_of(w, w->db, &EVERY_COUNT), 0);
}

/* --- a history under crashes, checked --------------------------------------------------------------------------------
 */

#define WRITERS 4
#define WRITES_MAX 20000
#define CRASHES 4

typedef enum Said { SAID_NOTHING, SAID_COMMITTED, SAID_NOT_COMMITTED, SAID_UNKNOWN } Said;

typedef struct Writer {
    Pool *pool;
    int64_t first; /* of its own range of numbers */
    size_t count;
    uint8_t said[WRITES_MAX];
    _Atomic bool *stop;
} Writer;

static Said write_one(Pool *pool, Arena *arena, int64_t number)
{
    Every row = { .id = uuid_v7(time_now()), .big = number, .money = { number } };
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    if (db_lease(pool, &lease).kind != ERR_NONE || tx_begin(lease.db).kind != ERR_NONE ||
        db_exec(lease.db, arena, &EVERY_BRIEF, REC(&EVERY, &row), NULL).kind != ERR_NONE)
        return SAID_NOT_COMMITTED;
    Err err = tx_commit(lease.db);
    return err.kind == ERR_NONE ? SAID_COMMITTED : err_is(err, "commit-unknown") ? SAID_UNKNOWN : SAID_NOT_COMMITTED;
}

static void *run_writer(void *argument)
{
    Writer *writer = argument;
    _cleanup_(arena_free) Arena *arena = arena_new();
    while (!*writer->stop && writer->count < WRITES_MAX) {
        writer->said[writer->count] = (uint8_t)write_one(writer->pool, arena, writer->first + (int64_t)writer->count);
        if (writer->said[writer->count] != SAID_COMMITTED)
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
        writer->count++;
        arena_clear(arena);
    }
    return NULL;
}

/* What was said of each number, against what is there. */
static void check_history(World *w, const Writer *writers, size_t *ret_committed, size_t *ret_unknown)
{
    static bool there[WRITERS * WRITES_MAX];
    memset(there, 0, sizeof(there));
    Db *db = NULL;
    Err err = OK;
    for (int i = 0; i < 300 && (err = pool_take(w->pool, &db)).kind != ERR_NONE; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    EXPECT_OK(err);
    List rows = { 0 };
    EXPECT_OK(db_list(db, w->arena, &EVERY_ALL, REC_NONE, &EVERY, &rows));
    for (size_t i = 0; i < rows.count; i++)
        there[((const Every *)rows.items)[i].big] = true;
    for (size_t t = 0; t < WRITERS; t++)
        for (size_t i = 0; i < writers[t].count; i++) {
            bool present = there[writers[t].first + (int64_t)i];
            Said said = writers[t].said[i];
            *ret_committed += said == SAID_COMMITTED;
            *ret_unknown += said == SAID_UNKNOWN;
            if ((said == SAID_COMMITTED && !present) || (said == SAID_NOT_COMMITTED && present))
                fail_msg("number %zu of writer %zu: said %d, present %d", i, t, said, present);
        }
    pool_give(w->pool, &db);
}

static void test_every_answer_of_commit_is_true_while_the_server_crashes(void **state)
{
    World *w = *state;
    pool_give(w->pool, &w->db);
    Pool *pool = open_pool(w, pg_conninfo(w->arena, &w->database, "api"), WRITERS, 2000, statements);
    static Writer writers[WRITERS];
    _Atomic bool stop = false;
    pthread_t threads[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i] = (Writer){ .pool = pool, .first = (int64_t)(i * WRITES_MAX), .stop = &stop };
        assert_int_equal(pthread_create(&threads[i], NULL, run_writer, &writers[i]), 0);
    }
    for (int i = 0; i < CRASHES; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
        pg_crash(server);
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        pg_up(server);
    }
    nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
    stop = true;
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    size_t committed = 0, unknown = 0;
    check_history(w, writers, &committed, &unknown);
    assert_true(committed > 100);
    assert_int_equal(unknown, 0); /* the server was back within the time of asking */
    pool_free(&pool);
}

static void test_a_deadlock_is_retryable(void **state)
{
    assert_true(err_is_retryable(FAIL(ERR_UNAVAILABLE, "serialization-failure", "x")));
    assert_false(err_is_retryable(FAIL(ERR_UNAVAILABLE, "database-unavailable", "x")));
    (void)state;
}

/* --- notifications and migrations --------------------------------------------------------------------------------- */

static void test_a_listener_hears_wakes_and_comes_back(void **state)
{
    World *w = *state;
    static const char *const channels[] = { "reeve_test" };
    const PoolOptions options = { .conninfo = pg_conninfo(w->arena, &w->database, "api"), .role = STR("api") };
    Listener *listener = NULL;
    EXPECT_OK(listener_open(&options, channels, 1, &listener));
    bool notified = false;
    EXPECT_OK(listener_wait(listener, 1000, &notified));
    assert_true(notified); /* made anew: read the state */
    EXPECT_OK(listener_wait(listener, 20, &notified));
    assert_false(notified);
    pg_sql(w->arena, &w->database, "api", "notify reeve_test");
    EXPECT_OK(listener_wait(listener, 2000, &notified));
    assert_true(notified);
    uint64_t one = 1;
    assert_int_equal(write(listener_wake_fd(listener), &one, sizeof(one)), sizeof(one));
    int64_t start = monotonic_us();
    EXPECT_OK(listener_wait(listener, 5000, &notified));
    assert_false(notified);
    assert_true(monotonic_us() - start < 2 * US_PER_S);
    pg_restart(server);
    EXPECT_OK(listener_wait(listener, 2000, &notified));
    assert_true(notified);
    listener_free(&listener);
}

static void test_migrations_apply_once_and_edits_are_seen(void **state)
{
    World *w = *state;
    PgDatabase empty = pg_database_new_empty(server);
    Str conninfo = pg_conninfo(w->arena, &empty, "migrate");
    MigrationState before = { 0 }, after = { 0 };
    EXPECT_OK(migrate_state(conninfo, &before));
    assert_int_equal(before.database, 0);
    assert_true(before.program >= 1);
    int applied = 0;
    EXPECT_OK(migrate_apply(conninfo, &applied));
    assert_true(applied >= 1);
    EXPECT_OK(migrate_apply(conninfo, &applied));
    assert_int_equal(applied, 0);
    EXPECT_OK(migrate_state(conninfo, &after));
    assert_int_equal(after.database, after.program);
    assert_false(after.edited);
    Pool *pool = pg_pool(&empty, "api", 1);
    EXPECT_OK(migrate_check(pool));
    pg_sql(w->arena, &empty, "super", "insert into reeve.migration values (9999, 'future', '\\x00')");
    EXPECT_CODE(migrate_check(pool), "schema-too-new");
    pg_sql(w->arena, &empty, "super",
        "delete from reeve.migration where number = 9999; update reeve.migration set digest = "
        "'\\x00' where number = 1");
    EXPECT_CODE(migrate_check(pool), "schema-edited");
    EXPECT_CODE(migrate_apply(conninfo, &applied), "schema-edited");
    pg_sql(w->arena, &empty, "super", "delete from reeve.migration");
    EXPECT_CODE(migrate_check(pool), "schema-too-old");
    pool_free(&pool);
    pg_database_drop(&empty);
}

static void test_the_fixtures_template_is_what_the_program_would_make(void **state)
{
    World *w = *state;
    EXPECT_OK(migrate_check(w->pool));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    json_start();
    crypto_start();
    log_start("store_test", LOG_WARN, /* as_text= */ true);
    const struct CMUnitTest tests[] = {
        CASE(test_every_kind_comes_back_as_it_went),
        CASE(test_zero_is_null_and_null_is_zero),
        CASE(test_the_ends_of_a_money_sum_hold),
        CASE(test_a_value_out_of_range_is_the_callers_error),
        CASE(test_a_column_or_parameter_without_a_field_is_named),
        CASE(test_a_misspelt_statement_stops_the_pool_by_name),
        CASE(test_a_column_that_no_field_could_take_stops_the_pool),
        CASE(test_a_constraints_name_is_the_code_and_its_comment_the_sentence),
        CASE(test_our_own_exceptions_carry_their_status_and_code),
        CASE(test_no_row_is_not_found_unless_allowed),
        CASE(test_a_committed_transaction_is_there_and_a_rolled_back_one_is_not),
        CASE(test_commit_of_a_failed_transaction_is_an_error),
        CASE(test_a_deferred_constraint_speaks_at_commit),
        CASE(test_a_read_transaction_cannot_write),
        CASE(test_a_pipeline_is_one_transaction),
        CASE(test_a_large_pipeline_does_not_deadlock),
        CASE(test_the_tenant_ends_with_its_transaction),
        CASE(test_what_was_left_open_is_rolled_back_when_given),
        CASE(test_an_exhausted_pool_says_busy_in_time),
        CASE(test_a_statement_that_takes_too_long_is_ended),
        CASE(test_no_database_is_said_at_once_and_its_return_is_noticed),
        CASE(test_a_restart_in_mid_transaction_loses_it_and_says_so),
        CASE(test_an_idle_connection_that_died_is_made_again),
        CASE(test_a_backend_killed_before_its_commit_is_decided_leaves_nothing),
        CASE(test_a_commit_whose_answer_is_lost_is_asked_for),
        CASE(test_a_commit_that_arrives_after_it_was_given_up_changes_nothing),
        CASE(test_every_answer_of_commit_is_true_while_the_server_crashes),
        CASE(test_a_deadlock_is_retryable),
        CASE(test_a_listener_hears_wakes_and_comes_back),
        CASE(test_migrations_apply_once_and_edits_are_seen),
        CASE(test_the_fixtures_template_is_what_the_program_would_make),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
