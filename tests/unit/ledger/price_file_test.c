/* Price lists to picodollars: exact digits, tiers, dates, and what looks wrong is told and held back. */
#include "base/config.h"
#include "base/json.h"
#include "ledger/import.h"
#include "ledger/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_decimals_are_read_as_digits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int shift;
        bool well, exact;
        int64_t value;
    } cases[] = {
        { "2.5e-06", 12, true, true, 2500000 },
        { "0.00000015", 12, true, true, 150000 },
        { "3", 6, true, true, 3000000 },
        { "0.075", 6, true, true, 75000 },
        { "1e-12", 12, true, true, 1 },
        { "0", 12, true, true, 0 },
        { "1.5000020000000002e-05", 12, true, false, 15000020 },
        { "2.9999900000000002e-06", 12, true, false, 2999990 },
        { "5e-13", 12, true, false, 0 },  /* half to even */
        { "15e-13", 12, true, false, 2 }, /* half to even */
        { "25e-13", 12, true, false, 2 }, /* half to even */
        { "1e-40", 12, true, false, 0 },
        { "-1", 12, false, false, 0 },
        { "", 12, false, false, 0 },
        { "1e", 12, false, false, 0 },
        { "x", 12, false, false, 0 },
        { "1e30", 12, false, false, 0 },
        { "99999999999", 12, false, false, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t value = -7;
        bool exact = false;
        bool well = decimal_scaled(str_from_c(cases[i].text), cases[i].shift, &value, &exact);
        if (well != cases[i].well || (well && (value != cases[i].value || exact != cases[i].exact)))
            fail_msg("%s: %d %lld %d", cases[i].text, well, (long long)value, exact);
    }
}

static PriceFile must_read(Arena *arena, Str text)
{
    PriceFile file;
    Err err = price_file_read(arena, text, &file);
    if (err.kind != ERR_NONE)
        fail_msg(STR_FMT, STR_ARG(err.code));
    return file;
}

static bool price_is(const PriceBook *book, const char *provider, const char *model, PriceQuery query, int64_t pico)
{
    const PriceModel *found = price_book_model(book, str_from_c(provider), str_from_c(model));
    Money rate;
    return found != NULL && price_rate(found, &query, &rate) && rate.pico == pico;
}

static Time day(const char *text)
{
    Time time = { 0 };
    Err err = time_parse(str_from_c(text), &time);
    assert_int_equal(ERR_NONE, err.kind);
    return time;
}

static void test_tiers_dates_and_names_of_a_list_hold(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PriceFile file = must_read(arena,
        STR("[{\"id\":\"anthropic\",\"models\":[{\"id\":\"m\",\"match\":{\"or\":[{\"equals\":\"m-alias\"},"
            "{\"starts_with\":\"m-2\"},{\"contains\":\"-mm-\"}]},\"prices\":[{\"prices\":{\"input_mtok\":{\"base\":5,"
            "\"tiers\":"
            "[{\"start\":200000,\"price\":10}]},\"output_mtok\":25}},{\"constraint\":{\"start_date\":\"2026-03-13\"},"
            "\"prices\":{\"input_mtok\":4.000001,\"output_mtok\":25}}]}]}]"));
    _cleanup_(price_book_free) PriceBook *book = price_book_new(file.rates, file.aliases, 1);
    PriceQuery before = { .meter = METER_INPUT_UNCACHED, .context = 200000, .at = day("2026-03-12T23:59:59Z") };
    assert_true(price_is(book, "anthropic", "m", before, 5000000));
    before.context = 200001;
    assert_true(price_is(book, "anthropic", "m", before, 10000000));
    PriceQuery after = before;
    after.at = day("2026-03-13T00:00:00Z");
    assert_true(price_is(book, "anthropic", "m", after, 4000001)); /* the tier ended with the old prices */
    assert_true(price_is(book, "anthropic", "m-alias", after, 4000001));
    assert_true(price_is(book, "anthropic", "m-2026-01-01", after, 4000001));
    assert_true(price_is(book, "anthropic", "us-mm-1", after, 4000001));
    assert_null(price_book_model(book, STR("anthropic"), STR("other")));
    assert_null(price_book_model(book, STR("openai"), STR("m")));
    assert_null(price_book_model(book, STR("anthropic"), STR("")));
}

static void test_conditions_in_field_names_are_read(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PriceFile file = must_read(
        arena, STR("{\"openai/g\":{\"litellm_provider\":\"openai\",\"input_cost_per_token\":5e-06,"
                   "\"input_cost_per_token_above_272k_tokens_priority\":2e-05,\"input_cost_per_token_flex\":2.5e-06,"
                   "\"cache_creation_input_token_cost\":6.25e-06,\"cache_creation_input_token_cost_above_1hr\":1e-05,"
                   "\"search_context_cost_per_query\":{\"search_context_size_medium\":0.01}}}"));
    _cleanup_(price_book_free) PriceBook *book = price_book_new(file.rates, file.aliases, 1);
    PriceQuery query = { .meter = METER_INPUT_UNCACHED, .at = day("2026-01-01T00:00:00Z") };
    assert_true(price_is(book, "openai", "g", query, 5000000));
    query.service_tier = STR("flex");
    assert_true(price_is(book, "openai", "g", query, 2500000));
    query.service_tier = STR("priority");
    assert_false(price_is(book, "openai", "g", query, 5000000)); /* no price is not the standard price */
    query.context = 272001;
    assert_true(price_is(book, "openai", "g", query, 20000000));
    query.service_tier = STR("");
    query.meter = METER_CACHE_WRITE_1H;
    assert_true(price_is(book, "openai", "g", query, 10000000));
    query.meter = METER_WEB_SEARCH;
    assert_true(price_is(book, "openai", "g", query, INT64_C(10000000000)));
}

static void test_the_sample_that_is_shipped_is_read_without_a_finding(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text;
    Err err = file_read(arena, STR(REEVE_SOURCE_DIR "/policies/prices/sample.json"), 1 << 20, &text);
    assert_int_equal(ERR_NONE, err.kind);
    PriceFile file = must_read(arena, text);
    assert_true(str_eq(STR("reeve"), file.source));
    assert_int_equal(0, file.findings.count);
    _cleanup_(price_book_free) PriceBook *book = price_book_new(file.rates, file.aliases, 1);
    PriceQuery query = { .meter = METER_OUTPUT, .at = day("2026-01-01T00:00:00Z"), .context = 200001 };
    assert_true(price_is(book, "anthropic", "claude-sonnet-4-5-20250929", query, 22500000));
    query.context = 0;
    assert_true(price_is(book, "anthropic", "claude-sonnet-4-5", query, 15000000));
    assert_true(price_is(book, "openai", "gpt-4o-mini-2024-07-18", query, 600000));
}

static size_t count_findings(const PriceFile *file, const char *code, const char *provider)
{
    const PriceFinding *findings = file->findings.items;
    size_t n = 0;
    for (size_t i = 0; i < file->findings.count; i++)
        n += str_eq(findings[i].code, str_from_c(code)) &&
             (provider == NULL || str_eq(findings[i].provider, str_from_c(provider)));
    return n;
}

static void test_prices_of_another_unit_and_of_nothing_are_held_back(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PriceFile file = must_read(arena,
        STR("{\"a\":{\"litellm_provider\":\"p\",\"input_cost_per_token\":0.135,\"output_cost_per_token\":0.54},"
            "\"b\":{\"litellm_provider\":\"p\",\"input_cost_per_token\":0,\"output_cost_per_token\":0.0},"
            "\"c\":{\"litellm_provider\":\"p\",\"input_cost_per_token\":0.0032,\"output_cost_per_token\":0.00971},"
            "\"d\":{\"litellm_provider\":\"p\",\"input_cost_per_token\":1e-06,\"output_cost_per_token\":4e-07,"
            "\"cache_read_input_token_cost\":2e-06}}"));
    assert_int_equal(2, file.rates.count == 3 ? 2 : 0);
    assert_int_equal(3, count_findings(&file, "unit-error", "p"));
    assert_int_equal(2, count_findings(&file, "zero-price", "p"));
    assert_int_equal(1, count_findings(&file, "cache-read-dearer", "p"));
    assert_int_equal(1, count_findings(&file, "output-cheaper", "p"));
}

static void test_what_is_no_price_list_is_refused(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PriceFile file;
    static const char *const bad[] = { "", "{", "{}", "[]", "{\"a\":1}", "{\"a\":{\"b\":", "null", "[1,2]" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = price_file_read(arena, str_from_c(bad[i]), &file);
        assert_int_equal(ERR_INVALID, err.kind);
    }
}

/* --- the real lists --- */

static Str shared(Arena *arena, const char *path)
{
    const char *root = getenv("REEVE_SHARED");
    Str text = { 0 };
    Str file = arena_fmt(arena, "%s/data/%s", root != NULL ? root : REEVE_SOURCE_DIR "/../shared", path);
    if (file_read(arena, file, 8 * 1024 * 1024, &text).kind != ERR_NONE) {
        print_message("  no shared data: set REEVE_SHARED; nothing is compared\n");
        return (Str){ 0 };
    }
    return text;
}

static void test_the_faults_of_a_real_list_are_noticed(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str list = shared(arena, "prices/litellm.json");
    if (list.ptr == NULL)
        return;
    PriceFile file = must_read(arena, list);
    print_message("%lld models, %zu rates, %zu findings: %zu unit errors (%zu of wandb), %zu zero, %zu noisy\n",
        (long long)file.models, file.rates.count, file.findings.count, count_findings(&file, "unit-error", NULL),
        count_findings(&file, "unit-error", "wandb"), count_findings(&file, "zero-price", NULL),
        count_findings(&file, "float-noise", NULL));
    assert_true(file.models > 2900);
    assert_true(count_findings(&file, "unit-error", "wandb") >= 13);
    assert_true(count_findings(&file, "float-noise", NULL) >= 30);
    bool jais = false;
    const PriceFinding *findings = file.findings.items;
    for (size_t i = 0; i < file.findings.count; i++)
        jais |= str_contains(findings[i].model, STR("jais")) && str_eq(findings[i].code, STR("unit-error"));
    assert_true(jais);
    const PriceRate *rates = file.rates.items;
    for (size_t i = 0; i < file.rates.count; i++)
        assert_false(str_eq(rates[i].provider, STR("wandb")) && rates[i].pico.value > INT64_C(1000000000));
}

/* --- usage and prices together, against another project's amounts --- */

static int64_t pico_of(const json_t *extractor)
{
    int64_t sum = 0;
    static const char *const members[] = { "input_price", "output_price" };
    for (size_t i = 0; i < 2; i++) {
        int64_t part = 0;
        bool exact;
        Str text = json_str(extractor, members[i]);
        if (text.len > 0 && !decimal_scaled(text, 12, &part, &exact))
            return -1;
        sum += part;
    }
    return sum;
}

static const struct {
    const char *dialect, *theirs, *flavor, *shape;
} oracles[] = { { "openai", "openai", "chat", "usage.prompt_tokens" },
    { "openai", "openai", "responses", "usage.input_tokens_details" },
    { "anthropic", "anthropic", "default", "usage.cache_read_input_tokens" },
    { "gemini", "google", "default", "usageMetadata" }, { "bedrock", "aws", "default", "usage.inputTokens" } };

/* Amounts of theirs that are not ours, each with its reason; anything else fails. */
typedef enum Reason {
    EQUAL,
    HIDDEN_ITERATIONS, /* they price the top level and not what its iterations say */
    NO_PRICE_OF_CLASS, /* we leave a class without a price of its own unrated (one-hour writes, audio), they fall back
                        */
    OTHER_LIST,        /* their amounts came from a newer list, where this model's text and images have two prices */
    UNEXPLAINED,
} Reason;

static Reason compare(
    Arena *arena, const PriceBook *book, const json_t *entry, size_t row, int64_t theirs, int64_t *ret_mine)
{
    const json_t *body = json_object_get(entry, "body");
    Str model = json_str(entry, "model");
    RateUnit unit = { .usage_raw = str_bytes(json_write(arena, body)) };
    RateAttempt attempt = { .dialect = str_from_c(oracles[row].dialect),
        .provider = str_from_c(oracles[row].dialect),
        .model_answered = model,
        .outcome = STR("ok"),
        .at = day("2026-08-01T00:00:00Z"),
        .units = &unit,
        .unit_count = 1 };
    RateLine *lines;
    size_t count;
    rate_attempt(arena, book, &attempt, &lines, &count);
    int64_t mine = 0, unrated = 0;
    for (size_t i = 0; i < count; i++) {
        mine += lines[i].amount.pico;
        unrated += lines[i].unrated;
    }
    *ret_mine = mine;
    if (mine == theirs)
        return EQUAL;
    if ((lines[0].flags & USAGE_TOP_DIFFERS) != 0)
        return HIDDEN_ITERATIONS;
    if (unrated > 0)
        return NO_PRICE_OF_CLASS;
    return str_eq(model, STR("gemini-2.5-flash-image")) ? OTHER_LIST : UNEXPLAINED;
}

static void test_real_usage_at_real_prices_costs_what_another_project_says(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str list = shared(arena, "prices/genai-prices.json"), text = shared(arena, "usage/usage_bodies.json");
    if (list.ptr == NULL || text.ptr == NULL)
        return;
    PriceFile file = must_read(arena, list);
    _cleanup_(price_book_free) PriceBook *book = price_book_new(file.rates, file.aliases, 1);
    _cleanup_(json_release) json_t *all = json_loadb(text.ptr, text.len, 0, NULL);
    assert_non_null(all);
    size_t by_reason[UNEXPLAINED + 1] = { 0 }, i, g, x;
    json_t *entry, *group, *extractor;
    json_array_foreach(all, i, entry) json_array_foreach(json_object_get(entry, "extracted"), g, group)
        json_array_foreach(json_object_get(group, "extractors"), x, extractor) for (size_t row = 0;
                                                                                    row < COUNT_OF(oracles); row++)
    {
        if (!str_eq(json_str(extractor, "provider_id"), str_from_c(oracles[row].theirs)) ||
            !str_eq(json_str(extractor, "api_flavor"), str_from_c(oracles[row].flavor)) ||
            json_at(json_object_get(entry, "body"), oracles[row].shape) == NULL ||
            json_object_get(extractor, "input_price") == NULL)
            continue;
        int64_t mine, theirs = pico_of(extractor);
        Reason why = compare(arena, book, entry, row, theirs, &mine);
        by_reason[why]++;
        if (why >= NO_PRICE_OF_CLASS)
            print_message("  %zu %s " STR_FMT ": mine %lld, theirs %lld%s\n", i, oracles[row].dialect,
                STR_ARG(json_str(entry, "model")), (long long)mine, (long long)theirs,
                why == UNEXPLAINED ? " UNEXPLAINED" : "");
    }
    print_message("%zu equal, %zu hidden iterations, %zu without a price of their class, %zu of another list\n",
        by_reason[EQUAL], by_reason[HIDDEN_ITERATIONS], by_reason[NO_PRICE_OF_CLASS], by_reason[OTHER_LIST]);
    assert_true(by_reason[EQUAL] > 300);
    assert_int_equal(0, by_reason[UNEXPLAINED]);
}

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimals_are_read_as_digits),
        cmocka_unit_test(test_tiers_dates_and_names_of_a_list_hold),
        cmocka_unit_test(test_the_sample_that_is_shipped_is_read_without_a_finding),
        cmocka_unit_test(test_conditions_in_field_names_are_read),
        cmocka_unit_test(test_prices_of_another_unit_and_of_nothing_are_held_back),
        cmocka_unit_test(test_what_is_no_price_list_is_refused),
        cmocka_unit_test(test_the_faults_of_a_real_list_are_noticed),
        cmocka_unit_test(test_real_usage_at_real_prices_costs_what_another_project_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
