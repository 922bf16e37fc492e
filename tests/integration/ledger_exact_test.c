/* The ledger's invariants on a real PostgreSQL: exactly once, every attempt a line, exact amounts, sums that add up. */
#include "base/config.h"
#include "base/json.h"
#include "ledger/ingest.h"
#include "ledger/rating.h"
#include "support/pg.h"
#include "support/usage_events.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static PgServer *server;
static PgDatabase database;
static Pool *ingest_pool, *worker_pool;
static Arena *arena;

#define DATA_PLANE                                                                                                     \
    {                                                                                                                  \
        .b = { 1, 2, 3, 4, 5, 6, 0x80, 8, 0x80, 1, 1, 1, 1, 1, 1, 1 }                                                  \
    }

static Err serves_both(void *arg, Db *db, Arena *own, IngestProject *projects, size_t count)
{
    (void)arg, (void)db, (void)own;
    for (size_t i = 0; i < count; i++)
        projects[i].served = uuid_eq(projects[i].org, PG_ORG_A) || uuid_eq(projects[i].org, PG_ORG_B);
    return OK;
}

static const IngestSource SOURCE = { .data_plane = DATA_PLANE, .may_serve = serves_both };

static int group_up(void **state)
{
    (void)state;
    server = pg_start();
    return 0;
}

static int group_down(void **state)
{
    (void)state;
    pg_stop(&server);
    return 0;
}

static int up(void **state)
{
    (void)state;
    arena = arena_new();
    database = pg_database_new(server);
    pg_found(&database);
    (void)pg_sql(arena, &database, "super", event_rates_sql(arena).ptr);
    ingest_pool = pg_pool(&database, "ingest", 4);
    worker_pool = pg_pool(&database, "worker", 4);
    return 0;
}

static int down(void **state)
{
    (void)state;
    pool_free(&ingest_pool);
    pool_free(&worker_pool);
    pg_database_drop(&database);
    arena_free(&arena);
    return 0;
}

static void must(Err err)
{
    if (err.kind != ERR_NONE)
        fail_msg(STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
}

static List send(Str body)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    List verdicts = { 0 };
    must(db_lease(ingest_pool, &lease));
    must(ingest_batch(lease.db, arena, &SOURCE, body, time_now(), &verdicts));
    return verdicts;
}

static size_t count_verdicts(List verdicts, IngestVerdictKind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < verdicts.count; i++)
        n += ((const IngestVerdict *)verdicts.items)[i].kind == kind;
    return n;
}

static size_t rate_all(void)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    _cleanup_(price_book_free) PriceBook *book = NULL;
    must(db_lease(worker_pool, &lease));
    must(price_book_load(lease.db, STR("cost"), &book));
    size_t events = 0;
    for (RatingPass pass = { .events = 1 }; pass.events > 0; events += pass.events)
        must(rating_pass(lease.db, arena, book, &pass));
    return events;
}

static int64_t differences(void)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    Uuid orgs[] = { PG_ORG_A, PG_ORG_B };
    Time now = time_now();
    int64_t n = -1;
    must(db_lease(worker_pool, &lease));
    must(rollup_check(lease.db, arena, (Uuids){ .items = orgs, .count = 2 }, time_add_s(now, -3 * 86400),
        (Time){ .us = (now.us / US_PER_HOUR + 2) * US_PER_HOUR }, &n));
    return n;
}

static Str sql(const char *text)
{
    return pg_sql(arena, &database, "super", text);
}

/* Everything that money is made of, in one text: equal texts are equal ledgers. */
static Str ledger_text(void)
{
    return sql(
        "select c.org, c.event, c.attempt, c.unit, c.reversal, c.model, c.reason, c.meters, c.quantities, c.rates, "
        "c.amount, c.unrated, c.counted from ledger.charge c order by 1, 2, 3, 4, c.run, 5;"
        "select * from ledger.rollup_hour order by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;"
        "select * from ledger.rollup_day order by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
}

static Time hours_ago(int64_t hours)
{
    return time_add_s(time_now(), -3600 * hours);
}

static Strs make(uint64_t seed, size_t count)
{
    EventMix mix = event_mix(seed, PG_ORG_A, PG_ORG_B, hours_ago(2));
    return events_make(arena, &mix, count);
}

/* --- taking in --- */

static void test_an_event_is_stored_once_however_often_it_comes(void **state)
{
    (void)state;
    Strs events = make(1, 300);
    Str batch = events_batch(arena, events.items, events.count);
    assert_int_equal(300, count_verdicts(send(batch), VERDICT_STORED));
    assert_int_equal(300, count_verdicts(send(batch), VERDICT_DUPLICATE));
    assert_int_equal(10, count_verdicts(send(events_batch(arena, events.items + 50, 10)), VERDICT_DUPLICATE));
    assert_string_equal("300", str_trim(sql("select count(*) from ledger.event")).ptr == NULL
                                   ? ""
                                   : arena_c(arena, str_first(sql("select count(*) from ledger.event"), 3)));
}

static void test_duplicates_reordering_and_retries_give_the_same_ledger(void **state)
{
    (void)state;
    Strs events = make(2, 400);
    (void)send(events_batch(arena, events.items, events.count));
    rate_all();
    Str once = ledger_text();
    assert_int_equal(0, differences());

    PgDatabase other = pg_database_new(server);
    pg_found(&other);
    (void)pg_sql(arena, &other, "super", event_rates_sql(arena).ptr);
    pool_free(&ingest_pool);
    pool_free(&worker_pool);
    PgDatabase first = database;
    database = other;
    ingest_pool = pg_pool(&database, "ingest", 4);
    worker_pool = pg_pool(&database, "worker", 4);
    for (size_t i = 0; i < events.count; i++) { /* shuffled, with repeats, in odd pieces, rated in between */
        size_t j = (i * 7919) % events.count;
        Str swapped = events.items[i];
        events.items[i] = events.items[j];
        events.items[j] = swapped;
    }
    for (size_t at = 0; at < events.count; at += 37) {
        size_t n = events.count - at < 61 ? events.count - at : 61;
        (void)send(events_batch(arena, events.items + at, n));
        if (at % 2 == 0)
            rate_all();
    }
    rate_all();
    Str again = ledger_text();
    assert_true(str_eq(once, again));
    assert_int_equal(0, differences());
    pg_database_drop(&first);
}

static Str replaced(Str text, const char *what, const char *with)
{
    const char *at = strstr(text.ptr, what);
    assert_non_null(at);
    return arena_fmt(arena, "%.*s%s%s", (int)(at - text.ptr), text.ptr, with, at + strlen(what));
}

static void test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(void **state)
{
    (void)state;
    Strs events = make(3, 2);
    (void)send(events_batch(arena, events.items, 2));
    Str forged[] = { replaced(events.items[0], "\"status\":200", "\"status\":201"), events.items[1] };
    List verdicts = send(events_batch(arena, forged, 2));
    const IngestVerdict *v = verdicts.items;
    assert_int_equal(VERDICT_CONFLICT, v[0].kind);
    assert_true(str_eq(STR("id-conflict"), v[0].code));
    assert_int_equal(VERDICT_DUPLICATE, v[1].kind);
    /* Within one batch as well: the first stands. */
    Strs fresh = make(33, 1);
    Str pair[] = { fresh.items[0], replaced(fresh.items[0], "\"status\":200", "\"status\":201"), fresh.items[0] };
    verdicts = send(events_batch(arena, pair, 3));
    v = verdicts.items;
    assert_int_equal(VERDICT_STORED, v[0].kind);
    assert_int_equal(VERDICT_CONFLICT, v[1].kind);
    assert_int_equal(VERDICT_DUPLICATE, v[2].kind);
}

static void test_another_spelling_of_an_event_is_the_same_event(void **state)
{
    (void)state;
    Strs events = make(4, 1);
    (void)send(events_batch(arena, events.items, 1));
    Str spelled[] = { replaced(events.items[0], "\"specversion\":\"1.0\",", "  \"specversion\" : \"1\\u002e0\" ,\n"),
        replaced(events.items[0], "\"source\":\"dpl_x\"", "\"source\":\"dpl_someone_else\"") };
    assert_int_equal(2, count_verdicts(send(events_batch(arena, spelled, 2)), VERDICT_DUPLICATE));
}

static void test_ids_of_last_year_and_next_year_are_quarantined_and_make_no_partition(void **state)
{
    (void)state;
    Str before = sql("select count(*) from pg_class where relnamespace = 'ledger'::regnamespace");
    EventMix past = event_mix(5, PG_ORG_A, PG_ORG_B, hours_ago(24 * 365));
    EventMix future = event_mix(6, PG_ORG_A, PG_ORG_B, hours_ago(-24 * 365));
    EventMix soon = event_mix(7, PG_ORG_A, PG_ORG_B, time_add_s(time_now(), 360));
    Str events[] = { events_make(arena, &past, 1).items[0], events_make(arena, &future, 1).items[0],
        events_make(arena, &soon, 1).items[0] };
    Str batch = events_batch(arena, events, 3);
    assert_int_equal(3, count_verdicts(send(batch), VERDICT_QUARANTINED));
    assert_int_equal(3, count_verdicts(send(batch), VERDICT_QUARANTINED));
    assert_true(str_starts_with(sql("select count(*) from ledger.quarantine"), STR("3")));
    assert_true(str_starts_with(sql("select count(*) from ledger.event"), STR("0")));
    assert_true(str_eq(before, sql("select count(*) from pg_class where relnamespace = 'ledger'::regnamespace")));
}

static Err serves_a_only(void *arg, Db *db, Arena *own, IngestProject *projects, size_t count)
{
    (void)arg, (void)db, (void)own;
    for (size_t i = 0; i < count; i++)
        projects[i].served = uuid_eq(projects[i].org, PG_ORG_A);
    return OK;
}

static void test_a_data_plane_reports_only_what_its_fleet_serves(void **state)
{
    (void)state;
    Strs events = make(8, 50);
    IngestSource narrow = { .data_plane = DATA_PLANE, .may_serve = serves_a_only };
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    List verdicts = { 0 };
    must(db_lease(ingest_pool, &lease));
    must(ingest_batch(lease.db, arena, &narrow, events_batch(arena, events.items, 50), time_now(), &verdicts));
    assert_true(count_verdicts(verdicts, VERDICT_REFUSED) > 0);
    assert_int_equal(50, count_verdicts(verdicts, VERDICT_REFUSED) + count_verdicts(verdicts, VERDICT_STORED));
    Str stored = sql("select count(*) from ledger.event where org <> '018f0000-0000-7000-8000-00000000000a'");
    assert_true(stored.len > 0);
    assert_true(str_starts_with(sql(arena_fmt(arena, "select count(*) from ledger.event where org = '" STR_FMT "'",
                                    STR_ARG(uuid_format(arena, PG_ORG_B)))
                                        .ptr),
        STR("0")));
}

static void test_malformed_items_are_refused_by_themselves(void **state)
{
    (void)state;
    Strs events = make(9, 1);
    Str items[] = { STR("17"), STR("{}"), events.items[0], replaced(events.items[0], "\"n\":1", "\"n\":2"),
        replaced(events.items[0], "\"epoch\":1", "\"epoch\":-1"),
        replaced(events.items[0], "\"stream\":false", "\"surprise\":1,\"stream\":false"),
        replaced(events.items[0], "reeve.usage.v1", "reeve.usage.v9") };
    List verdicts = send(events_batch(arena, items, COUNT_OF(items)));
    assert_int_equal(COUNT_OF(items), verdicts.count);
    assert_int_equal(1, count_verdicts(verdicts, VERDICT_STORED));
    assert_int_equal(COUNT_OF(items) - 1, count_verdicts(verdicts, VERDICT_REFUSED));
    const IngestVerdict *v = verdicts.items;
    assert_true(str_contains(v[4].detail, STR("/data/epoch")));
    assert_true(str_contains(v[5].detail, STR("surprise")));
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    must(db_lease(ingest_pool, &lease));
    List none;
    assert_true(err_is(ingest_batch(lease.db, arena, &SOURCE, STR("{}"), time_now(), &none), "batch-not-a-list"));
}

static void test_missing_numbers_are_visible_as_gaps(void **state)
{
    (void)state;
    Strs events = make(10, 20);
    (void)send(events_batch(arena, events.items, 5));
    (void)send(events_batch(arena, events.items + 8, 4));
    (void)send(events_batch(arena, events.items + 15, 5));
    assert_true(str_starts_with(sql("select missing from ledger.gap"), STR("{[6,9),[13,16)}")));
    (void)send(events_batch(arena, events.items, 20));
    assert_true(str_starts_with(sql("select count(*) from ledger.gap"), STR("0")));
}

/* --- many at once --- */

typedef struct Poster {
    Strs events;
    size_t offset;
} Poster;

static void *post_all(void *arg)
{
    const Poster *poster = arg;
    _cleanup_(arena_free) Arena *own = arena_new();
    for (size_t i = 0; i < poster->events.count; i += 40) {
        size_t at = (i + poster->offset) % poster->events.count;
        size_t n = poster->events.count - at < 40 ? poster->events.count - at : 40;
        Str batch = events_batch(own, poster->events.items + at, n);
        for (int tries = 0;; tries++) {
            _cleanup_(db_lease_release) DbLease lease = { 0 };
            List verdicts;
            if (db_lease(ingest_pool, &lease).kind == ERR_NONE &&
                ingest_batch(lease.db, own, &SOURCE, batch, time_now(), &verdicts).kind == ERR_NONE)
                break;
            if (tries == 50)
                return (void *)1;
        }
    }
    return NULL;
}

static volatile bool posting_done;

static void *rate_until_done(void *arg)
{
    (void)arg;
    _cleanup_(price_book_free) PriceBook *book = NULL;
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    if (db_lease(worker_pool, &lease).kind != ERR_NONE ||
        price_book_load(lease.db, STR("cost"), &book).kind != ERR_NONE)
        return (void *)1;
    for (;;) {
        _cleanup_(arena_free) Arena *own = arena_new();
        bool last = posting_done;
        RatingPass pass;
        if (rating_pass(lease.db, own, book, &pass).kind != ERR_NONE)
            return (void *)1;
        if (last && pass.events == 0 && !pass.busy)
            return NULL;
    }
}

static void test_concurrent_posters_and_raters_make_one_ledger(void **state)
{
    (void)state;
    Strs events = make(11, 600);
    Poster posters[3] = { { events, 0 }, { events, 200 }, { events, 431 } };
    pthread_t post[3], rate[2];
    posting_done = false;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(0, pthread_create(&post[i], NULL, post_all, &posters[i]));
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(0, pthread_create(&rate[i], NULL, rate_until_done, NULL));
    void *failed;
    for (size_t i = 0; i < 3; i++) {
        pthread_join(post[i], &failed);
        assert_null(failed);
    }
    posting_done = true;
    for (size_t i = 0; i < 2; i++) {
        pthread_join(rate[i], &failed);
        assert_null(failed);
    }
    rate_all();
    assert_true(str_starts_with(sql("select count(*) from ledger.event"), STR("600")));
    assert_int_equal(0, differences());
    assert_true(
        str_starts_with(sql("select coalesce(sum(events), 0) from ledger.rollup_hour where meter = 0"), STR("600")));
}

/* --- what it costs --- */

static void test_every_attempt_has_a_line_and_amounts_are_quantity_times_rate(void **state)
{
    (void)state;
    Strs events = make(12, 500);
    (void)send(events_batch(arena, events.items, 500));
    assert_int_equal(500, rate_all());
    assert_true(
        str_starts_with(sql("select count(*) from ledger.attempt a where not exists (select from ledger.charge c "
                            "where (c.org, c.event, c.attempt) = (a.org, a.event, a.n))"),
            STR("0")));
    assert_true(str_starts_with(sql("select count(*) from ledger.event e where not exists (select from ledger.charge c "
                                    "where (c.org, c.event) = (e.org, e.id))"),
        STR("0")));
    assert_true(str_starts_with(
        sql("select count(*) from ledger.charge c where c.amount::numeric <> (select "
            "coalesce(sum(q::numeric * r), 0) from unnest(c.quantities, c.rates) x(q, r) where r >= 0)"),
        STR("0")));
    assert_true(str_starts_with(
        sql("select count(*) > 0 from ledger.charge where reason = 'unrated' and amount = 0 and unrated > 0"),
        STR("t")));
    assert_true(str_starts_with(
        sql("select count(*) > 0 from ledger.charge where reason in ('not-billed', 'unknown-usage', 'indeterminate')"),
        STR("t")));
    assert_int_equal(0, differences());
    /* Daily sums are sums of the hourly. */
    assert_true(str_starts_with(
        sql("select count(*) from (select org, (hour at time zone 'UTC')::date as day, project, workflow, client_key, "
            "connection, provider, model, outcome, meter, sum(quantity) q, sum(amount) a, sum(unrated) u, "
            "sum(attempts) t, "
            "sum(events) e from ledger.rollup_hour group by 1,2,3,4,5,6,7,8,9,10) h full join ledger.rollup_day d "
            "using "
            "(org, day, project, workflow, client_key, connection, provider, model, outcome, meter) where (h.q, h.a, "
            "h.u, "
            "h.t, h.e) is distinct from (d.quantity, d.amount, d.unrated, d.attempts, d.events)"),
        STR("0")));
}

static Str oracle(Str events_file, Str rates_file)
{
    int ends[2];
    assert_int_equal(0, pipe(ends));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execl("/usr/bin/python3", "python3", REEVE_SOURCE_DIR "/tests/support/ledger_oracle.py", events_file.ptr,
            rates_file.ptr, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char part[4096];
    _cleanup_(buf_release) Buf out = buf_new(4 * 1024 * 1024);
    for (ssize_t n; (n = read(ends[0], part, sizeof(part))) > 0;)
        buf_add_bytes(&out, part, (size_t)n);
    close(ends[0]);
    int status = -1;
    assert_int_equal(child, waitpid(child, &status, 0));
    assert_int_equal(0, status);
    return arena_str(arena, buf_str(&out));
}

static void test_the_bill_equals_an_independent_computation(void **state)
{
    (void)state;
    Strs events = make(13, 1000);
    Str batch = events_batch(arena, events.items, events.count);
    (void)send(batch);
    (void)send(events_batch(arena, events.items + 100, 300));
    rate_all();
    Str events_file = arena_fmt(arena, "%s/ledger_events.%d.json", REEVE_BINARY_DIR, (int)getpid());
    Str rates_file = arena_fmt(arena, "%s/ledger_rates.%d.txt", REEVE_BINARY_DIR, (int)getpid());
    must(file_write_atomic(events_file, batch, 0600));
    _cleanup_(buf_release) Buf rates = buf_new(64 * 1024);
    for (const EventRate *rate = EVENT_RATES; rate->provider != NULL; rate++)
        buf_fmt(&rates, "%s|%s|%s|%lld\n", rate->provider, rate->model, rate->meter, (long long)rate->pico);
    must(file_write_atomic(rates_file, buf_str(&rates), 0600));
    Str expected = oracle(events_file, rates_file);
    unlink(events_file.ptr);
    unlink(rates_file.ptr);
    Str sums =
        sql("select org, project, provider, model, outcome, m.name, sum(quantity), sum(amount), sum(unrated) from "
            "ledger.rollup_hour r join ledger.meter m on m.code = r.meter where quantity > 0 "
            "group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, m.name collate \"C\"");
    Str counts =
        sql("select org, sum(attempts), sum(events) from ledger.rollup_day where meter = 0 group by 1 order by 1");
    Str actual = arena_fmt(arena, STR_FMT "%s" STR_FMT "%s", STR_ARG(sums), str_ends_with(sums, STR("\n")) ? "" : "\n",
        STR_ARG(counts), str_ends_with(counts, STR("\n")) ? "" : "\n");
    if (!str_eq(expected, actual))
        fail_msg("expected\n" STR_FMT "\ngot\n" STR_FMT, STR_ARG(expected), STR_ARG(actual));
}

/* --- again --- */

static RerateReport rerate_now(bool dry_run)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    _cleanup_(price_book_free) PriceBook *book = NULL;
    must(db_lease(worker_pool, &lease));
    must(price_book_load(lease.db, STR("cost"), &book));
    Rerate what = {
        .org = PG_ORG_A, .from = hours_ago(48), .to = hours_ago(-1), .reason = STR("a test"), .dry_run = dry_run
    };
    RerateReport report;
    must(rerate(lease.db, book, &what, &report));
    return report;
}

static void test_rerating_at_the_same_prices_changes_nothing(void **state)
{
    (void)state;
    Strs events = make(14, 300);
    (void)send(events_batch(arena, events.items, 300));
    rate_all();
    Str before = ledger_text();
    RerateReport report = rerate_now(false);
    assert_int_equal(0, report.lines_changed);
    assert_int_equal(0, report.run);
    assert_true(report.events > 100);
    assert_true(str_eq(before, ledger_text()));
}

static void test_rerating_reverses_and_writes_anew_and_a_dry_run_only_tells(void **state)
{
    (void)state;
    Strs events = make(15, 300);
    (void)send(events_batch(arena, events.items, 300));
    rate_all();
    (void)sql(
        "insert into ledger.rate (book, provider, model, meter, valid_from, pico, import) values "
        "('cost', 'openai', 'nobody-prices-me', 1, '2020-01-01Z', 1000000, '00000000-0000-7000-8000-000000000001'), "
        "('cost', 'openai', 'gpt-odd', 6, '2020-01-02Z', 5, '00000000-0000-7000-8000-000000000001')");
    Str before = ledger_text();
    RerateReport told = rerate_now(true);
    assert_true(told.lines_changed > 0);
    assert_true(str_eq(before, ledger_text()));
    RerateReport done = rerate_now(false);
    assert_int_equal(told.lines_changed, done.lines_changed);
    assert_true(told.amount_after.pico == done.amount_after.pico);
    assert_true(done.run > 0);
    assert_true(done.unrated_after < done.unrated_before);
    assert_int_equal(0, differences());
    assert_true(str_starts_with(
        sql("select count(*) from ledger.charge c where reversal and not exists (select from ledger.charge o where "
            "(o.org, o.event, o.attempt, o.unit, o.amount) = (c.org, c.event, c.attempt, c.unit, -c.amount) and not "
            "o.reversal)"),
        STR("0")));
    RerateReport again = rerate_now(false);
    assert_int_equal(0, again.lines_changed);
    /* The sum of the lines is what rating at the new prices from the start would have given. */
    assert_true(str_starts_with(
        sql("select count(*) from (select org, event, attempt, unit, sum(case when reversal then -1 else 1 end) n "
            "from ledger.charge group by 1, 2, 3, 4) x where n <> 1"),
        STR("0")));
}

static void test_a_crash_of_the_database_loses_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    Strs events = make(16, 200);
    assert_int_equal(100, count_verdicts(send(events_batch(arena, events.items, 100)), VERDICT_STORED));
    rate_all();
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    must(db_lease(worker_pool, &lease));
    assert_int_equal(100, count_verdicts(send(events_batch(arena, events.items + 100, 100)), VERDICT_STORED));
    Str pid = sql("select pid from pg_stat_activity where usename = 'reeve_worker' limit 1");
    int64_t backend = 0;
    assert_true(str_to_i64(str_first(pid, pid.len - str_ends_with(pid, STR("\n"))), &backend));
    db_lease_release(&lease);
    pg_kill_backend(server, backend);
    for (int tries = 0; tries < 100; tries++) {
        Str out;
        if (pg_sql_try(arena, &database, "super", "select 1", &out))
            break;
        usleep(50000);
    }
    pool_free(&ingest_pool);
    pool_free(&worker_pool);
    ingest_pool = pg_pool(&database, "ingest", 4);
    worker_pool = pg_pool(&database, "worker", 4);
    assert_int_equal(200, count_verdicts(send(events_batch(arena, events.items, 200)), VERDICT_DUPLICATE));
    rate_all();
    assert_int_equal(0, differences());
    assert_true(str_starts_with(sql("select sum(events) from ledger.rollup_hour where meter = 0"), STR("200")));
}

static void test_rebuilding_the_sums_gives_the_same_rows(void **state)
{
    (void)state;
    Strs events = make(17, 300);
    (void)send(events_batch(arena, events.items, 300));
    rate_all();
    Str before = ledger_text();
    (void)sql(
        "update ledger.rollup_hour set amount = amount + 1, events = 0; delete from ledger.rollup_day where meter = 6");
    assert_true(differences() > 0);
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    Uuid orgs[] = { PG_ORG_A, PG_ORG_B };
    must(db_lease(worker_pool, &lease));
    must(rollup_rebuild(lease.db, arena, (Uuids){ .items = orgs, .count = 2 }, hours_ago(30), hours_ago(-1)));
    assert_true(str_eq(before, ledger_text()));
}

/* A pass that ends before its commit, however it ends, leaves nothing behind and loses nothing. */
static void test_a_pass_that_dies_before_its_commit_is_done_again(void **state)
{
    (void)state;
    Strs events = make(18, 200);
    (void)send(events_batch(arena, events.items, 200));
    {
        _cleanup_(db_lease_release) DbLease lease = { 0 };
        _cleanup_(price_book_free) PriceBook *book = NULL;
        must(db_lease(worker_pool, &lease));
        must(price_book_load(lease.db, STR("cost"), &book));
        /* The sums cannot be written: the lines that were written before them must go with them. */
        (void)sql(
            "create function ledger.fail() returns trigger language plpgsql as $$ begin raise exception 'disk full'; "
            "end $$; create trigger fail before insert on ledger.rollup_day for each row execute function "
            "ledger.fail()");
        RatingPass pass;
        Err err = rating_pass(lease.db, arena, book, &pass);
        assert_int_not_equal(ERR_NONE, err.kind);
        (void)sql("drop function ledger.fail() cascade");
    }
    assert_true(str_starts_with(sql("select count(*) from ledger.charge"), STR("0")));
    assert_true(str_starts_with(sql("select count(*) from ledger.rollup_hour"), STR("0")));
    assert_int_equal(200, rate_all());
    assert_int_equal(0, differences());
}

static void test_meter_numbers_in_the_database_are_those_of_the_program(void **state)
{
    (void)state;
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++) {
        Str row = sql(arena_fmt(arena, "select name, tokens from ledger.meter where code = %d", (int)m).ptr);
        Str want = arena_fmt(arena, STR_FMT "|%s", STR_ARG(meter_name(m)), meter_is_tokens(m) ? "t" : "f");
        assert_true(str_starts_with(row, want));
    }
    assert_true(
        str_starts_with(sql("select count(*) from ledger.meter"), arena_fmt(arena, "%d", (int)METER_COUNT - 1)));
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        T(test_an_event_is_stored_once_however_often_it_comes),
        T(test_duplicates_reordering_and_retries_give_the_same_ledger),
        T(test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing),
        T(test_another_spelling_of_an_event_is_the_same_event),
        T(test_ids_of_last_year_and_next_year_are_quarantined_and_make_no_partition),
        T(test_a_data_plane_reports_only_what_its_fleet_serves),
        T(test_malformed_items_are_refused_by_themselves),
        T(test_missing_numbers_are_visible_as_gaps),
        T(test_concurrent_posters_and_raters_make_one_ledger),
        T(test_every_attempt_has_a_line_and_amounts_are_quantity_times_rate),
        T(test_the_bill_equals_an_independent_computation),
        T(test_rerating_at_the_same_prices_changes_nothing),
        T(test_rerating_reverses_and_writes_anew_and_a_dry_run_only_tells),
        T(test_a_crash_of_the_database_loses_nothing_that_was_acknowledged),
        T(test_rebuilding_the_sums_gives_the_same_rows),
        T(test_a_pass_that_dies_before_its_commit_is_done_again),
        T(test_meter_numbers_in_the_database_are_those_of_the_program),
    };
    return cmocka_run_group_tests(tests, group_up, group_down);
}
