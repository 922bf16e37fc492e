/*
 * request.c: what a handler may ask of its request, decoded strictly: unknown members and parameters are refused.
 */
#include "call.h"

#include "base/buf.h"
#include "base/encode.h"

#include <string.h>

static const Field read_in_fields[] = {
    FIELD(ReadIn, id, .internal = true),
    FIELD(ReadIn, name, .internal = true),
    FIELD(ReadIn, parent, .internal = true),
    FIELD(ReadIn, parent_name, .internal = true),
    FIELD(ReadIn, number, .internal = true),
    FIELD(ReadIn, after, .internal = true),
    FIELD(ReadIn, after_number, .internal = true),
    FIELD(ReadIn, limit, .internal = true),
    FIELD(ReadIn, show_deleted, .required = false),
    FIELD(ReadIn, state, .max = 32),
    FIELD(ReadIn, roles, .internal = true),
};
const FieldTable READ_IN_FIELDS = FIELD_TABLE(ReadIn, read_in_fields);

static const Field show_deleted_fields[] = { FIELD(
    ReadIn, show_deleted, .doc = "Also what was deleted and can still be brought back.") };
const FieldTable QUERY_SHOW_DELETED = FIELD_TABLE(ReadIn, show_deleted_fields);
static const Field state_fields[] = { FIELD(ReadIn, state, .max = 32, .doc = "Only those in this state.") };
const FieldTable QUERY_STATE = FIELD_TABLE(ReadIn, state_fields);

/* --- shape: what is checked before a worker thread is asked --- */

static Err take_argument(Req *req, Str part)
{
    Str name, value;
    str_cut(part, '=', &name, &value);
    if (req->argument_count == QUERY_PARAMETERS_MAX)
        return FAIL(ERR_INVALID, "too-many-parameters", "There are too many query parameters.");
    Pair *pair = &req->arguments[req->argument_count++];
    TRY(url_decode(req->arena, name, &pair->name));
    pair->value = STR("");
    if (value.len > 0)
        TRY(url_decode(req->arena, value, &pair->value));
    for (size_t i = 0; i + 1 < req->argument_count; i++)
        if (str_eq(req->arguments[i].name, pair->name))
            return FAIL_FMT(req->arena, ERR_INVALID, "parameter-twice", "The query parameter " STR_FMT " stands twice.",
                STR_ARG(pair->name));
    return OK;
}

static Err take_arguments(Req *req)
{
    Str rest = req->query;
    while (rest.len > 0) {
        Str part;
        str_cut(rest, '&', &part, &rest);
        if (part.len > 0)
            TRY(take_argument(req, part));
    }
    return OK;
}

static bool is_list(const Route *route)
{
    return route->pages || (route->read != NULL && route->read->list);
}

static Err take_page_size(Req *req, Str value)
{
    if (!str_to_i64(value, &req->page_size) || req->page_size < 1)
        return FAIL(ERR_INVALID, "bad-page-size", "page_size must be a number from 1 to 500.");
    if (req->page_size > PAGE_SIZE_MAX)
        req->page_size = PAGE_SIZE_MAX;
    return OK;
}

/* The parameters that the dispatcher itself understands; *ret_known is false for the others. */
static Err take_common(Req *req, const Pair *pair, bool *ret_known)
{
    *ret_known = true;
    if (req->route->method != METHOD_GET && str_eq(pair->name, STR("dry_run"))) {
        if (!str_eq(pair->value, STR("true")) && !str_eq(pair->value, STR("false")))
            return FAIL(ERR_INVALID, "bad-dry-run", "dry_run must be true or false.");
        req->dry_run = str_eq(pair->value, STR("true"));
    } else if (is_list(req->route) && str_eq(pair->name, STR("page_size"))) {
        return take_page_size(req, pair->value);
    } else if (is_list(req->route) && str_eq(pair->name, STR("page_token"))) {
        req->page_token = pair->value;
    } else {
        *ret_known = false;
    }
    return OK;
}

static Err check_arguments(Req *req)
{
    for (size_t i = 0; i < req->argument_count; i++) {
        bool known;
        TRY(take_common(req, &req->arguments[i], &known));
        if (!known && (req->route->query == NULL || field_find(req->route->query, req->arguments[i].name) == NULL))
            return FAIL_FMT(req->arena, ERR_INVALID, "unknown-parameter",
                STR_FMT " is not a known query parameter here.", STR_ARG(req->arguments[i].name));
    }
    return OK;
}

static Err bad_if_match(void)
{
    return FAIL(ERR_INVALID, "bad-if-match", "If-Match must be one strong ETag as it was sent, or *.");
}

static Err take_if_match(Req *req)
{
    Str value = str_trim(req_header(req, STR("if-match")));
    if (value.len == 0) {
        if (req->route->if_match)
            return FAIL(ERR_PRECONDITION, "precondition-required",
                "Say which version you mean to change: If-Match with its ETag, or * to force.");
        return OK;
    }
    req->if_match.given = true;
    req->if_match.any = str_eq(value, STR("*"));
    if (req->if_match.any)
        return OK;
    if (value.len < 3 || value.ptr[0] != '"' || value.ptr[value.len - 1] != '"' ||
        !str_to_i64(str_n(value.ptr + 1, value.len - 2), &req->if_match.version))
        return bad_if_match();
    return OK;
}

#define IDEMPOTENCY_KEY_MAX 200

/* A structured-field string, or the same without its quotes. */
static Err take_idempotency_key(Req *req)
{
    Str value = str_trim(req_header(req, STR("idempotency-key")));
    if (value.ptr == NULL || req->route->method != METHOD_POST || req->route->no_replay)
        return OK;
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        value = str_n(value.ptr + 1, value.len - 2);
    bool good = value.len > 0 && value.len <= IDEMPOTENCY_KEY_MAX;
    for (size_t i = 0; good && i < value.len; i++)
        good = value.ptr[i] > 0x20 && value.ptr[i] < 0x7f && value.ptr[i] != '"' && value.ptr[i] != '\\';
    if (!good)
        return FAIL(ERR_INVALID, "bad-idempotency-key",
            "Idempotency-Key must be 1 to 200 printable characters without spaces, quotes and backslashes.");
    req->idempotency_key = value;
    Str what = arena_fmt(req->arena, "%s " STR_FMT "?" STR_FMT "\n", method_name(req->route->method),
        STR_ARG(req->path), STR_ARG(req->query));
    req->fingerprint = digest_of_two(str_bytes(what), str_bytes(req->body));
    return OK;
}

static Err check_media(const Req *req)
{
    if (req->route->body == NULL || req->body.len == 0)
        return OK;
    Str type, parameters;
    str_cut(req->content_type, ';', &type, &parameters);
    type = str_trim(type);
    if (str_eq_nocase(type, STR("application/json")) ||
        (req->route->method == METHOD_PATCH && str_eq_nocase(type, STR("application/merge-patch+json"))))
        return OK;
    return FAIL(ERR_INVALID, "unsupported-media-type", "Send the body as application/json.");
}

Err req_shape(Req *req)
{
    req->page_size = PAGE_SIZE_DEFAULT;
    TRY(take_arguments(req));
    TRY(check_arguments(req));
    TRY(check_media(req));
    TRY(take_if_match(req));
    return take_idempotency_key(req);
}

void req_release(Req *req)
{
    json_release(&req->json);
}

/* --- paging --- */

/* The token is bound to what was asked: path, filter and tenant. */
static Digest page_mac(const Req *req, Uuid after)
{
    Buf text = buf_new(16 * 1024);
    buf_add_bytes(&text, after.b, sizeof(after.b));
    buf_add(&text, req->path);
    for (size_t i = 0; i < req->argument_count; i++) {
        Pair pair = req->arguments[i];
        if (str_eq(pair.name, STR("page_token")) || str_eq(pair.name, STR("page_size")))
            continue;
        buf_fmt(&text, "&%zu." STR_FMT "=" STR_FMT, pair.name.len, STR_ARG(pair.name), STR_ARG(pair.value));
    }
    Digest mac = hmac_sha256(digest_bytes(&req->page_key), str_bytes(buf_str(&text)));
    buf_release(&text);
    return mac;
}

#define PAGE_MAC_LEN 16
#define PAGE_TOKEN_LEN (16 + PAGE_MAC_LEN)

Str page_token_make(const Req *req, Uuid after)
{
    uint8_t token[PAGE_TOKEN_LEN];
    Digest mac = page_mac(req, after);
    memcpy(token, after.b, sizeof(after.b));
    memcpy(token + sizeof(after.b), mac.b, PAGE_MAC_LEN);
    return base64url_encode(req->arena, BYTES_OF(token));
}

Err req_page_open(Req *req, const Ctx *ctx)
{
    (void)ctx;
    if (req->page_token.ptr == NULL)
        return OK;
    uint8_t token[PAGE_TOKEN_LEN];
    Uuid after;
    if (base64url_decode_into(req->page_token, token, sizeof(token)).kind == ERR_NONE) {
        memcpy(after.b, token, sizeof(after.b));
        Digest mac = page_mac(req, after);
        Bytes given = { token + sizeof(after.b), PAGE_MAC_LEN };
        if (secret_eq(given, (Bytes){ mac.b, PAGE_MAC_LEN })) {
            req->page_after = after;
            return OK;
        }
    }
    return FAIL(ERR_INVALID, "bad-page-token", "page_token is not one that this list gave for this filter.");
}

Err req_page(const Req *req, int64_t *ret_limit, Uuid *ret_after)
{
    *ret_limit = req->page_size;
    *ret_after = req->page_after;
    return OK;
}

/* --- what handlers ask --- */

static Err parse_body(Req *req)
{
    if (req->json != NULL)
        return OK;
    if (req->body.len == 0)
        return FAIL(ERR_INVALID, "body-missing", "This request needs a JSON object as its body.");
    return json_parse(req->body, JSON_LIMITS_ADMIN, &req->json);
}

static Err check_names(const Req *req, const FieldTable *table, const void *ptr)
{
    for (size_t i = 0; i < table->count; i++) {
        const Field *field = &table->fields[i];
        if (field->kind != FIELD_STR || !field->name_like || field->read_only)
            continue;
        const Str *name = (const Str *)((const char *)ptr + field->offset);
        if (name->ptr == NULL || name_check(*name).kind == ERR_NONE)
            continue;
        FieldErr *bad = NEW(req->arena, FieldErr, 1);
        bad->pointer = arena_fmt(req->arena, "/%s", field->name);
        bad->detail = STR("must not have the form of an id");
        Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
        err.fields = (FieldErrs){ bad, 1 };
        return err;
    }
    return OK;
}

Err req_body(const Req *req, const FieldTable *table, void *ret_struct)
{
    Req *mine = (Req *)(uintptr_t)req; /* the parsed document is kept for a second run of the step */
    TRY(parse_body(mine));
    DecodeMode mode = req->route->method == METHOD_PATCH ? DECODE_PATCH : DECODE_BODY;
    TRY(fields_decode(req->arena, table, req->json, mode, ret_struct));
    return check_names(req, table, ret_struct);
}

Err req_json(const Req *req, json_t **ret_value)
{
    Req *mine = (Req *)(uintptr_t)req;
    TRY(parse_body(mine));
    *ret_value = mine->json;
    return OK;
}

Err req_resolve(Ctx *ctx, const Req *req, const NounRef *refs)
{
    json_t *body;
    if (refs == NULL)
        return OK;
    TRY(req_json(req, &body));
    return refs_resolve(ctx, refs, body);
}

bool req_has_body(const Req *req)
{
    return req->body.len > 0;
}

Str req_raw_body(const Req *req)
{
    return req->body;
}

Str req_header(const Req *req, Str name)
{
    for (size_t i = 0; i < req->header_count; i++)
        if (str_eq_nocase(req->headers[i].name, name))
            return req->headers[i].value;
    return (Str){ NULL, 0 };
}

Str req_path(const Req *req, const char *parameter)
{
    for (size_t i = 0; i < req->parameter_count; i++)
        if (str_eq(req->parameters[i].name, str_from_c(parameter)))
            return req->parameters[i].value;
    return (Str){ NULL, 0 };
}

Err req_ref(const Req *req, const char *parameter, const char *prefix, Ref *ret_ref)
{
    return ref_parse(req_path(req, parameter), str_from_c(prefix), ret_ref);
}

Err req_number(const Req *req, const char *parameter, int64_t *ret_number)
{
    int64_t number;
    if (!str_to_i64(req_path(req, parameter), &number) || number < 1)
        return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
    *ret_number = number;
    return OK;
}

static json_t *argument_json(Arena *arena, const Field *field, Str value)
{
    int64_t number;
    switch (field->kind) {
    case FIELD_INT:
    case FIELD_MAYBE_INT:
        return str_to_i64(value, &number) ? json_integer(number) : json_from_str(value);
    case FIELD_BOOL:
        return str_eq(value, STR("true"))    ? json_true()
               : str_eq(value, STR("false")) ? json_false()
                                             : json_from_str(value);
    case FIELD_STRS:
    case FIELD_UUIDS: {
        json_t *list = json_array();
        Str head, rest = value;
        while (rest.len > 0) {
            str_cut(rest, ',', &head, &rest);
            json_array_append_new(list, json_from_str(head));
        }
        return list;
    }
    default:
        (void)arena;
        return json_from_str(value);
    }
}

Err req_query(const Req *req, const FieldTable *table, void *ret_struct)
{
    _cleanup_(json_release) json_t *object = json_object();
    for (size_t i = 0; i < req->argument_count; i++) {
        const Field *field = field_find(table, req->arguments[i].name);
        if (field != NULL && !field->internal)
            json_object_set_new(object, field->name, argument_json(req->arena, field, req->arguments[i].value));
    }
    Err err = fields_decode(req->arena, table, object, DECODE_BODY, ret_struct);
    if (err_is(err, "invalid-body")) {
        err.code = STR("invalid-parameters");
        err.detail = STR("The request has query parameters that cannot be accepted.");
    }
    return err;
}

bool req_dry_run(const Req *req)
{
    return req->dry_run;
}

bool req_timed_out(const Req *req)
{
    return req->timed_out;
}

Str req_client(const Req *req)
{
    return req->client;
}

/* "sec": an id or name; "#": a number; "#rev": a number or an id. What came before becomes the parent. */
static Err take_read_parameter(Str value, const char *prefix, ReadIn *in)
{
    Ref ref = { 0 };
    in->parent = in->id;
    in->parent_name = in->name;
    if (prefix[0] != '#') {
        TRY(ref_parse(value, str_from_c(prefix), &ref));
    } else if (str_to_i64(value, &in->number.value) && in->number.value > 0) {
        in->number.set = true;
    } else if (prefix[1] == 0 || typeid_parse(value, str_from_c(prefix + 1), &ref.id).kind != ERR_NONE) {
        return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
    }
    in->id = ref.id;
    in->name = ref.name;
    return OK;
}

/* The path's own parameters, behind org and project, become id/name and parent/parent_name. */
Err req_read_in(const Req *req, ReadIn *ret_in)
{
    ReadIn in = { .limit = req->page_size + 1, .after = req->page_after };
    for (size_t i = 8; i < sizeof(in.after.b); i++)
        in.after_number = in.after_number << 8 | req->page_after.b[i];
    if (req->route->query != NULL)
        TRY(req_query(req, req->route->query, &in));
    size_t index = 0;
    for (size_t i = 0; i < req->parameter_count; i++) {
        Pair pair = req->parameters[i];
        if (!str_eq(pair.name, STR("org")) && !str_eq(pair.name, STR("project")))
            TRY(take_read_parameter(pair.value, req->route->prefixes[index++], &in));
    }
    *ret_in = in;
    return OK;
}
