/* url.c: percent-decoding of path segments and query values, and the names of statuses. See server.h. */
#include "base/encode.h"
#include "http/server.h"

#include <string.h>

/* Decodes one escape; -1 when it is malformed, or names a byte that would change what the text means. */
static int decode_escape(Str raw, size_t at)
{
    if (at + 2 >= raw.len)
        return -1;
    int high = hex_digit(raw.ptr[at + 1]), low = hex_digit(raw.ptr[at + 2]);
    if (high < 0 || low < 0)
        return -1;
    int byte = high * 16 + low;
    return byte == 0 || byte == '/' || byte == '\\' ? -1 : byte;
}

Err url_decode(Arena *arena, Str raw, Str *ret_text)
{
    char *text = arena_alloc(arena, raw.len + 1, 1);
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        int byte = (unsigned char)raw.ptr[i];
        if (byte == '%') {
            byte = decode_escape(raw, i);
            i += 2;
        }
        if (byte <= 0)
            return FAIL(ERR_INVALID, "bad-escape", "A percent escape in the address is malformed or not allowed.");
        text[len++] = (char)byte;
    }
    Str decoded = str_n(text, len);
    if (str_eq(decoded, STR(".")) || str_eq(decoded, STR("..")))
        return FAIL(ERR_INVALID, "bad-path", "A path segment cannot be a dot or two dots.");
    if (!str_is_utf8(decoded))
        return FAIL(ERR_INVALID, "bad-escape", "The address is not UTF-8.");
    *ret_text = decoded;
    return OK;
}

Err query_get(Arena *arena, Str query, Str name, Str *ret_value)
{
    Str value = { 0 };
    while (query.len > 0) {
        Str pair, key, raw;
        str_cut(query, '&', &pair, &query);
        str_cut(pair, '=', &key, &raw);
        if (!str_eq(key, name))
            continue;
        if (value.ptr != NULL)
            return FAIL_FMT(
                arena, ERR_INVALID, "duplicate-parameter", "The parameter " STR_FMT " stands twice.", STR_ARG(name));
        TRY(url_decode(arena, raw, &value));
    }
    *ret_value = value;
    return OK;
}

typedef struct Phrase {
    int status;
    const char *text;
} Phrase;

static const Phrase phrases[] = {
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 204, "No Content" },
    { 206, "Partial Content" },
    { 207, "Multi-Status" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 417, "Expectation Failed" },
    { 422, "Unprocessable Content" },
    { 425, "Too Early" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 529, "Overloaded" },
};

const char *http_status_phrase(int status)
{
    for (size_t i = 0; i < COUNT_OF(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return "Unknown";
}
