/* Bad days of the API: the database goes and comes back, the keeper goes and comes back. Never a 401 or a 404 for it.
 */
#include "support/api.h"
#include "support/check.h"

#include "base/json.h"
#include "base/log.h"

#include <signal.h>
#include <time.h>

static PgServer *server;
static KeeperFixture *keeper;
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

static void wait_until_served(void)
{
    for (int i = 0; i < 100; i++) {
        if (api_get(api, api->owner_a, "/v1/projects").status == 200)
            return;
        nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
    }
}

TEST(without_its_database_the_api_says_503_and_goes_on_when_it_is_back)
{
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"before\"}"), 201);
    STATUS(api_get(api, STR(""), "/readyz"), 200);
    pg_down(server);
    for (int i = 0; i < 10; i++) {
        ApiReply reply = i % 2 == 0 ? api_get(api, api->owner_a, "/v1/projects/before")
                                    : api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"during\"}");
        STATUS(reply, 503);
        CHECK(http_reply_header(&reply.http, STR("retry-after")).len > 0);
    }
    STATUS(api_get(api, STR(""), "/readyz"), 503);
    STATUS(api_get(api, STR(""), "/healthz"), 200);
    pg_up(server);
    wait_until_served();
    STATUS(api_get(api, api->owner_a, "/v1/projects/before"), 200);
    STATUS(api_get(api, api->owner_a, "/v1/projects/during"), 404);
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"after\"}"), 201);
}

TEST(a_crash_of_the_database_loses_nothing_that_was_answered)
{
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"kept\"}"), 201);
    pg_crash(server);
    pg_up(server);
    wait_until_served();
    STATUS(api_get(api, api->owner_a, "/v1/projects/kept"), 200);
}

TEST(without_the_keeper_reads_go_on_and_changes_that_need_it_say_so)
{
    STATUS(api_patch(api, api->owner_a, "/v1/organization", "{\"plaintext_intake\":true}", "*"), 200);
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"vault\"}"), 201);
    const char *path = "/v1/projects/vault/secrets";
    const char *body = "{\"name\":\"k\",\"origin\":\"https://api.openai.com\",\"plaintext\":\"sk-plain-0123456789\"}";
    keeper_fixture_stop(keeper, SIGTERM);
    REFUSED(api_post(api, api->owner_a, path, body), 503, "keeper-unavailable");
    STATUS(api_get(api, api->owner_a, path), 200);
    STATUS(api_post(api, api->owner_a, "/v1/projects", "{\"name\":\"meanwhile\"}"), 201);
    STATUS(api_get(api, STR(""), "/readyz"), 200);
    keeper_fixture_start(keeper);
    STATUS(api_post(api, api->owner_a, path, body), 201);
}

int main(void)
{
    crypto_start();
    json_start();
    client_start();
    log_start("api_outage_test", LOG_ERROR, true);
    server = pg_start();
    keeper = keeper_fixture_new(REEVE_BINARY_DIR "/bin/reeve-keeper");
    keeper_fixture_start(keeper);
    api = api_fixture_new(server, keeper);
    int failed = RUN(UNIT(without_its_database_the_api_says_503_and_goes_on_when_it_is_back),
        UNIT(a_crash_of_the_database_loses_nothing_that_was_answered),
        UNIT(without_the_keeper_reads_go_on_and_changes_that_need_it_say_so));
    api_fixture_free(&api);
    keeper_fixture_free(&keeper);
    pg_stop(&server);
    return failed;
}
