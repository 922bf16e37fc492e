/* url_fuzz.c: what url_decode accepts is UTF-8, never a dot segment, and holds no byte that an escape may not name. */
#include "http/server.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str raw = str_n((const char *)data, size), text, value;
    if (url_decode(arena, raw, &text).kind == ERR_NONE) {
        if (!str_is_utf8(text) || str_eq(text, STR(".")) || str_eq(text, STR("..")) || text.len > raw.len)
            abort();
        if (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)
            abort();
        if (memchr(raw.ptr == NULL ? "" : raw.ptr, '/', raw.len) == NULL && str_contains(text, STR("/")))
            abort();
    }
    if (query_get(arena, raw, STR("a"), &value).kind == ERR_NONE && value.ptr != NULL && !str_is_utf8(value))
        abort();
    return 0;
}
