/* sse_fuzz.c: the events of a stream must not depend on how its bytes were split. */
#include "http/sse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_event(Str event, Str data, void *arg)
{
    Buf *seen = arg;
    buf_add(seen, event);
    buf_add_char(seen, 0);
    buf_add(seen, data);
    buf_add_char(seen, 0);
    return true;
}

static ErrKind read_by(size_t step, const uint8_t *data, size_t size, Buf *seen)
{
    Sse sse = sse_new(512, on_event, seen);
    Err err = OK;
    for (size_t at = 0; at < size && err.kind == ERR_NONE; at += step) {
        size_t n = size - at < step ? size - at : step;
        err = sse_feed(&sse, (Bytes){ .ptr = data + at, .len = n });
    }
    sse_release(&sse);
    return err.kind;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_release) Buf whole = buf_new(1 << 20), by_one = buf_new(1 << 20), by_seven = buf_new(1 << 20);
    ErrKind kind = read_by(size + 1, data, size, &whole);
    if (kind != read_by(1, data, size, &by_one) || !str_eq(buf_str(&whole), buf_str(&by_one)))
        abort();
    if (kind != read_by(7, data, size, &by_seven) || !str_eq(buf_str(&whole), buf_str(&by_seven)))
        abort();
    return 0;
}
