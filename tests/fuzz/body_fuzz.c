/*
 * body_fuzz.c: the body scanner against a parser, and its edits against what they may change.
 *
 * What the scanner takes, jansson takes (but for what jansson alone refuses: numbers beyond a double, lone surrogates,
 * NUL in names, duplicates deep inside). jansson loses a NUL byte behind a number, so texts with one are not compared.
 * The edited body, parsed, is the original with another model and include_usage set, and nothing else.
 */
#include "base/json.h"
#include "gateway/body.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *parse(Str text)
{
    return json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);
}

static void check_edit(Arena *arena, const ChatBody *body)
{
    Str edited = body_edit(arena, body, STR("target \"model\""));
    _cleanup_(json_release) json_t *before = parse(body->text);
    _cleanup_(json_release) json_t *after = parse(edited);
    if (before == NULL)
        return;
    if (after == NULL)
        abort();
    json_object_set_new(before, "model", json_string("target \"model\""));
    if (body->usage_edit != USAGE_KEEP) {
        json_t *options = json_object_get(before, "stream_options");
        if (!json_is_object(options)) {
            options = json_object();
            json_object_set_new(before, "stream_options", options);
        }
        json_object_set_new(options, "include_usage", json_true());
    }
    if (!json_equal(before, after))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text = str_n((const char *)data, size);
    for (Dialect dialect = DIALECT_OPENAI; dialect < DIALECT_COUNT; dialect++) {
        ChatBody body;
        Err err = body_read(arena, text, dialect, &body);
        if (err.kind == ERR_NONE)
            check_edit(arena, &body);
    }
    _cleanup_(json_release) json_t *value = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    Member members[SCAN_MEMBERS_MAX];
    size_t count;
    Err scanned = scan_object(arena, text, SCAN_DEPTH_MAX, members, COUNT_OF(members), &count);
    bool has_nul = str_contains(text, str_n("", 1));
    if (has_nul)
        return 0;
    bool limit = err_is(scanned, "json-too-deep") || err_is(scanned, "json-too-many-members");
    if (json_is_object(value) && scanned.kind != ERR_NONE && !limit)
        abort(); /* the parser takes it and the scanner does not */
    if (json_is_object(value) && scanned.kind == ERR_NONE && json_object_size(value) != count)
        abort();
    return 0;
}
