/*
 * client_keys.c: /v1/projects/{project}/client-keys.
 */
#include "api/route.h"

#include "domain/client_key.h"
#include "store/sql.h"

static Err post_key(Ctx *ctx, const Req *req, Reply *reply)
{
    ClientKey key = { 0 };
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(req_body(req, &CLIENT_KEY_FIELDS, &key));
    TRY(client_key_issue(ctx, &key, &text));
    reply_created(reply, &CLIENT_KEY_FIELDS, &key, key.id);
    reply_reveal(reply, &text);
    return OK;
}

static Err rotate(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    ClientKeyRotate in = { 0 };
    ClientKey key;
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(req_ref(req, "key", "cky", &ref));
    if (req_has_body(req))
        TRY(req_body(req, &CLIENT_KEY_ROTATE_FIELDS, &in));
    TRY(client_key_rotate(ctx, &ref, &in, &key, &text));
    reply_created(reply, &CLIENT_KEY_FIELDS, &key, key.id);
    reply_status(reply, 200);
    reply_reveal(reply, &text);
    return OK;
}

static Err revoke(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    ClientKey key = { 0 };
    TRY(req_ref(req, "key", "cky", &ref));
    TRY(client_key_revoke(ctx, &ref, &key));
    reply_one(reply, &CLIENT_KEY_FIELDS, &key);
    return OK;
}

static const char *const client_key[] = { "cky" };
static const Read get = { .stmt = &SQL_CLIENT_KEY_GET, .table = &CLIENT_KEY_FIELDS };
static const Read list = { .stmt = &SQL_CLIENT_KEY_LIST, .table = &CLIENT_KEY_FIELDS, .list = true };

extern const Route CLIENT_KEY_ROUTES[];
const Route CLIENT_KEY_ROUTES[] = {
    ROUTE(GET, "/v1/projects/{project}/client-keys", CLIENT_KEY_LIST, .says = "List client keys, never a key.",
        .read = &list, .reply = &CLIENT_KEY_FIELDS),
    ROUTE(POST, "/v1/projects/{project}/client-keys", CLIENT_KEY_CREATE, .says = "Issue a client key. Shown once.",
        .commit = post_key, .body = &CLIENT_KEY_FIELDS, .reply = &CLIENT_KEY_FIELDS, .status = 201, .reveals = true,
        .reshow = client_key_reshow),
    ROUTE(GET, "/v1/projects/{project}/client-keys/{key}", CLIENT_KEY_READ,
        .says = "Read what is known of a client key.", .read = &get, .reply = &CLIENT_KEY_FIELDS,
        .prefixes = client_key),
    ROUTE(POST, "/v1/projects/{project}/client-keys/{key}/rotate", CLIENT_KEY_ROTATE,
        .says = "Replace a client key; the former one works until the overlap ends. Shown once.", .commit = rotate,
        .body = &CLIENT_KEY_ROTATE_FIELDS, .reply = &CLIENT_KEY_FIELDS, .reveals = true, .reshow = client_key_reshow,
        .prefixes = client_key),
    ROUTE(POST, "/v1/projects/{project}/client-keys/{key}/revoke", CLIENT_KEY_REVOKE, .says = "Revoke a client key.",
        .commit = revoke, .reply = &CLIENT_KEY_FIELDS, .prefixes = client_key),
    ROUTE_END,
};
