/*
 * sse.h: reading server-sent events (the WHATWG event stream format) from bytes that are split anywhere.
 *
 *     static bool on_event(Str event, Str data, void *arg) { ... return true; }      // event is "message" by default
 *
 *     Sse sse = sse_new(256 * 1024, on_event, arg);
 *     TRY(sse_feed(&sse, chunk));         // any number of times
 *     sse_release(&sse);
 *
 * Lines end in CR, LF or CR LF; several data fields are joined by LF; comments, ids and retry are passed over; an event
 * without data is passed over; what stands after the last blank line is no event.
 */
#ifndef HTTP_SSE_H
#define HTTP_SSE_H

#include "base/buf.h"

typedef struct Sse {
    Buf line;
    Buf data;
    char event[64];
    size_t event_len;
    bool has_data;
    bool after_cr; /* an LF right now belongs to the CR before it */
    bool started;  /* a byte order mark can no longer come */
    bool stopped;
    bool (*on_event)(Str event, Str data, void *arg);
    void *arg;
} Sse;

/* event_bytes_max bounds a line and an event's data each. */
Sse sse_new(size_t event_bytes_max, bool (*on_event)(Str event, Str data, void *arg), void *arg);
void sse_release(Sse *sse);
/* ERR_TOO_LARGE "sse-too-large" past the limit; nothing more is read then, nor after on_event returned false. */
CHECKED Err sse_feed(Sse *sse, Bytes bytes);

#endif
