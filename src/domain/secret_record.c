/*
 * secret_record.c: secrets, their versions, and their way through the keeper.
 */
#include "domain/secret_record.h"

#include "keeper/client.h"
#include "snapshot/object.h"
#include "snapshot/origin.h"
#include "store/sql.h"

static const Field secret_record_fields[] = {
    FIELD(SecretRecord, id, .prefix = "sec", .doc = "May be chosen by the caller, because a sealed key names it."),
    FIELD(SecretRecord, name, .required = true, .name_like = true, .doc = "Unique in the project."),
    FIELD(SecretRecord, origin, .required = true, .min = 1, .max = (int64_t)ORIGIN_BYTES_MAX,
        .doc = "Where the key may be sent, for ever: scheme, host and port."),
    FIELD(SecretRecord, sealed, .write_only = true, .max = SECRET_JWE_BYTES_MAX,
        .doc = "The key, sealed to the intake key: a JWE of type reeve-intake+jwe."),
    FIELD(SecretRecord, plaintext, .write_only = true, .max = PROVIDER_KEY_BYTES_MAX,
        .doc = "The key itself; only where the organization's policy allows it."),
    FIELD(SecretRecord, version, .read_only = true),
    FIELD(SecretRecord, active, .read_only = true, .doc = "Number of the active version."),
    FIELD(SecretRecord, hint, .read_only = true, .doc = "The active version's last four characters."),
    FIELD(SecretRecord, created_at, .read_only = true),
    FIELD(SecretRecord, updated_at, .read_only = true),
};
const FieldTable SECRET_RECORD_FIELDS = FIELD_TABLE(SecretRecord, secret_record_fields);

static const Field secret_version_fields[] = {
    FIELD(SecretVersion, number, .read_only = true),
    FIELD(SecretVersion, state, .read_only = true, .doc = "pending, active, retiring or revoked"),
    FIELD(SecretVersion, hint, .read_only = true),
    FIELD(SecretVersion, not_after, .read_only = true, .doc = "When a retiring version ends."),
    FIELD(SecretVersion, created_at, .read_only = true),
    FIELD(SecretVersion, revoked_at, .read_only = true),
};
const FieldTable SECRET_VERSION_FIELDS = FIELD_TABLE(SecretVersion, secret_version_fields);

static const Field secret_version_new_fields[] = {
    FIELD(SecretVersionNew, sealed, .write_only = true, .max = SECRET_JWE_BYTES_MAX),
    FIELD(SecretVersionNew, plaintext, .write_only = true, .max = PROVIDER_KEY_BYTES_MAX),
    FIELD(SecretVersionNew, overlap_s, .min = 0, .max = OVERLAP_S_MAX,
        .doc = "How long the former version still serves; 900 when not given, 0 ends it at once."),
    FIELD(SecretVersionNew, pending, .doc = "Keep it for later: activate makes it the active one."),
};
const FieldTable SECRET_VERSION_NEW_FIELDS = FIELD_TABLE(SecretVersionNew, secret_version_new_fields);

static const Field overlap_fields[] = {
    FIELD(SecretOverlap, overlap_s, .min = 0, .max = OVERLAP_S_MAX),
};
const FieldTable SECRET_OVERLAP_FIELDS = FIELD_TABLE(SecretOverlap, overlap_fields);

struct SecretPlan {
    Uuid id;
    Str name, origin;
    Str sealed, plaintext;
    bool plaintext_intake; /* the organization's policy */
    int64_t key_version;   /* 0: the project has no key yet */
    Str kms_uri;
    Bytes wrapped;
    bool key_is_new;
    int64_t number;
    Str state, hint;
    Bytes envelope;
    Time not_after;
    bool pending;
    MaybeInt overlap_s;
    int64_t version, live;
};
static const Field plan_fields[] = {
    FIELD(SecretPlan, id, .internal = true),
    FIELD(SecretPlan, name, .internal = true),
    FIELD(SecretPlan, origin, .internal = true),
    FIELD(SecretPlan, plaintext_intake, .internal = true),
    FIELD(SecretPlan, key_version, .internal = true),
    FIELD(SecretPlan, kms_uri, .internal = true),
    FIELD(SecretPlan, wrapped, .internal = true),
    FIELD(SecretPlan, number, .internal = true),
    FIELD(SecretPlan, state, .internal = true),
    FIELD(SecretPlan, hint, .internal = true),
    FIELD(SecretPlan, envelope, .internal = true),
    FIELD(SecretPlan, not_after, .internal = true),
    FIELD(SecretPlan, version, .internal = true),
    FIELD(SecretPlan, live, .internal = true),
};
static const FieldTable PLAN_FIELDS = FIELD_TABLE(SecretPlan, plan_fields);

static Err bad_member(Ctx *ctx, const char *code, const char *pointer, Str detail)
{
    Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
    err.code = str_from_c(code);
    err.fields = (FieldErrs){ .items = NEW(ctx->arena, FieldErr, 1), .count = 1 };
    err.fields.items[0] = (FieldErr){ str_from_c(pointer), detail };
    return err;
}

/* --- reads before the keeper is asked --- */

static Err check_origin(Ctx *ctx, Str origin)
{
    Str spelled;
    Err err = origin_of_url(ctx->arena, origin, &spelled);
    if (err.kind != ERR_NONE)
        return bad_member(ctx, "bad-origin", "/origin", err.detail);
    if (!str_eq(origin, spelled))
        return bad_member(
            ctx, "bad-origin", "/origin", arena_fmt(ctx->arena, "must be written " STR_FMT, STR_ARG(spelled)));
    if (ctx_takes_origin(ctx, origin))
        return OK;
    return bad_member(ctx, "bad-origin", "/origin", STR("must be https"));
}

static Err check_intake(Ctx *ctx, const SecretPlan *plan)
{
    if ((plan->sealed.ptr != NULL) == (plan->plaintext.ptr != NULL))
        return bad_member(ctx, "invalid-body", "/sealed", STR("must be given, or plaintext: one of the two"));
    if (plan->plaintext.ptr != NULL && !plan->plaintext_intake)
        return bad_member(ctx, "plaintext-not-allowed", "/plaintext",
            STR("is not allowed by the organization's policy: seal the key to the intake key"));
    return OK;
}

static Err load_key(Ctx *ctx, SecretPlan *plan)
{
    TRY(db_one(ctx->db, ctx->arena, &SQL_SECRET_POLICY, REC_NONE, REC(&PLAN_FIELDS, plan)));
    Err err = db_one(ctx->db, ctx->arena, &SQL_PROJECT_KEY_NEWEST, REC_NONE, REC(&PLAN_FIELDS, plan));
    return err.kind == ERR_NOT_FOUND ? OK : err;
}

Err secret_plan_create(Ctx *ctx, const SecretRecord *in, SecretPlan **ret_plan)
{
    SecretPlan *plan = NEW(ctx->arena, SecretPlan, 1);
    *plan = (SecretPlan){ .id = uuid_is_zero(in->id) ? uuid_v7(ctx->now) : in->id,
        .name = in->name,
        .origin = in->origin,
        .sealed = in->sealed,
        .plaintext = in->plaintext,
        .number = 1 };
    TRY(check_origin(ctx, plan->origin));
    TRY(load_key(ctx, plan));
    TRY(check_intake(ctx, plan));
    *ret_plan = plan;
    return OK;
}

Err secret_plan_rotate(Ctx *ctx, const Ref *secret, const SecretVersionNew *in, SecretPlan **ret_plan)
{
    SecretPlan *plan = NEW(ctx->arena, SecretPlan, 1);
    Ref ref = *secret;
    TRY(db_one(ctx->db, ctx->arena, &SQL_SECRET_NEXT, REC(&REF_FIELDS, &ref), REC(&PLAN_FIELDS, plan)));
    plan->sealed = in->sealed;
    plan->plaintext = in->plaintext;
    plan->pending = in->pending;
    plan->overlap_s = in->overlap_s;
    TRY(load_key(ctx, plan));
    TRY(check_intake(ctx, plan));
    *ret_plan = plan;
    return OK;
}

/* --- the keeper --- */

static Err new_project_key(Ctx *ctx, SecretPlan *plan)
{
    ProjectKeyNew ask = { .org = ctx->org, .project = ctx->project, .version = 1, .kms_uri = ctx->world->kms_uri };
    TRY(keeper_project_key_new(ctx->world->keeper, ctx->arena, &ask, &plan->wrapped));
    plan->key_version = 1;
    plan->kms_uri = ask.kms_uri;
    plan->key_is_new = true;
    return OK;
}

Err secret_intake(Ctx *ctx, SecretPlan *plan)
{
    if (ctx->world->keeper == NULL)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper is not there; ask again in a moment.");
    if (plan->key_version == 0)
        TRY(new_project_key(ctx, plan));
    SecretIntake ask = { .ref = { .org = ctx->org,
                             .project = ctx->project,
                             .secret = plan->id,
                             .version = plan->number,
                             .origin = plan->origin },
        .key = { .version = plan->key_version, .kms_uri = plan->kms_uri, .wrapped = plan->wrapped },
        .jwe = plan->sealed,
        .plain = str_bytes(plan->plaintext) };
    SecretTaken taken;
    TRY(keeper_secret_intake(ctx->world->keeper, ctx->arena, &ask, &taken));
    plan->envelope = taken.envelope;
    plan->hint = taken.hint;
    return OK;
}

/* --- writes --- */

static Err save_key(Ctx *ctx, SecretPlan *plan)
{
    if (!plan->key_is_new)
        return OK;
    return db_exec(ctx->db, ctx->arena, &SQL_PROJECT_KEY_INSERT, REC(&PLAN_FIELDS, plan), NULL);
}

Err secret_create(Ctx *ctx, SecretPlan *plan, SecretRecord *ret_secret)
{
    SecretRecord secret = {
        .id = plan->id, .name = plan->name, .origin = plan->origin, .active = { 1, true }, .hint = plan->hint
    };
    plan->state = STR("active");
    TRY(save_key(ctx, plan));
    TRY(noun_create(ctx, &SECRET_RECORD, &secret));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SECRET_VERSION_INSERT, REC(&PLAN_FIELDS, plan), NULL));
    *ret_secret = secret;
    return OK;
}

static Err audit_version(Ctx *ctx, const char *action, Uuid secret, const SecretVersion *version)
{
    TRY(audit(ctx, action, "sec", secret, fields_encode(ctx->arena, &SECRET_VERSION_FIELDS, version)));
    return publish_enqueue(ctx, ctx->project, str_from_c(action));
}

/* The active version makes room for another. */
static Err retire_active(Ctx *ctx, Uuid secret, MaybeInt overlap_s)
{
    int64_t overlap = overlap_s.set ? overlap_s.value : SECRET_OVERLAP_S_DEFAULT;
    SecretPlan in = { .id = secret,
        .state = overlap > 0 ? STR("retiring") : STR("revoked"),
        .not_after = time_add_s(ctx->now, overlap) };
    return db_exec(ctx->db, ctx->arena, &SQL_SECRET_RETIRE_ACTIVE, REC(&PLAN_FIELDS, &in), NULL);
}

Err secret_rotate(Ctx *ctx, const Ref *secret, SecretPlan *plan, SecretVersion *ret_version)
{
    SecretRecord of = { 0 };
    TRY(noun_lock(ctx, &SECRET_RECORD, secret, &of));
    if (!uuid_eq(of.id, plan->id))
        return FAIL(ERR_CONFLICT, "secret-replaced", "Another secret has this name now; ask again.");
    if (plan->live >= SECRET_LIVE_VERSIONS_MAX)
        return FAIL(ERR_CONFLICT, "too-many-versions", "The secret has 16 versions that are not revoked; revoke some.");
    plan->state = plan->pending ? STR("pending") : STR("active");
    TRY(save_key(ctx, plan));
    if (!plan->pending)
        TRY(retire_active(ctx, of.id, plan->overlap_s));
    TRY(db_one(ctx->db, ctx->arena, &SQL_SECRET_VERSION_INSERT, REC(&PLAN_FIELDS, plan),
        REC(&SECRET_VERSION_FIELDS, ret_version)));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SECRET_TOUCH, REC(&PLAN_FIELDS, plan), NULL));
    return audit_version(ctx, "secret.rotated", of.id, ret_version);
}

static Err move_version(Ctx *ctx, const Ref *secret, int64_t number, const Stmt *stmt, const char *action,
    const MaybeInt *overlap_s, SecretVersion *ret_version)
{
    SecretRecord of = { 0 };
    TRY(noun_lock(ctx, &SECRET_RECORD, secret, &of));
    SecretPlan in = { .id = of.id, .number = number };
    TRY(db_one(ctx->db, ctx->arena, &SQL_SECRET_VERSION_LOCK, REC(&PLAN_FIELDS, &in),
        REC(&SECRET_VERSION_FIELDS, ret_version)));
    if (overlap_s != NULL && !str_eq(ret_version->state, STR("pending")))
        return FAIL(ERR_CONFLICT, "version-not-pending", "Only a pending version can be activated.");
    if (overlap_s != NULL)
        TRY(retire_active(ctx, of.id, *overlap_s));
    TRY(db_one(ctx->db, ctx->arena, stmt, REC(&PLAN_FIELDS, &in), REC(&SECRET_VERSION_FIELDS, ret_version)));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SECRET_TOUCH, REC(&PLAN_FIELDS, &in), NULL));
    return audit_version(ctx, action, of.id, ret_version);
}

Err secret_activate(Ctx *ctx, const Ref *secret, int64_t number, MaybeInt overlap_s, SecretVersion *ret_version)
{
    return move_version(ctx, secret, number, &SQL_SECRET_VERSION_ACTIVATE, "secret.activated", &overlap_s, ret_version);
}

Err secret_revoke(Ctx *ctx, const Ref *secret, int64_t number, SecretVersion *ret_version)
{
    return move_version(ctx, secret, number, &SQL_SECRET_VERSION_REVOKE, "secret.revoked", NULL, ret_version);
}

static Err may_remove(Ctx *ctx, const void *was)
{
    SecretRecord secret = *(const SecretRecord *)was;
    int64_t uses = 0;
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SECRET_USES, REC(&SECRET_RECORD_FIELDS, &secret), &uses));
    if (uses > 0)
        return FAIL(ERR_CONFLICT, "secret-in-use", "A connection uses this secret.");
    return OK;
}

const Noun SECRET_RECORD = { .name = "secret",
    .prefix = "sec",
    .fields = &SECRET_RECORD_FIELDS,
    .insert = &SQL_SECRET_INSERT,
    .lock = &SQL_SECRET_LOCK,
    .remove = &SQL_SECRET_DELETE,
    .may_remove = may_remove,
    .room = &SQL_SECRET_ROOM,
    .most = PROJECT_SECRETS_MAX,
    .publishes = true };
