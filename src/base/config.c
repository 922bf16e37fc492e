/* config.c: one YAML file and the environment into a struct. See config.h. */
#include "base/config.h"

#include "base/json.h"
#include "base/yaml_lines.h"

#include <string.h>
#include <unistd.h>

/* "A__B_C" to the path a, b_c below root; intermediate objects are made. */
static Err override(Arena *arena, json_t *root, const FieldTable *table, Str path, Str value)
{
    json_t *object = root;
    const FieldTable *at = table;
    for (;;) {
        const char *cut = memmem(path.ptr, path.len, "__", 2);
        Str part = cut == NULL ? path : str_first(path, (size_t)(cut - path.ptr));
        char *key = arena_alloc(arena, part.len + 1, 1);
        for (size_t i = 0; i < part.len; i++)
            key[i] = (char)(part.ptr[i] >= 'A' && part.ptr[i] <= 'Z' ? part.ptr[i] + 32 : part.ptr[i]);
        const Field *field = at == NULL ? NULL : field_find(at, str_from_c(key));
        if (field == NULL)
            return FAIL_FMT(
                arena, ERR_INVALID, "bad-config", "the environment sets an unknown member: " STR_FMT, STR_ARG(path));
        if (cut == NULL) {
            _cleanup_(json_release) json_t *parsed = NULL;
            bool typed = field->kind != FIELD_STR && field->kind != FIELD_TIME && field->kind != FIELD_UUID;
            if (typed)
                TRY(yaml_parse(arena, str_from_c(key), value, &parsed));
            json_object_set_new(object, key, typed ? TAKE(parsed) : json_from_str(value));
            return OK;
        }
        json_t *inner = json_object_get(object, key);
        if (!json_is_object(inner)) {
            inner = json_object();
            json_object_set_new(object, key, inner);
        }
        object = inner;
        at = field->table;
        path = str_skip(path, part.len + 2);
    }
}

static Err apply_environment(Arena *arena, Str prefix, json_t *root, const FieldTable *table)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        Str name, value, path;
        if (prefix.len == 0 || !str_cut(str_from_c(*entry), '=', &name, &value) || !str_starts_with(name, prefix))
            continue;
        path = str_skip(name, prefix.len);
        if (str_starts_with(path, STR("_")))
            TRY(override(arena, root, table, str_skip(path, 1), value));
    }
    return OK;
}

/* Each bad member as "file:line: member detail". */
static Err name_lines(Arena *arena, Str path, const YamlLines *lines, Err err)
{
    Str detail = (Str){ 0 };
    for (size_t i = 0; i < err.fields.count; i++) {
        const FieldErr *bad = &err.fields.items[i];
        size_t line = yaml_line_of(lines, bad->pointer);
        Str where = line > 0 ? arena_fmt(arena, STR_FMT ":%zu", STR_ARG(path), line) : path;
        detail = arena_fmt(arena, STR_FMT "%s" STR_FMT ": " STR_FMT " " STR_FMT, STR_ARG(detail), i > 0 ? "\n" : "",
            STR_ARG(where), STR_ARG(str_skip(bad->pointer, 1)), STR_ARG(bad->detail));
    }
    if (err.fields.count == 0)
        detail = arena_fmt(arena, STR_FMT ": " STR_FMT, STR_ARG(path), STR_ARG(err.detail));
    Err named = FAIL_STR(ERR_INVALID, "bad-config", detail);
    named.fields = err.fields;
    return named;
}

Err config_load(Arena *arena, Str path, Str env_prefix, const FieldTable *table, void *ret_config)
{
    Str text;
    YamlLines lines = { 0 };
    json_t *root = NULL;
    TRY(file_read(arena, path, CONFIG_BYTES_MAX, &text));
    TRY(yaml_parse_lines(arena, path, text, &lines, &root));
    json_adopt(arena, root); /* members of kind Json borrow from it */
    if (!json_is_object(root))
        return FAIL_FMT(arena, ERR_INVALID, "bad-config", STR_FMT ": must be a mapping of settings", STR_ARG(path));
    TRY(apply_environment(arena, env_prefix, root, table));
    Err err = fields_decode(arena, table, root, DECODE_STRICT, ret_config);
    return err.kind == ERR_NONE ? OK : name_lines(arena, path, &lines, err);
}

static void redact(const FieldTable *table, const void *config, json_t *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const Field *field = &table->fields[i];
        const void *member = (const char *)config + field->offset;
        if (field->write_only)
            json_object_set_new(out, field->name, json_string("(redacted)"));
        else if (field->kind == FIELD_OBJECT)
            redact(field->table, member, json_object_get(out, field->name));
    }
}

Str config_print(Arena *arena, const FieldTable *table, const void *config)
{
    _cleanup_(json_release) json_t *out = fields_encode(arena, table, config);
    redact(table, config, out);
    return yaml_write(arena, out);
}
