/* The rules that hold for every route: who may, once only, which version, how many, and nothing unknown. */
#include "support/api.h"
#include "support/check.h"
#include "support/metrics.h"

#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"

#include <pthread.h>

static PgServer *server;
static ApiFixture *api;

static void check_status(ApiReply reply, int expected, const char *code, int line)
{
    if (reply.status == expected && (code == NULL || str_eq(reply.code, str_from_c(code))))
        return;
    print_error(
        "expected %d %s, got %d: " STR_FMT "\n", expected, code == NULL ? "" : code, reply.status, STR_ARG(reply.body));
    _fail(__FILE__, line);
}
#define STATUS(reply, expected) check_status((reply), (expected), NULL, __LINE__)
#define REFUSED(reply, expected, code) check_status((reply), (expected), (code), __LINE__)

/* --- tenants apart --- */

typedef struct Walk {
    const char *what; /* of organization B, as A sees it */
    Str org, project;
    size_t routes;
} Walk;

static Str fill_pattern(const Walk *walk, const char *pattern)
{
    static const struct {
        const char *name, *value;
    } others[] = { { "secret", "k" }, { "connection", "c" }, { "workflow", "w" }, { "key", "web" }, { "version", "1" },
        { "revision", "1" }, { "account", "ci" }, { "token", "tok_01h455vb4pex5vsknk084sn02q" },
        { "binding", "bnd_01h455vb4pex5vsknk084sn02q" } };
    Str path = str_from_c(pattern);
    size_t count = 0;
    while (str_contains(path, STR("{")) && count++ < 4) {
        Str head, tail, name, rest;
        str_cut(path, '{', &head, &tail);
        str_cut(tail, '}', &name, &rest);
        Str value = str_eq(name, STR("org")) ? walk->org : str_eq(name, STR("project")) ? walk->project : STR("x");
        for (size_t i = 0; i < COUNT_OF(others); i++)
            if (str_eq(name, str_from_c(others[i].name)))
                value = str_from_c(others[i].value);
        path = arena_fmt(api->arena, STR_FMT STR_FMT STR_FMT, STR_ARG(head), STR_ARG(value), STR_ARG(rest));
    }
    return path;
}

static void check_foreign(Walk *walk, const Route *route)
{
    Str pattern = str_from_c(route->pattern);
    if (route->credential != CREDENTIAL_SERVICE ||
        (!str_contains(pattern, STR("{project}")) && !str_contains(pattern, STR("{org}"))))
        return;
    ApiCall call = { .method = method_name(route->method),
        .token = api->owner_a,
        .path = fill_pattern(walk, route->pattern),
        .if_match = STR("*"),
        .body = route->method == METHOD_GET || route->method == METHOD_DELETE ? (Str){ 0 } : STR("{}") };
    ApiReply reply = api_call(api, &call);
    if (reply.status != 404 || !str_eq(reply.code, STR("not-found")))
        print_error("%s %s of %s: %d " STR_FMT "\n", call.method, route->pattern, walk->what, reply.status,
            STR_ARG(reply.body));
    CHECK_INT(reply.status, 404);
    walk->routes++;
}

static size_t walk_routes(const char *what, Str org, Str project)
{
    Walk walk = { what, org, project, 0 };
    for (const Route *const *table = ROUTE_TABLES; *table != NULL; table++)
        for (const Route *route = *table; route->pattern != NULL; route++)
            check_foreign(&walk, route);
    return walk.routes;
}

TEST(a_foreign_organization_or_project_is_not_found_on_every_route)
{
    ApiReply theirs = api_post(api, api->owner_b, "/v1/projects", "{\"name\":\"theirs\"}");
    STATUS(theirs, 201);
    Str org_b = typeid_format(api->arena, STR("org"), PG_ORG_B);
    Str nobody = STR("prj_01h455vb4pex5vsknk084sn02q");
    CHECK(walk_routes("another's id", org_b, api_member(&theirs, "id")) > 30);
    CHECK(walk_routes("another's name", STR("org-b"), STR("theirs")) > 30);
    CHECK(walk_routes("an id that is nowhere", STR("org_01h455vb4pex5vsknk084sn02q"), nobody) > 30);
}

TEST(odd_path_segments_are_not_found)
{
    static const char *const paths[] = { "/v1/projects/..", "/v1/projects/%2e%2e", "/v1/projects/%00",
        "/v1/projects/a%2Fb", "/v1/projects/", "/v1//projects", "/v1/projects/ROOT", "/v1/projects/'%3Bselect",
        "/v1/projects/%ff", "/v1/projects/prj_", "/v1/projects/org_01h455vb4pex5vsknk084sn02q",
        "/v1/projects/prj_ZZh455vb4pex5vsknk084sn02q" };
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        ApiReply reply = api_get(api, api->owner_a, paths[i]);
        if (reply.status != 404 && reply.status != 400)
            print_error("%s: %d\n", paths[i], reply.status);
        CHECK(reply.status == 404 || reply.status == 400);
    }
}

TEST(a_role_at_one_project_gives_nothing_at_another)
{
    ApiReply mine = api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"mine\"}");
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"other\"}"), 201);
    Str token = api_token(api, PG_ORG_A, "developer", arena_c(api->arena, api_member(&mine, "id")));
    STATUS(api_get(api, token, "/v1/projects/mine"), 200);
    REFUSED(api_get(api, token, "/v1/projects/other"), 403, "not-allowed");
    REFUSED(api_delete(api, token, "/v1/projects/mine"), 403, "not-allowed");
    REFUSED(api_get(api, token, "/v1/fleets"), 403, "not-allowed");
    REFUSED(api_get(api, api->owner_a, "/v1/organizations"), 403, "not-allowed");
    REFUSED(api_get(api, api->operator_token, "/v1/projects"), 403, "not-allowed");
}

TEST(a_list_below_what_is_not_there_is_not_found)
{
    static const char *const lists[] = { "/v1/projects/lists/secrets/nothing/versions",
        "/v1/projects/lists/secrets/sec_01h455vb4pex5vsknk084sn02q/versions",
        "/v1/projects/lists/workflows/nothing/revisions",
        "/v1/projects/lists/workflows/wfl_01h455vb4pex5vsknk084sn02q/revisions" };
    static const char *const fleets[] = { "/v1/fleets/nothing/data-planes",
        "/v1/fleets/flt_01h455vb4pex5vsknk084sn02q/data-planes", "/v1/fleets/nothing/organizations" };
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"lists\"}"), 201);
    STATUS(api_post(api, api->owner_a, "/v1/projects/lists/workflows", "{\"name\":\"there\",\"dialect\":\"openai\"}"),
        201);
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        REFUSED(api_get(api, api->owner_a, lists[i]), 404, "not-found");
    for (size_t i = 0; i < COUNT_OF(fleets); i++)
        REFUSED(api_get(api, api->operator_token, fleets[i]), 404, "not-found");
    STATUS(api_get(api, api->owner_a, "/v1/projects/lists/workflows/there/revisions"), 200);
    REFUSED(api_get(api, api->owner_b, "/v1/fleets/nothing/data-planes"), 403, "not-allowed");
}

TEST(a_viewer_lists_and_reads_what_it_may_view_and_nothing_else)
{
    ApiReply seen = api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"seen-1\"}");
    ApiReply too = api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"seen-2\"}");
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"unseen\"}"), 201);
    Str everywhere = api_token(api, PG_ORG_A, "viewer", NULL);
    Str here = api_token(api, PG_ORG_A, "viewer", arena_c(api->arena, api_member(&seen, "id")));
    ApiReply all = api_get(api, everywhere, "/v1/projects?page_size=500");
    STATUS(all, 200);
    CHECK(str_contains(all.body, STR("\"unseen\"")));
    STATUS(api_get(api, everywhere, "/v1/projects/unseen"), 200);
    STATUS(api_get(api, everywhere, "/v1/projects/unseen/secrets"), 200);
    REFUSED(api_patch(api, everywhere, "/v1/projects/unseen", "{}", "*"), 403, "not-allowed");
    ApiReply mine = api_get(api, here, "/v1/projects");
    STATUS(mine, 200);
    CHECK_INT(json_array_size(json_object_get(mine.json, "data")), 1);
    CHECK(str_contains(mine.body, STR("\"seen-1\"")));
    REFUSED(api_get(api, here, "/v1/projects/unseen"), 403, "not-allowed");
    pg_sql(api->arena, &api->database, "super",
        arena_fmt(api->arena,
            "insert into reeve.role_binding (org, id, service_account, role, project) select org, gen_random_uuid(), "
            "service_account, 'developer', (select id from reeve.project where name = 'seen-2') from "
            "reeve.role_binding "
            "where project = (select id from reeve.project where name = 'seen-1')")
            .ptr);
    CHECK_INT(too.status, 201);
    ApiReply first = api_get(api, here, "/v1/projects?page_size=1");
    STATUS(first, 200);
    Str next = arena_fmt(
        api->arena, "/v1/projects?page_size=1&page_token=" STR_FMT, STR_ARG(api_member(&first, "next_page_token")));
    ApiReply second = api_get(api, here, next.ptr);
    STATUS(second, 200);
    CHECK(str_contains(second.body, STR("\"seen-2\"")));
    CHECK(json_is_null(json_object_get(second.json, "next_page_token")));
    REFUSED(api_get(api, here, "/v1/service-accounts"), 403, "not-allowed");
}

TEST(a_role_is_given_only_at_a_project_that_is_there)
{
    STATUS(api_post(api, api->owner_a, "/v1/service-accounts", "{\"name\":\"bound\"}"), 201);
    ApiReply theirs = api_post(api, api->owner_b, "/v1/projects", "{\"name\":\"not-yours\"}");
    STATUS(theirs, 201);
    const char *bodies[] = {
        "{\"service_account\":\"bound\",\"role\":\"viewer\",\"project\":\"prj_01h455vb4pex5vsknk084sn02q\"}",
        arena_fmt(api->arena, "{\"service_account\":\"bound\",\"role\":\"viewer\",\"project\":\"" STR_FMT "\"}",
            STR_ARG(api_member(&theirs, "id")))
            .ptr,
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        ApiReply reply = api_post(api, api->owner_a, "/v1/bindings", bodies[i]);
        CHECK(reply.status == 404 || reply.status == 422);
    }
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"bindable\"}"), 201);
    STATUS(api_post(api, api->owner_a, "/v1/bindings",
               "{\"service_account\":\"bound\",\"role\":\"viewer\",\"project\":\"bindable\"}"),
        201);
}

/* --- credentials --- */

TEST(a_missing_malformed_unknown_or_expired_token_is_401_with_its_reason)
{
    REFUSED(api_get(api, STR(""), "/v1/projects"), 401, "credential-missing");
    REFUSED(api_get(api, STR("rv_svc_short"), "/v1/projects"), 401, "token-malformed");
    Str other = api_token(api, PG_ORG_A, "viewer", NULL);
    pg_sql(api->arena, &api->database, "super",
        "delete from reeve.token where id = (select max(id::text)::uuid from reeve.token)");
    REFUSED(api_get(api, other, "/v1/projects"), 401, "token-unknown");
    other = api_token(api, PG_ORG_A, "viewer", NULL);
    pg_sql(api->arena, &api->database, "super",
        "update reeve.token set expires_at = now() - interval '1 s' where id = (select max(id::text)::uuid from "
        "reeve.token)");
    REFUSED(api_get(api, other, "/v1/projects"), 401, "token-expired");
    STATUS(api_get(api, STR(""), "/healthz"), 200);
    STATUS(api_get(api, STR(""), "/nothing/here"), 404);
}

TEST(a_wrong_method_is_405_and_says_which_are_right)
{
    ApiReply reply = api_call(
        api, &(ApiCall){ .method = "PUT", .token = api->owner_a, .path = STR("/v1/projects"), .body = STR("{}") });
    REFUSED(reply, 405, "method-not-allowed");
    CHECK_STR(http_reply_header(&reply.http, STR("allow")), "GET, POST");
}

/* --- bodies and parameters --- */

TEST(bad_bodies_are_refused_with_what_is_wrong)
{
    static const struct {
        const char *body, *code;
        int status;
    } cases[] = {
        { "", "body-missing", 0 },
        { "{", "json-malformed", 0 },
        { "[]", NULL, 0 },
        { "{\"name\":\"a\",\"name\":\"b\"}", "json-duplicate-member", 0 },
        { "{\"name\":\"\xff\"}", "json-not-utf8", 0 },
        { "{\"name\":\"a\"} x", "json-malformed", 0 },
        { "{\"name\":\"a\",\"digest\":1,\"nmae\":2}", "invalid-body", 422 },
        { "{\"name\":\"A b\"}", "invalid-body", 422 },
        { "{\"name\":\"prj_01h455vb4pex5vsknk084sn02q\"}", "invalid-body", 422 },
        { "{\"name\":5}", "invalid-body", 422 },
        { "{\"name\":null}", "invalid-body", 422 },
        { "{\"name\":\"a\",\"id\":\"prj_01h455vb4pex5vsknk084sn02q\"}", "invalid-body", 422 },
        { "{\"name\":\"a\",\"version\":7}", "invalid-body", 422 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ApiReply reply = api_post(api, api->owner_a, "/v1/projects", cases[i].body);
        if (reply.status < 400 || reply.status >= 500)
            print_error("%s: %d\n", cases[i].body, reply.status);
        CHECK(reply.status >= 400 && reply.status < 500);
        if (cases[i].code != NULL)
            REFUSED(reply, cases[i].status != 0 ? cases[i].status : reply.status, cases[i].code);
    }
    ApiReply reply = api_post(api, api->owner_a, "/v1/projects", "{\"nam\":\"a\",\"display_name\":7}");
    REFUSED(reply, 422, "invalid-body");
    CHECK_INT(json_array_size(json_object_get(reply.json, "errors")), 3);
}

static Str repeated(const char *what, size_t times, const char *end)
{
    Buf out = buf_new(8 * 1024 * 1024);
    for (size_t i = 0; i < times; i++)
        buf_add(&out, str_from_c(what));
    buf_add(&out, str_from_c(end));
    Str text = arena_str(api->arena, buf_str(&out));
    buf_release(&out);
    return text;
}

TEST(deep_and_oversized_bodies_are_refused)
{
    ApiCall call = { .method = "POST", .token = api->owner_a, .path = STR("/v1/projects") };
    call.body = repeated("[", 5000, "");
    REFUSED(api_call(api, &call), 422, "json-too-deep");
    call.body = repeated("[0,", 1, repeated("0,", 60000, "0]").ptr);
    STATUS(api_call(api, &call), 422);
    call.body = repeated("          ", 40000, "{}");
    int status = api_call(api, &call).status;
    CHECK(status == 413 || status == 0); /* the connection may be closed while we still send */
    STATUS(api_get(api, api->owner_a, "/v1/projects"), 200);
}

TEST(unknown_query_parameters_and_other_media_are_refused)
{
    REFUSED(api_get(api, api->owner_a, "/v1/projects?pagesize=3"), 422, "unknown-parameter");
    REFUSED(api_get(api, api->owner_a, "/v1/projects?page_size=0"), 422, "bad-page-size");
    REFUSED(api_get(api, api->owner_a, "/v1/projects?page_size=1&page_size=2"), 422, "parameter-twice");
    ApiCall call = { .method = "POST",
        .token = api->owner_a,
        .path = STR("/v1/projects"),
        .body = STR("{\"name\":\"m\"}"),
        .media = "text/plain" };
    CHECK_STR(api_call(api, &call).code, "unsupported-media-type");
}

/* --- versions --- */

TEST(a_change_needs_the_version_it_means)
{
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"versions\"}"), 201);
    const char *path = "/v1/projects/versions", *body = "{\"description\":\"x\"}";
    REFUSED(api_patch(api, api->owner_a, path, body, ""), 428, "precondition-required");
    REFUSED(api_patch(api, api->owner_a, path, body, "\"9\""), 412, "version-mismatch");
    CHECK_STR(api_patch(api, api->owner_a, path, body, "W/\"1\"").code, "bad-if-match");
    ApiReply reply = api_patch(api, api->owner_a, path, body, "\"1\"");
    STATUS(reply, 200);
    CHECK_STR(reply.etag, "\"2\"");
    REFUSED(api_patch(api, api->owner_a, path, body, "\"1\""), 412, "version-mismatch");
    STATUS(api_patch(api, api->owner_a, path, "{\"description\":null}", "*"), 200);
    reply = api_get(api, api->owner_a, path);
    CHECK_STR(reply.etag, "\"3\"");
    CHECK_STR(api_member(&reply, "description"), "");
}

typedef struct Racer {
    pthread_t thread;
    ApiFixture mine; /* with an arena of its own */
    ApiCall call;
    ApiReply reply;
} Racer;

static void *race(void *arg)
{
    Racer *racer = arg;
    racer->reply = api_call(&racer->mine, &racer->call);
    return NULL;
}

#define RACERS 12

static void run_race(Racer *racers, const ApiCall *call)
{
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (Racer){ .mine = *api, .call = *call };
        racers[i].mine.arena = arena_new();
        CHECK_INT(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(racers[i].thread, NULL);
}

static int count_status(Racer *racers, int status)
{
    int count = 0;
    for (int i = 0; i < RACERS; i++)
        count += racers[i].reply.status == status;
    return count;
}

static void end_race(Racer *racers)
{
    for (int i = 0; i < RACERS; i++)
        arena_free(&racers[i].mine.arena);
}

TEST(of_many_changes_of_one_version_exactly_one_wins)
{
    static Racer racers[RACERS];
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"raced\"}"), 201);
    run_race(racers, &(ApiCall){ .method = "PATCH",
                         .token = api->owner_a,
                         .path = STR("/v1/projects/raced"),
                         .body = STR("{\"description\":\"mine\"}"),
                         .if_match = STR("\"1\"") });
    CHECK_INT(count_status(racers, 200), 1);
    CHECK_INT(count_status(racers, 412), RACERS - 1);
    end_race(racers);
}

/* --- once only --- */

TEST(a_post_with_a_key_happens_once_and_answers_again_the_same)
{
    ApiCall call = { .method = "POST",
        .token = api->owner_a,
        .path = STR("/v1/projects"),
        .body = STR("{\"name\":\"once\"}"),
        .key = STR("\"k-1\"") };
    ApiReply first = api_call(api, &call), second = api_call(api, &call);
    STATUS(first, 201);
    STATUS(second, 201);
    CHECK(str_eq(api_member(&first, "id"), api_member(&second, "id")));
    CHECK_STR(http_reply_header(&second.http, STR("idempotency-replayed")), "true");
    call.body = STR("{\"name\":\"twice\"}");
    REFUSED(api_call(api, &call), 422, "idempotency-mismatch");
    call.token = api->owner_b; /* another's key is another key */
    STATUS(api_call(api, &call), 201);
    call.key = STR("a b");
    CHECK_STR(api_call(api, &call).code, "bad-idempotency-key");
}

TEST(many_posts_with_one_key_make_one_thing)
{
    static Racer racers[RACERS];
    run_race(racers, &(ApiCall){ .method = "POST",
                         .token = api->owner_a,
                         .path = STR("/v1/projects"),
                         .body = STR("{\"name\":\"stampede\"}"),
                         .key = STR("k-race") });
    CHECK(count_status(racers, 201) >= 1);
    CHECK_INT(count_status(racers, 201) + count_status(racers, 409), RACERS);
    for (int i = 0; i < RACERS; i++)
        if (racers[i].reply.status == 409)
            CHECK_STR(racers[i].reply.code, "idempotency-in-flight");
    Str count =
        pg_sql(api->arena, &api->database, "super", "select count(*) from reeve.project where name = 'stampede'");
    CHECK_STR(str_first(count, 1), "1");
    end_race(racers);
}

TEST(a_replayed_token_is_a_fresh_one_and_the_lost_one_is_dead)
{
    STATUS(api_post(api, api->owner_a, "/v1/service-accounts", "{\"name\":\"bot\"}"), 201);
    STATUS(api_post(api, api->owner_a, "/v1/bindings", "{\"service_account\":\"bot\",\"role\":\"viewer\"}"), 201);
    ApiCall call = { .method = "POST",
        .token = api->owner_a,
        .path = STR("/v1/tokens"),
        .body = STR("{\"service_account\":\"bot\",\"name\":\"t\"}"),
        .key = STR("k-token") };
    ApiReply first = api_call(api, &call), second = api_call(api, &call);
    STATUS(second, 201);
    CHECK(str_eq(api_member(&first, "id"), api_member(&second, "id")));
    CHECK(!str_eq(api_member(&first, "token"), api_member(&second, "token")));
    REFUSED(api_get(api, api_member(&first, "token"), "/v1/projects"), 401, "token-unknown");
    STATUS(api_get(api, api_member(&second, "token"), "/v1/projects"), 200);
    Str kept = pg_sql(api->arena, &api->database, "super",
        "select count(*) from reeve.idempotency where reply::text like '%rv\\_svc\\_%' and "
        "length(substring(reply::text from 'rv_svc_[A-Za-z0-9]+')) > 20");
    CHECK_STR(str_first(kept, 1), "0");
}

TEST(a_dry_run_shows_the_change_and_makes_none)
{
    ApiReply reply = api_post(api, api->owner_a, "/v1/projects?dry_run=true", "{\"name\":\"phantom\"}");
    STATUS(reply, 200);
    CHECK(json_is_true(json_object_get(reply.json, "dry_run")));
    STATUS(api_get(api, api->owner_a, "/v1/projects/phantom"), 404);
    REFUSED(
        api_post(api, api_token(api, PG_ORG_A, "viewer", NULL), "/v1/projects?dry_run=true", "{\"name\":\"phantom\"}"),
        403, "not-allowed");
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"keys\"}"), 201);
    reply = api_post(api, api->owner_a, "/v1/projects/keys/client-keys?dry_run=true", "{\"name\":\"web\"}");
    STATUS(reply, 200);
    CHECK(!str_contains(reply.body, STR("\"token\"")));
}

/* --- pages --- */

TEST(pages_cover_a_list_exactly_while_it_grows)
{
    Str token = STR(""), seen = STR(",");
    int pages = 0, items = 0;
    for (int i = 0; i < 7; i++)
        STATUS(api_post(api, api->owner_b, "/v1/projects", arena_fmt(api->arena, "{\"name\":\"p%d\"}", i).ptr), 201);
    do {
        Str path = arena_fmt(
            api->arena, "/v1/projects?page_size=3%s" STR_FMT, token.len > 0 ? "&page_token=" : "", STR_ARG(token));
        ApiReply reply = api_get(api, api->owner_b, path.ptr);
        STATUS(reply, 200);
        json_t *data = json_object_get(reply.json, "data"), *item;
        size_t i;
        json_array_foreach(data, i, item)
        {
            CHECK(!str_contains(seen, arena_fmt(api->arena, "," STR_FMT ",", STR_ARG(json_str(item, "id")))));
            seen = arena_fmt(api->arena, STR_FMT STR_FMT ",", STR_ARG(seen), STR_ARG(json_str(item, "id")));
            items++;
        }
        if (pages++ == 0)
            STATUS(api_post(api, api->owner_b, "/v1/projects", "{\"name\":\"late\"}"), 201);
        token = api_member(&reply, "next_page_token");
    } while (token.len > 0 && pages < 20);
    CHECK(items >= 8);
    CHECK(pages >= 3);
}

TEST(a_page_token_is_bound_to_its_list_and_cannot_be_made)
{
    ApiReply reply = api_get(api, api->owner_b, "/v1/projects?page_size=1");
    Str token = api_member(&reply, "next_page_token");
    CHECK(token.len > 0);
    Str path = arena_fmt(api->arena, "/v1/projects?show_deleted=true&page_token=" STR_FMT, STR_ARG(token));
    CHECK_STR(api_get(api, api->owner_b, path.ptr).code, "bad-page-token");
    path = arena_fmt(api->arena, "/v1/tokens?page_token=" STR_FMT, STR_ARG(token));
    CHECK_STR(api_get(api, api->owner_b, path.ptr).code, "bad-page-token");
    CHECK_STR(api_get(api, api->owner_b, "/v1/projects?page_token=AAAA").code, "bad-page-token");
}

TEST(metrics_and_the_description_are_served)
{
    ApiReply reply = api_get(api, STR(""), "/metrics");
    STATUS(reply, 200);
    CHECK(str_contains(reply.body, STR("reeved_requests_total")));
    CHECK_METRICS(reply.body);
    reply = api_get(api, STR(""), "/openapi.json");
    STATUS(reply, 200);
    CHECK_STR(api_member(&reply, "openapi"), "3.1.0");
}

int main(void)
{
    crypto_start();
    json_start();
    client_start();
    log_start("api_rules_test", LOG_ERROR, true);
    server = pg_start();
    api = api_fixture_new(server, NULL);
    int failed = RUN(UNIT(a_foreign_organization_or_project_is_not_found_on_every_route),
        UNIT(odd_path_segments_are_not_found), UNIT(a_role_at_one_project_gives_nothing_at_another),
        UNIT(a_list_below_what_is_not_there_is_not_found),
        UNIT(a_viewer_lists_and_reads_what_it_may_view_and_nothing_else),
        UNIT(a_role_is_given_only_at_a_project_that_is_there),
        UNIT(a_missing_malformed_unknown_or_expired_token_is_401_with_its_reason),
        UNIT(a_wrong_method_is_405_and_says_which_are_right), UNIT(bad_bodies_are_refused_with_what_is_wrong),
        UNIT(deep_and_oversized_bodies_are_refused), UNIT(unknown_query_parameters_and_other_media_are_refused),
        UNIT(a_change_needs_the_version_it_means), UNIT(of_many_changes_of_one_version_exactly_one_wins),
        UNIT(a_post_with_a_key_happens_once_and_answers_again_the_same), UNIT(many_posts_with_one_key_make_one_thing),
        UNIT(a_replayed_token_is_a_fresh_one_and_the_lost_one_is_dead), UNIT(a_dry_run_shows_the_change_and_makes_none),
        UNIT(pages_cover_a_list_exactly_while_it_grows), UNIT(a_page_token_is_bound_to_its_list_and_cannot_be_made),
        UNIT(metrics_and_the_description_are_served));
    api_fixture_free(&api);
    pg_stop(&server);
    return failed;
}
