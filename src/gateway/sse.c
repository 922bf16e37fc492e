/* sse.c: see gateway/sse.h. The field rules are those of the HTML standard, section 9.2.6. */
#include "gateway/sse.h"

#include <string.h>

size_t sse_cut(SseCutter *cutter, Str bytes, bool *ret_complete)
{
    *ret_complete = false;
    for (size_t i = 0; i < bytes.len; i++) {
        char x = bytes.ptr[i];
        bool second_half = cutter->after_cr && x == '\n';
        cutter->after_cr = false;
        if (second_half)
            continue;
        if (x != '\n' && x != '\r') {
            cutter->in_line = true;
            continue;
        }
        cutter->after_cr = x == '\r';
        if (cutter->in_line) {
            cutter->in_line = false;
            continue;
        }
        *ret_complete = true;
        i++;
        if (cutter->after_cr && i < bytes.len && bytes.ptr[i] == '\n') {
            cutter->after_cr = false;
            i++;
        }
        return i;
    }
    return bytes.len;
}

/* Cuts the next line off *rest. */
static Str next_line(Str *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->ptr[len] != '\n' && rest->ptr[len] != '\r')
        len++;
    Str line = str_first(*rest, len);
    bool crlf = len + 1 < rest->len && rest->ptr[len] == '\r' && rest->ptr[len + 1] == '\n';
    *rest = str_skip(*rest, len + (crlf ? 2 : 1));
    return line;
}

static Str field_value(Str line, size_t name_len)
{
    Str value = str_skip(line, name_len + 1);
    return str_starts_with(value, STR(" ")) ? str_skip(value, 1) : value;
}

static bool is_field(Str line, Str name)
{
    return str_starts_with(line, name) && (line.len == name.len || line.ptr[name.len] == ':');
}

SseEvent sse_read(Arena *arena, Str raw)
{
    SseEvent event = { 0 };
    Str rest = raw;
    while (rest.len > 0) {
        Str line = next_line(&rest);
        if (is_field(line, STR("event"))) {
            event.name = field_value(line, 5);
        } else if (is_field(line, STR("data"))) {
            Str value = field_value(line, 4);
            event.data =
                event.has_data ? arena_fmt(arena, STR_FMT "\n" STR_FMT, STR_ARG(event.data), STR_ARG(value)) : value;
            event.has_data = true;
        }
    }
    return event;
}
