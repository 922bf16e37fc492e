/*
 * text.h: spans of bytes and one growing buffer, all the simulated provider needs of text.
 *
 * A Text borrows; a Buf owns. A Buf never grows beyond BUF_BYTES_MAX: reaching it is a bug of the caller, which
 * bounds what it reads, and ends the program.
 */
#ifndef SIM_TEXT_H
#define SIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUF_BYTES_MAX ((size_t)512 << 20)

typedef struct Text {
    const char *ptr;
    size_t len;
} Text;

#define TEXT_INIT(literal)                                                                                             \
    {                                                                                                                  \
        (literal), sizeof(literal) - 1                                                                                 \
    } /* in a static table */
#define TEXT(literal) ((Text)TEXT_INIT(literal))

typedef struct Buf {
    char *ptr;
    size_t len;
    size_t size;
} Buf;

bool text_eq(Text a, Text b);
bool text_eq_nocase(Text a, Text b);
bool text_starts(Text text, Text prefix);
Text text_trim(Text text);
Text text_of(const char *c_string);

/* The digits of a whole number from 0 up; false for anything else or more than eighteen digits. */
bool text_int(Text text, int64_t *ret_value);

/* The part before the separator; *rest moves behind it. An exhausted rest has a NULL ptr. */
Text text_split(Text *rest, char separator);

/* Copy into a fixed array, cut to fit, always terminated. */
void text_copy(char *array, size_t size, Text text);

void buf_release(Buf *buf);
void buf_reserve(Buf *buf, size_t more);
void buf_put(Buf *buf, Text text);
void buf_int(Buf *buf, int64_t value);
void buf_hex(Buf *buf, uint64_t value, int digits);
/* A JSON string with its quotes. */
void buf_quote(Buf *buf, Text text);
/* Drops the first bytes. */
void buf_drop(Buf *buf, size_t count);
Text buf_text(const Buf *buf);

#define PUT(buf, literal) buf_put((buf), TEXT(literal))

#endif
