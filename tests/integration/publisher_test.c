/*
 * The publisher on its bad days: replicas that race or sleep, a keeper that dies, a commit that fails at its last
 * statement, rows that make no object. A private PostgreSQL, a real keeper, the real API; rounds are run by hand.
 */
#include "../../src/snapshot/publish/parts.h"

#include "support/api.h"
#include "support/check.h"

#include "base/json.h"
#include "base/log.h"
#include "snapshot/manifest.h"

#include <signal.h>
#include <time.h>

static PgServer *server;
static KeeperFixture *keeper;
static ApiFixture *api;

/* --- a world for each test: an organization in one fleet, a project with a connection --- */

static ApiReply make(const char *path, const char *body)
{
    ApiReply reply = api_post(api, api->owner_a, path, body);
    if (reply.status != 201)
        fail_msg("POST %s was answered with %d: " STR_FMT, path, reply.status, STR_ARG(reply.body));
    return reply;
}

static int setup(void **state)
{
    (void)state;
    api = api_fixture_new(server, keeper);
    CHECK_INT(api_post(api, api->operator_token, "/v1/fleets", "{\"name\":\"eu\"}").status, 201);
    CHECK_INT(
        api_post(api, api->operator_token, "/v1/fleets/eu/organizations", "{\"organization\":\"org-a\"}").status, 201);
    make("/v1/projects", "{\"name\":\"flow\"}");
    make("/v1/projects/flow/connections",
        "{\"name\":\"o\",\"dialect\":\"openai\",\"base_url\":\"https://a.example/v1\"}");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    api_fixture_free(&api);
    return 0;
}

static Str sql(const char *text)
{
    return str_trim(pg_sql(api->arena, &api->database, "super", text));
}

static int64_t number(const char *text)
{
    int64_t value = -1;
    Str found = sql(text);
    if (!str_to_i64(found, &value))
        fail_msg("not a number: " STR_FMT, STR_ARG(found));
    return value;
}

static Publisher *publisher_new(int64_t reissue_s)
{
    Publisher *publisher = NULL;
    PublisherOptions options = { .pool = { .conninfo = pg_conninfo(api->arena, &api->database, "publish"),
                                     .role = STR("publish"),
                                     .size_max = 2,
                                     .take_timeout_ms = 5000,
                                     .statement_timeout_ms = 10000 },
        .keeper = api->keeper,
        .reissue_s = reissue_s };
    CHECK_OK(publisher_open(&options, &publisher));
    return publisher;
}

static int publish(Publisher *publisher)
{
    int manifests = 0;
    CHECK_OK(publisher_round(publisher, &manifests));
    return manifests;
}

static int change_count;
static void change(void)
{
    Str body = arena_fmt(api->arena, "{\"name\":\"key-%d\"}", ++change_count);
    make("/v1/projects/flow/client-keys", body.ptr);
}

static void add_secret(const char *name)
{
    ApiReply reply = api_get(api, api->owner_a, "/v1/projects/flow");
    SecretRef ref = {
        .org = PG_ORG_A, .secret = uuid_v7(time_now()), .version = 1, .origin = STR("https://a.example")
    };
    CHECK_OK(typeid_parse(api_member(&reply, "id"), STR("prj"), &ref.project));
    Str jwe = keeper_fixture_sealed(keeper, &ref, STR("sk-0123456789abcdef"));
    Str body = arena_fmt(api->arena,
        "{\"id\":\"" STR_FMT "\",\"name\":\"%s\",\"origin\":\"" STR_FMT "\",\"sealed\":\"" STR_FMT "\"}",
        STR_ARG(typeid_format(api->arena, STR("sec"), ref.secret)), name, STR_ARG(ref.origin), STR_ARG(jwe));
    make("/v1/projects/flow/secrets", body.ptr);
}

/* --- what must hold at every moment --- */

#define HEAD "(select * from reeve.manifest order by seq desc limit 1) m"
#define OPEN_QUEUE "select count(*) from reeve.publish_queue"

/* The newest manifest names shards that are there, those name objects that are there, and the numbers form a chain. */
static void check_whole(void)
{
    CHECK_INT(
        number("select count(*) from " HEAD ", generate_series(0, 255) n where not exists (select from "
               "reeve.snapshot_shard s where s.fleet = m.fleet and s.number = n and sha256(s.body) = s.digest and "
               "s.digest = substr(m.shards, n * 32 + 1, 32))"),
        0);
    CHECK_INT(number("select count(*) from reeve.snapshot_entry e where kind <> 'tombstone' and not exists (select "
                     "from reeve.snapshot_object o where o.org = e.org and o.digest = e.digest and sha256(o.body) = "
                     "o.digest and octet_length(o.body) = e.length and o.replaced_at is null)"),
        0);
    CHECK_INT(number("select count(*) from reeve.manifest where seq > (select count(*) from reeve.manifest)"), 0);
    CHECK_INT(number("select count(*) from reeve.snapshot_entry e join reeve.snapshot_counter c using (org, project) "
                     "where e.version > c.version"),
        0);
}

static int64_t head_seq(void)
{
    return number("select coalesce(max(seq), 0) from reeve.manifest");
}

static Manifest manifest_at(int64_t seq)
{
    Manifest manifest;
    Str jws = sql(arena_fmt(api->arena, "select jws from reeve.manifest where seq = %lld", (long long)seq).ptr);
    CHECK_OK(manifest_verify(api->arena, jws, root_keys(&keeper->root, "manifest"), &manifest));
    CHECK_INT(manifest.seq, seq);
    return manifest;
}

static void check_chain(int64_t last)
{
    for (int64_t seq = 2; seq <= last; seq++) {
        Manifest manifest = manifest_at(seq);
        Str before =
            sql(arena_fmt(api->arena, "select jws from reeve.manifest where seq = %lld", (long long)seq - 1).ptr);
        CHECK(manifest.has_prev);
        CHECK(digest_eq(manifest.prev, digest_of(str_bytes(before))));
    }
}

/* --- a round by hand, so that something can happen in its midst --- */

typedef enum Stop { BEFORE_SEAL, BEFORE_SHARDS, BEFORE_SIGNING, BEFORE_COMMIT } Stop;

static Err by_database(Round *round, Err (*step)(Round *round))
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(round->publisher->pool, &lease));
    round->db = lease.db;
    Err err = step(round);
    round->db = NULL;
    return err;
}

static Err claim_and_read(Round *round)
{
    bool held = false;
    TRY(lease_claim(round->db, round->arena, &round->publisher->lease, &held));
    CHECK(held);
    return round_read(round);
}

static Round begin_round(Publisher *publisher, Stop stop)
{
    Round round = { .arena = api->arena, .publisher = publisher, .now = time_now() };
    CHECK_OK(by_database(&round, claim_and_read));
    if (stop > BEFORE_SEAL) {
        CHECK_OK(round_seal(&round));
        CHECK_OK(round_build(&round));
    }
    if (stop > BEFORE_SHARDS)
        CHECK_OK(by_database(&round, round_shards));
    if (stop > BEFORE_SIGNING)
        CHECK_OK(round_manifests(&round));
    return round;
}

static Err commit_step(Round *round)
{
    int manifests = 0;
    return round_commit(round, &manifests);
}

/* --- replicas --- */

TEST(one_replica_publishes_and_the_other_takes_over_when_it_leaves)
{
    Publisher *a = publisher_new(0), *b = publisher_new(0);
    int manifests = 0;
    CHECK_INT(publish(a), 1);
    change();
    CHECK_ERR(publisher_round(b, &manifests), "lease-held");
    CHECK_INT(head_seq(), 1);
    publisher_stop(&a);
    CHECK_INT(publish(b), 1);
    CHECK_INT(publish(b), 0);
    publisher_stop(&b);
    check_whole();
}

TEST(a_replica_that_slept_through_its_lease_cannot_commit_what_it_read)
{
    Publisher *sleeper = publisher_new(0), *other = publisher_new(0);
    int manifests = 0;
    CHECK_INT(publish(sleeper), 1);
    change();
    Round old = begin_round(sleeper, BEFORE_COMMIT);
    sql("update reeve.job_lease set until = now() - interval '1 second' where job = 'publish'");
    change();
    CHECK_INT(publish(other), 1);
    Str head = sql("select jws from " HEAD);
    CHECK_ERR(by_database(&old, commit_step), "lease-lost");
    CHECK(str_eq(head, sql("select jws from " HEAD)));
    change();
    CHECK_ERR(publisher_round(sleeper, &manifests), "lease-lost"); /* it still believes in its claim */
    CHECK_ERR(publisher_round(sleeper, &manifests), "lease-held");
    CHECK_INT(publish(other), 1);
    publisher_stop(&sleeper);
    publisher_stop(&other);
    check_whole();
}

/* Its lease came back to it after another had published: the number it wants is taken. */
TEST(an_older_round_cannot_replace_a_newer_one_even_with_the_lease)
{
    Publisher *sleeper = publisher_new(0), *other = publisher_new(0);
    CHECK_INT(publish(sleeper), 1);
    change();
    Round old = begin_round(sleeper, BEFORE_COMMIT);
    sql("update reeve.job_lease set until = now() - interval '1 second' where job = 'publish'");
    change();
    CHECK_INT(publish(other), 1);
    publisher_stop(&other);
    Round fresh = begin_round(sleeper, BEFORE_SEAL);
    (void)fresh;
    CHECK_ERR(by_database(&old, commit_step), "manifest-seq-taken");
    CHECK_INT(head_seq(), 2);
    check_whole();
    change();
    CHECK_INT(publish(sleeper), 1);
    publisher_stop(&sleeper);
    check_whole();
    check_chain(3);
}

static void wait_for_empty_queue(void)
{
    for (int i = 0; i < 300 && number(OPEN_QUEUE) > 0; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    CHECK_INT(number(OPEN_QUEUE), 0);
}

TEST(replicas_that_race_lose_no_change_and_make_one_chain)
{
    Publisher *a = publisher_new(0), *b = publisher_new(0);
    publisher_start(a);
    publisher_start(b);
    for (int i = 0; i < 6; i++)
        change();
    wait_for_empty_queue();
    publisher_stop(&a);
    for (int i = 0; i < 6; i++)
        change();
    wait_for_empty_queue();
    publisher_stop(&b);
    check_whole();
    check_chain(head_seq());
    Str keys = sql("select json_array_length(convert_from(o.body, 'UTF8')::json -> 'client_keys') from "
                   "reeve.snapshot_entry e join reeve.snapshot_object o using (org, digest) where e.kind = 'routing'");
    CHECK_STR(keys, "12");
}

/* --- bad days --- */

TEST(a_keeper_that_dies_in_a_round_leaves_nothing_half_published)
{
    Publisher *publisher = publisher_new(0);
    int manifests = 0;
    CHECK_INT(publish(publisher), 1);
    add_secret("main");
    keeper_fixture_stop(keeper, SIGKILL);
    Round round = begin_round(publisher, BEFORE_SEAL);
    CHECK_ERR(round_seal(&round), "keeper-unavailable");
    CHECK_ERR(publisher_round(publisher, &manifests), "keeper-unavailable");
    CHECK_INT(head_seq(), 1);
    CHECK_INT(number(OPEN_QUEUE), 1);
    check_whole();
    keeper_fixture_start(keeper);
    round = begin_round(publisher, BEFORE_SIGNING);
    keeper_fixture_stop(keeper, SIGKILL);
    CHECK_ERR(round_manifests(&round), "keeper-unavailable");
    CHECK_INT(head_seq(), 1);
    CHECK_INT(number("select count(*) from reeve.snapshot_object where kind = 'secrets'"), 1); /* the former */
    check_whole();
    keeper_fixture_start(keeper);
    CHECK_INT(publish(publisher), 1);
    CHECK_INT(number(OPEN_QUEUE), 0);
    publisher_stop(&publisher);
    check_whole();
    check_chain(2);
}

TEST(a_publisher_that_dies_between_seal_and_commit_is_followed_by_one_that_seals_nothing_twice)
{
    Publisher *publisher = publisher_new(0);
    CHECK_INT(publish(publisher), 1);
    add_secret("main");
    Round round = begin_round(publisher, BEFORE_COMMIT);
    CHECK_INT(round.sealed, 1);
    Str jwe = sql("select jwe from reeve.sealed_secret");
    publisher_stop(&publisher);
    publisher = publisher_new(0);
    CHECK_INT(publish(publisher), 1);
    CHECK_INT(publisher_stats(publisher).sealed, 0);
    CHECK(str_eq(jwe, sql("select jwe from reeve.sealed_secret")));
    CHECK_INT(number("select count(*) from reeve.snapshot_object where kind = 'secrets' and replaced_at is null and "
                     "position((select jwe from reeve.sealed_secret)::bytea in body) > 0"),
        1);
    publisher_stop(&publisher);
    check_whole();
    check_chain(2);
}

TEST(a_commit_that_fails_at_its_last_statement_leaves_nothing)
{
    Publisher *publisher = publisher_new(0);
    int manifests = 0;
    CHECK_INT(publish(publisher), 1);
    sql("create function reeve.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;"
        "create trigger refuse before delete on reeve.publish_queue for each row execute function reeve.refuse()");
    change();
    CHECK(publisher_round(publisher, &manifests).kind != ERR_NONE);
    CHECK_INT(manifests, 0);
    CHECK_INT(head_seq(), 1);
    CHECK_INT(number(OPEN_QUEUE), 1);
    check_whole();
    sql("drop trigger refuse on reeve.publish_queue");
    CHECK_INT(publish(publisher), 1);
    publisher_stop(&publisher);
    check_whole();
}

TEST(a_database_that_crashes_in_a_round_loses_nothing_and_the_round_is_made_again)
{
    Publisher *publisher = publisher_new(0);
    int manifests = 0;
    CHECK_INT(publish(publisher), 1);
    change();
    Round round = begin_round(publisher, BEFORE_COMMIT);
    pg_crash(server);
    CHECK(by_database(&round, commit_step).kind != ERR_NONE);
    CHECK(publisher_round(publisher, &manifests).kind != ERR_NONE);
    pg_up(server);
    Err err = OK;
    for (int i = 0; i < 100 && (i == 0 || err.kind != ERR_NONE); i++) {
        err = publisher_round(publisher, &manifests);
        nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    }
    CHECK_OK(err);
    CHECK_INT(number(OPEN_QUEUE), 0);
    CHECK_INT(head_seq(), 2);
    publisher_stop(&publisher);
    check_whole();
}

/* --- time --- */

TEST(a_manifest_is_issued_again_before_its_hard_expiry_and_says_the_same)
{
    Publisher *publisher = publisher_new(60);
    CHECK_INT(publish(publisher), 1);
    CHECK_INT(publish(publisher), 0);
    sql("update reeve.manifest set hard_expiry = now() + interval '30 seconds'");
    CHECK_INT(publish(publisher), 1);
    Manifest first = manifest_at(1), again = manifest_at(2);
    CHECK(memcmp(first.shards, again.shards, MANIFEST_SHARDS * sizeof(Digest)) == 0);
    CHECK(time_before(time_add_s(time_now(), 3600), again.hard_expiry));
    CHECK_INT(publish(publisher), 0);
    publisher_stop(&publisher);
    check_chain(2);
}

static void sign_checkpoint(int size)
{
    Str text = arena_fmt(api->arena,
        "insert into reeve.audit_log (org, size) select id, %d from reeve.installation on conflict (org) do update "
        "set size = excluded.size; insert into reeve.audit_checkpoint (org, size, root, note) select id, %d, "
        "sha256('%d'), 'n' from reeve.installation",
        size, size, size);
    sql(text.ptr);
}

TEST(a_checkpoint_rides_with_a_manifest_and_makes_one_of_its_own_at_most_every_minute)
{
    Publisher *publisher = publisher_new(0);
    CHECK_INT(publish(publisher), 1);
    CHECK(manifest_at(1).checkpoint.origin.ptr == NULL);
    sign_checkpoint(3);
    CHECK_INT(publish(publisher), 0);
    change();
    CHECK_INT(publish(publisher), 1);
    Manifest manifest = manifest_at(2);
    CHECK_INT(manifest.checkpoint.size, 3);
    CHECK(digest_eq(manifest.checkpoint.root, digest_of(str_bytes(STR("3")))));
    Str origin =
        arena_fmt(api->arena, "reeve/" STR_FMT, STR_ARG(typeid_format(api->arena, STR("ins"), keeper->installation)));
    CHECK(str_eq(manifest.checkpoint.origin, origin));
    sign_checkpoint(5);
    CHECK_INT(publish(publisher), 0);
    sql("update reeve.manifest set issued_at = now() - interval '61 seconds'");
    CHECK_INT(publish(publisher), 1);
    CHECK_INT(manifest_at(3).checkpoint.size, 5);
    sql("update reeve.manifest set issued_at = now() - interval '61 seconds'");
    CHECK_INT(publish(publisher), 0);
    publisher_stop(&publisher);
    check_chain(3);
}

/* --- rows --- */

TEST(a_project_whose_object_is_too_large_leaves_the_others_alone)
{
    Publisher *publisher = publisher_new(0);
    make("/v1/projects", "{\"name\":\"huge\"}");
    make("/v1/projects/huge/connections",
        "{\"name\":\"o\",\"dialect\":\"openai\",\"base_url\":\"https://a.example/v1\"}");
    make("/v1/projects/huge/workflows", "{\"name\":\"w\",\"dialect\":\"openai\"}");
    make("/v1/projects/huge/workflows/w/revisions", "{\"targets\":[{\"connection\":\"o\",\"model\":\"m\"}]}");
    ApiCall put = { .method = "PUT",
        .token = api->owner_a,
        .path = STR("/v1/projects/huge/workflows/w/release"),
        .if_match = STR("*"),
        .body = STR("{\"revision\":1}") };
    CHECK_INT(api_call(api, &put).status, 200);
    CHECK_INT(publish(publisher), 1);
    Str good =
        sql("select encode(e.digest, 'hex') from reeve.snapshot_entry e join reeve.project p on p.id = e.project "
            "where p.name = 'huge' and e.kind = 'routing'");
    sql("update reeve.revision r set targets = jsonb_set(targets, '{0,parameters}', jsonb_build_object('p', "
        "repeat('x', "
        "9000000))) from reeve.project p where p.id = r.project and p.name = 'huge'");
    make("/v1/projects/huge/client-keys", "{\"name\":\"k\"}");
    change();
    CHECK_INT(publish(publisher), 1);
    CHECK_INT(number(OPEN_QUEUE), 0);
    CHECK(str_eq(good,
        sql("select encode(e.digest, 'hex') from reeve.snapshot_entry e join reeve.project p on p.id = e.project where "
            "p.name = 'huge' and e.kind = 'routing'")));
    CHECK_INT(number("select max(e.version) from reeve.snapshot_entry e join reeve.project p on p.id = e.project where "
                     "p.name = 'flow'"),
        3); /* routing and secrets, then routing again */
    publisher_stop(&publisher);
    check_whole();
}

static int64_t version_of(const char *kind)
{
    return number(
        arena_fmt(api->arena, "select coalesce(max(version), 0) from reeve.snapshot_entry where kind = '%s'", kind)
            .ptr);
}

TEST(a_project_that_leaves_is_buried_above_all_it_had_and_returns_above_its_tombstone)
{
    Publisher *publisher = publisher_new(0);
    change();
    CHECK_INT(publish(publisher), 1);
    int64_t had = version_of("routing");
    CHECK_INT(api_post(api, api->owner_a, "/v1/projects/flow/archive", "").status, 200);
    CHECK_INT(publish(publisher), 1);
    int64_t buried = version_of("tombstone");
    CHECK(buried > had);
    CHECK_INT(number("select count(*) from reeve.snapshot_entry"), 1);
    CHECK_INT(api_post(api, api->owner_a, "/v1/projects/flow/unarchive", "").status, 200);
    CHECK_INT(publish(publisher), 1);
    CHECK(version_of("routing") > buried);
    CHECK(version_of("secrets") > buried);
    CHECK_INT(version_of("tombstone"), 0);
    Str path = STR("/v1/fleets/eu/organizations/org-a");
    CHECK_INT(api_delete(api, api->operator_token, path.ptr).status, 204);
    had = version_of("secrets");
    CHECK_INT(publish(publisher), 1);
    CHECK(version_of("tombstone") > had);
    publisher_stop(&publisher);
    check_whole();
    check_chain(4);
}

static void release(int revision)
{
    ApiCall put = { .method = "PUT",
        .token = api->owner_a,
        .path = STR("/v1/projects/flow/workflows/sum/release"),
        .if_match = STR("*"),
        .body = arena_fmt(api->arena, "{\"revision\":%d}", revision) };
    CHECK_INT(api_call(api, &put).status, 200);
}

TEST(versions_only_rise_also_when_a_workflow_is_rolled_back)
{
    Publisher *publisher = publisher_new(0);
    make("/v1/projects/flow/workflows", "{\"name\":\"sum\",\"dialect\":\"openai\"}");
    make("/v1/projects/flow/workflows/sum/revisions", "{\"targets\":[{\"connection\":\"o\",\"model\":\"first\"}]}");
    make("/v1/projects/flow/workflows/sum/revisions", "{\"targets\":[{\"connection\":\"o\",\"model\":\"second\"}]}");
    release(1);
    CHECK_INT(publish(publisher), 1);
    int64_t first = version_of("routing");
    release(2);
    CHECK_INT(publish(publisher), 1);
    int64_t second = version_of("routing");
    CHECK(second > first);
    CHECK_INT(api_post(api, api->owner_a, "/v1/projects/flow/workflows/sum/rollback", "").status, 200);
    CHECK_INT(publish(publisher), 1);
    CHECK(version_of("routing") > second);
    CHECK_INT(
        number("select count(*) from reeve.snapshot_entry e join reeve.snapshot_object o using (org, digest) where "
               "e.kind = 'routing' and position('first'::bytea in o.body) > 0 and position('second'::bytea in "
               "o.body) = 0"),
        1);
    publisher_stop(&publisher);
    check_whole();
    check_chain(3);
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    json_start();
    client_start();
    log_start("test", LOG_ERROR, /* as_text= */ true);
    server = pg_start();
    keeper = keeper_fixture_new(REEVE_BINARY_DIR "/bin/reeve-keeper");
    keeper_fixture_start(keeper);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    keeper_fixture_free(&keeper);
    pg_stop(&server);
    return 0;
}

#define ROUND(sentence) cmocka_unit_test_setup_teardown(test_##sentence, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUND(one_replica_publishes_and_the_other_takes_over_when_it_leaves),
        ROUND(a_replica_that_slept_through_its_lease_cannot_commit_what_it_read),
        ROUND(an_older_round_cannot_replace_a_newer_one_even_with_the_lease),
        ROUND(replicas_that_race_lose_no_change_and_make_one_chain),
        ROUND(a_keeper_that_dies_in_a_round_leaves_nothing_half_published),
        ROUND(a_publisher_that_dies_between_seal_and_commit_is_followed_by_one_that_seals_nothing_twice),
        ROUND(a_commit_that_fails_at_its_last_statement_leaves_nothing),
        ROUND(a_database_that_crashes_in_a_round_loses_nothing_and_the_round_is_made_again),
        ROUND(a_manifest_is_issued_again_before_its_hard_expiry_and_says_the_same),
        ROUND(a_checkpoint_rides_with_a_manifest_and_makes_one_of_its_own_at_most_every_minute),
        ROUND(a_project_whose_object_is_too_large_leaves_the_others_alone),
        ROUND(a_project_that_leaves_is_buried_above_all_it_had_and_returns_above_its_tombstone),
        ROUND(versions_only_rise_also_when_a_workflow_is_rolled_back),
    };
    return cmocka_run_group_tests_name("publisher", tests, group_setup, group_teardown);
}
