/*
 * api.h: the admin API on a private PostgreSQL, in this process, with two organizations and their owners' tokens.
 *
 *     ApiFixture *api = api_fixture_new(server, keeper);            // keeper may be NULL
 *     ApiReply reply = api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"search\"}");
 *     assert_int_equal(201, reply.status);
 *     api_fixture_free(&api);
 */
#ifndef SUPPORT_API_H
#define SUPPORT_API_H

#include "api/serve.h"
#include "http/client.h"
#include "keeper.h"
#include "pg.h"

typedef struct ApiFixture {
    Arena *arena;
    PgDatabase database;
    Serve *serve;
    KeeperClient *keeper;
    Str operator_token; /* tokens */
    Str owner_a, owner_b;
} ApiFixture;

ApiFixture *api_fixture_new(PgServer *server, KeeperFixture *keeper);
void api_fixture_free(ApiFixture **api);

typedef struct ApiReply {
    int status; /* 0: no answer */
    Str code;   /* of a problem */
    Str body, etag;
    json_t *json;
    HttpReply http;
} ApiReply;

typedef struct ApiCall {
    const char *method;
    Str token; /* empty: none */
    Str path, body;
    Str if_match, key; /* Idempotency-Key */
    const char *media; /* NULL: application/json when there is a body */
} ApiCall;
ApiReply api_call(ApiFixture *api, const ApiCall *call);

ApiReply api_get(ApiFixture *api, Str token, const char *path);
ApiReply api_post(ApiFixture *api, Str token, const char *path, const char *body);
ApiReply api_patch(ApiFixture *api, Str token, const char *path, const char *body, const char *if_match);
ApiReply api_delete(ApiFixture *api, Str token, const char *path);
Str api_member(const ApiReply *reply, const char *name);
int64_t api_number(const ApiReply *reply, const char *name);

/* A token of a service account with a role in an organization (or, with a project's id, there), straight from SQL. */
Str api_token(ApiFixture *api, Uuid org, const char *role, const char *project);

#endif
