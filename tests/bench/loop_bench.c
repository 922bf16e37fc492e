/*
 * loop_bench.c: what the http floor costs by itself.
 *
 *   bench_loop echo PORT THREADS            a server whose handler answers at once
 *   bench_loop proxy PORT THREADS UPSTREAM  a POST proxy: server and client of one loop, UPSTREAM is http://host:port
 *
 * Runs until SIGTERM or SIGINT, then prints requests and CPU microseconds a request. Drive it with wrk; see
 * docs/HTTP.md for the figures.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "http/client.h"
#include "http/server.h"

#define THREADS_MAX 16

typedef struct Worker {
    Loop *loop;
    Server *server;
    Client *client;
    pthread_t thread;
} Worker;

static Worker workers[THREADS_MAX];
static unsigned worker_count;
static Str upstream;

static void on_signal(int number)
{
    (void)number;
    for (unsigned i = 0; i < worker_count; i++)
        loop_stop(workers[i].loop);
}

static void echo(Exchange *exchange, void *arg)
{
    (void)arg;
    exchange_reply(exchange,
        &(Response){
            .status = 200, .content_type = "application/json", .body = STR("{\"ok\":true}"), .body_static = true });
}

/* --- proxy --- */

typedef struct Call {
    Exchange *exchange;
    char body[4096];
    size_t len;
} Call;

static bool on_data(Transfer *transfer, Bytes data, void *arg)
{
    (void)transfer;
    Call *call = arg;
    size_t room = sizeof(call->body) - call->len;
    size_t n = data.len < room ? data.len : room;
    memcpy(call->body + call->len, data.ptr, n);
    call->len += n;
    return true;
}

static void on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Call *call = arg;
    exchange_reply(call->exchange, &(Response){ .status = end == TRANSFER_OK ? transfer_status(transfer) : 502,
                                       .content_type = "application/json",
                                       .body = str_n(call->body, call->len),
                                       .body_static = true });
}

static void proxy(Exchange *exchange, void *arg)
{
    Worker *worker = arg;
    Arena *arena = exchange_arena(exchange);
    Call *call = NEW(arena, Call, 1);
    call->exchange = exchange;
    Header header = { STR("content-type"), STR("application/json") };
    TransferOptions options = { .method = "POST",
        .url = arena_fmt(arena, STR_FMT STR_FMT, STR_ARG(upstream), STR_ARG(exchange_target(exchange))),
        .headers = &header,
        .header_count = 1,
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(STR("sk-0123456789012345678901234567890123456789")),
        .body = exchange_body(exchange),
        .first_byte_timeout_us = 30 * US_PER_S,
        .idle_timeout_us = 30 * US_PER_S,
        .total_timeout_us = 60 * US_PER_S,
        .allow_private = true,
        .on_data = on_data,
        .on_end = on_end,
        .arg = call };
    Transfer *transfer;
    Err err = transfer_start(worker->client, &options, &transfer);
    if (err.kind != ERR_NONE)
        die("transfer_start: " STR_FMT, STR_ARG(err.detail));
}

static void *run(void *arg)
{
    loop_run(((Worker *)arg)->loop);
    return NULL;
}

static void check(Err err)
{
    if (err.kind != ERR_NONE)
        die("loop_bench: " STR_FMT, STR_ARG(err.detail));
}

static void start_worker(Worker *worker, bool is_proxy, uint16_t port)
{
    check(loop_new(&worker->loop));
    if (is_proxy)
        check(client_new(worker->loop, 256, &worker->client));
    ServerOptions options = { .address = STR("127.0.0.1"),
        .port = port,
        .reuse_port = true,
        .limits = SERVER_LIMITS_DEFAULT,
        .on_request = is_proxy ? proxy : echo,
        .arg = worker };
    check(server_start(worker->loop, &options, &worker->server));
    pthread_create(&worker->thread, NULL, run, worker);
}

static void report(void)
{
    struct rusage usage;
    uint64_t requests = 0;
    getrusage(RUSAGE_SELF, &usage);
    for (unsigned i = 0; i < worker_count; i++)
        requests += server_stats(workers[i].server).requests;
    double cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("requests %llu, CPU %.2f us a request, %ld KiB resident\n", (unsigned long long)requests,
        requests > 0 ? cpu_us / (double)requests : 0.0, usage.ru_maxrss);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_loop echo|proxy PORT THREADS [UPSTREAM]\n");
        return 64;
    }
    client_start();
    bool is_proxy = strcmp(argv[1], "proxy") == 0;
    upstream = str_from_c(argc > 4 ? argv[4] : "http://127.0.0.1:1");
    unsigned threads = (unsigned)strtoul(argv[3], NULL, 10);
    worker_count = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    for (unsigned i = 0; i < worker_count; i++)
        start_worker(&workers[i], is_proxy, (uint16_t)strtoul(argv[2], NULL, 10));
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    for (unsigned i = 0; i < worker_count; i++)
        pthread_join(workers[i].thread, NULL);
    report();
    for (unsigned i = 0; i < worker_count; i++) {
        client_free(&workers[i].client);
        server_free(&workers[i].server);
        loop_free(&workers[i].loop);
    }
    return 0;
}
