/*
 * organizations.c: /v1/organizations for operators, /v1/organization for its own people.
 */
#include "api/route.h"

#include "domain/organization.h"
#include "domain/service_account.h"
#include "store/sql.h"

static Err post_owner_token(Ctx *ctx, const Req *req, Reply *reply)
{
    OwnerToken in = { 0 };
    Token token = { 0 };
    _cleanup_(secret_release) Secret text = { 0 };
    if (req_has_body(req))
        TRY(req_body(req, &OWNER_TOKEN_FIELDS, &in));
    TRY(organization_admit(ctx, &in, &token, &text));
    reply_created(reply, &TOKEN_FIELDS, &token, token.id);
    reply_reveal(reply, &text);
    return OK;
}

static const Read get = { .stmt = &SQL_ORGANIZATION_GET, .table = &ORGANIZATION_FIELDS };
static const Read list = { .stmt = &SQL_ORGANIZATION_LIST, .table = &ORGANIZATION_FIELDS, .list = true };

extern const Route ORGANIZATION_ROUTES[];
const Route ORGANIZATION_ROUTES[] = {
    ROUTE(GET, "/v1/organization", ORGANIZATION_READ, .says = "Read the caller's own organization.", .read = &get,
        .reply = &ORGANIZATION_FIELDS),
    ROUTE(PATCH, "/v1/organization", ORGANIZATION_UPDATE, .says = "Change the caller's own organization (merge patch).",
        .commit = noun_patch, .noun = &ORGANIZATION, .body = &ORGANIZATION_FIELDS, .reply = &ORGANIZATION_FIELDS,
        .if_match = true),
    ROUTE(GET, "/v1/organizations", ORGANIZATION_LIST, .says = "List organizations.", .read = &list,
        .reply = &ORGANIZATION_FIELDS),
    ROUTE(POST, "/v1/organizations", ORGANIZATION_CREATE, .says = "Create an organization.", .commit = noun_post,
        .noun = &ORGANIZATION, .body = &ORGANIZATION_FIELDS, .reply = &ORGANIZATION_FIELDS, .status = 201),
    ROUTE(GET, "/v1/organizations/{org}", ORGANIZATION_READ, .says = "Read an organization.", .read = &get,
        .reply = &ORGANIZATION_FIELDS),
    ROUTE(PATCH, "/v1/organizations/{org}", ORGANIZATION_UPDATE, .says = "Change an organization (merge patch).",
        .commit = noun_patch, .noun = &ORGANIZATION, .body = &ORGANIZATION_FIELDS, .reply = &ORGANIZATION_FIELDS,
        .if_match = true),
    ROUTE(DELETE, "/v1/organizations/{org}", ORGANIZATION_DELETE, .says = "Delete an organization.",
        .commit = noun_delete, .noun = &ORGANIZATION, .if_match = true),
    ROUTE(POST, "/v1/organizations/{org}/admit", ORGANIZATION_ADMIT,
        .says = "Issue an owner token of an organization: how its first person gets in. Shown once.",
        .commit = post_owner_token, .body = &OWNER_TOKEN_FIELDS, .reply = &TOKEN_FIELDS, .status = 201, .reveals = true,
        .reshow = token_reshow),
    ROUTE_END,
};
