/*
 * id.h: UUIDv7 (RFC 9562) and TypeIDs, their form for people: a prefix of the kind and 26 characters of Crockford
 * base32 (`prj_01h455vb4pex5vsknk084sn02q`). SQL holds uuid; JSON and paths hold TypeIDs.
 *
 * The prefixes in use: org prj mem sva tok sec con wfl rev cky flt dpl evt aud job prc pln run req ins key
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include "base/clock.h"

typedef struct Uuid {
    uint8_t b[16];
} Uuid;

typedef struct Uuids {
    Uuid *items;
    size_t count;
} Uuids;

#define TYPEID_PREFIX_MAX 8
#define TYPEID_LEN_MAX (TYPEID_PREFIX_MAX + 1 + 26)

Uuid uuid_v7(Time now); /* time of now, 74 random bits from the kernel; rises within a thread for equal times */
bool uuid_is_zero(Uuid id);
bool uuid_eq(Uuid a, Uuid b);
int uuid_compare(Uuid a, Uuid b);
Time uuid_time(Uuid id); /* the millisecond inside a v7 id */
bool uuid_is_v7(Uuid id);

Str uuid_format(Arena *arena, Uuid id); /* 8-4-4-4-12 lower-case hex */
CHECKED Err uuid_parse(Str text, Uuid *ret_id);

Str typeid_format(Arena *arena, Str prefix, Uuid id);
/* Refuses another prefix, upper case, a wrong length and the 27th bit: ERR_INVALID, code "bad-id". */
CHECKED Err typeid_parse(Str text, Str prefix, Uuid *ret_id);

void random_bytes(void *ptr, size_t len); /* from the kernel; cannot fail (dies) */
uint64_t random_below(uint64_t bound);    /* uniform in [0, bound) */

#endif
