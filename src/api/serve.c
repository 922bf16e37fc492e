/*
 * serve.c: loops, worker threads and the dispatcher put together, and taken apart again in the reverse order.
 */
#include "api/serve.h"

#include "base/log.h"

#include <pthread.h>
#include <string.h>

#define LOOPS_MAX 64
#define WORK_WAITING_MAX 4096

typedef struct LoopThread {
    Serve *serve;
    Loop *loop;
    Server *server;
    pthread_t thread;
    DispatchLoop dispatch_loop;
    bool running;
} LoopThread;

struct Serve {
    Arena *arena;
    ServeOptions options;
    World world;
    Vitals vitals;
    Pool *pools[DB_ROLE_COUNT];
    Work *work;
    Dispatch *dispatch;
    LoopThread loops[LOOPS_MAX];
    unsigned loop_count;
    int64_t drain_within_us;
};

static const char *const role_names[DB_ROLE_COUNT] = { [DB_API] = "api", [DB_INGEST] = "ingest" };

static Err open_pools(Serve *serve)
{
    for (int role = 0; role < DB_ROLE_COUNT; role++) {
        if (serve->options.conninfo[role].len == 0)
            continue;
        PoolOptions options = { .conninfo = serve->options.conninfo[role],
            .role = str_from_c(role_names[role]),
            .size_max = serve->options.workers,
            .take_timeout_ms = 2000,
            .statement_timeout_ms = 10000 };
        TRY(pool_open(&options, &serve->pools[role]));
    }
    return OK;
}

static void *run_loop(void *arg)
{
    LoopThread *thread = arg;
    loop_run(thread->loop);
    return NULL;
}

static Err start_loop(Serve *serve, LoopThread *thread, uint16_t port)
{
    thread->serve = serve;
    TRY(loop_new(&thread->loop));
    thread->dispatch_loop = (DispatchLoop){ serve->dispatch, thread->loop };
    ServerLimits limits = SERVER_LIMITS_DEFAULT;
    if (serve->options.connections_max > 0)
        limits.connections_max = serve->options.connections_max;
    ServerOptions options = { .address = serve->options.address,
        .port = port,
        .reuse_port = serve->options.loops > 1,
        .tls_cert_pem = serve->options.tls_cert_pem,
        .tls_key_file = serve->options.tls_key_file,
        .proxy_close = serve->options.proxy_close,
        .limits = limits,
        .admit = dispatch_admit,
        .on_request = dispatch_request,
        .arg = &thread->dispatch_loop };
    TRY(server_start(thread->loop, &options, &thread->server));
    if (pthread_create(&thread->thread, NULL, run_loop, thread) != 0)
        return FAIL(ERR_INTERNAL, "no-thread", "A thread could not be started.");
    thread->running = true;
    return OK;
}

static Err start_all(Serve *serve)
{
    TRY(open_pools(serve));
    serve->work = work_new(serve->options.workers, WORK_WAITING_MAX);
    DispatchOptions options = { .work = serve->work, .world = &serve->world, .parked_max = serve->options.parked_max };
    memcpy(options.pools, serve->pools, sizeof(options.pools));
    TRY(dispatch_new(&options, &serve->dispatch));
    serve->vitals.dispatch = serve->dispatch;
    serve->vitals.work = serve->work;
    TRY(server_address_check(serve->options.address, serve->options.port));
    for (unsigned i = 0; i < serve->options.loops; i++) {
        serve->loop_count = i + 1;
        TRY(start_loop(serve, &serve->loops[i], i == 0 ? serve->options.port : serve_port(serve)));
    }
    return OK;
}

Err serve_start(const ServeOptions *options, Serve **ret_serve)
{
    Arena *arena = arena_new();
    Serve *serve = NEW(arena, Serve, 1);
    serve->arena = arena;
    serve->options = *options;
    serve->options.loops = options->loops == 0 ? 1 : options->loops > LOOPS_MAX ? LOOPS_MAX : options->loops;
    serve->options.workers = options->workers == 0 ? 16 : options->workers;
    serve->options.parked_max = options->parked_max == 0 ? 10000 : options->parked_max;
    serve->world = options->world;
    serve->vitals.started = time_now();
    serve->world.vitals = &serve->vitals;
    Err err = start_all(serve);
    if (err.kind != ERR_NONE) {
        serve_stop(&serve, 0);
        return err;
    }
    *ret_serve = serve;
    return OK;
}

uint16_t serve_port(const Serve *serve)
{
    return server_port(serve->loops[0].server);
}

Dispatch *serve_dispatch(const Serve *serve)
{
    return serve->dispatch;
}

Vitals *serve_vitals(const Serve *serve)
{
    return &((Serve *)(uintptr_t)serve)->vitals;
}

Pool *serve_pool(const Serve *serve, DbRole role)
{
    return serve->pools[role];
}

typedef struct Reload {
    Server *server;
    Arena *arena;
    Str cert_pem, key_file;
} Reload;

/* Loop's thread: a handshake of the loop never meets half a change. */
static void reload_loop(void *arg)
{
    Reload *reload = arg;
    Err err = server_reload_tls(reload->server, reload->cert_pem, reload->key_file);
    if (err.kind != ERR_NONE)
        log_err("the certificate was not reloaded", err);
    Arena *arena = reload->arena;
    arena_free(&arena);
}

Err serve_reload_tls(Serve *serve, Str cert_pem, Str key_file)
{
    if (serve->options.tls_cert_pem.len == 0)
        return FAIL(ERR_INVALID, "not-tls", "The daemon was started without TLS: this takes a restart.");
    TRY(server_tls_check(cert_pem, key_file));
    for (unsigned i = 0; i < serve->loop_count; i++) {
        Arena *arena = arena_new();
        Reload *reload = NEW(arena, Reload, 1);
        *reload = (Reload){ .server = serve->loops[i].server,
            .arena = arena,
            .cert_pem = arena_str(arena, cert_pem),
            .key_file = arena_str(arena, key_file) };
        loop_post(serve->loops[i].loop, reload_loop, reload);
    }
    return OK;
}

static void drained(void *arg)
{
    LoopThread *thread = arg;
    loop_stop(thread->loop);
}

static void drain(void *arg)
{
    LoopThread *thread = arg;
    server_drain(thread->server, thread->serve->drain_within_us, drained, thread);
}

void serve_stop(Serve **serve, int64_t within_us)
{
    Serve *s = *serve;
    if (s == NULL)
        return;
    *serve = NULL;
    s->drain_within_us = within_us;
    for (unsigned i = 0; i < s->loop_count; i++)
        if (s->loops[i].running)
            loop_post(s->loops[i].loop, drain, &s->loops[i]);
    if (s->dispatch != NULL)
        dispatch_wake_all(s->dispatch);
    for (unsigned i = 0; i < s->loop_count; i++)
        if (s->loops[i].running)
            pthread_join(s->loops[i].thread, NULL);
    work_free(&s->work);
    for (unsigned i = 0; i < s->loop_count; i++) {
        server_free(&s->loops[i].server);
        loop_free(&s->loops[i].loop);
    }
    dispatch_free(&s->dispatch);
    for (int role = 0; role < DB_ROLE_COUNT; role++)
        pool_free(&s->pools[role]);
    Arena *arena = s->arena;
    arena_free(&arena);
}
