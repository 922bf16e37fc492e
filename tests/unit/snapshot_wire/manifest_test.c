/* Manifests and heartbeats: what is built is read back, and everything else is refused by pointer. */
#include "snapshot/manifest.h"

#include "base/json.h"
#include "check.h"
#include "snapshot/heartbeat.h"

static Arena *arena;
static Uuid revoked[2];
static Digest shards[MANIFEST_SHARDS];

static int setup(void **state)
{
    (void)state;
    crypto_start();
    json_start();
    arena = arena_new();
    revoked[0] = uuid_v7(time_now());
    revoked[1] = uuid_v7(time_now());
    for (size_t i = 0; i < MANIFEST_SHARDS; i++)
        shards[i] = digest_of((Bytes){ .ptr = (const uint8_t *)&i, .len = sizeof i });
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static Manifest sample(void)
{
    Time now = time_now();
    return (Manifest){
        .installation = uuid_v7(now),
        .fleet = uuid_v7(now),
        .seq = 7,
        .has_prev = true,
        .prev = digest_of(str_bytes(STR("before"))),
        .issued_at = now,
        .generation = 2,
        .revoked = { .items = revoked, .count = 2 },
        .max_stale_s = 300,
        .hard_expiry = time_add_s(now, 86400),
        .shards = shards,
        .checkpoint = { .origin = STR("reeve/ins/log"), .size = 12, .root = digest_of(str_bytes(STR("root"))) },
        .receipts = { .boot = STR("boot-1"), .count = 3, .head = digest_of(str_bytes(STR("head"))) },
    };
}

static void test_manifest_is_read_as_it_was_built(void **state)
{
    (void)state;
    Manifest in = sample(), out;
    assert_ok(manifest_parse(arena, manifest_build(arena, &in), &out));
    assert_true(uuid_eq(in.installation, out.installation));
    assert_true(uuid_eq(in.fleet, out.fleet));
    assert_int_equal(in.seq, out.seq);
    assert_true(out.has_prev && digest_eq(in.prev, out.prev));
    assert_int_equal(in.issued_at.us, out.issued_at.us);
    assert_int_equal(in.hard_expiry.us, out.hard_expiry.us);
    assert_int_equal(in.generation, out.generation);
    assert_int_equal(in.max_stale_s, out.max_stale_s);
    assert_memory_equal(in.shards, out.shards, sizeof shards);
    assert_true(manifest_revokes(&out, revoked[1]));
    assert_false(manifest_revokes(&out, in.fleet));
    assert_str_is("reeve/ins/log", out.checkpoint.origin);
    assert_int_equal(3, out.receipts.count);
}

static void test_manifest_may_lack_prev_checkpoint_and_receipts(void **state)
{
    (void)state;
    Manifest in = sample(), out;
    in.seq = 1;
    in.has_prev = false;
    in.checkpoint = (ManifestCheckpoint){ 0 };
    in.receipts = (ManifestReceipts){ 0 };
    in.revoked = (Uuids){ 0 };
    assert_ok(manifest_parse(arena, manifest_build(arena, &in), &out));
    assert_false(out.has_prev);
    assert_null(out.checkpoint.origin.ptr);
    assert_null(out.receipts.boot.ptr);
}

/* The sample with one member set to the JSON of text (NULL: removed). */
static Str edited(const char *name, const char *text)
{
    Manifest in = sample();
    json_t *value = NULL;
    assert_ok(json_parse(manifest_build(arena, &in), JSON_LIMITS_WIRE, &value));
    if (text == NULL)
        json_object_del(value, name);
    else
        json_object_set_new(value, name, json_loads(text, JSON_DECODE_ANY, NULL));
    Str payload = json_write(arena, value);
    json_decref(value);
    return payload;
}

typedef struct EditCase {
    const char *member, *json, *code;
} EditCase;

static const EditCase edits[] = {
    { "v", "2", "version-unsupported" },
    { "v", NULL, "manifest-malformed" },
    { "v", "\"1\"", "manifest-malformed" },
    { "seq", "0", "manifest-malformed" },
    { "seq", "-1", "manifest-malformed" },
    { "seq", "9223372036854775807", "manifest-malformed" },
    { "seq", "9007199254740992", "manifest-malformed" },
    { "seq", "1.5", "manifest-malformed" },
    { "seq", NULL, "manifest-malformed" },
    { "fleet", "\"root\"", "manifest-malformed" },
    { "fleet", "\"\"", "manifest-malformed" },
    { "fleet", "\"..\"", "manifest-malformed" },
    { "fleet", "\"flt_%2f\"", "manifest-malformed" },
    { "fleet", "\"org_01h455vb4pex5vsknk084sn02q\"", "manifest-malformed" },
    { "prev", "\"abc\"", "manifest-malformed" },
    { "shards", "[]", "manifest-malformed" },
    { "revoked", "[1]", "manifest-malformed" },
    { "hard_expiry", "\"2001-01-01T00:00:00Z\"", "manifest-malformed" },
    { "issued_at", "\"2026-11-20 10:00:00\"", "manifest-malformed" },
    { "checkpoint", "{\"origin\":\"x\"}", "manifest-malformed" },
    { "checkpoint", "[]", "manifest-malformed" },
    { "receipts", "{\"boot\":\"x\",\"count\":1,\"head\":\"y\"}", "manifest-malformed" },
    { "unknown", "1", "manifest-malformed" },
    { "min_client", "1000", "client-too-old" },
};

static void test_manifest_refuses_every_edit_that_makes_no_sense(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        Manifest out;
        Err err = manifest_parse(arena, edited(edits[i].member, edits[i].json), &out);
        if (!err_is(err, edits[i].code))
            fail_msg("%s = %s gave " STR_FMT, edits[i].member, edits[i].json, STR_ARG(err.code));
    }
}

static void test_manifest_names_the_member_that_is_wrong(void **state)
{
    (void)state;
    Manifest out;
    Err err = manifest_parse(arena, edited("generation", "0"), &out);
    assert_err("manifest-malformed", err);
    assert_int_equal(1, err.fields.count);
    assert_str_is("/generation", err.fields.items[0].pointer);
}

static void test_manifest_refuses_json_that_readers_read_differently(void **state)
{
    (void)state;
    static const Str texts[] = {
        STR_INIT("{\"v\":1,\"v\":1}"),
        STR_INIT("{\"v\":1} x"),
        STR_INIT("{\"v\":NaN}"),
        STR_INIT("{\"v\":1,\"a\":\"\xff\"}"),
        STR_INIT("{\"v\":1,\"a\":\"\\u0000\"}"),
        STR_INIT("{\"v\":1,\"a\":[[[[[[[[[[1]]]]]]]]]]}"),
        STR_INIT("[1]"),
        STR_INIT(""),
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        Manifest out;
        assert_err("manifest-malformed", manifest_parse(arena, texts[i], &out));
    }
}

static Heartbeat heartbeat_sample(void)
{
    Time now = time_now();
    return (Heartbeat){
        .installation = uuid_v7(now),
        .fleet = uuid_v7(now),
        .seq = 9,
        .manifest = digest_of(str_bytes(STR("jws"))),
        .now = now,
        .expires = time_add_s(now, 60),
    };
}

static void test_heartbeat_is_read_as_it_was_built(void **state)
{
    (void)state;
    Heartbeat in = heartbeat_sample(), out;
    assert_ok(heartbeat_parse(arena, heartbeat_build(arena, &in), &out));
    assert_int_equal(in.seq, out.seq);
    assert_int_equal(in.now.us, out.now.us);
    assert_int_equal(in.expires.us, out.expires.us);
    assert_true(digest_eq(in.manifest, out.manifest));
}

static void test_heartbeat_refuses_to_be_good_for_more_than_an_hour(void **state)
{
    (void)state;
    Heartbeat in = heartbeat_sample(), out;
    in.expires = time_add_s(in.now, HEARTBEAT_TTL_S_MAX + 1);
    assert_err("heartbeat-malformed", heartbeat_parse(arena, heartbeat_build(arena, &in), &out));
}

static void test_manifest_keys_do_not_let_a_heartbeat_pass_for_a_manifest(void **state)
{
    (void)state;
    KeyPair pair = ed25519_new();
    KeySet keys = { .items = &pair.public_key, .count = 1 };
    Manifest in = sample(), out;
    Heartbeat beat;
    Str payload = manifest_build(arena, &in);
    assert_ok(manifest_verify(arena, jws_sign(arena, &pair, STR(MANIFEST_TYP), payload), keys, &out));
    assert_err("jose-type", manifest_verify(arena, jws_sign(arena, &pair, STR(HEARTBEAT_TYP), payload), keys, &out));
    assert_err("jose-type", heartbeat_verify(arena, jws_sign(arena, &pair, STR(MANIFEST_TYP), STR("{}")), keys, &beat));
    keypair_release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest_is_read_as_it_was_built),
        cmocka_unit_test(test_manifest_may_lack_prev_checkpoint_and_receipts),
        cmocka_unit_test(test_manifest_refuses_every_edit_that_makes_no_sense),
        cmocka_unit_test(test_manifest_names_the_member_that_is_wrong),
        cmocka_unit_test(test_manifest_refuses_json_that_readers_read_differently),
        cmocka_unit_test(test_heartbeat_is_read_as_it_was_built),
        cmocka_unit_test(test_heartbeat_refuses_to_be_good_for_more_than_an_hour),
        cmocka_unit_test(test_manifest_keys_do_not_let_a_heartbeat_pass_for_a_manifest),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
