/* The audit log against a private PostgreSQL: what was done is there, in order, once, and cannot be changed unseen. */
#include "domain/audit.h"

#include "base/json.h"
#include "base/log.h"
#include "store/sql.h"
#include "support/pg.h"
#include "worker/audit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static PgServer *server;

typedef struct World {
    Arena *arena;
    PgDatabase database;
    Pool *api, *pool;
    KeyPair key;
    AuditWorker worker;
    bool keeper_is_gone;
} World;

static Err sign_with_key(void *context, Arena *arena, const Checkpoint *checkpoint, Str *ret_note)
{
    const World *w = context;
    if (w->keeper_is_gone)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper is gone.");
    *ret_note = checkpoint_sign(arena, checkpoint, &w->key);
    return OK;
}

static AuditWorker worker_new(World *w)
{
    return (AuditWorker){ .pool = w->pool, .signer = { .context = w, .sign = sign_with_key } };
}

static int setup(void **state)
{
    Arena *arena = arena_new();
    World *w = NEW(arena, World, 1);
    w->arena = arena;
    w->database = pg_database_new(server);
    pg_found(&w->database);
    w->api = pg_pool(&w->database, "api", 4);
    w->pool = pg_pool(&w->database, "worker", 4);
    w->key = ed25519_new();
    w->worker = worker_new(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;
    pool_free(&w->api);
    pool_free(&w->pool);
    keypair_release(&w->key);
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

static void append_in(World *w, Db *db, const char *action)
{
    EXPECT_OK(audit_append(db, w->arena, action, "prj", uuid_v7(time_now()), (Uuid){ 0 }, NULL));
}

static void append(World *w, Uuid org, const char *action)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->api, &lease));
    EXPECT_OK(tx_begin(lease.db));
    EXPECT_OK(tx_set_tenant(lease.db, org));
    append_in(w, lease.db, action);
    EXPECT_OK(tx_commit(lease.db));
}

/* Turns until nothing is left to do. */
static void settle(World *w)
{
    for (bool more = true; more;)
        EXPECT_OK(audit_turn(&w->worker, w->arena, &more));
    bool more;
    EXPECT_OK(audit_turn(&w->worker, w->arena, &more));
}

/* A connection inside a read transaction of a tenant. */
static DbLease reader(World *w, Uuid org)
{
    DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->api, &lease));
    EXPECT_OK(tx_begin_read(lease.db));
    EXPECT_OK(tx_set_tenant(lease.db, org));
    return lease;
}

static Checkpoint latest(World *w, Db *db, Uuid org)
{
    AuditCheckpoint row = { 0 };
    EXPECT_OK(audit_checkpoint_latest(db, w->arena, &row));
    const KeySet keys = { &w->key.public_key, 1 };
    Checkpoint checkpoint;
    EXPECT_OK(checkpoint_verify(w->arena, row.note, audit_origin(w->arena, PG_INSTALLATION, org), keys, &checkpoint));
    assert_int_equal(checkpoint.size, row.size);
    assert_memory_equal(checkpoint.root.b, row.root.ptr, 32);
    return checkpoint;
}

/* What a stranger with the leaves, the proofs and the checkpoint's key would find. */
static bool verifies(World *w, Uuid org, int64_t position)
{
    _cleanup_(db_lease_release) DbLease lease = reader(w, org);
    Checkpoint checkpoint = latest(w, lease.db, org);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, position, 1, &leaves));
    AuditProof proof;
    if (leaves.count != 1 ||
        audit_inclusion(lease.db, w->arena, position, (int64_t)checkpoint.size, &proof).kind != ERR_NONE)
        return false;
    const AuditLeaf *leaf = leaves.items;
    return leaf->position == position && merkle_verify_inclusion(merkle_leaf(leaf->bytes), (uint64_t)position,
                                             checkpoint.size, proof.hashes, proof.count, checkpoint.root)
                                                 .kind == ERR_NONE;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_a_change_becomes_a_leaf_that_is_proved_in_a_signed_head(void **state)
{
    World *w = *state;
    for (int i = 0; i < 21; i++)
        append(w, PG_ORG_A, "project.created");
    settle(w);
    for (int64_t i = 0; i < 21; i++)
        assert_true(verifies(w, PG_ORG_A, i));
    assert_false(verifies(w, PG_ORG_A, 21));
    assert_int_equal(w->worker.sequenced, 22); /* and the checkpoint in the log of logs */
}

static void test_a_leaf_says_who_what_and_when_and_nothing_else(void **state)
{
    World *w = *state;
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->api, &lease));
    EXPECT_OK(tx_begin(lease.db));
    EXPECT_OK(tx_set_tenant(lease.db, PG_ORG_A));
    json_t *detail = json_pack("{s:s, s:i}", "name", "alpha", "a_number", 3);
    EXPECT_OK(audit_append(lease.db, w->arena, "project.created", "prj", PG_ORG_B, PG_ORG_B, detail));
    json_decref(detail);
    EXPECT_OK(tx_commit(lease.db));
    db_lease_release(&lease);
    settle(w);
    lease = reader(w, PG_ORG_A);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, 0, 10, &leaves));
    assert_int_equal(leaves.count, 1);
    const AuditLeaf *leaf = leaves.items;
    json_t *json = NULL;
    EXPECT_OK(json_parse(bytes_str(leaf->bytes), JSON_LIMITS_ADMIN, &json));
    assert_int_equal(json_object_size(json), 10);
    assert_true(str_eq(json_str(json, "action"), STR("project.created")));
    assert_true(str_eq(json_str(json, "id"), typeid_format(w->arena, STR("aud"), leaf->id)));
    assert_true(str_eq(json_str(json, "org"), typeid_format(w->arena, STR("org"), PG_ORG_A)));
    assert_true(
        str_starts_with(bytes_str(leaf->bytes), STR("{\"action\":\"project.created\",\"actor\":{\"principal\":null")));
    assert_true(str_contains(bytes_str(leaf->bytes), STR("\"detail\":{\"a_number\":3,\"name\":\"alpha\"}")));
    json_decref(json);
}

static void test_a_rolled_back_change_leaves_no_leaf(void **state)
{
    World *w = *state;
    DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->api, &lease));
    EXPECT_OK(tx_begin(lease.db));
    EXPECT_OK(tx_set_tenant(lease.db, PG_ORG_A));
    append_in(w, lease.db, "project.created");
    db_lease_release(&lease);
    settle(w);
    assert_int_equal(w->worker.sequenced, 0);
}

static void test_a_change_outside_any_organization_cannot_be_logged(void **state)
{
    World *w = *state;
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->api, &lease));
    EXPECT_OK(tx_begin(lease.db));
    assert_true(
        err_is(audit_append(lease.db, w->arena, "x", "prj", PG_ORG_A, (Uuid){ 0 }, NULL), "audit-without-tenant"));
}

static void test_an_older_open_transaction_holds_back_what_came_after_it(void **state)
{
    World *w = *state;
    DbLease slow = { 0 };
    EXPECT_OK(db_lease(w->api, &slow));
    EXPECT_OK(tx_begin(slow.db));
    EXPECT_OK(tx_set_tenant(slow.db, PG_ORG_A));
    append_in(w, slow.db, "first.begun");
    append(w, PG_ORG_A, "second.done");
    settle(w);
    assert_int_equal(w->worker.sequenced, 0);
    EXPECT_OK(tx_commit(slow.db));
    db_lease_release(&slow);
    settle(w);
    _cleanup_(db_lease_release) DbLease lease = reader(w, PG_ORG_A);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, 0, 10, &leaves));
    assert_int_equal(leaves.count, 2);
    assert_true(str_contains(bytes_str(((AuditLeaf *)leaves.items)[0].bytes), STR("first.begun")));
}

static void test_heads_are_consistent_as_the_log_grows(void **state)
{
    World *w = *state;
    Checkpoint heads[6];
    int64_t appended = 0;
    static const int steps[] = { 1, 1, 2, 3, 9, 17 };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        for (int n = 0; n < steps[i]; n++, appended++)
            append(w, PG_ORG_A, "step");
        settle(w);
        DbLease lease = reader(w, PG_ORG_A);
        heads[i] = latest(w, lease.db, PG_ORG_A);
        assert_int_equal(heads[i].size, appended);
        Digest root;
        EXPECT_OK(audit_root(lease.db, w->arena, appended, &root));
        assert_true(digest_eq(root, heads[i].root));
        for (size_t old = 0; old <= i; old++) {
            AuditProof proof = { 0 };
            EXPECT_OK(audit_consistency(lease.db, w->arena, (int64_t)heads[old].size, appended, &proof));
            EXPECT_OK(merkle_verify_consistency(
                heads[old].size, heads[old].root, heads[i].size, heads[i].root, proof.hashes, proof.count));
        }
        db_lease_release(&lease);
    }
}

static void test_proofs_outside_the_log_are_refused(void **state)
{
    World *w = *state;
    append(w, PG_ORG_A, "one");
    settle(w);
    _cleanup_(db_lease_release) DbLease lease = reader(w, PG_ORG_A);
    AuditProof proof;
    assert_true(err_is(audit_inclusion(lease.db, w->arena, 0, 2, &proof), "audit-range"));
    assert_true(err_is(audit_inclusion(lease.db, w->arena, 1, 1, &proof), "audit-range"));
    assert_true(err_is(audit_inclusion(lease.db, w->arena, -1, 1, &proof), "audit-range"));
    assert_true(err_is(audit_consistency(lease.db, w->arena, 2, 1, &proof), "audit-range"));
    assert_true(err_is(audit_consistency(lease.db, w->arena, 1, INT64_MAX, &proof), "audit-range"));
}

static void test_an_organizations_checkpoints_are_leaves_of_the_log_of_logs(void **state)
{
    World *w = *state;
    append(w, PG_ORG_A, "one");
    append(w, PG_ORG_B, "two");
    settle(w);
    settle(w);
    assert_true(verifies(w, PG_INSTALLATION, 0));
    assert_true(verifies(w, PG_INSTALLATION, 1));
    assert_false(verifies(w, PG_INSTALLATION, 2)); /* its own checkpoints are not */
    _cleanup_(db_lease_release) DbLease lease = reader(w, PG_INSTALLATION);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, 0, 10, &leaves));
    assert_true(str_contains(bytes_str(((AuditLeaf *)leaves.items)[0].bytes), STR("\"size\":1")));
}

static void test_logs_of_organizations_are_apart(void **state)
{
    World *w = *state;
    append(w, PG_ORG_A, "mine");
    settle(w);
    _cleanup_(db_lease_release) DbLease lease = reader(w, PG_ORG_B);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, 0, 10, &leaves));
    assert_int_equal(leaves.count, 0);
    AuditCheckpoint row;
    assert_int_equal(audit_checkpoint_latest(lease.db, w->arena, &row).kind, ERR_NOT_FOUND);
}

static void test_without_a_keeper_leaves_are_sequenced_and_signed_later(void **state)
{
    World *w = *state;
    w->keeper_is_gone = true;
    append(w, PG_ORG_A, "one");
    bool more;
    Err err = audit_turn(&w->worker, w->arena, &more);
    assert_true(err_is(err, "keeper-unavailable"));
    assert_int_equal(w->worker.sequenced, 1);
    w->keeper_is_gone = false;
    settle(w);
    assert_true(verifies(w, PG_ORG_A, 0));
}

/* --- attacks: each edit of the database is found by the stranger's check --------------------------------------------
 */

static void attack(void **state, const char *sql, int64_t position)
{
    World *w = *state;
    for (int i = 0; i < 9; i++)
        append(w, PG_ORG_A, "project.created");
    settle(w);
    assert_true(verifies(w, PG_ORG_A, position));
    pg_sql(w->arena, &w->database, "super", sql);
    assert_false(verifies(w, PG_ORG_A, position));
}

static void test_an_edited_leaf_is_found(void **state)
{
    attack(state,
        "update reeve.audit_leaf set bytes = convert_to(replace(convert_from(bytes, 'UTF8'), 'created', 'deleted'), "
        "'UTF8') "
        "where position = 4",
        4);
}

static void test_a_deleted_leaf_is_found(void **state)
{
    attack(state, "delete from reeve.audit_leaf where position = 4", 4);
}

static void test_reordered_leaves_are_found(void **state)
{
    attack(state,
        "update reeve.audit_leaf set position = 100 where position = 4; update reeve.audit_leaf set position = 4 where "
        "position = 5; update reeve.audit_leaf set position = 5 where position = 100",
        4);
}

static void test_an_edited_leaf_with_its_node_rewritten_is_found(void **state)
{
    attack(state,
        "update reeve.audit_leaf set bytes = '\\x7b7d' where position = 4; update reeve.audit_node set hash = "
        "sha256('\\x007b7d') where level = 0 and index = 4",
        4);
}

static void test_a_damaged_tree_is_found(void **state)
{
    attack(state, "update reeve.audit_node set hash = sha256('x') where level = 0 and index = 5", 4);
}

static void test_a_missing_node_is_found(void **state)
{
    attack(state, "delete from reeve.audit_node where level = 2 and index = 0", 4);
}

/* A whole other history of the same size: consistent in itself, and still not the one that was signed. */
static void test_a_rewritten_history_has_another_root(void **state)
{
    World *w = *state;
    for (int i = 0; i < 5; i++)
        append(w, PG_ORG_A, "project.created");
    settle(w);
    DbLease lease = reader(w, PG_ORG_A);
    Checkpoint before = latest(w, lease.db, PG_ORG_A);
    db_lease_release(&lease);
    pg_sql(w->arena, &w->database, "super",
        "delete from reeve.audit_checkpoint where org = '018f0000-0000-7000-8000-00000000000a'; delete from "
        "reeve.audit_node where org = '018f0000-0000-7000-8000-00000000000a'; delete from reeve.audit_log where org = "
        "'018f0000-0000-7000-8000-00000000000a'; update reeve.audit_leaf set position = null where org = "
        "'018f0000-0000-7000-8000-00000000000a'; delete from reeve.audit_leaf where id = (select id from "
        "reeve.audit_leaf "
        "where org = '018f0000-0000-7000-8000-00000000000a' order by id limit 1)");
    append(w, PG_ORG_A, "project.created");
    settle(w);
    lease = reader(w, PG_ORG_A);
    Checkpoint after = latest(w, lease.db, PG_ORG_A);
    assert_int_equal(before.size, after.size);
    assert_false(digest_eq(before.root, after.root));
    append(w, PG_ORG_A, "another");
    db_lease_release(&lease);
    settle(w);
    lease = reader(w, PG_ORG_A);
    Checkpoint later = latest(w, lease.db, PG_ORG_A);
    AuditProof proof;
    EXPECT_OK(audit_consistency(lease.db, w->arena, (int64_t)before.size, (int64_t)later.size, &proof));
    assert_int_not_equal(
        merkle_verify_consistency(before.size, before.root, later.size, later.root, proof.hashes, proof.count).kind,
        ERR_NONE);
    db_lease_release(&lease);
}

static void test_a_proof_for_another_place_does_not_hold(void **state)
{
    World *w = *state;
    for (int i = 0; i < 6; i++)
        append(w, PG_ORG_A, "project.created");
    settle(w);
    _cleanup_(db_lease_release) DbLease lease = reader(w, PG_ORG_A);
    Checkpoint head = latest(w, lease.db, PG_ORG_A);
    List leaves = { 0 };
    EXPECT_OK(audit_leaves(lease.db, w->arena, 2, 1, &leaves));
    AuditProof proof;
    EXPECT_OK(audit_inclusion(lease.db, w->arena, 3, 6, &proof));
    Digest leaf = merkle_leaf(((AuditLeaf *)leaves.items)[0].bytes);
    assert_int_not_equal(
        merkle_verify_inclusion(leaf, 2, head.size, proof.hashes, proof.count, head.root).kind, ERR_NONE);
    AuditCheckpoint row;
    EXPECT_OK(audit_checkpoint_latest(lease.db, w->arena, &row));
    const KeySet keys = { &w->key.public_key, 1 };
    Checkpoint other;
    assert_int_not_equal(
        checkpoint_verify(w->arena, row.note, audit_origin(w->arena, PG_INSTALLATION, PG_ORG_B), keys, &other).kind,
        ERR_NONE);
}

/* --- replicas ----------------------------------------------------------------------------------------------------- */

static void test_a_replica_that_lost_its_lease_writes_nothing(void **state)
{
    World *w = *state;
    settle(w);
    Lease old = w->worker.lease;
    pg_sql(w->arena, &w->database, "super", "update reeve.job_lease set until = now() - interval '1 second'");
    AuditWorker other = worker_new(w);
    bool more;
    EXPECT_OK(audit_turn(&other, w->arena, &more));
    assert_true(other.lease.epoch > old.epoch);
    append(w, PG_ORG_A, "one");
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    EXPECT_OK(db_lease(w->pool, &lease));
    int64_t count;
    assert_true(err_is(audit_sequence(lease.db, w->arena, &old, PG_ORG_A, &count), "lease-lost"));
    EXPECT_OK(audit_turn(&w->worker, w->arena, &more)); /* not ours any more: does nothing */
    assert_int_equal(w->worker.sequenced, 0);
    EXPECT_OK(audit_turn(&other, w->arena, &more));
    assert_int_equal(other.sequenced, 1);
}

typedef struct Load {
    World *w;
    Uuid org;
} Load;

static void *run_load(void *argument)
{
    const Load *load = argument;
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (int i = 0; i < 60; i++) {
        DbLease lease = { 0 };
        if (db_lease(load->w->api, &lease).kind != ERR_NONE || tx_begin(lease.db).kind != ERR_NONE ||
            tx_set_tenant(lease.db, load->org).kind != ERR_NONE ||
            audit_append(lease.db, arena, "load", "prj", load->org, (Uuid){ 0 }, NULL).kind != ERR_NONE ||
            (i % 7 != 0 && tx_commit(lease.db).kind != ERR_NONE)) /* every seventh is rolled back */
            die("load failed");
        db_lease_release(&lease);
    }
    return NULL;
}

static void *run_worker(void *argument)
{
    AuditWorker *worker = argument;
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (int i = 0; i < 60; i++) {
        bool more;
        Err err = audit_turn(worker, arena, &more);
        if (err.kind != ERR_NONE && !err_is(err, "lease-lost"))
            die("turn failed: " STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
    }
    return NULL;
}

static void test_writers_and_replicas_at_once_lose_and_double_nothing(void **state)
{
    World *w = *state;
    Load loads[3] = { { w, PG_ORG_A }, { w, PG_ORG_B }, { w, PG_ORG_A } };
    AuditWorker workers[2] = { worker_new(w), worker_new(w) };
    pthread_t threads[5];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_load, &loads[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[3 + i], NULL, run_worker, &workers[i]), 0);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    pg_sql(w->arena, &w->database, "super", "update reeve.job_lease set until = now() - interval '1 second'");
    settle(w);
    Str counts = pg_sql(w->arena, &w->database, "super",
        "select count(*), count(distinct position), max(position) + 1, count(*) filter (where position is null) from "
        "reeve.audit_leaf where org = '018f0000-0000-7000-8000-00000000000a'");
    assert_true(str_eq(counts, STR("102|102|102|0")));
    for (int64_t i = 0; i < 102; i += 17)
        assert_true(verifies(w, PG_ORG_A, i));
    for (int64_t i = 0; i < 51; i += 17)
        assert_true(verifies(w, PG_ORG_B, i));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    json_start();
    crypto_start();
    log_start("audit_test", LOG_WARN, /* as_text= */ true);
    const struct CMUnitTest tests[] = {
        CASE(test_a_change_becomes_a_leaf_that_is_proved_in_a_signed_head),
        CASE(test_a_leaf_says_who_what_and_when_and_nothing_else),
        CASE(test_a_rolled_back_change_leaves_no_leaf),
        CASE(test_a_change_outside_any_organization_cannot_be_logged),
        CASE(test_an_older_open_transaction_holds_back_what_came_after_it),
        CASE(test_heads_are_consistent_as_the_log_grows),
        CASE(test_proofs_outside_the_log_are_refused),
        CASE(test_an_organizations_checkpoints_are_leaves_of_the_log_of_logs),
        CASE(test_logs_of_organizations_are_apart),
        CASE(test_without_a_keeper_leaves_are_sequenced_and_signed_later),
        CASE(test_an_edited_leaf_is_found),
        CASE(test_a_deleted_leaf_is_found),
        CASE(test_reordered_leaves_are_found),
        CASE(test_an_edited_leaf_with_its_node_rewritten_is_found),
        CASE(test_a_damaged_tree_is_found),
        CASE(test_a_missing_node_is_found),
        CASE(test_a_rewritten_history_has_another_root),
        CASE(test_a_proof_for_another_place_does_not_hold),
        CASE(test_a_replica_that_lost_its_lease_writes_nothing),
        CASE(test_writers_and_replicas_at_once_lose_and_double_nothing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
