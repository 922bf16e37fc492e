/*
 * propagate_bench.c: how long after the answer to an admin change 200 data planes run it.
 *
 * Each data plane is a real puller of libreeve with its own identity, directory, connection and threads, long-polling
 * over HTTP: it verifies the manifest, fetches the changed shard and objects, verifies them, persists and activates.
 * All of them share this process and machine with the control plane; their directories are in memory, because 200
 * machines have 200 disks. tests/bench/propagate.py starts the real control plane and runs this program.
 *
 *     bench_propagate --url URL --enrol-key FILE --root FILE --fleet flt_… --token-file FILE --project NAME
 */
#include "../../src/libreeve/view.h"

#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "http/client.h"
#include "snapshot/statement.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct Plane {
    Puller *puller;
    _Atomic int64_t seq;
    _Atomic int64_t activated_us;
    char dir[96];
} Plane;

typedef struct Bench {
    Arena *arena;
    Str url, token, project;
    Uuid fleet;
    Root root;
    KeyPair enrol;
    int planes_count, changes;
    Plane *planes;
    char home[64];
} Bench;

static void need(Err err, const char *what)
{
    if (err.kind != ERR_NONE)
        die("%s: " STR_FMT ": " STR_FMT, what, STR_ARG(err.code), STR_ARG(err.detail));
}

static void sleep_ms(long ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

static void activated(int64_t seq, void *arg)
{
    Plane *plane = arg;
    plane->activated_us = monotonic_us();
    plane->seq = seq;
}

/* --- data planes --- */

static Str join_token(Bench *bench)
{
    Time now = time_now();
    JoinToken token = { .url = bench->url,
        .root = bench->root.hash,
        .installation = bench->root.installation,
        .fleet = bench->fleet,
        .key = ed25519_new() };
    JoinCert cert = { .installation = bench->root.installation,
        .fleet = bench->fleet,
        .key = token.key.public_key,
        .not_before = time_add_s(now, -60),
        .not_after = time_add_s(now, 3600) };
    Secret text = { 0 };
    token.cert = join_cert_sign(bench->arena, &bench->enrol, &cert);
    need(join_token_write(bench->arena, &token, &text), "join token");
    Str kept = arena_str(bench->arena, bytes_str(secret_bytes(&text)));
    secret_release(&text);
    keypair_release(&token.key);
    return kept;
}

static void start_plane(Bench *bench, int n)
{
    Plane *plane = &bench->planes[n];
    snprintf(plane->dir, sizeof plane->dir, "%s/%d", bench->home, n);
    PullerOptions options = {
        .state_dir = str_from_c(plane->dir),
        .join_token = join_token(bench),
        .name = arena_fmt(bench->arena, "plane-%d", n),
        .wait_s = 30,
        .allow_private = true,
        .builder = view_builder(),
        .on_activate = activated,
        .arg = plane,
    };
    need(puller_open(bench->arena, &options, &plane->puller), "puller");
    puller_start(plane->puller);
}

static bool all_at(const Bench *bench, int64_t seq)
{
    for (int i = 0; i < bench->planes_count; i++)
        if (bench->planes[i].seq < seq)
            return false;
    return true;
}

static void wait_for_all(const Bench *bench, int64_t seq, const char *what)
{
    int64_t end = monotonic_us() + 60 * US_PER_S;
    while (!all_at(bench, seq)) {
        if (monotonic_us() > end) {
            PullStatus status;
            for (int i = 0; i < bench->planes_count; i++)
                if (bench->planes[i].seq < seq) {
                    puller_status(bench->planes[i].puller, &status);
                    die("%s: data plane %d is at %lld: %s %s", what, i, (long long)status.seq, status.code,
                        status.detail);
                }
        }
        sleep_ms(2);
    }
}

static int64_t highest(const Bench *bench)
{
    int64_t seq = 0;
    for (int i = 0; i < bench->planes_count; i++)
        seq = bench->planes[i].seq > seq ? bench->planes[i].seq : seq;
    return seq;
}

/* --- changes --- */

/* A new client key; returns when its answer has come. */
static int64_t change(Bench *bench, int n)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    const Header headers[] = { { STR("content-type"), STR("application/json") } };
    TransferOptions options = {
        .method = "POST",
        .url = arena_fmt(
            arena, STR_FMT "/v1/projects/" STR_FMT "/client-keys", STR_ARG(bench->url), STR_ARG(bench->project)),
        .headers = headers,
        .header_count = 1,
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(bench->token),
        .body = arena_fmt(arena, "{\"name\":\"bench-%d-%d\"}", (int)getpid(), n),
        .connect_timeout_us = 5 * US_PER_S,
        .first_byte_timeout_us = 10 * US_PER_S,
        .total_timeout_us = 10 * US_PER_S,
        .header_bytes_max = 16384,
        .allow_private = true,
    };
    HttpReply reply;
    need(http_fetch(arena, &options, 65536, &reply), "change");
    int64_t answered = monotonic_us();
    if (reply.status != 201)
        die("the change was answered with %d: " STR_FMT, reply.status, STR_ARG(reply.body));
    return answered;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_figures(
    const Bench *bench, int64_t *times, size_t count, int64_t *worst, int64_t *first, size_t worst_count)
{
    qsort(first, worst_count, sizeof *first, compare_times);
    qsort(times, count, sizeof *times, compare_times);
    qsort(worst, worst_count, sizeof *worst, compare_times);
    double p50 = (double)times[count / 2] / 1000, p99 = (double)times[count * 99 / 100] / 1000;
    double last = (double)worst[worst_count / 2] / 1000, earliest = (double)first[worst_count / 2] / 1000;
    double slowest = (double)times[count - 1] / 1000;
    printf("%d data planes, %d changes: p50 %.1f ms, p99 %.1f ms, slowest %.1f ms; the first of %d: median %.1f ms, "
           "the last: %.1f ms\n",
        bench->planes_count, bench->changes, p50, p99, slowest, bench->planes_count, earliest, last);
    printf("{\"bench\":\"propagate\",\"figures\":["
           "{\"name\":\"p99\",\"value\":%.1f,\"unit\":\"ms\",\"goal\":250,\"better\":\"lower\"},"
           "{\"name\":\"p50\",\"value\":%.1f,\"unit\":\"ms\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"slowest\",\"value\":%.1f,\"unit\":\"ms\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"first_of_all_median\",\"value\":%.1f,\"unit\":\"ms\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"last_of_all_median\",\"value\":%.1f,\"unit\":\"ms\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"data_planes\",\"value\":%d,\"unit\":\"\",\"goal\":200,\"better\":\"higher\"}]}\n",
        p99, p50, slowest, earliest, last, bench->planes_count);
}

static void measure(Bench *bench)
{
    size_t count = 0;
    int64_t *times = NEW(bench->arena, int64_t, (size_t)bench->planes_count * (size_t)bench->changes);
    int64_t *worst = NEW(bench->arena, int64_t, (size_t)bench->changes);
    int64_t *first = NEW(bench->arena, int64_t, (size_t)bench->changes);
    for (int c = 0; c < bench->changes; c++) {
        int64_t seq = highest(bench);
        wait_for_all(bench, seq, "before a change");
        sleep_ms(1100); /* all are parked again, and have said that they run the last one (within 750 ms) */
        int64_t answered = change(bench, c);
        wait_for_all(bench, seq + 1, "a change");
        for (int i = 0; i < bench->planes_count; i++) {
            int64_t took = bench->planes[i].activated_us - answered;
            times[count++] = took;
            worst[c] = took > worst[c] ? took : worst[c];
            first[c] = i == 0 || took < first[c] ? took : first[c];
        }
    }
    print_figures(bench, times, count, worst, first, (size_t)bench->changes);
}

/* --- life --- */

static Str option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return str_from_c(argv[i + 1]);
    return (Str){ .ptr = NULL, .len = 0 };
}

static int number_option(int argc, char **argv, const char *name, int otherwise)
{
    int64_t value = otherwise;
    Str text = option(argc, argv, name);
    if (text.ptr != NULL && !str_to_i64(text, &value))
        die("%s must be a number", name);
    return (int)value;
}

static void read_options(Bench *bench, int argc, char **argv)
{
    Str text = STR("");
    bench->url = option(argc, argv, "--url");
    bench->project = option(argc, argv, "--project");
    bench->planes_count = number_option(argc, argv, "--planes", 200);
    bench->changes = number_option(argc, argv, "--changes", 20);
    if (bench->url.ptr == NULL || bench->project.ptr == NULL)
        die("run scripts/bench propagate: it starts what this program needs");
    need(typeid_parse(option(argc, argv, "--fleet"), STR("flt"), &bench->fleet), "fleet");
    need(file_read(bench->arena, option(argc, argv, "--root"), ROOT_BYTES_MAX, &text), "root");
    need(root_verify(bench->arena, text, digest_of(str_bytes(text)), time_now(), &bench->root), "root");
    need(file_read(bench->arena, option(argc, argv, "--enrol-key"), 4096, &text), "enrol key");
    need(ed25519_from_private_jwk(str_bytes(text), &bench->enrol), "enrol key");
    need(file_read(bench->arena, option(argc, argv, "--token-file"), 4096, &text), "token");
    bench->token = str_ends_with(text, STR("\n")) ? str_first(text, text.len - 1) : text;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    crypto_start();
    json_start();
    client_start();
    log_start("bench", LOG_ERROR, /* as_text= */ true);
    Arena *arena = arena_new();
    Bench bench = { .arena = arena };
    read_options(&bench, argc, argv);
    snprintf(bench.home, sizeof bench.home, "/dev/shm/reeve-propagate-XXXXXX");
    if (mkdtemp(bench.home) == NULL)
        die("could not make a directory in /dev/shm");
    bench.planes = NEW(arena, Plane, (size_t)bench.planes_count);
    for (int i = 0; i < bench.planes_count; i++)
        start_plane(&bench, i);
    wait_for_all(&bench, 1, "the start");
    measure(&bench);
    for (int i = 0; i < bench.planes_count; i++)
        puller_close(&bench.planes[i].puller);
    nftw(bench.home, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    keypair_release(&bench.enrol);
    arena_free(&arena);
    return 0;
}
