/*
 * buf.h: a growing buffer that must be given a maximum.
 *
 * Past its maximum a Buf takes nothing more and remembers so (buf_overflowed); the caller asks once, at the end.
 *
 *     _cleanup_(buf_release) Buf out = buf_new(64 * 1024);
 *     buf_add(&out, STR("{"));
 *     if (buf_overflowed(&out)) return FAIL(...);
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

typedef struct Buf {
    char *ptr;
    size_t len;
    size_t capacity;
    size_t max;
    bool overflowed;
} Buf;

Buf buf_new(size_t max);
void buf_release(Buf *buf); /* wipes and frees */
void buf_clear(Buf *buf);   /* empty again, memory kept, bytes wiped */
void buf_add(Buf *buf, Str s);
void buf_add_bytes(Buf *buf, const void *ptr, size_t len);
void buf_add_char(Buf *buf, char c);
void buf_fmt(Buf *buf, const char *format, ...) PRINTF(2, 3);
void buf_u16(Buf *buf, uint16_t value); /* big-endian */
void buf_u32(Buf *buf, uint32_t value);
void buf_u64(Buf *buf, uint64_t value);
char *buf_reserve(Buf *buf, size_t len); /* room for len more bytes, or NULL past the maximum; then buf_used */
void buf_used(Buf *buf, size_t len);
void buf_drop(Buf *buf, size_t len); /* removes the first len bytes */
bool buf_overflowed(const Buf *buf);
Str buf_str(const Buf *buf); /* borrowed until the next change */

/* Reading what buf_u16... wrote: a cursor over bytes whose every read says whether there was enough. */
typedef struct Reader {
    const uint8_t *ptr;
    size_t len;
    bool failed; /* sticky: a read past the end was tried */
} Reader;

Reader reader_of(Bytes b);
uint8_t read_u8(Reader *reader);
uint16_t read_u16(Reader *reader);
uint32_t read_u32(Reader *reader);
uint64_t read_u64(Reader *reader);
Bytes read_bytes(Reader *reader, size_t len);
bool reader_done(const Reader *reader); /* nothing failed and nothing is left: trailing bytes are an error */

#endif
