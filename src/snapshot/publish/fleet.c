/*
 * fleet.c: the touched shards of every fleet, and the manifests that name them.
 */
#include "parts.h"

#include <string.h>

typedef struct Entries {
    ShardEntry *items;
    size_t count;
} Entries;

/* The entries that stay: those of projects that this round does not replace in this fleet. */
static bool is_replaced(const Round *round, const FleetWork *fleet, const PublishRow *row)
{
    for (size_t p = 0; p < round->project_count; p++) {
        const ProjectWork *project = &round->projects[p];
        if (!uuid_eq(project->id, row->project) || !uuid_eq(project->org, row->org) || !project->changed)
            continue;
        for (size_t i = 0; i < project->next_count; i++)
            if (project->next[i].fleet == fleet)
                return true;
    }
    return false;
}

static ShardEntry entry_of(const PublishRow *row)
{
    ShardEntry entry = {
        .kind = row->kind, .org = row->org, .project = row->project, .version = row->version, .length = row->length
    };
    memcpy(entry.sha256.b, row->digest.ptr, sizeof entry.sha256.b);
    return entry;
}

static size_t count_next(const Round *round)
{
    size_t count = 0;
    for (size_t p = 0; p < round->project_count; p++)
        count += round->projects[p].next_count;
    return count;
}

static Err collect(Round *round, const FleetWork *fleet, int number, Entries *entries)
{
    PublishRow in = { .fleet = fleet->id, .shard = number };
    List rows = { 0 };
    TRY(db_list(round->db, round->arena, &SQL_PUBLISH_ENTRIES_OF_SHARD, REC(&PUBLISH_ROW_FIELDS, &in),
        &PUBLISH_ROW_FIELDS, &rows));
    entries->items = NEW(round->arena, ShardEntry, rows.count + count_next(round) + 1);
    for (size_t i = 0; i < rows.count; i++)
        if (!is_replaced(round, fleet, ROW_AT(rows, i)))
            entries->items[entries->count++] = entry_of(ROW_AT(rows, i));
    for (size_t p = 0; p < round->project_count; p++) {
        const ProjectWork *project = &round->projects[p];
        if (!project->changed || shard_of_project(project->id) != number)
            continue;
        for (size_t i = 0; i < project->next_count; i++)
            if (project->next[i].fleet == fleet)
                entries->items[entries->count++] = project->next[i].entry;
    }
    if (entries->count > SHARD_OBJECTS_MAX)
        return FAIL(ERR_LIMITED, "shard-full", "A shard would hold more than 65536 objects.");
    return OK;
}

static Err make_shard(Round *round, FleetWork *fleet, int number)
{
    Entries entries = { 0 };
    if (fleet->touched[number])
        TRY(collect(round, fleet, number, &entries));
    Shard shard = { .number = number, .entries = entries.items, .count = entries.count };
    Str body = shard_build(round->arena, &shard);
    Digest digest = digest_of(str_bytes(body));
    if (fleet->seq > 0 && digest_eq(digest, fleet->shards[number]))
        return OK;
    fleet->shards[number] = digest;
    fleet->bodies[number] = body;
    fleet->issue = true;
    return OK;
}

static bool must_reissue(const Round *round, const FleetWork *fleet)
{
    if (fleet->seq == 0 || !str_eq(fleet->settings, fleet->head_settings))
        return true;
    int64_t checkpoint_s = round->publisher->options.checkpoint_s;
    if (checkpoint_s == 0)
        checkpoint_s = PUBLISH_CHECKPOINT_S;
    if (round->checkpoint.size > fleet->head_checkpoint &&
        !time_before(round->now, time_add_s(fleet->head_issued, checkpoint_s)))
        return true;
    int64_t before_s = round->publisher->options.reissue_s;
    if (before_s == 0)
        before_s = fleet->hard_expiry_s / 2;
    return !time_before(time_add_s(round->now, before_s), fleet->head_expiry);
}

Err round_shards(Round *round)
{
    for (size_t i = 0; i < round->fleet_count; i++) {
        FleetWork *fleet = &round->fleets[i];
        for (int n = 0; n < MANIFEST_SHARDS; n++)
            if (fleet->touched[n] || fleet->seq == 0)
                TRY(make_shard(round, fleet, n));
        fleet->issue = fleet->issue || must_reissue(round, fleet);
    }
    return OK;
}

static Err sign(Round *round, FleetWork *fleet)
{
    fleet->manifest = (Manifest){
        .installation = round->installation,
        .fleet = fleet->id,
        .seq = fleet->seq + 1,
        .has_prev = fleet->seq > 0,
        .prev = fleet->head,
        .issued_at = round->now,
        .generation = fleet->generation,
        .revoked = fleet->revoked,
        .max_stale_s = fleet->max_stale_s,
        .hard_expiry = time_add_s(round->now, fleet->hard_expiry_s),
        .shards = fleet->shards,
        .checkpoint = round->checkpoint,
    };
    return keeper_sign_manifest(round->publisher->keeper, round->arena, &fleet->manifest, &fleet->jws);
}

Err round_manifests(Round *round)
{
    for (size_t i = 0; i < round->fleet_count; i++)
        if (round->fleets[i].issue)
            TRY(sign(round, &round->fleets[i]));
    return OK;
}
