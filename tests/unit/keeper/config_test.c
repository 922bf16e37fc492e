/* The keeper's configuration: its defaults, and what it refuses. */
#include "support/expect.h"

#include "../../../src/keeper/config.h"

#include "base/json.h"

#include <unistd.h>

static Arena *arena;
static char path[] = "/tmp/reeve-keeper-config-XXXXXX";

#define INSTALLATION "ins_01h455vb4pex5vsknk084sn02q"
#define LEAST                                                                                                          \
    "socket: /run/s\nstate_dir: /var/s\ninstallation: " INSTALLATION "\nkms: [\"local:default\"]\n"                    \
    "local_kms: { default: { root_key_file: /k } }\n"

static Err load(const char *text, KeeperConfig *ret_config)
{
    expect_ok(file_write_atomic(str_from_c(path), str_from_c(text), 0600));
    return keeper_config_load(arena, str_from_c(path), ret_config);
}

TEST(least_configuration_has_careful_defaults)
{
    KeeperConfig config;
    KmsLocal local;
    expect_ok(load(LEAST, &config));
    expect_str(config.socket_mode, STR("0600"));
    assert_int_equal(config.uid_count, 1);
    assert_int_equal(config.uids[0], geteuid());
    assert_int_equal(config.cache.seconds.value, 300);
    assert_int_equal(config.kms_concurrency, 4);
    expect_ok(keeper_config_local(&config, STR("local:default"), &local));
    expect_str(local.root_key_file, STR("/k"));
}

TEST(zero_seconds_of_cache_stay_zero)
{
    KeeperConfig config;
    expect_ok(load(LEAST "cache: { seconds: 0 }\n", &config));
    assert_int_equal(config.cache.seconds.value, 0);
}

TEST(what_is_wrong_is_refused)
{
    static const char *const texts[] = {
        "",
        "socket: /run/s\n",
        LEAST "unknown: 1\n",
        LEAST "socket_mode: \"0777\"\n",
        LEAST "allowed_uids: []\n",
        LEAST "allowed_uids: [root]\n",
        LEAST "allowed_uids: [-1]\n",
        LEAST "workers: 100000\n",
        LEAST "log: { level: loud }\n",
        "socket: /s\nstate_dir: /s\ninstallation: " INSTALLATION "\nkms: [\"local:other\"]\n",
        "socket: /s\nstate_dir: /s\ninstallation: " INSTALLATION "\nkms: []\n",
        "socket: /s\nstate_dir: /s\ninstallation: ins_x\nkms: [\"local:default\"]\n",
        "socket: /s\nstate_dir: /s\ninstallation: " INSTALLATION
        "\nkms: [\"local:default\"]\nlocal_kms: { default: { root_key_file: /a, passphrase_file: /b } }\n",
        "socket: /s\nstate_dir: /s\ninstallation: " INSTALLATION
        "\nkms: [\"local:default\"]\nlocal_kms: { default: { key: secret } }\n",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        KeeperConfig config;
        if (load(texts[i], &config).kind == ERR_NONE)
            fail_msg("accepted: %s", texts[i]);
    }
}

int main(void)
{
    json_start();
    arena = arena_new();
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        RUN(least_configuration_has_careful_defaults),
        RUN(zero_seconds_of_cache_stay_zero),
        RUN(what_is_wrong_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    arena_free(&arena);
    return failed;
}
