/* From a stored attempt to its lines: a pure function, tested without a database. */
#include "ledger/rate.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static Arena *arena;
static PriceBook *book;

static const Time AT = { INT64_C(1790000000000000) };

#define RATE(p, m, meter_number, tier, above, price)                                                                   \
    {                                                                                                                  \
        .provider = STR_INIT(p), .model = STR_INIT(m), .meter = (meter_number), .service_tier = STR_INIT(tier),        \
        .above_input = (above), .pico = {                                                                              \
            (price),                                                                                                   \
            true                                                                                                       \
        }                                                                                                              \
    }

static int up(void **state)
{
    (void)state;
    static PriceRate rates[] = {
        RATE("openai", "m", METER_INPUT_UNCACHED, "", 0, 150000),
        RATE("openai", "m", METER_OUTPUT, "", 0, 600000),
        RATE("openai", "m", METER_INPUT_UNCACHED, "", 1000, 300000),
        RATE("openai", "dear", METER_INPUT_UNCACHED, "", 0, INT64_C(9000000000)),
        RATE("openai", "m", METER_OUTPUT, "priority", 0, 1200000),
        RATE("anthropic", "c", METER_OUTPUT, "", 0, 5),
        RATE("anthropic", "advisor", METER_OUTPUT, "", 0, 7),
    };
    arena = arena_new();
    book = price_book_new((List){ rates, COUNT_OF(rates) }, (List){ 0 }, 1);
    return 0;
}

static int down(void **state)
{
    (void)state;
    price_book_free(&book);
    arena_free(&arena);
    return 0;
}

typedef struct Lines {
    RateLine *items;
    size_t count;
} Lines;

static Lines rate(const char *provider, const char *model, const char *outcome, const char *const *raws, size_t count)
{
    RateUnit *units = NEW(arena, RateUnit, count + 1);
    for (size_t i = 0; i < count; i++)
        units[i].usage_raw = str_bytes(str_from_c(raws[i]));
    RateAttempt attempt = { .dialect = str_from_c(provider),
        .provider = str_from_c(provider),
        .model_asked = STR("m"),
        .model_answered = str_from_c(model),
        .outcome = str_from_c(outcome),
        .at = AT,
        .units = units,
        .unit_count = count };
    Lines lines;
    rate_attempt(arena, book, &attempt, &lines.items, &lines.count);
    return lines;
}

static RateLine one(const char *model, const char *raw)
{
    Lines lines = rate("openai", model, "ok", &raw, 1);
    assert_int_equal(1, lines.count);
    return lines.items[0];
}

#define CHAT "{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}"

static void test_an_amount_is_the_sum_of_quantities_times_rates(void **state)
{
    (void)state;
    RateLine line = one("m", CHAT);
    assert_true(str_eq(STR("priced"), line.reason));
    assert_int_equal(100 * 150000 + 10 * 600000, line.amount.pico);
    assert_int_equal(0, line.unrated);
    assert_int_equal(1, line.unit);
}

static void test_the_whole_unit_has_the_price_of_its_context(void **state)
{
    (void)state;
    assert_int_equal(1000 * INT64_C(150000), one("m", "{\"prompt_tokens\":1000,\"completion_tokens\":0}").amount.pico);
    assert_int_equal(1001 * INT64_C(300000), one("m", "{\"prompt_tokens\":1001,\"completion_tokens\":0}").amount.pico);
}

static void test_a_cached_token_is_never_billed_as_an_uncached_one(void **state)
{
    (void)state;
    RateLine line =
        one("m", "{\"prompt_tokens\":100,\"completion_tokens\":0,\"prompt_tokens_details\":{\"cached_tokens\":40}}");
    assert_true(str_eq(STR("partly-unrated"), line.reason));
    assert_int_equal(60 * 150000, line.amount.pico);
    assert_int_equal(40, line.unrated);
}

static void test_reasoning_is_output_where_it_has_no_price(void **state)
{
    (void)state;
    RateLine line = one(
        "m", "{\"prompt_tokens\":0,\"completion_tokens\":10,\"completion_tokens_details\":{\"reasoning_tokens\":4}}");
    assert_int_equal(10 * 600000, line.amount.pico);
    assert_int_equal(2, line.count);
}

static void test_an_unknown_model_is_unrated_and_a_dated_answer_is_the_model_asked_for(void **state)
{
    (void)state;
    RateLine line = one("x-unknown", CHAT);
    assert_true(str_eq(STR("unrated"), line.reason));
    assert_int_equal(0, line.amount.pico);
    assert_int_equal(110, line.unrated);
    assert_true(str_eq(STR("priced"), one("m-2026-01-01", CHAT).reason));
}

static void test_an_amount_that_does_not_fit_is_said_and_not_wrapped(void **state)
{
    (void)state;
    RateLine line = one("dear", "{\"prompt_tokens\":9000000000,\"completion_tokens\":0}");
    assert_true(str_eq(STR("overflow"), line.reason));
    assert_int_equal(0, line.amount.pico);
    assert_int_equal(INT64_C(9000000000), line.unrated);
}

static void test_equal_bytes_in_several_units_are_billed_once(void **state)
{
    (void)state;
    const char *const same[] = { CHAT, CHAT };
    assert_int_equal(1, rate("openai", "m", "ok", same, 2).count);
    const char *const other[] = { CHAT, "{\"prompt_tokens\":1,\"completion_tokens\":1}" };
    Lines lines = rate("openai", "m", "ok", other, 2);
    assert_int_equal(2, lines.count);
    assert_int_equal(2, lines.items[1].unit);
}

static void test_each_iteration_is_priced_at_its_own_model(void **state)
{
    (void)state;
    const char *const raw[] = { "{\"input_tokens\":1,\"output_tokens\":10,\"iterations\":[{\"type\":\"message\","
                                "\"input_tokens\":0,\"output_tokens\":10},{\"type\":\"advisor_message\",\"model\":"
                                "\"advisor\",\"input_tokens\":0,\"output_tokens\":3}]}" };
    Lines lines = rate("anthropic", "c", "ok", raw, 1);
    assert_int_equal(2, lines.count);
    assert_int_equal(50, lines.items[0].amount.pico);
    assert_int_equal(21, lines.items[1].amount.pico);
    assert_true(str_eq(STR("advisor"), lines.items[1].model));
}

static void test_a_tier_that_the_answer_names_needs_its_own_price(void **state)
{
    (void)state;
    RateLine line = one("m", "{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1},\"service_tier\":\"priority\"}");
    assert_int_equal(1200000, line.amount.pico);
    assert_int_equal(5, line.unrated);
    line = one("m", "{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1},\"service_tier\":\"default\"}");
    assert_int_equal(5 * 150000 + 600000, line.amount.pico);
}

static void test_an_attempt_without_usage_has_a_line_that_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *outcome, *reason;
    } rows[] = { { "ok", "no-usage" }, { "connect", "not-billed" }, { "status-429", "not-billed" },
        { "status-5xx", "not-billed" }, { "idle-timeout", "unknown-usage" }, { "cancelled", "unknown-usage" },
        { "partial", "unknown-usage" }, { "indeterminate", "indeterminate" } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Lines lines = rate("openai", "m", rows[i].outcome, NULL, 0);
        assert_int_equal(1, lines.count);
        assert_int_equal(0, lines.items[0].unit);
        assert_int_equal(0, lines.items[0].amount.pico);
        assert_true(str_eq(str_from_c(rows[i].reason), lines.items[0].reason));
    }
    const char *const broken[] = { "{\"prompt_tokens\":" };
    assert_true(str_eq(STR("bad-usage"), rate("openai", "m", "ok", broken, 1).items[0].reason));
    assert_true(str_eq(STR("bad-usage"), rate("nobody", "m", "ok", broken, 1).items[0].reason));
    const char *const zero[] = { "{\"prompt_tokens\":0,\"completion_tokens\":0}" };
    assert_true(str_eq(STR("zero"), rate("openai", "m", "ok", zero, 1).items[0].reason));
}

static void test_the_gateways_meters_count_where_it_sent_no_bytes(void **state)
{
    (void)state;
    int64_t meters[] = { METER_OUTPUT, 99 }, quantities[] = { 3, 4 };
    RateUnit unit = { .meters = { meters, 2 }, .quantities = { quantities, 2 } };
    RateAttempt attempt = { .dialect = STR("openai"),
        .provider = STR("openai"),
        .model_answered = STR("m"),
        .outcome = STR("ok"),
        .at = AT,
        .units = &unit,
        .unit_count = 1 };
    Lines lines;
    rate_attempt(arena, book, &attempt, &lines.items, &lines.count);
    assert_int_equal(1, lines.count);
    assert_int_equal(3 * 600000, lines.items[0].amount.pico);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        T(test_an_amount_is_the_sum_of_quantities_times_rates),
        T(test_the_whole_unit_has_the_price_of_its_context),
        T(test_a_cached_token_is_never_billed_as_an_uncached_one),
        T(test_reasoning_is_output_where_it_has_no_price),
        T(test_an_unknown_model_is_unrated_and_a_dated_answer_is_the_model_asked_for),
        T(test_an_amount_that_does_not_fit_is_said_and_not_wrapped),
        T(test_equal_bytes_in_several_units_are_billed_once),
        T(test_each_iteration_is_priced_at_its_own_model),
        T(test_a_tier_that_the_answer_names_needs_its_own_price),
        T(test_an_attempt_without_usage_has_a_line_that_says_why),
        T(test_the_gateways_meters_count_where_it_sent_no_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
