/* gateway.c: puts the parts together and takes them apart; serves health and metrics. See gateway/gateway.h. */
#include "gateway/gateway.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "call.h"
#include "upload.h"
#include "worker.h"

#define WORKERS_MAX 256
#define METRICS_BYTES_MAX ((size_t)1024 * 1024)
#define PEM_BYTES_MAX ((size_t)1024 * 1024)

struct Gateway {
    Arena *arena; /* what lives as long as the gateway */
    const GatewayConfig *config;
    Reeve *reeve; /* NULL in tests */
    Truth truth;
    Spool *spool;
    Uploader *uploader;
    Worker *workers[WORKERS_MAX];
    size_t worker_count;
    uint16_t port;

    Loop *admin_loop;
    Server *admin_server;
    pthread_t admin_thread;
    bool admin_running;
    _Atomic bool draining;
};

/* --- the admin listener --- */

static void reply_text(Exchange *exchange, int status, const char *type, Str body)
{
    exchange_reply(exchange, &(Response){ .status = status, .content_type = type, .body = body });
}

/* Why no call would be served now; NULL when it would. */
static const char *unready(const Gateway *gateway, const ReeveStatus *status, const SpoolStats *spool)
{
    if (gateway->draining)
        return "draining";
    if (status->revoked)
        return "revoked";
    if (status->freshness == REEVE_EMPTY)
        return "no-snapshot";
    if (status->freshness == REEVE_HARD_EXPIRED)
        return "snapshot-expired";
    return spool->trouble == NULL ? NULL : "spool";
}

static void serve_ready(Gateway *gateway, Exchange *exchange)
{
    static const char *const freshness[] = { "empty", "fresh", "stale", "expired" };
    ReeveStatus status = { 0 };
    gateway->truth.status(gateway->truth.arg, &status);
    SpoolStats spool = spool_stats(gateway->spool);
    const char *why = unready(gateway, &status, &spool);
    Str body = arena_fmt(exchange_arena(exchange),
        "{\"ready\":%s,\"reason\":%s%s%s,\"snapshot\":{\"freshness\":\"%s\",\"seq\":%lld,\"age_ms\":%lld},"
        "\"spool\":{\"trouble\":%s%s%s,\"bytes\":%llu,\"waiting\":%llu}}\n",
        why == NULL ? "true" : "false", why == NULL ? "" : "\"", why == NULL ? "null" : why, why == NULL ? "" : "\"",
        freshness[status.freshness], (long long)status.seq, (long long)(status.age_us / 1000),
        spool.trouble == NULL ? "" : "\"", spool.trouble == NULL ? "null" : spool.trouble,
        spool.trouble == NULL ? "" : "\"", (unsigned long long)spool.bytes,
        (unsigned long long)(spool.events_written - spool.events_acknowledged));
    reply_text(exchange, why == NULL ? 200 : 503, "application/json", body);
}

static void serve_metrics(Gateway *gateway, Exchange *exchange)
{
    ReeveStatus status = { 0 };
    Metrics *metrics[WORKERS_MAX];
    _cleanup_(buf_release) Buf out = buf_new(METRICS_BYTES_MAX);
    gateway->truth.status(gateway->truth.arg, &status);
    for (size_t i = 0; i < gateway->worker_count; i++)
        metrics[i] = &gateway->workers[i]->metrics;
    metrics_write(&out, &(MetricsView){ .workers = metrics,
                            .worker_count = gateway->worker_count,
                            .spool = spool_stats(gateway->spool),
                            .upload = upload_stats(gateway->uploader),
                            .status = &status });
    reply_text(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out));
}

static void serve_admin(Exchange *exchange, void *arg)
{
    Gateway *gateway = arg;
    Str path = exchange_path(exchange);
    if (!str_eq(exchange_method(exchange), STR("GET")))
        reply_text(exchange, 405, "text/plain", STR("only GET\n"));
    else if (str_eq(path, STR("/healthz")))
        reply_text(exchange, 200, "text/plain", STR("ok\n"));
    else if (str_eq(path, STR("/readyz")))
        serve_ready(gateway, exchange);
    else if (str_eq(path, STR("/metrics")))
        serve_metrics(gateway, exchange);
    else
        reply_text(exchange, 404, "text/plain", STR("not here: /healthz, /readyz, /metrics\n"));
}

static void *run_admin(void *arg)
{
    Gateway *gateway = arg;
    loop_run(gateway->admin_loop);
    return NULL;
}

/* "[::1]:8080" into address and port; checked before. */
static void cut_listen(Str listen, Str *ret_address, uint16_t *ret_port)
{
    size_t colon = listen.len;
    int64_t port = 0;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    (void)str_to_i64(str_skip(listen, colon), &port);
    Str address = str_first(listen, colon - 1);
    if (str_starts_with(address, STR("[")) && str_ends_with(address, STR("]")))
        address = str_n(address.ptr + 1, address.len - 2);
    *ret_address = str_eq(address, STR("localhost")) ? STR("127.0.0.1") : address;
    *ret_port = (uint16_t)port;
}

static Err start_admin(Gateway *gateway)
{
    ServerOptions options = { .limits = SERVER_LIMITS_DEFAULT, .on_request = serve_admin, .arg = gateway };
    if (str_is_empty(gateway->config->admin_listen))
        return OK;
    cut_listen(gateway->config->admin_listen, &options.address, &options.port);
    options.limits.connections_max = 100;
    TRY(loop_new(&gateway->admin_loop));
    TRY(server_start(gateway->admin_loop, &options, &gateway->admin_server));
    gateway->admin_running = pthread_create(&gateway->admin_thread, NULL, run_admin, gateway) == 0;
    if (!gateway->admin_running)
        die("could not start a thread");
    return OK;
}

/* --- starting --- */

static Err read_pem(Arena *arena, Str path, Str *ret_pem)
{
    *ret_pem = STR("");
    return str_is_empty(path) ? OK : file_read(arena, path, PEM_BYTES_MAX, ret_pem);
}

static Err start_spool(Gateway *gateway, Arena *arena)
{
    const GatewayConfig *config = gateway->config;
    SpoolOptions options = { .dir = arena_fmt(gateway->arena, STR_FMT "/spool", STR_ARG(config->state_dir)),
        .bytes_max = (uint64_t)config->spool.bytes,
        .segment_bytes = (uint64_t)config->spool.segment_bytes,
        .sync_every_us = config->spool.sync_ms * US_PER_MS };
    return spool_open(arena, &options, &gateway->spool);
}

static Err server_options(Gateway *gateway, ServerOptions *ret_options)
{
    const GatewayConfig *config = gateway->config;
    ServerOptions options = { .reuse_port = true,
        .proxy_close = str_eq(config->tls.mode, STR("proxy")),
        .tls_key_file = config->tls.key_file,
        .limits = SERVER_LIMITS_DEFAULT };
    cut_listen(config->listen, &options.address, &options.port);
    options.limits.header_bytes_max = (size_t)config->limits.header_bytes;
    options.limits.body_bytes_max = (size_t)config->limits.body_bytes;
    options.limits.connections_max = (unsigned)(config->limits.connections / config->workers + 1);
    options.limits.connections_per_address_max = (unsigned)config->limits.connections_per_address;
    TRY(read_pem(gateway->arena, config->tls.cert_file, &options.tls_cert_pem));
    *ret_options = options;
    return OK;
}

static Err start_workers(Gateway *gateway)
{
    const GatewayConfig *config = gateway->config;
    WorkerOptions options = { .truth = gateway->truth,
        .spool = gateway->spool,
        .body_bytes_max = (size_t)config->limits.body_bytes,
        .response_bytes_max = (size_t)config->limits.response_bytes,
        .calls_max = config->limits.calls / config->workers + 1,
        .connections_idle_max = 2048,
        .keepalive_us = config->keepalive_s * US_PER_S,
        .stall_us = config->stall_s * US_PER_S,
        .allow_private_upstreams = config->allow_private_upstreams };
    const GatewayRouteConfig *route = &config->defaults;
    options.defaults = (RouteDefaults){ .connect_ms = route->connect_ms,
        .first_byte_ms = route->first_byte_ms,
        .idle_ms = route->idle_ms,
        .total_ms = route->total_ms,
        .retry_budget_ms = route->retry_budget_ms,
        .retry_base_ms = route->retry_base_ms,
        .retry_max_ms = route->retry_max_ms,
        .retry_attempts = route->retry_attempts };
    TRY(server_options(gateway, &options.server));
    TRY(read_pem(gateway->arena, config->upstream_ca_file, &options.upstream_ca_pem));
    TRY(server_address_check(options.server.address, options.server.port));
    for (int64_t i = 0; i < config->workers; i++) {
        TRY(worker_start(&options, &gateway->workers[gateway->worker_count]));
        gateway->port = server_port(gateway->workers[gateway->worker_count++]->server);
        options.server.port = gateway->port;
    }
    return OK;
}

static Err start_parts(Gateway *gateway, Arena *arena)
{
    const GatewayConfig *config = gateway->config;
    UploadOptions upload = { .truth = gateway->truth,
        .allow_private = config->control_plane.allow_private,
        .every_us = config->spool.upload_ms * US_PER_MS };
    TRY(start_spool(gateway, arena));
    TRY(read_pem(gateway->arena, config->control_plane.ca_file, &upload.ca_pem));
    upload.spool = gateway->spool;
    gateway->uploader = upload_start(&upload);
    TRY(start_workers(gateway));
    return start_admin(gateway);
}

Err gateway_start_with(Arena *arena, const GatewayConfig *config, const Truth *truth, Gateway **ret_gateway)
{
    Gateway *gateway = MEM_NEW(Gateway, 1);
    gateway->arena = arena_new();
    gateway->config = config;
    gateway->truth = *truth;
    if (mkdir(arena_c(arena, config->state_dir), 0700) != 0 && errno != EEXIST)
        log_warn("could not make the state directory", LOG_INT("errno", errno));
    Err err = start_parts(gateway, arena);
    if (err.kind != ERR_NONE) {
        gateway_stop(&gateway);
        return err;
    }
    *ret_gateway = gateway;
    return OK;
}

static Err open_reeve(Arena *arena, const GatewayConfig *config, Reeve **ret_reeve)
{
    char why[256] = "";
    _cleanup_(secret_release) Secret token = { 0 };
    _cleanup_(arena_free) Arena *own = arena_new(); /* wiped when this is done: it holds the token's text */
    ReeveOptions options = { .size = sizeof options,
        .state_dir = arena_c(arena, arena_fmt(arena, STR_FMT "/reeve", STR_ARG(config->state_dir))),
        .url = str_is_empty(config->control_plane.url) ? NULL : arena_c(arena, config->control_plane.url),
        .name = str_is_empty(config->name) ? NULL : arena_c(arena, config->name),
        .ca_file = str_is_empty(config->control_plane.ca_file) ? NULL : arena_c(arena, config->control_plane.ca_file),
        .allow_private = config->control_plane.allow_private };
    if (mkdir(arena_c(arena, config->state_dir), 0700) != 0 && errno != EEXIST)
        return FAIL_FMT(arena, ERR_INVALID, "state-dir", "could not make " STR_FMT ": %s", STR_ARG(config->state_dir),
            strerrordesc_np(errno));
    if (!str_is_empty(config->join_token_file)) {
        Err err = secret_from_file(config->join_token_file, 16 * 1024, &token);
        if (err.kind != ERR_NONE)
            log_err("the join token was not read (needed at the first start only)", err);
        else
            options.join_token = arena_c(own, bytes_str(secret_bytes(&token)));
    }
    ReeveResult result = reeve_open(&options, ret_reeve, why, sizeof why);
    if (result == REEVE_OK)
        return OK;
    return FAIL_FMT(arena, result == REEVE_LOCKED ? ERR_CONFLICT : ERR_INVALID, "reeve-open", "%s: %s",
        reeve_result_name(result), why);
}

Err gateway_start(Arena *arena, const GatewayConfig *config, Gateway **ret_gateway)
{
    Reeve *reeve = NULL;
    TRY(open_reeve(arena, config, &reeve));
    Truth truth = truth_of_reeve(reeve);
    Err err = gateway_start_with(arena, config, &truth, ret_gateway);
    if (err.kind != ERR_NONE) {
        reeve_close(&reeve);
        return err;
    }
    (*ret_gateway)->reeve = reeve;
    return OK;
}

uint16_t gateway_port(const Gateway *gateway)
{
    return gateway->port;
}

uint16_t gateway_admin_port(const Gateway *gateway)
{
    return gateway->admin_server == NULL ? 0 : server_port(gateway->admin_server);
}

/* --- reloading --- */

typedef struct Reload {
    Worker *worker;
    Arena *arena;
    Str cert_pem, key_file;
} Reload;

static void reload_worker(void *arg)
{
    Reload *reload = arg;
    Err err = server_reload_tls(reload->worker->server, reload->cert_pem, reload->key_file);
    if (err.kind != ERR_NONE)
        log_err("the certificate was not reloaded", err);
    Arena *arena = reload->arena;
    arena_free(&arena);
}

Err gateway_reload(Gateway *gateway, Arena *arena, const GatewayConfig *config)
{
    LogLevel level;
    Str pem;
    TRY(log_level_parse(config->log.level, &level));
    TRY(read_pem(arena, config->tls.cert_file, &pem));
    if (!str_eq(config->tls.mode, gateway->config->tls.mode))
        return FAIL(ERR_INVALID, "tls-mode", "tls.mode is another than at the start: this takes a restart.");
    if (!str_is_empty(pem))
        TRY(server_tls_check(pem, config->tls.key_file));
    log_level(level);
    for (size_t i = 0; i < gateway->worker_count && !str_is_empty(pem); i++) {
        Arena *own = arena_new();
        Reload *reload = NEW(own, Reload, 1);
        *reload = (Reload){ .worker = gateway->workers[i],
            .arena = own,
            .cert_pem = arena_str(own, pem),
            .key_file = arena_str(own, config->tls.key_file) };
        loop_post(gateway->workers[i]->loop, reload_worker, reload);
    }
    return OK;
}

/* --- stopping --- */

static void stop_admin(Gateway *gateway)
{
    if (gateway->admin_running) {
        loop_stop(gateway->admin_loop);
        pthread_join(gateway->admin_thread, NULL);
    }
    server_free(&gateway->admin_server);
    loop_free(&gateway->admin_loop);
}

void gateway_stop(Gateway **gateway_ptr)
{
    Gateway *gateway = *gateway_ptr;
    if (gateway == NULL)
        return;
    *gateway_ptr = NULL;
    gateway->draining = true;
    for (size_t i = 0; i < gateway->worker_count; i++)
        worker_drain(gateway->workers[i], gateway->config->drain_s * US_PER_S);
    stop_admin(gateway);
    for (size_t i = 0; i < gateway->worker_count; i++)
        worker_free(&gateway->workers[i]);
    upload_stop(&gateway->uploader, 5 * US_PER_S);
    spool_close(&gateway->spool);
    if (gateway->reeve != NULL)
        reeve_close(&gateway->reeve);
    Arena *arena = gateway->arena;
    arena_free(&arena);
    mem_free(gateway);
}
