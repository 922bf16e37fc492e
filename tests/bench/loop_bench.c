/*
 * loop_bench.c: what the http floor costs by itself.
 *
 *   bench_loop echo PORT THREADS            a server whose handler answers at once
 *   bench_loop proxy PORT THREADS UPSTREAM  a POST proxy: server and client of one loop, UPSTREAM is http://host:port
 *
 *   bench_loop paced PORT THREADS           50 events, 20 ms apart, to each request
 *   bench_loop stream PORT THREADS UPSTREAM a GET proxy that passes a stream through
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

/* --- streams --- */

#define PACED_EVENTS 50
#define PACED_GAP_US (20 * US_PER_MS)

typedef struct Paced {
    Exchange *exchange;
    Worker *worker;
    Timer *timer;
    int sent;
} Paced;

static void paced_event(void *arg)
{
    Paced *paced = arg;
    if (exchange_client_gone(paced->exchange) || paced->sent++ == PACED_EVENTS) {
        exchange_stream_end(paced->exchange);
        return;
    }
    exchange_stream_write(paced->exchange, STR("data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"));
    timer_start(paced->worker->loop, &paced->timer, PACED_GAP_US, paced_event, paced);
}

static void paced_close(Exchange *exchange, bool sent, void *arg)
{
    (void)exchange, (void)sent;
    timer_cancel(&((Paced *)arg)->timer);
}

static void paced(Exchange *exchange, void *arg)
{
    Paced *paced = NEW(exchange_arena(exchange), Paced, 1);
    *paced = (Paced){ .exchange = exchange, .worker = arg };
    exchange_stream_begin(exchange, &(Response){ .status = 200, .content_type = "text/event-stream" });
    exchange_on_close(exchange, paced_close, paced);
    paced_event(paced);
}

static void stream_headers(Transfer *transfer, int status, void *arg)
{
    (void)transfer;
    exchange_stream_begin(arg, &(Response){ .status = status, .content_type = "text/event-stream" });
}

static bool stream_data(Transfer *transfer, Bytes data, void *arg)
{
    (void)transfer;
    exchange_stream_write(arg, bytes_str(data));
    return true;
}

static void stream_end(Transfer *transfer, TransferEnd end, void *arg)
{
    if (transfer_status(transfer) > 0)
        end == TRANSFER_OK ? exchange_stream_end(arg) : exchange_stream_abort(arg);
    else
        exchange_reply(arg, &(Response){ .status = 502 });
}

static void stream(Exchange *exchange, void *arg)
{
    Worker *worker = arg;
    TransferOptions options = { .method = "GET",
        .url = upstream,
        .first_byte_timeout_us = 30 * US_PER_S,
        .idle_timeout_us = 30 * US_PER_S,
        .total_timeout_us = 60 * US_PER_S,
        .allow_private = true,
        .on_headers = stream_headers,
        .on_data = stream_data,
        .on_end = stream_end,
        .arg = exchange };
    Transfer *transfer;
    Err err = transfer_start(worker->client, &options, &transfer);
    if (err.kind != ERR_NONE)
        die("transfer_start: " STR_FMT, STR_ARG(err.detail));
}

typedef struct Mode {
    const char *name;
    void (*on_request)(Exchange *exchange, void *arg);
} Mode;

static const Mode modes[] = { { "echo", echo }, { "proxy", proxy }, { "paced", paced }, { "stream", stream } };

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

static void start_worker(Worker *worker, const Mode *mode, uint16_t port)
{
    check(loop_new(&worker->loop));
    check(client_new(worker->loop, 1024, &worker->client));
    ServerOptions options = { .address = STR("127.0.0.1"),
        .port = port,
        .reuse_port = true,
        .limits = SERVER_LIMITS_DEFAULT,
        .on_request = mode->on_request,
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
    const Mode *mode = NULL;
    for (size_t i = 0; argc >= 4 && i < COUNT_OF(modes); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            mode = &modes[i];
    if (mode == NULL) {
        fprintf(stderr, "usage: bench_loop echo|proxy|paced|stream PORT THREADS [UPSTREAM]\n");
        return 64;
    }
    client_start();
    upstream = str_from_c(argc > 4 ? argv[4] : "http://127.0.0.1:1");
    unsigned threads = (unsigned)strtoul(argv[3], NULL, 10);
    worker_count = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    for (unsigned i = 0; i < worker_count; i++)
        start_worker(&workers[i], mode, (uint16_t)strtoul(argv[2], NULL, 10));
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
