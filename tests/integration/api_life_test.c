/* Every noun's life through the public face: a real API, a private PostgreSQL, a real keeper. */
#include "support/api.h"
#include "support/check.h"

#include "base/json.h"
#include "base/log.h"
#include "crypto/token.h"

#include <pthread.h>
#include <time.h>

static PgServer *server;
static KeeperFixture *keeper;
static ApiFixture *api;

static void check_status(ApiReply reply, int expected, int line)
{
    if (reply.status == expected)
        return;
    print_error("expected %d, got %d: " STR_FMT "\n", expected, reply.status, STR_ARG(reply.body));
    _fail(__FILE__, line);
}
#define STATUS(reply, expected) check_status((reply), (expected), __LINE__)
#define CREATED(reply) check_status((reply), 201, __LINE__)

static ApiReply make(const char *path, const char *body)
{
    ApiReply reply = api_post(api, api->owner_a, path, body);
    CREATED(reply);
    return reply;
}

TEST(an_organization_is_created_changed_let_in_and_deleted)
{
    ApiReply reply = api_post(api, api->operator_token, "/v1/organizations", "{\"name\":\"initech\"}");
    CREATED(reply);
    STATUS(api_post(api, api->operator_token, "/v1/organizations", "{\"name\":\"initech\"}"), 409);
    reply = api_post(api, api->operator_token, "/v1/organizations/initech/admit", "{\"name\":\"peter\"}");
    CREATED(reply);
    Str token = api_member(&reply, "token");
    reply = api_get(api, token, "/v1/whoami");
    STATUS(reply, 200);
    CHECK(json_array_size(json_object_get(reply.json, "actions")) > 10);
    reply = api_patch(api, token, "/v1/organization", "{\"plaintext_intake\":true}", "\"1\"");
    STATUS(reply, 200);
    CHECK_INT(api_number(&reply, "version"), 2);
    STATUS(api_delete(api, api->operator_token, "/v1/organizations/initech"), 204);
    reply = api_get(api, token, "/v1/whoami");
    STATUS(reply, 401);
    CHECK_STR(reply.code, "organization-deleted");
}

TEST(a_project_is_archived_restored_deleted_and_brought_back)
{
    make("/v1/projects", "{\"name\":\"cycle\"}");
    STATUS(api_post(api, api->owner_a, "/v1/projects/cycle/archive", ""), 200);
    ApiReply reply =
        api_post(api, api->owner_a, "/v1/projects/cycle/workflows", "{\"name\":\"w\",\"dialect\":\"openai\"}");
    STATUS(reply, 409);
    CHECK_STR(reply.code, "project-archived");
    STATUS(api_get(api, api->owner_a, "/v1/projects/cycle/workflows"), 200);
    STATUS(api_post(api, api->owner_a, "/v1/projects/cycle/unarchive", ""), 200);
    reply = api_delete(api, api->owner_a, "/v1/projects/cycle");
    STATUS(reply, 200);
    Str id = api_member(&reply, "id");
    STATUS(api_get(api, api->owner_a, "/v1/projects/cycle"), 404);
    make("/v1/projects", "{\"name\":\"cycle\"}");
    Str path = arena_fmt(api->arena, "/v1/projects/" STR_FMT "/undelete", STR_ARG(id));
    reply = api_post(api, api->owner_a, path.ptr, "");
    STATUS(reply, 409); /* its name is taken by now */
    CHECK_STR(reply.code, "project-name-taken");
}

TEST(service_accounts_tokens_and_bindings_give_and_take_access)
{
    make("/v1/projects", "{\"name\":\"access\"}");
    make("/v1/service-accounts", "{\"name\":\"ci\"}");
    ApiReply reply = make("/v1/tokens", "{\"service_account\":\"ci\",\"name\":\"x\"}");
    Str token = api_member(&reply, "token"), id = api_member(&reply, "id");
    STATUS(api_get(api, token, "/v1/projects/access"), 403);
    reply = make("/v1/bindings", "{\"service_account\":\"ci\",\"role\":\"viewer\",\"project\":\"access\"}");
    STATUS(api_get(api, token, "/v1/projects/access"), 200);
    STATUS(api_patch(api, token, "/v1/projects/access", "{\"description\":\"x\"}", "*"), 403);
    STATUS(api_post(api, api->owner_a, "/v1/bindings",
               "{\"service_account\":\"ci\",\"role\":\"owner\",\"project\":\"access\"}"),
        422);
    STATUS(api_post(api, api->owner_a, "/v1/bindings", "{\"service_account\":\"ci\",\"role\":\"operator\"}"), 422);
    STATUS(api_post(api, api->owner_a, "/v1/bindings", "{\"service_account\":\"ci\",\"role\":\"data-plane\"}"), 422);
    Str path = arena_fmt(api->arena, "/v1/bindings/" STR_FMT, STR_ARG(api_member(&reply, "id")));
    STATUS(api_delete(api, api->owner_a, path.ptr), 204);
    STATUS(api_get(api, token, "/v1/projects/access"), 403);
    path = arena_fmt(api->arena, "/v1/tokens/" STR_FMT "/revoke", STR_ARG(id));
    STATUS(api_post(api, api->owner_a, path.ptr, ""), 200);
    reply = api_get(api, token, "/v1/whoami");
    STATUS(reply, 401);
    CHECK_STR(reply.code, "token-revoked");
    STATUS(api_delete(api, api->owner_a, "/v1/service-accounts/ci"), 204);
    STATUS(api_get(api, api->owner_a, "/v1/service-accounts/ci"), 404);
}

/* --- secrets --- */

static Str sealed_body(const char *project_id, Str origin, const char *name, Uuid secret, const char *plain)
{
    SecretRef ref = { .org = PG_ORG_A, .secret = secret, .version = 1, .origin = origin };
    CHECK_OK(typeid_parse(str_from_c(project_id), STR("prj"), &ref.project));
    Str jwe = keeper_fixture_sealed(keeper, &ref, str_from_c(plain));
    if (name == NULL)
        return arena_fmt(api->arena, "{\"sealed\":\"" STR_FMT "\",\"overlap_s\":60}", STR_ARG(jwe));
    return arena_fmt(api->arena,
        "{\"id\":\"" STR_FMT "\",\"name\":\"%s\",\"origin\":\"" STR_FMT "\",\"sealed\":\"" STR_FMT "\"}",
        STR_ARG(typeid_format(api->arena, STR("sec"), secret)), name, STR_ARG(origin), STR_ARG(jwe));
}

TEST(a_secret_is_taken_in_sealed_rotated_with_overlap_and_never_shown)
{
    ApiReply reply = make("/v1/projects", "{\"name\":\"vault\"}");
    const char *project = arena_c(api->arena, api_member(&reply, "id"));
    Uuid secret = uuid_v7(time_now());
    Str origin = STR("https://api.openai.com");
    reply = make(
        "/v1/projects/vault/secrets", sealed_body(project, origin, "main", secret, "sk-canary-0123456789abcdef").ptr);
    CHECK_STR(api_member(&reply, "hint"), "cdef");
    CHECK(!str_contains(reply.body, STR("canary")));
    reply = make("/v1/projects/vault/secrets/main/versions",
        sealed_body(project, origin, NULL, secret, "sk-canary-second-9876543210").ptr);
    CHECK_INT(api_number(&reply, "number"), 2);
    reply = api_get(api, api->owner_a, "/v1/projects/vault/secrets/main/versions");
    json_t *data = json_object_get(reply.json, "data");
    CHECK_INT(json_array_size(data), 2);
    CHECK_STR(json_str(json_array_get(data, 0), "state"), "retiring");
    CHECK(json_str(json_array_get(data, 0), "not_after").len > 0);
    CHECK_STR(json_str(json_array_get(data, 1), "state"), "active");
    STATUS(api_post(api, api->owner_a, "/v1/projects/vault/secrets/main/versions/1/revoke", ""), 200);
    STATUS(api_post(api, api->owner_a, "/v1/projects/vault/secrets/main/versions/9/revoke", ""), 404);
    Str found = pg_sql(api->arena, &api->database, "super",
        "select count(*) from reeve.secret_version where position('\\x63616e617279'::bytea in envelope) > 0");
    CHECK_STR(str_trim(str_first(found, 1)), "0");
}

TEST(the_api_cannot_read_back_what_it_sealed_and_the_log_holds_no_part_of_a_key)
{
    Str output;
    CHECK(!pg_sql_try(api->arena, &api->database, "api", "select envelope from reeve.secret_version", &output));
    CHECK(str_contains(output, STR("permission denied")));
    Str leaves = pg_sql(api->arena, &api->database, "super",
        "select count(*) from reeve.audit_leaf where convert_from(bytes, 'UTF8') like '%hint%'");
    CHECK_STR(str_first(leaves, 1), "0");
}

TEST(a_key_sealed_for_another_place_is_refused)
{
    ApiReply reply = make("/v1/projects", "{\"name\":\"elsewhere\"}");
    const char *project = arena_c(api->arena, api_member(&reply, "id"));
    Uuid secret = uuid_v7(time_now());
    Str body = sealed_body(project, STR("https://api.openai.com"), "k", secret, "sk-0123456789abcdef0123");
    /* The same sealed bytes under another origin, as a hostile carrier would send them. */
    Str swapped = arena_str(api->arena, body);
    char *at = strstr((char *)(uintptr_t)swapped.ptr, "api.openai.com");
    memcpy(at, "api.evil-a.com", 14);
    reply = api_post(api, api->owner_a, "/v1/projects/elsewhere/secrets", swapped.ptr);
    CHECK(reply.status >= 400 && reply.status < 500);
    CHECK_INT(api_post(api, api->owner_a, "/v1/projects/elsewhere/secrets", body.ptr).status, 201);
    STATUS(api_post(api, api->owner_a, "/v1/projects/elsewhere/secrets",
               "{\"name\":\"p\",\"origin\":\"https://api.openai.com\",\"plaintext\":\"sk\"}"),
        422);
}

TEST(an_origin_is_https_or_this_machine)
{
    static const char *const refused[] = { "http://127.0.0.1.evil.com/v1", "http://localhost.evil.com/v1",
        "http://api.openai.com/v1", "http://169.254.169.254/v1", "ftp://127.0.0.1/v1", "https://a@b/v1", "//x" };
    make("/v1/projects", "{\"name\":\"origins\"}");
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        Str body =
            arena_fmt(api->arena, "{\"name\":\"c%zu\",\"dialect\":\"openai\",\"base_url\":\"%s\"}", i, refused[i]);
        STATUS(api_post(api, api->owner_a, "/v1/projects/origins/connections", body.ptr), 422);
        body = arena_fmt(api->arena, "{\"name\":\"s%zu\",\"origin\":\"%s\",\"sealed\":\"x\"}", i, refused[i]);
        STATUS(api_post(api, api->owner_a, "/v1/projects/origins/secrets", body.ptr), 422);
    }
}

TEST(a_connection_keeps_its_secrets_origin)
{
    ApiReply reply = make("/v1/projects", "{\"name\":\"roads\"}");
    const char *project = arena_c(api->arena, api_member(&reply, "id"));
    make("/v1/projects/roads/secrets",
        sealed_body(project, STR("https://api.openai.com"), "k", uuid_v7(time_now()), "sk-0123456789abcdef").ptr);
    reply = api_post(api, api->owner_a, "/v1/projects/roads/connections",
        "{\"name\":\"c\",\"dialect\":\"openai\",\"base_url\":\"https://api.evil.com/v1\",\"secret\":\"k\"}");
    STATUS(reply, 422);
    CHECK_STR(reply.code, "origin-mismatch");
    make("/v1/projects/roads/connections",
        "{\"name\":\"c\",\"dialect\":\"openai\",\"base_url\":\"https://api.openai.com/v1\",\"secret\":\"k\"}");
    reply = api_patch(api, api->owner_a, "/v1/projects/roads/connections/c",
        "{\"base_url\":\"https://api.openai.com.evil.com/v1\"}", "*");
    STATUS(reply, 422);
    CHECK_STR(reply.code, "origin-mismatch");
    reply = api_patch(
        api, api->owner_a, "/v1/projects/roads/connections/c", "{\"base_url\":\"https://x:y@api.openai.com/v1\"}", "*");
    STATUS(reply, 422);
    STATUS(api_patch(api, api->owner_a, "/v1/projects/roads/connections/c",
               "{\"base_url\":\"https://api.openai.com/v2\"}", "*"),
        200);
    reply = api_delete(api, api->owner_a, "/v1/projects/roads/secrets/k");
    STATUS(reply, 409);
    CHECK_STR(reply.code, "secret-in-use");
}

/* --- workflows --- */

TEST(a_workflow_is_revised_released_staged_and_rolled_back)
{
    make("/v1/projects", "{\"name\":\"flow\"}");
    make("/v1/projects/flow/connections",
        "{\"name\":\"o\",\"dialect\":\"openai\",\"base_url\":\"https://a.example/v1\"}");
    make("/v1/projects/flow/connections",
        "{\"name\":\"a\",\"dialect\":\"anthropic\",\"base_url\":\"https://b.example\"}");
    make("/v1/projects/flow/workflows", "{\"name\":\"sum\",\"dialect\":\"openai\"}");
    const char *revisions = "/v1/projects/flow/workflows/sum/revisions";
    const char *release = "/v1/projects/flow/workflows/sum/release";
    make(revisions, "{\"targets\":[{\"connection\":\"o\",\"model\":\"m1\"}]}");
    make(revisions, "{\"targets\":[{\"connection\":\"o\",\"model\":\"m2\"}]}");
    make(revisions, "{\"targets\":[{\"connection\":\"o\",\"model\":\"m1\"},{\"connection\":\"a\",\"model\":\"m2\"}]}");
    STATUS(api_post(api, api->owner_a, revisions, "{\"targets\":[{\"connection\":\"nope\",\"model\":\"m1\"}]}"), 422);
    STATUS(api_post(api, api->owner_a, revisions, "{\"targets\":[]}"), 422);
    STATUS(api_get(api, api->owner_a, release), 404);
    ApiCall put = { .method = "PUT", .token = api->owner_a, .path = str_from_c(release), .if_match = STR("*") };
    put.body = STR("{\"revision\":3}");
    ApiReply reply = api_call(api, &put);
    STATUS(reply, 422);
    CHECK_STR(reply.code, "dialect-mismatch");
    CHECK(str_contains(reply.body, STR("speaks anthropic")));
    put.body = STR("{\"revision\":1}");
    STATUS(api_call(api, &put), 200);
    put.body = STR("{\"stages\":[{\"revision\":1,\"percent\":90},{\"revision\":2,\"percent\":9}]}");
    STATUS(api_call(api, &put), 422);
    put.body = STR("{\"stages\":[{\"revision\":1,\"percent\":90},{\"revision\":2,\"percent\":10}]}");
    reply = api_call(api, &put);
    STATUS(reply, 200);
    CHECK_INT(json_array_size(json_object_get(reply.json, "stages")), 2);
    reply = api_post(api, api->owner_a, "/v1/projects/flow/workflows/sum/rollback", "");
    STATUS(reply, 200);
    json_t *stage = json_array_get(json_object_get(reply.json, "stages"), 0);
    CHECK_INT(json_integer_value(json_object_get(stage, "number")), 1);
    CHECK_INT(api_number(&reply, "number"), 3);
    reply = api_delete(api, api->owner_a, "/v1/projects/flow/connections/o");
    STATUS(reply, 409);
    CHECK_STR(reply.code, "connection-in-use");
    STATUS(api_delete(api, api->owner_a, "/v1/projects/flow/workflows/sum"), 204);
    STATUS(api_delete(api, api->owner_a, "/v1/projects/flow/connections/o"), 204);
}

TEST(a_client_key_is_shown_once_rotated_with_overlap_and_revoked)
{
    make("/v1/projects", "{\"name\":\"apps\"}");
    ApiReply reply = make("/v1/projects/apps/client-keys", "{\"name\":\"web\"}");
    Str first = api_member(&reply, "token"), id = api_member(&reply, "id");
    CHECK_OK(token_check(STR("key"), first));
    CHECK(!str_contains(api_get(api, api->owner_a, "/v1/projects/apps/client-keys").body, first));
    STATUS(api_post(api, api->owner_a, "/v1/projects/apps/client-keys", "{\"name\":\"web\"}"), 409);
    reply = api_post(api, api->owner_a, "/v1/projects/apps/client-keys/web/rotate", "{\"overlap_s\":60}");
    STATUS(reply, 200);
    CHECK(!str_eq(api_member(&reply, "token"), first));
    Str path = arena_fmt(api->arena, "/v1/projects/apps/client-keys/" STR_FMT, STR_ARG(id));
    reply = api_get(api, api->owner_a, path.ptr);
    CHECK_STR(api_member(&reply, "state"), "retiring");
    STATUS(api_post(api, api->owner_a, "/v1/projects/apps/client-keys/web/revoke", ""), 200);
    STATUS(api_get(api, api->owner_a, "/v1/projects/apps/client-keys/web"), 404);
}

/* --- fleets --- */

typedef struct Poll {
    pthread_t thread;
    ApiFixture mine; /* with an arena of its own */
    Str token;
    ApiReply reply;
} Poll;

static void *poll_long(void *arg)
{
    Poll *poll = arg;
    poll->reply = api_get(&poll->mine, poll->token, "/v1/snapshot/manifest?after=0&wait=30");
    return NULL;
}

static void start_poll(Poll *poll, Str token)
{
    *poll = (Poll){ .mine = *api, .token = token };
    poll->mine.arena = arena_new();
    CHECK_INT(pthread_create(&poll->thread, NULL, poll_long, poll), 0);
    for (int i = 0; i < 200 && dispatch_stats(serve_dispatch(api->serve)).waiting == 0; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    CHECK_INT(dispatch_stats(serve_dispatch(api->serve)).waiting, 1);
}

static int end_poll(Poll *poll)
{
    pthread_join(poll->thread, NULL);
    int status = poll->reply.status;
    arena_free(&poll->mine.arena);
    return status;
}

/* A wake runs the whole call again: a data plane revoked while it waits is refused at the next news. */
static void check_waiting(Str token, Uuid fleet, const char *revoke_path)
{
    Poll poll;
    int64_t start_us = monotonic_us();
    STATUS(api_get(api, token, "/v1/snapshot/manifest?after=0&wait=1"), 204);
    CHECK(monotonic_us() - start_us >= 900 * US_PER_MS);
    start_poll(&poll, token);
    dispatch_wake(serve_dispatch(api->serve), PG_ORG_A); /* somebody else's news */
    nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    CHECK_INT(dispatch_stats(serve_dispatch(api->serve)).waiting, 1);
    STATUS(api_post(api, api->operator_token, revoke_path, ""), 200);
    dispatch_wake(serve_dispatch(api->serve), fleet);
    CHECK_INT(end_poll(&poll), 401);
    CHECK(monotonic_us() - start_us < 20 * US_PER_S);
}

/* A data plane that enrolled after the newest manifest was offered: what it says is believed, and no more than that. */
static void check_seen(Str token, Str id)
{
    const char *read = arena_fmt(api->arena, "/v1/fleets/eu/data-planes/" STR_FMT, STR_ARG(id)).ptr;
    pg_sql(api->arena, &api->database, "super",
        "insert into reeve.manifest (fleet, seq, digest, jws, generation, settings, shards, issued_at, hard_expiry, "
        "checkpoint_size) "
        "select id, 5, '\\x00', 'x', 1, '', decode(repeat('00', 8192), 'hex'), now(), now(), 0 from reeve.fleet");
    pg_sql(api->arena, &api->database, "super",
        "update reeve.data_plane set last_seen_at = now() - interval '1 hour', offered_seq = 0");
    STATUS(api_get(api, token, "/v1/snapshot/manifest?after=0&wait=0"), 200);
    ApiReply reply = api_get(api, api->operator_token, read);
    CHECK_INT(api_number(&reply, "offered_seq"), 5);
    CHECK_INT(api_number(&reply, "active_seq"), 0);
    Str first = api_member(&reply, "last_seen_at");
    CHECK_STR(str_first(pg_sql(api->arena, &api->database, "super",
                            "select count(*) from reeve.data_plane where last_seen_at > now() - interval '1 minute'"),
                  1),
        "1");
    STATUS(api_get(api, token, "/v1/snapshot/manifest?after=0&wait=0"), 200);
    reply = api_get(api, api->operator_token, read);
    CHECK(str_eq(api_member(&reply, "last_seen_at"), first)); /* once in a few seconds is enough */
    pg_sql(api->arena, &api->database, "super", "update reeve.data_plane set offered_seq = 0");
    STATUS(api_post(api, token, "/v1/snapshot/ack", "{\"seq\":7,\"state\":\"active\",\"at\":\"2026-01-01T00:00:00Z\"}"),
        204);
    reply = api_get(api, api->operator_token, read);
    CHECK_INT(api_number(&reply, "active_seq"), 5);
    CHECK_INT(api_number(&reply, "verified_seq"), 5);
    pg_sql(api->arena, &api->database, "super", "delete from reeve.manifest");
}

TEST(a_fleet_serves_organizations_and_enrols_a_data_plane_that_gets_a_token)
{
    ApiReply reply = api_post(api, api->operator_token, "/v1/fleets", "{\"name\":\"eu\"}");
    CREATED(reply);
    Uuid fleet;
    CHECK_OK(typeid_parse(api_member(&reply, "id"), STR("flt"), &fleet));
    CHECK_INT(
        api_post(api, api->operator_token, "/v1/fleets/eu/organizations", "{\"organization\":\"org-a\"}").status, 201);
    STATUS(api_post(api, api->operator_token, "/v1/fleets/eu/organizations", "{\"organization\":\"nope\"}"), 404);
    KeyPair once = ed25519_new(), sign = ed25519_new(), encrypt = x25519_new();
    Str cert = keeper_fixture_cert(keeper, &keeper->enrol_key, fleet, &once, 600);
    Str request = keeper_fixture_request(keeper, fleet, &once, &sign, &encrypt);
    Str body = arena_fmt(
        api->arena, "{\"cert\":\"" STR_FMT "\",\"request\":\"" STR_FMT "\"}", STR_ARG(cert), STR_ARG(request));
    reply = api_post(api, STR(""), "/v1/enrolments", body.ptr);
    CREATED(reply);
    Str id = api_member(&reply, "data_plane");
    CHECK(api_member(&reply, "keyring").len > 0);
    reply = api_post(api, STR(""), "/v1/enrolments", body.ptr);
    CREATED(reply);
    CHECK(str_eq(api_member(&reply, "data_plane"), id));

    /* The same certificate for other keys, and one by a stranger, are refused. */
    KeyPair other = ed25519_new(), stranger = ed25519_new();
    Str again = keeper_fixture_request(keeper, fleet, &once, &other, &encrypt);
    Str stolen =
        arena_fmt(api->arena, "{\"cert\":\"" STR_FMT "\",\"request\":\"" STR_FMT "\"}", STR_ARG(cert), STR_ARG(again));
    reply = api_post(api, STR(""), "/v1/enrolments", stolen.ptr);
    CHECK(reply.status >= 400 && reply.status < 500);
    Str forged = keeper_fixture_cert(keeper, &stranger, fleet, &once, 600);
    body = arena_fmt(
        api->arena, "{\"cert\":\"" STR_FMT "\",\"request\":\"" STR_FMT "\"}", STR_ARG(forged), STR_ARG(request));
    reply = api_post(api, STR(""), "/v1/enrolments", body.ptr);
    CHECK(reply.status >= 400 && reply.status < 500);

    Uuid data_plane;
    CHECK_OK(typeid_parse(id, STR("dpl"), &data_plane));
    Str assertion = assertion_sign(api->arena, &sign, data_plane, keeper->installation, time_now());
    body = arena_fmt(api->arena, "{\"assertion\":\"" STR_FMT "\"}", STR_ARG(assertion));
    reply = api_post(api, STR(""), "/v1/data-planes/token", body.ptr);
    STATUS(reply, 200);
    CHECK_INT(api_number(&reply, "expires_in"), 600);
    Str token = api_member(&reply, "access_token");
    STATUS(api_post(api, STR(""), "/v1/data-planes/token", body.ptr), 401); /* each assertion once */
    STATUS(api_get(api, token, "/v1/whoami"), 401);                         /* it is no service token */
    STATUS(api_get(api, token, "/v1/snapshot/manifest?after=0&wait=0"), 204);
    check_seen(token, id);
    /* A number that is not the next one never reaches the keeper, which would hold the fleet to it for ever. */
    reply = api_post(api, api->operator_token, "/v1/fleets/eu/generations", "{\"generation\":9,\"statement\":\"x\"}");
    STATUS(reply, 409);
    CHECK_STR(reply.code, "generation-out-of-order");
    Str path = arena_fmt(api->arena, "/v1/fleets/eu/data-planes/" STR_FMT "/revoke", STR_ARG(id));
    check_waiting(token, fleet, path.ptr);
    reply = api_get(api, token, "/v1/snapshot/manifest?after=0&wait=0");
    STATUS(reply, 401);
    CHECK_STR(reply.code, "data-plane-revoked");
    keypair_release(&once);
    keypair_release(&sign);
    keypair_release(&encrypt);
    keypair_release(&other);
    keypair_release(&stranger);
}

TEST(a_deleted_projects_key_is_destroyed_when_its_grace_time_ends)
{
    ApiReply reply = make("/v1/projects", "{\"name\":\"doomed\"}");
    Str id = api_member(&reply, "id");
    make("/v1/projects/doomed/secrets", sealed_body(arena_c(api->arena, id), STR("https://api.openai.com"), "k",
                                            uuid_v7(time_now()), "sk-0123456789abcdef")
                                            .ptr);
    STATUS(api_delete(api, api->owner_a, "/v1/projects/doomed"), 200);
    const char *keys =
        "select count(*) from reeve.project_key k join reeve.project p on p.id = k.project and p.name = 'doomed'";
    pg_sql(api->arena, &api->database, "worker", "select projects_purge(now())");
    CHECK_STR(str_first(pg_sql(api->arena, &api->database, "super", keys), 1), "1");
    pg_sql(api->arena, &api->database, "super", "update reeve.project set purge_at = now() where name = 'doomed'");
    pg_sql(api->arena, &api->database, "worker", "select projects_purge(now())");
    CHECK_STR(str_first(pg_sql(api->arena, &api->database, "super", keys), 1), "0");
    Str path = arena_fmt(api->arena, "/v1/projects/" STR_FMT "/undelete", STR_ARG(id));
    reply = api_post(api, api->owner_a, path.ptr, "");
    STATUS(reply, 200); /* nothing to bring back: it stays deleted */
    CHECK_STR(api_member(&reply, "state"), "deleted");
}

TEST(every_change_leaves_a_leaf_and_asks_for_publishing)
{
    pg_sql(api->arena, &api->database, "super", "delete from reeve.publish_queue; delete from reeve.audit_leaf");
    make("/v1/projects", "{\"name\":\"traced\"}");
    make("/v1/projects/traced/workflows", "{\"name\":\"w\",\"dialect\":\"openai\"}");
    STATUS(api_post(api, api->owner_a, "/v1/projects?dry_run=true", "{\"name\":\"ghost\"}"), 200);
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"traced\"}"), 409);
    Str leaves = pg_sql(api->arena, &api->database, "super",
        "select convert_from(bytes, 'UTF8')::jsonb ->> 'action' from reeve.audit_leaf order by id");
    CHECK_STR(str_trim(str_first(leaves, 32)), "project.created\nworkflow.created");
    Str queued = pg_sql(api->arena, &api->database, "super", "select reason from reeve.publish_queue");
    CHECK(str_starts_with(queued, STR("workflow.created")));
}

int main(void)
{
    crypto_start();
    json_start();
    client_start();
    log_start("api_life_test", LOG_WARN, true);
    server = pg_start();
    keeper = keeper_fixture_new(REEVE_BINARY_DIR "/bin/reeve-keeper");
    keeper_fixture_start(keeper);
    api = api_fixture_new(server, keeper);
    int failed = RUN(UNIT(an_organization_is_created_changed_let_in_and_deleted),
        UNIT(a_project_is_archived_restored_deleted_and_brought_back),
        UNIT(service_accounts_tokens_and_bindings_give_and_take_access),
        UNIT(a_secret_is_taken_in_sealed_rotated_with_overlap_and_never_shown),
        UNIT(the_api_cannot_read_back_what_it_sealed_and_the_log_holds_no_part_of_a_key),
        UNIT(a_key_sealed_for_another_place_is_refused), UNIT(an_origin_is_https_or_this_machine),
        UNIT(a_connection_keeps_its_secrets_origin), UNIT(a_workflow_is_revised_released_staged_and_rolled_back),
        UNIT(a_client_key_is_shown_once_rotated_with_overlap_and_revoked),
        UNIT(a_fleet_serves_organizations_and_enrols_a_data_plane_that_gets_a_token),
        UNIT(a_deleted_projects_key_is_destroyed_when_its_grace_time_ends),
        UNIT(every_change_leaves_a_leaf_and_asks_for_publishing));
    api_fixture_free(&api);
    keeper_fixture_free(&keeper);
    pg_stop(&server);
    return failed;
}
