/*
 * workflow.c: workflows, revisions, releases.
 */
#include "domain/workflow.h"

#include "base/encode.h"
#include "base/json.h"
#include "domain/connection.h"
#include "store/sql.h"

static const Field workflow_fields[] = {
    FIELD(Workflow, id, .prefix = "wfl", .read_only = true),
    FIELD(Workflow, name, .required = true, .name_like = true, .doc = "What clients name as their model."),
    FIELD(Workflow, dialect, .required = true, .one_of = DIALECTS, .doc = "Of its clients and of its targets."),
    FIELD(Workflow, description, .max = 2000),
    FIELD(Workflow, version, .read_only = true),
    FIELD(Workflow, release, .read_only = true, .doc = "Number of the current release; null before the first."),
    FIELD(Workflow, revision, .read_only = true, .doc = "Number of the newest revision; null before the first."),
    FIELD(Workflow, created_at, .read_only = true),
    FIELD(Workflow, updated_at, .read_only = true),
};
const FieldTable WORKFLOW_FIELDS = FIELD_TABLE(Workflow, workflow_fields);

static const Field retry_fields[] = {
    FIELD(RoutingRetry, budget_ms, .min = 0, .max = TIMEOUT_MS_MAX, .doc = "For all attempts of one request."),
    FIELD(RoutingRetry, base_ms, .min = 0, .max = TIMEOUT_MS_MAX, .doc = "The first pause is at most this long."),
    FIELD(RoutingRetry, max_ms, .min = 0, .max = TIMEOUT_MS_MAX, .doc = "No pause is longer."),
    FIELD(RoutingRetry, attempts, .min = 0, .max = 100, .doc = "Over all targets."),
};
static const FieldTable RETRY_FIELDS = FIELD_TABLE(RoutingRetry, retry_fields);

static const Field revision_fields[] = {
    FIELD(Revision, id, .prefix = "rev", .read_only = true),
    FIELD(Revision, workflow, .prefix = "wfl", .read_only = true),
    FIELD(Revision, number, .read_only = true),
    FIELD(Revision, targets, .required = true, .min = 1, .max = REVISION_TARGETS_MAX, .table = &ROUTING_TARGET_FIELDS,
        .doc = "Tried in this order until one answers."),
    FIELD_NESTED(Revision, retry, &RETRY_FIELDS, .doc = "How long and how often to try."),
    FIELD(Revision, note, .max = 500, .doc = "Why this revision is."),
    FIELD(Revision, created_by, .prefix = "sva", .read_only = true),
    FIELD(Revision, created_at, .read_only = true),
    FIELD(Revision, connections, .internal = true),
    FIELD(Revision, positions, .internal = true),
};
const FieldTable REVISION_FIELDS = FIELD_TABLE(Revision, revision_fields);

static const Field stage_fields[] = {
    FIELD(Stage, revision, .prefix = "rev", .required = true),
    FIELD(Stage, number, .required = true, .doc = "Of the revision."),
    FIELD(Stage, percent, .required = true, .min = 1, .max = 100),
};
static const FieldTable STAGE_FIELDS = FIELD_TABLE(Stage, stage_fields);

static const Field release_fields[] = {
    FIELD(Release, workflow, .prefix = "wfl", .read_only = true),
    FIELD(Release, number, .read_only = true),
    FIELD(Release, version, .read_only = true, .doc = "Of the workflow: what If-Match compares."),
    FIELD(Release, salt, .read_only = true, .doc = "Decides which data planes are in which share."),
    FIELD(Release, stages, .read_only = true, .max = RELEASE_STAGES_MAX, .table = &STAGE_FIELDS),
    FIELD(Release, created_by, .prefix = "sva", .read_only = true),
    FIELD(Release, created_at, .read_only = true),
    FIELD(Release, revisions, .internal = true),
    FIELD(Release, percents, .internal = true),
    FIELD(Release, positions, .internal = true),
};
const FieldTable RELEASE_FIELDS = FIELD_TABLE(Release, release_fields);

static const Field release_ask_fields[] = {
    FIELD(ReleaseAsk, revision, .doc = "For everybody: a revision's id or number."),
    FIELD(ReleaseAsk, stages, .doc = "Shares: [{\"revision\": id or number, \"percent\": 1 to 100}], 100 in all."),
};
const FieldTable RELEASE_ASK_FIELDS = FIELD_TABLE(ReleaseAsk, release_ask_fields);

static const char *const fixed[] = { "name", "dialect", NULL };
const Noun WORKFLOW = { .name = "workflow",
    .prefix = "wfl",
    .fields = &WORKFLOW_FIELDS,
    .insert = &SQL_WORKFLOW_INSERT,
    .lock = &SQL_WORKFLOW_LOCK,
    .update = &SQL_WORKFLOW_UPDATE,
    .remove = &SQL_WORKFLOW_DELETE,
    .fixed = fixed,
    .room = &SQL_WORKFLOW_ROOM,
    .most = PROJECT_WORKFLOWS_MAX,
    .publishes = true };

const NounRef TARGET_REFS[] = { { "connection", "con", &SQL_CONNECTION_FIND }, { NULL, NULL, NULL } };

static Err body_err(Ctx *ctx, const char *code, Str pointer, Str detail)
{
    Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
    err.code = str_from_c(code);
    err.fields = (FieldErrs){ .items = NEW(ctx->arena, FieldErr, 1), .count = 1 };
    err.fields.items[0] = (FieldErr){ pointer, detail };
    return err;
}

/* --- revisions --- */

typedef struct TargetCheck {
    Uuid connection;
    Str name, dialect;
} TargetCheck;
static const Field target_check_fields[] = {
    FIELD(TargetCheck, connection, .internal = true),
    FIELD(TargetCheck, name, .internal = true),
    FIELD(TargetCheck, dialect, .internal = true),
};
static const FieldTable TARGET_CHECK_FIELDS = FIELD_TABLE(TargetCheck, target_check_fields);

static Err check_target(Ctx *ctx, const RoutingTarget *target, size_t index)
{
    TargetCheck check = { .connection = target->connection };
    Err err = db_one(ctx->db, ctx->arena, &SQL_TARGET_CONNECTION, REC(&TARGET_CHECK_FIELDS, &check),
        REC(&TARGET_CHECK_FIELDS, &check));
    if (err.kind == ERR_NOT_FOUND)
        return body_err(ctx, "connection-unknown", arena_fmt(ctx->arena, "/targets/%zu/connection", index),
            STR("is not a connection of this project"));
    return err;
}

Err revision_create(Ctx *ctx, const Ref *workflow, Revision *revision)
{
    Workflow of = { 0 };
    size_t count = revision->targets.count;
    TRY(noun_lock(ctx, &WORKFLOW, workflow, &of));
    revision->id = uuid_v7(ctx->now);
    revision->workflow = of.id;
    revision->connections = (Uuids){ NEW(ctx->arena, Uuid, count), count };
    revision->positions = (Ints){ NEW(ctx->arena, int64_t, count), count };
    for (size_t i = 0; i < count; i++) {
        const RoutingTarget *target = LIST_AT(RoutingTarget, revision->targets, i);
        TRY(check_target(ctx, target, i));
        revision->connections.items[i] = target->connection;
        revision->positions.items[i] = (int64_t)i + 1;
    }
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_REVISION_INSERT, REC(&REVISION_FIELDS, revision), REC(&REVISION_FIELDS, revision)));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_REVISION_TARGETS_INSERT, REC(&REVISION_FIELDS, revision), NULL));
    return audit(ctx, "workflow.revised", "rev", revision->id, fields_encode(ctx->arena, &REVISION_FIELDS, revision));
}

/* --- releases --- */

typedef struct RevisionFind {
    Uuid workflow, id, connection;
    MaybeInt number;
    Str name, dialect;
    int64_t position;
} RevisionFind;
static const Field revision_find_fields[] = {
    FIELD(RevisionFind, workflow, .internal = true),
    FIELD(RevisionFind, id, .internal = true),
    FIELD(RevisionFind, connection, .internal = true),
    FIELD(RevisionFind, number, .internal = true),
    FIELD(RevisionFind, name, .internal = true),
    FIELD(RevisionFind, dialect, .internal = true),
    FIELD(RevisionFind, position, .internal = true),
};
static const FieldTable REVISION_FIND_FIELDS = FIELD_TABLE(RevisionFind, revision_find_fields);

/* The dialects of a revision's targets are the workflow's, and its connections are still there. */
static Err check_releasable(Ctx *ctx, const Workflow *workflow, const RevisionFind *revision, Str pointer)
{
    List targets;
    RevisionFind in = *revision;
    TRY(db_list(
        ctx->db, ctx->arena, &SQL_REVISION_CHECK, REC(&REVISION_FIND_FIELDS, &in), &REVISION_FIND_FIELDS, &targets));
    for (size_t i = 0; i < targets.count; i++) {
        const RevisionFind *target = LIST_AT(RevisionFind, targets, i);
        if (target->dialect.ptr == NULL)
            return body_err(ctx, "connection-gone", pointer,
                arena_fmt(ctx->arena, "cannot be released: the connection of its target %lld was deleted",
                    (long long)target->position));
        if (!str_eq(target->dialect, workflow->dialect))
            return body_err(ctx, "dialect-mismatch", pointer,
                arena_fmt(ctx->arena,
                    "cannot be released: the workflow speaks " STR_FMT ", but the connection " STR_FMT
                    " of its target %lld speaks " STR_FMT,
                    STR_ARG(workflow->dialect), STR_ARG(target->name), (long long)target->position,
                    STR_ARG(target->dialect)));
    }
    return OK;
}

static Err find_revision(Ctx *ctx, const Workflow *workflow, const json_t *which, Str pointer, Stage *ret_stage)
{
    RevisionFind find = { .workflow = workflow->id };
    if (json_is_integer(which))
        find.number = (MaybeInt){ json_integer_value(which), true };
    else if (!json_is_string(which) ||
             typeid_parse(str_n(json_string_value(which), json_string_length(which)), STR("rev"), &find.id).kind !=
                 ERR_NONE)
        return body_err(ctx, "invalid-body", pointer, STR("must be a revision's id or number"));
    Err err = db_one(
        ctx->db, ctx->arena, &SQL_REVISION_FIND, REC(&REVISION_FIND_FIELDS, &find), REC(&REVISION_FIND_FIELDS, &find));
    if (err.kind == ERR_NOT_FOUND)
        return body_err(ctx, "revision-unknown", pointer, STR("is not a revision of this workflow"));
    TRY(err);
    TRY(check_releasable(ctx, workflow, &find, pointer));
    ret_stage->revision = find.id;
    ret_stage->number = find.number.value;
    return OK;
}

static Err read_stage(Ctx *ctx, const Workflow *workflow, const json_t *item, size_t index, Stage *ret_stage)
{
    Str at = arena_fmt(ctx->arena, "/stages/%zu", index);
    int64_t percent;
    if (!json_is_object(item) || json_object_size(item) != 2 || !json_i64(item, "percent", &percent) || percent < 1 ||
        percent > 100)
        return body_err(ctx, "invalid-body", at, STR("must have a revision and a percent from 1 to 100, nothing else"));
    TRY(find_revision(ctx, workflow, json_object_get(item, "revision"), at, ret_stage));
    ret_stage->percent = percent;
    return OK;
}

static Err read_stages(Ctx *ctx, const Workflow *workflow, const ReleaseAsk *ask, List *ret_stages)
{
    bool whole = ask->revision.value != NULL;
    size_t count = whole ? 1 : json_array_size(ask->stages.value);
    if (whole == (ask->stages.value != NULL))
        return body_err(ctx, "invalid-body", STR("/revision"), STR("must be given, or stages: one of the two"));
    if (count == 0 || count > RELEASE_STAGES_MAX)
        return body_err(ctx, "invalid-body", STR("/stages"), STR("must be a list of 1 to 16 stages"));
    Stage *stages = NEW(ctx->arena, Stage, count);
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (whole) {
            TRY(find_revision(ctx, workflow, ask->revision.value, STR("/revision"), &stages[i]));
            stages[i].percent = 100;
        } else {
            TRY(read_stage(ctx, workflow, json_array_get(ask->stages.value, i), i, &stages[i]));
        }
        sum += stages[i].percent;
    }
    if (sum != 100)
        return body_err(ctx, "invalid-body", STR("/stages"), STR("must have percents that add up to 100"));
    *ret_stages = (List){ stages, count };
    return OK;
}

static Err insert_release(Ctx *ctx, const Workflow *workflow, List stages, const char *action, Release *ret_release)
{
    uint8_t salt[12];
    random_bytes(salt, sizeof(salt));
    Release release = { .workflow = workflow->id,
        .salt = base64url_encode(ctx->arena, BYTES_OF(salt)),
        .stages = stages,
        .revisions = { NEW(ctx->arena, Uuid, stages.count), stages.count },
        .percents = { NEW(ctx->arena, int64_t, stages.count), stages.count },
        .positions = { NEW(ctx->arena, int64_t, stages.count), stages.count } };
    for (size_t i = 0; i < stages.count; i++) {
        const Stage *stage = LIST_AT(Stage, stages, i);
        release.revisions.items[i] = stage->revision;
        release.percents.items[i] = stage->percent;
        release.positions.items[i] = (int64_t)i + 1;
    }
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_RELEASE_INSERT, REC(&RELEASE_FIELDS, &release), REC(&RELEASE_FIELDS, &release)));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_RELEASE_STAGES_INSERT, REC(&RELEASE_FIELDS, &release), NULL));
    TRY(db_one(ctx->db, ctx->arena, &SQL_RELEASE_MAKE_CURRENT, REC(&RELEASE_FIELDS, &release),
        REC(&RELEASE_FIELDS, &release)));
    TRY(audit(ctx, action, "wfl", workflow->id, fields_encode(ctx->arena, &RELEASE_FIELDS, &release)));
    *ret_release = release;
    return publish_enqueue(ctx, ctx->project, str_from_c(action));
}

Err release_create(Ctx *ctx, const Ref *workflow, const ReleaseAsk *ask, Release *ret_release)
{
    Workflow of = { 0 };
    List stages;
    TRY(noun_lock(ctx, &WORKFLOW, workflow, &of));
    TRY(read_stages(ctx, &of, ask, &stages));
    return insert_release(ctx, &of, stages, "workflow.released", ret_release);
}

static Err load_stages(Ctx *ctx, Release *release)
{
    return db_list(
        ctx->db, ctx->arena, &SQL_RELEASE_STAGES, REC(&RELEASE_FIELDS, release), &STAGE_FIELDS, &release->stages);
}

Err release_rollback(Ctx *ctx, const Ref *workflow, Release *ret_release)
{
    Workflow of = { 0 };
    TRY(noun_lock(ctx, &WORKFLOW, workflow, &of));
    Release before = { .workflow = of.id, .number = of.release.value };
    Err err =
        db_one(ctx->db, ctx->arena, &SQL_RELEASE_BEFORE, REC(&RELEASE_FIELDS, &before), REC(&RELEASE_FIELDS, &before));
    if (err.kind == ERR_NOT_FOUND)
        return FAIL(ERR_CONFLICT, "nothing-to-roll-back", "There is no earlier release to go back to.");
    TRY(err);
    TRY(load_stages(ctx, &before));
    for (size_t i = 0; i < before.stages.count; i++) {
        const Stage *stage = LIST_AT(Stage, before.stages, i);
        RevisionFind find = { .workflow = of.id, .id = stage->revision };
        TRY(check_releasable(ctx, &of, &find, STR("")));
    }
    return insert_release(ctx, &of, before.stages, "workflow.rolled-back", ret_release);
}

Err release_get(Ctx *ctx, const Ref *workflow, Release *ret_release)
{
    Ref in = *workflow;
    TRY(db_one(ctx->db, ctx->arena, &SQL_RELEASE_CURRENT, REC(&REF_FIELDS, &in), REC(&RELEASE_FIELDS, ret_release)));
    return load_stages(ctx, ret_release);
}
