/* Tokens: their shape, their checksum, their digest. */
#include "support/expect.h"

#include "crypto/token.h"

static Arena *arena;

TEST(token_has_its_shape_and_passes_its_check)
{
    _cleanup_(secret_release) Secret text = { 0 };
    expect_ok(token_new(STR("key"), &text));
    Str token = bytes_str(secret_bytes(&text));
    assert_int_equal(token.len, 7 + 43 + 6);
    assert_true(str_starts_with(token, STR("rv_key_")));
    expect_ok(token_check(STR("key"), token));
    expect_err(token_check(STR("svc"), token), "token-malformed");
}

TEST(token_with_one_character_changed_is_junk)
{
    _cleanup_(secret_release) Secret text = { 0 };
    expect_ok(token_new(STR("svc"), &text));
    for (size_t i = 0; i < text.len; i++) {
        uint8_t was = text.ptr[i];
        text.ptr[i] = was == 'a' ? 'b' : 'a';
        expect_err(token_check(STR("svc"), bytes_str(secret_bytes(&text))), "token-malformed");
        text.ptr[i] = was;
    }
    expect_err(token_check(STR("svc"), str_first(bytes_str(secret_bytes(&text)), text.len - 1)), "token-malformed");
    expect_err(token_check(STR("svc"), (Str){ 0 }), "token-malformed");
}

TEST(tokens_differ_and_are_known_by_their_digest)
{
    _cleanup_(secret_release) Secret one = { 0 }, two = { 0 };
    expect_ok(token_new(STR("key"), &one));
    expect_ok(token_new(STR("key"), &two));
    assert_false(digest_eq(token_digest(bytes_str(secret_bytes(&one))), token_digest(bytes_str(secret_bytes(&two)))));
}

TEST(token_hint_shows_four_characters_and_no_more)
{
    Str token = STR("rv_key_Ab3d456789012345678901234567890123456789012345678");
    expect_str(token_hint(arena, token), STR("rv_key_Ab3d…"));
    expect_str(token_hint(arena, STR("sk-something-else")), STR("(not a token)"));
}

int main(void)
{
    crypto_start();
    arena = arena_new();
    const struct CMUnitTest tests[] = {
        RUN(token_has_its_shape_and_passes_its_check),
        RUN(token_with_one_character_changed_is_junk),
        RUN(tokens_differ_and_are_known_by_their_digest),
        RUN(token_hint_shows_four_characters_and_no_more),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
