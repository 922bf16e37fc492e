/*
 * pull.h: one data plane's side of a snapshot: enrol, pull, verify, persist, activate.
 *
 * A Puller believes its first root's hash (from the join token) and what chains to it. It never throws away its last
 * good state for anything that is not signed, and activates whole or not at all: documents are verified and handed to
 * the builder, which makes one immutable view of them; readers swap to it with one atomic operation.
 *
 *     TRY(puller_open(arena, &options, &puller));       // verifies and activates what the state directory holds
 *     puller_start(puller);                      // pulls in threads of its own
 *     PullView *view = puller_acquire(puller);   // any thread, lock-free; NULL: nothing yet
 *     puller_release(puller, view);
 *
 * Tests and simulations drive the same code by puller_step, without threads, and over a transport of their own.
 */
#ifndef SNAPSHOT_PULL_H
#define SNAPSHOT_PULL_H

#include "snapshot/keyring.h"
#include "snapshot/shard.h"

#include <stdatomic.h>

#define PULL_WAIT_S_MAX 55
#define PULL_REPORTS_PER_MINUTE_MAX 30
#define PULL_CLOCK_SKEW_S 300 /* how far ahead of us a signed time may be */

typedef struct Puller Puller;

/* First member of a builder's view; the puller fills it in. Zeroed by the builder. */
typedef struct PullView {
    struct {
        _Atomic int64_t count;
        uint32_t slot;
        void *next;
    } cell;
    int64_t seq;
    int64_t generation;
    Time hard_expiry;
    bool revoked; /* a signed manifest named this data plane */
} PullView;

/* What a builder makes a view of. Everything is verified; entries are sorted by shard, then (org, project, kind). */
typedef struct PullUpdate {
    const Manifest *manifest;
    Uuid data_plane;
    const Secret *fleet_key; /* of manifest->generation */
    const ShardEntry *const *entries;
    size_t count;
    const PullView *before; /* the active view, or NULL */
    void *source;           /* for pull_object */
} PullUpdate;

/* The bytes an entry names, in the arena. */
CHECKED Err pull_object(const PullUpdate *update, Arena *arena, const ShardEntry *entry, Str *ret_bytes);

typedef struct PullBuilder {
    /* Refusing (with a stable code) refuses the whole update. Called from one thread at a time. */
    Err (*build)(void *arg, Arena *arena, const PullUpdate *update, PullView **ret_view);
    void (*free_view)(PullView *view);
    /* Kinds of objects that build understands, NULL-terminated; others are ignored unless marked critical. */
    const char *const *kinds;
    void *arg;
} PullBuilder;

/* One request to the control plane. */
typedef struct PullCall {
    const char *method;
    Str path; /* "/v1/snapshot/manifest?after=3&wait=25" */
    Str bearer;
    Str body; /* JSON, with POST */
    size_t body_max;
    int64_t timeout_us;
} PullCall;
typedef struct PullReply {
    int status;
    Str content_type;
    Str content_encoding;
    Str body;
} PullReply;
typedef struct PullTransport {
    Err (*call)(void *arg, Arena *arena, const PullCall *call, PullReply *ret_reply);
    void *arg;
} PullTransport;

typedef struct PullerOptions {
    Str state_dir;
    Str url;        /* empty: the join token's, later the state directory's */
    Str join_token; /* first start only */
    Str name;
    Str ca_pem;
    int wait_s; /* 0: 25 */
    bool allow_private;
    PullBuilder builder;
    const PullTransport *transport; /* NULL: HTTP */
    int64_t (*clock)(void *arg);    /* wall clock in microseconds; NULL: the system's */
    void (*on_activate)(int64_t seq, void *arg);
    void (*on_write)(void *arg); /* before each write to the state directory (crash tests) */
    void *arg;
} PullerOptions;

/* "state-locked", "state-unusable", "join-token-needed", "join-token-malformed", "root-…". */
CHECKED Err puller_open(Arena *arena, const PullerOptions *options, Puller **ret_puller);
void puller_start(Puller *puller);
void puller_close(Puller **puller); /* every view was released; ends the threads */

/* One turn: enrol, renew the token, poll and act. The error is what the status shows; last good stays. */
CHECKED Err puller_step(Puller *puller);
/* One turn of the reporter: at most one acknowledgement, and durability. */
CHECKED Err puller_report(Puller *puller);

PullView *puller_acquire(Puller *puller);
void puller_retain(PullView *view);
void puller_release(Puller *puller, PullView *view);

typedef enum PullFreshness { PULL_EMPTY, PULL_FRESH, PULL_STALE, PULL_EXPIRED } PullFreshness;
typedef struct PullStatus {
    PullFreshness freshness;
    int64_t seq, age_us, generation, activations, refusals, reports;
    bool enrolled, revoked;
    Uuid data_plane, fleet, installation;
    int64_t root_version;
    char code[48];
    char detail[256];
} PullStatus;
void puller_status(Puller *puller, PullStatus *ret_status);
/* The time to judge expiry by: the wall clock, but never before a signed time plus what passed since. */
Time puller_now(Puller *puller);
/* The current access token and the control plane's URL, in the arena; ERR_UNAVAILABLE "token-absent". */
CHECKED Err puller_access_token(Puller *puller, Arena *arena, Str *ret_token);
Str puller_url(Puller *puller, Arena *arena);
Uuid puller_data_plane(Puller *puller);
bool puller_is_revoked(Puller *puller);

#endif
