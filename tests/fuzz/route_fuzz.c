/*
 * A stranger's request target and headers: the route they find, the parameters they carry. What is accepted keeps what
 * the handlers rely on; a page token is never good without its key.
 */
#include "../../src/api/call.h"

#include "base/json.h"
#include "crypto/secret.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    crypto_start();
    json_start();
    return 0;
}

/* method \n path \n query \n If-Match \n Idempotency-Key \n body */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str rest = arena_str(arena, bytes_str((Bytes){ data, size })), method, path, allow = STR("");
    Header headers[2] = { { STR("if-match"), STR("") }, { STR("idempotency-key"), STR("") } };
    Req req = { .arena = arena, .headers = headers, .header_count = 2, .content_type = STR("application/json") };
    str_cut(rest, '\n', &method, &rest);
    str_cut(rest, '\n', &path, &rest);
    str_cut(rest, '\n', &req.query, &rest);
    str_cut(rest, '\n', &headers[0].value, &rest);
    str_cut(rest, '\n', &headers[1].value, &rest);
    req.path = path;
    req.body = rest;
    Err err = router_match(arena, method, path, &req.route, req.parameters, &req.parameter_count, &allow);
    if (err.kind == ERR_METHOD)
        assert(allow.len > 0);
    if (err.kind != ERR_NONE)
        return 0;
    assert(str_eq(method, str_from_c(method_name(req.route->method))));
    for (size_t i = 0; i < req.parameter_count; i++)
        assert(req.parameters[i].value.len > 0 && str_is_utf8(req.parameters[i].value));
    if (req_shape(&req).kind == ERR_NONE) {
        assert(req.page_size >= 1 && req.page_size <= PAGE_SIZE_MAX);
        assert(!req.route->if_match || req.if_match.given);
        assert(req.idempotency_key.len <= 200);
        ReadIn in;
        Ctx ctx = { .arena = arena };
        if (req.route->read != NULL && req_read_in(&req, &in).kind == ERR_NONE)
            assert(in.limit == req.page_size + 1);
        assert(req.page_token.ptr == NULL || req_page_open(&req, &ctx).kind != ERR_NONE);
        if (req.route->body != NULL) {
            void *into = arena_alloc(arena, 1, req.route->body->size);
            (void)!req_body(&req, req.route->body, into).kind;
        }
    }
    req_release(&req);
    return 0;
}
