/* str.c: see str.h. */
#include "base/str.h"

#include <string.h>

Str str_from_c(const char *c)
{
    return c == NULL ? (Str){ 0 } : (Str){ .ptr = c, .len = strlen(c) };
}

Str str_n(const char *ptr, size_t len)
{
    return (Str){ .ptr = ptr, .len = len };
}

Bytes str_bytes(Str s)
{
    return (Bytes){ .ptr = (const uint8_t *)s.ptr, .len = s.len };
}

Str bytes_str(Bytes b)
{
    return (Str){ .ptr = (const char *)b.ptr, .len = b.len };
}

bool str_is_empty(Str s)
{
    return s.len == 0;
}

bool str_eq(Str a, Str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool bytes_eq(Bytes a, Bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool str_eq_nocase(Str a, Str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

int str_compare(Str a, Str b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.ptr, b.ptr, shorter);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool str_starts_with(Str s, Str prefix)
{
    return s.len >= prefix.len && str_eq(str_first(s, prefix.len), prefix);
}

bool str_ends_with(Str s, Str suffix)
{
    return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

bool str_contains(Str s, Str needle)
{
    return needle.len == 0 || (s.len >= needle.len && memmem(s.ptr, s.len, needle.ptr, needle.len) != NULL);
}

bool str_find(Str s, char c, size_t *ret_index)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);
    if (at == NULL)
        return false;
    *ret_index = (size_t)(at - s.ptr);
    return true;
}

Str str_skip(Str s, size_t n)
{
    if (n >= s.len)
        return (Str){ .ptr = s.ptr == NULL ? NULL : s.ptr + s.len, .len = 0 };
    return (Str){ .ptr = s.ptr + n, .len = s.len - n };
}

Str str_first(Str s, size_t n)
{
    return (Str){ .ptr = s.ptr, .len = n < s.len ? n : s.len };
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

Str str_trim(Str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = str_skip(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool str_cut(Str s, char sep, Str *ret_head, Str *ret_tail)
{
    size_t at;
    if (!str_find(s, sep, &at)) {
        *ret_head = s;
        *ret_tail = (Str){ 0 };
        return false;
    }
    Str head = str_first(s, at);
    *ret_tail = str_skip(s, at + 1);
    *ret_head = head;
    return true;
}

/* The length of the well-formed sequence at p, or 0 (Unicode 15, table 3-7). */
static size_t utf8_length(const uint8_t *p, size_t len)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return len >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        uint8_t low = p[0] == 0xe0 ? 0xa0 : 0x80;
        uint8_t high = p[0] == 0xed ? 0x9f : 0xbf;
        return len >= 3 && p[1] >= low && p[1] <= high && (p[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        uint8_t low = p[0] == 0xf0 ? 0x90 : 0x80;
        uint8_t high = p[0] == 0xf4 ? 0x8f : 0xbf;
        return len >= 4 && p[1] >= low && p[1] <= high && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 ? 4 : 0;
    }
    return 0;
}

bool str_is_utf8(Str s)
{
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t left = s.len;
    while (left >= 8) { /* eight plain ASCII bytes at a time */
        uint64_t word;
        memcpy(&word, p, 8);
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
        p += 8;
        left -= 8;
    }
    while (left > 0) {
        size_t step = utf8_length(p, left);
        if (step == 0)
            return false;
        p += step;
        left -= step;
    }
    return true;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool str_is_name(Str s)
{
    if (s.len < 1 || s.len > 64 || s.ptr[0] == '-' || s.ptr[0] == '_')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_name_char(s.ptr[i]))
            return false;
    return true;
}

bool str_to_i64(Str s, int64_t *ret_value)
{
    bool negative = str_starts_with(s, STR("-"));
    Str digits = negative ? str_skip(s, 1) : s;
    if (digits.len < 1 || digits.len > 19 || (digits.ptr[0] == '0' && (digits.len > 1 || negative)))
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        int digit = digits.ptr[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false; /* built downwards, so that INT64_MIN has room */
    }
    if (!negative && value == INT64_MIN)
        return false;
    *ret_value = negative ? value : -value;
    return true;
}
