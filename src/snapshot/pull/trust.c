/*
 * trust.c: order, place and time.
 */
#include "trust.h"

#include "base/json.h"
#include "snapshot/pull.h"

#include <string.h>

bool trust_mark_binds(const Trust *trust)
{
    KeySet keys = root_keys(trust->root, "manifest");
    for (size_t i = 0; trust->mark.seq > 0 && i < keys.count; i++)
        if (strcmp(keys.items[i].kid, trust->mark.kid) == 0)
            return true;
    return false;
}

static Err check_root(const Trust *trust, Time now)
{
    if (!time_before(now, trust->root->expires))
        return FAIL(
            ERR_INVALID, "root-expired", "The root has expired; nothing new can be believed until its successor.");
    return OK;
}

static Err check_place(const Trust *trust, Uuid installation, Uuid fleet)
{
    if (!uuid_eq(installation, trust->installation))
        return FAIL(ERR_INVALID, "manifest-other-installation", "The document is of another installation.");
    if (!uuid_eq(fleet, trust->fleet))
        return FAIL(ERR_INVALID, "manifest-other-fleet", "The document is of another fleet.");
    return OK;
}

/* "reeve/ins_…": the log whose leaves are the checkpoints of every organization's log. */
static Err check_log(const Trust *trust, Arena *arena, const ManifestCheckpoint *checkpoint)
{
    Str own = arena_fmt(arena, "reeve/" STR_FMT, STR_ARG(typeid_format(arena, STR("ins"), trust->installation)));
    if (checkpoint->origin.ptr != NULL && !str_eq(checkpoint->origin, own))
        return FAIL(ERR_INVALID, "checkpoint-other-log", "The manifest's checkpoint is of another audit log.");
    return OK;
}

static Err read_manifest(const Trust *trust, Arena *arena, Str jws, Manifest *ret_manifest, Mark *ret_mark)
{
    Str payload = STR(""), kid = STR("");
    if (jws.len > MANIFEST_BYTES_MAX)
        return FAIL(ERR_INVALID, "manifest-malformed", "The manifest is longer than its limit.");
    TRY(jws_verify(arena, jws, root_keys(trust->root, "manifest"), STR(MANIFEST_TYP), &payload, &kid));
    TRY(manifest_parse(arena, payload, ret_manifest));
    TRY(check_place(trust, ret_manifest->installation, ret_manifest->fleet));
    TRY(check_log(trust, arena, &ret_manifest->checkpoint));
    Mark mark = {
        .seq = ret_manifest->seq,
        .manifest = digest_of(str_bytes(jws)),
        .generation = ret_manifest->generation,
        .signed_time = ret_manifest->issued_at,
        .checkpoint_size = ret_manifest->checkpoint.size,
        .checkpoint_root = ret_manifest->checkpoint.root,
    };
    memcpy(mark.kid, kid.ptr, kid.len < KID_LEN ? kid.len : KID_LEN);
    *ret_mark = mark;
    return OK;
}

/* An audit log only grows. One that shrank, vanished or has two roots at one size was rewritten. */
static Err check_witness(const Mark *mark, const ManifestCheckpoint *checkpoint)
{
    if (checkpoint->size < mark->checkpoint_size)
        return FAIL(ERR_INVALID, "checkpoint-rolled-back", "The audit log is shorter than it was.");
    if (checkpoint->size == mark->checkpoint_size && mark->checkpoint_size > 0 &&
        !digest_eq(checkpoint->root, mark->checkpoint_root))
        return FAIL(ERR_INVALID, "checkpoint-equivocation", "The audit log has two roots at one size.");
    return OK;
}

/* Against the mark: up is new, the same is the same, anything else is an attack or a mistake. */
static Err check_order(const Trust *trust, const Manifest *manifest, Digest digest, int64_t active_seq)
{
    const Mark *mark = &trust->mark;
    if (manifest->seq < mark->seq)
        return FAIL(ERR_INVALID, "manifest-rolled-back", "The manifest's number is below one that was active.");
    if (manifest->seq == mark->seq && !digest_eq(digest, mark->manifest))
        return FAIL(ERR_INVALID, "manifest-equivocation", "Two different manifests bear one number.");
    if (manifest->generation < mark->generation)
        return FAIL(ERR_INVALID, "generation-rolled-back", "The fleet key's generation went down.");
    if (manifest->seq == mark->seq + 1 && active_seq == mark->seq &&
        (!manifest->has_prev || !digest_eq(manifest->prev, mark->manifest)))
        return FAIL(ERR_INVALID, "manifest-broken-chain", "The manifest does not follow the active one.");
    return check_witness(mark, &manifest->checkpoint);
}

static Err check_time(const Manifest *manifest, Time now)
{
    if (time_before(time_add_s(now, PULL_CLOCK_SKEW_S), manifest->issued_at))
        return FAIL(ERR_INVALID, "manifest-from-the-future", "The manifest was signed later than our clock says.");
    if (!time_before(now, manifest->hard_expiry))
        return FAIL(ERR_INVALID, "manifest-expired", "The manifest's hard expiry has passed.");
    return OK;
}

Err trust_manifest(const Trust *trust, Arena *arena, Str jws, Time now, int64_t active_seq, Manifest *ret_manifest,
    Mark *ret_mark, Offer *ret_offer)
{
    Manifest manifest;
    Mark mark;
    TRY(check_root(trust, now));
    TRY(read_manifest(trust, arena, jws, &manifest, &mark));
    bool binds = trust_mark_binds(trust);
    if (binds)
        TRY(check_order(trust, &manifest, mark.manifest, active_seq));
    TRY(check_time(&manifest, now));
    *ret_manifest = manifest;
    *ret_mark = mark;
    *ret_offer = binds && manifest.seq == active_seq && manifest.seq == trust->mark.seq ? OFFER_SAME : OFFER_NEW;
    return OK;
}

Err trust_manifest_at_rest(const Trust *trust, Arena *arena, Str jws, Manifest *ret_manifest, Mark *ret_mark)
{
    return read_manifest(trust, arena, jws, ret_manifest, ret_mark);
}

Err trust_heartbeat(const Trust *trust, Arena *arena, Str jws, Time now, int64_t active_seq, Heartbeat *ret_heartbeat)
{
    Heartbeat heartbeat;
    TRY(check_root(trust, now));
    TRY(heartbeat_verify(arena, jws, root_keys(trust->root, "manifest"), &heartbeat));
    if (!uuid_eq(heartbeat.installation, trust->installation))
        return FAIL(ERR_INVALID, "heartbeat-other-installation", "The heartbeat is of another installation.");
    if (!uuid_eq(heartbeat.fleet, trust->fleet))
        return FAIL(ERR_INVALID, "heartbeat-other-fleet", "The heartbeat is of another fleet.");
    if (heartbeat.seq != active_seq || !digest_eq(heartbeat.manifest, trust->mark.manifest))
        return FAIL(ERR_INVALID, "heartbeat-other-manifest", "The heartbeat speaks of a manifest that is not active.");
    if (time_before(time_add_s(now, PULL_CLOCK_SKEW_S), heartbeat.now))
        return FAIL(ERR_INVALID, "heartbeat-from-the-future", "The heartbeat was signed later than our clock says.");
    if (!time_before(now, heartbeat.expires))
        return FAIL(ERR_INVALID, "heartbeat-expired", "The heartbeat has expired, or our clock is ahead.");
    *ret_heartbeat = heartbeat;
    return OK;
}

static Err check_keyring(const Trust *trust, const Keyring *keyring, int64_t generation)
{
    if (!uuid_eq(keyring->installation, trust->installation))
        return FAIL(ERR_INVALID, "keyring-other-installation", "The keyring is of another installation.");
    if (!uuid_eq(keyring->fleet, trust->fleet))
        return FAIL(ERR_INVALID, "keyring-other-fleet", "The keyring is of another fleet.");
    if (!uuid_eq(keyring->data_plane, trust->data_plane))
        return FAIL(ERR_INVALID, "keyring-other-data-plane", "The keyring is of another data plane.");
    if (keyring->generation != generation)
        return FAIL(ERR_INVALID, "keyring-other-generation", "The keyring is of another generation.");
    return OK;
}

Err trust_keyring(
    const Trust *trust, Arena *arena, Str jws, int64_t generation, const KeyPair *encrypt, Secret *ret_fleet_key)
{
    Keyring keyring;
    TRY(keyring_verify(arena, jws, root_keys(trust->root, "manifest"), &keyring));
    TRY(check_keyring(trust, &keyring, generation));
    _cleanup_(json_release) json_t *none = json_object();
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(jwe_open_from(arena, encrypt, STR(FLEET_KEY_TYP), none, keyring.jwe, &key));
    if (key.len != FLEET_KEY_BYTES)
        return FAIL(ERR_SEALED, "cannot-open", "The fleet key cannot be opened.");
    *ret_fleet_key = TAKE(key);
    return OK;
}

/* --- shards --- */

static Err refuse_entry(Arena *arena, const ShardEntry *entry, const char *code, const char *why)
{
    Str project = typeid_format(arena, STR("prj"), entry->project);
    return (Err){ .kind = ERR_INVALID,
        .code = str_from_c(code),
        .detail =
            arena_fmt(arena, "Object " STR_FMT " of " STR_FMT " %s.", STR_ARG(entry->kind), STR_ARG(project), why) };
}

static bool same_project(const ShardEntry *a, const ShardEntry *b)
{
    return uuid_eq(a->org, b->org) && uuid_eq(a->project, b->project);
}

static Err check_successor(Arena *arena, const ShardEntry *before, const ShardEntry *after)
{
    if (after->version < before->version)
        return refuse_entry(arena, before, "object-rolled-back", "went back to a lower version");
    if (after->version == before->version && !digest_eq(after->sha256, before->sha256))
        return refuse_entry(arena, before, "object-equivocation", "has two contents for one version");
    return OK;
}

/* The entries of one project in both shards. A tombstone stands alone in its group. */
static Err check_project(
    Arena *arena, const ShardEntry *before, size_t before_count, const ShardEntry *after, size_t after_count)
{
    bool buried = after_count == 1 && shard_entry_is_tombstone(after);
    if (after_count == 0)
        return refuse_entry(arena, before, shard_entry_is_tombstone(before) ? "tombstone-vanished" : "project-vanished",
            "left without a tombstone");
    for (size_t i = 0; i < before_count; i++) {
        bool was_buried = shard_entry_is_tombstone(&before[i]), met = false;
        for (size_t j = 0; j < after_count; j++) {
            if (str_eq(before[i].kind, after[j].kind)) {
                TRY(check_successor(arena, &before[i], &after[j]));
                met = true;
            } else if ((buried || was_buried) && after[j].version <= before[i].version) {
                return refuse_entry(arena, &after[j], "object-rolled-back", "does not rise above what it replaces");
            }
        }
        if (!met && !buried && !was_buried)
            return refuse_entry(arena, &before[i], "project-vanished", "left while its project stayed");
    }
    return OK;
}

static size_t group_of(const Shard *shard, size_t from)
{
    size_t end = from + 1;
    while (end < shard->count && same_project(&shard->entries[from], &shard->entries[end]))
        end++;
    return end - from;
}

static int compare_projects(const ShardEntry *a, const ShardEntry *b)
{
    int order = uuid_compare(a->org, b->org);
    return order != 0 ? order : uuid_compare(a->project, b->project);
}

Err trust_shard(Arena *arena, const Shard *before, const Shard *after)
{
    size_t i = 0, j = 0;
    while (before != NULL && i < before->count) {
        const ShardEntry *entry = &before->entries[i];
        while (j < after->count && compare_projects(&after->entries[j], entry) < 0)
            j++;
        bool found = j < after->count && compare_projects(&after->entries[j], entry) == 0;
        size_t old_count = group_of(before, i), new_count = found ? group_of(after, j) : 0;
        TRY(check_project(arena, entry, old_count, found ? &after->entries[j] : NULL, new_count));
        i += old_count;
    }
    return OK;
}
