/*
 * keeper.c: the order in which the keeper opens things and gives things up.
 */
#include "keeper/keeper.h"

#include "sandbox.h"
#include "server.h"

#include <stdio.h>

/* libcrypto reads its configuration at its first use: that must be before the file system is closed. */
static Err warm_up(Arena *arena)
{
    _cleanup_(secret_release) Secret key = secret_random(KEY_BYTES);
    Str ignored;
    return jwe_seal_dir(arena, &key, STR("warm-up"), /* header_extra= */ NULL, secret_bytes(&key), &ignored);
}

static Err serve(Arena *arena, const KeeperConfig *config)
{
    _cleanup_(vault_free) Vault *vault = NULL;
    _cleanup_(keeper_server_free) KeeperServer *server = NULL;
    TRY(process_harden());
    TRY(warm_up(arena));
    TRY(vault_open(arena, config, &vault));
    TRY(keeper_server_open(config, vault, &server));
    TRY(sandbox_enter());
    return keeper_server_run(server);
}

static Err init(Arena *arena, const KeeperConfig *config)
{
    TRY(process_harden());
    return keeper_init(arena, config);
}

static Err check(Arena *arena __attribute__((unused)), const KeeperConfig *config __attribute__((unused)))
{
    puts("the configuration is good");
    return OK;
}

static Err print(Arena *arena, const KeeperConfig *config)
{
    printf(STR_FMT, STR_ARG(config_print(arena, &KEEPER_CONFIG_FIELDS, config)));
    return OK;
}

static Err (*const tasks[])(Arena *arena, const KeeperConfig *config) = {
    [KEEPER_SERVE] = serve,
    [KEEPER_INIT] = init,
    [KEEPER_CHECK_CONFIG] = check,
    [KEEPER_PRINT_CONFIG] = print,
};

Err keeper_run(Arena *arena, Str config_path, KeeperTask task)
{
    KeeperConfig config;
    LogLevel level;
    TRY(keeper_config_load(arena, config_path, &config));
    TRY(log_level_parse(config.log.level, &level));
    log_start("reeve-keeper", level, str_eq(config.log.format, STR("text")));
    return tasks[task](arena, &config);
}
