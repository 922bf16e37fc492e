/*
 * connection.c: connections, and the rule that a key goes to its origin only.
 */
#include "domain/connection.h"

#include "snapshot/object.h"
#include "snapshot/origin.h"
#include "store/sql.h"

const char *const DIALECTS[] = { "openai", "anthropic", NULL };

static const Field connection_fields[] = {
    FIELD(Connection, id, .prefix = "con", .read_only = true),
    FIELD(Connection, name, .required = true, .name_like = true, .doc = "Unique in the project."),
    FIELD(Connection, dialect, .required = true, .one_of = DIALECTS),
    FIELD(Connection, base_url, .required = true, .min = 1, .max = OBJECT_URL_BYTES_MAX,
        .doc = "Up to the version, without a trailing slash: https://api.openai.com/v1"),
    FIELD(Connection, origin, .read_only = true, .doc = "Of the base URL, and of the secret."),
    FIELD(Connection, secret, .prefix = "sec", .doc = "Its id or name; none when the provider needs no key."),
    FIELD(Connection, version, .read_only = true),
    FIELD(Connection, created_at, .read_only = true),
    FIELD(Connection, updated_at, .read_only = true),
};
const FieldTable CONNECTION_FIELDS = FIELD_TABLE(Connection, connection_fields);

static Err bad_member(Ctx *ctx, const char *pointer, Str detail, const char *code)
{
    Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
    err.code = str_from_c(code);
    err.fields = (FieldErrs){ .items = NEW(ctx->arena, FieldErr, 1), .count = 1 };
    err.fields.items[0] = (FieldErr){ str_from_c(pointer), detail };
    return err;
}

static Err check_url(Ctx *ctx, Connection *connection)
{
    Err err = origin_of_url(ctx->arena, connection->base_url, &connection->origin);
    if (err.kind != ERR_NONE)
        return bad_member(ctx, "/base_url", err.detail, "bad-url");
    if (str_contains(connection->base_url, STR("?")) || str_contains(connection->base_url, STR("#")))
        return bad_member(ctx, "/base_url", STR("must have no query and no fragment"), "bad-url");
    if (ctx_takes_origin(ctx, connection->origin))
        return OK;
    return bad_member(ctx, "/base_url", STR("must be https"), "bad-url");
}

static Err check_connection(Ctx *ctx, const void *was, void *now)
{
    (void)was;
    Connection *connection = now;
    TRY(check_url(ctx, connection));
    if (uuid_is_zero(connection->secret))
        return OK;
    Connection secret = { .secret = connection->secret };
    Err err = db_one(ctx->db, ctx->arena, &SQL_CONNECTION_SECRET, REC(&CONNECTION_FIELDS, &secret),
        REC(&CONNECTION_FIELDS, &secret));
    if (err.kind == ERR_NOT_FOUND)
        return bad_member(ctx, "/secret", STR("is not a secret of this project"), "secret-unknown");
    TRY(err);
    if (!str_eq(secret.origin, connection->origin))
        return bad_member(ctx, "/base_url",
            arena_fmt(ctx->arena, "has another origin than its secret, which is bound to " STR_FMT " for ever",
                STR_ARG(secret.origin)),
            "origin-mismatch");
    return OK;
}

static Err may_remove(Ctx *ctx, const void *was)
{
    Connection connection = *(const Connection *)was;
    int64_t uses = 0;
    TRY(db_exec(ctx->db, ctx->arena, &SQL_CONNECTION_USES, REC(&CONNECTION_FIELDS, &connection), &uses));
    if (uses > 0)
        return FAIL(ERR_CONFLICT, "connection-in-use", "A released workflow uses this connection.");
    return OK;
}

static const NounRef refs[] = { { "secret", "sec", &SQL_SECRET_FIND }, { NULL, NULL, NULL } };
static const char *const fixed[] = { "name", "dialect", NULL };
const Noun CONNECTION = { .name = "connection",
    .prefix = "con",
    .fields = &CONNECTION_FIELDS,
    .insert = &SQL_CONNECTION_INSERT,
    .lock = &SQL_CONNECTION_LOCK,
    .update = &SQL_CONNECTION_UPDATE,
    .remove = &SQL_CONNECTION_DELETE,
    .check = check_connection,
    .may_remove = may_remove,
    .fixed = fixed,
    .refs = refs,
    .room = &SQL_CONNECTION_ROOM,
    .most = PROJECT_CONNECTIONS_MAX,
    .publishes = true };
