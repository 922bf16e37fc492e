/*
 * shard.h: one 256th of a fleet's objects: which bytes, by digest and exact length, belong to which project.
 *
 *   { v, shard: n, objects: [ { kind, org, project, version, length, sha256, critical? } … ] }
 *
 * Unsigned: a manifest names it by digest. Entries are strictly sorted by (org, project, kind), so one set of objects
 * has one spelling and nothing stands twice. An object's version only rises. A project that leaves does so by an entry
 * of kind "tombstone" (length 0, digest of nothing) with a version above all it had; it stays until the project
 * returns.
 */
#ifndef SNAPSHOT_SHARD_H
#define SNAPSHOT_SHARD_H

#include "base/id.h"
#include "crypto/digest.h"

#define SHARD_VERSION 1
#define SHARD_OBJECTS_MAX 65536
#define SHARD_BYTES_MAX (16 * 1024 * 1024)
#define SHARD_KIND_BYTES_MAX 32

#define KIND_ROUTING "routing"
#define KIND_SECRETS "secrets"
#define KIND_TOMBSTONE "tombstone"

typedef struct ShardEntry {
    Str kind;
    Uuid org;
    Uuid project;
    int64_t version;
    int64_t length; /* of the object in bytes */
    Digest sha256;
    bool critical; /* who does not know this kind must refuse the snapshot */
} ShardEntry;

typedef struct Shard {
    int64_t number;
    ShardEntry *entries; /* sorted */
    size_t count;
} Shard;

int shard_of_project(Uuid project); /* the first byte of SHA-256 of its 16 bytes */
int shard_entry_compare(const ShardEntry *a, const ShardEntry *b);
ShardEntry shard_tombstone(Uuid org, Uuid project, int64_t version);
bool shard_entry_is_tombstone(const ShardEntry *entry);

/* Sorts the entries; they are at most SHARD_OBJECTS_MAX and nothing stands twice. */
Str shard_build(Arena *arena, Shard *shard);
/* Refuses another number than the manifest's place: ERR_INVALID "shard-malformed", "version-unsupported". */
CHECKED Err shard_parse(Arena *arena, Str text, int number, Shard *ret_shard);
/* The entry, or NULL. */
const ShardEntry *shard_find(const Shard *shard, Uuid org, Uuid project, Str kind);

#endif
