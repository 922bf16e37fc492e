/*
 * openapi.c: every row of the route table becomes an operation, every field table a schema. Nothing is written twice.
 */
#include "api/openapi.h"

#include "call.h"

#include <string.h>

typedef struct Writer {
    Arena *arena;
    json_t *schemas;
} Writer;

static json_t *object_of(const char *name, json_t *value)
{
    json_t *object = json_object();
    json_object_set_new(object, name, value);
    return object;
}

static json_t *schema_ref(Writer *writer, const FieldTable *table, const char *suffix);

/* --- one member --- */

static json_t *text_schema(const Field *field)
{
    json_t *schema = object_of("type", json_string("string"));
    if (field->one_of != NULL) {
        json_t *values = json_array();
        for (const char *const *value = field->one_of; *value != NULL; value++)
            json_array_append_new(values, json_string(*value));
        json_object_set_new(schema, "enum", values);
    } else if (field->name_like) {
        json_object_set_new(schema, "pattern", json_string("^[a-z0-9][a-z0-9_-]{0,63}$"));
    } else if (!field->read_only) {
        json_object_set_new(schema, "maxLength", json_integer(field->max > 0 ? field->max : FIELD_STR_MAX));
    }
    return schema;
}

static json_t *int_schema(const Field *field)
{
    json_t *schema = object_of("type", json_string("integer"));
    json_object_set_new(schema, "format", json_string("int64"));
    if (field->max > 0) {
        json_object_set_new(schema, "minimum", json_integer(field->min));
        json_object_set_new(schema, "maximum", json_integer(field->max));
    }
    return schema;
}

static json_t *uuid_schema(Writer *writer, const Field *field)
{
    json_t *schema = object_of("type", json_string("string"));
    if (field->prefix == NULL)
        json_object_set_new(schema, "format", json_string("uuid"));
    else
        json_object_set_new(schema, "pattern",
            json_from_str(arena_fmt(writer->arena, "^%s_[0-7][0-9a-hjkmnp-tv-z]{25}$", field->prefix)));
    return schema;
}

static json_t *plain_schema(const char *type, const char *format)
{
    json_t *schema = object_of("type", json_string(type));
    if (format != NULL)
        json_object_set_new(schema, "format", json_string(format));
    return schema;
}

static json_t *array_schema(const Field *field, json_t *items)
{
    json_t *schema = object_of("type", json_string("array"));
    json_object_set_new(schema, "items", items);
    json_object_set_new(schema, "maxItems", json_integer(field->max > 0 ? field->max : FIELD_LIST_MAX));
    return schema;
}

static json_t *kind_schema(Writer *writer, const Field *field)
{
    switch (field->kind) {
    case FIELD_STR:
        return text_schema(field);
    case FIELD_STRS:
        return array_schema(field, plain_schema("string", NULL));
    case FIELD_BOOL:
        return plain_schema("boolean", NULL);
    case FIELD_INT:
    case FIELD_MAYBE_INT:
        return int_schema(field);
    case FIELD_UUID:
        return uuid_schema(writer, field);
    case FIELD_UUIDS:
        return array_schema(field, uuid_schema(writer, field));
    case FIELD_TIME:
        return plain_schema("string", "date-time");
    case FIELD_BYTES:
        return object_of("contentEncoding", json_string("base64url"));
    case FIELD_MONEY:
    case FIELD_MONEY_SUM:
        return object_of("pattern", json_string("^-?[0-9]+(\\.[0-9]{1,12})?$"));
    case FIELD_OBJECT:
        return schema_ref(writer, field->table, "");
    case FIELD_LIST:
        return array_schema(field, schema_ref(writer, field->table, ""));
    default:
        return json_object();
    }
}

static bool may_be_null(const Field *field)
{
    static const bool nullable[FIELD_BOOLS + 1] = {
        [FIELD_STR] = true, [FIELD_UUID] = true, [FIELD_TIME] = true, [FIELD_BYTES] = true, [FIELD_MAYBE_INT] = true
    };
    return !field->required && nullable[field->kind];
}

static json_t *member_schema(Writer *writer, const Field *field)
{
    json_t *schema = kind_schema(writer, field);
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (may_be_null(field) && type != NULL && field->one_of == NULL) {
        json_t *types = json_array();
        json_array_append_new(types, json_string(type));
        json_array_append_new(types, json_string("null"));
        json_object_set_new(schema, "type", types);
    }
    if (field->doc != NULL)
        json_object_set_new(schema, "description", json_string(field->doc));
    if (field->read_only)
        json_object_set_new(schema, "readOnly", json_true());
    if (field->write_only)
        json_object_set_new(schema, "writeOnly", json_true());
    return schema;
}

/* --- schemas --- */

static json_t *table_schema(Writer *writer, const FieldTable *table, bool patch)
{
    json_t *schema = object_of("type", json_string("object"));
    json_t *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const Field *field = &table->fields[i];
        if (field->internal || (patch && field->read_only))
            continue;
        json_object_set_new(properties, field->name, member_schema(writer, field));
        if (field->required && !patch)
            json_array_append_new(required, json_string(field->name));
    }
    json_object_set_new(schema, "properties", properties);
    if (json_array_size(required) > 0)
        json_object_set(schema, "required", required);
    json_decref(required);
    json_object_set_new(schema, "additionalProperties", json_false());
    return schema;
}

static json_t *schema_ref(Writer *writer, const FieldTable *table, const char *suffix)
{
    Str name = arena_fmt(writer->arena, "%s%s", table->name, suffix);
    if (json_object_get(writer->schemas, name.ptr) == NULL) {
        json_object_set_new(writer->schemas, name.ptr, json_object()); /* so that a table may name itself */
        json_object_set_new(writer->schemas, name.ptr, table_schema(writer, table, *suffix != 0));
    }
    return object_of("$ref", json_from_str(arena_fmt(writer->arena, "#/components/schemas/" STR_FMT, STR_ARG(name))));
}

static json_t *problem_schema(void)
{
    return json_pack("{s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s, s:{s:s, s:{s:{s:s}, "
                     "s:{s:s}}}}}}",
        "type", "object", "properties", "type", "type", "string", "title", "type", "string", "status", "type",
        "integer", "detail", "type", "string", "code", "type", "string", "request_id", "type", "string", "errors",
        "type", "array", "items", "type", "object", "properties", "pointer", "type", "string", "detail", "type",
        "string");
}

/* --- operations --- */

static json_t *parameter(const char *name, const char *in, bool required, const char *says, json_t *schema)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(name));
    json_object_set_new(object, "in", json_string(in));
    json_object_set_new(object, "required", json_boolean(required));
    if (says != NULL)
        json_object_set_new(object, "description", json_string(says));
    json_object_set_new(object, "schema", schema);
    return object;
}

static void add_page_parameters(json_t *list)
{
    json_t *size = plain_schema("integer", NULL);
    json_object_set_new(size, "minimum", json_integer(1));
    json_object_set_new(size, "maximum", json_integer(PAGE_SIZE_MAX));
    json_array_append_new(
        list, parameter("page_size", "query", false, "At most so many items; 50 when not given.", size));
    json_array_append_new(list,
        parameter("page_token", "query", false, "next_page_token of the page before.", plain_schema("string", NULL)));
}

static bool is_list(const Route *route)
{
    return route->pages || (route->read != NULL && route->read->list);
}

static json_t *parameters(Writer *writer, const Route *route)
{
    json_t *list = json_array();
    Str names[PATH_PARAMETERS_MAX];
    size_t count = pattern_parameters(route->pattern, names);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, parameter(arena_str(writer->arena, names[i]).ptr, "path", true, "Id or name.",
                                        plain_schema("string", NULL)));
    for (size_t i = 0; route->query != NULL && i < route->query->count; i++) {
        const Field *field = &route->query->fields[i];
        if (!field->internal)
            json_array_append_new(
                list, parameter(field->name, "query", field->required, field->doc, kind_schema(writer, field)));
    }
    if (is_list(route))
        add_page_parameters(list);
    if (route->method != METHOD_GET)
        json_array_append_new(list,
            parameter("dry_run", "query", false, "Show the change, do not make it.", plain_schema("boolean", NULL)));
    if (route->method == METHOD_POST && !route->no_replay && route->credential == CREDENTIAL_SERVICE)
        json_array_append_new(list,
            parameter("Idempotency-Key", "header", false, "Makes the call happen once.", plain_schema("string", NULL)));
    if (route->if_match)
        json_array_append_new(list, parameter("If-Match", "header", true, "The ETag that is meant, or * to force.",
                                        plain_schema("string", NULL)));
    return list;
}

static json_t *content(const char *media, json_t *schema)
{
    return object_of(media, object_of("schema", schema));
}

static json_t *reply_schema(Writer *writer, const Route *route)
{
    if (route->reply == NULL)
        return plain_schema("object", NULL);
    json_t *item = schema_ref(writer, route->reply, "");
    if (!is_list(route)) {
        if (!route->reveals)
            return item;
        json_t *shown = json_pack("{s:s, s:{s:{s:s, s:s}}}", "type", "object", "properties", "token", "type", "string",
            "description", "Shown once.");
        return object_of("allOf", json_pack("[o, o]", item, shown));
    }
    json_t *properties = json_object();
    json_object_set_new(properties, "data", json_pack("{s:s, s:o}", "type", "array", "items", item));
    json_object_set_new(properties, "next_page_token", json_pack("{s:[s, s]}", "type", "string", "null"));
    return json_pack("{s:s, s:o}", "type", "object", "properties", properties);
}

static bool answers_nothing(const Route *route)
{
    return route->reply == NULL && route->method != METHOD_GET && route->status == 0;
}

static json_t *responses(Writer *writer, const Route *route)
{
    json_t *all = json_object(), *good = object_of("description", json_string("Done."));
    const char *media = route->media != NULL ? route->media : "application/json";
    bool nothing = answers_nothing(route);
    if (!nothing && str_starts_with(str_from_c(media), STR("text/")))
        json_object_set_new(good, "content", content(media, plain_schema("string", NULL)));
    else if (!nothing)
        json_object_set_new(good, "content", content(media, reply_schema(writer, route)));
    Str status = arena_fmt(writer->arena, "%d", nothing ? 204 : route->status > 0 ? route->status : 200);
    json_object_set_new(all, status.ptr, good);
    json_t *problem = object_of("description", json_string("A problem document (RFC 9457)."));
    json_object_set_new(problem, "content",
        content("application/problem+json", object_of("$ref", json_string("#/components/schemas/Problem"))));
    json_object_set(all, "4XX", problem);
    json_object_set_new(all, "5XX", problem);
    return all;
}

/* GET /v1/projects/{project} → get_v1_projects_project */
static Str operation_id(Writer *writer, const Route *route)
{
    Str text = arena_fmt(writer->arena, "%s%s", method_name(route->method), route->pattern);
    char *out = arena_alloc(writer->arena, text.len + 1, 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out[len++] = c;
        else if (c >= 'A' && c <= 'Z')
            out[len++] = (char)(c + 32);
        else if (c != '{' && c != '}')
            out[len++] = '_';
    }
    return str_n(out, len);
}

/* /v1/projects/{project}/secrets → secrets */
static Str tag_of(const Route *route)
{
    Str rest = str_skip(str_from_c(route->pattern), 1), head, tag = STR("system");
    while (rest.len > 0) {
        str_cut(rest, '/', &head, &rest);
        if (head.len > 0 && head.ptr[0] != '{' && !str_eq(head, STR("v1")) &&
            (str_eq(tag, STR("system")) || str_eq(tag, STR("projects"))))
            tag = head;
    }
    return str_starts_with(str_from_c(route->pattern), STR("/v1/")) ? tag : STR("system");
}

static json_t *operation(Writer *writer, const Route *route)
{
    json_t *object = json_object();
    json_object_set_new(object, "operationId", json_from_str(operation_id(writer, route)));
    json_object_set_new(object, "summary", json_string(route->says));
    json_object_set_new(object, "tags", json_pack("[o]", json_from_str(tag_of(route))));
    if (route->action != ACTION_NONE)
        json_object_set_new(object, "x-reeve-action", json_string(ACTIONS[route->action].name));
    if (route->credential == CREDENTIAL_NONE)
        json_object_set_new(object, "security", json_array());
    json_object_set_new(object, "parameters", parameters(writer, route));
    if (route->body != NULL) {
        bool patch = route->method == METHOD_PATCH;
        json_t *schema = schema_ref(writer, route->body, patch ? "Patch" : "");
        json_object_set_new(object, "requestBody",
            object_of("content", content(patch ? "application/merge-patch+json" : "application/json", schema)));
    }
    json_object_set_new(object, "responses", responses(writer, route));
    return object;
}

static void add_operation(Writer *writer, json_t *paths, const Route *route)
{
    static const char *const verbs[METHOD_COUNT] = { "get", "post", "put", "patch", "delete" };
    json_t *path = json_object_get(paths, route->pattern);
    if (path == NULL) {
        path = json_object();
        json_object_set_new(paths, route->pattern, path);
    }
    json_object_set_new(path, verbs[route->method], operation(writer, route));
}

json_t *openapi_document(void)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    json_t *paths = json_object();
    Writer writer = { arena, json_object() };
    json_object_set_new(writer.schemas, "Problem", problem_schema());
    for (const Route *const *table = ROUTE_TABLES; *table != NULL; table++)
        for (const Route *route = *table; route->pattern != NULL; route++)
            add_operation(&writer, paths, route);
    json_t *bearer = json_pack("{s:s, s:s}", "type", "http", "scheme", "bearer");
    json_t *components = json_object();
    json_object_set_new(components, "schemas", writer.schemas);
    json_object_set_new(components, "securitySchemes", object_of("token", bearer));
    return json_pack("{s:s, s:{s:s, s:s, s:{s:s, s:s}, s:s}, s:[{s:s}], s:[{s:[]}], s:o, s:o}", "openapi", "3.1.0",
        "info", "title", "Reeve admin API", "version", REEVE_VERSION, "license", "name", "Apache-2.0", "identifier",
        "Apache-2.0", "description", "The control plane of Reeve.", "servers", "url", "/", "security", "token", "paths",
        paths, "components", components);
}
