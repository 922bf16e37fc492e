/*
 * parts.h: what the files of this folder share: the puller itself.
 *
 * Two threads: the pulling thread owns everything not marked otherwise; the reporting thread makes things durable and
 * tells the control plane. What both, and readers, touch is behind the mutex or atomic.
 */
#ifndef SNAPSHOT_PULL_PARTS_H
#define SNAPSHOT_PULL_PARTS_H

#include "snapshot/pull.h"

#include "cell.h"
#include "identity.h"
#include "state.h"
#include "trust.h"

#include <pthread.h>

#define PULL_OBJECTS_MAX 1000000
#define PULL_FETCHERS 4
#define PULL_FETCH_TIMEOUT_US (30 * US_PER_S)
#define PULL_CALL_TIMEOUT_US (15 * US_PER_S)
#define PULL_ROOT_CHECK_US (600 * US_PER_S)
#define PULL_MARK_EVERY_US (60 * US_PER_S)
#define PULL_COLLECT_EVERY 256 /* activations between sweeps of the objects folder */
#define ACCESS_TOKEN_BYTES_MAX 256

/* One shard of a set, in an arena of its own; shared by sets that have the same digest, within the pulling thread. */
typedef struct ShardState {
    Arena *arena;
    Digest digest;
    Shard shard;
} ShardState;

/* All documents of one manifest. */
typedef struct DocumentSet {
    Arena *arena; /* of the manifest */
    Manifest manifest;
    Mark mark;
    ShardState *shards[MANIFEST_SHARDS];
} DocumentSet;

typedef enum ReportState { REPORT_VERIFIED, REPORT_ACTIVE, REPORT_REFUSED, REPORT_STATES } ReportState;

typedef struct Report {
    bool pending;
    int64_t seq;
    int64_t generation;
    Time at;
    char code[48];
    char detail[256];
    char pointer[128];
} Report;

struct Puller {
    Arena *arena;
    PullerOptions options;
    PullTransport transport;
    void *http; /* the HTTP transport's own, when it is used */
    State *state;
    Identity identity;
    Arena *root_arena;
    Root root;
    Trust trust;
    DocumentSet *active; /* NULL: none */
    Secret fleet_key;
    int64_t fleet_key_generation;
    Cell *cell;
    int64_t root_checked_us; /* monotonic */
    int64_t mark_written_us;
    int64_t activations_since_sweep;
    unsigned failures; /* in a row */

    _Atomic int64_t signed_offset_us; /* signed time = monotonic time + this */
    _Atomic int64_t wall_skew_us;     /* unused without options.clock */
    _Atomic bool revoked;
    _Atomic bool stopping;
    _Atomic bool dirty; /* written, not yet made durable */

    pthread_mutex_t mutex; /* the rest */
    pthread_cond_t changed;
    PullStatus status;
    int64_t signed_us; /* of the status */
    int64_t max_stale_s;
    Time hard_expiry;
    char token[ACCESS_TOKEN_BYTES_MAX];
    int64_t token_renew_us; /* monotonic */
    int64_t token_ends_us;
    Report reports[REPORT_STATES];
    int64_t report_window_us;
    int64_t reports_in_window;
    bool threads;
    pthread_t pulling, reporting;
};

/* call.c: one request, its answer checked for what no endpoint may answer. "status-404", "content-encoding"… */
CHECKED Err pull_call(Puller *puller, Arena *arena, const PullCall *call, PullReply *ret_reply);
CHECKED Err pull_get(Puller *puller, Arena *arena, Str path, size_t body_max, int64_t timeout_us, PullReply *ret_reply);
Str pull_bearer(Puller *puller, Arena *arena);
Err pull_err(ErrKind kind, Str code, const char *detail);

/* enrol.c */
CHECKED Err pull_ensure_enrolled(Puller *puller, Arena *arena);
CHECKED Err pull_ensure_token(Puller *puller, Arena *arena);
CHECKED Err pull_advance_root(Puller *puller, Arena *arena);
CHECKED Err pull_load_roots(Puller *puller, Arena *arena);
CHECKED Err pull_load_keyring(Puller *puller, Arena *arena, int64_t generation, bool may_fetch);

/* update.c */
CHECKED Err pull_apply(Puller *puller, Arena *arena, Str jws, const Manifest *manifest, const Mark *mark);
CHECKED Err pull_load_state(Puller *puller, Arena *arena);
void document_set_free(DocumentSet **set, const DocumentSet *keep);
void pull_write_mark(Puller *puller, Arena *arena);

/* fetch.c */
typedef struct FetchItem {
    Digest digest;
    int64_t length; /* -1: any up to bytes_max */
    size_t bytes_max;
} FetchItem;
CHECKED Err pull_fetch(Puller *puller, Arena *arena, const FetchItem *items, size_t count);

/* status.c */
void pull_note_signed(Puller *puller, Time signed_time);
void pull_note_turn(Puller *puller, Err err);
void pull_note_active(Puller *puller, const DocumentSet *set);
CHECKED Err pull_make_durable(Puller *puller);
void pull_queue_report(Puller *puller, ReportState state, int64_t seq, int64_t generation, Err err);

/* http.c */
CHECKED Err pull_http_new(Puller *puller, PullTransport *ret_transport);
void pull_http_free(void **http);

#endif
