/* head.c: the strict guard. See head.h. */
#include "http/head.h"

#include <string.h>

#define REFUSE(why, status_, code_, detail_)                                                                           \
    (*(why) = (Refusal){ .status = (status_), .code = STR(code_), .detail = STR(detail_) }, false)

/* --- character classes (RFC 9110 5.6.2, 5.5) --- */

enum { IS_TOKEN = 1, IS_VALUE = 2, IS_TARGET = 4, IS_HOST = 8 };

static uint8_t class_of(unsigned char c)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool digit = c >= '0' && c <= '9';
    uint8_t class = 0;
    if (letter || digit || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL))
        class |= IS_TOKEN;
    if (c == '\t' || (c >= 0x20 && c != 0x7f))
        class |= IS_VALUE;
    if (c > 0x20 && c < 0x7f && c != '#' && c != '\\')
        class |= IS_TARGET;
    if (letter || digit || (c != 0 && strchr(".-_:[]", c) != NULL))
        class |= IS_HOST;
    return class;
}

static uint8_t classes[256];

__attribute__((constructor)) static void fill_classes(void)
{
    for (unsigned c = 0; c < 256; c++)
        classes[c] = class_of((unsigned char)c);
}

static bool all_of(Str s, uint8_t class)
{
    for (size_t i = 0; i < s.len; i++)
        if ((classes[(unsigned char)s.ptr[i]] & class) == 0)
            return false;
    return true;
}

/* --- finding the end --- */

static HeadState refuse_scan(Refusal *ret_why, Refusal why)
{
    *ret_why = why;
    return HEAD_REFUSED;
}

#define SCAN_REFUSE(status_, code_, detail_)                                                                           \
    refuse_scan(ret_why, (Refusal){ .status = (status_), .code = STR(code_), .detail = STR(detail_) })

static HeadState too_long(const HeadScan *scan, Refusal *ret_why)
{
    if (scan->first_line == 0)
        return SCAN_REFUSE(414, "target-too-long", "The request line is too long.");
    return SCAN_REFUSE(431, "headers-too-large", "The request's header fields are too large.");
}

HeadState head_scan(HeadScan *scan, const char *ptr, size_t len, size_t bytes_max, size_t *ret_len, Refusal *ret_why)
{
    const char *lf;
    while (scan->seen < len && (lf = memchr(ptr + scan->seen, '\n', len - scan->seen)) != NULL) {
        size_t at = (size_t)(lf - ptr);
        if (at == scan->line || ptr[at - 1] != '\r')
            return SCAN_REFUSE(400, "bad-line-end", "A line of the request's head does not end in CR LF.");
        size_t line_len = at - 1 - scan->line;
        scan->seen = scan->line = at + 1;
        if (line_len > 0 && scan->first_line == 0)
            scan->first_line = line_len;
        else if (line_len == 0 && scan->first_line > 0) {
            if (at + 1 > bytes_max)
                return too_long(scan, ret_why);
            *ret_len = at + 1;
            return HEAD_COMPLETE;
        } else if (line_len == 0) {
            scan->empty += 2;
            if (scan->empty > 2 * HEAD_EMPTY_LINES_MAX)
                return SCAN_REFUSE(400, "bad-request-line", "There are empty lines before the request line.");
        }
    }
    scan->seen = len;
    bool line_too_long = scan->first_line == 0 && len - scan->line > HEAD_TARGET_BYTES_MAX + 64;
    if (len >= bytes_max || line_too_long)
        return too_long(scan, ret_why);
    return HEAD_MORE;
}

/* --- the request line --- */

typedef struct Method {
    Str name;
    bool has_body;
} Method;

static const Method methods[] = {
    { STR_INIT("GET"), false },
    { STR_INIT("POST"), true },
    { STR_INIT("PUT"), true },
    { STR_INIT("PATCH"), true },
    { STR_INIT("DELETE"), false },
    { STR_INIT("HEAD"), false },
    { STR_INIT("OPTIONS"), false },
};

static const Method *method_find(Str name)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (str_eq(methods[i].name, name))
            return &methods[i];
    return NULL;
}

static bool read_version(Str version, Head *head, Refusal *why)
{
    if (str_eq(version, STR("HTTP/1.1")))
        return true;
    if (str_eq(version, STR("HTTP/1.0"))) {
        head->is_http10 = head->closes = true;
        return true;
    }
    if (str_starts_with(version, STR("HTTP/")) && version.len == 8)
        return REFUSE(why, 505, "http-version", "Only HTTP/1.1 is served.");
    return REFUSE(why, 400, "bad-request-line", "The request line is malformed.");
}

static bool read_request_line(Str line, Head *head, const Method **ret_method, Refusal *why)
{
    Str rest, version;
    if (!str_cut(line, ' ', &head->method, &rest) || !str_cut(rest, ' ', &head->target, &version))
        return REFUSE(why, 400, "bad-request-line", "The request line is malformed.");
    if (head->method.len == 0 || !all_of(head->method, IS_TOKEN))
        return REFUSE(why, 400, "bad-request-line", "The request line is malformed.");
    if (head->target.len > HEAD_TARGET_BYTES_MAX)
        return REFUSE(why, 414, "target-too-long", "The request target is longer than 8192 bytes.");
    if (!read_version(version, head, why))
        return false;
    *ret_method = method_find(head->method);
    if (*ret_method == NULL)
        return REFUSE(why, 501, "method-not-implemented", "The request method is not known here.");
    bool is_star = str_eq(head->target, STR("*")) && str_eq(head->method, STR("OPTIONS"));
    if (!is_star && (head->target.len == 0 || head->target.ptr[0] != '/'))
        return REFUSE(why, 400, "bad-target", "The request target must start with a slash.");
    if (!all_of(head->target, IS_TARGET))
        return REFUSE(why, 400, "bad-target", "The request target has a character that is not allowed there.");
    str_cut(head->target, '?', &head->path, &head->query);
    head->is_head = str_eq(head->method, STR("HEAD"));
    return true;
}

/* --- header fields --- */

/* What was seen of the fields that may stand once only, because two readers could choose differently. */
typedef enum Single {
    SINGLE_HOST,
    SINGLE_LENGTH,
    SINGLE_ENCODING,
    SINGLE_EXPECT,
    SINGLE_TYPE,
    SINGLE_AUTHORIZATION,
    SINGLE_API_KEY,
    SINGLE_API_KEY_GOOG,
    SINGLE_COOKIE,
    SINGLE_ORIGIN,
    SINGLE_IF_MATCH,
    SINGLE_IDEMPOTENCY,
    SINGLE_CONTENT_ENCODING,
    SINGLE_VERSION,
    SINGLE_COUNT,
} Single;

static const Str singles[SINGLE_COUNT] = {
    [SINGLE_HOST] = STR_INIT("host"),
    [SINGLE_LENGTH] = STR_INIT("content-length"),
    [SINGLE_ENCODING] = STR_INIT("transfer-encoding"),
    [SINGLE_EXPECT] = STR_INIT("expect"),
    [SINGLE_TYPE] = STR_INIT("content-type"),
    [SINGLE_AUTHORIZATION] = STR_INIT("authorization"),
    [SINGLE_API_KEY] = STR_INIT("x-api-key"),
    [SINGLE_API_KEY_GOOG] = STR_INIT("x-goog-api-key"),
    [SINGLE_COOKIE] = STR_INIT("cookie"),
    [SINGLE_ORIGIN] = STR_INIT("origin"),
    [SINGLE_IF_MATCH] = STR_INIT("if-match"),
    [SINGLE_IDEMPOTENCY] = STR_INIT("idempotency-key"),
    [SINGLE_CONTENT_ENCODING] = STR_INIT("content-encoding"),
    [SINGLE_VERSION] = STR_INIT("anthropic-version"),
};

typedef struct Fields {
    const Header *single[SINGLE_COUNT];
} Fields;

/* A folded or mangled framing field must not pass as an unknown one. */
static bool looks_like_framing(Str name)
{
    return str_eq_nocase(str_first(name, 14), singles[SINGLE_LENGTH]) ||
           str_eq_nocase(str_first(name, 17), singles[SINGLE_ENCODING]);
}

static bool note_single(Fields *fields, const Header *header, Refusal *why)
{
    for (size_t i = 0; i < SINGLE_COUNT; i++) {
        if (singles[i].len != header->name.len || !str_eq_nocase(singles[i], header->name))
            continue;
        if (fields->single[i] != NULL)
            return REFUSE(why, 400, "duplicate-header", "A header field that may stand once stands twice.");
        fields->single[i] = header;
        return true;
    }
    if (looks_like_framing(header->name))
        return REFUSE(why, 400, "bad-header", "A header field's name imitates one that frames the message.");
    return true;
}

static bool has_token(Str list, Str token)
{
    while (list.len > 0) {
        Str item;
        str_cut(list, ',', &item, &list);
        if (str_eq_nocase(str_trim(item), token))
            return true;
    }
    return false;
}

static void note_connection(Head *head, const Header *header)
{
    if (str_eq_nocase(header->name, STR("connection")))
        head->closes |= has_token(header->value, STR("close"));
    else if (str_eq_nocase(header->name, STR("upgrade")))
        head->closes = true; /* a parser that switches protocols would read what follows otherwise */
}

static bool read_field(Str line, Header *ret_header, Refusal *why)
{
    Str value;
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return REFUSE(why, 400, "folded-header", "A header field is folded over several lines.");
    if (!str_cut(line, ':', &ret_header->name, &value))
        return REFUSE(why, 400, "bad-header", "A header field has no colon.");
    if (ret_header->name.len == 0 || !all_of(ret_header->name, IS_TOKEN))
        return REFUSE(why, 400, "bad-header", "A header field's name has a character that is not allowed there.");
    if (!all_of(value, IS_VALUE))
        return REFUSE(why, 400, "bad-header", "A header field's value has a control character.");
    ret_header->value = str_trim(value);
    return true;
}

/* --- framing --- */

static bool read_length(Str text, uint64_t *ret_length, Refusal *why)
{
    uint64_t length = 0;
    if (text.len == 0 || text.len > HEAD_LENGTH_DIGITS_MAX)
        return REFUSE(why, 400, "bad-content-length", "Content-Length must be 1 to 15 digits.");
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return REFUSE(why, 400, "bad-content-length", "Content-Length must be 1 to 15 digits.");
        length = length * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *ret_length = length;
    return true;
}

static bool read_framing(const Fields *fields, const Method *method, Head *head, Refusal *why)
{
    if (fields->single[SINGLE_HOST] == NULL)
        return REFUSE(why, 400, "bad-host", "The Host header is missing.");
    Str host = fields->single[SINGLE_HOST]->value;
    if (host.len == 0 || !all_of(host, IS_HOST))
        return REFUSE(why, 400, "bad-host", "The Host header is malformed.");
    if (fields->single[SINGLE_ENCODING] != NULL)
        return REFUSE(why, 411, "length-required", "Transfer-Encoding is not accepted: send Content-Length.");
    const Header *length = fields->single[SINGLE_LENGTH];
    if (length == NULL && method->has_body)
        return REFUSE(why, 411, "length-required", "The request needs a Content-Length header.");
    if (length != NULL && !read_length(length->value, &head->body_len, why))
        return false;
    if (head->body_len > 0 && !method->has_body)
        return REFUSE(why, 400, "unexpected-body", "A request of this method cannot have a body.");
    return true;
}

static bool read_expect(const Fields *fields, Head *head, Refusal *why)
{
    const Header *expect = fields->single[SINGLE_EXPECT];
    if (expect == NULL)
        return true;
    if (!str_eq_nocase(expect->value, STR("100-continue")))
        return REFUSE(why, 417, "expectation", "Only Expect: 100-continue is known here.");
    head->expects_continue = head->body_len > 0 && !head->is_http10;
    return true;
}

/* --- the whole head --- */

static size_t count_lines(Str head)
{
    size_t lines = 0;
    const char *end = head.ptr + head.len;
    for (const char *at = head.ptr; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        lines++;
    return lines;
}

/* The next line without its CR LF. */
static Str take_line(Str *rest)
{
    Str line;
    str_cut(*rest, '\n', &line, rest);
    return str_first(line, line.len == 0 ? 0 : line.len - 1);
}

bool head_read(Arena *arena, Str text, Head *ret_head, Refusal *ret_why)
{
    Head head = { 0 };
    Fields fields = { 0 };
    const Method *method;
    while (str_starts_with(text, STR("\r\n")))
        text = str_skip(text, 2);
    size_t lines = count_lines(text);
    if (lines < 2)
        return REFUSE(ret_why, 400, "bad-request-line", "The request line is malformed.");
    if (lines - 2 > HEAD_HEADERS_MAX)
        return REFUSE(ret_why, 431, "headers-too-many", "The request has more than 100 header fields.");
    if (!read_request_line(take_line(&text), &head, &method, ret_why))
        return false;
    *ret_head = head; /* where a refused request was going to is known: whose shape its error has */
    Header *headers = NEW(arena, Header, lines);
    for (Str line; (line = take_line(&text)).len > 0; head.header_count++) {
        Header *header = &headers[head.header_count];
        if (!read_field(line, header, ret_why) || !note_single(&fields, header, ret_why))
            return false;
        note_connection(&head, header);
    }
    head.headers = headers;
    if (!read_framing(&fields, method, &head, ret_why) || !read_expect(&fields, &head, ret_why))
        return false;
    *ret_head = head;
    return true;
}
