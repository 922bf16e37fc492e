/*
 * view.c: builds a snapshot's look-ups, reusing every project whose objects did not change.
 */
#include "view.h"

#include "base/json.h"
#include "snapshot/origin.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { KIND_ROUTING, KIND_SECRETS, NULL };

/* --- life --- */

static void project_drop(ProjectView *project)
{
    if (atomic_fetch_sub(&project->holders, 1) != 1)
        return;
    secret_release(&project->delivery);
    Arena *arena = project->arena;
    arena_free(&arena);
}

static void free_view(PullView *view)
{
    ReeveSnapshot *snapshot = (ReeveSnapshot *)view;
    for (size_t i = 0; i < snapshot->project_count; i++)
        project_drop(snapshot->projects[i]);
    Arena *arena = snapshot->arena;
    arena_free(&arena);
}

/* --- one project: from documents to faces, in the project's own arena --- */

typedef struct Making {
    ProjectView *project;
    Arena *arena;   /* of the project */
    Arena *scratch; /* of this project's documents */
    const PullUpdate *update;
} Making;

static const char *id_text(const Making *making, const char *prefix, Uuid id)
{
    return typeid_format(making->arena, str_from_c(prefix), id).ptr;
}

static const char *text(const Making *making, Str s)
{
    return arena_c(making->arena, s);
}

static const char *json_text(const Making *making, Json json)
{
    if (json.value == NULL || json_is_null(json.value))
        return NULL;
    return json_write(making->arena, json.value).ptr;
}

static const SecretView *find_secret(const ProjectView *project, Uuid id)
{
    for (size_t i = 0; i < project->secret_count; i++)
        if (uuid_eq(project->secret_views[i].id, id))
            return &project->secret_views[i];
    return NULL;
}

static Err make_connection(const Making *making, const RoutingConnection *in, ReeveConnection *out)
{
    Str origin = STR("");
    TRY(origin_of_url(making->arena, in->base_url, &origin));
    *out = (ReeveConnection){
        .id = id_text(making, "con", in->id),
        .name = text(making, in->name),
        .dialect = text(making, in->dialect),
        .base_url = text(making, in->base_url),
        .origin = origin.ptr,
        .secret_id = uuid_is_zero(in->secret) ? NULL : id_text(making, "sec", in->secret),
        .project = &making->project->face,
        .secret = find_secret(making->project, in->secret),
    };
    return OK;
}

static const ReeveConnection *connection_of(const Routing *routing, const ReeveConnection *connections, Uuid id)
{
    for (size_t i = 0; i < routing->connections.count; i++)
        if (uuid_eq(LIST_AT(RoutingConnection, routing->connections, i)->id, id))
            return &connections[i];
    return NULL;
}

static ReeveTarget make_target(
    const Making *making, const Routing *routing, const ReeveConnection *connections, const RoutingTarget *in)
{
    return (ReeveTarget){
        .connection = connection_of(routing, connections, in->connection),
        .model = text(making, in->model),
        .weight = in->weight.set ? in->weight.value : -1,
        .connect_ms = in->timeouts.connect_ms,
        .first_byte_ms = in->timeouts.first_byte_ms,
        .idle_ms = in->timeouts.idle_ms,
        .total_ms = in->timeouts.total_ms,
        .max_attempts = in->max_attempts,
        .parameters = json_text(making, in->parameters),
    };
}

static const ReeveRevision *make_revision(
    const Making *making, const Routing *routing, const ReeveConnection *connections, const RoutingRevision *in)
{
    ReeveRevision *revision = NEW(making->arena, ReeveRevision, 1);
    ReeveTarget *targets = NEW(making->arena, ReeveTarget, in->targets.count + 1);
    for (size_t i = 0; i < in->targets.count; i++)
        targets[i] = make_target(making, routing, connections, LIST_AT(RoutingTarget, in->targets, i));
    *revision = (ReeveRevision){
        .id = id_text(making, "rev", in->id),
        .number = in->number,
        .targets = targets,
        .target_count = in->targets.count,
        .retry_budget_ms = in->retry.budget_ms,
        .retry_base_ms = in->retry.base_ms,
        .retry_max_ms = in->retry.max_ms,
        .retry_attempts = in->retry.attempts,
    };
    return revision;
}

/* The revision this data plane runs. */
static const RoutingRevision *released_revision(const Making *making, const RoutingWorkflow *workflow)
{
    const RoutingStage *stage = release_select(&workflow->release, making->update->data_plane);
    for (size_t i = 0; stage != NULL && i < workflow->revisions.count; i++) {
        const RoutingRevision *revision = LIST_AT(RoutingRevision, workflow->revisions, i);
        if (uuid_eq(revision->id, stage->revision))
            return revision;
    }
    return NULL;
}

static int compare_workflows(const void *a, const void *b)
{
    return strcmp(((const ReeveWorkflow *)a)->name, ((const ReeveWorkflow *)b)->name);
}

static void make_workflows(const Making *making, const Routing *routing, const ReeveConnection *connections)
{
    ReeveWorkflow *workflows = NEW(making->arena, ReeveWorkflow, routing->workflows.count + 1);
    for (size_t i = 0; i < routing->workflows.count; i++) {
        const RoutingWorkflow *in = LIST_AT(RoutingWorkflow, routing->workflows, i);
        const RoutingRevision *revision = released_revision(making, in);
        workflows[i] = (ReeveWorkflow){
            .id = id_text(making, "wfl", in->id),
            .name = text(making, in->name),
            .dialect = text(making, in->dialect),
            .revision = revision == NULL ? NULL : make_revision(making, routing, connections, revision),
        };
    }
    if (routing->workflows.count > 1)
        qsort(workflows, routing->workflows.count, sizeof *workflows, compare_workflows);
    making->project->face.workflows = workflows;
    making->project->face.workflow_count = routing->workflows.count;
}

static Err make_keys(const Making *making, const Routing *routing)
{
    ProjectView *project = making->project;
    project->key_count = routing->client_keys.count;
    project->keys = NEW(making->arena, ReeveClientKey, project->key_count + 1);
    project->key_digests = NEW(making->arena, Digest, project->key_count + 1);
    for (size_t i = 0; i < project->key_count; i++) {
        const RoutingClientKey *in = LIST_AT(RoutingClientKey, routing->client_keys, i);
        TRY(digest_parse(in->digest, &project->key_digests[i]));
        project->keys[i] = (ReeveClientKey){
            .id = id_text(making, "cky", in->id), .project = &project->face, .not_after_us = in->not_after.us
        };
    }
    return OK;
}

static Err misplaced(const char *what)
{
    return (Err){ .kind = ERR_INVALID, .code = STR("object-misplaced"), .detail = str_from_c(what) };
}

static Err make_routing(const Making *making, const ShardEntry *entry)
{
    Str bytes = STR("");
    Routing routing;
    TRY(pull_object(making->update, making->scratch, entry, &bytes));
    TRY(routing_parse(making->scratch, bytes, &routing));
    if (!uuid_eq(routing.org, entry->org) || !uuid_eq(routing.project, entry->project) ||
        routing.version != entry->version)
        return misplaced("A routing object is not of the project and version that its entry says.");
    ReeveConnection *connections = NEW(making->arena, ReeveConnection, routing.connections.count + 1);
    for (size_t i = 0; i < routing.connections.count; i++)
        TRY(make_connection(making, LIST_AT(RoutingConnection, routing.connections, i), &connections[i]));
    making->project->face.version = routing.version;
    making->project->face.limits = json_text(making, routing.limits);
    make_workflows(making, &routing, connections);
    return make_keys(making, &routing);
}

/* --- secrets --- */

static Time earlier(Time a, Time b)
{
    if (time_is_none(a) || time_is_none(b))
        return time_is_none(a) ? b : a;
    return time_before(a, b) ? a : b;
}

/* What the sealed header must say; its origin and end are its own and are read from it (it is authenticated when the
 * secret is opened, and compared to where the key is about to go). */
static Err header_place(const Making *making, const Secrets *secrets, const SecretsEntry *entry,
    const SecretsVersion *version, SecretPlace *ret_place)
{
    _cleanup_(json_release) json_t *header = NULL;
    SecretPlace place = {
        .org = secrets->org,
        .project = secrets->project,
        .secret = entry->id,
        .version = version->version,
        .fleet = secrets->fleet,
        .generation = secrets->generation,
    };
    TRY(jwe_header(making->scratch, version->jwe, &header));
    Str origin = json_str(header, "origin"), not_after = json_str(header, "not_after");
    if (!origin_is_canonical(origin))
        return misplaced("A sealed secret names no origin.");
    if (!str_is_empty(not_after))
        TRY(time_parse(not_after, &place.not_after));
    place.origin = arena_str(making->arena, origin);
    *ret_place = place;
    return OK;
}

static Err make_version(const Making *making, const Secrets *secrets, const SecretsEntry *entry,
    const SecretsVersion *version, SecretVersionView *out)
{
    SecretPlace place = { 0 };
    TRY(header_place(making, secrets, entry, version, &place));
    _cleanup_(json_release) json_t *expected = secret_header(making->scratch, &place);
    SecretVersionView view = {
        .version = version->version,
        .active = str_eq(version->state, STR("active")),
        .not_after = earlier(version->not_after, place.not_after),
        .origin = place.origin.ptr,
    };
    Err err = jwe_prepare_dir(making->arena, STR(SECRET_TYP), expected, version->jwe, &view.sealed);
    if (err_is(err, "cannot-open"))
        return FAIL(ERR_INVALID, "secret-misplaced",
            "A sealed secret is not of the organization, project, version, fleet or generation it stands under.");
    TRY(err);
    *out = view;
    return OK;
}

static Err make_secret(const Making *making, const Secrets *secrets, const SecretsEntry *entry, SecretView *out)
{
    out->project = making->project;
    out->id = entry->id;
    out->count = entry->versions.count;
    out->versions = NEW(making->arena, SecretVersionView, out->count + 1);
    for (size_t i = 0; i < out->count; i++) {
        TRY(make_version(making, secrets, entry, LIST_AT(SecretsVersion, entry->versions, i), &out->versions[i]));
        if (out->versions[i].active && i > 0) {
            SecretVersionView first = out->versions[0];
            out->versions[0] = out->versions[i];
            out->versions[i] = first;
        }
    }
    return OK;
}

static Err make_secrets(const Making *making, const ShardEntry *entry)
{
    Str bytes = STR("");
    Secrets secrets;
    ProjectView *project = making->project;
    const Manifest *manifest = making->update->manifest;
    TRY(pull_object(making->update, making->scratch, entry, &bytes));
    TRY(secrets_parse(making->scratch, bytes, &secrets));
    if (!uuid_eq(secrets.org, entry->org) || !uuid_eq(secrets.project, entry->project) ||
        secrets.version != entry->version || !uuid_eq(secrets.fleet, manifest->fleet) ||
        secrets.generation != manifest->generation)
        return misplaced("A secrets object is not of the project, version, fleet and generation that it should be.");
    project->delivery = delivery_key(making->update->fleet_key, secrets.org, secrets.project);
    project->secret_count = secrets.secrets.count;
    project->secret_views = NEW(making->arena, SecretView, project->secret_count + 1);
    for (size_t i = 0; i < project->secret_count; i++)
        TRY(make_secret(making, &secrets, LIST_AT(SecretsEntry, secrets.secrets, i), &project->secret_views[i]));
    return OK;
}

/* --- all projects --- */

typedef struct Group {
    int shard;
    const ShardEntry *routing;
    const ShardEntry *secrets; /* NULL: none */
} Group;

static Err make_parts(const Making *making, const Group *group)
{
    if (group->secrets != NULL)
        TRY(make_secrets(making, group->secrets));
    return make_routing(making, group->routing);
}

static ProjectView *project_new(const PullUpdate *update, const Group *group)
{
    Arena *arena = arena_new();
    ProjectView *project = NEW(arena, ProjectView, 1);
    project->arena = arena;
    project->holders = 1;
    project->shard = group->shard;
    project->org = group->routing->org;
    project->id = group->routing->project;
    project->routing = group->routing->sha256;
    project->secrets = group->secrets != NULL ? group->secrets->sha256 : (Digest){ 0 };
    project->generation = update->manifest->generation;
    project->face.id = typeid_format(arena, STR("prj"), project->id).ptr;
    project->face.organization = typeid_format(arena, STR("org"), project->org).ptr;
    return project;
}

static Err project_make(Arena *arena, const PullUpdate *update, const Group *group, ProjectView **ret_project)
{
    _cleanup_(arena_free) Arena *scratch = arena_new();
    ProjectView *project = project_new(update, group);
    Making making = { .project = project, .arena = project->arena, .scratch = scratch, .update = update };
    Err err = make_parts(&making, group);
    if (err.kind == ERR_NONE) {
        *ret_project = project;
        return OK;
    }
    /* The words outlive the project that was refused. */
    err.code = arena_str(arena, err.code);
    err.detail = arena_fmt(arena, STR_FMT " (project %s)", STR_ARG(err.detail), project->face.id);
    FieldErr *items = NEW(arena, FieldErr, err.fields.count + 1);
    for (size_t i = 0; i < err.fields.count; i++)
        items[i] = (FieldErr){ .pointer = arena_str(arena, err.fields.items[i].pointer),
            .detail = arena_str(arena, err.fields.items[i].detail) };
    err.fields.items = items;
    project_drop(project);
    return err;
}

static int compare_place(const ProjectView *project, const Group *group)
{
    if (project->shard != group->shard)
        return project->shard < group->shard ? -1 : 1;
    int order = uuid_compare(project->org, group->routing->org);
    return order != 0 ? order : uuid_compare(project->id, group->routing->project);
}

static bool is_unchanged(const ProjectView *project, const PullUpdate *update, const Group *group)
{
    Digest secrets = group->secrets != NULL ? group->secrets->sha256 : (Digest){ 0 };
    return digest_eq(project->routing, group->routing->sha256) && digest_eq(project->secrets, secrets) &&
           project->generation == update->manifest->generation;
}

/* Walks the projects of the snapshot before in step with the entries: both are in the same order. */
static ProjectView *reuse(const PullUpdate *update, size_t *at, const Group *group)
{
    const ReeveSnapshot *before = (const ReeveSnapshot *)update->before;
    while (before != NULL && *at < before->project_count && compare_place(before->projects[*at], group) < 0)
        (*at)++;
    if (before == NULL || *at >= before->project_count)
        return NULL;
    ProjectView *project = before->projects[*at];
    if (compare_place(project, group) != 0 || !is_unchanged(project, update, group))
        return NULL;
    atomic_fetch_add(&project->holders, 1);
    return project;
}

/* The entries of one project; returns how many they are. A project without routing serves nothing and is left out. */
static size_t next_group(const PullUpdate *update, size_t from, Group *group)
{
    const ShardEntry *first = update->entries[from];
    *group = (Group){ .shard = shard_of_project(first->project) };
    size_t count = 0;
    for (; from + count < update->count; count++) {
        const ShardEntry *entry = update->entries[from + count];
        if (!uuid_eq(entry->org, first->org) || !uuid_eq(entry->project, first->project))
            break;
        if (str_eq(entry->kind, STR(KIND_ROUTING)))
            group->routing = entry;
        else
            group->secrets = entry;
    }
    return count;
}

static Err make_projects(Arena *arena, const PullUpdate *update, ReeveSnapshot *snapshot)
{
    size_t at = 0;
    Group group;
    snapshot->projects = NEW(snapshot->arena, ProjectView *, update->count + 1);
    for (size_t i = 0; i < update->count;) {
        i += next_group(update, i, &group);
        if (group.routing == NULL)
            continue;
        ProjectView *project = reuse(update, &at, &group);
        if (project == NULL)
            TRY(project_make(arena, update, &group, &project));
        snapshot->projects[snapshot->project_count++] = project;
    }
    return OK;
}

/* --- client keys: an open-addressed table at most half full --- */

static size_t slot_of(const ReeveSnapshot *snapshot, const Digest *digest)
{
    uint64_t hash;
    memcpy(&hash, digest->b, sizeof hash);
    return (size_t)hash & snapshot->slot_mask;
}

const KeySlot *view_find_key(const ReeveSnapshot *snapshot, const Digest *digest)
{
    for (size_t i = slot_of(snapshot, digest);; i = (i + 1) & snapshot->slot_mask) {
        const KeySlot *slot = &snapshot->slots[i];
        if (slot->digest == NULL)
            return NULL;
        if (bytes_eq(BYTES_OF(slot->digest->b), BYTES_OF(digest->b)))
            return slot;
    }
}

static Err add_key(ReeveSnapshot *snapshot, const Digest *digest, const ReeveClientKey *key)
{
    size_t i = slot_of(snapshot, digest);
    for (; snapshot->slots[i].digest != NULL; i = (i + 1) & snapshot->slot_mask)
        if (bytes_eq(BYTES_OF(snapshot->slots[i].digest->b), BYTES_OF(digest->b)))
            return FAIL(ERR_INVALID, "client-key-twice", "One client key stands in two projects.");
    snapshot->slots[i] = (KeySlot){ .digest = digest, .key = key };
    return OK;
}

static Err index_keys(ReeveSnapshot *snapshot)
{
    size_t count = 0, size = 16;
    for (size_t i = 0; i < snapshot->project_count; i++)
        count += snapshot->projects[i]->key_count;
    while (size < count * 2)
        size *= 2;
    snapshot->slots = NEW(snapshot->arena, KeySlot, size);
    snapshot->slot_mask = size - 1;
    for (size_t i = 0; i < snapshot->project_count; i++) {
        const ProjectView *project = snapshot->projects[i];
        for (size_t k = 0; k < project->key_count; k++)
            TRY(add_key(snapshot, &project->key_digests[k], &project->keys[k]));
    }
    return OK;
}

static Err build(void *arg, Arena *arena, const PullUpdate *update, PullView **ret_view)
{
    (void)arg;
    Arena *own = arena_new();
    ReeveSnapshot *snapshot = NEW(own, ReeveSnapshot, 1);
    snapshot->arena = own;
    Err err = make_projects(arena, update, snapshot);
    if (err.kind == ERR_NONE)
        err = index_keys(snapshot);
    if (err.kind != ERR_NONE) {
        free_view(&snapshot->view);
        return err;
    }
    *ret_view = &snapshot->view;
    return OK;
}

PullBuilder view_builder(void)
{
    return (PullBuilder){ .build = build, .free_view = free_view, .kinds = kinds };
}
