/* dialect_test.c: routes, upstream URLs and the shape of every error. */
#include "base/json.h"
#include "gateway/dialect.h"

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

static const JsonLimits limits = { .bytes_max = 4096, .depth_max = 8, .tokens_max = 100 };

static void test_every_fault_has_each_providers_shape(void **state)
{
    (void)state;
    for (Fault fault = FAULT_KEY_MISSING; fault < FAULT_COUNT; fault++) {
        _cleanup_(json_release) json_t *openai = NULL;
        _cleanup_(json_release) json_t *anthropic = NULL;
        Str text = fault_body(arena, fault, DIALECT_OPENAI, STR(""), STR("model"), STR("req_1"));
        assert_int_equal(json_parse(text, limits, &openai).kind, ERR_NONE);
        assert_true(json_str(json_at(openai, "error"), "message").len > 10);
        assert_true(json_str(json_at(openai, "error"), "type").len > 0);
        assert_true(json_str(json_at(openai, "error"), "code").len > 0);
        text = fault_body(arena, fault, DIALECT_ANTHROPIC, STR("A \"quoted\"\nsentence."), STR(""), STR("req_1"));
        assert_int_equal(json_parse(text, limits, &anthropic).kind, ERR_NONE);
        assert_true(str_eq(json_str(anthropic, "type"), STR("error")));
        assert_true(str_eq(json_str(anthropic, "request_id"), STR("req_1")));
        assert_true(str_eq(json_str(json_at(anthropic, "error"), "message"), STR("A \"quoted\"\nsentence.")));
        assert_in_range(fault_status(fault, DIALECT_OPENAI), 400, 599);
    }
}

static void test_trouble_of_ours_is_never_401(void **state)
{
    (void)state;
    static const Fault ours[] = { FAULT_NO_SNAPSHOT, FAULT_EXPIRED, FAULT_SPOOL, FAULT_DRAINING, FAULT_ROUTE,
        FAULT_UPSTREAM_REFUSED, FAULT_BUSY };
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        assert_int_equal(fault_status(ours[i], DIALECT_OPENAI), 503);
        assert_true(fault_status(ours[i], DIALECT_ANTHROPIC) >= 503);
    }
}

static void test_routes_are_exact(void **state)
{
    (void)state;
    Dialect dialect;
    assert_true(dialect_of_path(STR("/v1/chat/completions"), &dialect) && dialect == DIALECT_OPENAI);
    assert_true(dialect_of_path(STR("/openai/v1/chat/completions"), &dialect) && dialect == DIALECT_OPENAI);
    assert_true(dialect_of_path(STR("/v1/messages"), &dialect) && dialect == DIALECT_ANTHROPIC);
    assert_true(dialect_of_path(STR("/anthropic/v1/messages"), &dialect) && dialect == DIALECT_ANTHROPIC);
    static const char *const unknown[] = { "/", "", "/v1/messages/", "/v1/chat", "/openai/v1/messages",
        "/anthropic/openai/v1/chat/completions", "/V1/messages", "/v1//messages" };
    for (size_t i = 0; i < COUNT_OF(unknown); i++)
        assert_false(dialect_of_path(str_from_c(unknown[i]), &dialect));
}

static void test_a_base_url_may_or_may_not_end_in_a_version(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "https://api.openai.com", "https://api.openai.com/v1/chat/completions" },
        { "https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions" },
        { "https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions" },
        { "https://z.example/api/paas/v4", "https://z.example/api/paas/v4/chat/completions" },
        { "http://127.0.0.1:9901/vendor", "http://127.0.0.1:9901/vendor/v1/chat/completions" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(arena_c(arena, dialect_url(arena, DIALECT_OPENAI, str_from_c(cases[i][0]))), cases[i][1]);
}

static void test_a_broken_stream_ends_in_an_event_the_sdk_reads(void **state)
{
    (void)state;
    Str openai = fault_event(arena, FAULT_STREAM_BROKEN, DIALECT_OPENAI, STR("req_1"));
    assert_true(str_starts_with(openai, STR("data: {\"error\":")) && str_ends_with(openai, STR("\n\n")));
    Str anthropic = fault_event(arena, FAULT_STREAM_BROKEN, DIALECT_ANTHROPIC, STR("req_1"));
    assert_true(str_starts_with(anthropic, STR("event: error\ndata: {\"type\":\"error\"")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fault_has_each_providers_shape),
        cmocka_unit_test(test_trouble_of_ours_is_never_401),
        cmocka_unit_test(test_routes_are_exact),
        cmocka_unit_test(test_a_base_url_may_or_may_not_end_in_a_version),
        cmocka_unit_test(test_a_broken_stream_ends_in_an_event_the_sdk_reads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
