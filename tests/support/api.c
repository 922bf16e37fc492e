/* api.c: see api.h. */
#include "api.h"

#include "base/encode.h"
#include "base/json.h"
#include "crypto/token.h"

#define BODY_MAX (4 * 1024 * 1024)

static Str sql_uuid(ApiFixture *api, Uuid id)
{
    return arena_fmt(api->arena, "'" STR_FMT "'", STR_ARG(uuid_format(api->arena, id)));
}

Str api_token(ApiFixture *api, Uuid org, const char *role, const char *project)
{
    Secret token = { 0 };
    Uuid account = uuid_v7(time_now()), id = uuid_v7(time_now()), binding = uuid_v7(time_now());
    if (token_new(STR("svc"), &token).kind != ERR_NONE)
        die("no token");
    Str text = arena_str(api->arena, bytes_str(secret_bytes(&token)));
    secret_release(&token);
    Digest digest = token_digest(text);
    Str at = STR("null");
    Uuid at_id;
    if (project != NULL && typeid_parse(str_from_c(project), STR("prj"), &at_id).kind == ERR_NONE)
        at = sql_uuid(api, at_id);
    Str sql = arena_fmt(api->arena,
        "set role reeve_owner; insert into service_account (org, id, name) values (" STR_FMT ", " STR_FMT ", 't" STR_FMT
        "');"
        "insert into token (org, id, service_account, digest, hint, expires_at) values (" STR_FMT ", " STR_FMT
        ", " STR_FMT ", '\\x" STR_FMT "', 'h', now() + interval '1 hour');"
        "insert into role_binding (org, id, service_account, role, project) values (" STR_FMT ", " STR_FMT ", " STR_FMT
        ", '%s', " STR_FMT ")",
        STR_ARG(sql_uuid(api, org)), STR_ARG(sql_uuid(api, account)), STR_ARG(uuid_format(api->arena, account)),
        STR_ARG(sql_uuid(api, org)), STR_ARG(sql_uuid(api, id)), STR_ARG(sql_uuid(api, account)),
        STR_ARG(hex_encode(api->arena, digest_bytes(&digest))), STR_ARG(sql_uuid(api, org)),
        STR_ARG(sql_uuid(api, binding)), STR_ARG(sql_uuid(api, account)), role, STR_ARG(at));
    pg_sql(api->arena, &api->database, "migrate", sql.ptr);
    return text;
}

/* The database's installation is the keeper's. */
static void adopt_installation(ApiFixture *api, const KeeperFixture *keeper)
{
    Str id = sql_uuid(api, keeper->installation);
    pg_sql(api->arena, &api->database, "super",
        arena_fmt(api->arena,
            "set session_replication_role = replica; update reeve.installation set id = " STR_FMT
            "; update reeve.organization set id = " STR_FMT
            " where level = 'installation'; update reeve.service_account "
            "set org = " STR_FMT " where org = '018f0000-0000-7000-8000-000000000001'",
            STR_ARG(id), STR_ARG(id), STR_ARG(id))
            .ptr);
}

ApiFixture *api_fixture_new(PgServer *server, KeeperFixture *keeper)
{
    Arena *arena = arena_new();
    ApiFixture *api = NEW(arena, ApiFixture, 1);
    api->arena = arena;
    api->database = pg_database_new(server);
    pg_found(&api->database);
    if (keeper != NULL)
        adopt_installation(api, keeper);
    api->operator_token = api_token(api, keeper != NULL ? keeper->installation : PG_INSTALLATION, "operator", NULL);
    api->owner_a = api_token(api, PG_ORG_A, "owner", NULL);
    api->owner_b = api_token(api, PG_ORG_B, "owner", NULL);
    api->keeper = keeper != NULL ? keeper_client_open(keeper->socket) : NULL;
    ServeOptions options = { .world = { .keeper = api->keeper,
                                 .root_file = keeper != NULL ? keeper_fixture_path(keeper, "root.jws") : STR(""),
                                 .kms_uri = STR("local:default"),
                                 .plain_http = true },
        .conninfo = { [DB_API] = pg_conninfo(arena, &api->database, "api"),
            [DB_INGEST] = pg_conninfo(arena, &api->database, "ingest") },
        .address = STR("127.0.0.1"),
        .workers = 8 };
    Err err = serve_start(&options, &api->serve);
    if (err.kind != ERR_NONE)
        die("the API did not start: " STR_FMT, STR_ARG(err.detail));
    return api;
}

void api_fixture_free(ApiFixture **api)
{
    ApiFixture *a = *api;
    *api = NULL;
    serve_stop(&a->serve, 5 * US_PER_S);
    if (a->keeper != NULL)
        keeper_client_free(&a->keeper);
    pg_database_drop(&a->database);
    Arena *arena = a->arena;
    arena_free(&arena);
}

static void forget_json(void *value)
{
    json_decref(value);
}

ApiReply api_call(ApiFixture *api, const ApiCall *call)
{
    Header headers[5];
    size_t count = 0;
    if (call->token.len > 0)
        headers[count++] =
            (Header){ STR("Authorization"), arena_fmt(api->arena, "Bearer " STR_FMT, STR_ARG(call->token)) };
    if (call->body.ptr != NULL)
        headers[count++] =
            (Header){ STR("Content-Type"), str_from_c(call->media != NULL ? call->media : "application/json") };
    if (call->if_match.len > 0)
        headers[count++] = (Header){ STR("If-Match"), call->if_match };
    if (call->key.len > 0)
        headers[count++] = (Header){ STR("Idempotency-Key"), call->key };
    TransferOptions options = { .method = call->method,
        .url = arena_fmt(api->arena, "http://127.0.0.1:%u" STR_FMT, serve_port(api->serve), STR_ARG(call->path)),
        .headers = headers,
        .header_count = count,
        .body = call->body,
        .connect_timeout_us = 5 * US_PER_S,
        .total_timeout_us = 30 * US_PER_S,
        .allow_private = true };
    ApiReply reply = { 0 };
    Err err = http_fetch(api->arena, &options, BODY_MAX, &reply.http);
    if (err.kind != ERR_NONE)
        return (ApiReply){ .code = err.code };
    reply.status = reply.http.status;
    reply.body = reply.http.body;
    reply.etag = http_reply_header(&reply.http, STR("etag"));
    if (json_parse(reply.body, JSON_LIMITS_WIRE, &reply.json).kind == ERR_NONE) {
        arena_defer(api->arena, forget_json, reply.json);
        reply.code = json_str(reply.json, "code");
    }
    return reply;
}

ApiReply api_get(ApiFixture *api, Str token, const char *path)
{
    return api_call(api, &(ApiCall){ .method = "GET", .token = token, .path = str_from_c(path) });
}

ApiReply api_post(ApiFixture *api, Str token, const char *path, const char *body)
{
    return api_call(
        api, &(ApiCall){ .method = "POST", .token = token, .path = str_from_c(path), .body = str_from_c(body) });
}

ApiReply api_patch(ApiFixture *api, Str token, const char *path, const char *body, const char *if_match)
{
    return api_call(api, &(ApiCall){ .method = "PATCH",
                             .token = token,
                             .path = str_from_c(path),
                             .body = str_from_c(body),
                             .if_match = str_from_c(if_match) });
}

ApiReply api_delete(ApiFixture *api, Str token, const char *path)
{
    return api_call(
        api, &(ApiCall){ .method = "DELETE", .token = token, .path = str_from_c(path), .if_match = STR("*") });
}

Str api_member(const ApiReply *reply, const char *name)
{
    return json_str(reply->json, name);
}

int64_t api_number(const ApiReply *reply, const char *name)
{
    int64_t number = -1;
    json_i64(reply->json, name, &number);
    return number;
}
