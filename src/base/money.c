/* money.c: see money.h. */
#include "base/money.h"

#define DECIMALS 12

static Err bad_money(void)
{
    return FAIL(ERR_INVALID, "bad-money", "must be a decimal number of dollars with at most 12 decimals");
}

Str money_sum_digits(Arena *arena, MoneySum sum)
{
    char digits[48];
    size_t at = sizeof(digits);
    bool negative = sum.pico < 0;
    Int128 rest = sum.pico;
    do {
        int digit = (int)(rest % 10);
        digits[--at] = (char)('0' + (digit < 0 ? -digit : digit));
        rest /= 10;
    } while (rest != 0);
    if (negative)
        digits[--at] = '-';
    return arena_str(arena, str_n(digits + at, sizeof(digits) - at));
}

Str money_sum_format(Arena *arena, MoneySum sum)
{
    Str digits = money_sum_digits(arena, sum);
    bool negative = str_starts_with(digits, STR("-"));
    digits = negative ? str_skip(digits, 1) : digits;
    while (digits.len <= DECIMALS) /* "37500000" is 0.0000375 dollars */
        digits = arena_fmt(arena, "%0*d" STR_FMT, (int)(DECIMALS + 1 - digits.len), 0, STR_ARG(digits));
    Str whole = str_first(digits, digits.len - DECIMALS), part = str_skip(digits, digits.len - DECIMALS);
    while (part.len > 0 && part.ptr[part.len - 1] == '0')
        part.len--;
    return arena_fmt(
        arena, "%s" STR_FMT "%s" STR_FMT, negative ? "-" : "", STR_ARG(whole), part.len > 0 ? "." : "", STR_ARG(part));
}

Str money_format(Arena *arena, Money money)
{
    return money_sum_format(arena, (MoneySum){ money.pico });
}

static bool add_digit(Int128 *value, char c, bool negative)
{
    if (c < '0' || c > '9')
        return false;
    return !__builtin_mul_overflow(*value, 10, value) &&
           !__builtin_add_overflow(*value, negative ? -(c - '0') : c - '0', value);
}

static bool add_digits(Int128 *value, Str digits, bool negative)
{
    for (size_t i = 0; i < digits.len; i++)
        if (!add_digit(value, digits.ptr[i], negative))
            return false;
    return true;
}

Err money_sum_parse(Str text, MoneySum *ret_sum)
{
    bool negative = str_starts_with(text, STR("-"));
    Str whole, part, rest = negative ? str_skip(text, 1) : text;
    bool has_point = str_cut(rest, '.', &whole, &part);
    Int128 value = 0;
    if (whole.len == 0 || (has_point && part.len == 0) || part.len > DECIMALS || !add_digits(&value, whole, negative) ||
        !add_digits(&value, part, negative))
        return bad_money();
    for (size_t i = part.len; i < DECIMALS; i++)
        if (!add_digit(&value, '0', negative))
            return bad_money();
    ret_sum->pico = value;
    return OK;
}

Err money_parse(Str text, Money *ret_money)
{
    MoneySum sum;
    TRY(money_sum_parse(text, &sum));
    if (sum.pico > INT64_MAX || sum.pico < INT64_MIN)
        return bad_money();
    ret_money->pico = (int64_t)sum.pico;
    return OK;
}

Err money_sum_from_digits(Str digits, MoneySum *ret_sum)
{
    bool negative = str_starts_with(digits, STR("-"));
    Str rest = negative ? str_skip(digits, 1) : digits;
    Int128 value = 0;
    if (rest.len == 0 || !add_digits(&value, rest, negative))
        return FAIL(ERR_INVALID, "bad-money", "must be an integer number of picodollars");
    ret_sum->pico = value;
    return OK;
}

Err money_times(int64_t quantity, Money rate, Money *ret_amount)
{
    int64_t amount;
    if (__builtin_mul_overflow(quantity, rate.pico, &amount))
        return FAIL(ERR_INVALID, "amount-overflow", "The amount does not fit 64 bits of picodollars.");
    ret_amount->pico = amount;
    return OK;
}
