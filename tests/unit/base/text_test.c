/* text_test.c: strings, numbers in text, UTF-8, arenas, buffers. */
#include "support/check.h"

#include "base/arena.h"
#include "base/buf.h"

TEST(str_cut_splits_at_the_first_separator)
{
    Str head, tail;
    CHECK(str_cut(STR("a=b=c"), '=', &head, &tail));
    CHECK_STR(head, "a");
    CHECK_STR(tail, "b=c");
    CHECK(!str_cut(STR("abc"), '=', &head, &tail));
    CHECK_STR(head, "abc");
    CHECK_STR(tail, "");
}

TEST(str_skip_and_first_stay_inside)
{
    CHECK_STR(str_skip(STR("abc"), 1), "bc");
    CHECK_STR(str_skip(STR("abc"), 9), "");
    CHECK_STR(str_first(STR("abc"), 9), "abc");
    CHECK(str_starts_with(STR("abc"), STR("ab")) && !str_starts_with(STR("a"), STR("ab")));
    CHECK(str_ends_with(STR("abc"), STR("bc")) && !str_ends_with(STR("c"), STR("bc")));
    CHECK(str_contains(STR("abc"), STR("b")) && !str_contains(STR("abc"), STR("d")));
    CHECK_STR(str_trim(STR(" \t a b \t")), "a b");
}

TEST(str_to_i64_takes_one_spelling_of_each_number)
{
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } ROWS[] = {
        { "0", true, 0 },
        { "42", true, 42 },
        { "-42", true, -42 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "-0", false, 0 },
        { "007", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1e3", false, 0 },
        { "12345678901234567890123", false, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(ROWS); i++) {
        int64_t value = 7;
        CHECK_INT(str_to_i64(str_from_c(ROWS[i].text), &value), ROWS[i].good);
        CHECK_INT(value, ROWS[i].good ? ROWS[i].value : 7);
    }
}

TEST(utf8_refuses_surrogates_overlong_forms_and_what_is_too_high)
{
    static const char *const GOOD[] = { "", "plain ascii, long enough", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\x91",
        "\xf4\x8f\xbf\xbf", "12345678\xc3\xa9" };
    static const char *const BAD[] = { "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "12345678\xff", "\xc3\x28" };
    for (size_t i = 0; i < COUNT_OF(GOOD); i++)
        CHECK(str_is_utf8(str_from_c(GOOD[i])));
    for (size_t i = 0; i < COUNT_OF(BAD); i++)
        CHECK(!str_is_utf8(str_from_c(BAD[i])));
}

TEST(names_are_short_lower_case_words)
{
    CHECK(str_is_name(STR("summarize-2_x")) && str_is_name(STR("0")));
    CHECK(!str_is_name(STR("")) && !str_is_name(STR("Up")) && !str_is_name(STR("-a")) && !str_is_name(STR("..")) &&
          !str_is_name(STR("a/b")) && !str_is_name(STR("a b")));
    char longest[66];
    memset(longest, 'a', sizeof(longest));
    CHECK(str_is_name(str_n(longest, 64)) && !str_is_name(str_n(longest, 65)));
}

TEST(arena_memory_is_zeroed_and_aligned_after_clear_too)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size < 70000; size = size * 3 + 1) {
            unsigned char *ptr = arena_alloc(arena, 1, size);
            CHECK_INT((uintptr_t)ptr % 16, 0);
            for (size_t i = 0; i < size; i++)
                CHECK_INT(ptr[i], 0);
            memset(ptr, 0xff, size);
        }
        arena_clear(arena);
        CHECK_INT(arena_used(arena), 0);
    }
}

TEST(arena_strings_end_in_nul)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str copy = arena_str(arena, str_first(STR("abcdef"), 3));
    CHECK_INT(copy.ptr[3], 0);
    CHECK_STR(arena_fmt(arena, "%d-" STR_FMT, 7, STR_ARG(copy)), "7-abc");
}

static void count_up(void *arg)
{
    ++*(int *)arg;
}

TEST(arena_runs_what_was_deferred_once)
{
    int count = 0;
    Arena *arena = arena_new();
    arena_defer(arena, count_up, &count);
    arena_clear(arena);
    CHECK_INT(count, 1);
    arena_defer(arena, count_up, &count);
    arena_free(&arena);
    CHECK_INT(count, 2);
}

TEST(buf_stops_at_its_maximum_and_says_so)
{
    _cleanup_(buf_release) Buf buf = buf_new(10);
    buf_add(&buf, STR("12345"));
    buf_fmt(&buf, "%s", "67890");
    CHECK(!buf_overflowed(&buf));
    CHECK_STR(buf_str(&buf), "1234567890");
    buf_add_char(&buf, 'x');
    CHECK(buf_overflowed(&buf));
    CHECK_INT(buf.len, 10);
    buf_clear(&buf);
    CHECK(!buf_overflowed(&buf));
    buf_fmt(&buf, "%s", "12345678901");
    CHECK(buf_overflowed(&buf));
    buf_fmt(&buf, "%s", "1");
    CHECK(buf_overflowed(&buf));
    buf_clear(&buf);
    buf_add(&buf, STR("12345678901")); /* no try has moved the maximum */
    CHECK(buf_overflowed(&buf));
}

TEST(buf_drop_removes_from_the_front)
{
    _cleanup_(buf_release) Buf buf = buf_new(1000);
    buf_add(&buf, STR("hello world"));
    buf_drop(&buf, 6);
    CHECK_STR(buf_str(&buf), "world");
}

TEST(a_reader_gives_back_what_a_buf_was_given_and_knows_its_end)
{
    _cleanup_(buf_release) Buf buf = buf_new(1000);
    buf_u16(&buf, 0x1234);
    buf_u32(&buf, 0xdeadbeef);
    buf_u64(&buf, UINT64_C(0x0102030405060708));
    buf_add(&buf, STR("xyz"));
    Reader reader = reader_of(str_bytes(buf_str(&buf)));
    CHECK_INT(read_u16(&reader), 0x1234);
    CHECK_INT(read_u32(&reader), 0xdeadbeef);
    CHECK(read_u64(&reader) == UINT64_C(0x0102030405060708));
    CHECK(!reader_done(&reader));
    CHECK_STR(bytes_str(read_bytes(&reader, 3)), "xyz");
    CHECK(reader_done(&reader));
    CHECK_INT(read_u8(&reader), 0);
    CHECK(!reader_done(&reader));
}

int main(void)
{
    return RUN(UNIT(str_cut_splits_at_the_first_separator), UNIT(str_skip_and_first_stay_inside),
        UNIT(str_to_i64_takes_one_spelling_of_each_number),
        UNIT(utf8_refuses_surrogates_overlong_forms_and_what_is_too_high), UNIT(names_are_short_lower_case_words),
        UNIT(arena_memory_is_zeroed_and_aligned_after_clear_too), UNIT(arena_strings_end_in_nul),
        UNIT(arena_runs_what_was_deferred_once), UNIT(buf_stops_at_its_maximum_and_says_so),
        UNIT(buf_drop_removes_from_the_front), UNIT(a_reader_gives_back_what_a_buf_was_given_and_knows_its_end));
}
