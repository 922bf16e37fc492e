/* json.c: one pass over the bytes before jansson may allocate anything. See json.h. */
#include "base/buf.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

/* Blocks carry their size in front, so that free can wipe them. */
typedef struct Block {
    size_t size;
    _Alignas(16) unsigned char data[];
} Block;

static void *json_alloc(size_t size)
{
    Block *block = malloc(sizeof(Block) + size);
    if (block == NULL)
        die("out of memory (JSON)");
    block->size = size;
    return block->data;
}

static void json_wipe_free(void *ptr)
{
    if (ptr == NULL)
        return;
    Block *block = (Block *)(void *)((unsigned char *)ptr - offsetof(Block, data));
    explicit_bzero(block->data, block->size);
    free(block);
}

void json_start(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    json_set_alloc_funcs(json_alloc, json_wipe_free);
    json_object_seed(0);
}

void json_release(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

static void drop_reference(void *value)
{
    json_decref(value);
}

json_t *json_adopt(Arena *arena, json_t *value)
{
    if (value != NULL)
        arena_defer(arena, drop_reference, value);
    return value;
}

typedef struct Scan {
    Str text;
    size_t at;
    size_t depth;
    size_t tokens;
} Scan;

static Err scan_string(Scan *scan)
{
    for (scan->at++; scan->at < scan->text.len; scan->at++) {
        char c = scan->text.ptr[scan->at];
        if (c == '"')
            return OK;
        if (c == '\\')
            scan->at++;
    }
    return FAIL(ERR_INVALID, "json-malformed", "The JSON text ends inside a string.");
}

static Err scan_one(Scan *scan, JsonLimits limits)
{
    switch (scan->text.ptr[scan->at]) {
    case '"':
        scan->tokens++;
        return scan_string(scan);
    case '{':
    case '[':
        scan->tokens++;
        if (++scan->depth > limits.depth_max)
            return FAIL(ERR_INVALID, "json-too-deep", "The JSON text is nested too deeply.");
        return OK;
    case '}':
    case ']':
        if (scan->depth == 0)
            return FAIL(ERR_INVALID, "json-malformed", "The JSON text closes what it did not open.");
        scan->depth--;
        return OK;
    case ',':
    case ':':
        scan->tokens++;
        return OK;
    case '\0':
        return FAIL(ERR_INVALID, "json-malformed", "The JSON text has a NUL byte.");
    default:
        return OK;
    }
}

Err json_scan(Str text, JsonLimits limits)
{
    if (text.len > limits.bytes_max)
        return FAIL(ERR_TOO_LARGE, "json-too-large", "The JSON text is larger than is accepted here.");
    if (!str_is_utf8(text))
        return FAIL(ERR_INVALID, "json-not-utf8", "The JSON text is not UTF-8.");
    Scan scan = { .text = text };
    for (; scan.at < text.len; scan.at++) {
        TRY(scan_one(&scan, limits));
        if (scan.tokens > limits.tokens_max)
            return FAIL(ERR_INVALID, "json-too-many-members", "The JSON text has more members than are accepted here.");
    }
    if (scan.depth != 0)
        return FAIL(ERR_INVALID, "json-malformed", "The JSON text ends inside an object or array.");
    return OK;
}

Err json_parse(Str text, JsonLimits limits, json_t **ret_value)
{
    TRY(json_scan(text, limits));
    json_error_t error;
    json_t *value = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL && json_error_code(&error) == json_error_duplicate_key)
        return FAIL(ERR_INVALID, "json-duplicate-member", "The JSON text has an object with two members of one name.");
    if (value == NULL)
        return FAIL(ERR_INVALID, "json-malformed", "The text is not a JSON object or array.");
    *ret_value = value;
    return OK;
}

static int write_piece(const char *piece, size_t len, void *arg)
{
    buf_add_bytes(arg, piece, len);
    return 0;
}

static Str write_flags(Arena *arena, const json_t *value, size_t flags)
{
    _cleanup_(buf_release) Buf out = buf_new(SIZE_MAX / 4);
    if (json_dump_callback(value, write_piece, &out, flags | JSON_ENCODE_ANY) != 0)
        die("a JSON value could not be written");
    return arena_str(arena, buf_str(&out));
}

Str json_write(Arena *arena, const json_t *value)
{
    return write_flags(arena, value, JSON_COMPACT);
}

Str json_write_pretty(Arena *arena, const json_t *value)
{
    return write_flags(arena, value, JSON_INDENT(2));
}

Str json_str(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? str_n(json_string_value(value), json_string_length(value)) : (Str){ 0 };
}

bool json_i64(const json_t *object, const char *key, int64_t *ret_value)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return false;
    *ret_value = json_integer_value(value);
    return true;
}

json_t *json_at(const json_t *object, const char *path)
{
    const json_t *at = object;
    char key[64];
    while (at != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        if (len >= sizeof(key))
            return NULL;
        memcpy(key, path, len);
        key[len] = '\0';
        at = json_object_get(at, key);
        path += len + (path[len] == '.');
    }
    return (json_t *)(uintptr_t)at;
}

json_t *json_from_str(Str s)
{
    json_t *value = json_stringn(s.ptr == NULL ? "" : s.ptr, s.len);
    return value != NULL ? value : json_string("");
}
