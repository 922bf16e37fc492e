/* problem.c: see problem.h. */
#include "http/problem.h"

#include "base/json.h"

static const int statuses[ERR_KIND_COUNT] = {
    [ERR_NONE] = 200,
    [ERR_INVALID] = 422,
    [ERR_UNAUTHENTICATED] = 401,
    [ERR_FORBIDDEN] = 403,
    [ERR_NOT_FOUND] = 404,
    [ERR_METHOD] = 405,
    [ERR_CONFLICT] = 409,
    [ERR_PRECONDITION] = 412,
    [ERR_TOO_LARGE] = 413,
    [ERR_LIMITED] = 429,
    [ERR_SEALED] = 422,
    [ERR_UNAVAILABLE] = 503,
    [ERR_TIMEOUT] = 504,
    [ERR_INTERNAL] = 500,
};

int err_http_status(Err err)
{
    if (err_is(err, "precondition-required"))
        return 428;
    return err.kind < ERR_KIND_COUNT ? statuses[err.kind] : 500;
}

static void set_str(json_t *object, const char *key, Str value)
{
    json_object_set_new(object, key, json_from_str(value));
}

static json_t *errors_of(FieldErrs fields)
{
    json_t *errors = json_array();
    for (size_t i = 0; i < fields.count; i++) {
        json_t *error = json_object();
        set_str(error, "pointer", fields.items[i].pointer);
        set_str(error, "detail", fields.items[i].detail);
        json_array_append_new(errors, error);
    }
    return errors;
}

Str problem_text(Arena *arena, int status, Str code, Str detail, Str request_id, FieldErrs fields)
{
    _cleanup_(json_release) json_t *problem = json_object();
    set_str(problem, "type", arena_fmt(arena, "/problems/" STR_FMT, STR_ARG(code)));
    set_str(problem, "title", str_from_c(http_status_phrase(status)));
    json_object_set_new(problem, "status", json_integer(status));
    set_str(problem, "detail", detail);
    set_str(problem, "code", code);
    set_str(problem, "request_id", request_id);
    if (fields.count > 0)
        json_object_set_new(problem, "errors", errors_of(fields));
    return json_write(arena, problem);
}

Str problem_document(Arena *arena, Err err, Str request_id)
{
    return problem_text(arena, err_http_status(err), err.code, err.detail, request_id, err.fields);
}

void exchange_reply_err(Exchange *exchange, Err err)
{
    Arena *arena = exchange_arena(exchange);
    Header headers[2];
    Response response = { .status = err_http_status(err),
        .content_type = "application/problem+json",
        .body = problem_document(arena, err, exchange_request_id(exchange)),
        .headers = headers };
    if (err.retry_after_s > 0)
        headers[response.header_count++] =
            (Header){ .name = STR("retry-after"), .value = arena_fmt(arena, "%d", err.retry_after_s) };
    if (err.kind == ERR_UNAUTHENTICATED)
        headers[response.header_count++] = (Header){ .name = STR("www-authenticate"), .value = STR("Bearer") };
    exchange_reply(exchange, &response);
}
