/* Roots: thresholds, the chain from one version to the next, and what must be refused on the way. */
#include "support/expect.h"

#include "base/json.h"
#include "snapshot/root.h"

#define YEAR_S (365 * INT64_C(86400))

static Arena *arena;
static Uuid installation = { { 7 } };
static Time now;
static KeyPair root_a, root_b, root_c, enrol, manifest, checkpoint, intake, spare;

static RoleKeys role(const KeyPair *pair)
{
    PublicKey *key = NEW(arena, PublicKey, 1);
    *key = pair->public_key;
    return (RoleKeys){ .threshold = 1, .keys = { key, 1 } };
}

static RoleKeys role_of_two(const KeyPair *a, const KeyPair *b, int64_t threshold)
{
    PublicKey *keys = NEW(arena, PublicKey, 2);
    keys[0] = a->public_key;
    keys[1] = b->public_key;
    return (RoleKeys){ .threshold = threshold, .keys = { keys, 2 } };
}

static Root a_root(int64_t version)
{
    return (Root){
        .installation = installation,
        .version = version,
        .expires = time_add_s(now, YEAR_S),
        .roles = {
            [ROLE_ROOT] = role(&root_a),
            [ROLE_ENROL] = role(&enrol),
            [ROLE_MANIFEST] = role(&manifest),
            [ROLE_CHECKPOINT] = role(&checkpoint),
            [ROLE_INTAKE] = role(&intake),
        },
    };
}

static Str build(const Root *root, const KeyPair *a, const KeyPair *b)
{
    const KeyPair *signers[] = { a, b };
    Str jws = STR("");
    expect_ok(root_build(arena, root, signers, b == NULL ? 1 : 2, &jws));
    return jws;
}

static Root trusted(const Root *root, Str jws)
{
    Root out;
    expect_ok(root_verify(arena, jws, digest_of(str_bytes(jws)), now, &out));
    assert_int_equal(out.version, root->version);
    return out;
}

static Root first(void)
{
    Root root = a_root(1);
    return trusted(&root, build(&root, &root_a, NULL));
}

TEST(root_gives_the_keys_of_its_roles)
{
    Root root = first();
    assert_true(uuid_eq(root.installation, installation));
    assert_string_equal(root_keys(&root, "manifest").items[0].kid, manifest.public_key.kid);
    assert_string_equal(root_keys(&root, "intake").items[0].kid, intake.public_key.kid);
    assert_int_equal(root_keys(&root, "enrol").count, 1);
}

TEST(root_of_another_hash_is_refused)
{
    Root root = a_root(1), out;
    Str jws = build(&root, &root_a, NULL), other = build(&root, &root_a, NULL);
    expect_ok(root_verify(arena, other, digest_of(str_bytes(jws)), now, &out)); /* EdDSA is deterministic */
    Str spaced = arena_fmt(arena, STR_FMT " ", STR_ARG(jws));
    expect_err(root_verify(arena, spaced, digest_of(str_bytes(jws)), now, &out), "root-hash");
}

TEST(root_signed_by_another_key_is_refused)
{
    Root root = a_root(1), out;
    Str jws = build(&root, &spare, NULL);
    expect_err(root_verify(arena, jws, digest_of(str_bytes(jws)), now, &out), "root-threshold");
}

TEST(expired_root_is_refused_where_time_counts)
{
    Root root = a_root(1), out;
    root.expires = time_add_s(now, -1);
    Str jws = build(&root, &root_a, NULL);
    expect_err(root_verify(arena, jws, digest_of(str_bytes(jws)), now, &out), "root-expired");
    expect_ok(root_verify(arena, jws, digest_of(str_bytes(jws)), TIME_NONE, &out));
}

TEST(next_root_needs_the_signatures_of_both)
{
    Root one = first(), out, two = a_root(2);
    two.roles[ROLE_ROOT] = role(&root_b);
    expect_err(root_verify_next(arena, build(&two, &root_b, NULL), &one, now, &out), "root-threshold");
    expect_err(root_verify_next(arena, build(&two, &root_a, NULL), &one, now, &out), "root-threshold");
    expect_ok(root_verify_next(arena, build(&two, &root_a, &root_b), &one, now, &out));
    assert_string_equal(root_keys(&out, "root").items[0].kid, root_b.public_key.kid);
    Str grown = STR("");
    expect_ok(root_sign(arena, build(&two, &root_b, NULL), &root_a, &grown));
    expect_ok(root_verify_next(arena, grown, &one, now, &out));
}

TEST(raised_threshold_needs_more_signatures)
{
    Root one = first(), out, two = a_root(2);
    two.roles[ROLE_ROOT] = role_of_two(&root_a, &root_b, 2);
    expect_err(root_verify_next(arena, build(&two, &root_a, NULL), &one, now, &out), "root-threshold");
    expect_ok(root_verify_next(arena, build(&two, &root_a, &root_b), &one, now, &out));
    Root three = a_root(3), after;
    three.roles[ROLE_ROOT] = role(&root_a);
    expect_err(root_verify_next(arena, build(&three, &root_a, NULL), &out, now, &after), "root-threshold");
    expect_ok(root_verify_next(arena, build(&three, &root_a, &root_b), &out, now, &after));
}

TEST(one_signature_twice_does_not_make_two)
{
    Root two = a_root(2), one = first(), out;
    two.roles[ROLE_ROOT] = role_of_two(&root_a, &root_b, 2);
    expect_err(root_verify_next(arena, build(&two, &root_a, &root_a), &one, now, &out), "jose-malformed");
}

TEST(chain_has_no_gap_and_does_not_go_back)
{
    Root one = first(), out, two = a_root(2), three = a_root(3);
    Str second = build(&two, &root_a, NULL), third = build(&three, &root_a, NULL);
    expect_err(root_verify_next(arena, third, &one, now, &out), "root-version");
    expect_err(root_verify_next(arena, one.jws, &one, now, &out), "root-version");
    const Str chain[] = { second, third };
    expect_ok(root_follow(arena, &one, chain, 2, now, &out));
    assert_int_equal(out.version, 3);
    expect_err(root_follow(arena, &one, chain + 1, 1, now, &out), "root-version");
    expect_ok(root_follow(arena, &one, chain, 0, now, &out));
}

/* --- from the pinned one on, as files lie side by side --- */

static Err older_of(Arena *memory, const void *arg, int64_t version, Str *ret_jws)
{
    const Str *files = arg;
    (void)memory;
    if (files[version].len == 0)
        return FAIL(ERR_NOT_FOUND, "no-file", "There is no such file.");
    *ret_jws = files[version];
    return OK;
}

TEST(newest_root_is_followed_from_the_pinned_one_through_the_versions_between)
{
    Root one = a_root(1), two = a_root(2), three = a_root(3), out;
    one.expires = time_add_s(now, -1);
    two.roles[ROLE_ROOT] = three.roles[ROLE_ROOT] = role(&root_b);
    Str files[4] = { STR(""), build(&one, &root_a, NULL), build(&two, &root_a, &root_b), build(&three, &root_b, NULL) };
    Digest pinned = digest_of(str_bytes(files[1])), middle = digest_of(str_bytes(files[2]));
    expect_ok(root_verify_from(arena, files[3], pinned, older_of, files, now, &out));
    assert_int_equal(out.version, 3);
    expect_ok(root_verify_from(arena, files[3], middle, older_of, files, now, &out));
    expect_ok(root_verify_from(arena, files[2], middle, older_of, files, now, &out));
    expect_err(root_verify_from(arena, files[3], (Digest){ { 1 } }, older_of, files, now, &out), "root-hash");
    expect_err(root_verify_from(arena, files[1], middle, older_of, files, now, &out), "root-hash");
    Str kept = files[2];
    files[2] = STR("");
    expect_err(root_verify_from(arena, files[3], pinned, older_of, files, now, &out), "no-file");
    files[2] = build(&two, &root_c, &root_b); /* not by a key of the first */
    expect_err(root_verify_from(arena, files[3], pinned, older_of, files, now, &out), "root-threshold");
    files[2] = kept;
    expect_err(
        root_verify_from(arena, files[3], pinned, older_of, files, time_add_s(three.expires, 1), &out), "root-expired");
}

TEST(chain_may_pass_over_an_expired_link_but_not_end_in_one)
{
    Root one = first(), out, two = a_root(2), three = a_root(3);
    two.expires = time_add_s(now, -10);
    const Str chain[] = { build(&two, &root_a, NULL), build(&three, &root_a, NULL) };
    expect_ok(root_follow(arena, &one, chain, 2, now, &out));
    expect_err(root_follow(arena, &one, chain, 1, now, &out), "root-expired");
}

TEST(root_of_another_installation_is_not_the_next)
{
    Root one = first(), out, two = a_root(2);
    two.installation.b[0] = 8;
    expect_err(root_verify_next(arena, build(&two, &root_a, NULL), &one, now, &out), "root-installation");
}

TEST(one_key_has_one_role)
{
    Root root = a_root(1);
    const KeyPair *signers[] = { &root_a };
    Str jws;
    root.roles[ROLE_ENROL] = role(&manifest);
    expect_err(root_build(arena, &root, signers, 1, &jws), "root-malformed");
    root = a_root(1);
    root.roles[ROLE_ROOT] = role_of_two(&root_a, &root_a, 2);
    expect_err(root_build(arena, &root, signers, 1, &jws), "root-malformed");
}

TEST(thresholds_that_cannot_be_met_are_refused)
{
    Root root = a_root(1);
    const KeyPair *signers[] = { &root_a };
    Str jws;
    root.roles[ROLE_ROOT].threshold = 2;
    expect_err(root_build(arena, &root, signers, 1, &jws), "root-malformed");
    root.roles[ROLE_ROOT].threshold = 0;
    expect_err(root_build(arena, &root, signers, 1, &jws), "root-malformed");
    root = a_root(1);
    root.roles[ROLE_MANIFEST] = role_of_two(&manifest, &spare, 2);
    expect_err(root_build(arena, &root, signers, 1, &jws), "root-malformed");
}

/* A payload with one thing wrong, well signed. */
static Err verify_payload(json_t *payload)
{
    const KeyPair *signers[] = { &root_a };
    Root out;
    Str jws = jws_sign_general(arena, signers, 1, STR(ROOT_TYP), json_write(arena, payload));
    return root_verify(arena, jws, digest_of(str_bytes(jws)), now, &out);
}

TEST(payload_with_more_or_less_or_another_version_is_refused)
{
    Root root = a_root(1);
    Str payload = STR("");
    expect_ok(jws_verify_general(
        arena, build(&root, &root_a, NULL), (KeySet){ 0 }, STR(ROOT_TYP), &payload, &(unsigned){ 0 }));
    _cleanup_(json_release) json_t *value = NULL;
    expect_ok(json_parse(payload, JSON_LIMITS_ADMIN, &value));
    expect_ok(verify_payload(value));
    json_object_set_new(value, "extra", json_true());
    expect_err(verify_payload(value), "root-malformed");
    json_object_del(value, "extra");
    json_object_set_new(value, "v", json_integer(2));
    expect_err(verify_payload(value), "version-unsupported");
    json_object_set_new(value, "v", json_integer(1));
    json_object_set_new(json_object_get(value, "roles"), "admin", json_object());
    expect_err(verify_payload(value), "root-malformed");
    json_object_del(json_object_get(value, "roles"), "admin");
    json_object_del(json_object_get(value, "roles"), "intake");
    expect_err(verify_payload(value), "root-malformed");
}

TEST(statement_of_another_kind_is_not_a_root)
{
    const KeyPair *signers[] = { &root_a };
    Root root = a_root(1), out;
    Str payload = STR("");
    expect_ok(jws_verify_general(
        arena, build(&root, &root_a, NULL), (KeySet){ 0 }, STR(ROOT_TYP), &payload, &(unsigned){ 0 }));
    Str jws = jws_sign_general(arena, signers, 1, STR("reeve-manifest+jws"), payload);
    expect_err(root_verify(arena, jws, digest_of(str_bytes(jws)), now, &out), "jose-type");
}

int main(void)
{
    json_start();
    crypto_start();
    arena = arena_new();
    now = time_now();
    KeyPair *const pairs[] = { &root_a, &root_b, &root_c, &enrol, &manifest, &checkpoint, &spare };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        *pairs[i] = ed25519_new();
    intake = x25519_new();
    const struct CMUnitTest tests[] = {
        RUN(root_gives_the_keys_of_its_roles),
        RUN(root_of_another_hash_is_refused),
        RUN(root_signed_by_another_key_is_refused),
        RUN(expired_root_is_refused_where_time_counts),
        RUN(next_root_needs_the_signatures_of_both),
        RUN(raised_threshold_needs_more_signatures),
        RUN(one_signature_twice_does_not_make_two),
        RUN(chain_has_no_gap_and_does_not_go_back),
        RUN(newest_root_is_followed_from_the_pinned_one_through_the_versions_between),
        RUN(chain_may_pass_over_an_expired_link_but_not_end_in_one),
        RUN(root_of_another_installation_is_not_the_next),
        RUN(one_key_has_one_role),
        RUN(thresholds_that_cannot_be_met_are_refused),
        RUN(payload_with_more_or_less_or_another_version_is_refused),
        RUN(statement_of_another_kind_is_not_a_root),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        keypair_release(pairs[i]);
    keypair_release(&intake);
    arena_free(&arena);
    return failed;
}
