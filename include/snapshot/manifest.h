/*
 * manifest.h: the signed page that says what one fleet runs: a sequence number, 256 shard digests, the generation of
 * the fleet key, who is revoked, and how long the page may be believed.
 *
 *   JWS (typ reeve-manifest+jws, a key of the root's role `manifest`) over
 *   { v, installation, fleet, seq, prev, issued_at, generation, revoked, max_stale_s, hard_expiry, shards[256],
 *     checkpoint | null, receipts, min_client? }
 *
 *     TRY(manifest_verify(arena, jws, root_keys(&root, "manifest"), &manifest));
 *
 * A manifest is named by the digest of its JWS text: `prev` and heartbeats mean that.
 */
#ifndef SNAPSHOT_MANIFEST_H
#define SNAPSHOT_MANIFEST_H

#include "base/id.h"
#include "crypto/jose.h"

#define MANIFEST_TYP "reeve-manifest+jws"
#define MANIFEST_VERSION 1
#define MANIFEST_SHARDS 256
#define MANIFEST_REVOKED_MAX 1024
#define MANIFEST_BYTES_MAX (256 * 1024)
#define WIRE_INT_MAX ((INT64_C(1) << 53) - 1) /* beyond it JSON readers disagree */
/* What this reader can do; a manifest whose min_client is higher is refused. */
#define SNAPSHOT_CLIENT_LEVEL 1

/* The tree head of the installation's log of logs. */
typedef struct ManifestCheckpoint {
    Str origin; /* ptr NULL: none yet */
    int64_t size;
    Digest root;
} ManifestCheckpoint;

/* The head of the keeper's receipt chain, so that data planes witness a missing tail. */
typedef struct ManifestReceipts {
    Str boot; /* ptr NULL: none */
    int64_t count;
    Digest head;
} ManifestReceipts;

typedef struct Manifest {
    Uuid installation;
    Uuid fleet;
    int64_t seq; /* 1 or more */
    bool has_prev;
    Digest prev; /* of the JWS text of the manifest before */
    Time issued_at;
    int64_t generation;
    Uuids revoked; /* data planes */
    int64_t max_stale_s;
    Time hard_expiry;
    const Digest *shards; /* MANIFEST_SHARDS of them */
    ManifestCheckpoint checkpoint;
    ManifestReceipts receipts;
    int64_t min_client; /* 0: any */
} Manifest;

/* The payload to sign. The caller gives sane values: what manifest_parse would refuse ends the program. */
Str manifest_build(Arena *arena, const Manifest *manifest);
/* ERR_INVALID: "manifest-malformed" (fields say where), "version-unsupported", "client-too-old". */
CHECKED Err manifest_parse(Arena *arena, Str payload, Manifest *ret_manifest);
/* Checks signature and typ, then parses. */
CHECKED Err manifest_verify(Arena *arena, Str jws, KeySet keys, Manifest *ret_manifest);
bool manifest_revokes(const Manifest *manifest, Uuid data_plane);

#endif
