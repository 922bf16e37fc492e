/* body_test.c: what the gateway reads of a request body, what it refuses, and that its edits touch nothing else. */
#include "base/json.h"
#include "gateway/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static Arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static ChatBody read_good(Dialect dialect, const char *text)
{
    ChatBody body;
    Err err = body_read(arena, str_from_c(text), dialect, &body);
    if (err.kind != ERR_NONE)
        fail_msg("%.*s: %.*s", STR_ARG(err.code), STR_ARG(err.detail));
    return body;
}

static void assert_refused(Dialect dialect, Str text, const char *code)
{
    ChatBody body;
    Err err = body_read(arena, text, dialect, &body);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_string_equal(arena_c(arena, err.code), code);
}

static void assert_edit(const char *text, const char *wanted)
{
    ChatBody body = read_good(DIALECT_OPENAI, text);
    assert_string_equal(arena_c(arena, body_edit(arena, &body, STR("gpt-x"))), wanted);
}

static void test_only_the_model_changes_in_a_plain_call(void **state)
{
    (void)state;
    assert_edit("{ \"a\" : [1, 2.50,\"\\u00e9\"],\n\"model\":\t\"summarize\" ,\"z\":{\"model\":\"kept\"}}",
        "{ \"a\" : [1, 2.50,\"\\u00e9\"],\n\"model\":\t\"gpt-x\" ,\"z\":{\"model\":\"kept\"}}");
}

static void test_a_stream_asks_for_usage_when_the_client_did_not(void **state)
{
    (void)state;
    assert_edit("{\"model\":\"s\",\"stream\":true}",
        "{\"stream_options\":{\"include_usage\":true},\"model\":\"gpt-x\",\"stream\":true}");
    assert_edit("{\"stream\":true,\"stream_options\":null,\"model\":\"s\"}",
        "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"gpt-x\"}");
    assert_edit("{\"stream\":true,\"model\":\"s\",\"stream_options\":{ }}",
        "{\"stream\":true,\"model\":\"gpt-x\",\"stream_options\":{\"include_usage\":true }}");
    assert_edit("{\"stream\":true,\"model\":\"s\",\"stream_options\":{\"x\":1}}",
        "{\"stream\":true,\"model\":\"gpt-x\",\"stream_options\":{\"include_usage\":true,\"x\":1}}");
    assert_edit("{\"stream\":true,\"model\":\"s\",\"stream_options\":{\"include_usage\" : false}}",
        "{\"stream\":true,\"model\":\"gpt-x\",\"stream_options\":{\"include_usage\" : true}}");
}

static void test_a_client_that_asked_for_usage_gets_its_chunk(void **state)
{
    (void)state;
    const char *text = "{\"stream\":true,\"model\":\"s\",\"stream_options\":{\"include_usage\":true}}";
    ChatBody asked = read_good(DIALECT_OPENAI, text);
    assert_false(asked.hide_usage);
    assert_int_equal(asked.usage_edit, USAGE_KEEP);
    ChatBody silent = read_good(DIALECT_OPENAI, "{\"stream\":true,\"model\":\"s\"}");
    assert_true(silent.hide_usage);
}

static void test_an_anthropic_stream_is_not_asked(void **state)
{
    (void)state;
    ChatBody body = read_good(
        DIALECT_ANTHROPIC, "{\"model\":\"s\",\"stream\":true,\"max_tokens\":77,\"metadata\":{\"user_id\":\"u-1\"}}");
    assert_true(body.stream);
    assert_int_equal(body.usage_edit, USAGE_KEEP);
    assert_int_equal(body.output_max, 77);
    assert_string_equal(arena_c(arena, body.end_user), "u-1");
}

static void test_a_model_written_with_escapes_is_the_same_model(void **state)
{
    (void)state;
    ChatBody body = read_good(DIALECT_OPENAI, "{\"mod\\u0065l\":\"s\\u0075m\\ud83d\\ude00\",\"user\":\"me\"}");
    assert_string_equal(arena_c(arena, body.model), "sum\xf0\x9f\x98\x80");
    assert_string_equal(arena_c(arena, body.end_user), "me");
}

static void test_a_member_that_stands_twice_is_refused(void **state)
{
    (void)state;
    assert_refused(DIALECT_OPENAI, STR("{\"model\":\"a\",\"model\":\"b\"}"), "json-duplicate-member");
    assert_refused(DIALECT_OPENAI, STR("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}"), "json-duplicate-member");
    assert_refused(DIALECT_OPENAI,
        STR("{\"model\":\"a\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}"),
        "json-duplicate-member");
}

static void test_what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "", " ", "[]", "{", "{\"model\":\"a\"", "{\"model\":\"a\"}x",
        "{\"model\":\"a\",}", "{model:\"a\"}", "{\"model\":'a'}", "{\"a\":01,\"model\":\"a\"}",
        "{\"a\":1.,\"model\":\"a\"}", "{\"a\":.5,\"model\":\"a\"}", "{\"a\":+1,\"model\":\"a\"}",
        "{\"a\":1e,\"model\":\"a\"}", "{\"a\":\"\\x\",\"model\":\"a\"}", "{\"a\":\"\\u12g4\",\"model\":\"a\"}",
        "{\"a\":\"\n\",\"model\":\"a\"}", "{\"a\":nul,\"model\":\"a\"}", "{\"a\":NaN,\"model\":\"a\"}",
        "{\"a\" 1,\"model\":\"a\"}", "{\"a\":[1,],\"model\":\"a\"}", "{\"a\":-,\"model\":\"a\"}",
        "{\"model\":\"a\"}{\"model\":\"b\"}" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_refused(DIALECT_OPENAI, str_from_c(bad[i]), "json-malformed");
}

static void test_bytes_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\x80" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_refused(
            DIALECT_OPENAI, arena_fmt(arena, "{\"model\":\"a\",\"x\":\"padding %s\"}", bad[i]), "json-not-utf8");
}

static void test_deep_and_wide_bodies_are_refused(void **state)
{
    (void)state;
    char deep[512] = "{\"model\":\"a\",\"x\":";
    memset(deep + strlen(deep), '[', 300);
    assert_refused(DIALECT_OPENAI, str_from_c(deep), "json-too-deep");
    Str wide = STR("{\"model\":\"a\"");
    for (int i = 0; i < SCAN_MEMBERS_MAX; i++)
        wide = arena_fmt(arena, STR_FMT ",\"m%d\":0", STR_ARG(wide), i);
    assert_refused(DIALECT_OPENAI, arena_fmt(arena, STR_FMT "}", STR_ARG(wide)), "json-too-many-members");
}

static void test_bad_members_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code, *param;
    } cases[] = {
        { "{}", "model-missing", "model" },
        { "{\"model\":7}", "bad-member", "model" },
        { "{\"model\":\"a\",\"stream\":\"yes\"}", "bad-member", "stream" },
        { "{\"model\":\"a\",\"stream\":true,\"stream_options\":[]}", "bad-member", "stream_options" },
        { "{\"model\":\"a\",\"stream\":true,\"stream_options\":{\"include_usage\":1}}", "bad-member",
            "stream_options.include_usage" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ChatBody body;
        Err err = body_read(arena, str_from_c(cases[i].text), DIALECT_OPENAI, &body);
        assert_string_equal(arena_c(arena, err.code), cases[i].code);
        assert_string_equal(arena_c(arena, body.bad_param), cases[i].param);
    }
}

static void test_a_target_model_with_quotes_is_escaped(void **state)
{
    (void)state;
    ChatBody body = read_good(DIALECT_OPENAI, "{\"model\":\"a\"}");
    assert_string_equal(arena_c(arena, body_edit(arena, &body, STR("x\"\\\n"))), "{\"model\":\"x\\\"\\\\\\u000a\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_model_changes_in_a_plain_call),
        cmocka_unit_test(test_a_stream_asks_for_usage_when_the_client_did_not),
        cmocka_unit_test(test_a_client_that_asked_for_usage_gets_its_chunk),
        cmocka_unit_test(test_an_anthropic_stream_is_not_asked),
        cmocka_unit_test(test_a_model_written_with_escapes_is_the_same_model),
        cmocka_unit_test(test_a_member_that_stands_twice_is_refused),
        cmocka_unit_test(test_what_is_not_json_is_refused),
        cmocka_unit_test(test_bytes_that_are_not_utf8_are_refused),
        cmocka_unit_test(test_deep_and_wide_bodies_are_refused),
        cmocka_unit_test(test_bad_members_are_named),
        cmocka_unit_test(test_a_target_model_with_quotes_is_escaped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
