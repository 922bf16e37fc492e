/* head_test.c: the guard as a function of bytes, percent-decoding, problem documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/head.h"
#include "http/problem.h"

/* The status a head is refused with; 0: accepted; -1: incomplete. */
static int status_of(Str text, size_t bytes_max, Head *ret_head, Arena *arena)
{
    HeadScan scan = { 0 };
    Refusal why = { 0 };
    size_t len = 0;
    HeadState state = head_scan(&scan, text.ptr, text.len, bytes_max, &len, &why);
    if (state == HEAD_MORE)
        return -1;
    if (state == HEAD_REFUSED || !head_read(arena, str_first(text, len), ret_head, &why))
        return why.status;
    return 0;
}

static void test_a_head_is_read_into_its_parts(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Head head;
    assert_int_equal(
        status_of(STR("POST /a/b?c=d?e HTTP/1.1\r\nHost: x:80\r\nContent-Length: 007\r\nA:  b c \r\n\r\nrest"), 4096,
            &head, arena),
        0);
    assert_true(str_eq(head.method, STR("POST")) && str_eq(head.target, STR("/a/b?c=d?e")));
    assert_true(str_eq(head.path, STR("/a/b")) && str_eq(head.query, STR("c=d?e")));
    assert_int_equal(head.header_count, 3);
    assert_true(str_eq(head.headers[2].name, STR("A")) && str_eq(head.headers[2].value, STR("b c")));
    assert_int_equal(head.body_len, 7);
    assert_false(head.closes);
}

static void test_a_limit_has_its_own_status(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Head head;
    Str fill = arena_fmt(arena, "%09000d", 0);
    assert_int_equal(
        status_of(arena_fmt(arena, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", fill.ptr), 32768, &head, arena), 414);
    assert_int_equal(status_of(arena_fmt(arena, "GET /%s", fill.ptr), 32768, &head, arena), 414);
    assert_int_equal(
        status_of(arena_fmt(arena, "GET / HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n", fill.ptr), 8192, &head, arena), 431);
    assert_int_equal(status_of(arena_fmt(arena, "GET / HTTP/1.1\r\nA: %s", fill.ptr), 8192, &head, arena), 431);
    for (int count = 99; count <= 100; count++) {
        Str text = STR("GET / HTTP/1.1\r\nHost: x\r\n");
        for (int i = 0; i < count; i++)
            text = arena_fmt(arena, STR_FMT "A: b\r\n", STR_ARG(text));
        text = arena_fmt(arena, STR_FMT "\r\n", STR_ARG(text));
        assert_int_equal(status_of(text, 32768, &head, arena), count == 99 ? 0 : 431);
    }
    assert_int_equal(status_of(STR("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), 4096, &head, arena), 411);
    assert_int_equal(
        status_of(STR("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), 4096, &head, arena), 411);
    assert_int_equal(status_of(STR("GET / HTTP/3.0\r\nHost: x\r\n\r\n"), 4096, &head, arena), 505);
    assert_int_equal(status_of(STR("BREW / HTTP/1.1\r\nHost: x\r\n\r\n"), 4096, &head, arena), 501);
    assert_int_equal(status_of(STR("GET / HTTP/1.1\r\nHost: x\r\n"), 4096, &head, arena), -1);
}

static void test_url_decode_refuses_what_changes_a_path(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    static const char *const bad[] = { "%00", "a%2Fb", "a%2fb", "%5C", "%5c", "..", ".", "%2e%2e", "%2E", "%", "%2",
        "%zz", "%C3", "%ff", "%c0%af", "%ed%a0%80" };
    Str text;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (url_decode(arena, str_from_c(bad[i]), &text).kind != ERR_INVALID)
            fail_msg("%s was accepted", bad[i]);
    assert_int_equal(url_decode(arena, STR("a%20b%C3%A9+..x"), &text).kind, ERR_NONE);
    assert_true(str_eq(text, STR("a b\xc3\xa9+..x")));
}

static void test_query_get_finds_one_and_refuses_two(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str value;
    assert_int_equal(query_get(arena, STR("a=1&b=x%20y&c"), STR("b"), &value).kind, ERR_NONE);
    assert_true(str_eq(value, STR("x y")));
    assert_int_equal(query_get(arena, STR("a=1&c"), STR("c"), &value).kind, ERR_NONE);
    assert_true(value.ptr != NULL && value.len == 0);
    assert_int_equal(query_get(arena, STR("a=1"), STR("b"), &value).kind, ERR_NONE);
    assert_null(value.ptr);
    assert_true(err_is(query_get(arena, STR("a=1&a=1"), STR("a"), &value), "duplicate-parameter"));
    assert_int_equal(query_get(arena, STR("a=%00"), STR("a"), &value).kind, ERR_INVALID);
}

static void test_a_problem_has_its_members(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    FieldErr field = { STR("/name"), STR("is required") };
    Err err = FAIL(ERR_INVALID, "invalid-body", "The body is \"wrong\".");
    err.fields = (FieldErrs){ &field, 1 };
    Str text = problem_document(arena, err, STR("req_1"));
    assert_true(
        str_eq(text, STR("{\"type\":\"/problems/invalid-body\",\"title\":\"Unprocessable Content\",\"status\":422,"
                         "\"detail\":\"The body is \\\"wrong\\\".\",\"code\":\"invalid-body\",\"request_id\":\"req_1\","
                         "\"errors\":[{\"pointer\":\"/name\",\"detail\":\"is required\"}]}")));
    assert_int_equal(err_http_status(FAIL(ERR_PRECONDITION, "precondition-required", "x")), 428);
    assert_int_equal(err_http_status(FAIL(ERR_PRECONDITION, "precondition-failed", "x")), 412);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_is_read_into_its_parts),
        cmocka_unit_test(test_a_limit_has_its_own_status),
        cmocka_unit_test(test_url_decode_refuses_what_changes_a_path),
        cmocka_unit_test(test_query_get_finds_one_and_refuses_two),
        cmocka_unit_test(test_a_problem_has_its_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
