/*
 * open_bench.c: opening one sealed provider key as the gateway does for every call (a prepared JWE, the project's
 * delivery key, a slot of the locked slab, wiped afterwards) beside bare AES-256-GCM of the same bytes.
 *
 * Every opening is of another of many keys, so that caches are as warm as a busy gateway's and no warmer.
 */
#include "base/clock.h"
#include "base/json.h"
#include "snapshot/keyring.h"

#include "../../src/crypto/aead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROJECTS 512
#define BATCH 64 /* openings per sample: the clock costs as much as an opening */
#define SAMPLES 4000
#define PLAIN_LEN 56 /* of a common provider key */
#define GOAL_US 3.0

typedef struct Sealed {
    SecretPlace place;
    Secret delivery;
    Str jwe;
    JwePrepared prepared;
} Sealed;

static Arena *arena;
static Sealed sealed[PROJECTS];
static SecretSlab *slab;
static double samples[SAMPLES];
static unsigned long long checksum;

#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        Err must_err_ = (expression);                                                                                  \
        if (must_err_.kind != ERR_NONE)                                                                                \
            die("%s: " STR_FMT, #expression, STR_ARG(must_err_.code));                                                 \
    } while (0)

static void make(Sealed *s, const Secret *fleet_key, unsigned number)
{
    Time now = time_now();
    uint8_t plain[PLAIN_LEN];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)('a' + (i + number) % 26);
    s->place = (SecretPlace){ .org = uuid_v7(now),
        .project = uuid_v7(now),
        .secret = uuid_v7(now),
        .version = 1,
        .origin = STR("https://api.openai.com"),
        .fleet = uuid_v7(now),
        .generation = 1 };
    s->delivery = delivery_key(fleet_key, s->place.org, s->place.project);
    _cleanup_(json_release) json_t *header = secret_header(arena, &s->place);
    MUST(jwe_seal_dir(arena, &s->delivery, STR(SECRET_TYP), header, BYTES_OF(plain), &s->jwe));
    MUST(jwe_prepare_dir(arena, STR(SECRET_TYP), header, s->jwe, &s->prepared));
}

/* What the gateway does at request time. */
static void open_prepared(const Sealed *s)
{
    size_t len;
    uint8_t *slot = secret_slab_take(slab);
    MUST(jwe_prepared_open(&s->prepared, secret_bytes(&s->delivery), slot, 4096, &len));
    checksum += slot[0] + len;
    secret_slab_give(slab, slot);
}

/* The reference: the same ciphertext, nothing around it. */
static void open_bare(const Sealed *s)
{
    uint8_t out[PLAIN_LEN];
    const JwePrepared *p = &s->prepared;
    if (!aes256gcm_open(s->delivery.ptr, p->nonce, p->aad, p->ciphertext, p->tag, out))
        die("a ciphertext did not open");
    checksum += out[0];
}

/* What it would cost without preparing: deriving, reading the header, comparing, opening. */
static void open_whole(const Sealed *s)
{
    uint8_t out[PLAIN_LEN];
    size_t len;
    Arena *own = arena_new();
    json_t *header = secret_header(own, &s->place);
    MUST(jwe_open_dir(own, &s->delivery, STR(SECRET_TYP), header, s->jwe, out, sizeof(out), &len));
    json_decref(header);
    arena_free(&own);
    checksum += out[0];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct Figure {
    double p50, p99;
} Figure;

/* Microseconds per opening: percentiles over samples of BATCH openings. */
static Figure measure(void (*run)(const Sealed *s))
{
    unsigned next = 0;
    for (unsigned i = 0; i < BATCH * 100; i++)
        run(&sealed[i % PROJECTS]);
    for (unsigned n = 0; n < SAMPLES; n++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (unsigned i = 0; i < BATCH; i++)
            run(&sealed[next++ * 7 % PROJECTS]);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
        samples[n] = ns / 1000 / BATCH;
    }
    qsort(samples, SAMPLES, sizeof(double), by_value);
    return (Figure){ .p50 = samples[SAMPLES / 2], .p99 = samples[SAMPLES * 99 / 100] };
}

int main(void)
{
    json_start();
    crypto_start();
    arena = arena_new();
    slab = secret_slab_new(4096, 8);
    Secret fleet_key = secret_random(32);
    for (unsigned i = 0; i < PROJECTS; i++)
        make(&sealed[i], &fleet_key, i);

    Figure opened = measure(open_prepared), bare = measure(open_bare), whole = measure(open_whole);
    fprintf(stderr, "%-44s %8s %8s\n", "microseconds per provider key", "p50", "p99");
    fprintf(stderr, "%-44s %8.3f %8.3f\n", "opened as the gateway does", opened.p50, opened.p99);
    fprintf(stderr, "%-44s %8.3f %8.3f\n", "bare AES-256-GCM of the same bytes", bare.p50, bare.p99);
    fprintf(stderr, "%-44s %8.3f %8.3f\n", "read, compared and opened at once", whole.p50, whole.p99);
    fprintf(stderr, "(checksum %llu)\n", checksum);
    printf("{\"bench\":\"open\",\"figures\":["
           "{\"name\":\"open_us\",\"value\":%.3f,\"unit\":\"us\",\"goal\":%.1f,\"better\":\"lower\"},"
           "{\"name\":\"open_p99_us\",\"value\":%.3f,\"unit\":\"us\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"bare_aes_256_gcm_us\",\"value\":%.3f,\"unit\":\"us\",\"goal\":null,\"better\":\"lower\"},"
           "{\"name\":\"unprepared_us\",\"value\":%.3f,\"unit\":\"us\",\"goal\":null,\"better\":\"lower\"}]}\n",
        opened.p50, GOAL_US, opened.p99, bare.p50, whole.p50);

    for (unsigned i = 0; i < PROJECTS; i++)
        secret_release(&sealed[i].delivery);
    secret_release(&fleet_key);
    secret_slab_free(&slab);
    arena_free(&arena);
    return opened.p50 <= GOAL_US ? 0 : 1;
}
