/*
 * fleet.c: fleets, whom they serve, and their data planes' lives after enrolment.
 */
#include "domain/fleet.h"

#include "domain/organization.h"
#include "keeper/client.h"
#include "store/sql.h"

static const Field fleet_fields[] = {
    FIELD(Fleet, id, .prefix = "flt", .read_only = true),
    FIELD(Fleet, name, .required = true, .name_like = true, .doc = "Unique in the installation."),
    FIELD(Fleet, generation, .read_only = true, .doc = "Of the fleet's key."),
    FIELD(Fleet, max_stale_s, .min = 0, .max = 7 * 86400,
        .doc = "After so long without news a data plane says that it is stale, and serves on; 300 when not given."),
    FIELD(Fleet, hard_expiry_s, .min = 0, .max = 90 * 86400,
        .doc = "After so long without news it refuses to serve; 604800 when not given."),
    FIELD(Fleet, version, .read_only = true),
    FIELD(Fleet, created_at, .read_only = true),
    FIELD(Fleet, updated_at, .read_only = true),
    FIELD(Fleet, kms_uri, .internal = true),
    FIELD(Fleet, wrapped, .internal = true),
    FIELD(Fleet, statement, .internal = true),
};
const FieldTable FLEET_FIELDS = FIELD_TABLE(Fleet, fleet_fields);

static const Field fleet_organization_fields[] = {
    FIELD(FleetOrganization, id, .prefix = "org", .read_only = true),
    FIELD(FleetOrganization, name, .read_only = true),
    FIELD(FleetOrganization, created_at, .read_only = true),
    FIELD(FleetOrganization, fleet, .internal = true),
};
const FieldTable FLEET_ORGANIZATION_FIELDS = FIELD_TABLE(FleetOrganization, fleet_organization_fields);

static const Field generation_fields[] = {
    FIELD(FleetGeneration, generation, .required = true, .min = 2, .max = INT32_MAX),
    FIELD(FleetGeneration, statement, .required = true, .max = STATEMENT_BYTES_MAX,
        .doc = "By the enrol role: which generation, and who no longer gets its key."),
};
const FieldTable FLEET_GENERATION_FIELDS = FIELD_TABLE(FleetGeneration, generation_fields);

static const Field data_plane_fields[] = {
    FIELD(DataPlane, id, .prefix = "dpl", .read_only = true),
    FIELD(DataPlane, fleet, .prefix = "flt", .read_only = true),
    FIELD(DataPlane, name, .read_only = true),
    FIELD(DataPlane, state, .read_only = true, .doc = "enrolled or revoked"),
    FIELD(DataPlane, generation, .read_only = true, .doc = "Of the fleet's key at its enrolment."),
    FIELD(DataPlane, offered_seq, .read_only = true, .doc = "The newest manifest it was given."),
    FIELD(DataPlane, verified_seq, .read_only = true, .doc = "The newest it has verified."),
    FIELD(DataPlane, active_seq, .read_only = true, .doc = "What it runs."),
    FIELD(DataPlane, ack_state, .read_only = true),
    FIELD(DataPlane, ack_code, .read_only = true, .doc = "Why it refused, when it did."),
    FIELD(DataPlane, ack_detail, .read_only = true),
    FIELD(DataPlane, ack_pointer, .read_only = true),
    FIELD(DataPlane, enrolled_at, .read_only = true),
    FIELD(DataPlane, last_seen_at, .read_only = true),
    FIELD(DataPlane, revoked_at, .read_only = true),
};
const FieldTable DATA_PLANE_FIELDS = FIELD_TABLE(DataPlane, data_plane_fields);

#define MAX_STALE_S_DEFAULT 300
#define HARD_EXPIRY_S_DEFAULT 604800

static Err check_fleet(Ctx *ctx, const void *was, void *now)
{
    Fleet *fleet = now;
    (void)was;
    (void)ctx;
    fleet->max_stale_s = fleet->max_stale_s > 0 ? fleet->max_stale_s : MAX_STALE_S_DEFAULT;
    fleet->hard_expiry_s = fleet->hard_expiry_s > 0 ? fleet->hard_expiry_s : HARD_EXPIRY_S_DEFAULT;
    return OK;
}

static const char *const fixed[] = { "name", NULL };
const Noun FLEET = { .name = "fleet",
    .prefix = "flt",
    .fields = &FLEET_FIELDS,
    .insert = &SQL_FLEET_INSERT,
    .lock = &SQL_FLEET_LOCK,
    .update = &SQL_FLEET_UPDATE,
    .remove = &SQL_FLEET_DELETE,
    .check = check_fleet,
    .fixed = fixed,
    .publishes = true };

Err fleet_key_make(Ctx *ctx, Fleet *fleet)
{
    if (ctx->world->keeper == NULL)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper is not there; ask again in a moment.");
    fleet->kms_uri = ctx->world->kms_uri;
    FleetKeyNew ask = {
        .fleet = fleet->id, .generation = fleet->generation, .kms_uri = fleet->kms_uri, .statement = fleet->statement
    };
    return keeper_fleet_key_new(ctx->world->keeper, ctx->arena, &ask, &fleet->wrapped);
}

static Err insert_key(Ctx *ctx, Fleet *fleet)
{
    return db_exec(ctx->db, ctx->arena, &SQL_FLEET_KEY_INSERT, REC(&FLEET_FIELDS, fleet), NULL);
}

Err fleet_create(Ctx *ctx, Fleet *fleet)
{
    TRY(noun_create(ctx, &FLEET, fleet));
    return insert_key(ctx, fleet);
}

static Err check_next(Ctx *ctx, const Fleet *fleet, int64_t generation)
{
    if (fleet->generation + 1 == generation)
        return OK;
    return FAIL_FMT(ctx->arena, ERR_CONFLICT, "generation-out-of-order",
        "The fleet's generation is %lld; the next one is %lld.", (long long)fleet->generation,
        (long long)fleet->generation + 1);
}

Err fleet_plan_advance(Ctx *ctx, const Ref *ref, const FleetGeneration *ask, Fleet *ret_fleet)
{
    Ref in = *ref;
    TRY(db_one(ctx->db, ctx->arena, &SQL_FLEET_GET, REC(&REF_FIELDS, &in), REC(&FLEET_FIELDS, ret_fleet)));
    TRY(check_next(ctx, ret_fleet, ask->generation));
    ret_fleet->generation = ask->generation;
    ret_fleet->statement = ask->statement;
    return OK;
}

Err fleet_advance(Ctx *ctx, const Ref *ref, const Fleet *next, Fleet *ret_fleet)
{
    Fleet fleet = { 0 };
    TRY(noun_lock(ctx, &FLEET, ref, &fleet));
    TRY(check_next(ctx, &fleet, next->generation));
    fleet.generation = next->generation;
    fleet.kms_uri = next->kms_uri;
    fleet.wrapped = next->wrapped;
    fleet.statement = next->statement;
    TRY(insert_key(ctx, &fleet));
    TRY(db_one(ctx->db, ctx->arena, &SQL_FLEET_ADVANCE, REC(&FLEET_FIELDS, &fleet), REC(&FLEET_FIELDS, &fleet)));
    TRY(audit(ctx, "fleet.advanced", "flt", fleet.id, fields_encode(ctx->arena, &FLEET_FIELDS, &fleet)));
    *ret_fleet = fleet;
    return publish_enqueue(ctx, ctx->project, STR("fleet.advanced"));
}

Err fleet_serve(Ctx *ctx, const Ref *fleet, const Ref *organization, bool serve, FleetOrganization *ret_row)
{
    Fleet of = { 0 };
    Ref in = *organization;
    Ref fleet_in = *fleet;
    TRY(db_one(ctx->db, ctx->arena, &SQL_FLEET_LOCK, REC(&REF_FIELDS, &fleet_in), REC(&FLEET_FIELDS, &of)));
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_ORGANIZATION_FIND, REC(&REF_FIELDS, &in), REC(&FLEET_ORGANIZATION_FIELDS, ret_row)));
    ret_row->fleet = of.id;
    const Stmt *stmt = serve ? &SQL_FLEET_SERVE : &SQL_FLEET_STOP_SERVING;
    int64_t rows = 0;
    TRY(db_exec(ctx->db, ctx->arena, stmt, REC(&FLEET_ORGANIZATION_FIELDS, ret_row), &rows));
    if (rows == 0)
        return serve ? OK : FAIL(ERR_NOT_FOUND, "not-found", "The fleet does not serve this organization.");
    json_t *detail = fields_encode(ctx->arena, &FLEET_ORGANIZATION_FIELDS, ret_row);
    TRY(audit(ctx, serve ? "fleet.serves" : "fleet.stopped-serving", "flt", of.id, detail));
    return publish_enqueue_organization(ctx, ret_row->id, serve ? STR("fleet.serves") : STR("fleet.stopped-serving"));
}

Err data_plane_revoke(Ctx *ctx, const Ref *ref, DataPlane *ret_data_plane)
{
    Ref in = *ref;
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_DATA_PLANE_REVOKE, REC(&REF_FIELDS, &in), REC(&DATA_PLANE_FIELDS, ret_data_plane)));
    TRY(audit(ctx, "data-plane.revoked", "dpl", ret_data_plane->id,
        fields_encode(ctx->arena, &DATA_PLANE_FIELDS, ret_data_plane)));
    return publish_enqueue(ctx, ctx->project, STR("data-plane.revoked"));
}
