/*
 * reeve.h: libreeve, the library that makes any gateway a data plane of Reeve.
 *
 * A Reeve keeps one signed, verified snapshot of what this data plane may serve: projects by client key, workflows by
 * name, connections, and provider keys that open for one origin only. It pulls changes in threads of its own, keeps
 * them in a state directory, and goes on serving when the control plane is gone.
 *
 *     ReeveOptions options = { .size = sizeof options, .state_dir = "/var/lib/gateway", .join_token = token };
 *     Reeve *reeve;
 *     char why[256];
 *     if (reeve_open(&options, &reeve, why, sizeof why) != REEVE_OK) die(why);
 *
 *     const ReeveSnapshot *snapshot = reeve_acquire(reeve);          // per request; lock-free
 *     const ReeveClientKey *key = reeve_client_key(snapshot, digest);
 *     const ReeveWorkflow *workflow = key ? reeve_workflow(key->project, name, name_len) : NULL;
 *     const ReeveTarget *target = &workflow->revision->targets[0];
 *     reeve_secret_open(reeve, snapshot, target->connection, origin, buffer, sizeof buffer, &len, &version);
 *     ... send to target->connection->base_url, wipe the buffer ...
 *     reeve_release(reeve, snapshot);
 *
 * Everything a snapshot gives is immutable and lives until the snapshot is released. All functions are thread-safe
 * except reeve_close. Strings are UTF-8, NUL-terminated, and never NULL unless said. Nothing here needs another header.
 */
#ifndef REEVE_REEVE_H
#define REEVE_REEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Reeve Reeve;
typedef struct ReeveSnapshot ReeveSnapshot;

typedef enum ReeveResult {
    REEVE_OK = 0,
    REEVE_NONE,     /* no snapshot yet, or nothing of that name */
    REEVE_EXPIRED,  /* the snapshot's hard expiry or the version's not_after has passed */
    REEVE_REVOKED,  /* a signed statement revoked this data plane */
    REEVE_ORIGIN,   /* asked for another origin than the secret is bound to */
    REEVE_SEALED,   /* cannot open */
    REEVE_SMALL,    /* the buffer is too small */
    REEVE_LOCKED,   /* another process has the state directory */
    REEVE_ARGUMENT, /* an option is missing or wrong */
    REEVE_FAILED,   /* the state directory or the system */
} ReeveResult;
const char *reeve_result_name(ReeveResult result);

/* --- what a snapshot holds --- */

typedef struct ReeveProject ReeveProject;

typedef struct ReeveConnection {
    const char *id; /* con_… */
    const char *name;
    const char *dialect; /* openai, anthropic */
    const char *base_url;
    const char *origin;    /* of base_url: scheme://host[:port] */
    const char *secret_id; /* sec_…; NULL: the provider needs no key */
    const ReeveProject *project;
    const void *secret; /* the library's own */
} ReeveConnection;

typedef struct ReeveTarget {
    const ReeveConnection *connection;
    const char *model;
    int64_t weight;                                       /* -1: none given */
    int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* 0: the gateway's default */
    int64_t max_attempts;                                 /* 0: the gateway's default */
    const char *parameters;                               /* JSON object text; NULL: none */
} ReeveTarget;

typedef struct ReeveRevision {
    const char *id; /* rev_… */
    int64_t number;
    const ReeveTarget *targets; /* in order of preference */
    size_t target_count;
    int64_t retry_budget_ms, retry_base_ms, retry_max_ms, retry_attempts; /* 0: the gateway's default */
} ReeveRevision;

typedef struct ReeveWorkflow {
    const char *id; /* wfl_… */
    const char *name;
    const char *dialect;
    const ReeveRevision *revision; /* the one this data plane runs; NULL: not released */
} ReeveWorkflow;

struct ReeveProject {
    const char *id;                 /* prj_… */
    const char *organization;       /* org_… */
    int64_t version;                /* of its routing object */
    const ReeveWorkflow *workflows; /* sorted by name */
    size_t workflow_count;
    const char *limits; /* JSON object text; NULL: none */
};

typedef struct ReeveClientKey {
    const char *id; /* cky_… */
    const ReeveProject *project;
    int64_t not_after_us; /* microseconds since 1970; 0: no end */
} ReeveClientKey;

/* --- life --- */

typedef struct ReeveOptions {
    size_t size;            /* sizeof(ReeveOptions) */
    const char *state_dir;  /* made when absent; one process at a time */
    const char *url;        /* of the control plane; NULL: the join token's, later the state directory's */
    const char *join_token; /* needed at the first start only: rj1.… */
    const char *name;       /* of this data plane, for people; NULL: the host's name */
    const char *ca_file;    /* PEM; NULL: the system's */
    int wait_s;             /* of a long poll, 1 to 55; 0: 25 */
    bool allow_private;     /* the control plane may be on a private or loopback address */
    void (*on_activate)(int64_t seq, void *arg); /* in the library's thread, after readers see the new snapshot */
    void *arg;
} ReeveOptions;

/* Verifies and activates what the state directory holds, then pulls in the background: it does not wait for the control
 * plane. On failure `why` (why_size bytes, may be NULL) says what is wrong. The process has called nothing before. */
ReeveResult reeve_open(const ReeveOptions *options, Reeve **ret_reeve, char *why, size_t why_size);
/* Every snapshot was released. Ends the threads; state stays. */
void reeve_close(Reeve **reeve);

/* --- reading: a few tens of nanoseconds, no lock --- */

const ReeveSnapshot *reeve_acquire(Reeve *reeve); /* NULL: none yet */
const ReeveSnapshot *reeve_retain(const ReeveSnapshot *snapshot);
void reeve_release(Reeve *reeve, const ReeveSnapshot *snapshot); /* NULL is fine */

int64_t reeve_snapshot_seq(const ReeveSnapshot *snapshot);
int64_t reeve_snapshot_hard_expiry_us(const ReeveSnapshot *snapshot);

/* By SHA-256 of the presented key's text. NULL: unknown, or past its end. */
const ReeveClientKey *reeve_client_key(const ReeveSnapshot *snapshot, const uint8_t digest[32]);
const ReeveWorkflow *reeve_workflow(const ReeveProject *project, const char *name, size_t name_len);

/*
 * Opens the active version of a connection's secret into the caller's locked buffer, which the caller wipes; falls back
 * to a retiring version only while no active one opens. `origin` is where the key is about to be sent
 * (scheme://host[:port], lower case, default port left out): another than the secret's own is refused.
 */
ReeveResult reeve_secret_open(Reeve *reeve, const ReeveSnapshot *snapshot, const ReeveConnection *connection,
    const char *origin, uint8_t *out, size_t out_size, size_t *ret_len, int64_t *ret_version);

/* --- status --- */

typedef enum ReeveFreshness { REEVE_EMPTY, REEVE_FRESH, REEVE_STALE, REEVE_HARD_EXPIRED } ReeveFreshness;

typedef struct ReeveStatus {
    ReeveFreshness freshness;
    int64_t seq;         /* active; 0: none */
    int64_t age_us;      /* since the control plane last said, signed, that this was the newest */
    int64_t generation;  /* of the fleet key */
    int64_t activations; /* since open */
    int64_t refusals;    /* offers refused since open */
    bool enrolled;
    bool revoked;
    char data_plane[40];    /* dpl_…; empty before enrolment */
    char fleet[40];         /* flt_… */
    char installation[40];  /* ins_… */
    char error_code[48];    /* of the last failed turn; empty when the last one went well */
    char error_detail[256]; /* a sentence */
} ReeveStatus;
void reeve_status(Reeve *reeve, ReeveStatus *ret_status);

/* A bearer token for this data plane's other calls to the control plane (usage events). NUL-terminated; REEVE_NONE when
 * there is none at the moment. The url is the control plane's, without a slash at its end. */
ReeveResult reeve_access_token(Reeve *reeve, char *out, size_t out_size);
ReeveResult reeve_control_url(Reeve *reeve, char *out, size_t out_size);

#ifdef __cplusplus
}
#endif

#endif
