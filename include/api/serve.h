/*
 * serve.h: the admin API as one thing to start and stop: I/O loops on one port, the pool of worker threads, the
 * dispatcher. The daemon's main and the tests both use it.
 *
 *     TRY(serve_start(&(ServeOptions){ .world = world, .conninfo = { [DB_API] = … }, .port = 0, … }, &serve));
 *     … serve_port(serve) …
 *     serve_stop(&serve, 10 * US_PER_S);
 */
#ifndef API_SERVE_H
#define API_SERVE_H

#include "api/vitals.h"

typedef struct ServeOptions {
    World world; /* vitals is filled in */
    Str conninfo[DB_ROLE_COUNT];
    Str address;
    uint16_t port; /* 0: the kernel's choice */
    Str tls_cert_pem, tls_key_file;
    bool proxy_close;
    unsigned loops, workers; /* 0: 1 and 16 */
    unsigned parked_max;     /* 0: 10000 */
    unsigned connections_max;
} ServeOptions;

typedef struct Serve Serve;

CHECKED Err serve_start(const ServeOptions *options, Serve **ret_serve);
uint16_t serve_port(const Serve *serve);
Dispatch *serve_dispatch(const Serve *serve);
Vitals *serve_vitals(const Serve *serve); /* metrics sources may be added before requests come */
Pool *serve_pool(const Serve *serve, DbRole role);
CHECKED Err serve_reload_tls(Serve *serve, Str cert_pem, Str key_file);
/* Stops accepting, wakes the long polls, finishes what runs within the time, and ends the threads. */
void serve_stop(Serve **serve, int64_t within_us);

#endif
