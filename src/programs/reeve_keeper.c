/*
 * reeve_keeper.c: the process that opens secrets.
 *
 *     reeve-keeper --config FILE init      once: makes its keys, writes the public halves for the root ceremony
 *     reeve-keeper --config FILE           serves
 */
#include "../keeper/sandbox.h"
#include "../keeper/server.h"

#include "base/json.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

typedef struct Options {
    const char *config;
    bool check;
    bool print;
    bool init;
} Options;

enum { OPTION_CHECK = 256, OPTION_PRINT };

static const struct argp_option option_rows[] = {
    { "config", 'c', "FILE", 0, "the configuration (YAML)", 0 },
    { "check-config", OPTION_CHECK, NULL, 0, "read the configuration, say what is wrong with it, and end", 0 },
    { "print-config", OPTION_PRINT, NULL, 0, "print the configuration with its defaults, and end", 0 },
    { NULL, 0, NULL, 0, NULL, 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    Options *options = state->input;
    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case OPTION_CHECK:
        options->check = true;
        return 0;
    case OPTION_PRINT:
        options->print = true;
        return 0;
    case ARGP_KEY_ARG:
        if (strcmp(argument, "init") != 0)
            argp_error(state, "the only command is init");
        options->init = true;
        return 0;
    case ARGP_KEY_END:
        if (options->config == NULL)
            argp_error(state, "--config FILE is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const char *argp_program_version = "reeve-keeper " REEVE_VERSION;

static const struct argp parser = {
    .options = option_rows,
    .parser = parse_option,
    .args_doc = "[init]",
    .doc = "The process that opens secrets: it seals, delivers to enrolled fleets, and signs snapshots."
           "\v`init` makes the keeper's keys in state_dir and writes keeper-keys.json for the root ceremony.",
};

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
    _cleanup_(keeper_server_free) Server *server = NULL;
    TRY(process_harden());
    TRY(warm_up(arena));
    TRY(vault_open(arena, config, &vault));
    TRY(server_open(config, vault, &server));
    TRY(sandbox_enter());
    return server_run(server);
}

static Err run(Arena *arena, const Options *options)
{
    KeeperConfig config;
    LogLevel level;
    TRY(keeper_config_load(arena, str_from_c(options->config), &config));
    TRY(log_level_parse(config.log.level, &level));
    log_start("reeve-keeper", level, str_eq(config.log.format, STR("text")));
    if (options->print)
        printf(STR_FMT, STR_ARG(config_print(arena, &KEEPER_CONFIG_FIELDS, &config)));
    if (options->print || options->check)
        return OK;
    if (!options->init)
        return serve(arena, &config);
    TRY(process_harden());
    return keeper_init(arena, &config);
}

int main(int argc, char **argv)
{
    Options options = { 0 };
    json_start();
    crypto_start();
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    log_start("reeve-keeper", LOG_INFO, isatty(STDERR_FILENO));
    _cleanup_(arena_free) Arena *arena = arena_new();
    Err err = run(arena, &options);
    if (err.kind == ERR_NONE)
        return 0;
    log_err("reeve-keeper cannot go on", err);
    return err.kind == ERR_INVALID ? 64 : 1;
}
