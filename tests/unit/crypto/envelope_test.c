/* The envelope: what opens, and that nothing else does. */
#include "support/expect.h"

#include "crypto/envelope.h"

static Arena *arena;
static Uuid id_a = { { 1 } }, id_b = { { 2 } };

static Context context_of(Bytes *items, const char *a, const char *b)
{
    items[0] = str_bytes(str_from_c(a));
    items[1] = str_bytes(str_from_c(b));
    return (Context){ .items = items, .count = 2 };
}

static Bytes seal(const Secret *key, Context context, Str plain)
{
    Bytes sealed;
    expect_ok(envelope_seal(arena, key, id_a, context, str_bytes(plain), &sealed));
    return sealed;
}

TEST(envelope_opens_what_was_sealed)
{
    Bytes items[2];
    Context context = context_of(items, "org", "project");
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES);
    Bytes sealed = seal(&key, context, STR("sk-test-0001"));
    assert_int_equal(sealed.len, ENVELOPE_OVERHEAD + 12);
    _cleanup_(secret_release) Secret plain = { 0 };
    expect_ok(envelope_open(&key, context, sealed, &plain));
    expect_str(bytes_str(secret_bytes(&plain)), STR("sk-test-0001"));
    Uuid found;
    expect_ok(envelope_key_id(sealed, &found));
    assert_true(uuid_eq(found, id_a));
}

TEST(envelope_of_nothing_opens_to_nothing)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES), plain = { 0 };
    Bytes sealed = seal(&key, (Context){ 0 }, (Str){ 0 });
    expect_ok(envelope_open(&key, (Context){ 0 }, sealed, &plain));
    assert_int_equal(plain.len, 0);
}

TEST(envelope_refuses_another_key)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES), other = secret_random(KEY_BYTES), plain = { 0 };
    Bytes sealed = seal(&key, (Context){ 0 }, STR("x"));
    expect_err(envelope_open(&other, (Context){ 0 }, sealed, &plain), "cannot-open");
    assert_null(plain.ptr);
}

TEST(envelope_refuses_another_context_however_it_is_cut)
{
    Bytes items[2], moved[2];
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES), plain = { 0 };
    Bytes sealed = seal(&key, context_of(items, "ab", "c"), STR("x"));
    expect_err(envelope_open(&key, context_of(moved, "a", "bc"), sealed, &plain), "cannot-open");
    expect_err(envelope_open(&key, context_of(moved, "abc", ""), sealed, &plain), "cannot-open");
    expect_err(envelope_open(&key, (Context){ .items = items, .count = 1 }, sealed, &plain), "cannot-open");
    expect_err(envelope_open(&key, (Context){ 0 }, sealed, &plain), "cannot-open");
}

TEST(envelope_refuses_every_flipped_bit_and_every_cut)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES), plain = { 0 };
    Bytes sealed = seal(&key, (Context){ 0 }, STR("secret"));
    uint8_t copy[ENVELOPE_OVERHEAD + 6];
    for (size_t bit = 0; bit < sealed.len * 8; bit++) {
        memcpy(copy, sealed.ptr, sealed.len);
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        expect_err(envelope_open(&key, (Context){ 0 }, BYTES_OF(copy), &plain), "cannot-open");
    }
    for (size_t len = 0; len < sealed.len; len++)
        expect_err(envelope_open(&key, (Context){ 0 }, (Bytes){ sealed.ptr, len }, &plain), "cannot-open");
}

TEST(envelope_under_another_key_id_does_not_open)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES), plain = { 0 };
    Bytes sealed = seal(&key, (Context){ 0 }, STR("secret"));
    uint8_t *copy = (uint8_t *)(uintptr_t)arena_bytes(arena, sealed).ptr;
    memcpy(copy + 2, id_b.b, sizeof(id_b.b));
    expect_err(envelope_open(&key, (Context){ 0 }, (Bytes){ copy, sealed.len }, &plain), "cannot-open");
}

TEST(envelope_is_different_each_time)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES);
    Bytes one = seal(&key, (Context){ 0 }, STR("secret")), two = seal(&key, (Context){ 0 }, STR("secret"));
    assert_memory_not_equal(one.ptr + 18, two.ptr + 18, one.len - 18);
}

TEST(envelope_refuses_more_than_its_limit)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES);
    uint8_t *big = arena_alloc(arena, ENVELOPE_PLAIN_MAX + 1, 1);
    Bytes sealed;
    expect_ok(envelope_seal(arena, &key, id_a, (Context){ 0 }, (Bytes){ big, ENVELOPE_PLAIN_MAX }, &sealed));
    expect_err(envelope_seal(arena, &key, id_a, (Context){ 0 }, (Bytes){ big, ENVELOPE_PLAIN_MAX + 1 }, &sealed),
        "envelope-too-large");
}

int main(void)
{
    crypto_start();
    arena = arena_new();
    const struct CMUnitTest tests[] = {
        RUN(envelope_opens_what_was_sealed),
        RUN(envelope_of_nothing_opens_to_nothing),
        RUN(envelope_refuses_another_key),
        RUN(envelope_refuses_another_context_however_it_is_cut),
        RUN(envelope_refuses_every_flipped_bit_and_every_cut),
        RUN(envelope_under_another_key_id_does_not_open),
        RUN(envelope_is_different_each_time),
        RUN(envelope_refuses_more_than_its_limit),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
