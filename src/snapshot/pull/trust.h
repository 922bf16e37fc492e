/*
 * trust.h: what a data plane believes, and the rules by which signed words change that.
 *
 * Pure: no files, no network, no clock of its own; every rule of docs/SNAPSHOTS.md about order and time is here.
 */
#ifndef SNAPSHOT_PULL_TRUST_H
#define SNAPSHOT_PULL_TRUST_H

#include "snapshot/heartbeat.h"
#include "snapshot/keyring.h"
#include "snapshot/root.h"
#include "snapshot/shard.h"

/* The high-water mark: what was activated last, and by whose signature. */
typedef struct Mark {
    int64_t seq; /* 0: nothing yet */
    Digest manifest;
    int64_t generation;
    char kid[KID_LEN + 1]; /* the manifest key that signed it */
    Time signed_time;      /* the latest moment a manifest key vouched for */
    /* Of the installation's audit log, as the last activated manifest stated it: data planes are its witnesses. */
    int64_t checkpoint_size; /* 0: none yet */
    Digest checkpoint_root;
} Mark;

typedef struct Trust {
    Uuid installation;
    Uuid fleet;
    Uuid data_plane;
    const Root *root;
    Mark mark;
} Trust;

typedef enum Offer {
    OFFER_NEW,  /* to be fetched and activated */
    OFFER_SAME, /* the one that is active */
} Offer;

/* Whether the mark still binds: not once the key that signed it has left the root (recovery from a stolen key that
 * signed the highest number there is). */
bool trust_mark_binds(const Trust *trust);

/* Errors: jose-…, manifest-malformed, version-unsupported, client-too-old, root-expired, manifest-other-installation,
 * manifest-other-fleet, manifest-rolled-back, manifest-equivocation, manifest-broken-chain, generation-rolled-back,
 * checkpoint-other-log, checkpoint-rolled-back, checkpoint-equivocation, manifest-from-the-future, manifest-expired.
 * active_seq 0: nothing is active. */
CHECKED Err trust_manifest(const Trust *trust, Arena *arena, Str jws, Time now, int64_t active_seq,
    Manifest *ret_manifest, Mark *ret_mark, Offer *ret_offer);

/* At start, from our own files: signature, place and expiry; order is the mark's matter. */
CHECKED Err trust_manifest_at_rest(const Trust *trust, Arena *arena, Str jws, Manifest *ret_manifest, Mark *ret_mark);

/* heartbeat-malformed, heartbeat-other-installation, heartbeat-other-fleet, heartbeat-other-manifest,
 * heartbeat-expired, heartbeat-from-the-future, heartbeat-replayed. */
CHECKED Err trust_heartbeat(
    const Trust *trust, Arena *arena, Str jws, Time now, int64_t active_seq, Heartbeat *ret_heartbeat);

/* keyring-other-installation, keyring-other-fleet, keyring-other-data-plane, keyring-other-generation, cannot-open. */
CHECKED Err trust_keyring(
    const Trust *trust, Arena *arena, Str jws, int64_t generation, const KeyPair *encrypt, Secret *ret_fleet_key);

/* Between the shard that is active (NULL: none) and its successor: object-rolled-back, object-equivocation,
 * project-vanished, tombstone-vanished. */
CHECKED Err trust_shard(Arena *arena, const Shard *before, const Shard *after);

#endif
