/*
 * origin.c: reads the origin out of a URL, and refuses every URL that two readers could read differently.
 */
#include "snapshot/origin.h"

typedef struct SchemePort {
    Str scheme;
    int port;
} SchemePort;

static const SchemePort schemes[] = {
    { .scheme = STR_INIT("https"), .port = 443 },
    { .scheme = STR_INIT("http"), .port = 80 },
};

static Err bad_url(Arena *arena, const char *why)
{
    return FAIL_FMT(arena, ERR_INVALID, "bad-url", "The URL %s.", why);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool bytes_are_plain(Str url)
{
    for (size_t i = 0; i < url.len; i++)
        if (url.ptr[i] <= ' ' || url.ptr[i] >= 0x7f || url.ptr[i] == '\\')
            return false;
    return true;
}

static const SchemePort *scheme_of(Str url, Str *ret_rest)
{
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        Str scheme = schemes[i].scheme;
        if (str_eq_nocase(str_first(url, scheme.len), scheme) &&
            str_starts_with(str_skip(url, scheme.len), STR("://"))) {
            *ret_rest = str_skip(url, scheme.len + 3);
            return &schemes[i];
        }
    }
    return NULL;
}

static Str authority_of(Str rest)
{
    for (size_t i = 0; i < rest.len; i++)
        if (rest.ptr[i] == '/' || rest.ptr[i] == '?' || rest.ptr[i] == '#')
            return str_first(rest, i);
    return rest;
}

static bool label_is_name(Str label)
{
    if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++)
        if (!is_letter(label.ptr[i]) && !is_digit(label.ptr[i]) && label.ptr[i] != '-' && label.ptr[i] != '_')
            return false;
    return true;
}

/* 0 to 255 in its one decimal spelling. */
static bool label_is_octet(Str label)
{
    int64_t value = 0;
    return label.len <= 3 && str_to_i64(label, &value) && value >= 0 && value <= 255;
}

/* Names and dotted quads. A last label that looks like a number makes readers take the host for an IPv4 address, so
 * then it must be one, written in full. */
static bool host_is_plain(Str host)
{
    unsigned labels = 0, octets = 0;
    Str label = host, rest = host;
    do {
        str_cut(rest, '.', &label, &rest);
        if (!label_is_name(label))
            return false;
        labels++;
        octets += label_is_octet(label) ? 1 : 0;
    } while (rest.len > 0);
    if (host.ptr[host.len - 1] == '.')
        return false;
    return !is_digit(label.ptr[0]) || (labels == 4 && octets == 4);
}

static bool host_is_bracketed(Str host)
{
    if (host.len < 4 || host.ptr[0] != '[' || host.ptr[host.len - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < host.len; i++)
        if (!is_hex(host.ptr[i]) && host.ptr[i] != ':' && host.ptr[i] != '.')
            return false;
    return true;
}

/* Cuts "host:port"; *ret_port stays when there is none. */
static Err split_authority(Arena *arena, Str authority, Str *ret_host, int64_t *ret_port)
{
    Str host = authority, port = { .ptr = NULL, .len = 0 };
    size_t close = 0;
    if (authority.len > 0 && authority.ptr[0] == '[') {
        if (!str_find(authority, ']', &close))
            return bad_url(arena, "has an unclosed bracket");
        host = str_first(authority, close + 1);
        port = str_skip(authority, close + 1);
        if (port.len > 0 && port.ptr[0] != ':')
            return bad_url(arena, "has text behind the host's bracket");
        if (port.len > 0)
            port = str_skip(port, 1);
        else
            port.ptr = NULL;
    } else if (str_find(authority, ':', &close)) {
        host = str_first(authority, close);
        port = (Str){ .ptr = authority.ptr + close + 1, .len = authority.len - close - 1 };
    }
    if (port.ptr != NULL && (!str_to_i64(port, ret_port) || *ret_port < 1 || *ret_port > 65535))
        return bad_url(arena, "has a port that is not a number from 1 to 65535");
    *ret_host = host;
    return OK;
}

static Str origin_text(Arena *arena, const SchemePort *scheme, Str host, int64_t port)
{
    char *text = NEW(arena, char, host.len + 1);
    for (size_t i = 0; i < host.len; i++)
        text[i] = lower(host.ptr[i]);
    if (port == scheme->port)
        return arena_fmt(arena, STR_FMT "://%s", STR_ARG(scheme->scheme), text);
    return arena_fmt(arena, STR_FMT "://%s:%d", STR_ARG(scheme->scheme), text, (int)port);
}

Err origin_of_url(Arena *arena, Str url, Str *ret_origin)
{
    Str rest = STR(""), host = STR("");
    if (url.len > ORIGIN_URL_BYTES_MAX)
        return bad_url(arena, "is longer than 2048 bytes");
    if (!bytes_are_plain(url))
        return bad_url(arena, "has white space, a backslash or a byte outside ASCII");
    const SchemePort *scheme = scheme_of(url, &rest);
    if (scheme == NULL)
        return bad_url(arena, "must begin with https:// or http://");
    Str authority = authority_of(rest);
    size_t at = 0;
    if (str_find(authority, '@', &at))
        return bad_url(arena, "must not carry a user name or password");
    int64_t port = scheme->port;
    TRY(split_authority(arena, authority, &host, &port));
    if (host.len == 0 || host.len > ORIGIN_HOST_BYTES_MAX)
        return bad_url(arena, "must name a host of at most 253 bytes");
    if (!host_is_bracketed(host) && !host_is_plain(host))
        return bad_url(arena, "has a host that is neither a name nor an address in its usual form");
    *ret_origin = origin_text(arena, scheme, host, port);
    return OK;
}

bool origin_is_canonical(Str text)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str origin = STR("");
    Err err = origin_of_url(arena, text, &origin);
    return err.kind == ERR_NONE && str_eq(origin, text);
}
