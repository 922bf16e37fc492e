/* The good days of a data plane: enrol, pull, change, rotate, restart, be cut off. */
#include "world.h"

static int setup(void **state)
{
    crypto_start();
    json_start();
    World *world = world_new();
    world_open(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static void test_pull_enrols_and_activates_the_first_snapshot(void **state)
{
    World *world = *state;
    assert_string_equal("none", world_model(world, 0));
    assert_ok(puller_step(world->puller));
    assert_int_equal(1, world_seq(world));
    for (size_t i = 0; i < WORLD_PROJECTS; i++)
        assert_string_equal("model-1", world_model(world, i));
}

static void test_pull_activates_a_change_and_fetches_only_what_changed(void **state)
{
    World *world = *state;
    assert_ok(puller_step(world->puller));
    world_change(world, 1, "model-2");
    world_publish(world);
    world->object_calls = 0;
    assert_ok(puller_step(world->puller));
    assert_int_equal(2, world_seq(world));
    assert_string_equal("model-1", world_model(world, 0));
    assert_string_equal("model-2", world_model(world, 1));
    assert_in_range(
        world->object_calls, 1, 5); /* a shard, a routing and a secrets object; neighbours reseal in tests */
}

static void test_pull_serves_from_its_directory_after_a_restart_without_a_control_plane(void **state)
{
    World *world = *state;
    assert_ok(puller_step(world->puller));
    world->transport = FAIL(ERR_UNAVAILABLE, "connect", "gone");
    world_restart(world);
    assert_int_equal(1, world_seq(world));
    assert_string_equal("model-1", world_model(world, 2));
    assert_err("connect", puller_step(world->puller));
    assert_string_equal("model-1", world_model(world, 2));
}

static void test_pull_reports_what_it_activated(void **state)
{
    World *world = *state;
    assert_ok(puller_step(world->puller));
    assert_ok(puller_report(world->puller));
    assert_int_equal(1, world->acks);
    assert_non_null(strstr(world->last_ack, "\"state\":\"active\""));
    assert_non_null(strstr(world->last_ack, "\"seq\":1"));
}

static void test_pull_holders_of_an_old_snapshot_keep_it_until_they_let_go(void **state)
{
    World *world = *state;
    assert_ok(puller_step(world->puller));
    PullView *old = puller_acquire(world->puller);
    puller_retain(old);
    world_change(world, 0, "model-2");
    world_publish(world);
    assert_ok(puller_step(world->puller));
    assert_int_equal(1, old->seq);
    Digest digest = token_digest(str_from_c(world->projects[0].client_key));
    const ReeveClientKey *key = reeve_client_key((const ReeveSnapshot *)old, digest.b);
    assert_string_equal("model-1", reeve_workflow(key->project, "summarize", 9)->revision->targets[0].model);
    puller_release(world->puller, old);
    puller_release(world->puller, old);
    assert_string_equal("model-2", world_model(world, 0));
}

static void test_pull_many_changes_keep_two_generations_on_disk(void **state)
{
    World *world = *state;
    for (int i = 0; i < 20; i++) {
        assert_ok(puller_step(world->puller));
        world_change(world, 0, i % 2 == 0 ? "even" : "odd");
        world_publish(world);
    }
    assert_ok(puller_step(world->puller));
    char command[128];
    snprintf(command, sizeof command, "%s/manifests/%016d.jws", world->dir, 21);
    assert_int_equal(0, access(command, R_OK));
    snprintf(command, sizeof command, "%s/manifests/%016d.jws", world->dir, 20);
    assert_int_equal(0, access(command, R_OK));
    snprintf(command, sizeof command, "%s/manifests/%016d.jws", world->dir, 19);
    assert_int_equal(-1, access(command, R_OK));
}

#define PULL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PULL_TEST(test_pull_enrols_and_activates_the_first_snapshot),
        PULL_TEST(test_pull_activates_a_change_and_fetches_only_what_changed),
        PULL_TEST(test_pull_serves_from_its_directory_after_a_restart_without_a_control_plane),
        PULL_TEST(test_pull_reports_what_it_activated),
        PULL_TEST(test_pull_holders_of_an_old_snapshot_keep_it_until_they_let_go),
        PULL_TEST(test_pull_many_changes_keep_two_generations_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
