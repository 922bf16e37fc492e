/* id.c: see id.h. */
#include "base/id.h"

#include "base/encode.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define TYPEID_DIGITS 26

static const char CROCKFORD[] = "0123456789abcdefghjkmnpqrstvwxyz";

void random_bytes(void *ptr, size_t len)
{
    unsigned char *at = ptr;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno != EINTR)
            die("the kernel gives no random bytes");
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

uint64_t random_below(uint64_t bound)
{
    if (bound < 2)
        return 0;
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound, value;
    do
        random_bytes(&value, sizeof(value));
    while (value >= limit);
    return value % bound;
}

/* Random bytes for ids: drawn from the kernel in blocks, so that an id is not a system call. */
static void id_bytes(uint8_t *out, size_t len)
{
    static _Thread_local uint8_t pool[512];
    static _Thread_local size_t left;
    if (left < len) {
        random_bytes(pool, sizeof(pool));
        left = sizeof(pool);
    }
    memcpy(out, pool + sizeof(pool) - left, len);
    explicit_bzero(pool + sizeof(pool) - left, len);
    left -= len;
}

Uuid uuid_v7(Time now)
{
    /* For one asked millisecond, the time and the 12 bits behind it count up as one number, so that ids rise. */
    static _Thread_local uint64_t asked_ms, stamp; /* stamp: 48 bits of time, 12 of count */
    Uuid id;
    uint64_t ms = (uint64_t)(now.us / US_PER_MS);
    id_bytes(id.b, sizeof(id.b));
    uint64_t random_count = (uint64_t)(id.b[6] & 0x07) << 8 | id.b[7]; /* the upper half is left to count into */
    stamp = ms == asked_ms ? stamp + 1 : ms << 12 | random_count;
    asked_ms = ms;
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(stamp >> (12 + 8 * (5 - i)));
    id.b[6] = (uint8_t)(0x70 | (stamp >> 8 & 0x0f));
    id.b[7] = (uint8_t)stamp;
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return id;
}

bool uuid_is_zero(Uuid id)
{
    return uuid_eq(id, (Uuid){ { 0 } });
}

bool uuid_eq(Uuid a, Uuid b)
{
    return memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

int uuid_compare(Uuid a, Uuid b)
{
    return memcmp(a.b, b.b, sizeof(a.b));
}

Time uuid_time(Uuid id)
{
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.b[i];
    return (Time){ ms * US_PER_MS };
}

bool uuid_is_v7(Uuid id)
{
    return (id.b[6] & 0xf0) == 0x70 && (id.b[8] & 0xc0) == 0x80;
}

Str uuid_format(Arena *arena, Uuid id)
{
    static const char HEX[] = "0123456789abcdef";
    char *text = arena_alloc(arena, 37, 1);
    size_t at = 0;
    for (size_t i = 0; i < sizeof(id.b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        text[at++] = HEX[id.b[i] >> 4];
        text[at++] = HEX[id.b[i] & 15];
    }
    return str_n(text, at);
}

Err uuid_parse(Str text, Uuid *ret_id)
{
    Err bad = FAIL(ERR_INVALID, "bad-id", "must be a UUID in lower-case hexadecimal");
    Uuid id;
    size_t at = 0;
    if (text.len != 36)
        return bad;
    for (size_t i = 0; i < sizeof(id.b); i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && text.ptr[at++] != '-')
            return bad;
        int high = hex_digit_lower(text.ptr[at]), low = hex_digit_lower(text.ptr[at + 1]);
        if (high < 0 || low < 0)
            return bad;
        id.b[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    *ret_id = id;
    return OK;
}

Str typeid_format(Arena *arena, Str prefix, Uuid id)
{
    char *text = arena_alloc(arena, prefix.len + 1 + TYPEID_DIGITS + 1, 1);
    if (prefix.len > 0)
        memcpy(text, prefix.ptr, prefix.len);
    text[prefix.len] = '_';
    char *digits = text + prefix.len + 1;
    /* 128 bits in 26 digits of 5: the first digit carries the upper 3. */
    __extension__ unsigned __int128 bits = 0;
    for (size_t i = 0; i < sizeof(id.b); i++)
        bits = bits << 8 | id.b[i];
    for (int i = TYPEID_DIGITS - 1; i >= 0; i--, bits >>= 5)
        digits[i] = CROCKFORD[(unsigned)bits & 31];
    return str_n(text, prefix.len + 1 + TYPEID_DIGITS);
}

Err typeid_parse(Str text, Str prefix, Uuid *ret_id)
{
    Err bad = FAIL(ERR_INVALID, "bad-id", "is not an id of the expected kind");
    if (text.len != prefix.len + 1 + TYPEID_DIGITS || !str_starts_with(text, prefix) || text.ptr[prefix.len] != '_')
        return bad;
    Uuid id = { { 0 } };
    Str digits = str_skip(text, prefix.len + 1);
    for (int i = 0; i < TYPEID_DIGITS; i++) {
        const char *at = digits.ptr[i] == 0 ? NULL : strchr(CROCKFORD, digits.ptr[i]);
        if (at == NULL)
            return bad;
        unsigned value = (unsigned)(at - CROCKFORD);
        if (i == 0 && value > 7)
            return bad;
        int low_bit = (TYPEID_DIGITS - 1 - i) * 5;
        for (int bit = 0; bit < 5; bit++)
            if ((value >> bit & 1) != 0)
                id.b[15 - (low_bit + bit) / 8] |= (uint8_t)(1u << ((low_bit + bit) % 8));
    }
    *ret_id = id;
    return OK;
}
