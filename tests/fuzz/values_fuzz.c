/* values_fuzz.c: the small texts of strangers: times, ids, money, durations, base64. What is accepted is canonical. */
#include "base/encode.h"
#include "base/id.h"
#include "base/money.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = str_n((const char *)data, size);
    Time time, time_again;
    Uuid id;
    MoneySum sum, sum_again;
    Bytes bytes;
    int64_t seconds;
    if (time_parse(text, &time).kind == ERR_NONE &&
        (time_parse(time_format(arena, time), &time_again).kind != ERR_NONE || time.us != time_again.us))
        die("a time changed");
    if (typeid_parse(text, STR("prj"), &id).kind == ERR_NONE && !str_eq(typeid_format(arena, STR("prj"), id), text))
        die("an id has two spellings");
    if (money_sum_parse(text, &sum).kind == ERR_NONE &&
        (money_sum_parse(money_sum_format(arena, sum), &sum_again).kind != ERR_NONE || sum.pico != sum_again.pico))
        die("an amount changed");
    if (base64url_decode(arena, text, &bytes).kind == ERR_NONE && !str_eq(base64url_encode(arena, bytes), text))
        die("base64url has two spellings");
    if (base64_decode(arena, text, &bytes).kind == ERR_NONE && !str_eq(base64_encode(arena, bytes), text))
        die("base64 has two spellings");
    if (duration_parse(text, &seconds).kind == ERR_NONE && seconds <= 0)
        die("a duration is not positive");
    return 0;
}
