#include "http.h"

#include <string.h>

static void read_length(Request *request, Text value)
{
    if (!text_int(value, &request->length))
        request->length = -1;
}

static void read_authorization(Request *request, Text value)
{
    request->authorization = value;
    if (value.len > 7 && text_eq_nocase((Text){ value.ptr, 7 }, TEXT("bearer ")))
        request->bearer = text_trim((Text){ value.ptr + 7, value.len - 7 });
}

static void read_api_key(Request *request, Text value)
{
    request->api_key = value;
}

static void read_pace(Request *request, Text value)
{
    request->pace = value;
}

static void read_version(Request *request, Text value)
{
    request->anthropic_version = value;
}

static void read_connection(Request *request, Text value)
{
    if (text_eq_nocase(value, TEXT("close")))
        request->keep_alive = false;
}

static void read_expect(Request *request, Text value)
{
    request->expects_continue = text_eq_nocase(value, TEXT("100-continue"));
}

static void read_transfer(Request *request, Text value)
{
    (void)value;
    request->chunked = true;
}

static const struct {
    Text name;
    void (*read)(Request *request, Text value);
} headers[] = {
    { TEXT_INIT("content-length"), read_length },
    { TEXT_INIT("authorization"), read_authorization },
    { TEXT_INIT("x-api-key"), read_api_key },
    { TEXT_INIT("x-sim-pace"), read_pace },
    { TEXT_INIT("anthropic-version"), read_version },
    { TEXT_INIT("connection"), read_connection },
    { TEXT_INIT("expect"), read_expect },
    { TEXT_INIT("transfer-encoding"), read_transfer },
};

static void read_header(Request *request, Text line)
{
    Text value = line;
    Text name = text_split(&value, ':');
    if (!value.ptr)
        return;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        if (name.len == headers[i].name.len && text_eq_nocase(name, headers[i].name)) {
            headers[i].read(request, text_trim(value));
            return;
        }
    }
}

static bool read_request_line(Request *request, Text line)
{
    Text rest = line;
    request->method = text_split(&rest, ' ');
    Text target = text_split(&rest, ' ');
    if (!rest.ptr || !target.len || target.ptr[0] != '/')
        return false;
    request->keep_alive = text_eq(rest, TEXT("HTTP/1.1"));
    if (!request->keep_alive && !text_eq(rest, TEXT("HTTP/1.0")))
        return false;
    request->query = target;
    request->path = text_split(&request->query, '?');
    return true;
}

/* Whole heads only: every line ends in CRLF. */
static bool read_head(Request *request, Text head)
{
    Text line = text_split(&head, '\n');
    if (line.len == 0 || !read_request_line(request, (Text){ line.ptr, line.len - 1 }))
        return false;
    while (head.len) {
        line = text_split(&head, '\n');
        if (line.len > 1)
            read_header(request, (Text){ line.ptr, line.len - 1 });
    }
    return request->length >= 0;
}

HttpState http_read(Text bytes, Request *ret_request, size_t *ret_used)
{
    Request request = { 0 };
    const char *end = bytes.len ? memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return bytes.len > HEAD_BYTES_MAX ? HTTP_TOO_LARGE : HTTP_MORE;
    size_t head = (size_t)(end - bytes.ptr) + 4;
    if (!read_head(&request, (Text){ bytes.ptr, head - 2 }))
        return HTTP_BAD;
    *ret_request = request;
    if (request.chunked)
        return HTTP_CHUNKED;
    if ((size_t)request.length > BODY_BYTES_MAX)
        return HTTP_TOO_LARGE;
    if (bytes.len - head < (size_t)request.length)
        return HTTP_MORE;
    ret_request->body = (Text){ bytes.ptr + head, (size_t)request.length };
    *ret_used = head + (size_t)request.length;
    return HTTP_DONE;
}

void http_status_line(Buf *out, int status)
{
    static const struct {
        int status;
        Text reason;
    } reasons[] = {
        { 200, TEXT_INIT("OK") },
        { 400, TEXT_INIT("Bad Request") },
        { 401, TEXT_INIT("Unauthorized") },
        { 403, TEXT_INIT("Forbidden") },
        { 404, TEXT_INIT("Not Found") },
        { 405, TEXT_INIT("Method Not Allowed") },
        { 411, TEXT_INIT("Length Required") },
        { 413, TEXT_INIT("Content Too Large") },
        { 429, TEXT_INIT("Too Many Requests") },
        { 500, TEXT_INIT("Internal Server Error") },
        { 502, TEXT_INIT("Bad Gateway") },
        { 503, TEXT_INIT("Service Unavailable") },
        { 504, TEXT_INIT("Gateway Timeout") },
        { 529, TEXT_INIT("Overloaded") },
    };
    PUT(out, "HTTP/1.1 ");
    buf_int(out, status);
    PUT(out, " ");
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].status == status)
            buf_put(out, reasons[i].reason);
    }
    PUT(out, "\r\n");
}
