/* Any bytes as a batch of usage events: no crash, and what is read once is read the same again. */
#include "../../src/ledger/wire.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(buf_release) Buf scratch = buf_new(16 * 1024 * 1024);
    Str body = str_n((const char *)data, size);
    WireBatch first, second;
    if (wire_batch_open(arena, body, &first).kind != ERR_NONE)
        return 0;
    assert(wire_batch_open(arena, body, &second).kind == ERR_NONE);
    Str text, again_text;
    WireEvent event, again;
    Err err, again_err;
    for (size_t n = 0; n < 100 && wire_batch_next(&first, &text, &event, &err); n++) {
        assert(wire_batch_next(&second, &again_text, &again, &again_err));
        assert(err.kind == again_err.kind && text.len == again_text.len);
        if (err.kind != ERR_NONE)
            continue;
        Digest digest = wire_event_digest(&scratch, &event);
        assert(digest_eq(digest, wire_event_digest(&scratch, &again)));
    }
    return 0;
}
