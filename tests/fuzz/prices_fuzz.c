/* Any bytes as a price list: no crash; no rate is negative, of nothing, or a token dearer than a cent. */
#include "base/json.h"
#include "ledger/import.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    PriceFile file;
    if (price_file_read(arena, str_n((const char *)data, size), &file).kind != ERR_NONE)
        return 0;
    const PriceRate *rates = file.rates.items;
    for (size_t i = 0; i < file.rates.count; i++) {
        assert(!rates[i].pico.set || rates[i].pico.value > 0);
        assert(!meter_is_tokens((Meter)rates[i].meter) || rates[i].pico.value <= INT64_C(10000000000));
    }
    PriceBook *book = price_book_new(file.rates, file.aliases, 1);
    price_book_free(&book);
    return 0;
}
