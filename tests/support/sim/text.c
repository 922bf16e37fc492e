#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool text_eq(Text a, Text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool text_eq_nocase(Text a, Text b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

bool text_starts(Text text, Text prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.ptr, prefix.ptr, prefix.len) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

Text text_trim(Text text)
{
    while (text.len && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

Text text_of(const char *c_string)
{
    return (Text){ c_string, c_string ? strlen(c_string) : 0 };
}

bool text_int(Text text, int64_t *ret_value)
{
    int64_t value = 0;
    if (text.len == 0 || text.len > 18)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (text.ptr[i] - '0');
    }
    *ret_value = value;
    return true;
}

Text text_split(Text *rest, char separator)
{
    const char *found = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    Text part = *rest;
    if (!found) {
        *rest = (Text){ NULL, 0 };
        return part;
    }
    part.len = (size_t)(found - rest->ptr);
    rest->len -= part.len + 1;
    rest->ptr = found + 1;
    return part;
}

void text_copy(char *array, size_t size, Text text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    if (len)
        memcpy(array, text.ptr, len);
    array[len] = '\0';
}

void buf_release(Buf *buf)
{
    free(buf->ptr);
    *buf = (Buf){ 0 };
}

void buf_reserve(Buf *buf, size_t more)
{
    if (buf->size - buf->len >= more)
        return;
    size_t size = buf->size ? buf->size : 512;
    while (size - buf->len < more)
        size *= 2;
    if (size > BUF_BYTES_MAX) {
        fprintf(stderr, "reeve-sim: a buffer would exceed %zu bytes\n", BUF_BYTES_MAX);
        abort();
    }
    char *ptr = realloc(buf->ptr, size);
    if (!ptr)
        abort();
    buf->ptr = ptr;
    buf->size = size;
}

void buf_put(Buf *buf, Text text)
{
    if (text.len == 0)
        return;
    buf_reserve(buf, text.len);
    memcpy(buf->ptr + buf->len, text.ptr, text.len);
    buf->len += text.len;
}

void buf_int(Buf *buf, int64_t value)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (value < 0)
        *--at = '-';
    buf_put(buf, (Text){ at, (size_t)(digits + sizeof digits - at) });
}

void buf_hex(Buf *buf, uint64_t value, int digits)
{
    buf_reserve(buf, (size_t)digits);
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
        buf->ptr[buf->len++] = "0123456789abcdef"[(value >> shift) & 15];
}

void buf_quote(Buf *buf, Text text)
{
    PUT(buf, "\"");
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_put(buf, (Text){ text.ptr + from, i - from });
        PUT(buf, "\\u00");
        buf_hex(buf, c, 2);
        from = i + 1;
    }
    buf_put(buf, (Text){ text.ptr + from, text.len - from });
    PUT(buf, "\"");
}

void buf_drop(Buf *buf, size_t count)
{
    if (count >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->ptr, buf->ptr + count, buf->len - count);
    buf->len -= count;
}

Text buf_text(const Buf *buf)
{
    return (Text){ buf->ptr, buf->len };
}
