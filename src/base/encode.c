/* encode.c: see encode.h. */
#include "base/encode.h"

#include <pthread.h>
#include <string.h>

static const char STANDARD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

Str hex_encode(Arena *arena, Bytes bytes)
{
    static const char HEX[] = "0123456789abcdef";
    char *text = arena_alloc(arena, bytes.len * 2 + 1, 1);
    for (size_t i = 0; i < bytes.len; i++) {
        text[i * 2] = HEX[bytes.ptr[i] >> 4];
        text[i * 2 + 1] = HEX[bytes.ptr[i] & 15];
    }
    return str_n(text, bytes.len * 2);
}

int hex_digit_lower(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_digit(char c)
{
    return hex_digit_lower(c >= 'A' && c <= 'F' ? (char)(c + ('a' - 'A')) : c);
}

Err hex_decode(Arena *arena, Str text, Bytes *ret_bytes)
{
    uint8_t *bytes = arena_alloc(arena, text.len / 2 + 1, 1);
    bool bad = text.len % 2 != 0;
    for (size_t i = 0; !bad && i < text.len / 2; i++) {
        int high = hex_digit_lower(text.ptr[i * 2]), low = hex_digit_lower(text.ptr[i * 2 + 1]);
        bad = high < 0 || low < 0;
        bytes[i] = (uint8_t)(bad ? 0 : high << 4 | low);
    }
    if (bad)
        return FAIL(ERR_INVALID, "bad-hex", "must be lower-case hexadecimal");
    *ret_bytes = (Bytes){ .ptr = bytes, .len = text.len / 2 };
    return OK;
}

/* Writes the digits without padding; returns how many. */
static size_t encode64(const char *alphabet, Bytes bytes, char *out)
{
    size_t at = 0, i = 0;
    for (; i + 3 <= bytes.len; i += 3) {
        uint32_t bits = (uint32_t)bytes.ptr[i] << 16 | (uint32_t)bytes.ptr[i + 1] << 8 | bytes.ptr[i + 2];
        out[at++] = alphabet[bits >> 18];
        out[at++] = alphabet[bits >> 12 & 63];
        out[at++] = alphabet[bits >> 6 & 63];
        out[at++] = alphabet[bits & 63];
    }
    size_t rest = bytes.len - i;
    if (rest > 0) {
        uint32_t bits = (uint32_t)bytes.ptr[i] << 16 | (rest == 2 ? (uint32_t)bytes.ptr[i + 1] << 8 : 0);
        out[at++] = alphabet[bits >> 18];
        out[at++] = alphabet[bits >> 12 & 63];
        if (rest == 2)
            out[at++] = alphabet[bits >> 6 & 63];
    }
    return at;
}

size_t base64url_write(char *out, Bytes bytes)
{
    return encode64(URL, bytes, out);
}

Str base64url_encode(Arena *arena, Bytes bytes)
{
    char *text = arena_alloc(arena, bytes.len / 3 * 4 + 5, 1);
    return str_n(text, encode64(URL, bytes, text));
}

Str base64_encode(Arena *arena, Bytes bytes)
{
    char *text = arena_alloc(arena, bytes.len / 3 * 4 + 5, 1);
    size_t len = encode64(STANDARD, bytes, text);
    while (len % 4 != 0)
        text[len++] = '=';
    return str_n(text, len);
}

static int value64(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* Decodes digits without padding; false on a foreign character, a lone last digit or set bits behind the end. */
static bool decode64(Str digits, bool url, uint8_t *out)
{
    uint32_t bits = 0;
    int held = 0;
    if (digits.len % 4 == 1)
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        int value = value64(digits.ptr[i], url);
        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *out++ = (uint8_t)(bits >> held);
        }
    }
    return (bits & ((1u << held) - 1)) == 0;
}

static size_t decoded_len(Str digits)
{
    return digits.len / 4 * 3 + (digits.len % 4 == 0 ? 0 : digits.len % 4 - 1);
}

static Err bad64(void)
{
    return FAIL(ERR_INVALID, "bad-base64", "must be canonical base64");
}

Err base64url_decode(Arena *arena, Str text, Bytes *ret_bytes)
{
    uint8_t *bytes = arena_alloc(arena, text.len / 4 * 3 + 4, 1);
    if (!decode64(text, true, bytes))
        return FAIL(ERR_INVALID, "bad-base64", "must be canonical base64url without padding");
    *ret_bytes = (Bytes){ .ptr = bytes, .len = decoded_len(text) };
    return OK;
}

Err base64url_decode_into(Str text, uint8_t *out, size_t len)
{
    if (text.len % 4 == 1 || decoded_len(text) != len || !decode64(text, true, out))
        return FAIL(ERR_INVALID, "bad-base64", "must be canonical base64url of the right length");
    return OK;
}

Err base64_decode(Arena *arena, Str text, Bytes *ret_bytes)
{
    if (text.len % 4 != 0)
        return bad64();
    Str digits = text;
    for (int i = 0; i < 2 && digits.len > 0 && digits.ptr[digits.len - 1] == '='; i++)
        digits.len--;
    uint8_t *bytes = arena_alloc(arena, text.len / 4 * 3 + 4, 1);
    if (!decode64(digits, false, bytes))
        return bad64();
    *ret_bytes = (Bytes){ .ptr = bytes, .len = decoded_len(digits) };
    return OK;
}

/* crc_tables[n][x]: what byte x does to the remainder n bytes later, so that eight bytes are taken at a step. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void fill_crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = (value & 1) != 0 ? 0xedb88320u ^ value >> 1 : value >> 1;
        crc_tables[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int n = 1; n < 8; n++)
            crc_tables[n][i] = crc_tables[n - 1][i] >> 8 ^ crc_tables[0][crc_tables[n - 1][i] & 0xff];
}

static uint32_t crc_eight(uint32_t crc, const uint8_t *p)
{
    crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return crc_tables[7][crc & 0xff] ^ crc_tables[6][crc >> 8 & 0xff] ^ crc_tables[5][crc >> 16 & 0xff] ^
           crc_tables[4][crc >> 24] ^ crc_tables[3][p[4]] ^ crc_tables[2][p[5]] ^ crc_tables[1][p[6]] ^
           crc_tables[0][p[7]];
}

uint32_t crc32_add(uint32_t crc, Bytes bytes)
{
    pthread_once(&crc_once, fill_crc_tables);
    size_t i = 0;
    crc = ~crc;
    for (; i + 8 <= bytes.len; i += 8)
        crc = crc_eight(crc, bytes.ptr + i);
    for (; i < bytes.len; i++)
        crc = crc_tables[0][(crc ^ bytes.ptr[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

uint32_t crc32_of(Bytes bytes)
{
    return crc32_add(0, bytes);
}
