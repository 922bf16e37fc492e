/* scan.c: see gateway/scan.h. A recursive descent whose depth is bounded; the hot loop is the one over strings. */
#include "gateway/scan.h"

#include "base/encode.h"

#include <string.h>

typedef struct Cursor {
    const char *start, *at, *end;
    size_t depth;
    const char *code; /* why the scan stopped; NULL while all is well */
} Cursor;

typedef struct Wanted {
    Arena *arena;
    Member *members;
    size_t max, count;
} Wanted;

#define CODE_MALFORMED "json-malformed"
#define CODE_UTF8 "json-not-utf8"
#define CODE_DEEP "json-too-deep"
#define CODE_MANY "json-too-many-members"
#define CODE_DUPLICATE "json-duplicate-member"

static bool stop(Cursor *c, const char *code)
{
    c->code = code;
    return false;
}

static void skip_space(Cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

static bool take(Cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool is_hex(char x)
{
    return (x >= '0' && x <= '9') || (x >= 'a' && x <= 'f') || (x >= 'A' && x <= 'F');
}

static bool is_digit(char x)
{
    return x >= '0' && x <= '9';
}

/* One escape, c->at behind the backslash. */
static bool scan_escape(Cursor *c)
{
    if (c->at == c->end)
        return stop(c, CODE_MALFORMED);
    char kind = *c->at++;
    if (kind != 'u')
        return memchr("\"\\/bfnrt", kind, 8) != NULL || stop(c, CODE_MALFORMED);
    if (c->end - c->at < 4)
        return stop(c, CODE_MALFORMED);
    for (int i = 0; i < 4; i++)
        if (!is_hex(c->at[i]))
            return stop(c, CODE_MALFORMED);
    c->at += 4;
    return true;
}

/* One multi-byte character by RFC 3629: no overlong form, no surrogate, at most U+10FFFF. */
static bool scan_utf8(Cursor *c)
{
    const uint8_t *p = (const uint8_t *)c->at;
    size_t left = (size_t)(c->end - c->at);
    size_t len = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (len == 0 || left < len)
        return stop(c, CODE_UTF8);
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return stop(c, CODE_UTF8);
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
               (p[0] == 0xf4 && p[1] > 0x8f);
    if (bad)
        return stop(c, CODE_UTF8);
    c->at += len;
    return true;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))
#define HAS_ZERO(x) (((x)-EACH(0x01)) & ~(x)&EACH(0x80))

/* Skips eight bytes at a time while none of them ends a string, starts an escape, is a control or not ASCII. */
static void skip_plain(Cursor *c)
{
    while (c->end - c->at >= 8) {
        uint64_t word;
        memcpy(&word, c->at, sizeof word);
        uint64_t special = HAS_ZERO(word ^ EACH('"')) | HAS_ZERO(word ^ EACH('\\')) | (word & EACH(0x80)) |
                           ((word - EACH(0x20)) & ~word & EACH(0x80));
        if (special != 0)
            return;
        c->at += 8;
    }
}

/* A string, c->at behind its opening quote; *ret_escaped says whether it had an escape. */
static bool scan_string(Cursor *c, bool *ret_escaped)
{
    for (;;) {
        skip_plain(c);
        if (c->at == c->end)
            return stop(c, CODE_MALFORMED);
        uint8_t x = (uint8_t)*c->at;
        if (x == '"') {
            c->at++;
            return true;
        }
        if (x < 0x20)
            return stop(c, CODE_MALFORMED);
        if (x >= 0x80) {
            if (!scan_utf8(c))
                return false;
            continue;
        }
        c->at++;
        if (x != '\\')
            continue;
        *ret_escaped = true;
        if (!scan_escape(c))
            return false;
    }
}

static bool scan_digits(Cursor *c)
{
    const char *first = c->at;
    while (c->at < c->end && is_digit(*c->at))
        c->at++;
    return c->at > first || stop(c, CODE_MALFORMED);
}

static bool scan_number(Cursor *c)
{
    (void)take(c, '-');
    if (!take(c, '0') && !scan_digits(c))
        return false;
    if (take(c, '.') && !scan_digits(c))
        return false;
    if (take(c, 'e') || take(c, 'E')) {
        if (!take(c, '+'))
            (void)take(c, '-');
        return scan_digits(c);
    }
    return true;
}

static bool scan_word(Cursor *c, const char *word, size_t len)
{
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
        return stop(c, CODE_MALFORMED);
    c->at += len;
    return true;
}

static bool scan_any(Cursor *c, ScanKind *ret_kind, Wanted *wanted);

static bool scan_array(Cursor *c)
{
    ScanKind kind;
    skip_space(c);
    if (take(c, ']'))
        return true;
    do {
        if (!scan_any(c, &kind, NULL))
            return false;
        skip_space(c);
    } while (take(c, ','));
    return take(c, ']') || stop(c, CODE_MALFORMED);
}

static uint32_t hex4(const char *p)
{
    return (uint32_t)(hex_digit(p[0]) << 12 | hex_digit(p[1]) << 8 | hex_digit(p[2]) << 4 | hex_digit(p[3]));
}

static size_t utf8_put(char *out, uint32_t point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* The code point of \uXXXX at p (its first digit), taking a following low surrogate with it. */
static uint32_t unicode_escape(const char **p, const char *end)
{
    uint32_t point = hex4(*p);
    *p += 4;
    if (point < 0xd800 || point > 0xdfff)
        return point;
    if (point < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = hex4(*p + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* Decodes the inside of a scanned string; decoding never makes it longer. */
static Str unescape(Arena *arena, Str inner)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *out = NEW(arena, char, inner.len + 1);
    size_t len = 0;
    const char *end = inner.ptr + inner.len;
    for (const char *p = inner.ptr; p < end;) {
        if (*p != '\\') {
            out[len++] = *p++;
        } else if (p[1] == 'u') {
            p += 2;
            len += utf8_put(out + len, unicode_escape(&p, end));
        } else {
            out[len++] = to[strchr(from, p[1]) - from];
            p += 2;
        }
    }
    return str_n(out, len);
}

static bool remember(Cursor *c, Wanted *wanted, Member member)
{
    if (wanted->count == wanted->max)
        return stop(c, CODE_MANY);
    if (member_find(wanted->members, wanted->count, member.name) != NULL)
        return stop(c, CODE_DUPLICATE);
    wanted->members[wanted->count++] = member;
    return true;
}

static bool scan_member(Cursor *c, Wanted *wanted)
{
    Member member = { 0 };
    bool escaped = false;
    skip_space(c);
    if (!take(c, '"'))
        return stop(c, CODE_MALFORMED);
    const char *name = c->at;
    if (!scan_string(c, &escaped))
        return false;
    member.name = str_n(name, (size_t)(c->at - 1 - name));
    skip_space(c);
    if (!take(c, ':'))
        return stop(c, CODE_MALFORMED);
    skip_space(c);
    const char *value = c->at;
    if (!scan_any(c, &member.kind, NULL))
        return false;
    if (wanted == NULL)
        return true;
    member.value = str_n(value, (size_t)(c->at - value));
    if (escaped)
        member.name = unescape(wanted->arena, member.name);
    return remember(c, wanted, member);
}

static bool scan_members(Cursor *c, Wanted *wanted)
{
    skip_space(c);
    if (take(c, '}'))
        return true;
    do {
        if (!scan_member(c, wanted))
            return false;
        skip_space(c);
    } while (take(c, ','));
    return take(c, '}') || stop(c, CODE_MALFORMED);
}

static bool scan_nested(Cursor *c, bool is_object, Wanted *wanted)
{
    if (c->depth == 0)
        return stop(c, CODE_DEEP);
    c->depth--;
    c->at++;
    bool good = is_object ? scan_members(c, wanted) : scan_array(c);
    c->depth++;
    return good;
}

static bool scan_any(Cursor *c, ScanKind *ret_kind, Wanted *wanted)
{
    bool escaped;
    skip_space(c);
    if (c->at == c->end)
        return stop(c, CODE_MALFORMED);
    switch (*c->at) {
    case '{':
        *ret_kind = SCAN_OBJECT;
        return scan_nested(c, true, wanted);
    case '[':
        *ret_kind = SCAN_ARRAY;
        return scan_nested(c, false, NULL);
    case '"':
        *ret_kind = SCAN_STRING;
        c->at++;
        return scan_string(c, &escaped);
    case 't':
        *ret_kind = SCAN_TRUE;
        return scan_word(c, "true", 4);
    case 'f':
        *ret_kind = SCAN_FALSE;
        return scan_word(c, "false", 5);
    case 'n':
        *ret_kind = SCAN_NULL;
        return scan_word(c, "null", 4);
    default:
        *ret_kind = SCAN_NUMBER;
        return scan_number(c);
    }
}

static Err scan_error(Arena *arena, const Cursor *c)
{
    static const struct {
        const char *code, *format;
    } sentences[] = {
        { CODE_MALFORMED, "The body is not valid JSON at byte %zu." },
        { CODE_UTF8, "The body is not UTF-8 at byte %zu." },
        { CODE_DEEP, "The body is nested too deep at byte %zu." },
        { CODE_MANY, "The body has too many members at byte %zu." },
        { CODE_DUPLICATE, "The body has a member twice; the second ends at byte %zu." },
    };
    size_t at = (size_t)(c->at - c->start);
    for (size_t i = 0; i < COUNT_OF(sentences); i++) {
        if (strcmp(sentences[i].code, c->code) != 0)
            continue;
        Err err = FAIL(ERR_INVALID, CODE_MALFORMED, "");
        err.code = str_from_c(c->code);
        Str head, tail, sentence = str_from_c(sentences[i].format);
        (void)str_cut(sentence, '%', &head, &tail);
        err.detail = arena_fmt(arena, STR_FMT "%zu" STR_FMT, STR_ARG(head), at, STR_ARG(str_skip(tail, 2)));
        return err;
    }
    return FAIL(ERR_INVALID, "json-malformed", "The body is not valid JSON.");
}

static Err scan_whole(Arena *arena, Str text, size_t depth_max, Wanted *wanted, ScanKind *ret_kind)
{
    static const char nothing[1] = "";
    const char *start = text.ptr == NULL ? nothing : text.ptr;
    Cursor c = { .start = start, .at = start, .end = start + text.len, .depth = depth_max };
    if (!scan_any(&c, ret_kind, wanted))
        return scan_error(arena, &c);
    skip_space(&c);
    if (c.at == c.end)
        return OK;
    (void)stop(&c, CODE_MALFORMED);
    return scan_error(arena, &c);
}

Err scan_object(Arena *arena, Str text, size_t depth_max, Member *members, size_t members_max, size_t *ret_count)
{
    ScanKind kind;
    Wanted wanted = { .arena = arena, .members = members, .max = members_max };
    TRY(scan_whole(arena, text, depth_max, &wanted, &kind));
    if (kind != SCAN_OBJECT)
        return FAIL(ERR_INVALID, "json-malformed", "The body is not a JSON object.");
    *ret_count = wanted.count;
    return OK;
}

Err scan_value(Arena *arena, Str text, size_t depth_max)
{
    ScanKind kind;
    return scan_whole(arena, text, depth_max, NULL, &kind);
}

const Member *member_find(const Member *members, size_t count, Str name)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].name.len == name.len && memcmp(members[i].name.ptr, name.ptr, name.len) == 0)
            return &members[i];
    return NULL;
}

Str member_str(Arena *arena, const Member *member)
{
    Str inner = str_n(member->value.ptr + 1, member->value.len - 2);
    return memchr(inner.ptr, '\\', inner.len) == NULL ? inner : unescape(arena, inner);
}

bool member_i64(const Member *member, int64_t *ret_value)
{
    return member->kind == SCAN_NUMBER && member->value.len <= 18 && str_to_i64(member->value, ret_value);
}
