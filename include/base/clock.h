/*
 * clock.h: points in time as microseconds since 1970-01-01 UTC, and a clock that only goes forward.
 *
 * Time zero is "no time" (null in JSON and SQL). JSON carries RFC 3339 with `Z`; SQL carries timestamptz in binary.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/arena.h"

typedef struct Time {
    int64_t us;
} Time;

#define TIME_NONE ((Time){ 0 })
#define US_PER_S INT64_C(1000000)
#define US_PER_MS INT64_C(1000)
#define US_PER_HOUR (INT64_C(3600) * US_PER_S)
#define US_PER_DAY (INT64_C(86400) * US_PER_S)

Time time_now(void);        /* wall clock */
int64_t monotonic_us(void); /* never goes back; unrelated to Time */
Time time_add_s(Time time, int64_t seconds);
bool time_is_none(Time time);
bool time_before(Time a, Time b);

/* RFC 3339 in UTC, "2026-11-20T18:30:00.123456Z": up to six decimals, years 1970 to 9999, upper-case T and Z. */
CHECKED Err time_parse(Str text, Time *ret_time);
Str time_format(Arena *arena, Time time); /* six decimals only when there are any: ".123456Z" or "Z" */

typedef struct CivilTime {
    int year, month, day, hour, minute, second, microsecond;
} CivilTime;
CivilTime time_civil(Time time);
Time time_from_civil(CivilTime civil);

/* "90s", "15m", "24h", "7d": a positive whole number of seconds. */
CHECKED Err duration_parse(Str text, int64_t *ret_seconds);

#endif
