/*
 * enrolment.c: how a gateway becomes a data plane, and how a data plane gets its short-lived token. Nobody here trusts
 * the caller: every statement chains to the root.
 */
#include "base/config.h"
#include "base/encode.h"
#include "base/json.h"
#include "crypto/token.h"
#include "domain/fleet.h"
#include "keeper/client.h"
#include "store/sql.h"

static const Field enrolment_ask_fields[] = {
    FIELD(EnrolmentAsk, cert, .required = true, .max = STATEMENT_BYTES_MAX, .doc = "The join certificate."),
    FIELD(EnrolmentAsk, request, .required = true, .max = STATEMENT_BYTES_MAX,
        .doc = "The new data plane's public keys, signed by the certified one-time key."),
};
const FieldTable ENROLMENT_ASK_FIELDS = FIELD_TABLE(EnrolmentAsk, enrolment_ask_fields);

static const Field enrolment_fields[] = {
    FIELD(Enrolment, data_plane, .prefix = "dpl", .read_only = true),
    FIELD(Enrolment, keyring, .read_only = true, .doc = "The fleet's key, sealed to the data plane, in a JWS."),
    FIELD(Enrolment, root, .read_only = true, .doc = "The root document."),
};
const FieldTable ENROLMENT_FIELDS = FIELD_TABLE(Enrolment, enrolment_fields);

/* Beside the root file lie the versions before it, as FILE.1, FILE.2, ... */
Err root_file_read(Arena *arena, const void *file, int64_t version, Str *ret_text)
{
    const Str *path = file;
    return file_read(
        arena, arena_fmt(arena, STR_FMT ".%lld", STR_ARG(*path), (long long)version), ROOT_BYTES_MAX, ret_text);
}

Err root_load(Ctx *ctx, Root *ret_root)
{
    Str text;
    if (ctx->world->root_file.len == 0 ||
        file_read(ctx->arena, ctx->world->root_file, ROOT_BYTES_MAX, &text).kind != ERR_NONE)
        return FAIL(ERR_UNAVAILABLE, "root-unavailable", "The root document is not there yet.");
    Digest expected = digest_of(str_bytes(text));
    if (ctx->world->root_hash.len > 0)
        TRY(digest_parse(ctx->world->root_hash, &expected));
    Err err = root_verify_from(ctx->arena, text, expected, root_file_read, &ctx->world->root_file, ctx->now, ret_root);
    if (err.kind != ERR_NONE)
        return FAIL_FMT(ctx->arena, ERR_UNAVAILABLE, "root-invalid", "The root document does not verify (" STR_FMT ").",
            STR_ARG(err.code));
    return OK;
}

struct EnrolmentPlan {
    Root root;
    JoinCert cert;
    EnrolRequest request_parsed;
    Uuid want; /* the fleet */
    Uuid data_plane, fleet, installation;
    Str name, cert_text, request, request_id, kms_uri, keyring;
    Bytes sign_key, encrypt_key, cert_digest, wrapped;
    int64_t generation;
    bool is_new;
};
static const Field plan_fields[] = {
    FIELD(EnrolmentPlan, want, .internal = true),
    FIELD(EnrolmentPlan, data_plane, .internal = true),
    FIELD(EnrolmentPlan, fleet, .internal = true),
    FIELD(EnrolmentPlan, installation, .internal = true),
    FIELD(EnrolmentPlan, name, .internal = true),
    FIELD(EnrolmentPlan, cert_text, .internal = true),
    FIELD(EnrolmentPlan, request, .internal = true),
    FIELD(EnrolmentPlan, request_id, .internal = true),
    FIELD(EnrolmentPlan, kms_uri, .internal = true),
    FIELD(EnrolmentPlan, sign_key, .internal = true),
    FIELD(EnrolmentPlan, encrypt_key, .internal = true),
    FIELD(EnrolmentPlan, cert_digest, .internal = true),
    FIELD(EnrolmentPlan, wrapped, .internal = true),
    FIELD(EnrolmentPlan, generation, .internal = true),
    FIELD(EnrolmentPlan, is_new, .internal = true),
};
static const FieldTable PLAN_FIELDS = FIELD_TABLE(EnrolmentPlan, plan_fields);

/* Sets the installation as the tenant: the leaf of the enrolment goes to its log. */
static Err begin(Ctx *ctx, EnrolmentPlan *plan)
{
    plan->request_id = ctx->request_id;
    TRY(db_one(ctx->db, ctx->arena, &SQL_ENROLMENT_BEGIN, REC(&PLAN_FIELDS, plan), REC(&PLAN_FIELDS, plan)));
    ctx->installation = ctx->org = plan->installation;
    if (uuid_is_zero(plan->fleet))
        return FAIL(ERR_NOT_FOUND, "fleet-unknown", "The fleet of this join token is not there.");
    return OK;
}

Err enrolment_check(Ctx *ctx, const EnrolmentAsk *ask, EnrolmentPlan **ret_plan)
{
    EnrolmentPlan *plan = NEW(ctx->arena, EnrolmentPlan, 1);
    TRY(root_load(ctx, &plan->root));
    TRY(join_cert_verify(
        ctx->arena, ask->cert, root_keys(&plan->root, "enrol"), plan->root.installation, TIME_NONE, &plan->cert));
    TRY(enrol_request_verify(ctx->arena, ask->request, &plan->cert, &plan->request_parsed));
    EnrolRequest *request = &plan->request_parsed;
    Digest digest = digest_of(str_bytes(ask->cert));
    plan->want = plan->cert.fleet;
    plan->data_plane = data_plane_id(plan->root.installation, &request->sign);
    plan->name = request->name;
    plan->cert_text = ask->cert;
    plan->request = ask->request;
    plan->sign_key = (Bytes){ request->sign.b, sizeof(request->sign.b) };
    plan->encrypt_key = (Bytes){ request->encrypt.b, sizeof(request->encrypt.b) };
    plan->cert_digest = arena_bytes(ctx->arena, digest_bytes(&digest));
    TRY(begin(ctx, plan));
    if (!uuid_eq(plan->installation, plan->root.installation))
        return FAIL(ERR_UNAVAILABLE, "root-of-another-installation", "The root document is another installation's.");
    EnrolmentPlan known = { .want = plan->data_plane };
    TRY(db_one(ctx->db, ctx->arena, &SQL_DATA_PLANE_KNOWN, REC(&PLAN_FIELDS, &known), REC(&PLAN_FIELDS, &known)));
    if (uuid_is_zero(known.data_plane)) /* a new one must come in its certificate's time */
        TRY(join_cert_verify(
            ctx->arena, ask->cert, root_keys(&plan->root, "enrol"), plan->root.installation, ctx->now, &plan->cert));
    *ret_plan = plan;
    return OK;
}

Err enrolment_keyring(Ctx *ctx, EnrolmentPlan *plan)
{
    if (ctx->world->keeper == NULL)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper is not there; ask again in a moment.");
    KeyringAsk ask = { .fleet = plan->fleet,
        .fleet_key = { .generation = plan->generation, .kms_uri = plan->kms_uri, .wrapped = plan->wrapped },
        .cert = plan->cert_text,
        .request = plan->request };
    KeyringGiven given;
    TRY(keeper_keyring(ctx->world->keeper, ctx->arena, &ask, &given));
    if (!uuid_eq(given.data_plane, plan->data_plane))
        return FAIL(ERR_INTERNAL, "keyring-of-another", "The keeper made a keyring for another data plane.");
    plan->keyring = given.keyring;
    return OK;
}

Err enrolment_commit(Ctx *ctx, EnrolmentPlan *plan, Enrolment *ret_enrolment)
{
    EnrolmentPlan now = *plan;
    TRY(begin(ctx, &now));
    if (now.generation != plan->generation)
        return FAIL(ERR_CONFLICT, "generation-changed", "The fleet's key changed at this moment; ask again.");
    TRY(db_one(ctx->db, ctx->arena, &SQL_DATA_PLANE_ENROL, REC(&PLAN_FIELDS, plan), REC(&PLAN_FIELDS, plan)));
    if (plan->is_new) {
        json_t *detail = json_object();
        json_object_set_new(detail, "name", json_from_str(plan->name));
        json_object_set_new(detail, "fleet", json_from_str(typeid_format(ctx->arena, STR("flt"), plan->fleet)));
        TRY(audit(ctx, "data-plane.enrolled", "dpl", plan->data_plane, detail));
    }
    *ret_enrolment = (Enrolment){ plan->data_plane, plan->keyring, plan->root.jws };
    return OK;
}

/* --- access tokens --- */

typedef struct TokenIssue {
    Uuid want, id, data_plane, installation;
    Bytes sign_key, digest;
    Str jti;
    Time revoked_at, jti_expires_at, expires_at;
} TokenIssue;
static const Field token_issue_fields[] = {
    FIELD(TokenIssue, want, .internal = true),
    FIELD(TokenIssue, id, .internal = true),
    FIELD(TokenIssue, data_plane, .internal = true),
    FIELD(TokenIssue, installation, .internal = true),
    FIELD(TokenIssue, sign_key, .internal = true),
    FIELD(TokenIssue, digest, .internal = true),
    FIELD(TokenIssue, jti, .internal = true),
    FIELD(TokenIssue, revoked_at, .internal = true),
    FIELD(TokenIssue, jti_expires_at, .internal = true),
    FIELD(TokenIssue, expires_at, .internal = true),
};
static const FieldTable TOKEN_ISSUE_FIELDS = FIELD_TABLE(TokenIssue, token_issue_fields);

static Err unknown_data_plane(void)
{
    return FAIL(ERR_UNAUTHENTICATED, "data-plane-unknown", "This data plane is not enrolled here.");
}

static Err load_sign_key(Ctx *ctx, Bytes key, PublicKey *ret_key)
{
    _cleanup_(json_release) json_t *jwk = json_object();
    json_object_set_new(jwk, "kty", json_string("OKP"));
    json_object_set_new(jwk, "crv", json_string("Ed25519"));
    json_object_set_new(jwk, "x", json_from_str(base64url_encode(ctx->arena, key)));
    return ed25519_from_jwk(jwk, ret_key);
}

Err data_plane_token_issue(Ctx *ctx, Str assertion, Secret *ret_token)
{
    TokenIssue issue = { 0 };
    Assertion said;
    PublicKey sign = { 0 };
    TRY(assertion_peek(ctx->arena, assertion, &issue.want));
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_DATA_PLANE_FIND, REC(&TOKEN_ISSUE_FIELDS, &issue), REC(&TOKEN_ISSUE_FIELDS, &issue)));
    if (uuid_is_zero(issue.id))
        return unknown_data_plane();
    TRY(load_sign_key(ctx, issue.sign_key, &sign));
    TRY(assertion_verify(ctx->arena, assertion, &sign, issue.installation, ctx->now, &said));
    if (!uuid_eq(said.data_plane, issue.id))
        return unknown_data_plane();
    if (!time_is_none(issue.revoked_at))
        return FAIL(ERR_UNAUTHENTICATED, "data-plane-revoked", "This data plane was revoked.");
    _cleanup_(secret_release) Secret token = { 0 };
    TRY(token_new(STR("dpl"), &token));
    Digest digest = token_digest(bytes_str(secret_bytes(&token)));
    issue.data_plane = issue.id;
    issue.digest = digest_bytes(&digest);
    issue.jti = said.jti;
    issue.jti_expires_at = said.expires;
    issue.expires_at = time_add_s(ctx->now, DATA_PLANE_TOKEN_TTL_S);
    Err err = db_exec(ctx->db, ctx->arena, &SQL_DATA_PLANE_TOKEN_ISSUE, REC(&TOKEN_ISSUE_FIELDS, &issue), NULL);
    if (err_is(err, "data-plane-assertion-used"))
        err.kind = ERR_UNAUTHENTICATED;
    TRY(err);
    *ret_token = TAKE(token);
    return OK;
}
