/* value_test.c: times, ids, encodings, money. */
#include "support/check.h"

#include "base/encode.h"
#include "base/id.h"
#include "base/money.h"

static Arena *arena;

static int open_arena(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

TEST(times_round_trip_through_their_text)
{
    static const char *const TEXTS[] = { "1970-01-01T00:00:01Z", "2026-11-20T18:30:00Z", "2000-02-29T23:59:59.000001Z",
        "9999-12-31T23:59:59.999999Z", "2100-03-01T00:00:00.5Z" };
    for (size_t i = 0; i < COUNT_OF(TEXTS); i++) {
        Time time, again;
        CHECK_OK(time_parse(str_from_c(TEXTS[i]), &time));
        CHECK_OK(time_parse(time_format(arena, time), &again));
        CHECK(time.us == again.us);
    }
    Time known;
    CHECK_OK(time_parse(STR("2026-11-20T18:30:00.25Z"), &known));
    CHECK(known.us == INT64_C(1795199400250000));
    CHECK_STR(time_format(arena, known), "2026-11-20T18:30:00.250000Z");
}

TEST(times_that_are_not_utc_rfc3339_are_refused)
{
    static const char *const BAD[] = { "", "2026-11-20", "2026-11-20T18:30:00", "2026-11-20T18:30:00+01:00",
        "2026-11-20 18:30:00Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-20T24:00:00Z",
        "2026-11-20T18:60:00Z", "2026-11-20T18:30:60Z", "2026-11-20T18:30:00.Z", "2026-11-20T18:30:00.1234567Z",
        "1969-12-31T23:59:59Z", "2026-11-20T18:30:00Zx", "2026-11-2OT18:30:00Z" };
    for (size_t i = 0; i < COUNT_OF(BAD); i++) {
        Time time = { 5 };
        CHECK_ERR(time_parse(str_from_c(BAD[i]), &time), "bad-time");
        CHECK(time.us == 5);
    }
}

TEST(durations_are_a_number_and_a_unit)
{
    int64_t seconds;
    CHECK_OK(duration_parse(STR("15m"), &seconds));
    CHECK_INT(seconds, 900);
    CHECK_OK(duration_parse(STR("7d"), &seconds));
    CHECK_INT(seconds, 604800);
    CHECK_ERR(duration_parse(STR("15"), &seconds), "bad-duration");
    CHECK_ERR(duration_parse(STR("0s"), &seconds), "bad-duration");
    CHECK_ERR(duration_parse(STR("-1h"), &seconds), "bad-duration");
    CHECK_ERR(duration_parse(STR("9223372036854775807w"), &seconds), "bad-duration");
}

TEST(ids_of_one_thread_rise)
{
    Uuid last = { { 0 } };
    Time now = time_now();
    for (int i = 0; i < 500; i++) {
        Uuid id = uuid_v7(now);
        CHECK(uuid_is_v7(id));
        CHECK(uuid_compare(last, id) < 0);
        CHECK(uuid_time(id).us / 1000 == now.us / 1000);
        last = id;
    }
}

TEST(typeids_match_the_published_example)
{
    Uuid id;
    CHECK_OK(uuid_parse(STR("01890a5d-ac96-774b-bcce-b302099a8057"), &id));
    CHECK_STR(typeid_format(arena, STR("prefix"), id), "prefix_01h455vb4pex5vsknk084sn02q");
    Uuid again;
    CHECK_OK(typeid_parse(STR("prefix_01h455vb4pex5vsknk084sn02q"), STR("prefix"), &again));
    CHECK(uuid_eq(id, again));
    CHECK_STR(uuid_format(arena, again), "01890a5d-ac96-774b-bcce-b302099a8057");
}

TEST(typeids_of_another_kind_or_spelling_are_refused)
{
    static const char *const BAD[] = { "", "prj", "prj_", "org_01h455vb4pex5vsknk084sn02q",
        "prj_01H455VB4PEX5VSKNK084SN02Q", "prj_81h455vb4pex5vsknk084sn02q", "prj_01h455vb4pex5vsknk084sn02",
        "prj_01h455vb4pex5vsknk084sn02qq", "prj_01h455vb4pex5vsknk084sn02l", "prj-01h455vb4pex5vsknk084sn02q",
        "prj_../../../../../../../etc/p" };
    for (size_t i = 0; i < COUNT_OF(BAD); i++) {
        Uuid id;
        CHECK_ERR(typeid_parse(str_from_c(BAD[i]), STR("prj"), &id), "bad-id");
    }
}

TEST(base64_has_one_spelling_for_each_value)
{
    static const struct {
        const char *plain, *standard, *url;
    } ROWS[] = { { "", "", "" }, { "f", "Zg==", "Zg" }, { "fo", "Zm8=", "Zm8" }, { "foo", "Zm9v", "Zm9v" },
        { "\xfb\xff\xfe", "+//+", "-__-" } };
    for (size_t i = 0; i < COUNT_OF(ROWS); i++) {
        Bytes out;
        CHECK_STR(base64_encode(arena, str_bytes(str_from_c(ROWS[i].plain))), ROWS[i].standard);
        CHECK_STR(base64url_encode(arena, str_bytes(str_from_c(ROWS[i].plain))), ROWS[i].url);
        CHECK_OK(base64_decode(arena, str_from_c(ROWS[i].standard), &out));
        CHECK_STR(bytes_str(out), ROWS[i].plain);
        CHECK_OK(base64url_decode(arena, str_from_c(ROWS[i].url), &out));
        CHECK_STR(bytes_str(out), ROWS[i].plain);
    }
    static const char *const BAD_URL[] = { "Zg==", "Zh", "Z", "Zm9v=", "Zm 9", "Zm9v\n", "+//+", "Zm9" };
    for (size_t i = 0; i < COUNT_OF(BAD_URL); i++) {
        Bytes out;
        CHECK_ERR(base64url_decode(arena, str_from_c(BAD_URL[i]), &out), "bad-base64");
    }
    static const char *const BAD[] = { "Zg", "Zg=", "Zh==", "====", "Zg==Zg==", "-__-" };
    for (size_t i = 0; i < COUNT_OF(BAD); i++) {
        Bytes out;
        CHECK_ERR(base64_decode(arena, str_from_c(BAD[i]), &out), "bad-base64");
    }
}

TEST(base64url_survives_random_bytes)
{
    for (size_t len = 0; len < 200; len++) {
        uint8_t bytes[200], out[200];
        random_bytes(bytes, len);
        Str text = base64url_encode(arena, (Bytes){ bytes, len });
        CHECK_OK(base64url_decode_into(text, out, len));
        assert_memory_equal(bytes, out, len);
        CHECK_ERR(base64url_decode_into(text, out, len + 1), "bad-base64");
    }
}

static uint32_t crc32_bit_by_bit(const uint8_t *ptr, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= ptr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

TEST(crc32_is_the_bitwise_one_at_every_length_and_offset)
{
    uint8_t bytes[80];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t at = 0; at < 9; at++)
        for (size_t len = 0; len + at <= sizeof bytes; len++)
            CHECK(crc32_of((Bytes){ .ptr = bytes + at, .len = len }) == crc32_bit_by_bit(bytes + at, len));
}

TEST(crc32_matches_the_check_value)
{
    CHECK(crc32_of(str_bytes(STR("123456789"))) == 0xcbf43926u);
    CHECK(crc32_add(crc32_of(str_bytes(STR("1234"))), str_bytes(STR("56789"))) == 0xcbf43926u);
}

TEST(money_is_exact_both_ways)
{
    static const struct {
        const char *text;
        int64_t pico;
    } ROWS[] = { { "0", 0 }, { "1", PICO_PER_USD }, { "0.0000375", 37500000 }, { "0.000000000001", 1 },
        { "-3.5", -3500000000000 }, { "9223372.036854775807", INT64_MAX }, { "-9223372.036854775808", INT64_MIN } };
    for (size_t i = 0; i < COUNT_OF(ROWS); i++) {
        Money money;
        CHECK_OK(money_parse(str_from_c(ROWS[i].text), &money));
        CHECK(money.pico == ROWS[i].pico);
        CHECK_STR(money_format(arena, money), ROWS[i].text);
    }
    static const char *const BAD[] = { "", "-", ".", "1.", ".5", "1.0000000000001", "1e3", "+1", " 1",
        "9223372.036854775808", "0x1", "1,5", "NaN" };
    for (size_t i = 0; i < COUNT_OF(BAD); i++) {
        Money money;
        CHECK_ERR(money_parse(str_from_c(BAD[i]), &money), "bad-money");
    }
}

TEST(money_sums_go_beyond_64_bits)
{
    MoneySum sum;
    CHECK_OK(money_sum_from_digits(STR("99999999999999999999999999999999999999"), &sum));
    CHECK_STR(money_sum_digits(arena, sum), "99999999999999999999999999999999999999");
    CHECK_STR(money_sum_format(arena, sum), "99999999999999999999999999.999999999999");
    CHECK_ERR(money_sum_from_digits(STR("999999999999999999999999999999999999999999"), &sum), "bad-money");
}

TEST(money_times_refuses_to_overflow)
{
    Money amount;
    CHECK_OK(money_times(1000, (Money){ 37500000 }, &amount));
    CHECK(amount.pico == INT64_C(37500000000));
    CHECK_ERR(money_times(INT64_MAX, (Money){ 2 }, &amount), "amount-overflow");
}

#define WITH_ARENA(sentence) cmocka_unit_test_setup_teardown(test_##sentence, open_arena, close_arena)

int main(void)
{
    return RUN(WITH_ARENA(times_round_trip_through_their_text), WITH_ARENA(times_that_are_not_utc_rfc3339_are_refused),
        WITH_ARENA(durations_are_a_number_and_a_unit), WITH_ARENA(ids_of_one_thread_rise),
        WITH_ARENA(typeids_match_the_published_example), WITH_ARENA(typeids_of_another_kind_or_spelling_are_refused),
        WITH_ARENA(base64_has_one_spelling_for_each_value), WITH_ARENA(base64url_survives_random_bytes),
        WITH_ARENA(crc32_matches_the_check_value), WITH_ARENA(crc32_is_the_bitwise_one_at_every_length_and_offset),
        WITH_ARENA(money_is_exact_both_ways), WITH_ARENA(money_sums_go_beyond_64_bits),
        WITH_ARENA(money_times_refuses_to_overflow));
}
