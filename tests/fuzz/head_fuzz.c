/*
 * head_fuzz.c: the framing guard. What is found must not depend on how the bytes were split, and what is accepted must
 * be plainly well formed by a second, simple reading.
 */
#include "http/head.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX ((size_t)4096)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static HeadState scan_by(size_t step, const char *text, size_t size, size_t *ret_len)
{
    HeadScan scan = { 0 };
    Refusal why = { 0 };
    HeadState state = HEAD_MORE;
    for (size_t len = step; state == HEAD_MORE; len += step) {
        size_t seen = len < size ? len : size;
        state = head_scan(&scan, text, seen, BYTES_MAX, ret_len, &why);
        if (seen == size)
            break;
    }
    require(state != HEAD_REFUSED || why.status >= 400);
    return state;
}

/* Every line of an accepted head ends in CR LF, and no other CR, LF or NUL stands in it. */
static void check_bytes(Str head)
{
    require(str_ends_with(head, STR("\r\n\r\n")));
    for (size_t i = 0; i < head.len; i++) {
        require(head.ptr[i] != '\0');
        if (head.ptr[i] == '\n')
            require(i > 0 && head.ptr[i - 1] == '\r');
        if (head.ptr[i] == '\r')
            require(i + 1 < head.len && head.ptr[i + 1] == '\n');
    }
}

static void check_head(const Head *head)
{
    size_t hosts = 0, lengths = 0;
    for (size_t i = 0; i < head->header_count; i++) {
        Str name = head->headers[i].name;
        require(name.len > 0);
        hosts += str_eq_nocase(name, STR("host"));
        lengths += str_eq_nocase(name, STR("content-length"));
        require(!str_eq_nocase(name, STR("transfer-encoding")));
        require(memchr(name.ptr, ' ', name.len) == NULL);
    }
    require(hosts == 1 && lengths <= 1);
    require(lengths == 1 || head->body_len == 0);
    require(head->target.len > 0 && memchr(head->target.ptr, ' ', head->target.len) == NULL);
    require(head->header_count <= HEAD_HEADERS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t len = 0, len_by_one = 0;
    HeadState whole = scan_by(size + 1, text, size, &len), by_one = scan_by(1, text, size, &len_by_one);
    /* In one piece a refusal further on may be seen where, byte by byte, the limit came first. */
    if (size < BYTES_MAX)
        require(whole == by_one && len == len_by_one);
    if (whole != HEAD_COMPLETE)
        return 0;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str head_text = arena_str(arena, str_n(text, len));
    Head head = { 0 };
    Refusal why = { 0 };
    if (head_read(arena, head_text, &head, &why)) {
        check_bytes(head_text);
        check_head(&head);
    } else
        require(why.status >= 400 && why.code.len > 0 && why.detail.len > 0);
    return 0;
}
