/*
 * reeve.c: the installed face: plain C types outside, the puller and its views inside.
 */
#include "view.h"

#include "base/config.h"
#include "base/json.h"
#include "http/client.h"

#include <stdio.h>
#include <string.h>

struct Reeve {
    Arena *arena;
    Puller *puller;
    void (*on_activate)(int64_t seq, void *arg);
    void *arg;
};

#define CA_FILE_BYTES_MAX (4 * 1024 * 1024)

static const char *const result_names[] = {
    [REEVE_OK] = "ok",
    [REEVE_NONE] = "none",
    [REEVE_EXPIRED] = "expired",
    [REEVE_REVOKED] = "revoked",
    [REEVE_ORIGIN] = "other-origin",
    [REEVE_SEALED] = "cannot-open",
    [REEVE_SMALL] = "buffer-too-small",
    [REEVE_LOCKED] = "state-locked",
    [REEVE_ARGUMENT] = "bad-argument",
    [REEVE_FAILED] = "failed",
};

const char *reeve_result_name(ReeveResult result)
{
    if ((size_t)result >= COUNT_OF(result_names))
        return "unknown";
    return result_names[result];
}

/* --- life --- */

static ReeveResult result_of(Err err)
{
    if (err.kind == ERR_NONE)
        return REEVE_OK;
    if (err_is(err, "state-locked"))
        return REEVE_LOCKED;
    return err.kind == ERR_INVALID || err.kind == ERR_CONFLICT ? REEVE_ARGUMENT : REEVE_FAILED;
}

static void activated(int64_t seq, void *arg)
{
    Reeve *reeve = arg;
    if (reeve->on_activate != NULL)
        reeve->on_activate(seq, reeve->arg);
}

static Err open_puller(Reeve *reeve, Arena *arena, const ReeveOptions *options)
{
    if (options->size != sizeof *options || options->state_dir == NULL)
        return FAIL(ERR_INVALID, "bad-argument", "The options lack their size or the state directory.");
    Str ca_pem = STR("");
    if (options->ca_file != NULL)
        TRY(file_read(arena, str_from_c(options->ca_file), CA_FILE_BYTES_MAX, &ca_pem));
    PullerOptions pull = {
        .state_dir = str_from_c(options->state_dir),
        .url = str_from_c(options->url),
        .join_token = str_from_c(options->join_token),
        .name = str_from_c(options->name),
        .ca_pem = ca_pem,
        .wait_s = options->wait_s,
        .allow_private = options->allow_private,
        .builder = view_builder(),
        .on_activate = activated,
        .arg = reeve,
    };
    return puller_open(arena, &pull, &reeve->puller);
}

ReeveResult reeve_open(const ReeveOptions *options, Reeve **ret_reeve, char *why, size_t why_size)
{
    crypto_start();
    json_start();
    client_start();
    _cleanup_(arena_free) Arena *arena = arena_new();
    Arena *own = arena_new();
    Reeve *reeve = NEW(own, Reeve, 1);
    *reeve = (Reeve){ .arena = own, .on_activate = options->on_activate, .arg = options->arg };
    Err err = open_puller(reeve, arena, options);
    if (err.kind != ERR_NONE) {
        if (why != NULL && why_size > 0)
            snprintf(why, why_size, STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
        arena_free(&own);
        return result_of(err);
    }
    puller_start(reeve->puller);
    *ret_reeve = reeve;
    return REEVE_OK;
}

void reeve_close(Reeve **reeve)
{
    if (*reeve == NULL)
        return;
    puller_close(&(*reeve)->puller);
    Arena *arena = (*reeve)->arena;
    *reeve = NULL;
    arena_free(&arena);
}

/* --- reading --- */

const ReeveSnapshot *reeve_acquire(Reeve *reeve)
{
    return (const ReeveSnapshot *)puller_acquire(reeve->puller);
}

const ReeveSnapshot *reeve_retain(const ReeveSnapshot *snapshot)
{
    puller_retain((PullView *)(uintptr_t)&snapshot->view);
    return snapshot;
}

void reeve_release(Reeve *reeve, const ReeveSnapshot *snapshot)
{
    if (snapshot != NULL)
        puller_release(reeve->puller, (PullView *)(uintptr_t)&snapshot->view);
}

int64_t reeve_snapshot_seq(const ReeveSnapshot *snapshot)
{
    return snapshot->view.seq;
}

int64_t reeve_snapshot_hard_expiry_us(const ReeveSnapshot *snapshot)
{
    return snapshot->view.hard_expiry.us;
}

const ReeveClientKey *reeve_client_key(const ReeveSnapshot *snapshot, const uint8_t digest[32])
{
    Digest key;
    memcpy(key.b, digest, sizeof key.b);
    const KeySlot *slot = view_find_key(snapshot, &key);
    if (slot == NULL || (slot->key->not_after_us != 0 && slot->key->not_after_us <= time_now().us))
        return NULL;
    return slot->key;
}

const ReeveWorkflow *reeve_workflow(const ReeveProject *project, const char *name, size_t name_len)
{
    Str wanted = str_n(name, name_len);
    size_t low = 0, high = project->workflow_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_compare(wanted, str_from_c(project->workflows[middle].name));
        if (order == 0)
            return &project->workflows[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* --- opening a secret --- */

static ReeveResult open_version(const SecretView *secret, const SecretVersionView *version, Time now,
    const char *origin, uint8_t *out, size_t out_size, size_t *ret_len)
{
    if (!time_is_none(version->not_after) && !time_before(now, version->not_after))
        return REEVE_EXPIRED;
    if (strcmp(version->origin, origin) != 0)
        return REEVE_ORIGIN;
    if (version->sealed.ciphertext.len > out_size)
        return REEVE_SMALL;
    Err err = jwe_prepared_open(&version->sealed, secret_bytes(&secret->project->delivery), out, out_size, ret_len);
    return err.kind == ERR_NONE ? REEVE_OK : REEVE_SEALED;
}

ReeveResult reeve_secret_open(Reeve *reeve, const ReeveSnapshot *snapshot, const ReeveConnection *connection,
    const char *origin, uint8_t *out, size_t out_size, size_t *ret_len, int64_t *ret_version)
{
    const SecretView *secret = connection->secret;
    ReeveResult result = REEVE_NONE;
    Time now = puller_now(reeve->puller);
    if (puller_is_revoked(reeve->puller))
        return REEVE_REVOKED;
    if (!time_before(now, snapshot->view.hard_expiry))
        return REEVE_EXPIRED;
    for (size_t i = 0; secret != NULL && i < secret->count; i++) {
        size_t len = 0;
        ReeveResult tried = open_version(secret, &secret->versions[i], now, origin, out, out_size, &len);
        if (tried == REEVE_OK) {
            *ret_len = len;
            *ret_version = secret->versions[i].version;
            return REEVE_OK;
        }
        if (i == 0)
            result = tried;
    }
    return result;
}

/* --- status --- */

void reeve_status(Reeve *reeve, ReeveStatus *ret_status)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    PullStatus pull;
    puller_status(reeve->puller, &pull);
    ReeveStatus status = {
        .freshness = (ReeveFreshness)pull.freshness,
        .seq = pull.seq,
        .age_us = pull.age_us,
        .generation = pull.generation,
        .activations = pull.activations,
        .refusals = pull.refusals,
        .enrolled = pull.enrolled,
        .revoked = pull.revoked,
    };
    if (pull.enrolled)
        snprintf(
            status.data_plane, sizeof status.data_plane, "%s", typeid_format(arena, STR("dpl"), pull.data_plane).ptr);
    snprintf(status.fleet, sizeof status.fleet, "%s", typeid_format(arena, STR("flt"), pull.fleet).ptr);
    snprintf(
        status.installation, sizeof status.installation, "%s", typeid_format(arena, STR("ins"), pull.installation).ptr);
    memcpy(status.error_code, pull.code, sizeof status.error_code);
    memcpy(status.error_detail, pull.detail, sizeof status.error_detail);
    *ret_status = status;
}

static ReeveResult give_text(Str text, char *out, size_t out_size)
{
    if (text.len + 1 > out_size)
        return REEVE_SMALL;
    memcpy(out, text.ptr, text.len + 1);
    return REEVE_OK;
}

ReeveResult reeve_access_token(Reeve *reeve, char *out, size_t out_size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str token = STR("");
    if (puller_access_token(reeve->puller, arena, &token).kind != ERR_NONE)
        return REEVE_NONE;
    return give_text(token, out, out_size);
}

ReeveResult reeve_control_url(Reeve *reeve, char *out, size_t out_size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str url = puller_url(reeve->puller, arena);
    while (str_ends_with(url, STR("/")))
        url = arena_str(arena, str_first(url, url.len - 1));
    return give_text(url, out, out_size);
}
