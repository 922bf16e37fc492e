/*
 * Our primitives against the Wycheproof vectors: what must be refused and what must not. The vectors are shared
 * material outside this repository: without them the tests say so and are skipped.
 */
#include "support/expect.h"

#include "../../../src/crypto/aead.h"

#include "base/config.h"
#include "base/encode.h"
#include "base/json.h"

static Arena *arena;

static json_t *load(const char *name)
{
    Str path = arena_fmt(arena, "%s/vectors/wycheproof/%s", shared_folder(), name), text;
    json_t *value = NULL;
    if (file_read(arena, path, 4 << 20, &text).kind != ERR_NONE) {
        print_message("skipped: no Wycheproof vectors at " STR_FMT " (set REEVE_SHARED)\n", STR_ARG(path));
        skip();
    }
    expect_ok(json_parse(text, JSON_LIMITS_WIRE, &value));
    return value;
}

static Bytes hex(const json_t *object, const char *name)
{
    Bytes bytes = { 0 };
    expect_ok(hex_decode(arena, json_str(object, name), &bytes));
    return bytes;
}

static void fail_case(const json_t *test)
{
    int64_t id = 0;
    json_i64(test, "tcId", &id);
    fail_msg("case %lld: " STR_FMT, (long long)id, STR_ARG(json_str(test, "comment")));
}

TEST(ed25519_accepts_and_refuses_as_wycheproof_says)
{
    _cleanup_(json_release) json_t *file = load("ed25519_test.json");
    size_t g, t, count = 0;
    json_t *group, *test;
    json_array_foreach(json_object_get(file, "testGroups"), g, group)
    {
        Bytes key = hex(json_object_get(group, "publicKey"), "pk");
        json_array_foreach(json_object_get(group, "tests"), t, test)
        {
            Bytes signature = hex(test, "sig");
            bool good = key.len == 32 && signature.len == 64 &&
                        ed25519_verify(key.ptr, bytes_str(hex(test, "msg")), signature.ptr);
            if (good != str_eq(json_str(test, "result"), STR("valid")))
                fail_case(test);
            count++;
        }
    }
    assert_true(count > 100);
}

TEST(x25519_agrees_as_wycheproof_says)
{
    _cleanup_(json_release) json_t *file = load("x25519_test.json");
    size_t g, t, count = 0;
    json_t *group, *test;
    json_array_foreach(json_object_get(file, "testGroups"), g, group)
    {
        json_array_foreach(json_object_get(group, "tests"), t, test)
        {
            uint8_t shared[32];
            Bytes expected = hex(test, "shared");
            bool zero = digest_is_zero(*(const Digest *)expected.ptr);
            bool agreed = x25519_agree(hex(test, "private").ptr, hex(test, "public").ptr, shared);
            /* "acceptable" are curve twists, odd spellings and points of small order: the last we refuse. */
            if (agreed == zero || (agreed && memcmp(shared, expected.ptr, 32) != 0))
                fail_case(test);
            count++;
        }
    }
    assert_true(count > 400);
}

TEST(xchacha20_poly1305_opens_as_wycheproof_says)
{
    _cleanup_(json_release) json_t *file = load("xchacha20_poly1305_test.json");
    size_t g, t, count = 0;
    json_t *group, *test;
    json_array_foreach(json_object_get(file, "testGroups"), g, group)
    {
        json_array_foreach(json_object_get(group, "tests"), t, test)
        {
            Bytes key = hex(test, "key"), nonce = hex(test, "iv"), ct = hex(test, "ct"), tag = hex(test, "tag");
            Bytes plain = hex(test, "msg"), aad = hex(test, "aad");
            uint8_t *sealed = arena_alloc(arena, ct.len + tag.len + 1, 1), *out = arena_alloc(arena, ct.len + 1, 1);
            memcpy(sealed, ct.ptr, ct.len);
            memcpy(sealed + ct.len, tag.ptr, tag.len);
            bool good = key.len == 32 && nonce.len == XCHACHA_NONCE_BYTES && tag.len == XCHACHA_TAG_BYTES &&
                        xchacha_open(key.ptr, nonce.ptr, bytes_str(aad), (Bytes){ sealed, ct.len + tag.len }, out);
            if (good != str_eq(json_str(test, "result"), STR("valid")) ||
                (good && memcmp(out, plain.ptr, plain.len) != 0))
                fail_case(test);
            if (good) {
                xchacha_seal(key.ptr, nonce.ptr, bytes_str(aad), plain, sealed);
                assert_memory_equal(sealed, ct.ptr, ct.len);
                assert_memory_equal(sealed + ct.len, tag.ptr, tag.len);
            }
            count++;
        }
    }
    assert_true(count > 300);
}

int main(void)
{
    json_start();
    crypto_start();
    arena = arena_new();
    const struct CMUnitTest tests[] = {
        RUN(ed25519_accepts_and_refuses_as_wycheproof_says),
        RUN(x25519_agrees_as_wycheproof_says),
        RUN(xchacha20_poly1305_opens_as_wycheproof_says),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
