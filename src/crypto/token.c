/*
 * token.c: making and recognising bearer credentials.
 */
#include "crypto/token.h"

#include "base/encode.h"
#include "base/id.h"

#include <string.h>

#define RANDOM_BYTES 32
#define RANDOM_DIGITS 43 /* 62^43 > 2^256 */
#define CHECK_DIGITS 6   /* 62^6 > 2^32 */
#define KIND_LEN_MAX 8
#define HINT_DIGITS 4

static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Writes the big-endian number in `number` (destroyed) as `digits` base62 digits. */
static void base62_write(uint8_t *number, size_t len, char *out, size_t digits)
{
    for (size_t d = digits; d-- > 0;) {
        unsigned rest = 0;
        for (size_t i = 0; i < len; i++) {
            rest = rest << 8 | number[i];
            number[i] = (uint8_t)(rest / 62);
            rest %= 62;
        }
        out[d] = alphabet[rest];
    }
}

static void checksum_write(Str head, char *out)
{
    uint32_t crc = crc32_of(str_bytes(head));
    uint8_t number[4] = { (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc };
    base62_write(number, sizeof(number), out, CHECK_DIGITS);
}

/* "rv_<kind>_" */
static size_t prefix_write(Str kind, char *out)
{
    memcpy(out, "rv_", 3);
    memcpy(out + 3, kind.ptr, kind.len);
    out[3 + kind.len] = '_';
    return 3 + kind.len + 1;
}

Err token_new(Str kind, Secret *ret_text)
{
    if (kind.len == 0 || kind.len > KIND_LEN_MAX)
        return FAIL(ERR_INTERNAL, "token-kind", "There is no such kind of token.");
    size_t prefix_len = 3 + kind.len + 1;
    _cleanup_(secret_release) Secret text = secret_new(prefix_len + RANDOM_DIGITS + CHECK_DIGITS);
    _cleanup_(secret_release) Secret random = secret_random(RANDOM_BYTES);
    char *out = (char *)text.ptr;
    prefix_write(kind, out);
    base62_write(random.ptr, RANDOM_BYTES, out + prefix_len, RANDOM_DIGITS);
    checksum_write(str_n(out, prefix_len + RANDOM_DIGITS), out + prefix_len + RANDOM_DIGITS);
    *ret_text = TAKE(text);
    return OK;
}

static bool is_base62(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
            return false;
    }
    return true;
}

Err token_check(Str kind, Str text)
{
    const Err malformed = FAIL(ERR_UNAUTHENTICATED, "token-malformed", "The token is not one of this service.");
    if (kind.len == 0 || kind.len > KIND_LEN_MAX)
        return malformed;
    char prefix[3 + KIND_LEN_MAX + 1];
    size_t prefix_len = prefix_write(kind, prefix);
    if (text.len != prefix_len + RANDOM_DIGITS + CHECK_DIGITS || !str_starts_with(text, str_n(prefix, prefix_len)) ||
        !is_base62(str_skip(text, prefix_len)))
        return malformed;
    char check[CHECK_DIGITS];
    checksum_write(str_first(text, prefix_len + RANDOM_DIGITS), check);
    /* Safe with an ordinary comparison: the checksum is public, it says nothing of whether the token exists. */
    if (!str_eq(str_skip(text, prefix_len + RANDOM_DIGITS), str_n(check, CHECK_DIGITS)))
        return malformed;
    return OK;
}

Digest token_digest(Str text)
{
    return digest_of(str_bytes(text));
}

Str token_hint(Arena *arena, Str text)
{
    Str rest = text, head, kind;
    if (!str_cut(rest, '_', &head, &rest) || !str_eq(head, STR("rv")) || !str_cut(rest, '_', &kind, &rest) ||
        kind.len > KIND_LEN_MAX)
        return arena_str(arena, STR("(not a token)"));
    return arena_fmt(arena, "rv_" STR_FMT "_" STR_FMT "…", STR_ARG(kind), STR_ARG(str_first(rest, HINT_DIGITS)));
}
