/* config.c: the gateway's settings: their table, defaults and what must hold between them. */
#include "base/log.h"
#include "gateway/gateway.h"
#include "gateway/spool.h"

static const char *const tls_modes[] = { "off", "on", "proxy", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "json", "text", NULL };

static const Field tls_fields[] = {
    FIELD(GatewayTlsConfig, mode, .one_of = tls_modes),
    FIELD(GatewayTlsConfig, cert_file, .max = 4096),
    FIELD(GatewayTlsConfig, key_file, .max = 4096),
};
static const FieldTable TLS_FIELDS = FIELD_TABLE(GatewayTlsConfig, tls_fields);

static const Field control_fields[] = {
    FIELD(GatewayControlConfig, url, .max = 1000, .doc = "Taken from the join token when absent."),
    FIELD(GatewayControlConfig, ca_file, .max = 4096),
    FIELD(GatewayControlConfig, allow_private, .required = false),
};
static const FieldTable CONTROL_FIELDS = FIELD_TABLE(GatewayControlConfig, control_fields);

static const Field limits_fields[] = {
    FIELD(GatewayLimitsConfig, header_bytes, .min = 4096, .max = 1 << 20),
    FIELD(GatewayLimitsConfig, body_bytes, .min = 1024, .max = 1 << 30),
    FIELD(GatewayLimitsConfig, response_bytes, .min = 1024, .max = 1 << 30),
    FIELD(GatewayLimitsConfig, connections, .min = 1, .max = 1000000),
    FIELD(GatewayLimitsConfig, connections_per_address, .min = 0, .max = 1000000),
    FIELD(GatewayLimitsConfig, calls, .min = 1, .max = 1000000),
};
static const FieldTable LIMITS_FIELDS = FIELD_TABLE(GatewayLimitsConfig, limits_fields);

static const Field spool_fields[] = {
    FIELD(GatewaySpoolConfig, bytes, .min = 1 << 20, .max = INT64_C(1) << 40),
    FIELD(GatewaySpoolConfig, segment_bytes, .min = 64 * 1024, .max = 1 << 30),
    FIELD(GatewaySpoolConfig, sync_ms, .min = 1, .max = 10000),
    FIELD(GatewaySpoolConfig, upload_ms, .min = 1, .max = 60000),
};
static const FieldTable SPOOL_FIELDS = FIELD_TABLE(GatewaySpoolConfig, spool_fields);

static const Field route_fields[] = {
    FIELD(GatewayRouteConfig, connect_ms, .min = 1, .max = 600000),
    FIELD(GatewayRouteConfig, first_byte_ms, .min = 1, .max = 3600000),
    FIELD(GatewayRouteConfig, idle_ms, .min = 1, .max = 3600000),
    FIELD(GatewayRouteConfig, total_ms, .min = 1, .max = 86400000),
    FIELD(GatewayRouteConfig, retry_budget_ms, .min = 1, .max = 3600000),
    FIELD(GatewayRouteConfig, retry_base_ms, .min = 1, .max = 60000),
    FIELD(GatewayRouteConfig, retry_max_ms, .min = 1, .max = 600000),
    FIELD(GatewayRouteConfig, retry_attempts, .min = 1, .max = 8),
};
static const FieldTable ROUTE_FIELDS = FIELD_TABLE(GatewayRouteConfig, route_fields);

static const Field log_fields[] = {
    FIELD(GatewayLogConfig, level, .one_of = log_levels),
    FIELD(GatewayLogConfig, format, .one_of = log_formats),
};
static const FieldTable LOG_FIELDS = FIELD_TABLE(GatewayLogConfig, log_fields);

static const Field config_fields[] = {
    FIELD(GatewayConfig, listen, .max = 300, .doc = "address:port for applications"),
    FIELD(GatewayConfig, admin_listen, .max = 300, .doc = "address:port for /healthz, /readyz and /metrics"),
    FIELD_NESTED(GatewayConfig, tls, &TLS_FIELDS, .required = false),
    FIELD(GatewayConfig, state_dir, .required = true, .min = 1, .max = 3000),
    FIELD(GatewayConfig, name, .max = 64, .doc = "of this data plane, for people"),
    FIELD(GatewayConfig, join_token_file, .max = 4096, .doc = "needed at the first start only"),
    FIELD_NESTED(GatewayConfig, control_plane, &CONTROL_FIELDS, .required = false),
    FIELD(GatewayConfig, allow_private_upstreams, .doc = "providers may be on loopback or private addresses"),
    FIELD(GatewayConfig, upstream_ca_file, .max = 4096, .doc = "PEM; absent: the system's"),
    FIELD(GatewayConfig, workers, .min = 1, .max = 256, .doc = "I/O threads"),
    FIELD(GatewayConfig, drain_s, .min = 0, .max = 3600),
    FIELD(GatewayConfig, keepalive_s, .min = 1, .max = 3600, .doc = "a comment in a silent stream"),
    FIELD(GatewayConfig, stall_s, .min = 1, .max = 3600, .doc = "how long a client may take nothing of a stream"),
    FIELD_NESTED(GatewayConfig, limits, &LIMITS_FIELDS, .required = false),
    FIELD_NESTED(GatewayConfig, spool, &SPOOL_FIELDS, .required = false),
    FIELD_NESTED(GatewayConfig, defaults, &ROUTE_FIELDS, .required = false),
    FIELD_NESTED(GatewayConfig, log, &LOG_FIELDS, .required = false),
};
const FieldTable GATEWAY_CONFIG_FIELDS = FIELD_TABLE(GatewayConfig, config_fields);

GatewayConfig gateway_config_default(void)
{
    return (GatewayConfig){
        .listen = STR("127.0.0.1:8080"),
        .tls = { .mode = STR("off") },
        .control_plane = { .allow_private = true },
        .workers = 2,
        .drain_s = 30,
        .keepalive_s = 15,
        .stall_s = 60,
        .limits = { .header_bytes = 32 * 1024,
            .body_bytes = 32 * 1024 * 1024,
            .response_bytes = 64 * 1024 * 1024,
            .connections = 10000,
            .calls = 10000 },
        .spool = { .bytes = (int64_t)SPOOL_BYTES_DEFAULT,
            .segment_bytes = (int64_t)SPOOL_SEGMENT_DEFAULT,
            .sync_ms = SPOOL_SYNC_DEFAULT_US / 1000,
            .upload_ms = 200 },
        .defaults = { .connect_ms = 5000,
            .first_byte_ms = 60000,
            .idle_ms = 60000,
            .total_ms = 900000,
            .retry_budget_ms = 60000,
            .retry_base_ms = 100,
            .retry_max_ms = 5000,
            .retry_attempts = 4 },
        .log = { .level = STR("info"), .format = STR("json") },
    };
}

static bool is_loopback(Str listen)
{
    return str_starts_with(listen, STR("127.")) || str_starts_with(listen, STR("[::1]")) ||
           str_starts_with(listen, STR("localhost:"));
}

static Err check_listen(Arena *arena, const char *name, Str listen)
{
    size_t colon = listen.len;
    int64_t port;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    if (colon < 2 || !str_to_i64(str_skip(listen, colon), &port) || port < 0 || port > 65535)
        return FAIL_FMT(arena, ERR_INVALID, "bad-config", "%s must be address:port, for example 127.0.0.1:8080", name);
    return OK;
}

Err gateway_config_check(Arena *arena, const GatewayConfig *config)
{
    bool tls = str_eq(config->tls.mode, STR("on"));
    TRY(check_listen(arena, "listen", config->listen));
    if (!str_is_empty(config->admin_listen))
        TRY(check_listen(arena, "admin_listen", config->admin_listen));
    if (tls != (!str_is_empty(config->tls.cert_file) && !str_is_empty(config->tls.key_file)))
        return FAIL(ERR_INVALID, "bad-config", "tls: mode 'on' needs cert_file and key_file, and they need mode 'on'");
    if (str_eq(config->tls.mode, STR("off")) && !is_loopback(config->listen))
        return FAIL(ERR_INVALID, "bad-config",
            "listen: off the loopback, set tls.mode to 'on', or to 'proxy' behind a proxy that ends TLS");
    if (config->spool.segment_bytes * 4 > config->spool.bytes)
        return FAIL(ERR_INVALID, "bad-config", "spool: bytes must hold at least four segments of segment_bytes");
    return OK;
}
