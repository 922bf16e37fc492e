/*
 * gateway.h: the reference data plane as a whole: configuration, workers, spool, upload, admin listener.
 *
 *     GatewayConfig config = gateway_config_default();
 *     TRY(config_load(arena, path, STR("REEVE_GATEWAY"), &GATEWAY_CONFIG_FIELDS, &config));
 *     TRY(gateway_config_check(arena, &config));
 *     TRY(gateway_start(arena, &config, &gateway));
 *     ...
 *     gateway_stop(&gateway);       // drains: streams end within drain_s, the spool is flushed and sent
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "base/config.h"
#include "gateway/truth.h"

typedef struct GatewayTlsConfig {
    Str cert_file, key_file;
    Str mode; /* "off", "on", "proxy": plain behind a proxy that ends TLS; closes after each response */
} GatewayTlsConfig;

typedef struct GatewayControlConfig {
    Str url;
    Str ca_file;
    bool allow_private;
} GatewayControlConfig;

typedef struct GatewayLimitsConfig {
    int64_t header_bytes, body_bytes, response_bytes;
    int64_t connections, connections_per_address;
    int64_t calls; /* in flight, all workers together */
} GatewayLimitsConfig;

typedef struct GatewaySpoolConfig {
    int64_t bytes, segment_bytes, sync_ms, upload_ms;
} GatewaySpoolConfig;

typedef struct GatewayRouteConfig {
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    int64_t retry_budget_ms, retry_base_ms, retry_max_ms, retry_attempts;
} GatewayRouteConfig;

typedef struct GatewayLogConfig {
    Str level, format;
} GatewayLogConfig;

typedef struct GatewayConfig {
    Str listen, admin_listen;
    GatewayTlsConfig tls;
    Str state_dir, name, join_token_file;
    GatewayControlConfig control_plane;
    bool allow_private_upstreams;
    Str upstream_ca_file;
    int64_t workers, drain_s, keepalive_s, stall_s;
    GatewayLimitsConfig limits;
    GatewaySpoolConfig spool;
    GatewayRouteConfig defaults;
    GatewayLogConfig log;
} GatewayConfig;

extern const FieldTable GATEWAY_CONFIG_FIELDS;
GatewayConfig gateway_config_default(void);
/* What the table cannot say: addresses, files that belong together, TLS off the loopback. */
CHECKED Err gateway_config_check(Arena *arena, const GatewayConfig *config);

typedef struct Gateway Gateway;

/* Opens libreeve and the spool, starts the threads. The config and its strings outlive the gateway. */
CHECKED Err gateway_start(Arena *arena, const GatewayConfig *config, Gateway **ret_gateway);
/* The same with another source of truth than libreeve: for tests. */
CHECKED Err gateway_start_with(Arena *arena, const GatewayConfig *config, const Truth *truth, Gateway **ret_gateway);
uint16_t gateway_port(const Gateway *gateway);
uint16_t gateway_admin_port(const Gateway *gateway); /* 0: none */
/* Reads certificates and the log level again; an invalid file changes nothing. */
CHECKED Err gateway_reload(Gateway *gateway, Arena *arena, const GatewayConfig *config);
void gateway_stop(Gateway **gateway);

#endif
