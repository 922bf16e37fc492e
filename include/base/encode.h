/*
 * encode.h: hex, base64 and base64url, strict both ways: decoding refuses padding where there is none, white space,
 * trailing bytes and non-canonical last characters, so that one value has one spelling.
 */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include "base/arena.h"

Str hex_encode(Arena *arena, Bytes bytes); /* lower case */
int hex_digit(char c);                     /* 0 to 15; -1 of anything that is no hexadecimal digit */
int hex_digit_lower(char c);               /* upper case is none either */
CHECKED Err hex_decode(Arena *arena, Str text, Bytes *ret_bytes);
Str base64_encode(Arena *arena, Bytes bytes); /* RFC 4648 section 4, padded */
CHECKED Err base64_decode(Arena *arena, Str text, Bytes *ret_bytes);
Str base64url_encode(Arena *arena, Bytes bytes); /* section 5, no padding */
CHECKED Err base64url_decode(Arena *arena, Str text, Bytes *ret_bytes);
/* Decodes exactly len bytes into out. */
CHECKED Err base64url_decode_into(Str text, uint8_t *out, size_t len);
size_t base64url_write(char *out, Bytes bytes); /* out has room for (len * 4 + 2) / 3; returns the length */

uint32_t crc32_of(Bytes bytes); /* IEEE 802.3 (zlib's): torn records, token checksums */
uint32_t crc32_add(uint32_t crc, Bytes bytes);

#endif
