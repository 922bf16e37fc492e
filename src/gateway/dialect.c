/* dialect.c: see gateway/dialect.h. */
#include "gateway/dialect.h"

#include "base/buf.h"

static const DialectRow dialects[DIALECT_COUNT] = {
    [DIALECT_OPENAI] = { .name = STR_INIT("openai"),
        .prefix = STR_INIT("/openai"),
        .route = STR_INIT("/v1/chat/completions"),
        .endpoint = STR_INIT("/chat/completions"),
        .secret_header = STR_INIT("authorization"),
        .secret_prefix = STR_INIT("Bearer "),
        .asks_for_usage = true },
    [DIALECT_ANTHROPIC] = { .name = STR_INIT("anthropic"),
        .prefix = STR_INIT("/anthropic"),
        .route = STR_INIT("/v1/messages"),
        .endpoint = STR_INIT("/messages"),
        .secret_header = STR_INIT("x-api-key"),
        .secret_prefix = STR_INIT("") },
};

typedef struct FaultRow {
    const char *name;
    int status, anthropic_status; /* 0: the same */
    const char *type, *code;      /* OpenAI's words */
    const char *anthropic_type;
    const char *message;
} FaultRow;

#define BAD "invalid_request_error"
#define OURS "api_error"

static const FaultRow faults[FAULT_COUNT] = {
    [FAULT_NONE] = { "none", 500, 0, OURS, "internal_error", OURS, "" },
    [FAULT_KEY_MISSING] = { "key-missing", 401, 0, BAD, "missing_api_key", "authentication_error",
        "No API key was given. Send it as 'Authorization: Bearer' or as 'x-api-key'." },
    [FAULT_KEYS_DIFFER] = { "keys-differ", 401, 0, BAD, "invalid_api_key", "authentication_error",
        "'Authorization' and 'x-api-key' carry different keys. Send one of them." },
    [FAULT_KEY_UNKNOWN] = { "key-unknown", 401, 0, BAD, "invalid_api_key", "authentication_error",
        "The API key is not valid." },
    [FAULT_URL_UNKNOWN] = { "url-unknown", 404, 0, BAD, "unknown_url", "not_found_error",
        "This URL is not served here." },
    [FAULT_METHOD] = { "method", 405, 0, BAD, "method_not_supported", BAD, "Only POST is served at this URL." },
    [FAULT_REQUEST] = { "request", 400, 0, BAD, "bad_request", BAD, "The request cannot be read." },
    [FAULT_BODY] = { "body", 400, 0, BAD, "invalid_body", BAD, "The body cannot be accepted." },
    [FAULT_TOO_LARGE] = { "too-large", 413, 0, BAD, "request_too_large", "request_too_large",
        "The body is larger than this gateway accepts." },
    [FAULT_MODEL_UNKNOWN] = { "model-unknown", 404, 0, BAD, "model_not_found", "not_found_error",
        "The project of this key has no released workflow of this name." },
    [FAULT_WRONG_DIALECT] = { "wrong-dialect", 400, 0, BAD, "wrong_dialect", BAD,
        "This workflow speaks another dialect than this URL." },
    [FAULT_NO_SNAPSHOT] = { "no-snapshot", 503, 0, OURS, "gateway_not_ready", OURS,
        "The gateway has no configuration yet. Try again." },
    [FAULT_EXPIRED] = { "snapshot-expired", 503, 0, OURS, "gateway_not_ready", OURS,
        "The gateway's configuration is too old to be used. Try again." },
    [FAULT_SPOOL] = { "spool", 503, 0, OURS, "gateway_not_ready", OURS,
        "The gateway cannot record usage and does not serve unmetered. Try again." },
    [FAULT_BUSY] = { "busy", 503, 529, OURS, "gateway_busy", "overloaded_error",
        "The gateway has too many calls in flight. Try again." },
    [FAULT_DRAINING] = { "draining", 503, 0, OURS, "gateway_stopping", OURS, "The gateway is stopping. Try again." },
    [FAULT_ROUTE] = { "route", 503, 0, OURS, "route_unusable", OURS,
        "No target of this workflow can be used at the moment." },
    [FAULT_UPSTREAM] = { "upstream", 502, 0, OURS, "provider_unreachable", OURS, "No provider could be reached." },
    [FAULT_UPSTREAM_TIMEOUT] = { "upstream-timeout", 504, 0, OURS, "provider_timeout", "timeout_error",
        "The provider did not answer in time." },
    [FAULT_UPSTREAM_REFUSED] = { "upstream-refused", 503, 0, OURS, "provider_refused_gateway", OURS,
        "The provider did not accept this gateway's credentials." },
    [FAULT_STREAM_BROKEN] = { "stream-broken", 502, 0, OURS, "provider_stream_broken", OURS,
        "The provider's stream ended before the answer was complete." },
    [FAULT_INTERNAL] = { "internal", 500, 0, OURS, "internal_error", OURS, "The gateway failed." },
};

const DialectRow *dialect_row(Dialect dialect)
{
    return &dialects[dialect];
}

bool dialect_parse(Str name, Dialect *ret_dialect)
{
    for (size_t i = 0; i < DIALECT_COUNT; i++) {
        if (!str_eq(name, dialects[i].name))
            continue;
        *ret_dialect = (Dialect)i;
        return true;
    }
    return false;
}

bool dialect_of_path(Str path, Dialect *ret_dialect)
{
    for (size_t i = 0; i < DIALECT_COUNT; i++) {
        Str rest = str_starts_with(path, dialects[i].prefix) ? str_skip(path, dialects[i].prefix.len) : path;
        if (!str_eq(rest, dialects[i].route))
            continue;
        *ret_dialect = (Dialect)i;
        return true;
    }
    return false;
}

Dialect dialect_guess(Str path, bool has_anthropic_version)
{
    bool anthropic = has_anthropic_version || str_starts_with(path, STR("/anthropic/")) ||
                     str_starts_with(path, STR("/v1/messages"));
    return anthropic ? DIALECT_ANTHROPIC : DIALECT_OPENAI;
}

static bool is_version(Str segment)
{
    if (segment.len < 2 || segment.ptr[0] != 'v')
        return false;
    for (size_t i = 1; i < segment.len; i++)
        if (segment.ptr[i] < '0' || segment.ptr[i] > '9')
            return false;
    return true;
}

Str dialect_url(Arena *arena, Dialect dialect, Str base_url)
{
    while (base_url.len > 0 && base_url.ptr[base_url.len - 1] == '/')
        base_url.len--;
    size_t at = base_url.len;
    while (at > 0 && base_url.ptr[at - 1] != '/')
        at--;
    const char *between = is_version(str_skip(base_url, at)) ? "" : "/v1";
    return arena_fmt(arena, STR_FMT "%s" STR_FMT, STR_ARG(base_url), between, STR_ARG(dialects[dialect].endpoint));
}

int fault_status(Fault fault, Dialect dialect)
{
    const FaultRow *row = &faults[fault];
    return dialect == DIALECT_ANTHROPIC && row->anthropic_status != 0 ? row->anthropic_status : row->status;
}

const char *fault_name(Fault fault)
{
    return faults[fault].name;
}

Str json_quote(Arena *arena, Str text)
{
    static const char hex[] = "0123456789abcdef";
    char *out = NEW(arena, char, text.len * 6 + 3);
    size_t len = 0;
    out[len++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t x = (uint8_t)text.ptr[i];
        if (x == '"' || x == '\\') {
            out[len++] = '\\';
            out[len++] = (char)x;
        } else if (x >= 0x20) {
            out[len++] = (char)x;
        } else {
            const char escape[] = { '\\', 'u', '0', '0', hex[x >> 4], hex[x & 15] };
            __builtin_memcpy(out + len, escape, sizeof escape);
            len += sizeof escape;
        }
    }
    out[len++] = '"';
    return str_n(out, len);
}

Str fault_body(Arena *arena, Fault fault, Dialect dialect, Str message, Str param, Str request_id)
{
    const FaultRow *row = &faults[fault];
    Str quoted = json_quote(arena, str_is_empty(message) ? str_from_c(row->message) : message);
    if (dialect == DIALECT_ANTHROPIC)
        return arena_fmt(arena,
            "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":" STR_FMT "},\"request_id\":\"" STR_FMT "\"}",
            row->anthropic_type, STR_ARG(quoted), STR_ARG(request_id));
    Str where = str_is_empty(param) ? STR("null") : json_quote(arena, param);
    return arena_fmt(arena,
        "{\"error\":{\"message\":" STR_FMT ",\"type\":\"%s\",\"param\":" STR_FMT ",\"code\":\"%s\"}}", STR_ARG(quoted),
        row->type, STR_ARG(where), row->code);
}

Str fault_event(Arena *arena, Fault fault, Dialect dialect, Str request_id)
{
    Str body = fault_body(arena, fault, dialect, STR(""), STR(""), request_id);
    const char *name = dialect == DIALECT_ANTHROPIC ? "event: error\n" : "";
    return arena_fmt(arena, "%sdata: " STR_FMT "\n\n", name, STR_ARG(body));
}
