/*
 * parts.h: one round of the publisher: what it read, what it made, what it will commit. All of it in the round's arena.
 */
#ifndef SNAPSHOT_PUBLISH_PARTS_H
#define SNAPSHOT_PUBLISH_PARTS_H

#include "snapshot/keyring.h"
#include "snapshot/object.h"
#include "snapshot/publish.h"
#include "snapshot/shard.h"
#include "store/lease.h"
#include "store/sql.h"

/* A row of any statement of sql/publish.sql: each takes and fills the members it names. */
typedef struct PublishRow {
    Uuid id, org, project, fleet, secret, workflow, revision;
    Str name, dialect, base_url, origin, state, salt, kind, kms_uri, settings, jwe, jws;
    int64_t number, version, generation, percent, key_version, seq, shard, length, limit, max_stale_s, hard_expiry_s,
        checkpoint_size;
    bool live;
    Time not_after, hard_expiry, issued_at;
    Bytes digest, content, body, wrapped, envelope, shards;
    List targets; /* RoutingTarget */
    RoutingRetry retry;
    Uuids orgs, ids;
    Str nothing;
} PublishRow;
extern const FieldTable PUBLISH_ROW_FIELDS;
#define ROW_AT(list, n) LIST_AT(PublishRow, list, n)

typedef struct FleetWork {
    Uuid id;
    int64_t generation;
    int64_t max_stale_s, hard_expiry_s;
    FleetKeyRef key;
    int64_t seq; /* of the head; 0: none */
    Digest head;
    Time head_issued, head_expiry;
    Str head_settings;
    int64_t head_checkpoint;        /* size of the log of logs that it states */
    Digest shards[MANIFEST_SHARDS]; /* current, then next */
    bool touched[MANIFEST_SHARDS];
    Str bodies[MANIFEST_SHARDS]; /* of the touched ones that changed; ptr NULL: unchanged */
    Uuids orgs;                  /* it may serve */
    Uuids revoked;
    Str settings;
    bool issue;
    Manifest manifest;
    Str jws;
} FleetWork;

typedef struct EntryWork {
    FleetWork *fleet;
    ShardEntry entry;
    Digest content;
} EntryWork;

/* One project: what its rows say, and its entries in every fleet as they will be. */
typedef struct ProjectWork {
    Uuid org, id;
    bool live;
    Routing routing;
    List versions; /* PublishRow of secret versions, grouped by secret */
    List sealed;   /* PublishRow */
    List entries;  /* PublishRow, as they are */
    int64_t counter;
    bool changed;
    EntryWork *next; /* of the fleets whose entries change */
    size_t next_count;
} ProjectWork;

typedef struct ObjectWork {
    Uuid org, project, fleet; /* fleet zero: for all */
    Str kind;
    Digest digest;
    Str body;
} ObjectWork;

typedef struct SealWork {
    PublishRow row; /* for publish_sealed_insert */
} SealWork;

typedef struct Round {
    Arena *arena;
    Publisher *publisher;
    Db *db; /* NULL while the keeper is asked */
    Time now;
    Uuid installation;
    ManifestCheckpoint checkpoint; /* of the log of logs; origin.ptr NULL: none yet */
    Uuids queue_orgs, queue_ids;
    ProjectWork *projects;
    size_t project_count;
    FleetWork *fleets;
    size_t fleet_count;
    ObjectWork *objects;
    size_t object_count, object_capacity;
    int64_t sealed;
} Round;

struct Publisher {
    Arena *arena;
    PublisherOptions options;
    Pool *pool;
    KeeperClient *keeper;
    Lease lease;
    Listener *listener;
    void *thread;
    _Atomic bool stopping;
    _Atomic int64_t rounds, manifests, objects, sealed, failures, last_round_us;
    int64_t swept_us;
    int64_t claimed_until_us;
};

/* rows.c: reads, each in short transactions */
CHECKED Err round_read(Round *round);
FleetWork *round_fleet(Round *round, Uuid fleet);
bool fleet_serves(const FleetWork *fleet, Uuid org);

/* project.c */
CHECKED Err round_seal(Round *round);  /* asks the keeper; stores what it sealed */
CHECKED Err round_build(Round *round); /* objects and entries */

/* fleet.c */
CHECKED Err round_shards(Round *round);    /* reads the other entries of touched shards */
CHECKED Err round_manifests(Round *round); /* asks the keeper */

/* commit.c */
CHECKED Err round_commit(Round *round, int *ret_manifests);
CHECKED Err publisher_sweep(Publisher *publisher, Db *db, Arena *arena);

#endif
