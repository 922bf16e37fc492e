/* The ledger through its door: a data plane reports, prices come in, the bill is asked for. */
#include "api/serve.h"
#include "base/config.h"
#include "base/json.h"
#include "crypto/token.h"
#include "http/client.h"
#include "support/pg.h"
#include "support/usage_events.h"
#include "worker/rating.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static PgServer *server;
static PgDatabase database;
static Serve *serve;
static Pool *worker_pool;
static Arena *arena;
static Str data_plane_token, stranger_token, finops_token, operator_token;
static EventMix mix;

static Str token_make(const char *kind)
{
    _cleanup_(secret_release) Secret token = { 0 };
    Err err = token_new(str_from_c(kind), &token);
    assert_int_equal(ERR_NONE, err.kind);
    return arena_str(arena, bytes_str(secret_bytes(&token)));
}

static Str digest_hex(Str token)
{
    Digest digest = token_digest(token);
    char text[65];
    for (size_t i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", digest.b[i]);
    return arena_str(arena, str_n(text, 64));
}

static const char *text_of(Uuid id)
{
    return uuid_format(arena, id).ptr;
}

static void put_people(void)
{
    data_plane_token = token_make("dpl");
    stranger_token = token_make("dpl");
    finops_token = token_make("svc");
    operator_token = token_make("svc");
    Str sql = arena_fmt(arena,
        "insert into reeve.project (org, id, name) values ('%s', '%s', 'one'), ('%s', '%s', 'two'), ('%s', '%s', "
        "'three'), "
        "('%s', '%s', 'four');"
        "insert into reeve.fleet (id, name) values ('018f0000-0000-7000-8000-0000000000f1', 'main'), "
        "('018f0000-0000-7000-8000-0000000000f2', 'other');"
        "insert into reeve.fleet_organization (org, fleet) select o, '018f0000-0000-7000-8000-0000000000f1' from "
        "unnest(array['%s', '%s']::uuid[]) o;"
        "insert into reeve.data_plane (id, fleet, name, sign_key, encrypt_key, cert_digest, cert, request) select id, "
        "fleet, "
        "'gw', sha256(id::text::bytea), sha256(id::text::bytea), sha256(id::text::bytea), '', '' from (values "
        "('018f0000-0000-8000-8000-0000000000d1'::uuid, '018f0000-0000-7000-8000-0000000000f1'::uuid), "
        "('018f0000-0000-8000-8000-0000000000d2', '018f0000-0000-7000-8000-0000000000f2')) x(id, fleet);"
        "insert into reeve.data_plane_token (digest, data_plane, expires_at) values ('\\x%s', "
        "'018f0000-0000-8000-8000-0000000000d1', now() + interval '1 hour'), ('\\x%s', "
        "'018f0000-0000-8000-8000-0000000000d2', now() + interval '1 hour');",
        text_of(PG_ORG_A), text_of(mix.projects[0]), text_of(PG_ORG_A), text_of(mix.projects[1]), text_of(PG_ORG_B),
        text_of(mix.projects[2]), text_of(PG_ORG_B), text_of(mix.projects[3]), text_of(PG_ORG_A), text_of(PG_ORG_B),
        digest_hex(data_plane_token).ptr, digest_hex(stranger_token).ptr);
    (void)pg_sql(arena, &database, "super", sql.ptr);
    sql = arena_fmt(arena,
        "insert into reeve.service_account (org, id, name) values ('%s', '018f0000-0000-7000-8000-0000000000a1', "
        "'finops');"
        "insert into reeve.role_binding (org, id, service_account, role) values ('%s', "
        "'018f0000-0000-7000-8000-0000000000a2', '018f0000-0000-7000-8000-0000000000a1', 'finops');"
        "insert into reeve.token (org, id, service_account, digest, hint) values ('%s', "
        "'018f0000-0000-7000-8000-0000000000a3', '018f0000-0000-7000-8000-0000000000a1', '\\x%s', 'x'), ('%s', "
        "'018f0000-0000-7000-8000-0000000000a4', '018f0000-0000-7000-8000-000000000101', '\\x%s', 'x')",
        text_of(PG_ORG_A), text_of(PG_ORG_A), text_of(PG_ORG_A), digest_hex(finops_token).ptr, text_of(PG_INSTALLATION),
        digest_hex(operator_token).ptr);
    (void)pg_sql(arena, &database, "super", sql.ptr);
}

static int up(void **state)
{
    (void)state;
    arena = arena_new();
    server = pg_start();
    database = pg_database_new(server);
    pg_found(&database);
    mix = event_mix(21, PG_ORG_A, PG_ORG_B, time_add_s(time_now(), -1800));
    put_people();
    ServeOptions options = { .conninfo = { [DB_API] = pg_conninfo(arena, &database, "api"),
                                 [DB_INGEST] = pg_conninfo(arena, &database, "ingest") },
        .address = STR("127.0.0.1"),
        .workers = 4 };
    Err err = serve_start(&options, &serve);
    if (err.kind != ERR_NONE)
        die(STR_FMT, STR_ARG(err.detail));
    worker_pool = pg_pool(&database, "worker", 2);
    return 0;
}

static int down(void **state)
{
    (void)state;
    serve_stop(&serve, US_PER_S);
    pool_free(&worker_pool);
    pg_database_drop(&database);
    pg_stop(&server);
    arena_free(&arena);
    return 0;
}

static HttpReply call(const char *method, Str path, Str token, Str body, const char *accept)
{
    Header headers[] = { { STR("content-type"), STR("application/json") }, { STR("accept"), str_from_c(accept) } };
    TransferOptions options = { .method = method,
        .url = arena_fmt(arena, "http://127.0.0.1:%u" STR_FMT, serve_port(serve), STR_ARG(path)),
        .headers = headers,
        .header_count = 2,
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(token),
        .body = body,
        .connect_timeout_us = 5 * US_PER_S,
        .first_byte_timeout_us = 20 * US_PER_S,
        .idle_timeout_us = 20 * US_PER_S,
        .total_timeout_us = 30 * US_PER_S,
        .header_bytes_max = 16384,
        .allow_private = true };
    HttpReply reply = { 0 };
    Err err = http_fetch(arena, &options, 8 * 1024 * 1024, &reply);
    if (err.kind != ERR_NONE)
        fail_msg(STR_FMT " " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
    return reply;
}

static json_t *json_of(HttpReply reply, int status)
{
    if (reply.status != status)
        fail_msg("%d: " STR_FMT, reply.status, STR_ARG(reply.body));
    json_t *value = json_loadb(reply.body.ptr, reply.body.len, 0, NULL);
    assert_non_null(value);
    return value;
}

static size_t verdicts(HttpReply reply, const char *wanted)
{
    _cleanup_(json_release) json_t *body = json_of(reply, 200);
    size_t i, n = 0;
    json_t *item;
    json_array_foreach(json_object_get(body, "verdicts"), i, item) n +=
        str_eq(json_str(item, "verdict"), str_from_c(wanted));
    return n;
}

static void rate_all(void)
{
    RatingWorker worker = { .pool = worker_pool };
    bool more = true;
    while (more) {
        Err err = rating_turn(&worker, arena, &more);
        if (err.kind != ERR_NONE)
            fail_msg(STR_FMT, STR_ARG(err.detail));
    }
    rating_worker_release(&worker);
}

static const Str EVENTS = STR_INIT("/v1/usage/events");

static void test_prices_come_in_after_a_look_at_the_difference(void **state)
{
    (void)state;
    Str sample;
    Err err = file_read(arena, STR(REEVE_SOURCE_DIR "/policies/prices/sample.json"), 1 << 20, &sample);
    assert_int_equal(ERR_NONE, err.kind);
    HttpReply dry =
        call("POST", STR("/v1/price-books/import?format=reeve&dry_run=true"), operator_token, sample, "*/*");
    _cleanup_(json_release) json_t *look = json_of(dry, 200);
    assert_true(json_is_true(json_object_get(look, "dry_run")));
    assert_true(str_contains(dry.body, STR("rates_new")));
    assert_true(str_starts_with(pg_sql(arena, &database, "super", "select count(*) from ledger.rate"), STR("0")));
    _cleanup_(json_release) json_t *done =
        json_of(call("POST", STR("/v1/price-books/import?format=reeve"), operator_token, sample, "*/*"), 200);
    int64_t added = 0, again_new = -1;
    assert_true(json_i64(done, "rates_new", &added));
    assert_true(added > 20);
    _cleanup_(json_release) json_t *again =
        json_of(call("POST", STR("/v1/price-books/import"), operator_token, sample, "*/*"), 200);
    assert_true(json_i64(again, "rates_new", &again_new));
    assert_int_equal(0, again_new);
    assert_int_equal(403, call("POST", STR("/v1/price-books/import"), finops_token, sample, "*/*").status);
    _cleanup_(json_release) json_t *rates = json_of(
        call("GET", STR("/v1/price-books/cost/rates?provider=openai&model=gpt-4o-mini"), finops_token, STR(""), "*/*"),
        200);
    assert_int_equal(3, json_array_size(json_object_get(rates, "data")));
    /* A changed price holds from now on, and the old one before. */
    Str changed =
        STR("{\"reeve_price_book\":1,\"models\":{\"gpt-4o-mini\":{\"provider\":\"openai\",\"output\":\"0.7\"}}}");
    _cleanup_(json_release) json_t *change =
        json_of(call("POST", STR("/v1/price-books/import"), operator_token, changed, "*/*"), 200);
    assert_int_equal(1, json_array_size(json_object_get(change, "changes")));
    assert_true(str_starts_with(
        pg_sql(arena, &database, "super", "select count(*) from ledger.rate where model = 'gpt-4o-mini' and meter = 6"),
        STR("2")));
}

static void test_real_lists_are_taken_whole(void **state)
{
    (void)state;
    const char *root = getenv("REEVE_SHARED");
    static const char *const lists[] = { "genai-prices.json", "litellm.json" };
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        Str text,
            path = arena_fmt(arena, "%s/data/prices/%s", root != NULL ? root : REEVE_SOURCE_DIR "/../shared", lists[i]);
        if (file_read(arena, path, 8 * 1024 * 1024, &text).kind != ERR_NONE) {
            print_message("  no shared data: set REEVE_SHARED; nothing is imported\n");
            return;
        }
        _cleanup_(json_release) json_t *done =
            json_of(call("POST", STR("/v1/price-books/import"), operator_token, text, "*/*"), 200);
        int64_t added = 0, held = 0;
        json_i64(done, "rates_new", &added);
        json_i64(done, "held", &held);
        print_message("  %s: %lld new, %lld held\n", lists[i], (long long)added, (long long)held);
        assert_true(added > 1000);
        _cleanup_(json_release) json_t *again =
            json_of(call("POST", STR("/v1/price-books/import"), operator_token, text, "*/*"), 200);
        int64_t new = -1, changed = -1;
        json_i64(again, "rates_new", &new);
        json_i64(again, "rates_changed", &changed);
        assert_int_equal(0, new);
        assert_int_equal(0, changed);
    }
}

static void test_a_data_plane_reports_and_the_bill_is_asked_for(void **state)
{
    (void)state;
    Strs events = events_make(arena, &mix, 400);
    Str batch = events_batch(arena, events.items, 400);
    assert_int_equal(400, verdicts(call("POST", EVENTS, data_plane_token, batch, "*/*"), "stored"));
    assert_int_equal(400, verdicts(call("POST", EVENTS, data_plane_token, batch, "*/*"), "duplicate"));
    rate_all();
    _cleanup_(json_release) json_t *report = json_of(
        call("GET", STR("/v1/usage?group_by=project,model,meter&page_size=500"), finops_token, STR(""), "*/*"), 200);
    json_t *data = json_object_get(report, "data");
    assert_true(json_array_size(data) > 8);
    MoneySum sum = { 0 };
    size_t i;
    json_t *row;
    json_array_foreach(data, i, row)
    {
        MoneySum amount;
        assert_int_equal(ERR_NONE, money_sum_parse(json_str(row, "amount_usd"), &amount).kind);
        sum.pico += amount.pico;
        assert_true(str_starts_with(json_str(row, "project"), STR("prj_")));
    }
    MoneySum total;
    assert_int_equal(ERR_NONE, money_sum_parse(json_str(json_object_get(report, "totals"), "amount_usd"), &total).kind);
    assert_true(sum.pico == total.pico && total.pico > 0);
    Str pico = pg_sql(arena, &database, "super",
        "select sum(amount) from ledger.charge where org = '018f0000-0000-7000-8000-00000000000a'");
    assert_true(str_starts_with(pico, money_sum_digits(arena, total)));
    assert_false(json_is_null(json_object_get(report, "complete_to")));
}

static void test_pages_of_a_report_are_its_whole(void **state)
{
    (void)state;
    Str path = STR("/v1/usage?group_by=project,model,meter,attempt_outcome");
    _cleanup_(json_release) json_t *whole = json_of(
        call("GET", arena_fmt(arena, STR_FMT "&page_size=500", STR_ARG(path)), finops_token, STR(""), "*/*"), 200);
    size_t count = 0;
    Str token = STR("");
    for (int pages = 0; pages < 100; pages++) {
        Str url = token.len == 0
                      ? arena_fmt(arena, STR_FMT "&page_size=3", STR_ARG(path))
                      : arena_fmt(arena, STR_FMT "&page_size=3&page_token=" STR_FMT, STR_ARG(path), STR_ARG(token));
        json_t *page = json_of(call("GET", url, finops_token, STR(""), "*/*"), 200);
        json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++)
            assert_true(json_equal(json_array_get(data, i), json_array_get(json_object_get(whole, "data"), count++)));
        token = arena_str(arena, json_str(page, "next_page_token"));
        json_decref(page);
        if (token.len == 0)
            break;
    }
    assert_int_equal(json_array_size(json_object_get(whole, "data")), count);
}

static void test_a_report_is_a_table_for_a_spreadsheet_too(void **state)
{
    (void)state;
    HttpReply reply = call("GET", STR("/v1/usage?group_by=model,hour"), finops_token, STR(""), "text/csv");
    assert_int_equal(200, reply.status);
    assert_true(
        str_starts_with(reply.body, STR("model,hour,quantity,amount_usd,unrated_quantity,attempts,events\r\n")));
}

static void test_an_organization_sees_its_own_usage_only(void **state)
{
    (void)state;
    _cleanup_(json_release) json_t *report =
        json_of(call("GET", STR("/v1/usage?group_by=organization"), finops_token, STR(""), "*/*"), 200);
    json_t *data = json_object_get(report, "data");
    assert_int_equal(1, json_array_size(data));
    assert_true(str_eq(typeid_format(arena, STR("org"), PG_ORG_A), json_str(json_array_get(data, 0), "organization")));
    Str foreign =
        arena_fmt(arena, "/v1/usage?project=" STR_FMT, STR_ARG(typeid_format(arena, STR("prj"), mix.projects[2])));
    _cleanup_(json_release) json_t *none = json_of(call("GET", foreign, finops_token, STR(""), "*/*"), 200);
    int64_t events = -1;
    assert_true(json_i64(json_object_get(none, "totals"), "events", &events));
    assert_int_equal(0, events);
    assert_int_equal(403, call("GET", STR("/v1/usage"), operator_token, STR(""), "*/*").status);
}

static void test_a_data_plane_of_another_fleet_cannot_report_here(void **state)
{
    (void)state;
    Strs events = events_make(arena, &mix, 5);
    Str batch = events_batch(arena, events.items, 5);
    assert_int_equal(5, verdicts(call("POST", EVENTS, stranger_token, batch, "*/*"), "refused"));
    assert_int_equal(401, call("POST", EVENTS, finops_token, batch, "*/*").status);
    assert_int_equal(5, verdicts(call("POST", EVENTS, data_plane_token, batch, "*/*"), "stored"));
}

static void test_what_is_no_batch_is_refused_whole(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
    } bad[] = { { "{}", 422 }, { "[", 422 }, { "[{}", 422 }, { "[{},]", 422 }, { "[{}]x", 422 },
        { "[\"\\ud800\"]", 422 } };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        HttpReply reply = call("POST", EVENTS, data_plane_token, str_from_c(bad[i].body), "*/*");
        if (reply.status != bad[i].status)
            fail_msg("%s: %d " STR_FMT, bad[i].body, reply.status, STR_ARG(reply.body));
    }
    assert_int_equal(0, verdicts(call("POST", EVENTS, data_plane_token, STR("[]"), "*/*"), "stored"));
}

static void test_a_report_is_narrowed_by_ids_and_by_names(void **state)
{
    (void)state;
    static const char *const nothing[] = { "project=nobody", "workflow=summarize" };
    _cleanup_(json_release) json_t *one =
        json_of(call("GET", STR("/v1/usage?project=one"), finops_token, STR(""), "*/*"), 200);
    int64_t events = 0;
    assert_true(json_i64(json_object_get(one, "totals"), "events", &events));
    assert_true(events > 0);
    for (size_t i = 0; i < COUNT_OF(nothing); i++) {
        Str path = arena_fmt(arena, "/v1/usage?%s", nothing[i]);
        _cleanup_(json_release) json_t *none = json_of(call("GET", path, finops_token, STR(""), "*/*"), 200);
        assert_true(json_i64(json_object_get(none, "totals"), "events", &events));
        assert_int_equal(0, events);
    }
}

/* Sums of one project in a month of their own, made by hand: `count` models, each with `quantity`. */
static void put_sums(int count, const char *month, const char *quantity)
{
    static const char *const tables[] = { "hour", "day" };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        Str sql = arena_fmt(arena,
            "insert into ledger.rollup_%s select '%s', '%s-01T00:00:00Z', '%s', u, u, u, 'openai', 'model-' || n, "
            "'ok', 0, "
            "%s, 1, 0, 1, 1 from generate_series(1, %d) n, (values ('00000000-0000-0000-0000-000000000000'::uuid)) "
            "z(u)",
            tables[i], text_of(PG_ORG_A), month, text_of(mix.projects[0]), quantity, count);
        (void)pg_sql(arena, &database, "super", sql.ptr);
    }
}

static void test_a_table_that_would_end_early_is_refused(void **state)
{
    (void)state;
    put_sums(20001, "2025-03", "1");
    Str path = STR("/v1/usage?group_by=model&from=2025-03-01T00:00:00Z&to=2025-03-02T00:00:00Z");
    HttpReply reply = call("GET", path, finops_token, STR(""), "text/csv");
    assert_int_equal(422, reply.status);
    assert_true(str_contains(reply.body, STR("report-too-long")));
    assert_int_equal(200, call("GET", path, finops_token, STR(""), "application/json").status);
}

static void test_quantities_beyond_64_bits_are_summed_exactly(void **state)
{
    (void)state;
    put_sums(3, "2025-05", "9000000000000000000");
    Str path = STR("/v1/usage?from=2025-05-01T00:00:00Z&to=2025-05-02T00:00:00Z");
    _cleanup_(json_release) json_t *report = json_of(call("GET", path, finops_token, STR(""), "*/*"), 200);
    assert_true(str_eq(STR("27000000000000000000"), json_str(json_object_get(report, "totals"), "quantity")));
    HttpReply csv = call("GET", path, finops_token, STR(""), "text/csv");
    assert_true(str_contains(csv.body, STR("\r\n27000000000000000000,0.000000000003,0,3,3\r\n")));
}

/* Sums of every hour of four days: from any hour to any other, days and hours together must be all of it. */
static void test_a_report_is_the_same_from_days_and_from_hours(void **state)
{
    (void)state;
    static const char *const tables[][2] = { { "hour", "h" }, { "day", "(h at time zone 'UTC')::date" } };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        Str sql = arena_fmt(arena,
            "insert into ledger.rollup_%s select '%s', %s, '%s', u, u, u, 'openai', 'model', 'ok', 0, count(*), 1, 0, "
            "count(*), count(*) from generate_series(timestamptz '2025-07-01Z', '2025-07-04 23:00Z', '1 hour') h, "
            "(values ('00000000-0000-0000-0000-000000000000'::uuid)) z(u) group by 2, u",
            tables[i][0], text_of(PG_ORG_A), tables[i][1], text_of(mix.projects[0]));
        (void)pg_sql(arena, &database, "super", sql.ptr);
    }
    for (int from = 0; from < 48; from += 5)
        for (int to = from + 1; to < 96; to += 7) {
            Str span = arena_fmt(arena, "from=2025-07-%02dT%02d:00:00Z&to=2025-07-%02dT%02d:00:00Z", 1 + from / 24,
                from % 24, 1 + to / 24, to % 24);
            const char *const groups[] = { "model", "day", "hour" };
            for (size_t g = 0; g < COUNT_OF(groups); g++) {
                Str path = arena_fmt(arena, "/v1/usage?group_by=%s&" STR_FMT, groups[g], STR_ARG(span));
                _cleanup_(json_release) json_t *report = json_of(call("GET", path, finops_token, STR(""), "*/*"), 200);
                int64_t hours = 0;
                assert_true(json_i64(json_object_get(report, "totals"), "events", &hours));
                assert_int_equal(to - from, hours);
            }
        }
}

static void test_a_new_day_locks_nobody_out(void **state)
{
    (void)state;
    Str locks = pg_sql(arena, &database, "super",
        "begin; select ledger.partition_make('2031-01-01'); select 'locked ' || count(*) from pg_locks where mode = "
        "'AccessExclusiveLock' and relation in ('ledger.event'::regclass, 'ledger.attempt'::regclass, "
        "'ledger.unit'::regclass, 'ledger.charge'::regclass); select 'keys ' || count(*) from pg_constraint where "
        "conrelid = 'ledger.event_20310101'::regclass and contype = 'p'; rollback");
    assert_true(str_contains(locks, STR("locked 0")));
    assert_true(str_contains(locks, STR("keys 1")));
}

/* What the check says of one thing: "0" when it is in order. */
static Str found(const char *wanted)
{
    _cleanup_(json_release) json_t *verdict =
        json_of(call("GET", STR("/v1/usage/verify"), finops_token, STR(""), "*/*"), 200);
    bool healthy = true;
    Str text = STR("(none)");
    size_t i;
    json_t *check;
    json_array_foreach(json_object_get(verdict, "checks"), i, check)
    {
        healthy = healthy && !json_is_true(json_object_get(check, "wrong"));
        if (str_eq(json_str(check, "check"), str_from_c(wanted)))
            text = arena_str(arena, json_str(check, "found"));
    }
    assert_true(healthy == json_is_true(json_object_get(verdict, "healthy")));
    return text;
}

/* Does something to the database as nobody may, and undoes it: the check must see it in between. */
static void spoil(const char *what, const char *undo, const char *check)
{
    Str before = found(check);
    (void)pg_sql(arena, &database, "super", what);
    Str spoilt = found(check);
    if (str_eq(before, spoilt))
        fail_msg("%s does not see: %s", check, what);
    (void)pg_sql(arena, &database, "super", undo);
    assert_true(str_eq(before, found(check)));
}

static void test_the_account_is_checked_and_each_fault_is_seen(void **state)
{
    (void)state;
    rate_all();
    static const char *const clean[] = { "hourly-sums", "daily-sums", "lines", "quarantine", "usage" };
    for (size_t i = 0; i < COUNT_OF(clean); i++)
        if (!str_eq(STR("0"), found(clean[i])))
            fail_msg("%s: " STR_FMT, clean[i], STR_ARG(found(clean[i])));
    spoil("update ledger.rollup_hour set amount = amount + 1 where hour > now() - interval '1 day'",
        "update ledger.rollup_hour set amount = amount - 1 where hour > now() - interval '1 day'", "hourly-sums");
    spoil("update ledger.rollup_day set events = events + 1", "update ledger.rollup_day set events = events - 1",
        "daily-sums");
    spoil(
        "create table kept as with gone as (delete from ledger.charge where event in (select event from ledger.charge "
        "where org = '018f0000-0000-7000-8000-00000000000a' limit 1) returning *) select * from gone",
        "insert into ledger.charge select * from kept; drop table kept", "lines");
    spoil("update ledger.source set seen = seen - '{[2,3]}'::int8multirange",
        "update ledger.source set seen = seen + '{[2,3]}'::int8multirange", "numbers");
    spoil("insert into ledger.quarantine select org, id, digest, data_plane, 'test', '' from ledger.event where org = "
          "'018f0000-0000-7000-8000-00000000000a' limit 1",
        "delete from ledger.quarantine", "quarantine");
    assert_int_equal(
        422, call("GET", STR("/v1/usage/verify?from=2025-01-01T00:00:00Z"), finops_token, STR(""), "*/*").status);
    assert_int_equal(403, call("GET", STR("/v1/usage/verify"), operator_token, STR(""), "*/*").status);
}

static void test_bad_questions_are_answered_with_what_is_wrong(void **state)
{
    (void)state;
    static const char *const bad[] = { "group_by=colour", "group_by=hour,day", "from=yesterday", "meter=tokens",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=2020-01-01T00:00:00Z" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        HttpReply reply = call("GET", arena_fmt(arena, "/v1/usage?%s", bad[i]), finops_token, STR(""), "*/*");
        if (reply.status != 422)
            fail_msg("%s: %d " STR_FMT, bad[i], reply.status, STR_ARG(reply.body));
    }
}

int main(void)
{
    json_start();
    crypto_start();
    client_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prices_come_in_after_a_look_at_the_difference),
        cmocka_unit_test(test_a_data_plane_reports_and_the_bill_is_asked_for),
        cmocka_unit_test(test_pages_of_a_report_are_its_whole),
        cmocka_unit_test(test_a_report_is_a_table_for_a_spreadsheet_too),
        cmocka_unit_test(test_an_organization_sees_its_own_usage_only),
        cmocka_unit_test(test_a_data_plane_of_another_fleet_cannot_report_here),
        cmocka_unit_test(test_what_is_no_batch_is_refused_whole),
        cmocka_unit_test(test_a_report_is_narrowed_by_ids_and_by_names),
        cmocka_unit_test(test_a_table_that_would_end_early_is_refused),
        cmocka_unit_test(test_quantities_beyond_64_bits_are_summed_exactly),
        cmocka_unit_test(test_a_report_is_the_same_from_days_and_from_hours),
        cmocka_unit_test(test_a_new_day_locks_nobody_out),
        cmocka_unit_test(test_the_account_is_checked_and_each_fault_is_seen),
        cmocka_unit_test(test_bad_questions_are_answered_with_what_is_wrong),
        cmocka_unit_test(test_real_lists_are_taken_whole),
    };
    return cmocka_run_group_tests(tests, up, down);
}
