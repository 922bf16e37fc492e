/*
 * reeve_keeper.c: the process that opens secrets.
 *
 *     reeve-keeper --config FILE init      once: makes its keys, writes the public halves for the root ceremony
 *     reeve-keeper --config FILE           serves
 */
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "keeper/keeper.h"

#include <argp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 64

typedef struct Options {
    const char *config;
    KeeperTask task;
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
        options->task = KEEPER_CHECK_CONFIG;
        return 0;
    case OPTION_PRINT:
        options->task = KEEPER_PRINT_CONFIG;
        return 0;
    case ARGP_KEY_ARG:
        if (strcmp(argument, "init") != 0)
            argp_error(state, "the only command is init");
        options->task = KEEPER_INIT;
        return 0;
    case ARGP_KEY_END:
        if (options->config == NULL)
            argp_error(state, "--config FILE is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_rows,
    .parser = parse_option,
    .args_doc = "[init]",
    .doc = "The process that opens secrets: it seals, delivers to enrolled fleets, and signs snapshots."
           "\v`init` makes the keeper's keys in state_dir and writes keeper-keys.json for the root ceremony.",
};

int main(int argc, char **argv)
{
    Options options = { .config = NULL, .task = KEEPER_SERVE };
    json_start();
    crypto_start();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a journal at its limit is an error of write, not the end */
    umask(0077);
    argp_program_version = "reeve-keeper " REEVE_VERSION; /* libc's own: one defined here would be hidden from it */
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    log_start("reeve-keeper", LOG_INFO, isatty(STDERR_FILENO));
    _cleanup_(arena_free) Arena *arena = arena_new();
    Err err = keeper_run(arena, str_from_c(options.config), options.task);
    if (err.kind == ERR_NONE)
        return 0;
    log_err("reeve-keeper cannot go on", err);
    return err.kind == ERR_INVALID ? EXIT_USAGE : 1;
}
