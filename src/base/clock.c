/* clock.c: see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        die("no clock");
    return now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

Time time_now(void)
{
    return (Time){ clock_us(CLOCK_REALTIME) };
}

int64_t monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

Time time_add_s(Time time, int64_t seconds)
{
    int64_t us;
    if (__builtin_mul_overflow(seconds, US_PER_S, &us) || __builtin_add_overflow(time.us, us, &us))
        us = seconds < 0 ? INT64_MIN : INT64_MAX;
    return (Time){ us };
}

bool time_is_none(Time time)
{
    return time.us == 0;
}

bool time_before(Time a, Time b)
{
    return a.us < b.us;
}

/* Days since 1970-01-01 of a proleptic Gregorian date: eras of 400 years that begin in March. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

Time time_from_civil(CivilTime c)
{
    int64_t seconds = days_of(c.year, c.month, c.day) * 86400 + c.hour * 3600 + c.minute * 60 + c.second;
    return (Time){ seconds * US_PER_S + c.microsecond };
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

CivilTime time_civil(Time time)
{
    int64_t days = floor_div(time.us, US_PER_DAY);
    int64_t rest = time.us - days * US_PER_DAY;
    int64_t z = days + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (CivilTime){
        .year = (int)(yoe + era * 400 + (month <= 2)),
        .month = month,
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(rest / US_PER_HOUR),
        .minute = (int)(rest / (60 * US_PER_S) % 60),
        .second = (int)(rest / US_PER_S % 60),
        .microsecond = (int)(rest % US_PER_S),
    };
}

/* Reads exactly `digits` digits at *at; -1 when there are none. */
static int read_digits(Str text, size_t *at, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (*at >= text.len || text.ptr[*at] < '0' || text.ptr[*at] > '9')
            return -1;
        value = value * 10 + (text.ptr[*at] - '0');
    }
    return value;
}

static bool read_char(Str text, size_t *at, char c)
{
    return *at < text.len && text.ptr[(*at)++] == c;
}

static int days_in_month(int year, int month)
{
    static const int DAYS[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : DAYS[month - 1];
}

static bool read_fraction(Str text, size_t *at, int *ret_us)
{
    if (*at >= text.len || text.ptr[*at] != '.')
        return true;
    (*at)++;
    int value = 0, digits = 0;
    for (; *at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9'; (*at)++, digits++)
        value = digits < 6 ? value * 10 + (text.ptr[*at] - '0') : value;
    for (int i = digits; i < 6; i++)
        value *= 10;
    *ret_us = value;
    return digits >= 1 && digits <= 6;
}

static bool read_civil(Str text, CivilTime *c)
{
    size_t at = 0;
    return (c->year = read_digits(text, &at, 4)) >= 1970 && read_char(text, &at, '-') &&
           (c->month = read_digits(text, &at, 2)) >= 1 && c->month <= 12 && read_char(text, &at, '-') &&
           (c->day = read_digits(text, &at, 2)) >= 1 && c->day <= days_in_month(c->year, c->month) &&
           read_char(text, &at, 'T') && (c->hour = read_digits(text, &at, 2)) >= 0 && c->hour <= 23 &&
           read_char(text, &at, ':') && (c->minute = read_digits(text, &at, 2)) >= 0 && c->minute <= 59 &&
           read_char(text, &at, ':') && (c->second = read_digits(text, &at, 2)) >= 0 && c->second <= 59 &&
           read_fraction(text, &at, &c->microsecond) && read_char(text, &at, 'Z') && at == text.len;
}

Err time_parse(Str text, Time *ret_time)
{
    CivilTime civil = { 0 };
    if (!read_civil(text, &civil))
        return FAIL(ERR_INVALID, "bad-time", "must be an RFC 3339 time in UTC");
    *ret_time = time_from_civil(civil);
    return OK;
}

Str time_format(Arena *arena, Time time)
{
    CivilTime c = time_civil(time);
    if (c.microsecond == 0)
        return arena_fmt(arena, "%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month, c.day, c.hour, c.minute, c.second);
    return arena_fmt(arena, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", c.year, c.month, c.day, c.hour, c.minute, c.second,
        c.microsecond);
}

Err duration_parse(Str text, int64_t *ret_seconds)
{
    static const struct {
        char unit;
        int64_t seconds;
    } UNITS[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
    int64_t count, seconds;
    for (size_t i = 0; text.len >= 2 && i < COUNT_OF(UNITS); i++) {
        if (text.ptr[text.len - 1] != UNITS[i].unit)
            continue;
        if (!str_to_i64(str_first(text, text.len - 1), &count) || count <= 0 ||
            __builtin_mul_overflow(count, UNITS[i].seconds, &seconds))
            break;
        *ret_seconds = seconds;
        return OK;
    }
    return FAIL(ERR_INVALID, "bad-duration", "must be a whole number and a unit of s, m, h, d or w, such as 15m");
}
