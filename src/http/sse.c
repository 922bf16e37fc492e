/* sse.c: see sse.h. */
#include "http/sse.h"

#include <string.h>

Sse sse_new(size_t event_bytes_max, bool (*on_event)(Str event, Str data, void *arg), void *arg)
{
    return (
        Sse){ .line = buf_new(event_bytes_max), .data = buf_new(event_bytes_max), .on_event = on_event, .arg = arg };
}

void sse_release(Sse *sse)
{
    buf_release(&sse->line);
    buf_release(&sse->data);
}

static void dispatch(Sse *sse)
{
    Str event = sse->event_len > 0 ? str_n(sse->event, sse->event_len) : STR("message");
    if (sse->has_data)
        sse->stopped = !sse->on_event(event, buf_str(&sse->data), sse->arg);
    buf_clear(&sse->data);
    sse->has_data = false;
    sse->event_len = 0;
}

static void set_event(Sse *sse, Str value)
{
    /* A name too long to be one of a provider's is an unknown event in any case. */
    Str kept = str_first(value, sizeof(sse->event));
    memcpy(sse->event, kept.ptr, kept.len);
    sse->event_len = kept.len;
}

static void add_data(Sse *sse, Str value)
{
    if (sse->has_data)
        buf_add_char(&sse->data, '\n');
    buf_add(&sse->data, value);
    sse->has_data = true;
}

static void take_line(Sse *sse, Str line)
{
    Str name, value;
    if (!sse->started && str_starts_with(line, STR("\xef\xbb\xbf")))
        line = str_skip(line, 3);
    sse->started = true;
    if (line.len == 0) {
        dispatch(sse);
        return;
    }
    str_cut(line, ':', &name, &value);
    if (value.len > 0 && value.ptr[0] == ' ')
        value = str_skip(value, 1);
    if (str_eq(name, STR("data")))
        add_data(sse, value);
    else if (str_eq(name, STR("event")))
        set_event(sse, value);
}

static size_t find_line_end(const char *ptr, size_t len)
{
    const char *lf = memchr(ptr, '\n', len);
    const char *cr = memchr(ptr, '\r', lf == NULL ? len : (size_t)(lf - ptr));
    return cr != NULL ? (size_t)(cr - ptr) : lf != NULL ? (size_t)(lf - ptr) : len;
}

/* Takes one line, or what there is of one, off the front. */
static Str take_piece(Sse *sse, Str text)
{
    if (sse->after_cr && text.ptr[0] == '\n')
        text = str_skip(text, 1);
    sse->after_cr = false;
    size_t end = find_line_end(text.ptr, text.len);
    if (end == text.len) {
        buf_add(&sse->line, text);
        return str_skip(text, end);
    }
    sse->after_cr = text.ptr[end] == '\r';
    if (sse->line.len == 0 && end <= sse->line.max)
        take_line(sse, str_first(text, end)); /* the whole line is here: no copy */
    else {
        buf_add(&sse->line, str_first(text, end));
        if (!buf_overflowed(&sse->line))
            take_line(sse, buf_str(&sse->line));
    }
    if (!buf_overflowed(&sse->line))
        buf_clear(&sse->line);
    return str_skip(text, end + 1);
}

Err sse_feed(Sse *sse, Bytes bytes)
{
    Str text = bytes_str(bytes);
    while (text.len > 0 && !sse->stopped && !buf_overflowed(&sse->line) && !buf_overflowed(&sse->data))
        text = take_piece(sse, text);
    if (buf_overflowed(&sse->line) || buf_overflowed(&sse->data))
        return FAIL(
            ERR_TOO_LARGE, "sse-too-large", "A line or an event of the stream is larger than what is accepted.");
    return OK;
}
