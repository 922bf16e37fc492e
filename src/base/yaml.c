/*
 * yaml.c: libyaml's events to JSON, strictly: no anchors, aliases, tags, duplicate keys, several documents, nor the
 * unquoted words YAML 1.1 reads as booleans. Numbers are decimal integers; anything else unquoted is text.
 */
#include "base/buf.h"
#include "base/config.h"
#include "base/json.h"
#include "base/yaml_lines.h"

#include <string.h>
#include <yaml.h>

#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 100000

typedef struct YamlRead {
    Arena *arena;
    Str name;
    yaml_parser_t parser;
    yaml_event_t event;
    size_t line;
    size_t nodes;
    YamlLines *lines; /* may be NULL */
} YamlRead;

static Err yaml_fail(YamlRead *read, const char *what)
{
    return FAIL_FMT(read->arena, ERR_INVALID, "bad-yaml", STR_FMT ":%zu: %s", STR_ARG(read->name), read->line, what);
}

static Err next_event(YamlRead *read)
{
    yaml_event_delete(&read->event);
    if (yaml_parser_parse(&read->parser, &read->event) == 0) {
        read->line = read->parser.problem_mark.line + 1;
        return yaml_fail(read, read->parser.problem != NULL ? read->parser.problem : "cannot be read as YAML");
    }
    read->line = read->event.start_mark.line + 1;
    return OK;
}

static bool is_word(Str text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (str_eq_nocase(text, str_from_c(*words)))
            return true;
    return false;
}

/* An unquoted scalar: null, true, false, a decimal integer, or text. */
static Err plain_scalar(YamlRead *read, Str text, json_t **ret_value)
{
    static const char *const OLD_BOOLEANS[] = { "yes", "no", "on", "off", "y", "n", NULL };
    int64_t number;
    if (is_word(text, OLD_BOOLEANS))
        return yaml_fail(read, "write true, false, or quote the word: YAML 1.1 reads it as a boolean");
    if (text.len == 0 || str_eq(text, STR("~")) || str_eq(text, STR("null")))
        *ret_value = json_null();
    else if (str_eq(text, STR("true")) || str_eq(text, STR("false")))
        *ret_value = json_boolean(text.ptr[0] == 't');
    else if (str_to_i64(text, &number))
        *ret_value = json_integer(number);
    else
        *ret_value = json_from_str(text);
    return OK;
}

static Err read_scalar(YamlRead *read, json_t **ret_value)
{
    const yaml_event_t *event = &read->event;
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return yaml_fail(read, "anchors and tags are not accepted");
    Str text = str_n((const char *)event->data.scalar.value, event->data.scalar.length);
    if (!str_is_utf8(text) || (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL))
        return yaml_fail(read, "is not UTF-8 text");
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return plain_scalar(read, text, ret_value);
    *ret_value = json_from_str(text);
    return OK;
}

static Err read_node(YamlRead *read, Str pointer, size_t depth, json_t **ret_value);

static Err read_sequence(YamlRead *read, Str pointer, size_t depth, json_t **ret_value)
{
    _cleanup_(json_release) json_t *array = json_array();
    TRY(next_event(read));
    while (read->event.type != YAML_SEQUENCE_END_EVENT) {
        json_t *item = NULL;
        TRY(read_node(
            read, arena_fmt(read->arena, STR_FMT "/%zu", STR_ARG(pointer), json_array_size(array)), depth, &item));
        json_array_append_new(array, item);
        TRY(next_event(read));
    }
    *ret_value = TAKE(array);
    return OK;
}

static Err read_mapping(YamlRead *read, Str pointer, size_t depth, json_t **ret_value)
{
    _cleanup_(json_release) json_t *object = json_object();
    TRY(next_event(read));
    while (read->event.type != YAML_MAPPING_END_EVENT) {
        if (read->event.type != YAML_SCALAR_EVENT)
            return yaml_fail(read, "keys must be plain words");
        Str key =
            arena_str(read->arena, str_n((const char *)read->event.data.scalar.value, read->event.data.scalar.length));
        if (!str_is_utf8(key) || strlen(key.ptr) != key.len)
            return yaml_fail(read, "has a key that is not text");
        if (str_eq(key, STR("<<")))
            return yaml_fail(read, "merge keys are not accepted");
        if (json_object_get(object, key.ptr) != NULL)
            return yaml_fail(read, "has a key twice");
        Str child = arena_fmt(read->arena, STR_FMT "/" STR_FMT, STR_ARG(pointer), STR_ARG(key));
        if (read->lines != NULL)
            yaml_lines_add(read->lines, read->arena, child, read->line);
        TRY(next_event(read));
        json_t *value = NULL;
        TRY(read_node(read, child, depth, &value));
        json_object_set_new(object, key.ptr, value);
        TRY(next_event(read));
    }
    *ret_value = TAKE(object);
    return OK;
}

static Err read_node(YamlRead *read, Str pointer, size_t depth, json_t **ret_value)
{
    if (depth >= YAML_DEPTH_MAX)
        return yaml_fail(read, "is nested too deeply");
    if (++read->nodes > YAML_NODES_MAX)
        return yaml_fail(read, "has too many nodes");
    const yaml_event_t *event = &read->event;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(read, ret_value);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL)
            return yaml_fail(read, "anchors and tags are not accepted");
        return read_sequence(read, pointer, depth + 1, ret_value);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL)
            return yaml_fail(read, "anchors and tags are not accepted");
        return read_mapping(read, pointer, depth + 1, ret_value);
    case YAML_ALIAS_EVENT:
        return yaml_fail(read, "aliases are not accepted");
    default:
        return yaml_fail(read, "has something unexpected");
    }
}

static Err read_document(YamlRead *read, json_t **ret_value)
{
    _cleanup_(json_release) json_t *value = NULL;
    TRY(next_event(read)); /* stream start */
    TRY(next_event(read));
    if (read->event.type == YAML_STREAM_END_EVENT) {
        *ret_value = json_object(); /* an empty file has no settings */
        return OK;
    }
    TRY(next_event(read));
    TRY(read_node(read, (Str){ 0 }, 0, &value));
    TRY(next_event(read)); /* document end */
    TRY(next_event(read));
    if (read->event.type != YAML_STREAM_END_EVENT)
        return yaml_fail(read, "has a second document");
    *ret_value = TAKE(value);
    return OK;
}

Err yaml_parse_lines(Arena *arena, Str name, Str text, YamlLines *lines, json_t **ret_value)
{
    YamlRead read = { .arena = arena, .name = name, .line = 1, .lines = lines };
    if (text.len > CONFIG_BYTES_MAX)
        return yaml_fail(&read, "is too large");
    if (yaml_parser_initialize(&read.parser) == 0)
        die("out of memory (YAML)");
    yaml_parser_set_input_string(&read.parser, (const unsigned char *)(text.ptr == NULL ? "" : text.ptr), text.len);
    yaml_parser_set_encoding(&read.parser, YAML_UTF8_ENCODING);
    Err err = read_document(&read, ret_value);
    yaml_event_delete(&read.event);
    yaml_parser_delete(&read.parser);
    return err;
}

Err yaml_parse(Arena *arena, Str name, Str text, json_t **ret_value)
{
    return yaml_parse_lines(arena, name, text, NULL, ret_value);
}

void yaml_lines_add(YamlLines *lines, Arena *arena, Str pointer, size_t line)
{
    YamlLine *row = NEW(arena, YamlLine, 1);
    *row = (YamlLine){ .pointer = pointer, .line = line, .next = lines->first };
    lines->first = row;
}

size_t yaml_line_of(const YamlLines *lines, Str pointer)
{
    for (const YamlLine *row = lines->first; row != NULL; row = row->next)
        if (str_eq(row->pointer, pointer))
            return row->line;
    return 0;
}

/* --- writing --- */

static void write_node(Buf *out, const json_t *value, int indent);

static void write_indent(Buf *out, int indent)
{
    for (int i = 0; i < indent; i++)
        buf_add(out, STR("  "));
}

/* Strings are quoted as JSON (a subset of YAML) unless they are plainly a word. */
static bool is_plain(Str text)
{
    static const char *const RESERVED[] = { "yes", "no", "on", "off", "y", "n", "true", "false", "null", NULL };
    if (text.len == 0 || is_word(text, RESERVED) || (text.ptr[0] >= '0' && text.ptr[0] <= '9') || text.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-' || c == '.' || c == '/';
        if (!word)
            return false;
    }
    return true;
}

static void write_leaf(Buf *out, const json_t *value)
{
    Str text = str_n(json_string_value(value), json_string_length(value));
    if (json_is_string(value) && is_plain(text)) {
        buf_add(out, text);
        return;
    }
    _cleanup_(arena_free) Arena *arena = arena_new();
    buf_add(out, json_write(arena, value));
}

static bool is_leaf(const json_t *value)
{
    return !(json_is_object(value) && json_object_size(value) > 0) &&
           !(json_is_array(value) && json_array_size(value) > 0);
}

#define SIMPLE_KEY_BYTES_MAX 1000 /* YAML reads a key before its colon only up to 1,024 bytes */

/* "key", or "? key" and a line of its own for the colon when the key is long. */
static void write_key(Buf *out, const char *key, int indent)
{
    _cleanup_(json_release) json_t *name = json_from_str(str_from_c(key));
    _cleanup_(buf_release) Buf text = buf_new(SIZE_MAX / 4);
    write_leaf(&text, name);
    bool is_long = text.len > SIMPLE_KEY_BYTES_MAX;
    if (is_long)
        buf_add(out, STR("? "));
    buf_add(out, buf_str(&text));
    if (is_long) {
        buf_add_char(out, '\n');
        write_indent(out, indent);
    }
}

static void write_object(Buf *out, const json_t *object, int indent, bool first_inline)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!first_inline)
            write_indent(out, indent);
        first_inline = false;
        write_key(out, key, indent);
        buf_add(out, is_leaf(value) ? STR(": ") : STR(":\n"));
        if (is_leaf(value)) {
            write_leaf(out, value);
            buf_add_char(out, '\n');
        } else {
            write_node(out, value, indent + 1);
        }
    }
}

static void write_node(Buf *out, const json_t *value, int indent)
{
    if (json_is_object(value)) {
        write_object(out, value, indent, false);
        return;
    }
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item)
    {
        write_indent(out, indent);
        buf_add(out, STR("- "));
        if (json_is_object(item) && json_object_size(item) > 0) {
            write_object(out, item, indent + 1, true);
        } else if (is_leaf(item)) {
            write_leaf(out, item);
            buf_add_char(out, '\n');
        } else {
            buf_add_char(out, '\n');
            write_node(out, item, indent + 1);
        }
    }
}

Str yaml_write(Arena *arena, const json_t *value)
{
    _cleanup_(buf_release) Buf out = buf_new(SIZE_MAX / 4);
    if (is_leaf(value)) {
        write_leaf(&out, value);
        buf_add_char(&out, '\n');
    } else {
        write_node(&out, value, 0);
    }
    return arena_str(arena, buf_str(&out));
}
