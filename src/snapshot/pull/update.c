/*
 * update.c: from a believed manifest to an active view: shards, objects, keyring, view, files, swap. In that order, and
 * nothing before the swap changes what readers see.
 */
#include "parts.h"

#include "snapshot/object.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(offsetof(PullView, cell) == 0, "a view begins with its place in the cell");
static_assert(sizeof(CellItem) == sizeof(((PullView *)0)->cell), "the cell's place is as large as it needs");

/* --- document sets --- */

static void shard_state_free(ShardState *shard)
{
    if (shard != NULL) {
        Arena *arena = shard->arena;
        arena_free(&arena);
    }
}

void document_set_free(DocumentSet **set, const DocumentSet *keep)
{
    if (*set == NULL)
        return;
    for (size_t i = 0; i < MANIFEST_SHARDS; i++)
        if (keep == NULL || keep->shards[i] != (*set)->shards[i])
            shard_state_free((*set)->shards[i]);
    Arena *arena = (*set)->arena;
    *set = NULL;
    arena_free(&arena);
}

static DocumentSet *document_set_new(const Puller *puller, const Manifest *manifest, const Mark *mark)
{
    Arena *arena = arena_new();
    DocumentSet *set = NEW(arena, DocumentSet, 1);
    set->arena = arena;
    set->manifest = *manifest;
    set->mark = *mark;
    Digest *shards = NEW(arena, Digest, MANIFEST_SHARDS);
    memcpy(shards, manifest->shards, MANIFEST_SHARDS * sizeof *shards);
    set->manifest.shards = shards;
    Uuid *revoked = NEW(arena, Uuid, manifest->revoked.count + 1);
    if (manifest->revoked.count > 0)
        memcpy(revoked, manifest->revoked.items, manifest->revoked.count * sizeof *revoked);
    set->manifest.revoked.items = revoked;
    set->manifest.checkpoint.origin = arena_str(arena, manifest->checkpoint.origin);
    set->manifest.receipts.boot = arena_str(arena, manifest->receipts.boot);
    for (size_t i = 0; puller->active != NULL && i < MANIFEST_SHARDS; i++)
        if (digest_eq(puller->active->shards[i]->digest, shards[i]))
            set->shards[i] = puller->active->shards[i];
    return set;
}

/* --- shards --- */

static Str empty_shard(Arena *arena, int number)
{
    Shard shard = { .number = number };
    return shard_build(arena, &shard);
}

/* Shards that are new, not empty and not on disk. */
static Err fetch_shards(Puller *puller, Arena *arena, const DocumentSet *set)
{
    FetchItem *items = NEW(arena, FetchItem, MANIFEST_SHARDS);
    size_t count = 0;
    for (int i = 0; i < MANIFEST_SHARDS; i++) {
        Digest digest = set->manifest.shards[i];
        if (set->shards[i] != NULL || digest_eq(digest, digest_of(str_bytes(empty_shard(arena, i)))) ||
            state_has(puller->state, state_object_name(arena, digest)))
            continue;
        items[count++] = (FetchItem){ .digest = digest, .length = -1, .bytes_max = SHARD_BYTES_MAX };
    }
    return pull_fetch(puller, arena, items, count);
}

static Err check_kinds(const Puller *puller, const Shard *shard)
{
    for (size_t i = 0; i < shard->count; i++) {
        const ShardEntry *entry = &shard->entries[i];
        bool known = shard_entry_is_tombstone(entry);
        for (const char *const *kind = puller->options.builder.kinds; !known && *kind != NULL; kind++)
            known = str_eq(entry->kind, str_from_c(*kind));
        if (!known && entry->critical)
            return FAIL(
                ERR_INVALID, "kind-unknown", "The snapshot needs a kind of object that this client cannot read.");
    }
    return OK;
}

static Err read_shard(Puller *puller, ShardState *shard, int number)
{
    Str text = empty_shard(shard->arena, number);
    if (!digest_eq(shard->digest, digest_of(str_bytes(text))))
        TRY(state_object_get(puller->state, shard->arena, shard->digest, -1, SHARD_BYTES_MAX, &text));
    TRY(shard_parse(shard->arena, text, number, &shard->shard));
    return check_kinds(puller, &shard->shard);
}

static Err load_shard(Puller *puller, Arena *arena, DocumentSet *set, int number, bool in_order)
{
    Arena *own = arena_new();
    ShardState *shard = NEW(own, ShardState, 1);
    shard->arena = own;
    shard->digest = set->manifest.shards[number];
    set->shards[number] = shard;
    TRY(read_shard(puller, shard, number));
    if (puller->active != NULL && in_order)
        return trust_shard(arena, &puller->active->shards[number]->shard, &shard->shard);
    return OK;
}

static Err load_shards(Puller *puller, Arena *arena, DocumentSet *set, bool in_order)
{
    for (int i = 0; i < MANIFEST_SHARDS; i++)
        if (set->shards[i] == NULL)
            TRY(load_shard(puller, arena, set, i, in_order));
    return OK;
}

/* --- objects --- */

static bool is_wanted(const Puller *puller, const ShardEntry *entry)
{
    for (const char *const *kind = puller->options.builder.kinds; *kind != NULL; kind++)
        if (str_eq(entry->kind, str_from_c(*kind)))
            return true;
    return false;
}

static bool is_held(Puller *puller, Arena *arena, const DocumentSet *set, int number, const ShardEntry *entry)
{
    if (puller->active != NULL && puller->active->shards[number] != set->shards[number]) {
        const ShardEntry *before =
            shard_find(&puller->active->shards[number]->shard, entry->org, entry->project, entry->kind);
        if (before != NULL && digest_eq(before->sha256, entry->sha256))
            return true;
    }
    return state_has(puller->state, state_object_name(arena, entry->sha256));
}

static size_t changed_entries(const Puller *puller, const DocumentSet *set)
{
    size_t count = 0;
    for (int i = 0; i < MANIFEST_SHARDS; i++)
        if (puller->active == NULL || puller->active->shards[i] != set->shards[i])
            count += set->shards[i]->shard.count;
    return count;
}

static Err fetch_objects(Puller *puller, Arena *arena, const DocumentSet *set)
{
    FetchItem *items = NEW(arena, FetchItem, changed_entries(puller, set) + 1);
    size_t count = 0;
    for (int i = 0; i < MANIFEST_SHARDS; i++) {
        const ShardState *shard = set->shards[i];
        if (puller->active != NULL && puller->active->shards[i] == shard)
            continue;
        for (size_t n = 0; n < shard->shard.count; n++) {
            const ShardEntry *entry = &shard->shard.entries[n];
            if (is_wanted(puller, entry) && !is_held(puller, arena, set, i, entry))
                items[count++] = (FetchItem){ .digest = entry->sha256, .length = entry->length };
        }
    }
    return pull_fetch(puller, arena, items, count);
}

/* --- the view --- */

static Err list_entries(
    const Puller *puller, Arena *arena, const DocumentSet *set, const ShardEntry ***ret_entries, size_t *ret_count)
{
    size_t total = 0, count = 0;
    for (size_t i = 0; i < MANIFEST_SHARDS; i++)
        total += set->shards[i]->shard.count;
    if (total > PULL_OBJECTS_MAX)
        return FAIL(ERR_INVALID, "snapshot-too-large", "The snapshot has more than 1000000 objects.");
    const ShardEntry **entries = NEW(arena, const ShardEntry *, total + 1);
    for (size_t i = 0; i < MANIFEST_SHARDS; i++)
        for (size_t n = 0; n < set->shards[i]->shard.count; n++)
            if (is_wanted(puller, &set->shards[i]->shard.entries[n]))
                entries[count++] = &set->shards[i]->shard.entries[n];
    *ret_entries = entries;
    *ret_count = count;
    return OK;
}

Err pull_object(const PullUpdate *update, Arena *arena, const ShardEntry *entry, Str *ret_bytes)
{
    Puller *puller = update->source;
    return state_object_get(puller->state, arena, entry->sha256, entry->length, OBJECT_BYTES_MAX, ret_bytes);
}

static Err build_view(Puller *puller, Arena *arena, const DocumentSet *set, PullView **ret_view)
{
    PullUpdate update = {
        .manifest = &set->manifest,
        .data_plane = puller->identity.data_plane,
        .fleet_key = &puller->fleet_key,
        .before = puller_acquire(puller),
        .source = puller,
    };
    const ShardEntry **entries = NULL;
    PullView *view = NULL;
    Err err = list_entries(puller, arena, set, &entries, &update.count);
    update.entries = entries;
    if (err.kind == ERR_NONE)
        err = puller->options.builder.build(puller->options.builder.arg, arena, &update, &view);
    puller_release(puller, (PullView *)update.before);
    TRY(err);
    view->seq = set->manifest.seq;
    view->generation = set->manifest.generation;
    view->hard_expiry = set->manifest.hard_expiry;
    *ret_view = view;
    return OK;
}

/* --- files --- */

static Str manifest_name(Arena *arena, int64_t seq)
{
    return arena_fmt(arena, "manifests/%016lld.jws", (long long)seq);
}

/* The mark's file names what it needs to be read back by trust alone. */
void pull_write_mark(Puller *puller, Arena *arena)
{
    const Mark *mark = &puller->trust.mark;
    Str text = arena_fmt(arena, "2 %lld " STR_FMT " %lld %s %lld %lld " STR_FMT "\n", (long long)mark->seq,
        STR_ARG(digest_text(arena, mark->manifest)), (long long)mark->generation, mark->kid,
        (long long)mark->signed_time.us, (long long)mark->checkpoint_size,
        STR_ARG(digest_text(arena, mark->checkpoint_root)));
    Err err = state_write(puller->state, STR("mark"), text);
    if (err.kind == ERR_NONE)
        puller->mark_written_us = monotonic_us();
}

static bool take_number(Str *rest, int64_t *ret_number)
{
    Str head = STR("");
    str_cut(*rest, ' ', &head, rest);
    return str_to_i64(head, ret_number);
}

/* Version 1 had no checkpoint. */
static bool take_witness(Str rest, int64_t version, Mark *mark)
{
    if (version == 1)
        return rest.len == 0;
    return take_number(&rest, &mark->checkpoint_size) && digest_parse(rest, &mark->checkpoint_root).kind == ERR_NONE;
}

static bool read_mark(Puller *puller, Arena *arena, Mark *ret_mark)
{
    Str text = STR(""), head = STR("");
    Mark mark = { 0 };
    int64_t version = 0;
    if (state_read(puller->state, arena, STR("mark"), 1024, &text).kind != ERR_NONE || !str_ends_with(text, STR("\n")))
        return false;
    Str rest = str_first(text, text.len - 1);
    if (!take_number(&rest, &version) || version < 1 || version > 2 || !take_number(&rest, &mark.seq))
        return false;
    str_cut(rest, ' ', &head, &rest);
    if (digest_parse(head, &mark.manifest).kind != ERR_NONE || !take_number(&rest, &mark.generation))
        return false;
    str_cut(rest, ' ', &head, &rest);
    if (head.len != KID_LEN || !take_number(&rest, &mark.signed_time.us) || !take_witness(rest, version, &mark))
        return false;
    memcpy(mark.kid, head.ptr, KID_LEN);
    *ret_mark = mark;
    return true;
}

static void forget_old_manifests(Puller *puller, Arena *arena, int64_t current)
{
    Strs names = { 0 };
    if (state_list(puller->state, arena, STR("manifests"), &names).kind != ERR_NONE)
        return;
    Str own = str_skip(manifest_name(arena, current), sizeof "manifests/" - 1);
    size_t kept = 0;
    for (size_t i = names.count; i > 0; i--) {
        /* Higher numbers than the current one are of a time before the keys were replaced. */
        bool above = str_compare(names.items[i - 1], own) > 0;
        if (!above && kept < 2)
            kept++;
        else
            state_remove(puller->state, arena_fmt(arena, "manifests/" STR_FMT, STR_ARG(names.items[i - 1])));
    }
}

static Err persist(Puller *puller, Arena *arena, Str jws, const DocumentSet *set)
{
    TRY(state_write(puller->state, manifest_name(arena, set->manifest.seq), jws));
    puller->trust.mark = set->mark;
    pull_write_mark(puller, arena);
    forget_old_manifests(puller, arena, set->manifest.seq);
    atomic_store(&puller->dirty, true);
    return OK;
}

/* --- sweeping objects that neither kept manifest names --- */

static int compare_digests(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(Digest));
}

typedef struct DigestList {
    Digest *items;
    size_t count, capacity;
} DigestList;

static void add_digest(Arena *arena, DigestList *list, Digest digest)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 1024 : list->capacity * 2;
        Digest *grown = NEW(arena, Digest, capacity);
        if (list->count > 0)
            memcpy(grown, list->items, list->count * sizeof *grown);
        *list = (DigestList){ .items = grown, .count = list->count, .capacity = capacity };
    }
    list->items[list->count++] = digest;
}

static bool collect_kept(Puller *puller, Arena *arena, DigestList *list)
{
    Strs names = { 0 };
    if (state_list(puller->state, arena, STR("manifests"), &names).kind != ERR_NONE)
        return false;
    for (size_t i = 0; i < names.count; i++) {
        Str jws = STR(""), payload = STR("");
        Manifest manifest;
        Str name = arena_fmt(arena, "manifests/" STR_FMT, STR_ARG(names.items[i]));
        if (state_read(puller->state, arena, name, MANIFEST_BYTES_MAX, &jws).kind != ERR_NONE ||
            jws_peek(arena, jws, &payload).kind != ERR_NONE ||
            manifest_parse(arena, payload, &manifest).kind != ERR_NONE)
            return false;
        for (int n = 0; n < MANIFEST_SHARDS; n++) {
            Str text = STR("");
            Shard shard = { 0 };
            add_digest(arena, list, manifest.shards[n]);
            if (digest_eq(manifest.shards[n], digest_of(str_bytes(empty_shard(arena, n)))))
                continue;
            if (state_object_get(puller->state, arena, manifest.shards[n], -1, SHARD_BYTES_MAX, &text).kind !=
                    ERR_NONE ||
                shard_parse(arena, text, n, &shard).kind != ERR_NONE)
                return false;
            for (size_t e = 0; e < shard.count; e++)
                add_digest(arena, list, shard.entries[e].sha256);
        }
    }
    return true;
}

static void sweep(Puller *puller)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    DigestList kept = { 0 };
    Strs names = { 0 };
    puller->activations_since_sweep = 0;
    if (!collect_kept(puller, arena, &kept) || kept.count == 0 ||
        state_list(puller->state, arena, STR("objects"), &names).kind != ERR_NONE)
        return;
    qsort(kept.items, kept.count, sizeof *kept.items, compare_digests);
    for (size_t i = 0; i < names.count; i++) {
        Digest digest;
        if (digest_parse(names.items[i], &digest).kind == ERR_NONE &&
            bsearch(&digest, kept.items, kept.count, sizeof digest, compare_digests) == NULL)
            state_remove(puller->state, state_object_name(arena, digest));
    }
}

/* --- activation --- */

static Err activate(Puller *puller, DocumentSet *set, PullView *view)
{
    TRY(cell_swap(puller->cell, (CellItem *)view));
    DocumentSet *old = puller->active;
    puller->active = set;
    atomic_store(&puller->revoked, false);
    document_set_free(&old, set);
    pull_note_active(puller, set);
    return OK;
}

static void drop_candidate(Puller *puller, DocumentSet **set)
{
    document_set_free(set, puller->active);
}

static Err fetch_all(Puller *puller, Arena *arena, DocumentSet *set)
{
    TRY(fetch_shards(puller, arena, set));
    TRY(load_shards(puller, arena, set, trust_mark_binds(&puller->trust)));
    TRY(fetch_objects(puller, arena, set));
    return pull_load_keyring(puller, arena, set->manifest.generation, /* may_fetch= */ true);
}

static Err check_expiry(Puller *puller, const DocumentSet *set)
{
    if (!time_before(puller_now(puller), set->manifest.hard_expiry))
        return FAIL(ERR_INVALID, "manifest-expired", "The manifest's hard expiry passed while it was fetched.");
    return OK;
}

static Err apply_set(Puller *puller, Arena *arena, Str jws, DocumentSet *set)
{
    PullView *view = NULL;
    TRY(fetch_all(puller, arena, set));
    TRY(build_view(puller, arena, set, &view));
    pull_queue_report(puller, REPORT_VERIFIED, set->manifest.seq, set->manifest.generation, OK);
    Err err = check_expiry(puller, set);
    if (err.kind == ERR_NONE)
        err = persist(puller, arena, jws, set);
    if (err.kind == ERR_NONE)
        err = activate(puller, set, view);
    if (err.kind != ERR_NONE)
        puller->options.builder.free_view(view);
    return err;
}

/* A signed manifest names us: nothing opens any more, here and after a restart. */
static Err apply_revocation(Puller *puller, Arena *arena, Str jws, const Manifest *manifest, const Mark *mark)
{
    TRY(state_write(puller->state, manifest_name(arena, manifest->seq), jws));
    puller->trust.mark = *mark;
    pull_write_mark(puller, arena);
    atomic_store(&puller->revoked, true);
    secret_release(&puller->fleet_key);
    puller->fleet_key_generation = 0;
    return FAIL(ERR_FORBIDDEN, "data-plane-revoked", "A signed manifest revoked this data plane.");
}

Err pull_apply(Puller *puller, Arena *arena, Str jws, const Manifest *manifest, const Mark *mark)
{
    if (manifest_revokes(manifest, puller->identity.data_plane))
        return apply_revocation(puller, arena, jws, manifest, mark);
    DocumentSet *set = document_set_new(puller, manifest, mark);
    Err err = apply_set(puller, arena, jws, set);
    if (err.kind != ERR_NONE) {
        drop_candidate(puller, &set);
        return err;
    }
    pull_note_signed(puller, manifest->issued_at);
    pull_queue_report(puller, REPORT_ACTIVE, manifest->seq, manifest->generation, OK);
    if (++puller->activations_since_sweep >= PULL_COLLECT_EVERY)
        sweep(puller);
    if (puller->options.on_activate != NULL)
        puller->options.on_activate(manifest->seq, puller->options.arg);
    return OK;
}

/* --- at start --- */

static Err load_one(Puller *puller, Arena *arena, Str name, Mark *ret_mark)
{
    Str jws = STR("");
    Manifest manifest;
    PullView *view = NULL;
    TRY(state_read(puller->state, arena, name, MANIFEST_BYTES_MAX, &jws));
    TRY(trust_manifest_at_rest(&puller->trust, arena, jws, &manifest, ret_mark));
    const Mark *stored = &puller->trust.mark;
    if (stored->seq == ret_mark->seq && !digest_eq(stored->manifest, ret_mark->manifest))
        return FAIL(ERR_INVALID, "manifest-equivocation", "Two different manifests bear one number.");
    if (manifest_revokes(&manifest, puller->identity.data_plane)) {
        atomic_store(&puller->revoked, true);
        return FAIL(ERR_FORBIDDEN, "data-plane-revoked", "A signed manifest revoked this data plane.");
    }
    DocumentSet *set = document_set_new(puller, &manifest, ret_mark);
    Err err = load_shards(puller, arena, set, /* in_order= */ false);
    if (err.kind == ERR_NONE)
        err = pull_load_keyring(puller, arena, manifest.generation, /* may_fetch= */ false);
    if (err.kind == ERR_NONE)
        err = build_view(puller, arena, set, &view);
    if (err.kind == ERR_NONE)
        err = activate(puller, set, view);
    if (err.kind != ERR_NONE)
        drop_candidate(puller, &set);
    return err;
}

static void settle_mark(Puller *puller, const Mark *stored, const Mark *loaded)
{
    Mark mark = loaded->seq >= stored->seq ? *loaded : *stored;
    if (time_before(mark.signed_time, stored->signed_time))
        mark.signed_time = stored->signed_time;
    puller->trust.mark = mark;
    pull_note_signed(puller, mark.signed_time);
}

Err pull_load_state(Puller *puller, Arena *arena)
{
    Mark stored = { 0 }, loaded = { 0 };
    Strs names = { 0 };
    Err first = OK;
    if (puller->trust.root == NULL)
        return OK;
    if (read_mark(puller, arena, &stored))
        puller->trust.mark = stored;
    if (!trust_mark_binds(&puller->trust))
        stored = puller->trust.mark = (Mark){ 0 };
    pull_note_signed(puller, stored.signed_time);
    TRY(state_list(puller->state, arena, STR("manifests"), &names));
    for (size_t i = names.count; i > 0 && puller->active == NULL && !atomic_load(&puller->revoked); i--) {
        Mark mark = { 0 };
        Err err = load_one(puller, arena, arena_fmt(arena, "manifests/" STR_FMT, STR_ARG(names.items[i - 1])), &mark);
        if (err.kind == ERR_NONE || atomic_load(&puller->revoked))
            loaded = mark;
        if (first.kind == ERR_NONE)
            first = err;
    }
    if (loaded.seq > 0)
        settle_mark(puller, &stored, &loaded);
    return first;
}
