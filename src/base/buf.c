/* buf.c: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_BYTES_MIN ((size_t)256)

Buf buf_new(size_t max)
{
    return (Buf){ .max = max };
}

void buf_release(Buf *buf)
{
    if (buf->ptr != NULL)
        explicit_bzero(buf->ptr, buf->len);
    free(buf->ptr);
    *buf = (Buf){ .max = buf->max };
}

void buf_clear(Buf *buf)
{
    if (buf->ptr != NULL)
        explicit_bzero(buf->ptr, buf->len);
    buf->len = 0;
    buf->overflowed = false;
}

/* Not realloc: what it leaves behind would not be wiped. */
static void grow(Buf *buf, size_t needed)
{
    size_t capacity = buf->capacity < BUF_BYTES_MIN ? BUF_BYTES_MIN : buf->capacity;
    while (capacity < needed)
        capacity *= 2;
    char *ptr = malloc(capacity);
    if (ptr == NULL)
        die("out of memory (%zu bytes)", capacity);
    if (buf->ptr != NULL) {
        memcpy(ptr, buf->ptr, buf->len);
        explicit_bzero(buf->ptr, buf->len);
        free(buf->ptr);
    }
    buf->ptr = ptr;
    buf->capacity = capacity;
}

char *buf_reserve(Buf *buf, size_t len)
{
    if (buf->overflowed || len > buf->max || buf->len > buf->max - len) {
        buf->overflowed = true;
        return NULL;
    }
    if (buf->len + len > buf->capacity || buf->ptr == NULL)
        grow(buf, buf->len + len);
    return buf->ptr + buf->len;
}

void buf_used(Buf *buf, size_t len)
{
    buf->len += len;
}

void buf_add_bytes(Buf *buf, const void *ptr, size_t len)
{
    char *room = buf_reserve(buf, len);
    if (room == NULL || len == 0)
        return;
    memcpy(room, ptr, len);
    buf->len += len;
}

void buf_add(Buf *buf, Str s)
{
    buf_add_bytes(buf, s.ptr, s.len);
}

void buf_add_char(Buf *buf, char c)
{
    buf_add_bytes(buf, &c, 1);
}

void buf_fmt(Buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        die("bad format: %s", format);
    buf->max++; /* for vsnprintf's NUL, which is not counted */
    char *room = buf_reserve(buf, (size_t)len + 1);
    buf->max--;
    if (room != NULL) {
        vsnprintf(room, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

static void add_big_endian(Buf *buf, uint64_t value, int bytes)
{
    uint8_t out[8];
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    buf_add_bytes(buf, out, (size_t)bytes);
}

void buf_u16(Buf *buf, uint16_t value)
{
    add_big_endian(buf, value, 2);
}

void buf_u32(Buf *buf, uint32_t value)
{
    add_big_endian(buf, value, 4);
}

void buf_u64(Buf *buf, uint64_t value)
{
    add_big_endian(buf, value, 8);
}

void buf_drop(Buf *buf, size_t len)
{
    if (len > buf->len)
        die("dropping %zu bytes of %zu", len, buf->len);
    if (len == 0)
        return;
    memmove(buf->ptr, buf->ptr + len, buf->len - len);
    explicit_bzero(buf->ptr + (buf->len - len), len);
    buf->len -= len;
}

bool buf_overflowed(const Buf *buf)
{
    return buf->overflowed;
}

Str buf_str(const Buf *buf)
{
    return str_n(buf->ptr, buf->len);
}

Reader reader_of(Bytes b)
{
    return (Reader){ .ptr = b.ptr, .len = b.len };
}

Bytes read_bytes(Reader *reader, size_t len)
{
    if (reader->failed || len > reader->len) {
        reader->failed = true;
        return (Bytes){ 0 };
    }
    Bytes bytes = { .ptr = reader->ptr, .len = len };
    if (len > 0)
        reader->ptr += len;
    reader->len -= len;
    return bytes;
}

static uint64_t read_big_endian(Reader *reader, size_t len)
{
    Bytes bytes = read_bytes(reader, len);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len; i++)
        value = value << 8 | bytes.ptr[i];
    return value;
}

uint8_t read_u8(Reader *reader)
{
    return (uint8_t)read_big_endian(reader, 1);
}

uint16_t read_u16(Reader *reader)
{
    return (uint16_t)read_big_endian(reader, 2);
}

uint32_t read_u32(Reader *reader)
{
    return (uint32_t)read_big_endian(reader, 4);
}

uint64_t read_u64(Reader *reader)
{
    return read_big_endian(reader, 8);
}

bool reader_done(const Reader *reader)
{
    return !reader->failed && reader->len == 0;
}
