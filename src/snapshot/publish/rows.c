/*
 * rows.c: what changed, and what the rows say now.
 */
#include "parts.h"

#include "domain/audit.h"

#include <stdlib.h>
#include <string.h>

static const Field retry_fields[] = {
    FIELD(RoutingRetry, budget_ms, .internal = false),
    FIELD(RoutingRetry, base_ms, .internal = false),
    FIELD(RoutingRetry, max_ms, .internal = false),
    FIELD(RoutingRetry, attempts, .internal = false),
};
static const FieldTable RETRY_FIELDS = FIELD_TABLE(RoutingRetry, retry_fields);

static const Field row_fields[] = {
    FIELD(PublishRow, id, .internal = true),
    FIELD(PublishRow, org, .internal = true),
    FIELD(PublishRow, project, .internal = true),
    FIELD(PublishRow, fleet, .internal = true),
    FIELD(PublishRow, secret, .internal = true),
    FIELD(PublishRow, workflow, .internal = true),
    FIELD(PublishRow, revision, .internal = true),
    FIELD(PublishRow, name, .internal = true),
    FIELD(PublishRow, dialect, .internal = true),
    FIELD(PublishRow, base_url, .internal = true),
    FIELD(PublishRow, origin, .internal = true),
    FIELD(PublishRow, state, .internal = true),
    FIELD(PublishRow, salt, .internal = true),
    FIELD(PublishRow, kind, .internal = true),
    FIELD(PublishRow, kms_uri, .internal = true),
    FIELD(PublishRow, settings, .internal = true),
    FIELD(PublishRow, jwe, .internal = true),
    FIELD(PublishRow, jws, .internal = true),
    FIELD(PublishRow, number, .internal = true),
    FIELD(PublishRow, version, .internal = true),
    FIELD(PublishRow, generation, .internal = true),
    FIELD(PublishRow, percent, .internal = true),
    FIELD(PublishRow, key_version, .internal = true),
    FIELD(PublishRow, seq, .internal = true),
    FIELD(PublishRow, shard, .internal = true),
    FIELD(PublishRow, length, .internal = true),
    FIELD(PublishRow, limit, .internal = true),
    FIELD(PublishRow, max_stale_s, .internal = true),
    FIELD(PublishRow, hard_expiry_s, .internal = true),
    FIELD(PublishRow, checkpoint_size, .internal = true),
    FIELD(PublishRow, live, .internal = true),
    FIELD(PublishRow, not_after, .internal = true),
    FIELD(PublishRow, hard_expiry, .internal = true),
    FIELD(PublishRow, issued_at, .internal = true),
    FIELD(PublishRow, digest, .internal = true),
    FIELD(PublishRow, content, .internal = true),
    FIELD(PublishRow, body, .internal = true),
    FIELD(PublishRow, wrapped, .internal = true),
    FIELD(PublishRow, envelope, .internal = true),
    FIELD(PublishRow, shards, .internal = true),
    FIELD(PublishRow, targets, .internal = true, .max = REVISION_TARGETS_MAX, .table = &ROUTING_TARGET_FIELDS),
    FIELD_NESTED(PublishRow, retry, &RETRY_FIELDS, .internal = true),
    FIELD(PublishRow, orgs, .internal = true),
    FIELD(PublishRow, ids, .internal = true),
    FIELD(PublishRow, nothing, .internal = true),
};
const FieldTable PUBLISH_ROW_FIELDS = FIELD_TABLE(PublishRow, row_fields);

static Err list(Round *round, const Stmt *stmt, const PublishRow *in, List *ret_rows)
{
    return db_list(
        round->db, round->arena, stmt, REC(&PUBLISH_ROW_FIELDS, (void *)(uintptr_t)in), &PUBLISH_ROW_FIELDS, ret_rows);
}

static Err one(Round *round, const Stmt *stmt, const PublishRow *in, PublishRow *ret_row)
{
    return db_one(round->db, round->arena, stmt, REC(&PUBLISH_ROW_FIELDS, (void *)(uintptr_t)in),
        REC(&PUBLISH_ROW_FIELDS, ret_row));
}

static Digest digest_from(Bytes bytes)
{
    Digest digest = { 0 };
    if (bytes.len == sizeof digest.b)
        memcpy(digest.b, bytes.ptr, sizeof digest.b);
    return digest;
}

/* --- fleets --- */

static Err fill_fleet(const PublishRow *row, FleetWork *fleet)
{
    *fleet = (FleetWork){
        .id = row->fleet,
        .generation = row->generation,
        .max_stale_s = row->max_stale_s,
        .hard_expiry_s = row->hard_expiry_s,
        .key = { .generation = row->generation, .kms_uri = row->kms_uri, .wrapped = row->wrapped },
        .seq = row->seq,
        .head = digest_from(row->digest),
        .head_issued = row->issued_at,
        .head_expiry = row->hard_expiry,
        .head_settings = row->settings,
        .head_checkpoint = row->checkpoint_size,
    };
    if (row->seq == 0)
        return OK;
    if (row->shards.len != sizeof fleet->shards)
        return FAIL(ERR_INTERNAL, "manifest-row", "A manifest's row does not hold 256 digests.");
    memcpy(fleet->shards, row->shards.ptr, sizeof fleet->shards);
    return OK;
}

FleetWork *round_fleet(Round *round, Uuid fleet)
{
    for (size_t i = 0; i < round->fleet_count; i++)
        if (uuid_eq(round->fleets[i].id, fleet))
            return &round->fleets[i];
    return NULL;
}

bool fleet_serves(const FleetWork *fleet, Uuid org)
{
    for (size_t i = 0; i < fleet->orgs.count; i++)
        if (uuid_eq(fleet->orgs.items[i], org))
            return true;
    return false;
}

/* Rows (fleet, member) as one list of ids a fleet. */
static void distribute(Round *round, List rows, Uuids *(*of)(FleetWork *), Uuid (*member)(const PublishRow *))
{
    for (size_t i = 0; i < round->fleet_count; i++)
        of(&round->fleets[i])->items = NEW(round->arena, Uuid, rows.count + 1);
    for (size_t i = 0; i < rows.count; i++) {
        const PublishRow *row = ROW_AT(rows, i);
        FleetWork *fleet = round_fleet(round, row->fleet);
        if (fleet != NULL)
            of(fleet)->items[of(fleet)->count++] = member(row);
    }
}

static Uuids *orgs_of(FleetWork *fleet)
{
    return &fleet->orgs;
}
static Uuids *revoked_of(FleetWork *fleet)
{
    return &fleet->revoked;
}
static Uuid org_member(const PublishRow *row)
{
    return row->org;
}
static Uuid id_member(const PublishRow *row)
{
    return row->id;
}

/* What a manifest says beside its shards: a change of it is a reason for a new one. */
static Str settings_of(Round *round, const FleetWork *fleet)
{
    Digest revoked =
        digest_of((Bytes){ .ptr = (const uint8_t *)fleet->revoked.items, .len = fleet->revoked.count * sizeof(Uuid) });
    return arena_fmt(round->arena, "%lld %lld %lld " STR_FMT, (long long)fleet->generation,
        (long long)fleet->max_stale_s, (long long)fleet->hard_expiry_s, STR_ARG(digest_text(round->arena, revoked)));
}

static Err read_fleets(Round *round)
{
    List rows = { 0 }, orgs = { 0 }, revoked = { 0 };
    PublishRow in = { .limit = MANIFEST_REVOKED_MAX }, installation = { 0 };
    TRY(one(round, &SQL_PUBLISH_INSTALLATION, &in, &installation));
    TRY(list(round, &SQL_PUBLISH_FLEETS, &in, &rows));
    TRY(list(round, &SQL_PUBLISH_FLEET_ORGANIZATIONS, &in, &orgs));
    TRY(list(round, &SQL_PUBLISH_REVOKED, &in, &revoked));
    round->installation = installation.id;
    round->fleets = NEW(round->arena, FleetWork, rows.count + 1);
    round->fleet_count = rows.count;
    for (size_t i = 0; i < rows.count; i++)
        TRY(fill_fleet(ROW_AT(rows, i), &round->fleets[i]));
    distribute(round, orgs, orgs_of, org_member);
    distribute(round, revoked, revoked_of, id_member);
    for (size_t i = 0; i < round->fleet_count; i++)
        round->fleets[i].settings = settings_of(round, &round->fleets[i]);
    return OK;
}

/* --- the audit log's head, for data planes to witness --- */

static Err read_checkpoint(Round *round)
{
    AuditCheckpoint newest = { 0 };
    TRY(tx_begin_read(round->db));
    Err err = tx_set_tenant(round->db, round->installation);
    if (err.kind == ERR_NONE)
        err = audit_checkpoint_latest(round->db, round->arena, &newest);
    tx_rollback(round->db);
    if (err.kind == ERR_NOT_FOUND)
        return OK;
    TRY(err);
    round->checkpoint =
        (ManifestCheckpoint){ .origin = audit_origin(round->arena, round->installation, round->installation),
            .size = newest.size,
            .root = digest_from(newest.root) };
    return OK;
}

/* --- which projects --- */

typedef struct ProjectRefs {
    ProjectWork *items;
    size_t count, capacity;
} ProjectRefs;

static void add_project(Arena *arena, ProjectRefs *refs, Uuid org, Uuid project)
{
    if (refs->count == refs->capacity) {
        size_t capacity = refs->capacity == 0 ? 64 : refs->capacity * 2;
        ProjectWork *grown = NEW(arena, ProjectWork, capacity);
        if (refs->count > 0)
            memcpy(grown, refs->items, refs->count * sizeof *grown);
        refs->items = grown;
        refs->capacity = capacity;
    }
    refs->items[refs->count++] = (ProjectWork){ .org = org, .id = project };
}

static void add_rows(Arena *arena, ProjectRefs *refs, List rows)
{
    for (size_t i = 0; i < rows.count; i++)
        add_project(arena, refs, ROW_AT(rows, i)->org, ROW_AT(rows, i)->project);
}

/* All projects of an organization, and those that fleets still list though the rows are gone. */
static Err add_organization(Round *round, ProjectRefs *refs, Uuid org)
{
    PublishRow in = { .org = org };
    List rows = { 0 };
    TRY(tx_begin_read(round->db));
    TRY(tx_set_tenant(round->db, org));
    TRY(list(round, &SQL_PUBLISH_PROJECTS, &in, &rows));
    tx_rollback(round->db);
    add_rows(round->arena, refs, rows);
    return OK;
}

static Err read_queue(Round *round, ProjectRefs *refs)
{
    PublishRow in = { .limit = PUBLISH_QUEUE_MAX };
    List rows = { 0 };
    TRY(list(round, &SQL_PUBLISH_QUEUE_LIST, &in, &rows));
    round->queue_orgs.items = NEW(round->arena, Uuid, rows.count + 1);
    round->queue_ids.items = NEW(round->arena, Uuid, rows.count + 1);
    for (size_t i = 0; i < rows.count; i++) {
        const PublishRow *row = ROW_AT(rows, i);
        round->queue_orgs.items[round->queue_orgs.count++] = row->org;
        round->queue_ids.items[round->queue_ids.count++] = row->id;
        if (!uuid_is_zero(row->project))
            add_project(round->arena, refs, row->org, row->project);
        else
            TRY(add_organization(round, refs, row->org));
    }
    return OK;
}

/* A new generation seals every provider key of the fleet anew. */
static Err add_generations(Round *round, ProjectRefs *refs)
{
    for (size_t i = 0; i < round->fleet_count; i++) {
        const FleetWork *fleet = &round->fleets[i];
        Str generation = STR(""), rest = STR("");
        str_cut(fleet->head_settings, ' ', &generation, &rest);
        int64_t published = 0;
        if (fleet->seq == 0 || !str_to_i64(generation, &published) || published == fleet->generation)
            continue;
        PublishRow in = { .fleet = fleet->id };
        List rows = { 0 };
        TRY(list(round, &SQL_PUBLISH_FLEET_PROJECTS, &in, &rows));
        add_rows(round->arena, refs, rows);
    }
    return OK;
}

static int compare_projects(const void *a, const void *b)
{
    const ProjectWork *x = a, *y = b;
    int order = uuid_compare(x->org, y->org);
    return order != 0 ? order : uuid_compare(x->id, y->id);
}

static void settle_projects(Round *round, ProjectRefs *refs)
{
    if (refs->count > 1)
        qsort(refs->items, refs->count, sizeof refs->items[0], compare_projects);
    for (size_t i = 0; i < refs->count; i++)
        if (round->project_count == 0 || compare_projects(&refs->items[round->project_count - 1], &refs->items[i]) != 0)
            refs->items[round->project_count++] = refs->items[i];
    round->projects = refs->items;
}

/* --- one project --- */

static const List *rows_of(List rows, Uuid workflow, List *ret_part)
{
    size_t from = 0, count = 0;
    for (size_t i = 0; i < rows.count; i++)
        if (uuid_eq(ROW_AT(rows, i)->workflow, workflow)) {
            from = count == 0 ? i : from;
            count++;
        }
    *ret_part = (List){ .items = count > 0 ? ROW_AT(rows, from) : NULL, .count = count };
    return ret_part;
}

static RoutingWorkflow workflow_from(Arena *arena, const PublishRow *row, List revisions, List stages)
{
    RoutingWorkflow workflow = {
        .id = row->id,
        .name = row->name,
        .dialect = row->dialect,
        .release = { .salt = row->salt },
    };
    RoutingRevision *out = NEW(arena, RoutingRevision, revisions.count + 1);
    RoutingStage *shares = NEW(arena, RoutingStage, stages.count + 1);
    for (size_t i = 0; i < revisions.count; i++) {
        const PublishRow *revision = ROW_AT(revisions, i);
        out[i] = (RoutingRevision){
            .id = revision->id, .number = revision->number, .targets = revision->targets, .retry = revision->retry
        };
    }
    for (size_t i = 0; i < stages.count; i++)
        shares[i] = (RoutingStage){ .revision = ROW_AT(stages, i)->revision, .percent = ROW_AT(stages, i)->percent };
    workflow.revisions = (List){ .items = out, .count = revisions.count };
    workflow.release.stages = (List){ .items = shares, .count = stages.count };
    return workflow;
}

static Err read_workflows(Round *round, const PublishRow *in, Routing *routing)
{
    List workflows = { 0 }, revisions = { 0 }, stages = { 0 }, some = { 0 }, shares = { 0 };
    TRY(list(round, &SQL_PUBLISH_WORKFLOWS, in, &workflows));
    TRY(list(round, &SQL_PUBLISH_REVISIONS, in, &revisions));
    TRY(list(round, &SQL_PUBLISH_STAGES, in, &stages));
    RoutingWorkflow *out = NEW(round->arena, RoutingWorkflow, workflows.count + 1);
    for (size_t i = 0; i < workflows.count; i++) {
        const PublishRow *row = ROW_AT(workflows, i);
        out[i] =
            workflow_from(round->arena, row, *rows_of(revisions, row->id, &some), *rows_of(stages, row->id, &shares));
    }
    routing->workflows = (List){ .items = out, .count = workflows.count };
    return OK;
}

static Err read_connections(Round *round, const PublishRow *in, Routing *routing)
{
    List rows = { 0 };
    TRY(list(round, &SQL_PUBLISH_CONNECTIONS, in, &rows));
    RoutingConnection *out = NEW(round->arena, RoutingConnection, rows.count + 1);
    for (size_t i = 0; i < rows.count; i++) {
        const PublishRow *row = ROW_AT(rows, i);
        out[i] = (RoutingConnection){
            .id = row->id, .name = row->name, .dialect = row->dialect, .base_url = row->base_url, .secret = row->secret
        };
    }
    routing->connections = (List){ .items = out, .count = rows.count };
    return OK;
}

static Err read_client_keys(Round *round, const PublishRow *in, Routing *routing)
{
    List rows = { 0 };
    TRY(list(round, &SQL_PUBLISH_CLIENT_KEYS, in, &rows));
    RoutingClientKey *out = NEW(round->arena, RoutingClientKey, rows.count + 1);
    for (size_t i = 0; i < rows.count; i++) {
        const PublishRow *row = ROW_AT(rows, i);
        out[i] = (RoutingClientKey){
            .id = row->id, .digest = digest_text(round->arena, digest_from(row->digest)), .not_after = row->not_after
        };
    }
    routing->client_keys = (List){ .items = out, .count = rows.count };
    return OK;
}

static Err read_live(Round *round, ProjectWork *project, const PublishRow *in)
{
    project->routing = (Routing){ .org = project->org, .project = project->id };
    TRY(read_connections(round, in, &project->routing));
    TRY(read_workflows(round, in, &project->routing));
    TRY(read_client_keys(round, in, &project->routing));
    TRY(list(round, &SQL_PUBLISH_SECRET_VERSIONS, in, &project->versions));
    return list(round, &SQL_PUBLISH_SEALED, in, &project->sealed);
}

static Err read_in_transaction(Round *round, ProjectWork *project)
{
    PublishRow in = { .org = project->org, .project = project->id }, row = { 0 };
    TRY(tx_set_tenant(round->db, project->org));
    Err err = one(round, &SQL_PUBLISH_PROJECT, &in, &row);
    if (err.kind != ERR_NONE && err.kind != ERR_NOT_FOUND)
        return err;
    project->live = err.kind == ERR_NONE && row.live;
    TRY(one(round, &SQL_PUBLISH_COUNTER, &in, &row));
    project->counter = row.version;
    TRY(list(round, &SQL_PUBLISH_ENTRIES_OF_PROJECT, &in, &project->entries));
    return project->live ? read_live(round, project, &in) : OK;
}

static Err read_project(Round *round, ProjectWork *project)
{
    TRY(tx_begin_read(round->db));
    Err err = read_in_transaction(round, project);
    tx_rollback(round->db);
    return err;
}

Err round_read(Round *round)
{
    ProjectRefs refs = { 0 };
    /* The queue before the rows: what is queued after this read is another round's. */
    TRY(read_queue(round, &refs));
    TRY(read_fleets(round));
    TRY(read_checkpoint(round));
    TRY(add_generations(round, &refs));
    settle_projects(round, &refs);
    for (size_t i = 0; i < round->project_count; i++)
        TRY(read_project(round, &round->projects[i]));
    return OK;
}
