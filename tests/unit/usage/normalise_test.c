/* Usage bytes to meters: what each dialect's numbers mean, and what no bytes may do. */
#include "base/json.h"
#include "usage/normalise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ABSENT INT64_C(-1)

static int64_t quantity(const UsageUnit *unit, Meter meter)
{
    return usage_unit_has(unit, meter) ? unit->quantity[meter] : ABSENT;
}

static UsageReading must_read(Arena *arena, const char *dialect, const char *raw)
{
    UsageReading reading = { 0 };
    Err err = usage_normalise(arena, str_from_c(dialect), STR(""), false, str_from_c(raw), &reading);
    if (err.kind != ERR_NONE)
        fail_msg("refused: " STR_FMT " in %s", STR_ARG(err.code), raw);
    return reading;
}

/* One unit, by meter; a meter that is not named must be absent. */
typedef struct Case {
    const char *name, *dialect, *raw;
    int64_t residual;
    uint32_t flags;
    struct {
        Meter meter;
        int64_t quantity;
    } want[METER_COUNT];
} Case;

static const Case cases[] = {
    { "openai chat: cached, audio, reasoning and rejected predictions are taken out of their wholes", "openai",
        "{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150,"
        "\"prompt_tokens_details\":{\"cached_tokens\":30,\"audio_tokens\":5,\"cache_write_tokens\":7},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":20,\"audio_tokens\":4,\"rejected_prediction_tokens\":3,"
        "\"accepted_prediction_tokens\":2}}",
        0, 0,
        { { METER_INPUT_UNCACHED, 58 }, { METER_CACHE_READ, 30 }, { METER_CACHE_WRITE_OTHER, 7 }, { METER_AUDIO_IN, 5 },
            { METER_OUTPUT, 23 }, { METER_REASONING, 20 }, { METER_AUDIO_OUT, 4 }, { METER_PREDICTION_REJECTED, 3 } } },
    { "openai chat: a count that is not given is absent, not 0", "openai",
        "{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}", 0, 0,
        { { METER_INPUT_UNCACHED, 7 }, { METER_OUTPUT, 2 } } },
    { "openai chat: null details are no details", "openai",
        "{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9,\"prompt_tokens_details\":null}", 0, 0,
        { { METER_INPUT_UNCACHED, 7 }, { METER_OUTPUT, 2 } } },
    { "openai responses", "openai",
        "{\"input_tokens\":4020,\"input_tokens_details\":{\"cache_write_tokens\":4012,\"cached_tokens\":0},"
        "\"output_tokens\":5,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":4025}",
        0, 0,
        { { METER_INPUT_UNCACHED, 8 }, { METER_CACHE_READ, 0 }, { METER_CACHE_WRITE_OTHER, 4012 }, { METER_OUTPUT, 4 },
            { METER_REASONING, 1 } } },
    { "openai realtime: each modality without its cached part", "openai",
        "{\"total_tokens\":350,\"input_tokens\":200,\"output_tokens\":150,\"input_token_details\":{\"cached_tokens\":"
        "64,"
        "\"text_tokens\":120,\"audio_tokens\":80,\"cached_tokens_details\":{\"text_tokens\":44,\"audio_tokens\":20}},"
        "\"output_token_details\":{\"text_tokens\":30,\"audio_tokens\":120}}",
        0, 0,
        { { METER_INPUT_UNCACHED, 76 }, { METER_CACHE_READ, 44 }, { METER_CACHE_READ_AUDIO, 20 },
            { METER_AUDIO_IN, 60 }, { METER_OUTPUT, 30 }, { METER_AUDIO_OUT, 120 } } },
    { "embeddings have no output", "openai", "{\"prompt_tokens\":8,\"total_tokens\":8}", 0, 0,
        { { METER_INPUT_UNCACHED, 8 } } },
    { "cached beyond the prompt is a contradiction in the residual, never a negative or a clamped count", "openai",
        "{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,\"prompt_tokens_details\":{\"cached_"
        "tokens\":12}}",
        -2, USAGE_CONTRADICTION | USAGE_RESIDUAL, { { METER_CACHE_READ, 12 }, { METER_OUTPUT, 5 } } },
    { "cached beside the prompt, when the total says so", "openai",
        "{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":115,\"prompt_tokens_details\":{\"cached_"
        "tokens\":100}}",
        0, USAGE_OTHER_READING, { { METER_INPUT_UNCACHED, 10 }, { METER_CACHE_READ, 100 }, { METER_OUTPUT, 5 } } },
    { "xai: reasoning beside the completion, when the total says so", "xai",
        "{\"prompt_tokens\":10120,\"completion_tokens\":1499,\"total_tokens\":14428,"
        "\"completion_tokens_details\":{\"reasoning_tokens\":2809}}",
        0, USAGE_OTHER_READING,
        { { METER_INPUT_UNCACHED, 10120 }, { METER_OUTPUT, 1499 }, { METER_REASONING, 2809 } } },
    { "hidden tokens are a residual, not silence", "openai",
        "{\"prompt_tokens\":35,\"completion_tokens\":12,\"total_tokens\":109}", 62, USAGE_RESIDUAL,
        { { METER_INPUT_UNCACHED, 35 }, { METER_OUTPUT, 12 } } },
    { "anthropic: cache tokens stand outside the input, by lifetime", "anthropic",
        "{\"input_tokens\":4,\"cache_creation_input_tokens\":30,\"cache_read_input_tokens\":1000,"
        "\"cache_creation\":{\"ephemeral_5m_input_tokens\":10,\"ephemeral_1h_input_tokens\":20},\"output_tokens\":9,"
        "\"output_tokens_details\":{\"thinking_tokens\":3},\"server_tool_use\":{\"web_search_requests\":2}}",
        0, 0,
        { { METER_INPUT_UNCACHED, 4 }, { METER_CACHE_READ, 1000 }, { METER_CACHE_WRITE_5M, 10 },
            { METER_CACHE_WRITE_1H, 20 }, { METER_OUTPUT, 6 }, { METER_REASONING, 3 }, { METER_WEB_SEARCH, 2 } } },
    { "anthropic: without the breakdown a write lives five minutes", "anthropic",
        "{\"input_tokens\":4,\"cache_creation_input_tokens\":30,\"cache_read_input_tokens\":0,\"output_tokens\":9}", 0,
        0,
        { { METER_INPUT_UNCACHED, 4 }, { METER_CACHE_READ, 0 }, { METER_CACHE_WRITE_5M, 30 }, { METER_OUTPUT, 9 } } },
    { "anthropic stream: the delta's count replaces the start's", "anthropic",
        "{\"input_tokens\":92,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":88}\n"
        "{\"input_tokens\":92,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":189}",
        0, 0,
        { { METER_INPUT_UNCACHED, 92 }, { METER_CACHE_READ, 0 }, { METER_CACHE_WRITE_5M, 0 }, { METER_OUTPUT, 189 } } },
    { "anthropic stream: a later 0 does not erase", "anthropic",
        "{\"input_tokens\":92,\"cache_read_input_tokens\":55096,\"output_tokens\":1}"
        "{\"input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":189}",
        0, 0, { { METER_INPUT_UNCACHED, 92 }, { METER_CACHE_READ, 55096 }, { METER_OUTPUT, 189 } } },
    { "gemini: thoughts and tool prompts outside, cache inside, modalities apart", "gemini",
        "{\"promptTokenCount\":1000,\"candidatesTokenCount\":50,\"thoughtsTokenCount\":20,\"toolUsePromptTokenCount\":"
        "7,"
        "\"cachedContentTokenCount\":300,\"totalTokenCount\":1077,\"promptTokensDetails\":[{\"modality\":\"TEXT\","
        "\"tokenCount\":800},{\"tokenCount\":200,\"modality\":\"AUDIO\"}],\"cacheTokensDetails\":[{\"modality\":"
        "\"AUDIO\","
        "\"tokenCount\":100},{\"modality\":\"TEXT\",\"tokenCount\":200}],\"candidatesTokensDetails\":[{\"modality\":"
        "\"IMAGE\",\"tokenCount\":40}]}",
        0, 0,
        { { METER_INPUT_UNCACHED, 600 }, { METER_CACHE_READ, 200 }, { METER_CACHE_READ_AUDIO, 100 },
            { METER_AUDIO_IN, 100 }, { METER_TOOL_PROMPT, 7 }, { METER_OUTPUT, 10 }, { METER_IMAGE_OUT, 40 },
            { METER_REASONING, 20 } } },
    { "gemini: details that exceed their whole are left aside", "gemini",
        "{\"promptTokenCount\":10,\"candidatesTokenCount\":5,\"totalTokenCount\":15,\"promptTokensDetails\":"
        "[{\"modality\":\"IMAGE\",\"tokenCount\":11}]}",
        0, USAGE_OTHER_READING, { { METER_INPUT_UNCACHED, 10 }, { METER_OUTPUT, 5 } } },
    { "gemini: no candidates", "gemini", "{\"promptTokenCount\":10,\"totalTokenCount\":10}", 0, 0,
        { { METER_INPUT_UNCACHED, 10 } } },
    { "bedrock: cache outside, writes by lifetime", "bedrock",
        "{\"cacheDetails\":[{\"inputTokens\":97,\"ttl\":\"1h\"},{\"inputTokens\":200,\"ttl\":\"5m\"}],"
        "\"cacheReadInputTokenCount\":2074,\"cacheReadInputTokens\":2074,\"cacheWriteInputTokenCount\":297,"
        "\"cacheWriteInputTokens\":297,\"inputTokens\":3,\"outputTokens\":61,\"totalTokens\":2435}",
        0, 0,
        { { METER_INPUT_UNCACHED, 3 }, { METER_CACHE_READ, 2074 }, { METER_CACHE_WRITE_5M, 200 },
            { METER_CACHE_WRITE_1H, 97 }, { METER_OUTPUT, 61 } } },
    { "bedrock: a model that counts cache inside", "bedrock",
        "{\"cacheReadInputTokens\":20,\"cacheWriteInputTokens\":30,\"inputTokens\":100,\"outputTokens\":6,"
        "\"totalTokens\":106}",
        0, USAGE_OTHER_READING,
        { { METER_INPUT_UNCACHED, 50 }, { METER_CACHE_READ, 20 }, { METER_CACHE_WRITE_5M, 30 }, { METER_OUTPUT, 6 } } },
    { "deepseek: hit and miss", "deepseek",
        "{\"completion_tokens\":116,\"completion_tokens_details\":{\"reasoning_tokens\":60},\"prompt_cache_hit_"
        "tokens\":512,"
        "\"prompt_cache_miss_tokens\":51,\"prompt_tokens\":563,\"total_tokens\":679}",
        0, 0,
        { { METER_INPUT_UNCACHED, 51 }, { METER_CACHE_READ, 512 }, { METER_OUTPUT, 56 }, { METER_REASONING, 60 } } },
    { "mistral: its own word for cached", "mistral",
        "{\"completion_tokens\":12,\"num_cached_tokens\":69,\"prompt_tokens\":70,\"total_tokens\":82}", 0, 0,
        { { METER_INPUT_UNCACHED, 1 }, { METER_CACHE_READ, 69 }, { METER_OUTPUT, 12 } } },
    { "cohere bills its own units, its cached tokens are no part of them", "cohere",
        "{\"billed_units\":{\"input_tokens\":41,\"output_tokens\":25},\"cached_tokens\":144,\"tokens\":{\"input_"
        "tokens\":"
        "1441,\"output_tokens\":54}}",
        0, 0, { { METER_INPUT_UNCACHED, 41 }, { METER_OUTPUT, 25 } } },
    { "a whole response is read through its usage member", "openai",
        "{\"id\":\"x\",\"choices\":[{\"usage\":{\"prompt_tokens\":999}}],\"usage\":{\"prompt_tokens\":3,\"completion_"
        "tokens\":"
        "4,\"total_tokens\":7}}",
        0, 0, { { METER_INPUT_UNCACHED, 3 }, { METER_OUTPUT, 4 } } },
    { "a negative count is absent and flagged", "openai",
        "{\"prompt_tokens\":-5,\"completion_tokens\":2,\"total_tokens\":2}", 0, USAGE_BAD_VALUE | USAGE_EMPTY,
        { { 0 } } },
    { "a fraction is absent and flagged", "openai",
        "{\"prompt_tokens\":5,\"completion_tokens\":2.5,\"total_tokens\":7}", 2, USAGE_BAD_VALUE | USAGE_RESIDUAL,
        { { METER_INPUT_UNCACHED, 5 } } },
    { "a count beyond 64 bits is absent and flagged", "openai",
        "{\"prompt_tokens\":99999999999999999999,\"completion_tokens\":1}", 0, USAGE_BAD_VALUE | USAGE_EMPTY,
        { { 0 } } },
    { "the largest count does not wrap", "openai",
        "{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":9223372036854775807}", 0, 0,
        { { METER_INPUT_UNCACHED, INT64_MAX }, { METER_OUTPUT, INT64_MAX } } },
    { "an empty object says nothing", "openai", "{}", 0, USAGE_EMPTY, { { 0 } } },
};

static void test_each_dialect_is_read_as_its_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        _cleanup_(arena_free) Arena *arena = arena_new();
        UsageReading reading = must_read(arena, cases[i].dialect, cases[i].raw);
        print_message("  %s\n", cases[i].name);
        assert_int_equal(1, reading.count);
        assert_int_equal(USAGE_NORMALISER_VERSION, reading.version);
        int64_t want[METER_COUNT];
        for (Meter m = METER_NONE; m < METER_COUNT; m++)
            want[m] = ABSENT;
        for (size_t w = 0; cases[i].want[w].meter != METER_NONE; w++)
            want[cases[i].want[w].meter] = cases[i].want[w].quantity;
        for (Meter m = METER_NONE + 1; m < METER_COUNT; m++)
            if (want[m] != quantity(&reading.units[0], m))
                fail_msg("%s: " STR_FMT " is %lld, not %lld", cases[i].name, STR_ARG(meter_name(m)),
                    (long long)quantity(&reading.units[0], m), (long long)want[m]);
        assert_int_equal(cases[i].residual, reading.residual);
        assert_int_equal(cases[i].flags, reading.flags);
    }
}

static void test_iterations_of_a_compaction_are_billed_though_the_top_hides_them(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    UsageReading reading = must_read(arena, "anthropic",
        "{\"input_tokens\":180,\"output_tokens\":8,\"cache_read_input_tokens\":0,\"cache_creation_input_tokens\":0,"
        "\"iterations\":[{\"type\":\"compaction\",\"cache_creation\":{\"ephemeral_1h_input_tokens\":0,"
        "\"ephemeral_5m_input_tokens\":55096},\"cache_creation_input_tokens\":55096,\"cache_read_input_tokens\":0,"
        "\"input_tokens\":100,\"output_tokens\":82},{\"type\":\"message\",\"input_tokens\":180,\"output_tokens\":8,"
        "\"cache_read_input_tokens\":0,\"cache_creation_input_tokens\":0}]}");
    assert_int_equal(2, reading.count);
    assert_int_equal(180, quantity(&reading.units[0], METER_INPUT_UNCACHED));
    assert_int_equal(8, quantity(&reading.units[0], METER_OUTPUT));
    assert_true(str_eq(STR("compaction"), reading.units[1].kind));
    assert_int_equal(55096, quantity(&reading.units[1], METER_CACHE_WRITE_5M));
    assert_int_equal(82, quantity(&reading.units[1], METER_OUTPUT));
    assert_int_equal(USAGE_TOP_DIFFERS, reading.flags);
}

static void test_an_advisor_is_a_unit_with_its_own_model(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    UsageReading reading = must_read(arena, "anthropic",
        "{\"input_tokens\":2390,\"output_tokens\":121,\"output_tokens_details\":{\"thinking_tokens\":28},"
        "\"iterations\":["
        "{\"type\":\"message\",\"input_tokens\":1128,\"output_tokens\":110},"
        "{\"type\":\"advisor_message\",\"model\":\"claude-opus-4-8\",\"input_tokens\":2518,\"output_tokens\":22},"
        "{\"type\":\"message\",\"input_tokens\":1262,\"output_tokens\":11}]}");
    assert_int_equal(2, reading.count);
    assert_true(str_is_empty(reading.units[0].model));
    assert_int_equal(2390, quantity(&reading.units[0], METER_INPUT_UNCACHED));
    assert_int_equal(93, quantity(&reading.units[0], METER_OUTPUT));
    assert_int_equal(28, quantity(&reading.units[0], METER_REASONING));
    assert_true(str_eq(STR("claude-opus-4-8"), reading.units[1].model));
    assert_int_equal(2518, quantity(&reading.units[1], METER_INPUT_UNCACHED));
    assert_int_equal(22, quantity(&reading.units[1], METER_OUTPUT));
}

static void test_bad_usage_is_refused_with_its_code(void **state)
{
    (void)state;
    static const struct {
        const char *dialect, *raw, *code;
    } bad[] = {
        { "openai", "", "usage-malformed" },
        { "openai", "[]", "usage-malformed" },
        { "openai", "{\"prompt_tokens\":1", "usage-malformed" },
        { "openai", "{\"prompt_tokens\":01}", "usage-malformed" },
        { "openai", "{\"prompt_tokens\":1,}", "usage-malformed" },
        { "openai", "{\"a\":\"\\x\"}", "usage-malformed" },
        { "openai", "{\"a\":\"\n\"}", "usage-malformed" },
        { "openai", "{}x", "usage-malformed" },
        { "openai", "{\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", "usage-malformed" },
        { "openai", "{\"a\":nul}", "usage-malformed" },
        { "nobody", "{}", "usage-unknown-dialect" },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        _cleanup_(arena_free) Arena *arena = arena_new();
        UsageReading reading;
        Err err = usage_normalise(arena, str_from_c(bad[i].dialect), STR(""), false, str_from_c(bad[i].raw), &reading);
        if (!err_is(err, bad[i].code))
            fail_msg("%s gave " STR_FMT, bad[i].raw, STR_ARG(err.code));
    }
    _cleanup_(arena_free) Arena *arena = arena_new();
    char *big = arena_alloc(arena, USAGE_RAW_BYTES_MAX + 1, 1);
    memset(big, ' ', USAGE_RAW_BYTES_MAX + 1);
    UsageReading reading;
    Err err = usage_normalise(arena, STR("openai"), STR(""), false, str_n(big, USAGE_RAW_BYTES_MAX + 1), &reading);
    assert_true(err_is(err, "usage-too-large"));
}

static void test_a_member_given_twice_with_two_values_is_flagged(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    UsageReading reading = must_read(arena, "openai", "{\"prompt_tokens\":7,\"prompt_tokens\":9}");
    assert_true(reading.flags & USAGE_BAD_VALUE);
}

static void test_meters_have_one_name_each(void **state)
{
    (void)state;
    for (Meter m = METER_NONE + 1; m < METER_COUNT; m++) {
        Meter found = METER_NONE;
        assert_true(meter_find(meter_name(m), &found));
        assert_int_equal(m, found);
        assert_int_not_equal(m, meter_fallback(m));
    }
    Meter found;
    assert_false(meter_find(STR(""), &found));
    assert_false(meter_find(STR("tokens"), &found));
}

/* --- real bodies --- */

static Str shared_file(Arena *arena, const char *path)
{
    const char *shared = getenv("REEVE_SHARED");
    FILE *file =
        fopen(arena_fmt(arena, "%s/data/%s", shared != NULL ? shared : REEVE_SOURCE_DIR "/../shared", path).ptr, "rb");
    if (file == NULL)
        return (Str){ 0 };
    size_t capacity = 4 * 1024 * 1024;
    char *text = arena_alloc(arena, capacity + 1, 1);
    size_t len = fread(text, 1, capacity, file);
    fclose(file);
    return str_n(text, len);
}

static const char *dialect_of(const json_t *body)
{
    if (json_at(body, "usageMetadata") != NULL)
        return "gemini";
    if (json_at(body, "usage.inputTokens") != NULL)
        return "bedrock";
    if (json_at(body, "usage.billed_units") != NULL || json_at(body, "meta.billed_units") != NULL)
        return "cohere";
    if (json_at(body, "usage.prompt_cache_miss_tokens") != NULL)
        return "deepseek";
    if (json_at(body, "usage.input_tokens") != NULL && json_at(body, "usage.input_tokens_details") == NULL)
        return "anthropic";
    return "openai";
}

static bool sums(const UsageReading *reading, int64_t *ret_input, int64_t *ret_output, int64_t *ret_read)
{
    *ret_input = *ret_output = *ret_read = 0;
    for (size_t u = 0; u < reading->count; u++)
        for (Meter m = METER_NONE + 1; m < METER_COUNT; m++) {
            if (!usage_unit_has(&reading->units[u], m) || !meter_is_tokens(m))
                continue;
            *(meter_is_input(m) ? ret_input : ret_output) += reading->units[u].quantity[m];
            if (m == METER_CACHE_READ || m == METER_CACHE_READ_AUDIO)
                *ret_read += reading->units[u].quantity[m];
        }
    return reading->count > 0;
}

/* Which of the other project's readings answers for a dialect. */
static bool answers_for(const char *dialect, const json_t *extractor, const json_t *usage)
{
    Str provider = json_str(extractor, "provider_id"), flavor = json_str(extractor, "api_flavor");
    bool chat = json_at(usage, "prompt_tokens") != NULL;
    static const struct {
        const char *dialect, *provider, *flavor;
        int chat;
    } rows[] = { { "openai", "openai", "chat", 1 }, { "openai", "openai", "responses", 0 },
        { "anthropic", "anthropic", "default", -1 }, { "gemini", "google", "default", -1 },
        { "bedrock", "aws", "default", -1 }, { "deepseek", "deepseek", "chat", -1 },
        { "cohere", "cohere", "default", -1 } };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (strcmp(rows[i].dialect, dialect) == 0 && str_eq(provider, str_from_c(rows[i].provider)) &&
            str_eq(flavor, str_from_c(rows[i].flavor)) && (rows[i].chat < 0 || rows[i].chat == (int)chat))
            return true;
    return false;
}

static const json_t *other_reading(const json_t *entry, const char *dialect, const json_t *usage)
{
    size_t i, j;
    const json_t *group, *extractor;
    json_array_foreach(json_object_get(entry, "extracted"), i, group)
        json_array_foreach(json_object_get(group, "extractors"), j,
            extractor) if (answers_for(dialect, extractor, usage)) return json_object_get(group, "usage");
    return NULL;
}

static bool all_hold(const json_t *body, const UsageReading *reading)
{
    return (reading->flags & (USAGE_RESIDUAL | USAGE_CONTRADICTION | USAGE_BAD_VALUE | USAGE_EMPTY)) == 0 &&
           body != NULL;
}

/* Where this table and the other project read the same body differently, and why. */
typedef enum Difference {
    SAME,
    HIDDEN_ITERATIONS, /* it prices the top level only */
    TOOL_PROMPT_APART, /* Gemini's tool prompt tokens, which it leaves out */
    CACHED_SPELLING,   /* num_cached_tokens, which it does not know */
    UNEXPLAINED,
} Difference;

static Difference difference(
    const json_t *usage, const UsageReading *reading, const json_t *other, const int64_t mine[3])
{
    int64_t input = 0, output = 0, cached = 0;
    json_i64(other, "input_tokens", &input);
    json_i64(other, "output_tokens", &output);
    json_i64(other, "cache_read_tokens", &cached);
    int64_t tool = 0;
    json_i64(usage, "toolUsePromptTokenCount", &tool);
    if (input == mine[0] && output == mine[1] && cached == mine[2])
        return SAME;
    if (reading->flags & USAGE_TOP_DIFFERS)
        return HIDDEN_ITERATIONS;
    if (tool > 0 && input + tool == mine[0] && output == mine[1])
        return TOOL_PROMPT_APART;
    if (input == mine[0] && output == mine[1] && json_object_get(usage, "num_cached_tokens") != NULL)
        return CACHED_SPELLING;
    return UNEXPLAINED;
}

static void test_real_bodies_hold_their_identities_and_agree_with_another_reading(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = shared_file(arena, "usage/usage_bodies.json");
    if (text.ptr == NULL) {
        print_message("  no shared data: set REEVE_SHARED; nothing is compared\n");
        return;
    }
    json_t *all = json_loadb(text.ptr, text.len, 0, NULL);
    assert_non_null(all);
    size_t i, seen = 0, compared = 0, by_difference[UNEXPLAINED + 1] = { 0 };
    json_t *entry;
    json_array_foreach(all, i, entry)
    {
        const json_t *body = json_object_get(entry, "body");
        const char *dialect = dialect_of(body);
        UsageReading reading = must_read(arena, dialect, json_write(arena, body).ptr);
        if (!all_hold(body, &reading))
            fail_msg("body %zu (%s): flags %u residual %lld", i, dialect, reading.flags, (long long)reading.residual);
        seen++;
        const json_t *usage = json_object_get(body, "usage");
        usage = usage != NULL ? usage : json_object_get(body, "usageMetadata");
        const json_t *other = other_reading(entry, dialect, usage);
        if (other == NULL)
            continue;
        int64_t mine[3];
        assert_true(sums(&reading, &mine[0], &mine[1], &mine[2]));
        Difference why = difference(usage, &reading, other, mine);
        by_difference[why]++;
        compared++;
        if (why == UNEXPLAINED)
            fail_msg("body %zu (%s): mine %lld/%lld/%lld, theirs %s", i, dialect, (long long)mine[0],
                (long long)mine[1], (long long)mine[2], json_write(arena, other).ptr);
    }
    json_decref(all);
    print_message("%zu bodies, %zu compared: %zu equal, %zu hidden iterations, %zu tool prompts, %zu spellings\n", seen,
        compared, by_difference[SAME], by_difference[HIDDEN_ITERATIONS], by_difference[TOOL_PROMPT_APART],
        by_difference[CACHED_SPELLING]);
    assert_true(seen > 700);
    assert_true(by_difference[SAME] > 700);
}

/* Recorded responses: what the gateway would hand over for each, joined as it joins them. */
static void test_recorded_responses_are_read_whole(void **state)
{
    (void)state;
    static const struct {
        const char *file, *dialect;
        size_t units;
        int64_t input, output;
    } files[] = {
        { "anthropic_advisor_iterations.json", "anthropic", 2, 2390 + 2518, 121 + 22 },
        { "anthropic_compaction_with_cache.json", "anthropic", 2, 229 + 100 + 55096, 5 + 131 },
        { "bedrock_cache_read.json", "bedrock", 1, 3 + 2074 + 297, 61 },
        { "deepseek_chat_cache_hit.json", "deepseek", 1, 563, 116 },
        { "openai_responses_prompt_cache_write.json", "openai", 1, 4020, 5 },
        { "openrouter_responses_cache_write_with_cost.json", "openrouter", 1, 4020, 5 },
    };
    _cleanup_(arena_free) Arena *arena = arena_new();
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        Str text = shared_file(arena, arena_fmt(arena, "responses/%s", files[i].file).ptr);
        if (text.ptr == NULL) {
            print_message("  no shared data: set REEVE_SHARED; nothing is compared\n");
            return;
        }
        UsageReading reading = must_read(arena, files[i].dialect, text.ptr);
        int64_t input, output, cached;
        sums(&reading, &input, &output, &cached);
        if (files[i].units != reading.count || files[i].input != input || files[i].output != output ||
            reading.residual != 0)
            fail_msg("%s: %zu units, %lld in, %lld out, residual %lld", files[i].file, reading.count, (long long)input,
                (long long)output, (long long)reading.residual);
    }
}

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_dialect_is_read_as_its_table_says),
        cmocka_unit_test(test_iterations_of_a_compaction_are_billed_though_the_top_hides_them),
        cmocka_unit_test(test_an_advisor_is_a_unit_with_its_own_model),
        cmocka_unit_test(test_bad_usage_is_refused_with_its_code),
        cmocka_unit_test(test_a_member_given_twice_with_two_values_is_flagged),
        cmocka_unit_test(test_meters_have_one_name_each),
        cmocka_unit_test(test_recorded_responses_are_read_whole),
        cmocka_unit_test(test_real_bodies_hold_their_identities_and_agree_with_another_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
