/*
 * service_account.c: service accounts, tokens, bindings.
 */
#include "domain/service_account.h"

#include "crypto/token.h"
#include "store/sql.h"

static const Field service_account_fields[] = {
    FIELD(ServiceAccount, id, .prefix = "sva", .read_only = true),
    FIELD(ServiceAccount, name, .required = true, .name_like = true, .doc = "Unique in the organization."),
    FIELD(ServiceAccount, description, .max = 2000),
    FIELD(ServiceAccount, version, .read_only = true),
    FIELD(ServiceAccount, created_at, .read_only = true),
    FIELD(ServiceAccount, updated_at, .read_only = true),
};
const FieldTable SERVICE_ACCOUNT_FIELDS = FIELD_TABLE(ServiceAccount, service_account_fields);

static const Field token_fields[] = {
    FIELD(Token, id, .prefix = "tok", .read_only = true),
    FIELD(Token, service_account, .prefix = "sva", .required = true, .doc = "Whose token it is: its id or name."),
    FIELD(Token, name, .max = 200),
    FIELD(Token, hint, .read_only = true, .doc = "The token's first characters."),
    FIELD(Token, state, .read_only = true, .doc = "active, expired or revoked"),
    FIELD(Token, expires_at, .doc = "At most 400 days from now; 90 days when not given."),
    FIELD(Token, created_at, .read_only = true),
    FIELD(Token, revoked_at, .read_only = true),
    FIELD(Token, digest, .internal = true),
};
const FieldTable TOKEN_FIELDS = FIELD_TABLE(Token, token_fields);

static const Field owner_token_fields[] = {
    FIELD(OwnerToken, name, .name_like = true, .doc = "Of the service account; \"owner\" when not given."),
    FIELD(OwnerToken, expires_at, .required = false),
};
const FieldTable OWNER_TOKEN_FIELDS = FIELD_TABLE(OwnerToken, owner_token_fields);

static const Field binding_fields[] = {
    FIELD(Binding, id, .prefix = "bnd", .read_only = true),
    FIELD(Binding, service_account, .prefix = "sva", .required = true, .doc = "Who gets the role: its id or name."),
    FIELD(Binding, role, .required = true, .max = 64),
    FIELD(Binding, project, .prefix = "prj", .doc = "Where; the whole organization when not given."),
    FIELD(Binding, created_at, .read_only = true),
};
const FieldTable BINDING_FIELDS = FIELD_TABLE(Binding, binding_fields);

/* --- service accounts --- */

static Err forget_account(Ctx *ctx, const void *was)
{
    const ServiceAccount *account = was;
    ServiceAccount in = *account;
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SERVICE_ACCOUNT_TOKENS_DELETE, REC(&SERVICE_ACCOUNT_FIELDS, &in), NULL));
    return db_exec(ctx->db, ctx->arena, &SQL_SERVICE_ACCOUNT_BINDINGS_DELETE, REC(&SERVICE_ACCOUNT_FIELDS, &in), NULL);
}

static const char *const account_fixed[] = { "name", NULL };
const Noun SERVICE_ACCOUNT = { .name = "service-account",
    .prefix = "sva",
    .fields = &SERVICE_ACCOUNT_FIELDS,
    .insert = &SQL_SERVICE_ACCOUNT_INSERT,
    .lock = &SQL_SERVICE_ACCOUNT_LOCK,
    .update = &SQL_SERVICE_ACCOUNT_UPDATE,
    .remove = &SQL_SERVICE_ACCOUNT_DELETE,
    .may_remove = forget_account,
    .fixed = account_fixed };

/* --- tokens --- */

const NounRef TOKEN_REFS[] = { { "service_account", "sva", &SQL_SERVICE_ACCOUNT_FIND }, { NULL, NULL, NULL } };

static Err check_expiry(const Ctx *ctx, Time *expires_at)
{
    if (time_is_none(*expires_at))
        *expires_at = time_add_s(ctx->now, TOKEN_DAYS_DEFAULT * INT64_C(86400));
    if (!time_before(ctx->now, *expires_at))
        return FAIL(ERR_INVALID, "expiry-past", "expires_at must be in the future.");
    if (time_before(time_add_s(ctx->now, TOKEN_DAYS_MAX * INT64_C(86400)), *expires_at))
        return FAIL(ERR_INVALID, "expiry-too-far", "expires_at must be at most 400 days from now.");
    return OK;
}

static Err mint(Ctx *ctx, Token *token, Secret *ret_text)
{
    TRY(token_new(STR("svc"), ret_text));
    Str text = bytes_str(secret_bytes(ret_text));
    Digest digest = token_digest(text);
    token->digest = arena_bytes(ctx->arena, digest_bytes(&digest));
    token->hint = token_hint(ctx->arena, text);
    return OK;
}

static Err audit_token(Ctx *ctx, const char *action, const Token *token)
{
    return audit(ctx, action, "tok", token->id, fields_encode(ctx->arena, &TOKEN_FIELDS, token));
}

Err token_issue(Ctx *ctx, Token *token, Secret *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(check_expiry(ctx, &token->expires_at));
    token->id = uuid_v7(ctx->now);
    TRY(mint(ctx, token, &text));
    TRY(db_one(ctx->db, ctx->arena, &SQL_TOKEN_INSERT, REC(&TOKEN_FIELDS, token), REC(&TOKEN_FIELDS, token)));
    TRY(audit_token(ctx, "token.created", token));
    *ret_text = TAKE(text);
    return OK;
}

/* The digest is replaced, so the text that was shown first opens nothing any more. */
Err token_reshow(Ctx *ctx, Uuid id, Secret *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    Token token = { .id = id };
    TRY(mint(ctx, &token, &text));
    Err err = db_one(ctx->db, ctx->arena, &SQL_TOKEN_REPLACE, REC(&TOKEN_FIELDS, &token), REC(&TOKEN_FIELDS, &token));
    if (err.kind == ERR_NOT_FOUND)
        return FAIL(ERR_CONFLICT, "token-revoked", "The token of that call was revoked meanwhile.");
    TRY(err);
    TRY(audit_token(ctx, "token.reissued", &token));
    *ret_text = TAKE(text);
    return OK;
}

Err token_revoke(Ctx *ctx, const Ref *ref, Token *ret_token)
{
    Ref in = *ref;
    TRY(db_one(ctx->db, ctx->arena, &SQL_TOKEN_REVOKE, REC(&REF_FIELDS, &in), REC(&TOKEN_FIELDS, ret_token)));
    return audit_token(ctx, "token.revoked", ret_token);
}

Err organization_admit(Ctx *ctx, const OwnerToken *in, Token *ret_token, Secret *ret_text)
{
    ServiceAccount account = { .id = uuid_v7(ctx->now), .name = in->name.ptr != NULL ? in->name : STR("owner") };
    TRY(db_one(ctx->db, ctx->arena, &SQL_SERVICE_ACCOUNT_ENSURE, REC(&SERVICE_ACCOUNT_FIELDS, &account),
        REC(&SERVICE_ACCOUNT_FIELDS, &account)));
    Binding binding = { .id = uuid_v7(ctx->now), .service_account = account.id, .role = STR("owner") };
    TRY(db_exec(ctx->db, ctx->arena, &SQL_BINDING_ENSURE, REC(&BINDING_FIELDS, &binding), NULL));
    TRY(audit(
        ctx, "organization.admitted", "sva", account.id, fields_encode(ctx->arena, &SERVICE_ACCOUNT_FIELDS, &account)));
    *ret_token = (Token){ .service_account = account.id, .name = STR("owner"), .expires_at = in->expires_at };
    return token_issue(ctx, ret_token, ret_text);
}

/* --- bindings --- */

static Err check_binding(Ctx *ctx, const void *was, void *now)
{
    (void)was;
    Binding *binding = now;
    const RoleInfo *role = role_find(binding->role);
    bool at_project = !uuid_is_zero(binding->project), at_installation = uuid_eq(ctx->org, ctx->installation);
    Str scope = role == NULL ? STR("") : str_from_c(role->scope);
    bool fits = at_installation ? str_eq(scope, STR("installation"))
                                : str_eq(scope, STR("project")) || (str_eq(scope, STR("organization")) && !at_project);
    if (!fits)
        return FAIL(ERR_INVALID, "role-unknown",
            "There is no such role there: organizations have owner, admin, finops, auditor, member; projects "
            "project-admin, developer, viewer, automation.");
    if (!at_project)
        return OK;
    return db_one(ctx->db, ctx->arena, &SQL_BINDING_PROJECT_EXISTS, REC(&BINDING_FIELDS, binding), REC_NONE);
}

static const NounRef binding_refs[] = {
    { "service_account", "sva", &SQL_SERVICE_ACCOUNT_FIND },
    { "project", "prj", &SQL_PROJECT_FIND },
    { NULL, NULL, NULL },
};
const Noun BINDING = { .name = "binding",
    .prefix = "bnd",
    .fields = &BINDING_FIELDS,
    .insert = &SQL_BINDING_INSERT,
    .lock = &SQL_BINDING_LOCK,
    .remove = &SQL_BINDING_DELETE,
    .check = check_binding,
    .refs = binding_refs };
