/*
 * secrets.c: /v1/projects/{project}/secrets. Provider keys come in sealed and never go out.
 */
#include "api/route.h"

#include "domain/secret_record.h"
#include "store/sql.h"

static Err look_create(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    SecretRecord in = { 0 };
    SecretPlan *plan;
    TRY(req_body(req, &SECRET_RECORD_FIELDS, &in));
    TRY(secret_plan_create(ctx, &in, &plan));
    ctx->state = plan;
    return OK;
}

static Err intake(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    (void)reply;
    return secret_intake(ctx, ctx->state);
}

static Err create(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    SecretRecord secret;
    TRY(secret_create(ctx, ctx->state, &secret));
    reply_created(reply, &SECRET_RECORD_FIELDS, &secret, secret.id);
    return OK;
}

static Err look_rotate(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    SecretVersionNew in = { 0 };
    SecretPlan *plan;
    Ref ref;
    TRY(req_ref(req, "secret", "sec", &ref));
    TRY(req_body(req, &SECRET_VERSION_NEW_FIELDS, &in));
    TRY(secret_plan_rotate(ctx, &ref, &in, &plan));
    ctx->state = plan;
    return OK;
}

static Err rotate(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    SecretVersion version = { 0 };
    TRY(req_ref(req, "secret", "sec", &ref));
    TRY(secret_rotate(ctx, &ref, ctx->state, &version));
    reply_one(reply, &SECRET_VERSION_FIELDS, &version);
    return OK;
}

static Err which(const Req *req, Ref *ret_ref, int64_t *ret_number)
{
    TRY(req_ref(req, "secret", "sec", ret_ref));
    return req_number(req, "version", ret_number);
}

static Err activate(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    int64_t number;
    SecretOverlap in = { 0 };
    SecretVersion version = { 0 };
    TRY(which(req, &ref, &number));
    if (req_has_body(req))
        TRY(req_body(req, &SECRET_OVERLAP_FIELDS, &in));
    TRY(secret_activate(ctx, &ref, number, in.overlap_s, &version));
    reply_one(reply, &SECRET_VERSION_FIELDS, &version);
    return OK;
}

static Err revoke(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    int64_t number;
    SecretVersion version = { 0 };
    TRY(which(req, &ref, &number));
    TRY(secret_revoke(ctx, &ref, number, &version));
    reply_one(reply, &SECRET_VERSION_FIELDS, &version);
    return OK;
}

static const char *const secret[] = { "sec" };
static const char *const version[] = { "sec", "#" };
static const Read get = { .stmt = &SQL_SECRET_GET, .table = &SECRET_RECORD_FIELDS };
static const Read list = { .stmt = &SQL_SECRET_LIST, .table = &SECRET_RECORD_FIELDS, .list = true };
static const Read list_versions = {
    .stmt = &SQL_SECRET_VERSION_LIST, .table = &SECRET_VERSION_FIELDS, .list = true, .within = &SQL_SECRET_EXISTS
};

extern const Route SECRET_ROUTES[];
const Route SECRET_ROUTES[] = {
    ROUTE(GET, "/v1/projects/{project}/secrets", SECRET_LIST, .says = "List secrets, never a key.", .read = &list,
        .reply = &SECRET_RECORD_FIELDS),
    ROUTE(POST, "/v1/projects/{project}/secrets", SECRET_CREATE, .says = "Put a provider key in, bound to its origin.",
        .look = look_create, .prepare = intake, .commit = create, .body = &SECRET_RECORD_FIELDS,
        .reply = &SECRET_RECORD_FIELDS, .status = 201),
    ROUTE(GET, "/v1/projects/{project}/secrets/{secret}", SECRET_READ, .says = "Read a secret's name and origin.",
        .read = &get, .reply = &SECRET_RECORD_FIELDS, .prefixes = secret),
    ROUTE(DELETE, "/v1/projects/{project}/secrets/{secret}", SECRET_DELETE,
        .says = "Delete a secret that no connection uses.", .commit = noun_delete, .noun = &SECRET_RECORD,
        .if_match = true, .prefixes = secret),
    ROUTE(GET, "/v1/projects/{project}/secrets/{secret}/versions", SECRET_READ, .says = "List a secret's versions.",
        .read = &list_versions, .reply = &SECRET_VERSION_FIELDS, .prefixes = secret),
    ROUTE(POST, "/v1/projects/{project}/secrets/{secret}/versions", SECRET_ROTATE,
        .says = "Rotate: the new version becomes active, the former one retires after an overlap.", .look = look_rotate,
        .prepare = intake, .commit = rotate, .body = &SECRET_VERSION_NEW_FIELDS, .reply = &SECRET_VERSION_FIELDS,
        .status = 201, .prefixes = secret),
    ROUTE(POST, "/v1/projects/{project}/secrets/{secret}/versions/{version}/activate", SECRET_ROTATE,
        .says = "Make a pending version the active one.", .commit = activate, .body = &SECRET_OVERLAP_FIELDS,
        .reply = &SECRET_VERSION_FIELDS, .prefixes = version),
    ROUTE(POST, "/v1/projects/{project}/secrets/{secret}/versions/{version}/revoke", SECRET_REVOKE,
        .says = "Revoke a version at once.", .commit = revoke, .reply = &SECRET_VERSION_FIELDS, .prefixes = version),
    ROUTE_END,
};
