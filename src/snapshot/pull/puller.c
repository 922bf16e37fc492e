/*
 * puller.c: the puller's life: opening, turns, threads, backoff.
 */
#include "parts.h"

#include "base/log.h"

#include <string.h>
#include <time.h>

#define BACKOFF_BASE_US (200 * US_PER_MS)
#define BACKOFF_MAX_US (30 * US_PER_S)
#define REPORT_AFTER_US (250 * US_PER_MS)
#define REPORT_SPREAD_US (500 * US_PER_MS)
#define POLL_APART_US (250 * US_PER_MS) /* between polls that brought nothing and did not wait */

/* --- polling --- */

static Err check_media_type(const PullReply *reply)
{
    if (!str_eq_nocase(reply->content_type, STR("application/jose")))
        return FAIL(ERR_INVALID, "content-type", "The answer is not a signed document; something stands between.");
    return OK;
}

static int64_t active_seq(const Puller *puller)
{
    return puller->active == NULL ? 0 : puller->active->manifest.seq;
}

static Err take_heartbeat(Puller *puller, Arena *arena, Str jws)
{
    Heartbeat heartbeat;
    TRY(trust_heartbeat(&puller->trust, arena, jws, puller_now(puller), active_seq(puller), &heartbeat));
    pull_note_signed(puller, heartbeat.now);
    if (monotonic_us() - puller->mark_written_us > PULL_MARK_EVERY_US)
        pull_write_mark(puller, arena);
    return OK;
}

static Err take_document(Puller *puller, Arena *arena, Str jws)
{
    Manifest manifest;
    Mark mark;
    Offer offer;
    Err err =
        trust_manifest(&puller->trust, arena, jws, puller_now(puller), active_seq(puller), &manifest, &mark, &offer);
    if (err_is(err, "jose-type") && jws.len <= HEARTBEAT_BYTES_MAX)
        return take_heartbeat(puller, arena, jws);
    TRY(err);
    if (offer == OFFER_NEW)
        return pull_apply(puller, arena, jws, &manifest, &mark);
    pull_note_signed(puller, manifest.issued_at);
    return OK;
}

/* A key we do not know may be one of the next root. */
static Err take_answer(Puller *puller, Arena *arena, Str jws)
{
    Err err = take_document(puller, arena, jws);
    if (!err_is(err, "jose-key-unknown") && !err_is(err, "root-expired"))
        return err;
    int64_t version = puller->root.version;
    TRY(pull_advance_root(puller, arena));
    return puller->root.version == version ? err : take_document(puller, arena, jws);
}

static bool is_transport(Err err)
{
    return err.kind == ERR_UNAVAILABLE || err.kind == ERR_TIMEOUT || err.kind == ERR_UNAUTHENTICATED ||
           err.kind == ERR_LIMITED || err.kind == ERR_NOT_FOUND;
}

static Err poll_once(Puller *puller, Arena *arena)
{
    PullReply reply = { 0 };
    int64_t after = trust_mark_binds(&puller->trust) ? active_seq(puller) : 0;
    Str path = arena_fmt(arena, "/v1/snapshot/manifest?after=%lld&wait=%d", (long long)after, puller->options.wait_s);
    int64_t timeout = puller->options.wait_s * US_PER_S + PULL_CALL_TIMEOUT_US;
    TRY(pull_get(puller, arena, path, MANIFEST_BYTES_MAX, timeout, &reply));
    if (reply.status == 204) /* nothing was ever published for this fleet */
        return OK;
    Err err = check_media_type(&reply);
    if (err.kind == ERR_NONE)
        err = take_answer(puller, arena, reply.body);
    if (err.kind != ERR_NONE && !is_transport(err))
        pull_queue_report(puller, REPORT_REFUSED, active_seq(puller), puller->fleet_key_generation, err);
    return err;
}

static Err check_root_now_and_then(Puller *puller, Arena *arena)
{
    if (puller->root_checked_us != 0 && monotonic_us() - puller->root_checked_us < PULL_ROOT_CHECK_US)
        return OK;
    return pull_advance_root(puller, arena);
}

static Err turn(Puller *puller, Arena *arena)
{
    TRY(pull_ensure_enrolled(puller, arena));
    TRY(pull_ensure_token(puller, arena));
    TRY(check_root_now_and_then(puller, arena));
    return poll_once(puller, arena);
}

Err puller_step(Puller *puller)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Err err = turn(puller, arena);
    pull_note_turn(puller, err);
    if (err.kind == ERR_NONE)
        return OK;
    /* The words live on in the status, which outlives this turn's arena. */
    err.code = str_from_c(puller->status.code);
    err.detail = str_from_c(puller->status.detail);
    err.fields = (FieldErrs){ 0 };
    return err;
}

/* --- threads --- */

static void sleep_us(Puller *puller, int64_t us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += us / US_PER_S;
    until.tv_nsec += us % US_PER_S * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&puller->mutex);
    while (!atomic_load(&puller->stopping))
        if (pthread_cond_timedwait(&puller->changed, &puller->mutex, &until) != 0)
            break;
    pthread_mutex_unlock(&puller->mutex);
}

/* Full jitter: anything from now to a ceiling that doubles. */
static int64_t backoff_us(unsigned failures)
{
    int64_t ceiling = BACKOFF_BASE_US;
    for (unsigned i = 1; i < failures && ceiling < BACKOFF_MAX_US; i++)
        ceiling *= 2;
    return (int64_t)random_below((uint64_t)(ceiling < BACKOFF_MAX_US ? ceiling : BACKOFF_MAX_US));
}

static void *pull_thread(void *arg)
{
    Puller *puller = arg;
    while (!atomic_load(&puller->stopping)) {
        int64_t began = monotonic_us(), seq = active_seq(puller);
        Err err = puller_step(puller);
        if (atomic_load(&puller->stopping))
            break;
        puller->failures = err.kind == ERR_NONE ? 0 : puller->failures + 1;
        if (puller->failures == 1)
            log_warn("the snapshot could not be brought up to date", LOG_STR("code", err.code),
                LOG_STR("detail", err.detail), LOG_INT("seq", active_seq(puller)));
        if (puller->failures > 0)
            sleep_us(puller, backoff_us(puller->failures));
        else if (active_seq(puller) == seq && monotonic_us() - began < POLL_APART_US)
            sleep_us(puller, POLL_APART_US);
    }
    return NULL;
}

static void wait_for_work(Puller *puller)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    pthread_mutex_lock(&puller->mutex);
    bool waiting = false;
    for (size_t i = 0; i < REPORT_STATES; i++)
        waiting = waiting || puller->reports[i].pending;
    if (!waiting && !atomic_load(&puller->dirty) && !atomic_load(&puller->stopping))
        pthread_cond_timedwait(&puller->changed, &puller->mutex, &until);
    else if (waiting && puller->reports_in_window >= PULL_REPORTS_PER_MINUTE_MAX)
        pthread_cond_timedwait(&puller->changed, &puller->mutex, &until);
    pthread_mutex_unlock(&puller->mutex);
}

static void *report_thread(void *arg)
{
    Puller *puller = arg;
    while (!atomic_load(&puller->stopping)) {
        wait_for_work(puller);
        Err err = pull_make_durable(puller);
        /* A fleet does not speak all at once, nor while its slower members still fetch. */
        sleep_us(puller, REPORT_AFTER_US + (int64_t)random_below(REPORT_SPREAD_US));
        if (atomic_load(&puller->stopping))
            break;
        if (err.kind == ERR_NONE)
            err = puller_report(puller);
        cell_reap(puller->cell);
        if (err.kind != ERR_NONE)
            sleep_us(puller, backoff_us(3));
    }
    return NULL;
}

void puller_start(Puller *puller)
{
    if (pthread_create(&puller->pulling, NULL, pull_thread, puller) != 0 ||
        pthread_create(&puller->reporting, NULL, report_thread, puller) != 0)
        die("could not start the puller's threads");
    puller->threads = true;
}

/* --- life --- */

static void copy_options(Puller *puller, const PullerOptions *options)
{
    puller->options = *options;
    puller->options.url = arena_str(puller->arena, options->url);
    puller->options.ca_pem = arena_str(puller->arena, options->ca_pem);
    puller->options.name = arena_str(puller->arena, options->name);
    puller->options.state_dir = arena_str(puller->arena, options->state_dir);
    puller->options.join_token = (Str){ .ptr = NULL, .len = 0 }; /* read once, not kept */
    if (puller->options.wait_s <= 0 || puller->options.wait_s > PULL_WAIT_S_MAX)
        puller->options.wait_s = 25;
}

static void free_item(CellItem *item, void *arg)
{
    const Puller *puller = arg;
    puller->options.builder.free_view((PullView *)item);
}

static Err open_parts(Puller *puller, Arena *arena, Str join_token)
{
    TRY(state_open(puller->options.state_dir, &puller->state));
    state_on_write(puller->state, puller->options.on_write, puller->options.arg);
    TRY(identity_open(
        puller->state, puller->arena, join_token, puller->options.name, puller->options.url, &puller->identity));
    puller->trust.installation = puller->identity.installation;
    puller->trust.fleet = puller->identity.fleet;
    puller->trust.data_plane = puller->identity.data_plane;
    puller->status.data_plane = puller->identity.data_plane;
    puller->status.fleet = puller->identity.fleet;
    puller->status.installation = puller->identity.installation;
    puller->status.enrolled = puller->identity.enrolled;
    if (puller->options.transport != NULL)
        puller->transport = *puller->options.transport;
    else
        TRY(pull_http_new(puller, &puller->transport));
    return pull_load_roots(puller, arena);
}

static void init_sync(Puller *puller)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&puller->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&puller->mutex, NULL);
}

Err puller_open(Arena *arena, const PullerOptions *options, Puller **ret_puller)
{
    Arena *own = arena_new();
    Puller *puller = NEW(own, Puller, 1);
    puller->arena = own;
    copy_options(puller, options);
    init_sync(puller);
    atomic_store(&puller->signed_offset_us, INT64_MIN / 2);
    puller->cell = cell_new(free_item, puller);
    Err err = open_parts(puller, arena, options->join_token);
    if (err.kind != ERR_NONE) {
        err.code = arena_str(arena, err.code);
        err.detail = arena_str(arena, err.detail);
        err.fields = (FieldErrs){ 0 };
        puller_close(&puller);
        return err;
    }
    err = pull_load_state(puller, arena); /* nothing to load, or nothing that verifies: the control plane has it */
    pull_note_turn(puller, err);
    *ret_puller = puller;
    return OK;
}

void puller_close(Puller **ret_puller)
{
    Puller *puller = *ret_puller;
    if (puller == NULL)
        return;
    *ret_puller = NULL;
    atomic_store(&puller->stopping, true);
    pthread_mutex_lock(&puller->mutex);
    pthread_cond_broadcast(&puller->changed);
    pthread_mutex_unlock(&puller->mutex);
    if (puller->threads) {
        pthread_join(puller->pulling, NULL);
        pthread_join(puller->reporting, NULL);
    }
    cell_free(&puller->cell);
    document_set_free(&puller->active, NULL);
    pull_http_free(&puller->http);
    identity_release(&puller->identity);
    secret_release(&puller->fleet_key);
    secret_wipe(puller->token, sizeof puller->token);
    arena_free(&puller->root_arena);
    if (puller->state != NULL)
        state_close(&puller->state);
    pthread_cond_destroy(&puller->changed);
    pthread_mutex_destroy(&puller->mutex);
    Arena *arena = puller->arena;
    arena_free(&arena);
}

PullView *puller_acquire(Puller *puller)
{
    return (PullView *)cell_acquire(puller->cell);
}

void puller_retain(PullView *view)
{
    cell_retain((CellItem *)view);
}

void puller_release(Puller *puller, PullView *view)
{
    cell_release(puller->cell, (CellItem *)view);
}
