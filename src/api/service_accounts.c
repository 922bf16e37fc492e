/*
 * service_accounts.c: /v1/service-accounts, /v1/tokens, /v1/bindings.
 */
#include "api/route.h"

#include "domain/service_account.h"
#include "store/sql.h"

static Err post_token(Ctx *ctx, const Req *req, Reply *reply)
{
    Token token = { 0 };
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(req_resolve(ctx, req, TOKEN_REFS));
    TRY(req_body(req, &TOKEN_FIELDS, &token));
    TRY(token_issue(ctx, &token, &text));
    reply_created(reply, &TOKEN_FIELDS, &token, token.id);
    reply_reveal(reply, &text);
    return OK;
}

static Err revoke_token(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    Token token = { 0 };
    TRY(req_ref(req, "token", "tok", &ref));
    TRY(token_revoke(ctx, &ref, &token));
    reply_one(reply, &TOKEN_FIELDS, &token);
    return OK;
}

static const char *const account[] = { "sva" };
static const char *const token[] = { "tok" };
static const char *const binding[] = { "bnd" };
static const Read get_account = { .stmt = &SQL_SERVICE_ACCOUNT_GET, .table = &SERVICE_ACCOUNT_FIELDS };
static const Read list_accounts = { .stmt = &SQL_SERVICE_ACCOUNT_LIST, .table = &SERVICE_ACCOUNT_FIELDS, .list = true };
static const Read get_token = { .stmt = &SQL_TOKEN_GET, .table = &TOKEN_FIELDS };
static const Read list_tokens = { .stmt = &SQL_TOKEN_LIST, .table = &TOKEN_FIELDS, .list = true };
static const Read list_bindings = { .stmt = &SQL_BINDING_LIST, .table = &BINDING_FIELDS, .list = true };

extern const Route SERVICE_ACCOUNT_ROUTES[];
const Route SERVICE_ACCOUNT_ROUTES[] = {
    ROUTE(GET, "/v1/service-accounts", SERVICE_ACCOUNT_LIST, .says = "List service accounts.", .read = &list_accounts,
        .reply = &SERVICE_ACCOUNT_FIELDS),
    ROUTE(POST, "/v1/service-accounts", SERVICE_ACCOUNT_CREATE, .says = "Create a service account.",
        .commit = noun_post, .noun = &SERVICE_ACCOUNT, .body = &SERVICE_ACCOUNT_FIELDS,
        .reply = &SERVICE_ACCOUNT_FIELDS, .status = 201),
    ROUTE(GET, "/v1/service-accounts/{account}", SERVICE_ACCOUNT_READ, .says = "Read a service account.",
        .read = &get_account, .reply = &SERVICE_ACCOUNT_FIELDS, .prefixes = account),
    ROUTE(PATCH, "/v1/service-accounts/{account}", SERVICE_ACCOUNT_UPDATE,
        .says = "Change a service account (merge patch).", .commit = noun_patch, .noun = &SERVICE_ACCOUNT,
        .body = &SERVICE_ACCOUNT_FIELDS, .reply = &SERVICE_ACCOUNT_FIELDS, .if_match = true, .prefixes = account),
    ROUTE(DELETE, "/v1/service-accounts/{account}", SERVICE_ACCOUNT_DELETE,
        .says = "Delete a service account with its tokens and roles.", .commit = noun_delete, .noun = &SERVICE_ACCOUNT,
        .if_match = true, .prefixes = account),
    ROUTE(GET, "/v1/tokens", TOKEN_LIST, .says = "List tokens.", .read = &list_tokens, .reply = &TOKEN_FIELDS),
    ROUTE(POST, "/v1/tokens", TOKEN_CREATE, .says = "Issue a token. Shown once.", .commit = post_token,
        .body = &TOKEN_FIELDS, .reply = &TOKEN_FIELDS, .status = 201, .reveals = true, .reshow = token_reshow),
    ROUTE(GET, "/v1/tokens/{token}", TOKEN_READ, .says = "Read what is known of a token.", .read = &get_token,
        .reply = &TOKEN_FIELDS, .prefixes = token),
    ROUTE(POST, "/v1/tokens/{token}/revoke", TOKEN_REVOKE, .says = "Revoke a token.", .commit = revoke_token,
        .reply = &TOKEN_FIELDS, .prefixes = token),
    ROUTE(GET, "/v1/bindings", BINDING_LIST, .says = "List role bindings.", .read = &list_bindings,
        .reply = &BINDING_FIELDS),
    ROUTE(POST, "/v1/bindings", BINDING_CREATE, .says = "Give a role at the organization or at a project.",
        .commit = noun_post, .noun = &BINDING, .body = &BINDING_FIELDS, .reply = &BINDING_FIELDS, .status = 201),
    ROUTE(DELETE, "/v1/bindings/{binding}", BINDING_DELETE, .says = "Take a role away.", .commit = noun_delete,
        .noun = &BINDING, .prefixes = binding),
    ROUTE_END,
};
