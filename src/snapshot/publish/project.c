/*
 * project.c: seals what is not sealed yet, builds the objects of changed projects, and decides their entries.
 */
#include "parts.h"

#include "base/log.h"

#include <string.h>

/* --- sealing --- */

static const PublishRow *find_sealed(const ProjectWork *project, const PublishRow *version, const FleetWork *fleet)
{
    for (size_t i = 0; i < project->sealed.count; i++) {
        const PublishRow *row = ROW_AT(project->sealed, i);
        if (uuid_eq(row->secret, version->secret) && row->number == version->number && uuid_eq(row->fleet, fleet->id) &&
            row->generation == fleet->generation)
            return row;
    }
    return NULL;
}

static void remember_sealed(Round *round, ProjectWork *project, const PublishRow *row)
{
    PublishRow *grown = NEW(round->arena, PublishRow, project->sealed.count + 1);
    if (project->sealed.count > 0)
        memcpy(grown, project->sealed.items, project->sealed.count * sizeof *grown);
    grown[project->sealed.count] = *row;
    project->sealed = (List){ .items = grown, .count = project->sealed.count + 1 };
}

/* A version that the keeper cannot open (a row was edited) is left out, and everybody else goes on. */
static Err seal_version(Round *round, ProjectWork *project, const PublishRow *version, const FleetWork *fleet)
{
    SecretSealFleet ask = {
        .ref = { .org = project->org,
            .project = project->id,
            .secret = version->secret,
            .version = version->number,
            .origin = version->origin },
        .envelope = version->envelope,
        .key = { .version = version->key_version, .kms_uri = version->kms_uri, .wrapped = version->wrapped },
        .fleet = fleet->id,
        .fleet_key = fleet->key,
        .not_after = version->not_after,
    };
    PublishRow row = { .org = project->org,
        .project = project->id,
        .secret = version->secret,
        .number = version->number,
        .fleet = fleet->id,
        .generation = fleet->generation };
    Err err = keeper_secret_seal_fleet(round->publisher->keeper, round->arena, &ask, &row.jwe);
    if (err.kind == ERR_UNAVAILABLE || err.kind == ERR_TIMEOUT)
        return err;
    if (err.kind != ERR_NONE) {
        log_error("a secret version could not be sealed for a fleet and is left out",
            LOG_STR("secret", typeid_format(round->arena, STR("sec"), version->secret)),
            LOG_INT("version", version->number), LOG_STR("code", err.code));
        return OK;
    }
    remember_sealed(round, project, &row);
    round->sealed++;
    return OK;
}

static Err seal_project(Round *round, ProjectWork *project, size_t *ret_from)
{
    *ret_from = project->sealed.count;
    for (size_t f = 0; project->live && f < round->fleet_count; f++) {
        const FleetWork *fleet = &round->fleets[f];
        for (size_t i = 0; fleet_serves(fleet, project->org) && i < project->versions.count; i++)
            if (find_sealed(project, ROW_AT(project->versions, i), fleet) == NULL)
                TRY(seal_version(round, project, ROW_AT(project->versions, i), fleet));
    }
    return OK;
}

static Err store_sealed(Round *round, const ProjectWork *project, size_t from)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    if (from == project->sealed.count)
        return OK;
    TRY(db_lease(round->publisher->pool, &lease));
    for (size_t i = from; i < project->sealed.count; i++)
        TRY(db_exec(lease.db, round->arena, &SQL_PUBLISH_SEALED_INSERT,
            REC(&PUBLISH_ROW_FIELDS, ROW_AT(project->sealed, i)), /* ret_rows= */ NULL));
    return OK;
}

Err round_seal(Round *round)
{
    for (size_t i = 0; i < round->project_count; i++) {
        size_t from = 0;
        Err err = seal_project(round, &round->projects[i], &from);
        TRY(store_sealed(round, &round->projects[i], from));
        TRY(err);
    }
    return OK;
}

/* --- objects --- */

typedef struct Built {
    Str body;
    Digest content; /* of the body with version 1 */
    int64_t version;
    Digest digest;
} Built;

static void add_object(Round *round, const ProjectWork *project, Uuid fleet, const char *kind, const Built *built)
{
    if (round->object_count == round->object_capacity) {
        size_t capacity = round->object_capacity == 0 ? 64 : round->object_capacity * 2;
        ObjectWork *grown = NEW(round->arena, ObjectWork, capacity);
        if (round->object_count > 0)
            memcpy(grown, round->objects, round->object_count * sizeof *grown);
        round->objects = grown;
        round->object_capacity = capacity;
    }
    round->objects[round->object_count++] = (ObjectWork){ .org = project->org,
        .project = project->id,
        .fleet = fleet,
        .kind = str_from_c(kind),
        .digest = built->digest,
        .body = built->body };
}

static const PublishRow *find_entry(const ProjectWork *project, const FleetWork *fleet, const char *kind)
{
    for (size_t i = 0; i < project->entries.count; i++) {
        const PublishRow *row = ROW_AT(project->entries, i);
        if (uuid_eq(row->fleet, fleet->id) && str_eq(row->kind, str_from_c(kind)))
            return row;
    }
    return NULL;
}

static Digest row_digest(Bytes bytes)
{
    Digest digest = { 0 };
    if (bytes.len == sizeof digest.b)
        memcpy(digest.b, bytes.ptr, sizeof digest.b);
    return digest;
}

/* Whether a fleet's entry of that kind has this content already. */
static bool is_current(const ProjectWork *project, const FleetWork *fleet, const char *kind, const Built *built)
{
    const PublishRow *row = find_entry(project, fleet, kind);
    return row != NULL && digest_eq(row_digest(row->content), built->content);
}

static void keep_entry(const PublishRow *row, Built *built)
{
    built->version = row->version;
    built->digest = row_digest(row->digest);
    built->body = (Str){ .ptr = NULL, .len = (size_t)row->length };
}

static void next_entry(ProjectWork *project, FleetWork *fleet, const char *kind, const Built *built)
{
    project->next[project->next_count++] = (EntryWork){
        .fleet = fleet,
        .content = built->content,
        .entry = { .kind = str_from_c(kind),
            .org = project->org,
            .project = project->id,
            .version = built->version,
            .length = (int64_t)built->body.len,
            .sha256 = built->digest },
    };
}

/* The same bytes for every fleet: all that serve the project have them already, or all get a new version. */
static void build_routing(Round *round, ProjectWork *project, Built *built)
{
    const FleetWork *known = NULL;
    bool current = true;
    project->routing.version = 1;
    built->content = digest_of(str_bytes(routing_build(round->arena, &project->routing)));
    for (size_t i = 0; i < round->fleet_count; i++) {
        if (!fleet_serves(&round->fleets[i], project->org))
            continue;
        current = current && is_current(project, &round->fleets[i], KIND_ROUTING, built);
        known = &round->fleets[i];
    }
    if (known == NULL)
        return;
    if (current) {
        keep_entry(find_entry(project, known, KIND_ROUTING), built);
        return;
    }
    project->routing.version = built->version = ++project->counter;
    built->body = routing_build(round->arena, &project->routing);
    built->digest = digest_of(str_bytes(built->body));
    project->changed = true;
    add_object(round, project, (Uuid){ 0 }, KIND_ROUTING, built);
}

static List secret_entries(Round *round, const ProjectWork *project, const FleetWork *fleet)
{
    SecretsEntry *entries = NEW(round->arena, SecretsEntry, project->versions.count + 1);
    SecretsVersion *versions = NEW(round->arena, SecretsVersion, project->versions.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < project->versions.count; i++) {
        const PublishRow *row = ROW_AT(project->versions, i), *sealed = find_sealed(project, row, fleet);
        if (sealed == NULL)
            continue;
        if (count == 0 || !uuid_eq(entries[count - 1].id, row->secret))
            entries[count++] = (SecretsEntry){ .id = row->secret, .versions = { .items = &versions[i] } };
        SecretsEntry *entry = &entries[count - 1];
        SecretsVersion *list = entry->versions.items;
        if (entry->versions.count < SECRET_VERSIONS_MAX)
            list[entry->versions.count++] = (SecretsVersion){
                .version = row->number, .state = row->state, .not_after = row->not_after, .jwe = sealed->jwe
            };
    }
    return (List){ .items = entries, .count = count };
}

static void build_secrets(Round *round, ProjectWork *project, const FleetWork *fleet, Built *built)
{
    Secrets secrets = { .org = project->org,
        .project = project->id,
        .version = 1,
        .fleet = fleet->id,
        .generation = fleet->generation,
        .secrets = secret_entries(round, project, fleet) };
    built->content = digest_of(str_bytes(secrets_build(round->arena, &secrets)));
    if (is_current(project, fleet, KIND_SECRETS, built)) {
        keep_entry(find_entry(project, fleet, KIND_SECRETS), built);
        return;
    }
    secrets.version = built->version = ++project->counter;
    built->body = secrets_build(round->arena, &secrets);
    built->digest = digest_of(str_bytes(built->body));
    project->changed = true;
    add_object(round, project, fleet->id, KIND_SECRETS, built);
}

static bool is_listed(const ProjectWork *project, const FleetWork *fleet)
{
    return find_entry(project, fleet, KIND_ROUTING) != NULL;
}

static void bury(ProjectWork *project, FleetWork *fleet)
{
    ShardEntry entry = shard_tombstone(project->org, project->id, ++project->counter);
    project->changed = true;
    project->next[project->next_count++] = (EntryWork){ .fleet = fleet, .entry = entry, .content = entry.sha256 };
}

/* What the reader's own strict parser would refuse must not reach a fleet: it would stop everybody's changes. */
static Err check_object(Round *round, const Built *built, const char *kind)
{
    Routing routing;
    Secrets secrets;
    _cleanup_(arena_free) Arena *arena = arena_new();
    if (built->body.ptr == NULL)
        return OK;
    Err err = strcmp(kind, KIND_ROUTING) == 0 ? routing_parse(arena, built->body, &routing)
                                              : secrets_parse(arena, built->body, &secrets);
    if (err.kind == ERR_NONE && built->body.len <= OBJECT_BYTES_MAX)
        return OK;
    return FAIL_FMT(round->arena, ERR_INTERNAL, "object-unpublishable", "%s: " STR_FMT, kind, STR_ARG(err.detail));
}

static Err build_live(Round *round, ProjectWork *project)
{
    Built routing = { 0 };
    build_routing(round, project, &routing);
    TRY(check_object(round, &routing, KIND_ROUTING));
    for (size_t i = 0; i < round->fleet_count; i++) {
        FleetWork *fleet = &round->fleets[i];
        if (!fleet_serves(fleet, project->org))
            continue;
        Built secrets = { 0 };
        build_secrets(round, project, fleet, &secrets);
        TRY(check_object(round, &secrets, KIND_SECRETS));
        next_entry(project, fleet, KIND_ROUTING, &routing);
        next_entry(project, fleet, KIND_SECRETS, &secrets);
    }
    return OK;
}

static Err build_project(Round *round, ProjectWork *project)
{
    size_t objects = round->object_count;
    project->next = NEW(round->arena, EntryWork, 2 * round->fleet_count + 1);
    Err err = project->live ? build_live(round, project) : OK;
    if (err.kind != ERR_NONE) { /* its last good objects stay; the others' changes go out */
        log_error("a project could not be published", LOG_STR("code", err.code), LOG_STR("detail", err.detail),
            LOG_STR("project", typeid_format(round->arena, STR("prj"), project->id)));
        round->object_count = objects;
        project->next_count = 0;
        project->changed = false;
        return OK;
    }
    for (size_t i = 0; i < round->fleet_count; i++) {
        FleetWork *fleet = &round->fleets[i];
        if (is_listed(project, fleet) && !(project->live && fleet_serves(fleet, project->org)))
            bury(project, fleet);
    }
    for (size_t i = 0; project->changed && i < project->next_count; i++)
        project->next[i].fleet->touched[shard_of_project(project->id)] = true;
    return OK;
}

Err round_build(Round *round)
{
    for (size_t i = 0; i < round->project_count; i++)
        TRY(build_project(round, &round->projects[i]));
    return OK;
}
