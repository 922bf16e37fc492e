/* What sqlembed takes, what it leaves alone, and what it refuses by file and line. */
#define SQLEMBED_WITHOUT_MAIN
#include "../../../src/tools/sqlembed.c"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HEAD "-- name: project_get\n-- roles: api worker\n-- One project.\n"

static Arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static Err parse(const char *text, Embedding *ret_embedding)
{
    *ret_embedding = embedding_new(arena, 16);
    return statements_parse(ret_embedding, STR("sql/project.sql"), str_from_c(text));
}

static void expect_sql(const char *body, const char *sql, size_t parameters)
{
    Embedding embedding;
    Err err = parse(arena_fmt(arena, HEAD "%s", body).ptr, &embedding);
    if (err.kind != ERR_NONE)
        fail_msg("%s: " STR_FMT, body, STR_ARG(err.detail));
    assert_int_equal(embedding.statement_count, 1);
    assert_string_equal(embedding.statements[0].sql.ptr, sql);
    assert_int_equal(embedding.statements[0].parameter_count, parameters);
}

static void expect_refused(const char *text, const char *reason)
{
    Embedding embedding;
    Err err = parse(text, &embedding);
    assert_int_equal(err.kind, ERR_INVALID);
    if (!str_contains(err.detail, str_from_c(reason)))
        fail_msg("wanted '%s', got '" STR_FMT "'", reason, STR_ARG(err.detail));
}

static void test_named_parameters_become_numbers_in_order_of_first_use(void **state)
{
    (void)state;
    Embedding embedding;
    assert_int_equal(parse("-- A file's own words.\n\n" HEAD "select :b, :a, :b;\n\n-- more words\n"
                           "-- name: other\n-- roles: ingest\n-- Another.\nselect 1;\n",
                         &embedding)
                         .kind,
        ERR_NONE);
    assert_int_equal(embedding.statement_count, 2);
    const Statement *first = &embedding.statements[0];
    assert_string_equal(first->name.ptr, "project_get");
    assert_string_equal(first->roles.ptr, "api worker");
    assert_string_equal(first->sql.ptr, "select $1, $2, $1");
    assert_string_equal(first->parameters[0].ptr, "b");
    assert_string_equal(first->parameters[1].ptr, "a");
    assert_string_equal(embedding.statements[1].name.ptr, "other");
}

static void test_casts_quotes_names_dollars_and_comments_are_left_alone(void **state)
{
    (void)state;
    expect_sql("select :a::uuid, 'it''s :not; here', :b;", "select $1::uuid, 'it''s :not; here', $2", 2);
    expect_sql("select E'\\':x;', :a;", "select E'\\':x;', $1", 1);
    expect_sql("select e'a''b\\':x', :a;", "select e'a''b\\':x', $1", 1);
    expect_sql("select typee'x:y', :a;", "select typee'x:y', $1", 1);
    expect_sql("select \":x;\", :a;", "select \":x;\", $1", 1);
    expect_sql("select $$ :x; ' $$, $q$ $$ :y; $q$, :a;", "select $$ :x; ' $$, $q$ $$ :y; $q$, $1", 1);
    expect_sql("select 1 -- :x; it's\n, :a;", "select 1 -- :x; it's\n, $1", 1);
    expect_sql("select /* :x; /* nested */ ' */ :a;", "select /* :x; /* nested */ ' */ $1", 1);
    expect_sql("select a[1:2], b := 3;", "select a[1:2], b := 3", 0);
    expect_sql("select 'a'::text || :a::text;", "select 'a'::text || $1::text", 1);
}

static void test_bad_files_are_refused_by_line(void **state)
{
    (void)state;
    expect_refused("select 1;", ":1: text that belongs to no statement");
    expect_refused(HEAD "select 1;\nselect 2;", ":5: text that belongs to no statement");
    expect_refused("-- name: Bad-Name\n-- roles: api\n-- x\nselect 1;", "lower-case");
    expect_refused(HEAD "select 1;\n" HEAD "select 2;", "exists already");
    expect_refused("-- name: a\n-- x\nselect 1;", "needs `-- roles:`");
    expect_refused("-- name: a\n-- roles: api\nselect 1;", "line of intent");
    expect_refused("-- name: a\n-- roles: superuser\n-- x\nselect 1;", "lists api");
    expect_refused("-- name: a\n-- roles:\n-- x\nselect 1;", "lists api");
    expect_refused("-- name: a\n-- name: b\n-- roles: api\n-- x\nselect 1;", "second name");
    expect_refused(HEAD "select 1", ":4: the statement is not ended");
    expect_refused(HEAD ";", "empty");
    expect_refused(HEAD "select 'x;", ":4: a quoted text");
    expect_refused(HEAD "select $q$ x $$;", "does not end");
    expect_refused(HEAD "select /* x;", "does not end");
    expect_refused(HEAD "select $1;", "never numbered");
}

static void test_too_many_parameters_are_refused(void **state)
{
    (void)state;
    Str text = STR(HEAD "select 1");
    for (int i = 0; i < 65; i++)
        text = arena_fmt(arena, STR_FMT ", :p%d", STR_ARG(text), i);
    expect_refused(arena_fmt(arena, STR_FMT ";", STR_ARG(text)).ptr, "more than 64");
}

static void test_too_many_statements_are_refused(void **state)
{
    (void)state;
    Str text = STR("");
    for (int i = 0; i < 17; i++)
        text = arena_fmt(arena, STR_FMT "-- name: s%d\n-- roles: api\n-- x\nselect 1;\n", STR_ARG(text), i);
    expect_refused(text.ptr, ":66: too many statements");
}

static void test_migrations_are_numbered_and_rise(void **state)
{
    (void)state;
    Embedding embedding = embedding_new(arena, 16);
    assert_int_equal(migration_add(&embedding, STR("sql/migrations/0001_base.sql"), STR("x")).kind, ERR_NONE);
    assert_int_equal(migration_add(&embedding, STR("sql/migrations/0010_more_2.sql"), STR("y")).kind, ERR_NONE);
    assert_int_equal(embedding.migrations[1].number, 10);
    assert_string_equal(embedding.migrations[1].name.ptr, "more_2");
    static const char *const bad[] = { "0010_again.sql", "0009_older.sql", "0011.sql", "11_short.sql", "0011_Bad.sql",
        "0011_x.txt", "0011-x.sql", "0000_zero.sql", "00a1_x.sql", "x", "" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(migration_add(&embedding, str_from_c(bad[i]), STR("z")).kind, ERR_INVALID);
}

static void test_nothing_at_all_is_valid_c(void **state)
{
    (void)state;
    Embedding embedding;
    assert_int_equal(parse("", &embedding).kind, ERR_NONE);
    _cleanup_(buf_release) Buf out = buf_new(OUTPUT_BYTES_MAX);
    source_write(&embedding, &out);
    assert_true(str_contains(buf_str(&out), STR("const Stmt *const ALL_STATEMENTS[] = {\n    NULL,\n};")));
    assert_true(str_contains(buf_str(&out), STR("{ .number = 0 },")));
    assert_true(str_contains(buf_str(&out), STR("const char BOOTSTRAP_SQL[] =\n    \"\";")));
    buf_clear(&out);
    header_write(&embedding, &out);
    assert_true(str_ends_with(buf_str(&out), STR("#endif\n")));
}

static void test_a_literal_says_every_byte(void **state)
{
    (void)state;
    _cleanup_(buf_release) Buf out = buf_new(1000);
    literal(&out, STR("a\"b\\c\?\?/\xc3\xa9\t\nend\n"));
    assert_true(str_eq(buf_str(&out), STR("\n    \"a\\\"b\\\\c\\?\\?/\\303\\251\\011\\n\"\n    \"end\\n\"")));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        CASE(test_named_parameters_become_numbers_in_order_of_first_use),
        CASE(test_casts_quotes_names_dollars_and_comments_are_left_alone),
        CASE(test_bad_files_are_refused_by_line),
        CASE(test_too_many_parameters_are_refused),
        CASE(test_too_many_statements_are_refused),
        CASE(test_migrations_are_numbered_and_rise),
        CASE(test_nothing_at_all_is_valid_c),
        CASE(test_a_literal_says_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
