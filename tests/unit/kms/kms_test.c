/* The KMS interface over the local KMS. */
#include "support/expect.h"

#include "kms/kms.h"

#include <sys/stat.h>
#include <unistd.h>

static Arena *arena;
static char folder[] = "/tmp/reeve-kms-XXXXXX";
static Str file_a, file_b, passphrase;

static Kms *open_file(Str path)
{
    Kms *kms = NULL;
    KmsLocal local = { .root_key_file = path };
    expect_ok(kms_open(STR("local:default"), &local, &kms));
    return kms;
}

static const KmsPair pairs_a[] = { { STR_INIT("org"), STR_INIT("org_a") }, { STR_INIT("project"), STR_INIT("prj_a") } };
static const KmsPair pairs_b[] = { { STR_INIT("org"), STR_INIT("org_b") }, { STR_INIT("project"), STR_INIT("prj_a") } };
static const KmsPair pairs_named[] = { { STR_INIT("project"), STR_INIT("org_a") },
    { STR_INIT("org"), STR_INIT("prj_a") } };
#define CONTEXT(pairs) ((KmsContext){ (pairs), COUNT_OF(pairs) })

TEST(wrapped_key_opens_under_its_context_only)
{
    Kms *kms = open_file(file_a);
    _cleanup_(secret_release) Secret key = { 0 }, back = { 0 }, none = { 0 };
    Bytes wrapped;
    expect_ok(kms_generate(kms, arena, CONTEXT(pairs_a), &key, &wrapped));
    assert_int_equal(wrapped.ptr[0], KMS_FORMAT);
    assert_int_equal(wrapped.ptr[1], KMS_LOCAL);
    expect_ok(kms_unwrap(kms, CONTEXT(pairs_a), wrapped, &back));
    assert_true(secret_eq(secret_bytes(&key), secret_bytes(&back)));
    expect_err(kms_unwrap(kms, CONTEXT(pairs_b), wrapped, &none), "cannot-unwrap");
    expect_err(kms_unwrap(kms, CONTEXT(pairs_named), wrapped, &none), "cannot-unwrap");
    expect_err(kms_unwrap(kms, (KmsContext){ 0 }, wrapped, &none), "cannot-unwrap");
    kms_free(&kms);
}

TEST(wrapped_key_of_another_kms_or_changed_is_refused)
{
    Kms *kms = open_file(file_a), *other = open_file(file_b);
    _cleanup_(secret_release) Secret key = { 0 }, none = { 0 };
    Bytes wrapped;
    expect_ok(kms_generate(kms, arena, CONTEXT(pairs_a), &key, &wrapped));
    expect_err(kms_unwrap(other, CONTEXT(pairs_a), wrapped, &none), "cannot-unwrap");
    for (size_t i = 0; i < wrapped.len; i++) {
        uint8_t *copy = (uint8_t *)(uintptr_t)arena_bytes(arena, wrapped).ptr;
        copy[i] ^= 1;
        expect_err(kms_unwrap(kms, CONTEXT(pairs_a), (Bytes){ copy, wrapped.len }, &none), "cannot-unwrap");
        expect_err(kms_unwrap(kms, CONTEXT(pairs_a), (Bytes){ wrapped.ptr, i }, &none), "cannot-unwrap");
    }
    kms_free(&kms);
    kms_free(&other);
}

TEST(rewrapped_key_is_the_same_under_the_other_kms)
{
    Kms *kms = open_file(file_a), *other = open_file(file_b);
    _cleanup_(secret_release) Secret key = { 0 }, back = { 0 }, none = { 0 };
    Bytes wrapped, again;
    expect_ok(kms_generate(kms, arena, CONTEXT(pairs_a), &key, &wrapped));
    expect_ok(kms_rewrap(kms, other, arena, CONTEXT(pairs_a), wrapped, &again));
    expect_ok(kms_unwrap(other, CONTEXT(pairs_a), again, &back));
    assert_true(secret_eq(secret_bytes(&key), secret_bytes(&back)));
    expect_err(kms_rewrap(kms, other, arena, CONTEXT(pairs_b), wrapped, &again), "cannot-unwrap");
    expect_err(kms_unwrap(kms, CONTEXT(pairs_a), again, &none), "cannot-unwrap");
    kms_free(&kms);
    kms_free(&other);
}

TEST(check_value_tells_root_keys_apart)
{
    Kms *kms = open_file(file_a), *same = open_file(file_a), *other = open_file(file_b);
    KmsDescription a, b, c;
    kms_describe(kms, &a);
    kms_describe(same, &b);
    kms_describe(other, &c);
    assert_true(digest_eq(a.check, b.check));
    assert_false(digest_eq(a.check, c.check));
    assert_true(a.warning.len > 0);
    expect_ok(kms_health(kms));
    kms_free(&kms);
    kms_free(&same);
    kms_free(&other);
}

TEST(passphrase_and_salt_make_the_key)
{
    KmsLocal local = { .passphrase_file = passphrase, .salt = { 1 } };
    Kms *kms = NULL, *salted = NULL;
    KmsDescription a, b;
    expect_ok(kms_open(STR("local:default"), &local, &kms));
    local.salt[0] = 2;
    expect_ok(kms_open(STR("local:default"), &local, &salted));
    kms_describe(kms, &a);
    kms_describe(salted, &b);
    assert_false(digest_eq(a.check, b.check));
    kms_free(&kms);
    kms_free(&salted);
}

TEST(what_is_not_a_local_kms_is_refused)
{
    Kms *kms = NULL;
    KmsLocal both = { .root_key_file = file_a, .passphrase_file = passphrase }, none = { 0 },
             text = { .root_key_file = passphrase };
    expect_err(kms_open(STR("local:default"), &both, &kms), "kms-config");
    expect_err(kms_open(STR("local:default"), &none, &kms), "kms-config");
    expect_err(kms_open(STR("local:default"), &text, &kms), "kms-config");
    expect_err(kms_open(STR("local:"), &none, &kms), "kms-config");
    expect_err(kms_open(STR("nothing"), &none, &kms), "kms-config");
    expect_err(kms_open(STR("aws-kms:arn"), &none, &kms), "kms-config");
    assert_int_equal(chmod(file_b.ptr, 0644), 0);
    KmsLocal open = { .root_key_file = file_b };
    expect_err(kms_open(STR("local:default"), &open, &kms), "secret-file-mode");
    assert_int_equal(chmod(file_b.ptr, 0600), 0);
    assert_null(kms);
}

TEST(root_key_file_is_not_replaced)
{
    expect_err(kms_local_new_root_key(file_a), "kms-config");
}

int main(void)
{
    crypto_start();
    arena = arena_new();
    if (mkdtemp(folder) == NULL)
        return 1;
    file_a = arena_fmt(arena, "%s/a", folder);
    file_b = arena_fmt(arena, "%s/b", folder);
    passphrase = arena_fmt(arena, "%s/passphrase", folder);
    FILE *file = fopen(passphrase.ptr, "w");
    fputs("correct horse battery\n", file);
    fclose(file);
    chmod(passphrase.ptr, 0600);
    if (kms_local_new_root_key(file_a).kind != ERR_NONE || kms_local_new_root_key(file_b).kind != ERR_NONE)
        return 1;
    const struct CMUnitTest tests[] = {
        RUN(wrapped_key_opens_under_its_context_only),
        RUN(wrapped_key_of_another_kms_or_changed_is_refused),
        RUN(rewrapped_key_is_the_same_under_the_other_kms),
        RUN(check_value_tells_root_keys_apart),
        RUN(passphrase_and_salt_make_the_key),
        RUN(what_is_not_a_local_kms_is_refused),
        RUN(root_key_file_is_not_replaced),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file_a.ptr);
    unlink(file_b.ptr);
    unlink(passphrase.ptr);
    rmdir(folder);
    arena_free(&arena);
    return failed;
}
