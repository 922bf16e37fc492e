/* config_test.c: the gateway's settings: what is taken, and that what is wrong is named with its line. */
#include "support/check.h"

#include <unistd.h>

#include "base/json.h"
#include "gateway/gateway.h"

static Arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static Err load(const char *text, GatewayConfig *ret_config)
{
    char path[] = "/tmp/reeve-gateway-config-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    *ret_config = gateway_config_default();
    Err err = config_load(arena, str_from_c(path), STR("REEVE_GATEWAY"), &GATEWAY_CONFIG_FIELDS, ret_config);
    unlink(path);
    return err.kind == ERR_NONE ? gateway_config_check(arena, ret_config) : err;
}

TEST(a_state_directory_is_enough)
{
    GatewayConfig config;
    CHECK_INT(load("state_dir: /var/lib/reeve\n", &config).kind, ERR_NONE);
    CHECK_STR(config.listen, "127.0.0.1:8080");
    CHECK_INT(config.workers, 2);
    CHECK_INT(config.spool.segment_bytes, 8 * 1024 * 1024);
    CHECK(!config.allow_private_upstreams);
}

TEST(nested_settings_keep_the_other_defaults)
{
    GatewayConfig config;
    CHECK_INT(load("state_dir: s\ndefaults:\n  idle_ms: 7\n", &config).kind, ERR_NONE);
    CHECK_INT(config.defaults.idle_ms, 7);
    CHECK_INT(config.defaults.connect_ms, 5000);
}

TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *text, *has;
    } cases[] = {
        { "listen: \"127.0.0.1:1\"\n", "state_dir is required" },
        { "state_dir: s\nport: 1\n", ":2: port is not a known member" },
        { "state_dir: s\nworkers: 0\n", ":2: workers" },
        { "state_dir: s\nlisten: nowhere\n", "listen must be address:port" },
        { "state_dir: s\nlisten: \"0.0.0.0:8080\"\n", "tls.mode" },
        { "state_dir: s\ntls:\n  mode: \"on\"\n", "cert_file" },
        { "state_dir: s\nspool:\n  bytes: 2000000\n", "four segments" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        GatewayConfig config;
        Err err = load(cases[i].text, &config);
        if (err.kind == ERR_NONE || !str_contains(err.detail, str_from_c(cases[i].has)))
            fail_msg("%s: " STR_FMT, cases[i].text, STR_ARG(err.detail));
    }
}

int main(void)
{
#define WITH_ARENA(sentence) cmocka_unit_test_setup_teardown(test_##sentence, setup, teardown)
    json_start();
    return RUN(WITH_ARENA(a_state_directory_is_enough), WITH_ARENA(nested_settings_keep_the_other_defaults),
        WITH_ARENA(what_is_wrong_is_named));
}
