/* Shards, routing and secrets objects, keyrings: round trips, and refusals by pointer. */
#include "snapshot/object.h"

#include "base/json.h"
#include "check.h"
#include "snapshot/keyring.h"
#include "snapshot/shard.h"

static Arena *arena;

static int setup(void **state)
{
    (void)state;
    crypto_start();
    json_start();
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static Uuid id(void)
{
    return uuid_v7(time_now());
}

static Str sha(const char *text)
{
    return digest_text(arena, digest_of(str_bytes(str_from_c(text))));
}

/* --- shards --- */

static ShardEntry entry(Uuid org, Uuid project, Str kind)
{
    return (ShardEntry){
        .kind = kind, .org = org, .project = project, .version = 3, .length = 10, .sha256 = digest_of(str_bytes(kind))
    };
}

static void test_shard_is_sorted_and_read_as_it_was_built(void **state)
{
    (void)state;
    Uuid org = id(), project = id();
    ShardEntry entries[] = { entry(org, project, STR("secrets")), entry(org, project, STR("routing")) };
    entries[0].critical = true;
    Shard in = { .number = shard_of_project(project), .entries = entries, .count = 2 }, out;
    assert_ok(shard_parse(arena, shard_build(arena, &in), (int)in.number, &out));
    assert_int_equal(2, out.count);
    assert_str_is("routing", out.entries[0].kind);
    const ShardEntry *found = shard_find(&out, org, project, STR("secrets"));
    assert_non_null(found);
    assert_true(found->critical);
    assert_int_equal(3, found->version);
    assert_null(shard_find(&out, org, project, STR("catalogue")));
}

static void test_shard_empty_shards_of_one_number_are_the_same_bytes(void **state)
{
    (void)state;
    Shard a = { .number = 5 }, b = { .number = 5 }, c = { .number = 6 };
    assert_true(str_eq(shard_build(arena, &a), shard_build(arena, &b)));
    assert_false(str_eq(shard_build(arena, &a), shard_build(arena, &c)));
    assert_str_is("{\"v\":1,\"shard\":5,\"objects\":[]}", shard_build(arena, &a));
}

static void test_shard_refuses_another_place_duplicates_and_disorder(void **state)
{
    (void)state;
    Uuid org = id(), project = id();
    int number = shard_of_project(project);
    ShardEntry entries[] = { entry(org, project, STR("routing")), entry(org, project, STR("secrets")) };
    Shard in = { .number = number, .entries = entries, .count = 2 }, out;
    Str text = shard_build(arena, &in);
    assert_err("shard-malformed", shard_parse(arena, text, (number + 1) % 256, &out));
    json_t *value = NULL;
    assert_ok(json_parse(text, JSON_LIMITS_WIRE, &value));
    json_t *objects = json_object_get(value, "objects");
    json_t *first = json_incref(json_array_get(objects, 0));
    json_array_append(objects, first);
    assert_err("shard-malformed", shard_parse(arena, json_write(arena, value), number, &out));
    json_array_remove(objects, 0);
    assert_err("shard-malformed", shard_parse(arena, json_write(arena, value), number, &out));
    json_decref(first);
    json_decref(value);
}

static void test_shard_refuses_a_project_of_another_shard(void **state)
{
    (void)state;
    Uuid project = id();
    ShardEntry entries[] = { entry(id(), project, STR("routing")) };
    Shard in = { .number = (shard_of_project(project) + 1) % 256, .entries = entries, .count = 1 }, out;
    assert_err("shard-malformed", shard_parse(arena, shard_build(arena, &in), (int)in.number, &out));
}

static void test_shard_tombstone_stands_alone_and_empty(void **state)
{
    (void)state;
    Uuid org = id(), project = id();
    int number = shard_of_project(project);
    ShardEntry one[] = { shard_tombstone(org, project, 9) };
    Shard in = { .number = number, .entries = one, .count = 1 }, out;
    assert_ok(shard_parse(arena, shard_build(arena, &in), number, &out));
    assert_true(shard_entry_is_tombstone(&out.entries[0]));
    ShardEntry two[] = { shard_tombstone(org, project, 9), entry(org, project, STR("routing")) };
    in = (Shard){ .number = number, .entries = two, .count = 2 };
    assert_err("shard-malformed", shard_parse(arena, shard_build(arena, &in), number, &out));
    ShardEntry full[] = { shard_tombstone(org, project, 9) };
    full[0].length = 4;
    in = (Shard){ .number = number, .entries = full, .count = 1 };
    assert_err("shard-malformed", shard_parse(arena, shard_build(arena, &in), number, &out));
}

/* --- routing --- */

typedef struct Sample {
    Routing routing;
    RoutingConnection connection;
    RoutingTarget target;
    RoutingRevision revision;
    RoutingStage stage;
    RoutingWorkflow workflow;
    RoutingClientKey key;
} Sample;

#define ONE(pointer) ((List){ .items = (pointer), .count = 1 })

static Sample *sample(void)
{
    Sample *s = NEW(arena, Sample, 1);
    s->connection = (RoutingConnection){ .id = id(),
        .name = STR("main"),
        .dialect = STR("openai"),
        .base_url = STR("https://api.example.com/v1"),
        .secret = id() };
    s->target = (RoutingTarget){ .connection = s->connection.id,
        .model = STR("m-1"),
        .timeouts = { .connect_ms = 100, .first_byte_ms = 200, .idle_ms = 300, .total_ms = 400 },
        .max_attempts = 2 };
    s->revision = (RoutingRevision){ .id = id(),
        .number = 4,
        .targets = ONE(&s->target),
        .retry = { .budget_ms = 1000, .base_ms = 10, .max_ms = 100, .attempts = 3 } };
    s->stage = (RoutingStage){ .revision = s->revision.id, .percent = 100 };
    s->workflow = (RoutingWorkflow){ .id = id(),
        .name = STR("summarize"),
        .dialect = STR("openai"),
        .revisions = ONE(&s->revision),
        .release = { .salt = STR("pepper"), .stages = ONE(&s->stage) } };
    s->key = (RoutingClientKey){ .id = id(), .digest = sha("key"), .not_after = time_add_s(time_now(), 60) };
    s->routing = (Routing){ .org = id(),
        .project = id(),
        .version = 12,
        .connections = ONE(&s->connection),
        .workflows = ONE(&s->workflow),
        .client_keys = ONE(&s->key) };
    return s;
}

static void test_routing_is_read_as_it_was_built(void **state)
{
    (void)state;
    Sample *s = sample();
    Routing out;
    Str text = routing_build(arena, &s->routing);
    assert_ok(routing_parse(arena, text, &out));
    const RoutingWorkflow *workflow = LIST_AT(RoutingWorkflow, out.workflows, 0);
    assert_str_is("summarize", workflow->name);
    const RoutingRevision *revision = LIST_AT(RoutingRevision, workflow->revisions, 0);
    assert_int_equal(4, revision->number);
    assert_int_equal(3, revision->retry.attempts);
    const RoutingTarget *target = LIST_AT(RoutingTarget, revision->targets, 0);
    assert_str_is("m-1", target->model);
    assert_int_equal(300, target->timeouts.idle_ms);
    assert_int_equal(s->key.not_after.us, LIST_AT(RoutingClientKey, out.client_keys, 0)->not_after.us);
    assert_true(str_eq(text, routing_build(arena, &out)));
}

static void test_routing_refuses_references_that_point_nowhere(void **state)
{
    (void)state;
    Routing out;
    Sample *s = sample();
    s->target.connection = id();
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
    s = sample();
    s->stage.revision = id();
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
    s = sample();
    s->stage.percent = 99;
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
    s = sample();
    s->connection.base_url = STR("https://user@evil.example");
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
    s = sample();
    s->workflow.dialect = STR("telnet");
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
}

static void test_routing_refuses_one_thing_named_twice(void **state)
{
    (void)state;
    Routing out;
    Sample *s = sample();
    RoutingClientKey keys[] = { s->key, s->key };
    keys[1].id = id();
    s->routing.client_keys = (List){ .items = keys, .count = 2 };
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
    s = sample();
    RoutingWorkflow workflows[] = { s->workflow, s->workflow };
    workflows[1].id = id();
    s->routing.workflows = (List){ .items = workflows, .count = 2 };
    assert_err("object-malformed", routing_parse(arena, routing_build(arena, &s->routing), &out));
}

static void test_release_gives_each_data_plane_one_stage_near_its_share(void **state)
{
    (void)state;
    RoutingStage stages[] = { { .revision = id(), .percent = 25 }, { .revision = id(), .percent = 75 } };
    RoutingRelease release = { .salt = STR("s"), .stages = { .items = stages, .count = 2 } };
    int first = 0;
    for (int i = 0; i < 4000; i++) {
        Uuid data_plane = id();
        const RoutingStage *stage = release_select(&release, data_plane);
        assert_non_null(stage);
        assert_ptr_equal(stage, release_select(&release, data_plane));
        first += stage == &stages[0] ? 1 : 0;
    }
    assert_in_range(first, 850, 1150);
    assert_null(release_select(&(RoutingRelease){ .salt = STR("s") }, id()));
}

/* --- secrets and keyrings --- */

static void test_secrets_are_read_as_they_were_built(void **state)
{
    (void)state;
    SecretsVersion versions[] = {
        { .version = 2, .state = STR("active"), .jwe = STR("a.b.c.d.e") },
        { .version = 1, .state = STR("retiring"), .not_after = time_add_s(time_now(), 5), .jwe = STR("f.g.h.i.j") },
    };
    SecretsEntry secret = { .id = id(), .versions = { .items = versions, .count = 2 } };
    Secrets in = { .org = id(),
        .project = id(),
        .version = 1,
        .fleet = id(),
        .generation = 1,
        .secrets = ONE(&secret) },
            out;
    Str text = secrets_build(arena, &in);
    assert_ok(secrets_parse(arena, text, &out));
    assert_true(str_eq(text, secrets_build(arena, &out)));
    versions[1].state = STR("active");
    assert_err("object-malformed", secrets_parse(arena, secrets_build(arena, &in), &out));
    versions[1].state = STR("revoked");
    assert_err("object-malformed", secrets_parse(arena, secrets_build(arena, &in), &out));
    versions[1].state = STR("retiring");
    versions[1].version = 2;
    assert_err("object-malformed", secrets_parse(arena, secrets_build(arena, &in), &out));
}

static void test_object_refuses_a_version_it_does_not_know(void **state)
{
    (void)state;
    Routing routing;
    Secrets secrets;
    assert_err("version-unsupported", routing_parse(arena, STR("{\"v\":2}"), &routing));
    assert_err("version-unsupported", secrets_parse(arena, STR("{\"v\":2,\"new\":1}"), &secrets));
    assert_err("object-malformed", secrets_parse(arena, STR("{\"v\":1}"), &secrets));
}

static void test_keyring_is_read_as_it_was_built(void **state)
{
    (void)state;
    Keyring in = { .installation = id(), .fleet = id(), .generation = 3, .data_plane = id(), .jwe = STR("x.y.z") }, out;
    assert_ok(keyring_parse(arena, keyring_build(arena, &in), &out));
    assert_true(uuid_eq(in.data_plane, out.data_plane));
    assert_int_equal(3, out.generation);
    assert_str_is("x.y.z", out.jwe);
}

static void test_delivery_keys_differ_by_organization_and_project(void **state)
{
    (void)state;
    Secret fleet = secret_random(FLEET_KEY_BYTES);
    Uuid org = id(), project = id();
    Secret a = delivery_key(&fleet, org, project), again = delivery_key(&fleet, org, project);
    Secret b = delivery_key(&fleet, org, id()), c = delivery_key(&fleet, id(), project);
    assert_true(secret_eq(secret_bytes(&a), secret_bytes(&again)));
    assert_false(secret_eq(secret_bytes(&a), secret_bytes(&b)));
    assert_false(secret_eq(secret_bytes(&a), secret_bytes(&c)));
    secret_release(&fleet), secret_release(&a), secret_release(&again), secret_release(&b), secret_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shard_is_sorted_and_read_as_it_was_built),
        cmocka_unit_test(test_shard_empty_shards_of_one_number_are_the_same_bytes),
        cmocka_unit_test(test_shard_refuses_another_place_duplicates_and_disorder),
        cmocka_unit_test(test_shard_refuses_a_project_of_another_shard),
        cmocka_unit_test(test_shard_tombstone_stands_alone_and_empty),
        cmocka_unit_test(test_routing_is_read_as_it_was_built),
        cmocka_unit_test(test_routing_refuses_references_that_point_nowhere),
        cmocka_unit_test(test_routing_refuses_one_thing_named_twice),
        cmocka_unit_test(test_release_gives_each_data_plane_one_stage_near_its_share),
        cmocka_unit_test(test_secrets_are_read_as_they_were_built),
        cmocka_unit_test(test_object_refuses_a_version_it_does_not_know),
        cmocka_unit_test(test_keyring_is_read_as_it_was_built),
        cmocka_unit_test(test_delivery_keys_differ_by_organization_and_project),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
