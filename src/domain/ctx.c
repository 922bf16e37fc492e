/*
 * ctx.c: the small things every noun needs: is it allowed, which row is meant, is it the version the caller knows.
 */
#include "domain/ctx.h"

#include "store/sql.h"

static const Field ref_fields[] = {
    FIELD(Ref, id, .internal = true),
    FIELD(Ref, name, .internal = true),
    FIELD(Ref, parent, .internal = true),
    FIELD(Ref, parent_name, .internal = true),
    FIELD(Ref, number, .internal = true),
};
const FieldTable REF_FIELDS = FIELD_TABLE(Ref, ref_fields);

bool ctx_allows(const Ctx *ctx, Action action)
{
    Str scope = str_from_c(ACTIONS[action].scope);
    if (ctx->who.kind == PRINCIPAL_DATA_PLANE)
        return role_allows(STR("data-plane"), action);
    if (ctx->who.kind != PRINCIPAL_SERVICE || action == ACTION_NONE)
        return false;
    if (str_eq(scope, STR("self")))
        return true;
    if (str_eq(scope, STR("installation")) && !ctx->who.is_operator)
        return false;
    if (roles_allow(ctx->who.org_roles, action))
        return true;
    return str_eq(scope, STR("project")) && !uuid_is_zero(ctx->project) && roles_allow(ctx->who.project_roles, action);
}

static bool looks_like_typeid(Str name)
{
    Str prefix, rest;
    return str_cut(name, '_', &prefix, &rest) && prefix.len == 3 && rest.len == 26;
}

Err ref_parse(Str text, Str prefix, Ref *ret_ref)
{
    Ref ref = { 0 };
    if (looks_like_typeid(text)) {
        if (typeid_parse(text, prefix, &ref.id).kind != ERR_NONE || uuid_is_zero(ref.id))
            return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
    } else if (str_is_name(text)) {
        ref.name = text;
    } else {
        return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
    }
    *ret_ref = ref;
    return OK;
}

Err name_check(Str name)
{
    if (!str_is_name(name) || looks_like_typeid(name))
        return FAIL(ERR_INVALID, "bad-name", "A name is 1 to 64 of a-z, 0-9, _ and -, and must not look like an id.");
    return OK;
}

static bool is_loopback(Str origin)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        Str host = str_from_c(hosts[i]), rest = str_skip(origin, host.len);
        if (str_starts_with(origin, host) && (rest.len == 0 || rest.ptr[0] == ':'))
            return true;
    }
    return false;
}

bool ctx_takes_origin(const Ctx *ctx, Str origin)
{
    return str_starts_with(origin, STR("https://")) || (ctx->world->plain_http && is_loopback(origin));
}

Err ctx_match(const Ctx *ctx, int64_t version)
{
    if (!ctx->if_match.given || ctx->if_match.any || ctx->if_match.version == version)
        return OK;
    return FAIL_FMT(ctx->arena, ERR_PRECONDITION, "version-mismatch",
        "It has changed since: its version is %lld now. Read it again.", (long long)version);
}

typedef struct Change {
    Uuid id, project;
    Str reason;
} Change;
static const Field change_fields[] = {
    FIELD(Change, id, .internal = true),
    FIELD(Change, project, .internal = true),
    FIELD(Change, reason, .internal = true),
};
static const FieldTable CHANGE_FIELDS = FIELD_TABLE(Change, change_fields);

Err publish_enqueue(Ctx *ctx, Uuid project, Str reason)
{
    Change change = { .project = project, .reason = reason };
    return db_exec(ctx->db, ctx->arena, &SQL_PUBLISH_ENQUEUE, REC(&CHANGE_FIELDS, &change), NULL);
}

Err publish_enqueue_organization(Ctx *ctx, Uuid org, Str reason)
{
    Change change = { .id = org, .reason = reason };
    return db_exec(ctx->db, ctx->arena, &SQL_PUBLISH_ENQUEUE_ORGANIZATION, REC(&CHANGE_FIELDS, &change), NULL);
}
