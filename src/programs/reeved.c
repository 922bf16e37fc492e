/*
 * reeved.c: the control plane.
 *
 *     reeved migrate          --config FILE
 *     reeved bootstrap-token  --config FILE [--installation ins_…] [--out FILE]
 *     reeved serve            --config FILE [--check-config | --print-config]
 *     reeved --print-openapi
 *
 * SIGTERM and SIGINT drain and end; SIGHUP reads certificates and the log level again.
 */
#include "api/openapi.h"
#include "api/serve.h"
#include "api/snapshot.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/token.h"
#include "http/client.h"
#include "keeper/client.h"
#include "store/migrate.h"
#include "store/sql.h"
#include "worker/worker.h"

#include <argp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- configuration --- */

typedef struct ListenConfig {
    Str address;
    int64_t port;
    Str tls; /* off, on, proxy */
    Str cert_file, key_file;
} ListenConfig;

typedef struct DatabaseConfig {
    Str api, worker, publish, ingest, migrate;
} DatabaseConfig;

typedef struct LogConfig {
    Str level, format;
} LogConfig;

typedef struct Config {
    ListenConfig listen;
    DatabaseConfig database;
    LogConfig log;
    Str keeper_socket, root_file, root_hash, kms_uri;
    bool plain_http;
    int64_t loops, workers, long_polls, connections, drain_s;
} Config;

static const char *const tls_modes[] = { "off", "on", "proxy", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "json", "text", NULL };

static const Field listen_fields[] = {
    FIELD(ListenConfig, address, .max = 64),
    FIELD(ListenConfig, port, .min = 0, .max = 65535),
    FIELD(ListenConfig, tls, .one_of = tls_modes),
    FIELD(ListenConfig, cert_file, .max = 4096),
    FIELD(ListenConfig, key_file, .max = 4096),
};
static const FieldTable LISTEN_FIELDS = FIELD_TABLE(ListenConfig, listen_fields);

static const Field database_fields[] = {
    FIELD(DatabaseConfig, api, .max = 4096, .doc = "libpq's conninfo; passwords belong into a passfile."),
    FIELD(DatabaseConfig, worker, .max = 4096),
    FIELD(DatabaseConfig, publish, .max = 4096),
    FIELD(DatabaseConfig, ingest, .max = 4096),
    FIELD(DatabaseConfig, migrate, .max = 4096, .doc = "Only for migrate and bootstrap-token."),
};
static const FieldTable DATABASE_FIELDS = FIELD_TABLE(DatabaseConfig, database_fields);

static const Field log_fields[] = {
    FIELD(LogConfig, level, .one_of = log_levels),
    FIELD(LogConfig, format, .one_of = log_formats),
};
static const FieldTable LOG_FIELDS = FIELD_TABLE(LogConfig, log_fields);

static const Field config_fields[] = {
    FIELD_NESTED(Config, listen, &LISTEN_FIELDS, .required = false),
    FIELD_NESTED(Config, database, &DATABASE_FIELDS, .required = true),
    FIELD_NESTED(Config, log, &LOG_FIELDS, .required = false),
    FIELD(Config, keeper_socket, .max = 108),
    FIELD(Config, root_file, .max = 4096),
    FIELD(Config, root_hash, .max = DIGEST_TEXT_LEN),
    FIELD(Config, kms_uri, .max = 512),
    FIELD(Config, plain_http, .doc = "Allows http:// origins on loopback: for trying things out."),
    FIELD(Config, loops, .min = 0, .max = 64),
    FIELD(Config, workers, .min = 0, .max = 512),
    FIELD(Config, long_polls, .min = 0, .max = 1000000),
    FIELD(Config, connections, .min = 0, .max = 1000000),
    FIELD(Config, drain_s, .min = 0, .max = 3600),
};
static const FieldTable CONFIG_FIELDS = FIELD_TABLE(Config, config_fields);

static Config config_default(void)
{
    return (Config){ .listen = { .address = STR("127.0.0.1"), .port = 8480, .tls = STR("off") },
        .log = { .level = STR("info"), .format = STR("json") },
        .kms_uri = STR("local:default"),
        .loops = 1,
        .workers = 16,
        .long_polls = 10000,
        .connections = 10000,
        .drain_s = 10 };
}

static bool is_loopback(Str address)
{
    return str_starts_with(address, STR("127.")) || str_eq(address, STR("::1"));
}

static Err check(const Config *config)
{
    bool is_tls = str_eq(config->listen.tls, STR("on"));
    if (is_tls && (config->listen.cert_file.len == 0 || config->listen.key_file.len == 0))
        return FAIL(ERR_INVALID, "bad-config", "listen.tls is on, so listen.cert_file and listen.key_file are needed.");
    if (str_eq(config->listen.tls, STR("off")) && !is_loopback(config->listen.address))
        return FAIL(ERR_INVALID, "bad-config",
            "listen.address is not loopback: listen.tls must be on, or proxy behind a proxy that ends TLS.");
    if (config->database.api.len == 0)
        return FAIL(ERR_INVALID, "bad-config", "database.api is needed.");
    if (config->keeper_socket.len == 0)
        return FAIL(ERR_INVALID, "bad-config", "keeper_socket is needed.");
    return OK;
}

static Err load(Arena *arena, const char *path, Config *ret_config)
{
    Config config = config_default();
    TRY(config_load(arena, str_from_c(path), STR("REEVED"), &CONFIG_FIELDS, &config));
    TRY(check(&config));
    *ret_config = config;
    return OK;
}

/* --- flags --- */

typedef struct Flags {
    const char *command, *config, *installation, *out;
    bool check, print, openapi;
} Flags;

enum { FLAG_CHECK = 256, FLAG_PRINT, FLAG_OPENAPI, FLAG_INSTALLATION, FLAG_OUT };

static const struct argp_option options[] = {
    { "config", 'c', "FILE", 0, "Settings (YAML); REEVED_A__B in the environment sets a.b", 0 },
    { "check-config", FLAG_CHECK, NULL, 0, "Say whether the settings are good, and end", 0 },
    { "print-config", FLAG_PRINT, NULL, 0, "Print the settings in use, without secrets, and end", 0 },
    { "print-openapi", FLAG_OPENAPI, NULL, 0, "Print the API's description, and end", 0 },
    { "installation", FLAG_INSTALLATION, "ins_ID", 0, "bootstrap-token: the id of a new installation", 0 },
    { "out", FLAG_OUT, "FILE", 0, "bootstrap-token: write the token to a new file of mode 0600", 0 },
    { 0 },
};

static error_t take_flag(int key, char *arg, struct argp_state *state)
{
    Flags *flags = state->input;
    switch (key) {
    case 'c':
        flags->config = arg;
        return 0;
    case FLAG_CHECK:
        flags->check = true;
        return 0;
    case FLAG_PRINT:
        flags->print = true;
        return 0;
    case FLAG_OPENAPI:
        flags->openapi = true;
        return 0;
    case FLAG_INSTALLATION:
        flags->installation = arg;
        return 0;
    case FLAG_OUT:
        flags->out = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (flags->command != NULL)
            return ARGP_ERR_UNKNOWN;
        flags->command = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int fail(const char *what, Err err)
{
    fprintf(stderr, "reeved: %s: " STR_FMT " (" STR_FMT ")\n", what, STR_ARG(err.detail), STR_ARG(err.code));
    for (size_t i = 0; i < err.fields.count; i++)
        fprintf(stderr, "  " STR_FMT " " STR_FMT "\n", STR_ARG(err.fields.items[i].pointer),
            STR_ARG(err.fields.items[i].detail));
    return 1;
}

/* --- migrate --- */

static int run_migrate(Arena *arena, const Config *config, const Flags *flags)
{
    (void)arena;
    (void)flags;
    int applied = 0;
    Err err = migrate_apply(config->database.migrate, &applied);
    if (err.kind != ERR_NONE)
        return fail("the schema was not changed", err);
    printf("%d migrations applied\n", applied);
    return 0;
}

/* --- bootstrap-token --- */

#define BOOTSTRAP_TOKEN_DAYS 90

typedef struct Founding {
    Uuid installation, service_account, binding, token;
    Str name, role, hint;
    Bytes digest;
    Time expires_at;
} Founding;
static const Field founding_fields[] = {
    FIELD(Founding, installation, .internal = true),
    FIELD(Founding, service_account, .internal = true),
    FIELD(Founding, binding, .internal = true),
    FIELD(Founding, token, .internal = true),
    FIELD(Founding, name, .internal = true),
    FIELD(Founding, role, .internal = true),
    FIELD(Founding, hint, .internal = true),
    FIELD(Founding, digest, .internal = true),
    FIELD(Founding, expires_at, .internal = true),
};
static const FieldTable FOUNDING_FIELDS = FIELD_TABLE(Founding, founding_fields);

static Err choose_installation(const Flags *flags, Time now, const Founding *known, Founding *founding)
{
    Uuid asked = { 0 };
    if (flags->installation != NULL)
        TRY(typeid_parse(str_from_c(flags->installation), STR("ins"), &asked));
    if (!uuid_is_zero(known->installation) && !uuid_is_zero(asked) && !uuid_eq(known->installation, asked))
        return FAIL(ERR_CONFLICT, "installation-exists", "The database holds another installation.");
    if (!uuid_is_zero(known->installation))
        founding->installation = known->installation;
    else
        founding->installation = uuid_is_zero(asked) ? uuid_v7(now) : asked;
    return OK;
}

static Err found(Arena *arena, const Config *config, const Flags *flags, Uuid *ret_installation, Secret *ret_token)
{
    Pool *pool = NULL;
    Time now = time_now();
    PoolOptions pool_options = { .conninfo = config->database.migrate,
        .role = STR("migrate"),
        .size_max = 1,
        .take_timeout_ms = 5000,
        .statement_timeout_ms = 30000 };
    TRY(pool_open(&pool_options, &pool));
    DbLease lease = { 0 };
    Founding known = { 0 };
    Founding founding = { .service_account = uuid_v7(now),
        .binding = uuid_v7(now),
        .token = uuid_v7(now),
        .name = STR("installation"),
        .role = STR("operator"),
        .expires_at = time_add_s(now, BOOTSTRAP_TOKEN_DAYS * INT64_C(86400)) };
    Err err = db_lease(pool, &lease);
    if (err.kind == ERR_NONE)
        err = token_new(STR("svc"), ret_token);
    if (err.kind == ERR_NONE)
        err = db_one(lease.db, arena, &SQL_INSTALLATION_KNOWN, REC_NONE, REC(&FOUNDING_FIELDS, &known));
    if (err.kind == ERR_NONE || err.kind == ERR_NOT_FOUND)
        err = choose_installation(flags, now, &known, &founding);
    if (err.kind == ERR_NONE) {
        Digest digest = token_digest(bytes_str(secret_bytes(ret_token)));
        founding.digest = digest_bytes(&digest);
        founding.hint = token_hint(arena, bytes_str(secret_bytes(ret_token)));
        const Stmt *stmt = uuid_is_zero(known.installation) ? &SQL_INSTALLATION_FOUND : &SQL_INSTALLATION_TOKEN;
        err = db_exec(lease.db, arena, stmt, REC(&FOUNDING_FIELDS, &founding), NULL);
    }
    db_lease_release(&lease);
    pool_free(&pool);
    *ret_installation = founding.installation;
    return err;
}

static int run_bootstrap(Arena *arena, const Config *config, const Flags *flags)
{
    _cleanup_(secret_release) Secret token = { 0 };
    if (flags->out != NULL && access(flags->out, F_OK) == 0)
        return fail("no token was made", FAIL(ERR_CONFLICT, "file-exists", "The file of --out exists already."));
    Uuid installation = { 0 };
    Err err = found(arena, config, flags, &installation, &token);
    if (err.kind != ERR_NONE)
        return fail("no token was made", err);
    fprintf(stderr, "installation " STR_FMT "\n", STR_ARG(typeid_format(arena, STR("ins"), installation)));
    Str text = arena_fmt(arena, STR_FMT "\n", STR_ARG(bytes_str(secret_bytes(&token))));
    if (flags->out == NULL) {
        fwrite(text.ptr, 1, text.len, stdout);
        return 0;
    }
    err = file_write_atomic(str_from_c(flags->out), text, 0600);
    return err.kind == ERR_NONE ? 0 : fail("the token could not be written", err);
}

/* --- serve --- */

static Err read_cert(Arena *arena, const Config *config, Str *ret_pem)
{
    *ret_pem = STR("");
    if (!str_eq(config->listen.tls, STR("on")))
        return OK;
    return file_read(arena, config->listen.cert_file, 1024 * 1024, ret_pem);
}

static void reload(const char *path, Serve *serve)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Config config;
    LogLevel level = LOG_INFO;
    Str pem = STR("");
    Err err = load(arena, path, &config);
    if (err.kind == ERR_NONE)
        err = log_level_parse(config.log.level, &level);
    if (err.kind == ERR_NONE)
        err = read_cert(arena, &config, &pem);
    if (err.kind == ERR_NONE && pem.len > 0)
        err = serve_reload_tls(serve, pem, config.listen.key_file);
    if (err.kind != ERR_NONE) {
        log_err("the settings were not reloaded: nothing changed", err);
        return;
    }
    log_level(level);
    log_info("settings reloaded", LOG_C("file", path));
}

/* What runs while the daemon serves, in the order it is started; it is stopped in the reverse order. */
typedef struct Running {
    Serve *serve;
    ManifestWatch *watch;
    Workers *workers;
    Signs *signs;
} Running;

static Err watch_manifests(const Config *config, Running *running)
{
    PoolOptions listening = { .conninfo = config->database.api,
        .role = STR("api"),
        .size_max = 1,
        .take_timeout_ms = 2000,
        .statement_timeout_ms = 10000 };
    return manifest_watch_start(
        &listening, serve_pool(running->serve, DB_API), serve_dispatch(running->serve), &running->watch);
}

static Err start(Arena *arena, const Config *config, World *world, Running *running)
{
    Str pem;
    TRY(read_cert(arena, config, &pem));
    ServeOptions serve_options = { .world = *world,
        .conninfo = { [DB_API] = config->database.api, [DB_INGEST] = config->database.ingest },
        .address = config->listen.address,
        .port = (uint16_t)config->listen.port,
        .tls_cert_pem = pem,
        .tls_key_file = config->listen.key_file,
        .proxy_close = str_eq(config->listen.tls, STR("proxy")),
        .loops = (unsigned)config->loops,
        .workers = (unsigned)config->workers,
        .parked_max = (unsigned)config->long_polls,
        .connections_max = (unsigned)config->connections };
    TRY(serve_start(&serve_options, &running->serve));
    Err err = migrate_check(serve_pool(running->serve, DB_API));
    if (err.kind != ERR_NONE && err.kind != ERR_UNAVAILABLE)
        return err;
    TRY(watch_manifests(config, running));
    if (config->database.worker.len == 0)
        return OK;
    Vitals *vitals = serve_vitals(running->serve);
    running->signs = signs_new();
    vitals->sources[0] = (MetricsSource){ signs_write, running->signs };
    vitals->source_count = 1;
    WorkerContext context = { .worker_conninfo = config->database.worker,
        .publish_conninfo = config->database.publish,
        .keeper = world->keeper,
        .world = *world,
        .signs = running->signs };
    return workers_start(&context, &running->workers);
}

static int run_serve(Arena *arena, const Config *config, const Flags *flags)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    Err err = process_harden();
    if (err.kind != ERR_NONE)
        log_err("the process could not be hardened", err);
    Running running = { 0 };
    KeeperClient *keeper = keeper_client_open(config->keeper_socket);
    World world = { .keeper = keeper,
        .root_file = config->root_file,
        .root_hash = config->root_hash,
        .kms_uri = config->kms_uri,
        .plain_http = config->plain_http };
    err = start(arena, config, &world, &running);
    if (err.kind == ERR_NONE) {
        log_info("serving", LOG_STR("address", config->listen.address), LOG_INT("port", serve_port(running.serve)),
            LOG_INT("loops", config->loops), LOG_INT("workers", config->workers));
        for (int number; sigwait(&signals, &number) == 0 && number == SIGHUP;)
            reload(flags->config, running.serve);
        log_info("stopping: no new calls, finishing what runs", LOG_INT("within_s", config->drain_s));
    } else {
        log_err("could not start", err);
    }
    workers_stop(&running.workers);
    manifest_watch_stop(&running.watch);
    serve_stop(&running.serve, config->drain_s * US_PER_S);
    signs_free(&running.signs);
    keeper_client_free(&keeper);
    return err.kind == ERR_NONE ? 0 : fail("could not start", err);
}

/* --- main --- */

static const struct {
    const char *name;
    int (*run)(Arena *arena, const Config *config, const Flags *flags);
} commands[] = {
    { "serve", run_serve },
    { "migrate", run_migrate },
    { "bootstrap-token", run_bootstrap },
};

static int print_openapi(Arena *arena)
{
    json_t *document = openapi_document();
    Str text = json_write_pretty(arena, document);
    json_decref(document);
    printf(STR_FMT "\n", STR_ARG(text));
    return 0;
}

static int run(Arena *arena, const Flags *flags)
{
    Config config;
    LogLevel level = LOG_INFO;
    if (flags->openapi)
        return print_openapi(arena);
    if (flags->config == NULL)
        return fail("nothing to do", FAIL(ERR_INVALID, "usage", "--config FILE is needed; see --help."));
    Err err = load(arena, flags->config, &config);
    if (err.kind == ERR_NONE)
        err = log_level_parse(config.log.level, &level);
    if (err.kind != ERR_NONE)
        return fail("bad configuration", err);
    if (flags->print)
        fputs(arena_c(arena, config_print(arena, &CONFIG_FIELDS, &config)), stdout);
    if (flags->check)
        puts("the configuration is good");
    if (flags->print || flags->check)
        return 0;
    log_start("reeved", level, str_eq(config.log.format, STR("text")));
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(flags->command == NULL ? "serve" : flags->command, commands[i].name) == 0)
            return commands[i].run(arena, &config, flags);
    return fail("unknown command", FAIL(ERR_INVALID, "usage", "It is serve, migrate or bootstrap-token."));
}

int main(int argc, char **argv)
{
    static const struct argp argp = { options, take_flag, "serve|migrate|bootstrap-token",
        "The control plane of Reeve: admin API, publisher and background work over one PostgreSQL.", NULL, NULL, NULL };
    Flags flags = { 0 };
    argp_program_version = "reeved " REEVE_VERSION;
    argp_err_exit_status = 64;
    argp_parse(&argp, argc, argv, 0, NULL, &flags);
    crypto_start();
    json_start();
    client_start();
    _cleanup_(arena_free) Arena *arena = arena_new();
    return run(arena, &flags);
}
