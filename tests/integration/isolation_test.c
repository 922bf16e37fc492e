/*
 * The catalogue keeps the rules of docs/STORE.md, whoever adds a table. Each rule is a query for what breaks it; a
 * second pass plants an offender for each rule and wants it found.
 */
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "support/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OURS "('reeve', 'ledger')"
#define TENANT_TABLES                                                                                                  \
    "with t as (select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, a.attnum as org, c.relispartition "  \
    "from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and "     \
    "a.attname = 'org' and not a.attisdropped where n.nspname in " OURS " and c.relkind in ('r', 'p')) "
#define DAEMON_ROLES "('reeve_api', 'reeve_worker', 'reeve_publish', 'reeve_ingest')"

typedef struct Rule {
    const char *says;
    const char *offenders; /* rows that break it */
    const char *plant;     /* SQL that breaks it, run by a superuser as the owner */
} Rule;

static const Rule rules[] = {
    { "a tenant table has row-level security, forced",
        TENANT_TABLES "select relname from t where not (relrowsecurity and relforcerowsecurity)",
        "create table reeve.planted (org uuid, id uuid, primary key (org, id)); alter table reeve.planted enable row "
        "level security; create policy p on reeve.planted using (org = reeve.current_org())" },
    { "a tenant table has a policy",
        TENANT_TABLES "select relname from t where not exists (select from pg_policy where polrelid = t.oid)",
        "create table reeve.planted (org uuid, id uuid, primary key (org, id)); alter table reeve.planted enable row "
        "level security; alter table reeve.planted force row level security" },
    { "a policy for anyone but the owner asks for the tenant, or its comment says why not",
        TENANT_TABLES
        "select relname || ' ' || polname from t join pg_policy p on p.polrelid = t.oid where polpermissive "
        "and polroles <> array[(select oid from pg_roles where rolname = 'reeve_owner')] and "
        "(coalesce(obj_description(p.oid, 'pg_policy'), '') not like 'global:%' or polroles && array[0::oid, "
        "(select oid from pg_roles where rolname = 'reeve_api')]) and (pg_get_expr(polqual, polrelid) !~ "
        "'current_org|is_installation|app.org|scope\\(\\)' or pg_get_expr(polwithcheck, polrelid) !~ "
        "'current_org|is_installation|app.org|scope\\(\\)')",
        "create table reeve.planted (org uuid, id uuid, primary key (org, id)); alter table reeve.planted enable row "
        "level security; alter table reeve.planted force row level security; create policy p on reeve.planted using "
        "(true); "
        "comment on policy p on reeve.planted is 'global: an excuse that the api role does not get'" },
    { "org is first in every unique key, or its comment says why not",
        TENANT_TABLES
        "select i.indexrelid::regclass::text from t join pg_index i on i.indrelid = t.oid where i.indisunique "
        "and i.indkey[0] <> t.org and not t.relispartition and coalesce(obj_description(i.indexrelid, "
        "'pg_class'), '') not like 'global:%'",
        "create table reeve.planted (org uuid, id uuid primary key); alter table reeve.planted enable row level "
        "security; "
        "alter table reeve.planted force row level security; create policy p on reeve.planted using (org = "
        "reeve.current_org())" },
    { "a foreign key between tenant tables carries org to org",
        TENANT_TABLES
        "select c.conname from t join pg_constraint c on c.conrelid = t.oid and c.contype = 'f' join t as "
        "target on target.oid = c.confrelid where not exists (select from generate_subscripts(c.conkey, 1) i "
        "where c.conkey[i] = t.org and c.confkey[i] = target.org)",
        "create table reeve.planted (org uuid, id uuid, token_digest bytea references reeve.token (digest), primary "
        "key "
        "(org, id)); alter table reeve.planted enable row level security; alter table reeve.planted force row level "
        "security; create policy p on reeve.planted using (org = reeve.current_org())" },
    { "the daemon's roles own nothing",
        "select c.relname::text from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname in " DAEMON_ROLES
        " union all select p.proname::text from pg_proc p join pg_roles r on r.oid = p.proowner where r.rolname "
        "in " DAEMON_ROLES " union all select n.nspname::text from pg_namespace n join pg_roles r on r.oid = "
        "n.nspowner where r.rolname in " DAEMON_ROLES,
        "create table reeve.planted (id uuid primary key); alter table reeve.planted owner to reeve_api" },
    { "the daemon's roles have no power over the server and are members of nothing",
        "select rolname::text from pg_roles r where rolname in " DAEMON_ROLES
        " and (rolsuper or rolbypassrls or rolcreatedb or rolcreaterole or rolreplication or exists (select from "
        "pg_auth_members where member = r.oid)) union all select rolname::text from pg_roles where rolname = "
        "'reeve_owner' "
        "and (rolsuper or rolbypassrls or rolcanlogin)",
        NULL },
    { "nobody may truncate, trigger or reference",
        "select r.rolname || ' ' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace and "
        "n.nspname in " OURS " cross join pg_roles r where c.relkind in ('r', 'p', 'v') and r.rolname in " DAEMON_ROLES
        " and has_table_privilege(r.oid, c.oid, 'TRUNCATE, TRIGGER, REFERENCES')",
        "grant truncate on reeve.token to reeve_api" },
    { "nothing is granted to public",
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a "
        "where "
        "n.nspname in " OURS
        " and a.grantee = 0 union all select p.proname::text from pg_proc p join pg_namespace n on "
        "n.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where n.nspname in " OURS
        " and a.grantee = 0 union all select n.nspname::text from pg_namespace n, aclexplode(n.nspacl) a where "
        "n.nspname in " OURS " and a.grantee = 0",
        "create function reeve.planted() returns int language sql return 1; grant execute on function reeve.planted() "
        "to "
        "public" },
    { "a definer's function fixes its search_path and belongs to the owner",
        "select p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in " OURS
        " and p.prosecdef and (p.proowner <> (select oid from pg_roles where rolname = 'reeve_owner') or not exists "
        "(select from unnest(p.proconfig) s where s like 'search_path=%' and s like '%pg_temp'))",
        "create function reeve.planted() returns int language sql security definer return 1; revoke all on function "
        "reeve.planted() from public" },
    { "a view runs with the rights of its reader",
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in " OURS
        " and (c.relkind = 'm' or c.relkind = 'v' and not coalesce(c.reloptions, '{}') && "
        "array['security_invoker=true', "
        "'security_invoker=on'])",
        "create view reeve.planted as select org from reeve.token" },
    { "a partition of a tenant table is not reached but through it",
        TENANT_TABLES "select r.rolname || ' ' || relname from t cross join pg_roles r where relispartition and "
                      "r.rolname in " DAEMON_ROLES
                      " and has_table_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE, DELETE')",
        "create table reeve.parent (org uuid, id uuid, primary key (org, id)) partition by hash (org); create table "
        "reeve.planted partition of reeve.parent for values with (modulus 1, remainder 0); alter table reeve.parent "
        "enable "
        "row level security; alter table reeve.parent force row level security; create policy p on reeve.parent using "
        "(org "
        "= reeve.current_org()); alter table reeve.planted enable row level security; alter table reeve.planted force "
        "row "
        "level security; create policy p on reeve.planted using (org = reeve.current_org()); grant select on "
        "reeve.planted "
        "to reeve_api" },
    { "sealed bytes are read by the publisher alone",
        "select r.rolname || ' ' || c.relname || '.' || a.attname from pg_attribute a join pg_class c on c.oid = "
        "a.attrelid "
        "join pg_namespace n on n.oid = c.relnamespace cross join pg_roles r where n.nspname in " OURS
        " and c.relkind in ('r', 'p', 'v') and a.attname in ('envelope', 'jwe') and r.rolname in ('reeve_api', "
        "'reeve_worker', 'reeve_ingest') and has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')",
        "grant select on reeve.secret_version to reeve_worker" },
    { "nothing that was written for the account or the log is changed or deleted",
        "select r.rolname || ' ' || c.relname || ' ' || p.p from pg_class c join pg_namespace n on n.oid = "
        "c.relnamespace "
        "cross join pg_roles r cross join (values ('DELETE'), ('UPDATE')) p (p) where n.nspname || '.' || c.relname in "
        "('reeve.audit_leaf', 'reeve.audit_node', 'reeve.audit_checkpoint', 'ledger.event', 'ledger.attempt', "
        "'ledger.unit', 'ledger.charge', 'reeve.migration') and r.rolname in " DAEMON_ROLES
        " and has_table_privilege(r.oid, c.oid, p.p)",
        "grant update on ledger.charge to reeve_worker" },
    { "a constraint has a name of its own, which is an error code",
        "select conrelid::regclass || ' ' || conname from pg_constraint c join pg_namespace n on n.oid = "
        "c.connamespace join "
        "pg_class t on t.oid = c.conrelid where n.nspname in " OURS " and not t.relispartition and conname ~ "
        "'(_key|_fkey|_check|_pkey)[0-9]*$'",
        "create table reeve.planted (id uuid primary key)" },
};

static PgServer *server;

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

static int setup(void **state)
{
    static PgDatabase database;
    database = pg_database_new(server);
    *state = &database;
    return 0;
}

static int teardown(void **state)
{
    pg_database_drop(*state);
    return 0;
}

static void test_the_schema_keeps_every_rule(void **state)
{
    const PgDatabase *database = *state;
    unsigned broken = 0;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        _cleanup_(arena_free) Arena *arena = arena_new();
        Str offenders = pg_sql(arena, database, "super", rules[i].offenders);
        if (!str_is_empty(offenders)) {
            print_error("%s:\n" STR_FMT "\n", rules[i].says, STR_ARG(offenders));
            broken++;
        }
    }
    assert_int_equal(broken, 0);
}

static void test_every_rule_finds_what_breaks_it(void **state)
{
    const PgDatabase *database = *state;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (rules[i].plant == NULL)
            continue;
        _cleanup_(arena_free) Arena *arena = arena_new();
        Str before = pg_sql(arena, database, "super", rules[i].offenders);
        Str sql = arena_fmt(arena, "begin; set local role reeve_owner; %s; set local role super; %s; rollback",
            rules[i].plant, rules[i].offenders);
        if (strstr(rules[i].plant, "owner to") != NULL)
            sql = arena_fmt(arena, "begin; %s; %s; rollback", rules[i].plant, rules[i].offenders);
        if (str_eq(pg_sql(arena, database, "super", sql.ptr), before))
            fail_msg("not found: %s", rules[i].says);
    }
}

/* Two organizations with a service account each. */
static void two_tenants(const PgDatabase *database)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    pg_found(database);
    pg_sql(arena, database, "migrate",
        "set role reeve_owner; insert into reeve.service_account (org, id, name) values "
        "('018f0000-0000-7000-8000-00000000000a', '018f0000-0000-7000-8000-0000000000a1', 'a'), "
        "('018f0000-0000-7000-8000-00000000000b', '018f0000-0000-7000-8000-0000000000b1', 'b')");
}

#define AS_A "begin; select set_config('app.org', '018f0000-0000-7000-8000-00000000000a', true); "

static void test_without_a_tenant_nothing_is_seen(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    static const char *const tables[] = { "organization", "service_account", "token", "role_binding" };
    for (size_t i = 0; i < COUNT_OF(tables); i++)
        assert_true(str_eq(
            pg_sql(arena, database, "api", arena_fmt(arena, "select count(*) from %s", tables[i]).ptr), STR("0")));
}

static void test_a_tenant_sees_and_changes_only_its_own(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    Str seen = pg_sql(arena, database, "api", AS_A "select string_agg(name, ',') from service_account");
    assert_true(str_ends_with(seen, STR("\na")));
    Str changed = pg_sql(arena, database, "api",
        AS_A
        "with u as (update service_account set name = 'taken' where name in ('b', 'operator') returning 1), d as "
        "(delete "
        "from service_account where name in ('b', 'operator') returning 1) select (select count(*) from u) + (select "
        "count(*) from d)");
    assert_true(str_ends_with(changed, STR("\n0")));
}

static void test_a_row_for_another_tenant_cannot_be_written(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    Str output;
    assert_false(pg_sql_try(arena, database, "api",
        AS_A "insert into service_account (org, id, name) values ('018f0000-0000-7000-8000-00000000000b', "
             "'018f0000-0000-7000-8000-0000000000c1', 'planted')",
        &output));
    assert_true(str_contains(output, STR("row-level security")));
    assert_false(pg_sql_try(arena, database, "api",
        AS_A "update service_account set org = '018f0000-0000-7000-8000-00000000000b'", &output));
    /* a child of ours with a parent of theirs: the composite foreign key */
    assert_false(pg_sql_try(arena, database, "api",
        AS_A
        "insert into token (org, id, service_account, digest, hint) values ('018f0000-0000-7000-8000-00000000000a', "
        "'018f0000-0000-7000-8000-0000000000c2', '018f0000-0000-7000-8000-0000000000b1', sha256('x'), 'x')",
        &output));
    assert_true(str_contains(output, STR("token_service_account_exists")));
}

static void test_a_foreign_name_is_no_oracle(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    pg_sql(arena, database, "api",
        AS_A "insert into service_account (org, id, name) values ('018f0000-0000-7000-8000-00000000000a', "
             "'018f0000-0000-7000-8000-0000000000b1', 'b'); commit"); /* their id and their name, in our organization */
}

static void test_a_token_opens_its_own_organization_and_only_while_it_lives(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    pg_sql(arena, database, "migrate",
        "set role reeve_owner; insert into token (org, id, service_account, digest, hint, expires_at, revoked_at) "
        "select "
        "'018f0000-0000-7000-8000-00000000000a', gen_random_uuid(), '018f0000-0000-7000-8000-0000000000a1', "
        "sha256(n::bytea), "
        "'', e, r from (values ('good', null::timestamptz, null::timestamptz), ('expired', now() - interval '1 "
        "second', "
        "null), ('revoked', null, now())) v (n, e, r)");
    Str good = pg_sql(arena, database, "api",
        "begin; select level, org, principal from auth_begin(sha256('good')); select current_org(), count(*) from "
        "token");
    assert_true(
        str_eq(good, STR("organization|018f0000-0000-7000-8000-00000000000a|018f0000-0000-7000-8000-0000000000a1\n"
                         "018f0000-0000-7000-8000-00000000000a|3")));
    static const char *const bad[][2] = { { "expired", "token-expired" }, { "revoked", "token-revoked" },
        { "unheard-of", "token-unknown" } };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Str output;
        assert_false(pg_sql_try(arena, database, "api",
            arena_fmt(arena, "begin; select * from auth_begin(sha256('%s'))", bad[i][0]).ptr, &output));
        assert_true(str_contains(output, str_from_c(bad[i][1])));
    }
    pg_sql(arena, database, "migrate",
        "set role reeve_owner; update service_account set disabled_at = now() where name = 'a'");
    Str output;
    assert_false(pg_sql_try(arena, database, "api", "select * from auth_begin(sha256('good'))", &output));
    assert_true(str_contains(output, STR("service-account-disabled")));
    pg_sql(arena, database, "migrate",
        "set role reeve_owner; update service_account set disabled_at = null; update organization set deleted_at = "
        "now() "
        "where name = 'org-a'");
    assert_false(pg_sql_try(arena, database, "api", "select * from auth_begin(sha256('good'))", &output));
    assert_true(str_contains(output, STR("organization-deleted")));
    assert_false(pg_sql_try(arena, database, "ingest", "select * from auth_begin(sha256('good'))", &output));
}

static void test_only_an_operator_sees_all_organizations(void **state)
{
    const PgDatabase *database = *state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    two_tenants(database);
    Str seen = pg_sql(arena, database, "api",
        "begin; select level from auth_begin(sha256('operator')); select count(*) from organization; select count(*) "
        "from "
        "service_account");
    assert_true(str_eq(seen, STR("installation\n3\n1")));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    json_start();
    crypto_start();
    log_start("isolation_test", LOG_WARN, /* as_text= */ true);
    const struct CMUnitTest tests[] = {
        CASE(test_the_schema_keeps_every_rule),
        CASE(test_every_rule_finds_what_breaks_it),
        CASE(test_without_a_tenant_nothing_is_seen),
        CASE(test_a_tenant_sees_and_changes_only_its_own),
        CASE(test_a_row_for_another_tenant_cannot_be_written),
        CASE(test_a_foreign_name_is_no_oracle),
        CASE(test_a_token_opens_its_own_organization_and_only_while_it_lives),
        CASE(test_only_an_operator_sees_all_organizations),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
