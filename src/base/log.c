/* log.c: see log.h. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)8192)
#define VALUE_BYTES_MAX ((size_t)512)

static const char *program_name = "reeve";
static _Atomic int level_now = LOG_INFO;
static bool text_form;

static const char *const LEVEL_NAMES[] = { "debug", "info", "warn", "error" };

void log_start(const char *program, LogLevel level, bool as_text)
{
    program_name = program;
    level_now = level;
    text_form = as_text;
}

void log_level(LogLevel level)
{
    level_now = level;
}

Err log_level_parse(Str text, LogLevel *ret_level)
{
    for (size_t i = 0; i < COUNT_OF(LEVEL_NAMES); i++) {
        if (str_eq(text, str_from_c(LEVEL_NAMES[i]))) {
            *ret_level = (LogLevel)i;
            return OK;
        }
    }
    return FAIL(ERR_INVALID, "bad-log-level", "must be debug, info, warn or error");
}

/* JSON string content; control characters and bytes outside ASCII that are not UTF-8 become escapes. */
static void add_escaped(Buf *line, Str value)
{
    bool utf8 = str_is_utf8(value);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c == '"' || c == '\\')
            buf_fmt(line, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            buf_fmt(line, "\\u%04x", c);
        else
            buf_add_char(line, (char)c);
    }
}

static Str cut_value(Str value)
{
    if (value.len <= VALUE_BYTES_MAX)
        return value;
    size_t len = VALUE_BYTES_MAX;
    while (len > 0 && ((unsigned char)value.ptr[len] & 0xc0) == 0x80)
        len--; /* not inside a character */
    return str_first(value, len);
}

static void add_time(Buf *line)
{
    CivilTime c = time_civil(time_now());
    buf_fmt(
        line, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", c.year, c.month, c.day, c.hour, c.minute, c.second, c.microsecond);
}

static void add_json_pairs(Buf *line, const LogPair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_fmt(line, ",\"%s\":", pairs[i].name);
        if (pairs[i].is_number) {
            buf_fmt(line, "%lld", (long long)pairs[i].number);
            continue;
        }
        buf_add_char(line, '"');
        add_escaped(line, cut_value(pairs[i].text));
        buf_add_char(line, '"');
    }
}

static void add_text_pairs(Buf *line, const LogPair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_fmt(line, " %s=", pairs[i].name);
        if (pairs[i].is_number)
            buf_fmt(line, "%lld", (long long)pairs[i].number);
        else
            add_escaped(line, cut_value(pairs[i].text));
    }
}

void log_write(LogLevel level, const char *message, const LogPair *pairs, size_t count)
{
    if ((int)level < level_now)
        return;
    _cleanup_(buf_release) Buf line = buf_new(LINE_BYTES_MAX);
    if (text_form) {
        add_time(&line);
        buf_fmt(&line, " %-5s %s: %s", LEVEL_NAMES[level], program_name, message);
        add_text_pairs(&line, pairs, count);
    } else {
        buf_add(&line, STR("{\"time\":\""));
        add_time(&line);
        buf_fmt(&line, "\",\"level\":\"%s\",\"program\":\"%s\",\"message\":\"%s\"", LEVEL_NAMES[level], program_name,
            message);
        add_json_pairs(&line, pairs, count);
        buf_add_char(&line, '}');
    }
    if (buf_overflowed(&line)) { /* too many pairs: the message alone, still one well-formed line */
        log_write(level, message, NULL, 0);
        return;
    }
    buf_add_char(&line, '\n');
    Str out = buf_str(&line);
    /* One write a line, so that threads do not mix; a log that cannot be written stops nothing. */
    if (write(STDERR_FILENO, out.ptr, out.len) < 0)
        return;
}

void log_err(const char *message, Err err)
{
    LogLevel level = err.kind == ERR_INTERNAL || err.kind == ERR_UNAVAILABLE ? LOG_ERROR : LOG_WARN;
    const LogPair pairs[] = { LOG_C("kind", err_kind_name(err.kind)), LOG_STR("code", err.code),
        LOG_STR("detail", err.detail) };
    log_write(level, message, pairs, COUNT_OF(pairs));
}
