/*
 * money.h: amounts in integer picodollars (10^-12 USD). No floating point ever touches one.
 *
 * A line is a Money (int64: up to 9.2 million dollars); sums are MoneySum (128 bit, numeric(38,0) in SQL). JSON carries
 * a decimal string of dollars, exact, without trailing zeros: "0.0000375", "12", "-3.5". Member names end in `_usd`.
 */
#ifndef BASE_MONEY_H
#define BASE_MONEY_H

#include "base/arena.h"

typedef struct Money {
    int64_t pico;
} Money;

__extension__ typedef __int128 Int128;

typedef struct MoneySum {
    Int128 pico;
} MoneySum;

#define PICO_PER_USD INT64_C(1000000000000)

Str money_format(Arena *arena, Money money);
Str money_sum_format(Arena *arena, MoneySum sum);
/* At most 12 decimals; ERR_INVALID "bad-money" with more, on overflow, exponent, sign '+', spaces. */
CHECKED Err money_parse(Str text, Money *ret_money);
CHECKED Err money_sum_parse(Str text, MoneySum *ret_sum);
/* Integer text of picodollars, as numeric(38,0) prints it. */
Str money_sum_digits(Arena *arena, MoneySum sum);
CHECKED Err money_sum_from_digits(Str digits, MoneySum *ret_sum);
/* quantity * rate, exact; ERR_INVALID "amount-overflow" beyond int64. */
CHECKED Err money_times(int64_t quantity, Money rate, Money *ret_amount);

#endif
