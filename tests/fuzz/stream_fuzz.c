/*
 * stream_fuzz.c: a provider's stream is heard the same at every split, and its bytes pass unchanged.
 *
 * The first byte chooses dialect and step; the rest is the stream.
 */
#include "gateway/sse.h"
#include "gateway/tap.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Heard {
    size_t events, hidden, errors;
    Buf passed, usage;
} Heard;

static void hear(Arena *arena, Dialect dialect, Str text, size_t step, Heard *ret_heard)
{
    Tap tap;
    SseCutter cutter = { 0 };
    Buf held = buf_new(1 << 20);
    tap_init(&tap, dialect, false);
    ret_heard->passed = buf_new(1 << 20);
    ret_heard->usage = buf_new(1 << 20);
    for (size_t at = 0; at < text.len; at += step) {
        for (Str piece = str_first(str_skip(text, at), step); piece.len > 0;) {
            bool complete;
            size_t taken = sse_cut(&cutter, piece, &complete);
            buf_add(&held, str_first(piece, taken));
            piece = str_skip(piece, taken);
            if (!complete)
                continue;
            TapVerdict verdict = tap_event(&tap, arena, buf_str(&held));
            ret_heard->events++;
            ret_heard->errors += verdict == TAP_ERROR;
            if (verdict == TAP_HIDE)
                abort(); /* nothing is hidden from a client that asked */
            buf_add(&ret_heard->passed, buf_str(&held));
            buf_clear(&held);
        }
    }
    buf_add(&ret_heard->passed, buf_str(&held));
    buf_add(&ret_heard->usage, tap_usage(&tap));
    buf_release(&held);
    tap_release(&tap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 18)
        return 0;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Dialect dialect = data[0] % 2 == 0 ? DIALECT_OPENAI : DIALECT_ANTHROPIC;
    Str text = str_n((const char *)data + 1, size - 1);
    Heard whole = { 0 }, pieces = { 0 };
    hear(arena, dialect, text, text.len > 0 ? text.len : 1, &whole);
    hear(arena, dialect, text, (size_t)(data[0] >> 1) % 17 + 1, &pieces);
    if (whole.passed.len != text.len || (text.len > 0 && memcmp(whole.passed.ptr, text.ptr, text.len) != 0))
        abort();
    if (pieces.passed.len != text.len || (text.len > 0 && memcmp(pieces.passed.ptr, text.ptr, text.len) != 0))
        abort();
    if (!str_eq(buf_str(&whole.usage), buf_str(&pieces.usage)) || whole.errors != pieces.errors)
        abort();
    buf_release(&whole.passed);
    buf_release(&whole.usage);
    buf_release(&pieces.passed);
    buf_release(&pieces.usage);
    return 0;
}
