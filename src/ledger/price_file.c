/* price_file.c: three forms of price lists to rates in picodollars, with what looks wrong about them. */
#include "ledger/import.h"

#include "base/buf.h"
#include "base/json.h"
#include "crypto/digest.h"

#include <string.h>

#define CENT_PICO INT64_C(10000000000)

/* --- digits stay text --- */

/* The same JSON with every number written as a string: jansson would make it a double. */
static Str numbers_as_text(Arena *arena, Str json)
{
    char *out = arena_alloc(arena, json.len * 3 + 1, 1), *at = out;
    bool inside = false;
    for (size_t i = 0; i < json.len;) {
        char c = json.ptr[i];
        bool number = !inside && (c == '-' || (c >= '0' && c <= '9'));
        if (number) {
            *at++ = '"';
            for (; i < json.len && strchr("+-.eE0123456789", json.ptr[i]) != NULL && json.ptr[i] != '\0'; i++)
                *at++ = json.ptr[i];
            *at++ = '"';
            continue;
        }
        if (inside && c == '\\' && i + 1 < json.len) {
            *at++ = c;
            *at++ = json.ptr[i + 1];
            i += 2;
            continue;
        }
        inside ^= c == '"';
        *at++ = c;
        i++;
    }
    return str_n(out, (size_t)(at - out));
}

/* sign-less decimal: digits, fraction, exponent */
static bool decimal_parts(Str text, Int128 *ret_digits, int *ret_exponent)
{
    Int128 digits = 0;
    int exponent = 0, significant = 0;
    bool fraction = false, any = false;
    size_t i = 0;
    for (; i < text.len && text.ptr[i] != 'e' && text.ptr[i] != 'E'; i++) {
        char c = text.ptr[i];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9' || significant > 30)
            return false;
        digits = digits * 10 + (c - '0');
        significant += digits > 0;
        exponent -= fraction;
        any = true;
    }
    if (i < text.len) {
        int64_t power;
        Str rest = str_skip(text, i + 1);
        rest = str_starts_with(rest, STR("+")) ? str_skip(rest, 1) : rest;
        bool negative = str_starts_with(rest, STR("-"));
        rest = negative ? str_skip(rest, 1) : rest;
        while (rest.len > 1 && rest.ptr[0] == '0')
            rest = str_skip(rest, 1);
        if (!str_to_i64(rest, &power) || power > 60)
            return false;
        exponent += negative ? -(int)power : (int)power;
    }
    *ret_digits = digits;
    *ret_exponent = exponent;
    return any;
}

bool decimal_scaled(Str text, int shift, int64_t *ret_value, bool *ret_exact)
{
    Int128 value;
    int exponent;
    if (!decimal_parts(text, &value, &exponent))
        return false;
    exponent += shift;
    for (; exponent > 0 && value != 0; exponent--)
        if (__builtin_mul_overflow(value, (Int128)10, &value))
            return false;
    Int128 divisor = 1;
    for (; exponent < 0 && divisor <= value; exponent++)
        divisor *= 10;
    Int128 quotient = value / divisor, rest = value % divisor;
    bool below_all = exponent < 0; /* less than a tenth of the last place */
    if (!below_all && (rest * 2 > divisor || (rest * 2 == divisor && quotient % 2 == 1)))
        quotient++;
    if (below_all)
        quotient = 0;
    if (quotient > INT64_MAX)
        return false;
    *ret_exact = rest == 0 && !(below_all && value != 0);
    *ret_value = (int64_t)quotient;
    return true;
}

/* --- gathering --- */

typedef struct Growing {
    List list;
    size_t room, size;
} Growing;

static void *grow(Arena *arena, Growing *growing)
{
    if (growing->list.count == growing->room) {
        growing->room = growing->room == 0 ? 64 : growing->room * 2;
        void *more = arena_alloc(arena, growing->room, growing->size);
        if (growing->list.count > 0)
            memcpy(more, growing->list.items, growing->list.count * growing->size);
        growing->list.items = more;
    }
    return (char *)growing->list.items + growing->list.count++ * growing->size;
}

/* One model while its prices are read. */
typedef struct Model {
    Str provider, name;
    size_t first_rate; /* of this model, in the rates */
    bool held;         /* nothing of it is taken */
} Model;

typedef struct File {
    Arena *arena;
    Growing rates, aliases, findings;
    int64_t models;
} File;

static void find(File *file, const Model *model, const char *code, bool held, Str meter, Str detail)
{
    PriceFinding *finding = grow(file->arena, &file->findings);
    *finding = (PriceFinding){ .code = str_from_c(code),
        .provider = model->provider,
        .model = model->name,
        .meter = meter,
        .detail = detail,
        .held = held };
}

/* A price as text, to picodollars: `shift` is 12 for a price of one unit, 6 for one of a million. */
static void add_price(File *file, const Model *model, PriceRate rate, Str text, int shift)
{
    Str meter = meter_name((Meter)rate.meter);
    int64_t pico;
    bool exact;
    if (!decimal_scaled(text, shift, &pico, &exact)) {
        find(file, model, "not-a-price", true, meter, arena_str(file->arena, str_first(text, 40)));
        return;
    }
    if (!exact)
        find(file, model, "float-noise", false, meter, arena_str(file->arena, str_first(text, 40)));
    if (pico == 0) {
        find(file, model, "zero-price", true, meter, STR("A price of nothing is not taken: it would bill nothing."));
        return;
    }
    if (meter_is_tokens((Meter)rate.meter) && pico > CENT_PICO) {
        find(file, model, "unit-error", true, meter,
            arena_fmt(file->arena, "A token would cost " STR_FMT " USD.",
                STR_ARG(money_format(file->arena, (Money){ .pico = pico }))));
        return;
    }
    rate.provider = model->provider;
    rate.model = model->name;
    rate.service_tier = rate.service_tier.ptr == NULL ? STR("") : rate.service_tier;
    rate.pico = (MaybeInt){ .value = pico, .set = true };
    *(PriceRate *)grow(file->arena, &file->rates) = rate;
}

/* --- what is odd about a model as a whole --- */

static int64_t standard_price(const File *file, const Model *model, Meter meter)
{
    const PriceRate *rates = file->rates.list.items;
    int64_t price = -1;
    for (size_t i = model->first_rate; i < file->rates.list.count; i++)
        if (rates[i].meter == (int64_t)meter && rates[i].service_tier.len == 0 && rates[i].above_input == 0 &&
            rates[i].pico.set)
            price = rates[i].pico.value;
    return price;
}

/* Every maker's prices lie under 1,000 USD a million tokens; a whole model far above it was written in another unit. */
#define MODEL_PICO_MAX (INT64_C(1000) * 1000000)

static void drop_model(File *file, const Model *model)
{
    file->rates.list.count = model->first_rate;
}

static void check_model(File *file, const Model *model)
{
    int64_t input = standard_price(file, model, METER_INPUT_UNCACHED),
            output = standard_price(file, model, METER_OUTPUT), read = standard_price(file, model, METER_CACHE_READ);
    if (read > input && input > 0)
        find(file, model, "cache-read-dearer", false, STR("cache_read"),
            STR("Reading the cache costs more than input."));
    if (output > 0 && input > 0 && output * 2 < input)
        find(file, model, "output-cheaper", false, STR("output"), STR("Output costs less than half of input."));
    if (input > MODEL_PICO_MAX || output > MODEL_PICO_MAX) {
        find(file, model, "unit-error", true, STR(""), STR("A million tokens would cost more than 1000 USD."));
        drop_model(file, model);
    }
}

static Str provider_canonical(Str name)
{
    static const struct {
        Str theirs, ours;
    } rows[] = { { STR_INIT("google"), STR_INIT("gemini") }, { STR_INIT("aws"), STR_INIT("bedrock") },
        { STR_INIT("bedrock_converse"), STR_INIT("bedrock") }, { STR_INIT("x-ai"), STR_INIT("xai") },
        { STR_INIT("moonshotai"), STR_INIT("moonshot") }, { STR_INIT("zhipuai"), STR_INIT("zai") },
        { STR_INIT("fireworks_ai"), STR_INIT("fireworks") }, { STR_INIT("together_ai"), STR_INIT("together") },
        { STR_INIT("azure_ai"), STR_INIT("azure") }, { STR_INIT("cohere_chat"), STR_INIT("cohere") } };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (str_eq(rows[i].theirs, name))
            return rows[i].ours;
    return str_starts_with(name, STR("vertex_ai")) ? STR("vertex") : name;
}

/* --- genai-prices: decimals per million tokens --- */

static const struct {
    const char *name;
    Meter meter;
    int shift;
} genai_meters[] = {
    { "input_mtok", METER_INPUT_UNCACHED, 6 },
    { "output_mtok", METER_OUTPUT, 6 },
    { "cache_read_mtok", METER_CACHE_READ, 6 },
    { "cache_write_mtok", METER_CACHE_WRITE_5M, 6 },
    { "input_audio_mtok", METER_AUDIO_IN, 6 },
    { "output_audio_mtok", METER_AUDIO_OUT, 6 },
    { "cache_audio_read_mtok", METER_CACHE_READ_AUDIO, 6 },
    { "requests_kcount", METER_REQUEST, 9 },
};

static Str text_of(const json_t *value)
{
    return json_is_string(value) ? str_n(json_string_value(value), json_string_length(value)) : (Str){ 0 };
}

/* A price, or { base, tiers: [{ start, price }] }: above `start` tokens of input the whole unit has the tier's price.
 */
static void genai_price(File *file, const Model *model, size_t row, const json_t *value, Time from)
{
    PriceRate rate = { .meter = genai_meters[row].meter, .valid_from = from };
    if (!json_is_object(value)) {
        add_price(file, model, rate, text_of(value), genai_meters[row].shift);
        return;
    }
    add_price(file, model, rate, json_str(value, "base"), genai_meters[row].shift);
    size_t i;
    const json_t *tier;
    json_array_foreach(json_object_get(value, "tiers"), i, tier)
    {
        if (!str_to_i64(json_str(tier, "start"), &rate.above_input) || rate.above_input <= 0)
            find(file, model, "not-a-price", true, meter_name(genai_meters[row].meter), STR("A tier has no start."));
        else
            add_price(file, model, rate, json_str(tier, "price"), genai_meters[row].shift);
    }
}

static void genai_prices(File *file, const Model *model, json_t *prices, Time from)
{
    const char *key;
    json_t *value;
    json_object_foreach(prices, key, value)
    {
        size_t row = 0;
        while (row < COUNT_OF(genai_meters) && strcmp(genai_meters[row].name, key) != 0)
            row++;
        if (row == COUNT_OF(genai_meters))
            find(file, model, "not-a-price", true, STR(""), arena_str(file->arena, str_from_c(key)));
        else
            genai_price(file, model, row, value, from);
    }
}

static bool same_key(const PriceRate *a, const PriceRate *b)
{
    return a->meter == b->meter && a->above_input == b->above_input && str_eq(a->service_tier, b->service_tier);
}

/* Prices that held before `from` and have no successor end there. */
static void end_missing(File *file, const Model *model, size_t before, Time from)
{
    for (size_t i = model->first_rate; i < before; i++) {
        const PriceRate *rates = file->rates.list.items;
        PriceRate ended = rates[i];
        bool found = false;
        for (size_t j = before; j < file->rates.list.count; j++)
            found |= same_key(&rates[j], &ended);
        if (found)
            continue;
        ended.valid_from = from;
        ended.pico = (MaybeInt){ 0 };
        *(PriceRate *)grow(file->arena, &file->rates) = ended;
    }
}

/* Prices from a date on. Those of a time of day are not ours to choose from: the whole model is left out. */
static void genai_dated(File *file, Model *model, const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const json_t *constraint = json_object_get(item, "constraint");
        Str date = json_str(constraint, "start_date");
        Time from = TIME_NONE;
        size_t before = file->rates.list.count;
        if (json_is_object(constraint) &&
            (date.ptr == NULL ||
                time_parse(arena_fmt(file->arena, STR_FMT "T00:00:00Z", STR_ARG(date)), &from).kind != ERR_NONE)) {
            find(file, model, "time-of-day", true, STR(""), STR("Its price depends on the time of day."));
            model->held = true;
            return;
        }
        genai_prices(file, model, json_object_get(item, "prices"), from);
        if (!time_is_none(from))
            end_missing(file, model, before, from);
    }
}

static void add_alias(File *file, const Model *model, const char *kind, Str pattern)
{
    if (pattern.len == 0 || (strcmp(kind, "exact") == 0 && str_eq(pattern, model->name)))
        return;
    PriceAlias *alias = grow(file->arena, &file->aliases);
    *alias = (PriceAlias){ .provider = model->provider,
        .kind = str_from_c(kind),
        .pattern = arena_str(file->arena, pattern),
        .model = model->name,
        .rank = (int64_t)file->aliases.list.count };
}

static void genai_match(File *file, const Model *model, json_t *match)
{
    static const struct {
        const char *theirs, *ours;
    } kinds[] = { { "equals", "exact" }, { "starts_with", "prefix" }, { "ends_with", "suffix" },
        { "contains", "contains" } };
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        add_alias(file, model, kinds[i].ours, json_str(match, kinds[i].theirs));
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(match, "or"), i, part) genai_match(file, model, part);
    if (json_object_get(match, "regex") != NULL || json_object_get(match, "and") != NULL)
        find(file, model, "pattern-left-out", false, STR(""), STR("A pattern of its names is not one we match by."));
}

static void genai_model(File *file, Str provider, json_t *entry)
{
    Model model = { .provider = provider,
        .name = arena_str(file->arena, json_str(entry, "id")),
        .first_rate = file->rates.list.count };
    json_t *prices = json_object_get(entry, "prices");
    file->models++;
    if (json_is_array(prices))
        genai_dated(file, &model, prices);
    else
        genai_prices(file, &model, prices, TIME_NONE);
    if (model.held)
        drop_model(file, &model);
    check_model(file, &model);
    if (file->rates.list.count > model.first_rate)
        genai_match(file, &model, json_object_get(entry, "match"));
}

static void genai_read(File *file, const json_t *providers)
{
    size_t i, j;
    json_t *provider, *model;
    json_array_foreach(providers, i, provider)
    {
        Str name = arena_str(file->arena, provider_canonical(json_str(provider, "id")));
        json_array_foreach(json_object_get(provider, "models"), j, model) genai_model(file, name, model);
    }
}

/* --- LiteLLM: one field a meter, conditions in its name --- */

static const struct {
    Str name;
    Meter meter;
} litellm_meters[] = {
    { STR_INIT("input_cost_per_token"), METER_INPUT_UNCACHED },
    { STR_INIT("output_cost_per_token"), METER_OUTPUT },
    { STR_INIT("cache_read_input_token_cost"), METER_CACHE_READ },
    { STR_INIT("cache_creation_input_token_cost_above_1hr"), METER_CACHE_WRITE_1H },
    { STR_INIT("cache_creation_input_token_cost"), METER_CACHE_WRITE_5M },
    { STR_INIT("output_cost_per_reasoning_token"), METER_REASONING },
    { STR_INIT("input_cost_per_audio_token"), METER_AUDIO_IN },
    { STR_INIT("output_cost_per_audio_token"), METER_AUDIO_OUT },
    { STR_INIT("input_cost_per_image_token"), METER_IMAGE_IN },
    { STR_INIT("output_cost_per_image_token"), METER_IMAGE_OUT },
    { STR_INIT("cache_read_input_audio_token_cost"), METER_CACHE_READ_AUDIO },
    { STR_INIT("input_cost_per_request"), METER_REQUEST },
};

/* What is left of a name behind its meter: "_above_272k_tokens_priority". */
static bool litellm_conditions(Str rest, PriceRate *rate)
{
    static const struct {
        Str suffix, tier;
    } tiers[] = { { STR_INIT("_priority"), STR_INIT("priority") }, { STR_INIT("_flex"), STR_INIT("flex") },
        { STR_INIT("_batches"), STR_INIT("batch") } };
    for (size_t i = 0; i < COUNT_OF(tiers); i++)
        if (str_ends_with(rest, tiers[i].suffix)) {
            rate->service_tier = tiers[i].tier;
            rest = str_first(rest, rest.len - tiers[i].suffix.len);
        }
    if (rest.len == 0)
        return true;
    Str k = STR("k_tokens"), above = STR("_above_");
    int64_t thousands;
    if (!str_starts_with(rest, above) || !str_ends_with(rest, k) ||
        !str_to_i64(str_first(str_skip(rest, above.len), rest.len - above.len - k.len), &thousands) || thousands <= 0)
        return false;
    rate->above_input = thousands * 1000;
    return true;
}

static void litellm_field(File *file, const Model *model, Str key, const json_t *value)
{
    for (size_t i = 0; i < COUNT_OF(litellm_meters); i++) {
        PriceRate rate = { .meter = litellm_meters[i].meter };
        if (!str_starts_with(key, litellm_meters[i].name))
            continue;
        if (litellm_conditions(str_skip(key, litellm_meters[i].name.len), &rate)) {
            add_price(file, model, rate, text_of(value), 12);
            return;
        }
    }
}

static Str litellm_name(Arena *arena, Str key, Str provider)
{
    Str head, tail;
    if (str_cut(key, '/', &head, &tail) &&
        (str_eq(head, provider) || str_eq(provider_canonical(head), provider_canonical(provider))))
        return arena_str(arena, tail);
    return arena_str(arena, key);
}

static void litellm_model(File *file, Str key, json_t *entry)
{
    Str theirs = json_str(entry, "litellm_provider");
    Model model = { .provider = arena_str(file->arena, provider_canonical(theirs)),
        .name = litellm_name(file->arena, key, theirs),
        .first_rate = file->rates.list.count };
    if (theirs.len == 0 || str_eq(key, STR("sample_spec")))
        return;
    file->models++;
    const char *name;
    json_t *value;
    json_object_foreach(entry, name, value) litellm_field(file, &model, str_from_c(name), value);
    json_t *search =
        json_object_get(json_object_get(entry, "search_context_cost_per_query"), "search_context_size_medium");
    if (search != NULL)
        add_price(file, &model, (PriceRate){ .meter = METER_WEB_SEARCH }, text_of(search), 12);
    check_model(file, &model);
}

/* --- our own form --- */

static void reeve_price(File *file, const Model *model, Meter meter, const json_t *value)
{
    PriceRate rate = { .meter = meter };
    if (!json_is_object(value)) {
        add_price(file, model, rate, text_of(value), 6);
        return;
    }
    add_price(file, model, rate, json_str(value, "base"), 6);
    size_t i;
    const json_t *tier;
    json_array_foreach(
        json_object_get(value, "tiers"), i, tier) if (str_to_i64(json_str(tier, "start"), &rate.above_input))
        add_price(file, model, rate, json_str(tier, "price"), 6);
}

/* A model's members are its provider, other names of it, and prices of a million units by meter. */
static void reeve_model(File *file, Str name, json_t *entry)
{
    Model model = { .provider = arena_str(file->arena, json_str(entry, "provider")),
        .name = arena_str(file->arena, name),
        .first_rate = file->rates.list.count };
    const char *key;
    json_t *value;
    file->models++;
    if (model.provider.len == 0) {
        find(file, &model, "not-a-price", true, STR(""), STR("The model has no provider."));
        return;
    }
    json_object_foreach(entry, key, value)
    {
        Meter meter;
        if (meter_find(str_from_c(key), &meter))
            reeve_price(file, &model, meter, value);
        else if (strcmp(key, "provider") != 0 && strcmp(key, "prefix") != 0)
            find(file, &model, "not-a-price", true, arena_str(file->arena, str_from_c(key)), STR("This is no meter."));
    }
    check_model(file, &model);
    add_alias(file, &model, "prefix", json_str(entry, "prefix"));
}

static void reeve_read(File *file, const json_t *document)
{
    const char *name;
    json_t *entry;
    json_object_foreach(json_object_get(document, "models"), name, entry) reeve_model(file, str_from_c(name), entry);
}

/* --- any of the three --- */

Err price_file_read(Arena *arena, Str text, PriceFile *ret_file)
{
    if (text.len > PRICE_FILE_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "price-file-too-large", "A price file has at most 4194304 bytes.");
    TRY(json_scan(text, JSON_LIMITS_WIRE));
    _cleanup_(json_release) json_t *json = NULL;
    JsonLimits limits = JSON_LIMITS_WIRE;
    limits.bytes_max = text.len * 3 + 1;
    TRY(json_parse(numbers_as_text(arena, text), limits, &json));
    File file = { .arena = arena,
        .rates = { .size = sizeof(PriceRate) },
        .aliases = { .size = sizeof(PriceAlias) },
        .findings = { .size = sizeof(PriceFinding) } };
    Str source = STR("genai-prices");
    if (json_is_array(json)) {
        genai_read(&file, json);
    } else if (str_eq(json_str(json, "reeve_price_book"), STR("1"))) {
        source = STR("reeve");
        reeve_read(&file, json);
    } else {
        source = STR("litellm");
        const char *key;
        json_t *entry;
        json_object_foreach(json, key, entry) litellm_model(&file, str_from_c(key), entry);
    }
    if (file.models == 0)
        return FAIL(ERR_INVALID, "price-file-unknown", "The file is none of the price lists that are known.");
    *ret_file = (PriceFile){ .source = source,
        .digest = digest_text(arena, digest_of(str_bytes(text))),
        .rates = file.rates.list,
        .aliases = file.aliases.list,
        .findings = file.findings.list,
        .models = file.models };
    return OK;
}
