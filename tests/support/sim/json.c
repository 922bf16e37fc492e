#include "json.h"

#include <string.h>

static const char *skip_blank(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* From an opening quote to behind the closing one. A quote is escaped when an odd number of backslashes precedes it. */
static const char *skip_string(const char *at, const char *end)
{
    const char *start = at++;
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (!quote)
            return NULL;
        size_t slashes = 0;
        while (quote - slashes - 1 > start && quote[-1 - (ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return quote + 1;
        at = quote + 1;
    }
    return NULL;
}

static const char *skip_nested(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            if (!at)
                return NULL;
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return NULL;
}

static const char *skip_word(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && !strchr(" \t\r\n,]}:\"{[", *at))
        at++;
    return at == start ? NULL : at;
}

static const char *skip_value(const char *at, const char *end)
{
    if (at >= end)
        return NULL;
    if (*at == '"')
        return skip_string(at, end);
    if (*at == '{' || *at == '[')
        return skip_nested(at, end);
    return skip_word(at, end);
}

bool json_open(Text value, JsonWalk *ret_walk)
{
    value = text_trim(value);
    if (value.len < 2 || (value.ptr[0] != '{' && value.ptr[0] != '['))
        return false;
    *ret_walk =
        (JsonWalk){ .at = value.ptr + 1, .end = value.ptr + value.len, .close = value.ptr[0] == '{' ? '}' : ']' };
    return true;
}

static bool walk_failed(JsonWalk *walk)
{
    walk->failed = true;
    return false;
}

static bool next_name(JsonWalk *walk, Text *ret_name)
{
    if (walk->at >= walk->end || *walk->at != '"')
        return false;
    const char *after = skip_string(walk->at, walk->end);
    if (!after)
        return false;
    *ret_name = (Text){ walk->at + 1, (size_t)(after - walk->at - 2) };
    after = skip_blank(after, walk->end);
    if (after >= walk->end || *after != ':')
        return false;
    walk->at = skip_blank(after + 1, walk->end);
    return true;
}

bool json_next(JsonWalk *walk, Text *ret_name, Text *ret_value)
{
    if (walk->failed)
        return false;
    const char *at = skip_blank(walk->at, walk->end);
    if (at < walk->end && *at == ',')
        at = skip_blank(at + 1, walk->end);
    if (at >= walk->end)
        return walk_failed(walk);
    walk->at = at;
    if (*at == walk->close)
        return false;
    *ret_name = (Text){ "", 0 };
    if (walk->close == '}' && !next_name(walk, ret_name))
        return walk_failed(walk);
    const char *after = skip_value(walk->at, walk->end);
    if (!after)
        return walk_failed(walk);
    *ret_value = (Text){ walk->at, (size_t)(after - walk->at) };
    walk->at = after;
    return true;
}

bool json_member(Text object, Text name, Text *ret_value)
{
    JsonWalk walk;
    Text each, value;
    if (!json_open(object, &walk) || walk.close != '}')
        return false;
    while (json_next(&walk, &each, &value)) {
        if (text_eq(each, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool json_is_string(Text value)
{
    return value.len >= 2 && value.ptr[0] == '"';
}

bool json_is_true(Text value)
{
    return text_eq(value, TEXT("true"));
}

Text json_raw(Text value)
{
    return json_is_string(value) ? (Text){ value.ptr + 1, value.len - 2 } : (Text){ "", 0 };
}

static uint32_t hex4(const char *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef";
        const char *found = strchr(digits, at[i] | 0x20);
        value = value * 16 + (found && at[i] ? (uint32_t)(found - digits) : 0);
    }
    return value;
}

static void put_utf8(Buf *out, uint32_t code)
{
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = len - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (char)(lead[len] | code);
    buf_put(out, (Text){ bytes, len });
}

/* One escape after its backslash; answers how many characters it took. */
static size_t unescape_one(Buf *out, const char *at, size_t left)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *found = *at ? strchr(from, *at) : NULL;
    if (*at != 'u' || left < 5) {
        buf_put(out, (Text){ found ? to + (found - from) : at, 1 });
        return 1;
    }
    uint32_t code = hex4(at + 1);
    if (code >= 0xd800 && code < 0xdc00 && left >= 11 && at[5] == '\\' && at[6] == 'u') {
        put_utf8(out, 0x10000 + ((code - 0xd800) << 10) + ((hex4(at + 7) - 0xdc00) & 0x3ff));
        return 11;
    }
    put_utf8(out, code);
    return 5;
}

void json_unescape(Buf *out, Text value)
{
    Text raw = json_raw(value);
    while (raw.len) {
        const char *slash = memchr(raw.ptr, '\\', raw.len);
        size_t plain = slash ? (size_t)(slash - raw.ptr) : raw.len;
        buf_put(out, (Text){ raw.ptr, plain });
        if (!slash || plain + 1 >= raw.len)
            return;
        size_t took = plain + 1 + unescape_one(out, slash + 1, raw.len - plain - 1);
        raw.ptr += took;
        raw.len -= took;
    }
}
