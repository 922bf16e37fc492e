/* Every statement of sql/ is prepared as the roles that run it, on a migrated schema, and may do what it says. */
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "store/migrate.h"
#include "store/sql.h"
#include "support/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static PgServer *server;
static PgDatabase database;

static const char *const roles[] = { "api", "worker", "publish", "ingest", "migrate" };

static int group_setup(void **state)
{
    (void)state;
    server = pg_start();
    database = pg_database_new(server);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    pg_database_drop(&database);
    pg_stop(&server);
    return 0;
}

static bool has_role(const Stmt *stmt, const char *role)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    return str_contains(arena_fmt(arena, " %s ", stmt->roles), arena_fmt(arena, " %s ", role));
}

/* Taking a connection prepares every statement of the role and checks each column's name and type. */
static void test_each_role_can_prepare_its_statements(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (size_t r = 0; r < COUNT_OF(roles); r++) {
        Pool *pool = pg_pool(&database, roles[r], 1);
        DbLease lease = { 0 };
        Err err = db_lease(pool, &lease);
        if (err.kind != ERR_NONE) {
            print_error("%s: " STR_FMT "\n", roles[r], STR_ARG(err.detail));
            failed++;
        }
        db_lease_release(&lease);
        pool_free(&pool);
    }
    assert_int_equal(failed, 0);
}

/* EXPLAIN starts the executor, which asks for every right on tables, columns and functions, and runs nothing. */
static bool may_run(Arena *arena, const Stmt *stmt, const char *role, Str *ret_output)
{
    Str nulls = STR("");
    for (size_t i = 0; i < stmt->parameter_count; i++)
        nulls = arena_fmt(arena, STR_FMT "%snull", STR_ARG(nulls), i == 0 ? "(" : ", ");
    if (stmt->parameter_count > 0)
        nulls = arena_fmt(arena, STR_FMT ")", STR_ARG(nulls));
    Str sql = arena_fmt(arena,
        "set plan_cache_mode = force_generic_plan; %s prepare tried as %s; explain execute tried" STR_FMT,
        strcmp(role, "migrate") == 0 ? "set role reeve_owner;" : "", stmt->sql, STR_ARG(nulls));
    return pg_sql_try(arena, &database, role, sql.ptr, ret_output);
}

static void test_each_role_has_the_rights_its_statements_need(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (size_t r = 0; r < COUNT_OF(roles); r++)
        for (size_t i = 0; ALL_STATEMENTS[i] != NULL; i++) {
            _cleanup_(arena_free) Arena *arena = arena_new();
            Str output;
            if (has_role(ALL_STATEMENTS[i], roles[r]) && !may_run(arena, ALL_STATEMENTS[i], roles[r], &output)) {
                print_error("%s as %s: " STR_FMT "\n", ALL_STATEMENTS[i]->name, roles[r], STR_ARG(output));
                failed++;
            }
        }
    assert_int_equal(failed, 0);
}

static void test_the_check_of_rights_can_fail(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    static const Stmt stmts[] = { { .name = "a", .sql = "truncate reeve.token", .roles = "api" },
        { .name = "b", .sql = "select digest from reeve.token", .roles = "ingest" },
        { .name = "c", .sql = "update reeve.audit_leaf set bytes = 'x'", .roles = "worker" },
        { .name = "d", .sql = "delete from reeve.audit_leaf", .roles = "worker" } };
    for (size_t i = 0; i < COUNT_OF(stmts); i++) {
        Str output;
        assert_false(may_run(arena, &stmts[i], stmts[i].roles, &output));
    }
}

static void test_no_statement_changes_more_than_it_names(void **state)
{
    (void)state;
    for (size_t i = 0; ALL_STATEMENTS[i] != NULL; i++) {
        Str sql = str_from_c(ALL_STATEMENTS[i]->sql);
        assert_false(str_contains(sql, STR(";")) && str_contains(sql, STR("; "))); /* one statement each */
        assert_false(str_starts_with(sql, STR("begin")) || str_starts_with(sql, STR("commit")));
    }
}

int main(void)
{
    json_start();
    crypto_start();
    log_start("sql_test", LOG_WARN, /* as_text= */ true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_role_can_prepare_its_statements),
        cmocka_unit_test(test_each_role_has_the_rights_its_statements_need),
        cmocka_unit_test(test_the_check_of_rights_can_fail),
        cmocka_unit_test(test_no_statement_changes_more_than_it_names),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
