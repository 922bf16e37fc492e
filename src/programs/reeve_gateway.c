/*
 * reeve_gateway.c: the reference data plane.
 *
 *     reeve-gateway --config FILE [--check-config | --print-config]
 *
 * SIGTERM and SIGINT drain and end; SIGHUP reads certificates and the log level again.
 */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "gateway/gateway.h"
#include "http/client.h"

typedef struct Flags {
    const char *config;
    bool check, print;
} Flags;

static const char usage[] = "usage: reeve-gateway --config FILE [--check-config | --print-config]\n"
                            "\n"
                            "  --config FILE     settings (YAML); REEVE_GATEWAY_A__B sets a.b\n"
                            "  --check-config    say whether the settings are good, and end\n"
                            "  --print-config    print the settings in use, without secrets, and end\n"
                            "  --help, --version\n";

enum { FLAG_CONFIG = 'c', FLAG_HELP = 'h', FLAG_CHECK = 256, FLAG_PRINT, FLAG_VERSION };

static Flags parse_flags(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, FLAG_CONFIG },
        { "check-config", no_argument, NULL, FLAG_CHECK },
        { "print-config", no_argument, NULL, FLAG_PRINT },
        { "help", no_argument, NULL, FLAG_HELP },
        { "version", no_argument, NULL, FLAG_VERSION },
        { NULL, 0, NULL, 0 },
    };
    Flags flags = { 0 };
    for (int flag; (flag = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (flag == FLAG_CONFIG) {
            flags.config = optarg;
        } else if (flag == FLAG_CHECK) {
            flags.check = true;
        } else if (flag == FLAG_PRINT) {
            flags.print = true;
        } else if (flag == FLAG_HELP) {
            fputs(usage, stdout);
            exit(0);
        } else if (flag == FLAG_VERSION) {
            puts("reeve-gateway " REEVE_VERSION);
            exit(0);
        } else {
            fputs(usage, stderr);
            exit(64);
        }
    }
    if (flags.config == NULL || optind != argc) {
        fputs(usage, stderr);
        exit(64);
    }
    return flags;
}

static Err load(Arena *arena, const char *path, GatewayConfig *ret_config)
{
    GatewayConfig config = gateway_config_default();
    TRY(config_load(arena, str_from_c(path), STR("REEVE_GATEWAY"), &GATEWAY_CONFIG_FIELDS, &config));
    TRY(gateway_config_check(arena, &config));
    *ret_config = config;
    return OK;
}

static int fail(const char *what, Err err)
{
    fprintf(stderr, "reeve-gateway: %s: " STR_FMT "\n", what, STR_ARG(err.detail));
    return 1;
}

static void reload(Gateway *gateway, const char *path)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    GatewayConfig config;
    Err err = load(arena, path, &config);
    if (err.kind == ERR_NONE)
        err = gateway_reload(gateway, arena, &config);
    if (err.kind != ERR_NONE)
        log_err("the settings were not reloaded: nothing changed", err);
    else
        log_info("settings reloaded", LOG_C("file", path));
}

static int serve(Arena *arena, const Flags *flags, const GatewayConfig *config)
{
    sigset_t signals;
    Gateway *gateway = NULL;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    Err err = gateway_start(arena, config, &gateway);
    if (err.kind != ERR_NONE) {
        log_err("could not start", err);
        return fail("could not start", err);
    }
    log_info("serving", LOG_STR("listen", config->listen), LOG_INT("port", gateway_port(gateway)),
        LOG_INT("admin_port", gateway_admin_port(gateway)), LOG_INT("workers", config->workers));
    for (int number; sigwait(&signals, &number) == 0 && number == SIGHUP;)
        reload(gateway, flags->config);
    log_info("stopping: no new calls, finishing what runs", LOG_INT("within_s", config->drain_s));
    gateway_stop(&gateway);
    log_info("stopped", LOG_C("state", "clean"));
    return 0;
}

/* What a batch of events frees is wanted again for the next one: giving it back to the kernel in between costs a page
 * fault for every 4 KiB. */
#define KEEP_FREE_BYTES (2 * 1024 * 1024)
#define MAP_ALONE_BYTES (4 * 1024 * 1024)

int main(int argc, char **argv)
{
    mallopt(M_TRIM_THRESHOLD, KEEP_FREE_BYTES);
    mallopt(M_MMAP_THRESHOLD, MAP_ALONE_BYTES);
    Flags flags = parse_flags(argc, argv);
    crypto_start();
    json_start();
    client_start();
    _cleanup_(arena_free) Arena *arena = arena_new();
    GatewayConfig config;
    LogLevel level = LOG_INFO;
    Err err = load(arena, flags.config, &config);
    if (err.kind == ERR_NONE)
        err = log_level_parse(config.log.level, &level);
    if (err.kind != ERR_NONE)
        return fail("bad configuration", err);
    if (flags.print)
        fputs(arena_c(arena, config_print(arena, &GATEWAY_CONFIG_FIELDS, &config)), stdout);
    if (flags.check)
        puts("the configuration is good");
    if (flags.print || flags.check)
        return 0;
    log_start("reeve-gateway", level, str_eq(config.log.format, STR("text")));
    err = process_harden();
    if (err.kind != ERR_NONE)
        log_err("the process could not be hardened", err);
    return serve(arena, &flags, &config);
}
