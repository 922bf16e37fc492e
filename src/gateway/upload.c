/* upload.c: see upload.h. */
#include "upload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/secret.h"
#include "http/client.h"

#define TOKEN_BYTES_MAX 512
#define URL_BYTES_MAX 1024
#define REPLY_BYTES_MAX ((size_t)1024 * 1024)
#define PAUSE_MIN_US (200 * US_PER_MS)
#define PAUSE_MAX_US (15 * US_PER_S)
#define CALL_TIMEOUT_US (20 * US_PER_S)

struct Uploader {
    UploadOptions options;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping;
    int64_t stop_by_us;
    _Atomic bool give_up; /* a call that hangs is not waited for */
    UploadStats stats;
    /* the thread's own */
    Arena *arena;
    Buf body;
    size_t events_max;
    int64_t pause_us;
};

typedef enum Turn {
    TURN_IDLE,   /* nothing to send */
    TURN_SENT,   /* a batch was acknowledged; there may be more */
    TURN_FAILED, /* knock again later */
} Turn;

/* --- one batch --- */

static void write_body(Uploader *uploader, const SpoolBatch *batch)
{
    buf_clear(&uploader->body);
    for (size_t i = 0; i < batch->count; i++) {
        buf_add_char(&uploader->body, i == 0 ? '[' : ',');
        buf_add(&uploader->body, batch->events[i]);
    }
    buf_add_char(&uploader->body, ']');
}

static Err post_batch(Uploader *uploader, HttpReply *ret_reply)
{
    const Truth *truth = &uploader->options.truth;
    char url[URL_BYTES_MAX], token[TOKEN_BYTES_MAX];
    const Header headers[] = { { STR("content-type"), STR("application/cloudevents-batch+json") } };
    if (truth->control_url(truth->arg, url, sizeof url) != REEVE_OK ||
        truth->access_token(truth->arg, token, sizeof token) != REEVE_OK)
        return FAIL(ERR_UNAVAILABLE, "no-access-token", "There is no access token for the control plane yet.");
    TransferOptions options = { .method = "POST",
        .url = arena_fmt(uploader->arena, "%s/v1/usage/events", url),
        .headers = headers,
        .header_count = COUNT_OF(headers),
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(str_from_c(token)),
        .body = buf_str(&uploader->body),
        .connect_timeout_us = 5 * US_PER_S,
        .total_timeout_us = CALL_TIMEOUT_US,
        .first_byte_timeout_us = CALL_TIMEOUT_US,
        .idle_timeout_us = CALL_TIMEOUT_US,
        .header_bytes_max = 32 * 1024,
        .ca_pem = uploader->options.ca_pem,
        .allow_private = uploader->options.allow_private,
        .stop = &uploader->give_up };
    Err err = http_fetch(uploader->arena, &options, REPLY_BYTES_MAX, ret_reply);
    secret_wipe(token, sizeof token);
    return err;
}

/* Counts a verdict; what is refused for ever is set aside. */
static void take_verdict(Uploader *uploader, Str event, const json_t *row, UploadStats *count)
{
    Str verdict = json_str(row, "verdict");
    if (str_eq(verdict, STR("stored"))) {
        count->stored++;
    } else if (str_eq(verdict, STR("duplicate"))) {
        count->duplicates++;
    } else if (str_eq(verdict, STR("quarantined"))) {
        count->quarantined++;
    } else {
        count->refused++;
        log_error("the control plane refused an event: set aside", LOG_STR("id", json_str(row, "id")),
            LOG_STR("verdict", verdict), LOG_STR("code", json_str(row, "code")));
        spool_set_aside(uploader->options.spool, event);
    }
}

static bool take_verdicts(Uploader *uploader, const SpoolBatch *batch, Str reply, UploadStats *count)
{
    _cleanup_(json_release) json_t *root = NULL;
    JsonLimits limits = { .bytes_max = REPLY_BYTES_MAX, .depth_max = 8, .tokens_max = 100000 };
    if (json_parse(reply, limits, &root).kind != ERR_NONE)
        return false;
    const json_t *rows = json_at(root, "verdicts");
    if (!json_is_array(rows) || json_array_size(rows) != batch->count)
        return false;
    for (size_t i = 0; i < batch->count; i++)
        take_verdict(uploader, batch->events[i], json_array_get(rows, i), count);
    return true;
}

static void add_stats(Uploader *uploader, UploadStats by)
{
    pthread_mutex_lock(&uploader->mutex);
    uploader->stats.batches += by.batches;
    uploader->stats.failures += by.failures;
    uploader->stats.stored += by.stored;
    uploader->stats.duplicates += by.duplicates;
    uploader->stats.quarantined += by.quarantined;
    uploader->stats.refused += by.refused;
    if (by.batches > 0)
        uploader->stats.last_us = time_now().us;
    pthread_mutex_unlock(&uploader->mutex);
}

/* The batch as a whole is unwelcome: smaller ones find the event that is to blame; alone, it is set aside. */
static Turn split_batch(Uploader *uploader, const SpoolBatch *batch, int status)
{
    if (batch->count > 1) {
        uploader->events_max = batch->count / 2;
        return TURN_SENT;
    }
    log_error("the control plane refused a batch of one event: set aside", LOG_INT("status", status));
    spool_set_aside(uploader->options.spool, batch->events[0]);
    spool_acknowledge(uploader->options.spool, batch);
    add_stats(uploader, (UploadStats){ .refused = 1 });
    return TURN_SENT;
}

static Turn send_batch(Uploader *uploader, const SpoolBatch *batch)
{
    HttpReply reply = { 0 };
    UploadStats count = { .batches = 1 };
    write_body(uploader, batch);
    Err err = post_batch(uploader, &reply);
    if (err.kind == ERR_NONE && (reply.status == 400 || reply.status == 413 || reply.status == 422))
        return split_batch(uploader, batch, reply.status);
    if (err.kind != ERR_NONE || reply.status != 200 || !take_verdicts(uploader, batch, reply.body, &count)) {
        if (uploader->pause_us == 0)
            log_warn("events could not be delivered and wait on disk", LOG_STR("code", err.code),
                LOG_INT("status", reply.status));
        add_stats(uploader, (UploadStats){ .failures = 1 });
        return TURN_FAILED;
    }
    spool_acknowledge(uploader->options.spool, batch);
    add_stats(uploader, count);
    uploader->events_max = UPLOAD_EVENTS_MAX;
    return TURN_SENT;
}

static Turn turn(Uploader *uploader)
{
    SpoolBatch batch;
    Spool *spool = uploader->options.spool;
    arena_clear(uploader->arena);
    Err err = spool_read(spool, uploader->arena, uploader->events_max, UPLOAD_BYTES_MAX, &batch);
    if (err.kind != ERR_NONE) {
        log_err("the spool could not be read", err);
        return TURN_FAILED;
    }
    if (batch.count > 0)
        return send_batch(uploader, &batch);
    SpoolStats stats = spool_stats(spool);
    if (stats.events_written > stats.events_acknowledged) { /* only intents in this stretch: pass it */
        spool_acknowledge(spool, &batch);
        return TURN_SENT;
    }
    return TURN_IDLE;
}

/* --- the thread --- */

static int64_t next_pause_us(Uploader *uploader, Turn result)
{
    if (result != TURN_FAILED) {
        uploader->pause_us = 0;
        return result == TURN_SENT && uploader->events_max < UPLOAD_EVENTS_MAX ? 0 : uploader->options.every_us;
    }
    uploader->pause_us = uploader->pause_us == 0 ? PAUSE_MIN_US : uploader->pause_us * 2;
    if (uploader->pause_us > PAUSE_MAX_US)
        uploader->pause_us = PAUSE_MAX_US;
    return uploader->pause_us / 2 + (int64_t)random_below((uint64_t)uploader->pause_us / 2 + 1);
}

/* Waits; returns false when it is time to end. */
static bool rest(Uploader *uploader, int64_t us, Turn result)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + us * 1000;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&uploader->mutex);
    while (us > 0 && !uploader->stopping && pthread_cond_timedwait(&uploader->wake, &uploader->mutex, &until) == 0)
        continue;
    bool go_on = !uploader->stopping || (result == TURN_SENT && monotonic_us() < uploader->stop_by_us);
    pthread_mutex_unlock(&uploader->mutex);
    return go_on;
}

static void *run(void *arg)
{
    Uploader *uploader = arg;
    Turn result;
    bool last = false;
    do {
        result = turn(uploader);
        bool more =
            result == TURN_SENT && spool_stats(uploader->options.spool).events_acknowledged + UPLOAD_EVENTS_MAX <=
                                       spool_stats(uploader->options.spool).events_written;
        int64_t pause_us = next_pause_us(uploader, result);
        if (rest(uploader, more ? 0 : pause_us, result))
            continue;
        if (last)
            break;
        last = true; /* stopped while it slept: once more for what came meanwhile */
    } while (true);
    return NULL;
}

Uploader *upload_start(const UploadOptions *options)
{
    Uploader *uploader = MEM_NEW(Uploader, 1);
    uploader->options = *options;
    uploader->arena = arena_new();
    uploader->body = buf_new(UPLOAD_BYTES_MAX + UPLOAD_EVENTS_MAX + SPOOL_RECORD_MAX);
    uploader->events_max = UPLOAD_EVENTS_MAX;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&uploader->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&uploader->mutex, NULL);
    if (pthread_create(&uploader->thread, NULL, run, uploader) != 0)
        die("could not start a thread");
    return uploader;
}

void upload_stop(Uploader **uploader_ptr, int64_t within_us)
{
    Uploader *uploader = *uploader_ptr;
    if (uploader == NULL)
        return;
    *uploader_ptr = NULL;
    pthread_mutex_lock(&uploader->mutex);
    uploader->stopping = true;
    uploader->stop_by_us = monotonic_us() + within_us;
    pthread_cond_signal(&uploader->wake);
    pthread_mutex_unlock(&uploader->mutex);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += within_us / US_PER_S + 1;
    if (pthread_timedjoin_np(uploader->thread, NULL, &until) != 0) {
        atomic_store(&uploader->give_up, true);
        pthread_join(uploader->thread, NULL);
    }
    pthread_cond_destroy(&uploader->wake);
    pthread_mutex_destroy(&uploader->mutex);
    buf_release(&uploader->body);
    arena_free(&uploader->arena);
    mem_free(uploader);
}

UploadStats upload_stats(Uploader *uploader)
{
    pthread_mutex_lock(&uploader->mutex);
    UploadStats stats = uploader->stats;
    pthread_mutex_unlock(&uploader->mutex);
    return stats;
}
