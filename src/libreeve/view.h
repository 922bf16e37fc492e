/*
 * view.h: a snapshot as look-ups: client keys, projects, workflows, connections, sealed secrets ready to be opened.
 *
 * Projects that did not change are shared between snapshots; a project's memory ends with the last snapshot that has
 * it.
 */
#ifndef LIBREEVE_VIEW_H
#define LIBREEVE_VIEW_H

#include "reeve/reeve.h"
#include "snapshot/object.h"
#include "snapshot/pull.h"

typedef struct SecretVersionView {
    int64_t version;
    bool active;
    Time not_after; /* the earlier of the object's and the header's; none: no end */
    const char *origin;
    JwePrepared sealed;
} SecretVersionView;

struct ProjectView;
typedef struct SecretView {
    const struct ProjectView *project;
    Uuid id;
    SecretVersionView *versions; /* the active one first */
    size_t count;
} SecretView;

typedef struct ProjectView {
    _Atomic int64_t holders;
    Arena *arena;
    int shard;
    Uuid org, id;
    Digest routing, secrets; /* of the objects it was made of */
    int64_t generation;
    Secret delivery;
    ReeveProject face;
    ReeveClientKey *keys;
    Digest *key_digests;
    size_t key_count;
    SecretView *secret_views;
    size_t secret_count;
} ProjectView;

typedef struct KeySlot {
    const Digest *digest; /* NULL: empty */
    const ReeveClientKey *key;
} KeySlot;

struct ReeveSnapshot {
    PullView view;
    Arena *arena;
    ProjectView **projects; /* in the order of the entries */
    size_t project_count;
    KeySlot *slots;
    size_t slot_mask;
};

/* The builder of libreeve's views. */
PullBuilder view_builder(void);
const KeySlot *view_find_key(const ReeveSnapshot *snapshot, const Digest *digest);

#endif
