/* usage_events.c: see usage_events.h. */
#include "usage_events.h"

#include "base/encode.h"

#include <string.h>

const EventRate EVENT_RATES[] = {
    { "openai", "gpt-4o-mini", "input_uncached", 150000 },
    { "openai", "gpt-4o-mini", "cache_read", 75000 },
    { "openai", "gpt-4o-mini", "output", 600000 },
    { "openai", "gpt-odd", "input_uncached", 333333 },
    { "openai", "gpt-odd", "cache_read", 1 },
    { "openai", "gpt-odd", "output", 7777777 },
    { "anthropic", "claude-sonnet-4-5", "input_uncached", 3000000 },
    { "anthropic", "claude-sonnet-4-5", "cache_read", 300000 },
    { "anthropic", "claude-sonnet-4-5", "cache_write_5m", 3750000 },
    { "anthropic", "claude-sonnet-4-5", "cache_write_1h", 6000000 },
    { "anthropic", "claude-sonnet-4-5", "output", 15000000 },
    { "anthropic", "claude-opus-4-8", "input_uncached", 5000000 },
    { "anthropic", "claude-opus-4-8", "output", 25000000 },
    { NULL, NULL, NULL, 0 },
};

Str event_rates_sql(Arena *arena)
{
    Buf out = buf_new(64 * 1024);
    buf_add(&out, STR("insert into ledger.price_import (id, book, source, digest, report) values "
                      "('00000000-0000-7000-8000-000000000001', 'cost', 'test', '', '{}');"
                      "insert into ledger.rate (book, provider, model, meter, valid_from, pico, import) values "));
    for (const EventRate *rate = EVENT_RATES; rate->provider != NULL; rate++)
        buf_fmt(&out,
            "%s('cost', '%s', '%s', (select code from ledger.meter where name = '%s'), '2020-01-01Z', %lld, "
            "'00000000-0000-7000-8000-000000000001')",
            rate == EVENT_RATES ? "" : ", ", rate->provider, rate->model, rate->meter, (long long)rate->pico);
    buf_add(&out, STR("; update ledger.price_book set revision = revision + 1 where name = 'cost';"));
    Str sql = arena_str(arena, buf_str(&out));
    buf_release(&out);
    return sql;
}

static Uuid fixed_id(uint8_t kind, uint8_t n)
{
    return (Uuid){ .b = { 0x01, 0x90, 0, 0, 0, kind, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, n } };
}

EventMix event_mix(uint64_t seed, Uuid org_a, Uuid org_b, Time from)
{
    EventMix mix = { .seed = seed * 2 + 1, .orgs = { org_a, org_b }, .from = from, .epoch = 1, .sequence = 1 };
    for (uint8_t i = 0; i < 4; i++)
        mix.projects[i] = fixed_id(1, i);
    return mix;
}

/* xorshift64*: the same events for the same seed everywhere. */
static uint64_t below(EventMix *mix, uint64_t bound)
{
    mix->seed ^= mix->seed >> 12;
    mix->seed ^= mix->seed << 25;
    mix->seed ^= mix->seed >> 27;
    return (mix->seed * UINT64_C(0x2545F4914F6CDD1D) >> 33) % bound;
}

static Uuid next_event_id(EventMix *mix)
{
    Uuid id = { 0 };
    uint64_t ms = (uint64_t)mix->from.us / 1000, random = below(mix, UINT64_C(1) << 30);
    for (size_t i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (8 * (5 - i)));
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    for (size_t i = 0; i < 4; i++)
        id.b[9 + i] = (uint8_t)(random >> (8 * i));
    uint64_t sequence = (uint64_t)mix->sequence + ((uint64_t)mix->epoch << 20);
    for (size_t i = 0; i < 3; i++)
        id.b[13 + i] = (uint8_t)(sequence >> (8 * i));
    mix->from.us += 1000;
    return id;
}

static Str openai_usage(Arena *arena, EventMix *mix)
{
    uint64_t prompt = below(mix, 20000) + 1, cached = below(mix, prompt), completion = below(mix, 3000);
    uint64_t reasoning = completion > 0 ? below(mix, completion) : 0;
    return arena_fmt(arena,
        "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,\"prompt_tokens_details\":"
        "{\"cached_tokens\":%llu,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":%llu}}",
        (unsigned long long)prompt, (unsigned long long)completion, (unsigned long long)(prompt + completion),
        (unsigned long long)cached, (unsigned long long)reasoning);
}

static Str anthropic_usage(Arena *arena, EventMix *mix)
{
    unsigned long long input = below(mix, 9000), read = below(mix, 50000), five = below(mix, 4000),
                       hour = below(mix, 3) == 0 ? below(mix, 4000) : 0, output = below(mix, 2000);
    if (!mix->plain && below(mix, 20) == 0)
        return arena_fmt(arena,
            "{\"input_tokens\":%llu,\"output_tokens\":%llu,\"cache_read_input_tokens\":0,"
            "\"cache_creation_input_tokens\":0,\"iterations\":[{\"type\":\"message\",\"input_tokens\":%llu,"
            "\"output_tokens\":%llu},{\"type\":\"advisor_message\",\"model\":\"claude-opus-4-8\",\"input_tokens\":%llu,"
            "\"output_tokens\":7}]}",
            input, output, input, output, five);
    return arena_fmt(arena,
        "{\"input_tokens\":%llu,\"cache_creation_input_tokens\":%llu,\"cache_read_input_tokens\":%llu,"
        "\"cache_creation\":{\"ephemeral_5m_input_tokens\":%llu,\"ephemeral_1h_input_tokens\":%llu},"
        "\"output_tokens\":%llu,\"service_tier\":\"standard\"}",
        input, five + hour, read, five, hour, output);
}

static const char *pick_model(EventMix *mix, bool anthropic)
{
    static const char *const openai[] = { "gpt-4o-mini", "gpt-odd", "gpt-4o-mini", "nobody-prices-me" };
    if (anthropic)
        return "claude-sonnet-4-5";
    return openai[below(mix, mix->plain ? 3 : 4)];
}

static void add_attempt(Arena *arena, Buf *out, EventMix *mix, int n, bool anthropic, const char *outcome)
{
    const char *model = pick_model(mix, anthropic);
    bool ok = strcmp(outcome, "ok") == 0;
    buf_fmt(out,
        "%s{\"n\":%d,\"connection\":\"" STR_FMT "\",\"provider\":\"%s\",\"model_asked\":\"%s\",\"model_answered\":",
        n == 1 ? "" : ",", n, STR_ARG(typeid_format(arena, STR("con"), fixed_id(2, (uint8_t)below(mix, 3)))),
        anthropic ? "anthropic" : "openai", model);
    if (ok)
        buf_fmt(out, "\"%s\"", model);
    else
        buf_add(out, STR("null"));
    buf_fmt(out,
        ",\"outcome\":\"%s\",\"status\":%s,\"secret\":\"" STR_FMT "\",\"secret_version\":1,\"timings\":"
        "{\"connect_us\":120,\"first_byte_us\":%llu,\"total_us\":%llu},\"provider_request_id\":\"req-%llu\","
        "\"lease\":null,\"units\":[",
        outcome, ok ? "200" : "null", STR_ARG(typeid_format(arena, STR("sec"), fixed_id(3, 1))),
        (unsigned long long)below(mix, 900000), (unsigned long long)below(mix, 9000000),
        (unsigned long long)below(mix, 1000000000));
    if (ok) {
        Str raw = anthropic ? anthropic_usage(arena, mix) : openai_usage(arena, mix);
        buf_fmt(out,
            "{\"model\":\"%s\",\"meters\":{\"input_uncached\":1,\"output\":2},\"usage_raw\":\"" STR_FMT
            "\",\"normaliser\":1,\"residual\":0,\"stream\":false}",
            model, STR_ARG(base64_encode(arena, str_bytes(raw))));
    }
    buf_add(out, STR("]}"));
}

static void add_attempts(Arena *arena, Buf *out, EventMix *mix, bool anthropic)
{
    static const char *const failures[] = { "status-429", "status-5xx", "connect", "first-byte-timeout", "empty" };
    int n = 1;
    uint64_t dice = mix->plain ? 99 : below(mix, 100);
    for (; dice < 25 && n <= (int)(dice / 9); n++)
        add_attempt(arena, out, mix, n, below(mix, 2) == 0, failures[below(mix, COUNT_OF(failures))]);
    if (dice >= 95 && !mix->plain)
        add_attempt(arena, out, mix, n, anthropic, dice >= 98 ? "indeterminate" : "cancelled");
    else if (dice != 50)
        add_attempt(arena, out, mix, n, anthropic, "ok");
}

static Str event_make(Arena *arena, EventMix *mix)
{
    _cleanup_(buf_release) Buf out = buf_new(256 * 1024);
    uint64_t project = below(mix, 4);
    bool anthropic = below(mix, 3) == 0;
    buf_fmt(&out,
        "{\"specversion\":\"1.0\",\"type\":\"reeve.usage.v1\",\"source\":\"dpl_x\",\"id\":\"" STR_FMT
        "\",\"time\":\"" STR_FMT
        "\",\"datacontenttype\":\"application/json\",\"data\":{\"epoch\":%lld,\"sequence\":%lld,"
        "\"org\":\"" STR_FMT "\",\"project\":\"" STR_FMT "\",\"workflow\":\"" STR_FMT "\",\"revision\":\"" STR_FMT
        "\",\"client_key\":\"" STR_FMT "\",\"dialect\":\"%s\",\"stream\":false,\"end_user\":null,\"labels\":"
        "{\"feature\":\"f%llu\"},\"correlation_id\":null,\"trace_id\":null,\"request_id\":\"r%lld\",\"outcome\":\"ok\","
        "\"status\":200,\"timings\":{\"queue_us\":3,\"first_byte_us\":200000,\"total_us\":900000},\"attempts\":[",
        STR_ARG(typeid_format(arena, STR("evt"), next_event_id(mix))), STR_ARG(time_format(arena, mix->from)),
        (long long)mix->epoch, (long long)mix->sequence,
        STR_ARG(typeid_format(arena, STR("org"), mix->orgs[project / 2])),
        STR_ARG(typeid_format(arena, STR("prj"), mix->projects[project])),
        STR_ARG(typeid_format(arena, STR("wfl"), fixed_id(4, (uint8_t)below(mix, 2)))),
        STR_ARG(typeid_format(arena, STR("rev"), fixed_id(5, 1))),
        STR_ARG(typeid_format(arena, STR("cky"), fixed_id(6, (uint8_t)project))), anthropic ? "anthropic" : "openai",
        (unsigned long long)below(mix, 5), (long long)mix->sequence);
    add_attempts(arena, &out, mix, anthropic);
    buf_add(&out, STR("]}}"));
    mix->sequence++;
    return arena_str(arena, buf_str(&out));
}

Strs events_make(Arena *arena, EventMix *mix, size_t count)
{
    Strs events = { .items = NEW(arena, Str, count), .count = count };
    for (size_t i = 0; i < count; i++)
        events.items[i] = event_make(arena, mix);
    return events;
}

Str events_batch(Arena *arena, const Str *events, size_t count)
{
    _cleanup_(buf_release) Buf out = buf_new(64 * 1024 * 1024);
    for (size_t i = 0; i < count; i++) {
        buf_add_char(&out, i == 0 ? '[' : ',');
        buf_add(&out, events[i]);
    }
    buf_add(&out, count == 0 ? STR("[]") : STR("]"));
    return arena_str(arena, buf_str(&out));
}
