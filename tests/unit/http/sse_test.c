/* sse_test.c: event streams, split anywhere, with every kind of line end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/sse.h"

typedef struct Seen {
    char text[1024];
    size_t len;
    int stop_after;
} Seen;

static bool on_event(Str event, Str data, void *arg)
{
    Seen *seen = arg;
    int n =
        snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, "[%.*s|%.*s]", STR_ARG(event), STR_ARG(data));
    seen->len += (size_t)n;
    return seen->stop_after == 0 || --seen->stop_after > 0;
}

typedef struct Case {
    const char *stream, *events;
} Case;

static const Case cases[] = {
    { "data: a\n\n", "[message|a]" },
    { "data: a\r\n\r\ndata: b\r\n\r\n", "[message|a][message|b]" },
    { "data: a\r\rdata: b\r\r", "[message|a][message|b]" },
    { "data: a\n\r\ndata: b\r\n\n", "[message|a][message|b]" },
    { "event: delta\ndata: {}\n\n", "[delta|{}]" },
    { "data: a\ndata: b\ndata\n\n", "[message|a\nb\n]" },
    { "data:a\n\ndata:  b\n\n", "[message|a][message| b]" },
    { ": comment\nid: 1\nretry: 5\nunknown: x\ndata: a\n\n", "[message|a]" },
    { "event: x\n\ndata: a\n\n", "[message|a]" },
    { "data: a\n", "" },
    { "\xef\xbb\xbf"
      "data: a\n\n",
        "[message|a]" },
    { "data: [DONE]\n\n", "[message|[DONE]]" },
    { "\n\n\n", "" },
    { "data\n\n", "[message|]" },
};

static void test_events_are_the_same_however_the_bytes_are_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t len = strlen(cases[i].stream);
        for (size_t step = 1; step <= len + 1; step++) {
            Seen seen = { 0 };
            Sse sse = sse_new(1024, on_event, &seen);
            for (size_t at = 0; at < len; at += step) {
                size_t n = len - at < step ? len - at : step;
                assert_int_equal(sse_feed(&sse, (Bytes){ (const uint8_t *)cases[i].stream + at, n }).kind, ERR_NONE);
            }
            assert_string_equal(seen.text, cases[i].events);
            sse_release(&sse);
        }
    }
}

static void test_a_line_or_an_event_past_the_limit_is_an_error_for_good(void **state)
{
    (void)state;
    static const char *const streams[] = { "data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\n",
        "data: aaaaaaaaa\ndata: aaaaaaaaa\ndata: aaaaaaaaaa\ndata: aaaaaaaaa\n\n" };
    for (size_t i = 0; i < 2; i++) {
        Seen seen = { 0 };
        Sse sse = sse_new(32, on_event, &seen);
        Err err = OK;
        for (const char *at = streams[i]; *at != '\0' && err.kind == ERR_NONE; at++)
            err = sse_feed(&sse, (Bytes){ (const uint8_t *)at, 1 });
        assert_int_equal(err.kind, ERR_TOO_LARGE);
        err = sse_feed(&sse, BYTES_OF("data: a\n\n"));
        assert_int_equal(err.kind, ERR_TOO_LARGE);
        assert_string_equal(seen.text, "");
        sse_release(&sse);
    }
}

static void test_a_reader_that_has_enough_gets_no_more(void **state)
{
    (void)state;
    Seen seen = { .stop_after = 1 };
    Sse sse = sse_new(100, on_event, &seen);
    assert_int_equal(sse_feed(&sse, str_bytes(STR("data: a\n\ndata: b\n\n"))).kind, ERR_NONE);
    assert_string_equal(seen.text, "[message|a]");
    sse_release(&sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_are_the_same_however_the_bytes_are_split),
        cmocka_unit_test(test_a_line_or_an_event_past_the_limit_is_an_error_for_good),
        cmocka_unit_test(test_a_reader_that_has_enough_gets_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
