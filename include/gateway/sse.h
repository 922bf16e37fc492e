/*
 * sse.h: cutting a server-sent event stream at its blank lines, across any split of the bytes.
 *
 * Bytes are never rewritten: an event's raw slice, blank line included, is what goes to the client. Lines may end in
 * LF, CRLF or CR.
 *
 *     size_t taken = sse_cut(&cutter, chunk, &complete);      // complete: chunk[0..taken) ends an event
 *     SseEvent event = sse_read(arena, raw);
 */
#ifndef GATEWAY_SSE_H
#define GATEWAY_SSE_H

#include "base/arena.h"

typedef struct SseCutter {
    bool in_line;  /* the current line has bytes */
    bool after_cr; /* a LF now belongs to the CR before it */
} SseCutter;

/* How many bytes of `bytes` to take: up to and with the end of the first event, or all when none ends here. */
size_t sse_cut(SseCutter *cutter, Str bytes, bool *ret_complete);

typedef struct SseEvent {
    Str name; /* of its `event` field; empty when absent */
    Str data; /* its `data` lines joined by LF: a slice of raw when there is one, else in the arena */
    bool has_data;
} SseEvent;

SseEvent sse_read(Arena *arena, Str raw);

#endif
