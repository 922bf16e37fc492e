/*
 * commit.c: everything of a round in one transaction, behind the lease; or nothing.
 */
#include "parts.h"

static Err run(Round *round, const Stmt *stmt, const PublishRow *row)
{
    return db_exec(round->db, round->arena, stmt, REC(&PUBLISH_ROW_FIELDS, (void *)(uintptr_t)row),
        /* ret_rows= */ NULL);
}

static Err put_object(Round *round, const ObjectWork *object)
{
    return run(round, &SQL_PUBLISH_OBJECT_INSERT,
        &(PublishRow){ .org = object->org,
            .digest = digest_bytes(&object->digest),
            .project = object->project,
            .kind = object->kind,
            .fleet = object->fleet,
            .body = str_bytes(object->body) });
}

static Err put_entry(Round *round, const EntryWork *next)
{
    const ShardEntry *entry = &next->entry;
    return run(round, &SQL_PUBLISH_ENTRY_INSERT,
        &(PublishRow){ .org = entry->org,
            .project = entry->project,
            .fleet = next->fleet->id,
            .kind = entry->kind,
            .shard = shard_of_project(entry->project),
            .version = entry->version,
            .length = entry->length,
            .digest = digest_bytes(&entry->sha256),
            .content = digest_bytes(&next->content) });
}

static Err put_project(Round *round, const ProjectWork *project)
{
    PublishRow row = { .org = project->org, .project = project->id, .version = project->counter };
    if (!project->changed)
        return OK;
    TRY(run(round, &SQL_PUBLISH_COUNTER_SET, &row));
    for (size_t i = 0; i < project->next_count; i++) {
        row.fleet = project->next[i].fleet->id;
        if (i == 0 || project->next[i].fleet != project->next[i - 1].fleet)
            TRY(run(round, &SQL_PUBLISH_ENTRIES_DELETE, &row));
        TRY(put_entry(round, &project->next[i]));
    }
    return run(round, &SQL_PUBLISH_OBJECTS_REPLACED, &row);
}

static Err put_shards(Round *round, const FleetWork *fleet)
{
    for (int n = 0; n < MANIFEST_SHARDS; n++) {
        if (fleet->bodies[n].ptr == NULL)
            continue;
        PublishRow row = { .fleet = fleet->id,
            .shard = n,
            .digest = digest_bytes(&fleet->shards[n]),
            .body = str_bytes(fleet->bodies[n]) };
        if (fleet->seq > 0)
            TRY(run(round, &SQL_PUBLISH_SHARD_REPLACE, &row));
        TRY(run(round, &SQL_PUBLISH_SHARD_INSERT, &row));
    }
    return OK;
}

static Err put_manifest(Round *round, const FleetWork *fleet)
{
    Digest digest = digest_of(str_bytes(fleet->jws));
    PublishRow row = {
        .fleet = fleet->id,
        .seq = fleet->manifest.seq,
        .digest = digest_bytes(&digest),
        .jws = fleet->jws,
        .generation = fleet->generation,
        .settings = fleet->settings,
        .shards = { .ptr = (const uint8_t *)fleet->shards, .len = sizeof fleet->shards },
        .issued_at = fleet->manifest.issued_at,
        .hard_expiry = fleet->manifest.hard_expiry,
        .checkpoint_size = fleet->manifest.checkpoint.size,
    };
    TRY(put_shards(round, fleet));
    TRY(run(round, &SQL_PUBLISH_MANIFEST_INSERT, &row));
    TRY(run(round, &SQL_PUBLISH_OFFERED, &row));
    return run(round, &SQL_PUBLISH_NOTIFY, &row);
}

static Err put_all(Round *round, int *ret_manifests)
{
    int manifests = 0;
    TRY(lease_hold(round->db, round->arena, &round->publisher->lease));
    for (size_t i = 0; i < round->object_count; i++)
        TRY(put_object(round, &round->objects[i]));
    for (size_t i = 0; i < round->project_count; i++)
        TRY(put_project(round, &round->projects[i]));
    for (size_t i = 0; i < round->fleet_count; i++) {
        if (!round->fleets[i].issue)
            continue;
        TRY(put_manifest(round, &round->fleets[i]));
        manifests++;
    }
    if (round->queue_ids.count > 0)
        TRY(run(round, &SQL_PUBLISH_QUEUE_DELETE, &(PublishRow){ .orgs = round->queue_orgs, .ids = round->queue_ids }));
    *ret_manifests = manifests;
    return OK;
}

static bool is_idle(const Round *round)
{
    for (size_t i = 0; i < round->fleet_count; i++)
        if (round->fleets[i].issue)
            return false;
    return round->queue_ids.count == 0;
}

Err round_commit(Round *round, int *ret_manifests)
{
    int manifests = 0;
    *ret_manifests = 0;
    if (is_idle(round))
        return OK;
    TRY(tx_begin(round->db));
    Err err = put_all(round, &manifests);
    if (err.kind != ERR_NONE) {
        tx_rollback(round->db);
        return err;
    }
    TRY(tx_commit(round->db));
    *ret_manifests = manifests;
    return OK;
}

Err publisher_sweep(Publisher *publisher, Db *db, Arena *arena)
{
    PublishRow none = { 0 };
    static const Stmt *const sweeps[] = { &SQL_PUBLISH_SWEEP_OBJECTS, &SQL_PUBLISH_SWEEP_SHARDS,
        &SQL_PUBLISH_SWEEP_MANIFESTS };
    publisher->swept_us = monotonic_us();
    for (size_t i = 0; i < COUNT_OF(sweeps); i++)
        TRY(db_exec(db, arena, sweeps[i], REC(&PUBLISH_ROW_FIELDS, &none), /* ret_rows= */ NULL));
    return OK;
}
