/*
 * str.h: text and bytes as (pointer, length), never as a C string.
 *
 * A Str is borrowed: it does not say who owns what it points to. Strings made in an arena are also NUL-terminated
 * behind their length, so that an adapter (libpq, curl) needs no copy; a Str from elsewhere need not be.
 *
 *     if (str_eq(name, STR("summarize"))) log_info("met", "name", name);
 *     printf("name " STR_FMT "\n", STR_ARG(name));
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Str {
    const char *ptr;
    size_t len;
} Str;

/* Bytes that are not text: digests, ciphertexts, bodies. */
typedef struct Bytes {
    const uint8_t *ptr;
    size_t len;
} Bytes;

/* A list of Str, borrowed likewise. */
typedef struct Strs {
    Str *items;
    size_t count;
} Strs;

#define STR(literal) ((Str){ .ptr = "" literal, .len = sizeof(literal) - 1 })
#define STR_INIT(literal)                                                                                              \
    {                                                                                                                  \
        .ptr = "" literal, .len = sizeof(literal) - 1                                                                  \
    }
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).ptr == NULL ? "" : (s).ptr
#define BYTES_OF(array) ((Bytes){ .ptr = (const uint8_t *)(array), .len = sizeof(array) })

Str str_from_c(const char *c); /* NULL gives the empty Str */
Str str_n(const char *ptr, size_t len);
Bytes str_bytes(Str s); /* the same octets */
Str bytes_str(Bytes b); /* the same octets; the caller knows they are text */

bool str_is_empty(Str s);
bool str_eq(Str a, Str b);        /* not constant-time: never for secrets */
bool str_eq_nocase(Str a, Str b); /* ASCII letters only */
int str_compare(Str a, Str b);    /* bytewise; <0, 0, >0 */
bool bytes_eq(Bytes a, Bytes b);  /* not constant-time */
bool str_starts_with(Str s, Str prefix);
bool str_ends_with(Str s, Str suffix);
bool str_contains(Str s, Str needle);
bool str_find(Str s, char c, size_t *ret_index);
Str str_skip(Str s, size_t n);  /* without its first n bytes; empty when shorter */
Str str_first(Str s, size_t n); /* its first n bytes, or all of it */
Str str_trim(Str s);            /* without spaces and tabs at both ends */

/* Cuts s at the first `sep`: *ret_head before it, *ret_tail behind it. False, and head = s, tail empty, without one. */
bool str_cut(Str s, char sep, Str *ret_head, Str *ret_tail);

bool str_is_utf8(Str s); /* RFC 3629: no surrogates, no overlong forms, at most U+10FFFF */
bool str_is_name(Str s); /* a name people choose: 1 to 64 of [a-z0-9_-], starts with a letter or digit */
bool str_to_i64(
    Str s, int64_t *ret_value); /* decimal, optional '-', no spaces, no overflow, no "-0" or leading zeros */

#endif
