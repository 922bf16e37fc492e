/* tap_test.c: cutting streams at any split, and hearing usage in them, on made and on recorded answers. */
#include "base/config.h"
#include "gateway/sse.h"
#include "gateway/tap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
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

typedef struct Heard {
    size_t events, hidden, errors, blank;
    Str passed; /* everything that would go to the client */
    Str usage, model;
    bool finished, closing;
} Heard;

/* Feeds the text in pieces of `step` bytes, as the gateway would. */
static Heard hear(Dialect dialect, Str text, size_t step, bool hide)
{
    Tap tap;
    tap_init(&tap, dialect, hide);
    SseCutter cutter = { 0 };
    _cleanup_(buf_release) Buf held = buf_new(1 << 20), passed = buf_new(1 << 20);
    Heard heard = { 0 };
    for (size_t at = 0; at < text.len; at += step) {
        Str piece = str_first(str_skip(text, at), step);
        while (piece.len > 0) {
            bool complete;
            size_t taken = sse_cut(&cutter, piece, &complete);
            buf_add(&held, str_first(piece, taken));
            piece = str_skip(piece, taken);
            if (!complete)
                continue;
            TapVerdict verdict = tap_event(&tap, arena, buf_str(&held));
            heard.events++;
            heard.hidden += verdict == TAP_HIDE;
            heard.errors += verdict == TAP_ERROR;
            heard.blank += verdict == TAP_BLANK;
            if (verdict != TAP_HIDE)
                buf_add(&passed, buf_str(&held));
            buf_clear(&held);
        }
    }
    buf_add(&passed, buf_str(&held));
    heard.passed = arena_str(arena, buf_str(&passed));
    heard.usage = arena_str(arena, tap_usage(&tap));
    heard.model = arena_str(arena, tap_model(&tap));
    heard.finished = tap.finished;
    heard.closing = tap.closing;
    tap_release(&tap);
    return heard;
}

static void assert_text(Str got, const char *wanted)
{
    assert_string_equal(arena_c(arena, got), wanted);
}

static const char openai_stream[] =
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n"
    ": comment\n\n"
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n"
    "data: {\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n"
    "data: [DONE]\n\n";

static void test_a_stream_reads_the_same_at_every_split(void **state)
{
    (void)state;
    for (size_t step = 1; step < sizeof openai_stream; step++) {
        Heard heard = hear(DIALECT_OPENAI, str_from_c(openai_stream), step, true);
        assert_int_equal(heard.events, 5);
        assert_int_equal(heard.hidden, 1);
        assert_int_equal(heard.blank, 1);
        assert_text(heard.usage, "{\"prompt_tokens\":3,\"completion_tokens\":1}");
        assert_text(heard.model, "m-1");
        assert_true(heard.finished && heard.closing);
        assert_false(str_contains(heard.passed, STR("prompt_tokens")));
    }
}

static void test_the_usage_chunk_passes_when_it_was_asked_for(void **state)
{
    (void)state;
    Heard heard = hear(DIALECT_OPENAI, str_from_c(openai_stream), 7, false);
    assert_int_equal(heard.hidden, 0);
    assert_text(heard.passed, openai_stream);
}

static void test_a_usage_beside_choices_is_never_hidden(void **state)
{
    (void)state;
    Heard heard = hear(DIALECT_OPENAI,
        STR("data: {\"model\":\"g\",\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"total_tokens\":9}}\n\n"),
        5, true);
    assert_int_equal(heard.hidden, 0);
    assert_text(heard.usage, "{\"total_tokens\":9}");
}

static void test_every_line_ending_cuts(void **state)
{
    (void)state;
    static const char *const streams[] = { "data: 1\n\ndata: 2\n\n", "data: 1\r\n\r\ndata: 2\r\n\r\n",
        "data: 1\r\rdata: 2\r\r" };
    for (size_t i = 0; i < COUNT_OF(streams); i++)
        for (size_t step = 1; step < 9; step++) {
            Heard heard = hear(DIALECT_OPENAI, str_from_c(streams[i]), step, true);
            assert_int_equal(heard.events, 2);
            assert_text(heard.passed, streams[i]);
        }
}

static void test_data_lines_are_joined(void **state)
{
    (void)state;
    SseEvent event = sse_read(arena, STR("event: x\r\ndata:a\r\ndata: b\r\nid: 7\r\n\r\n"));
    assert_text(event.name, "x");
    assert_text(event.data, "a\nb");
}

static void test_an_anthropic_stream_keeps_both_usages(void **state)
{
    (void)state;
    static const char stream[] =
        "event: message_start\ndata: "
        "{\"type\":\"message_start\",\"message\":{\"model\":\"c-1\",\"usage\":{\"input_tokens\":5}}}\n\n"
        "event: ping\ndata: {\"type\":\"ping\"}\n\n"
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"usage\":{\"input_tokens\":9}}\n\n"
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\n"
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    Heard heard = hear(DIALECT_ANTHROPIC, str_from_c(stream), 3, false);
    assert_text(heard.usage, "{\"input_tokens\":5}\n{\"output_tokens\":7}");
    assert_text(heard.model, "c-1");
    assert_int_equal(heard.blank, 1);
    assert_true(heard.finished);
}

static void test_an_error_event_is_heard_in_both_dialects(void **state)
{
    (void)state;
    Heard openai = hear(DIALECT_OPENAI, STR("data: {\"error\":{\"type\":\"server_error\"}}\n\n"), 4, false);
    assert_int_equal(openai.errors, 1);
    Heard anthropic = hear(DIALECT_ANTHROPIC,
        STR("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"), 4, false);
    assert_int_equal(anthropic.errors, 1);
    assert_text(tap_error_type(arena, STR("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}")),
        "overloaded_error");
}

static void test_the_word_error_in_a_text_is_no_error(void **state)
{
    (void)state;
    Heard heard = hear(DIALECT_OPENAI,
        STR("data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":1}\"}}],\"error\":null}\n\n"),
        11, false);
    assert_int_equal(heard.errors, 0);
}

static void test_a_whole_answer_tells_its_usage(void **state)
{
    (void)state;
    Tap tap;
    tap_init(&tap, DIALECT_OPENAI, false);
    assert_true(tap_body(
        &tap, arena, STR("{\"choices\":[{\"usage\":{}}],\"usage\": {\"total_tokens\" : 3} ,\"model\":\"m\"}")));
    assert_text(tap_usage(&tap), "{\"total_tokens\" : 3}");
    assert_text(tap_model(&tap), "m");
    tap_release(&tap);
    tap_init(&tap, DIALECT_OPENAI, false);
    assert_false(tap_body(&tap, arena, STR("<html>")));
    assert_text(tap_usage(&tap), "");
    tap_release(&tap);
}

/* --- recorded answers, where they are at hand --- */

static bool recorded(const char *name, Str *ret_text)
{
    const char *shared = getenv("REEVE_SHARED");
    Str path = arena_fmt(arena, "%s/data/responses/%s", shared == NULL ? "../shared" : shared, name);
    return file_read(arena, path, 1 << 20, ret_text).kind == ERR_NONE;
}

static void test_recorded_streams_tell_their_usage_and_pass_unchanged(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        Dialect dialect;
        const char *model, *usage_has;
        bool finished;
        size_t errors;
    } cases[] = {
        { "openai_chat_stream_usage.sse", DIALECT_OPENAI, "gpt-4o-mini-2024-07-18", "\"prompt_tokens\":53", true, 0 },
        { "openai_chat_stream_toolcall.sse", DIALECT_OPENAI, "gpt-4o-2024-08-06", "\"prompt_tokens\":398", true, 0 },
        { "zai_stream_thinking.sse", DIALECT_OPENAI, "glm-4.7", "\"reasoning_tokens\":561", true, 0 },
        { "groq_stream.sse", DIALECT_OPENAI, "openai/gpt-oss-120b", "", false, 1 },
        { "anthropic_stream_thinking.sse", DIALECT_ANTHROPIC, "claude-sonnet-4-5-20250929", "\"output_tokens\":189",
            true, 0 },
        { "anthropic_stream_web_search.sse", DIALECT_ANTHROPIC, "claude-sonnet-4-20250514", "\"input_tokens\":7244",
            true, 0 },
    };
    Str text;
    if (!recorded(cases[0].file, &text)) {
        print_message("recorded answers are not here (set REEVE_SHARED): skipped\n");
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(recorded(cases[i].file, &text));
        for (size_t step = 1; step < 4000; step = step * 3 + 1) {
            Heard heard = hear(cases[i].dialect, text, step, false);
            assert_text(heard.model, cases[i].model);
            assert_true(str_contains(heard.usage, str_from_c(cases[i].usage_has)));
            assert_int_equal(heard.finished, cases[i].finished);
            assert_int_equal(heard.errors, cases[i].errors);
            assert_true(str_eq(heard.passed, text));
            arena_clear(arena);
            assert_true(recorded(cases[i].file, &text));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_reads_the_same_at_every_split),
        cmocka_unit_test(test_the_usage_chunk_passes_when_it_was_asked_for),
        cmocka_unit_test(test_a_usage_beside_choices_is_never_hidden),
        cmocka_unit_test(test_every_line_ending_cuts),
        cmocka_unit_test(test_data_lines_are_joined),
        cmocka_unit_test(test_an_anthropic_stream_keeps_both_usages),
        cmocka_unit_test(test_an_error_event_is_heard_in_both_dialects),
        cmocka_unit_test(test_the_word_error_in_a_text_is_no_error),
        cmocka_unit_test(test_a_whole_answer_tells_its_usage),
        cmocka_unit_test(test_recorded_streams_tell_their_usage_and_pass_unchanged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
