/*
 * fleets.c: /v1/fleets, whom they serve, their data planes; enrolment and data planes' tokens.
 */
#include "api/route.h"

#include "base/json.h"
#include "domain/fleet.h"
#include "store/sql.h"

static Err look_fleet(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    Fleet *fleet = NEW(ctx->arena, Fleet, 1);
    TRY(req_body(req, &FLEET_FIELDS, fleet));
    fleet->id = uuid_v7(ctx->now);
    fleet->generation = 1;
    ctx->state = fleet;
    return OK;
}

static Err make_key(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    Fleet *fleet = ctx->state;
    if (!req_dry_run(req))
        return fleet_key_make(ctx, fleet);
    fleet->kms_uri = STR("");
    fleet->wrapped = (Bytes){ (const uint8_t *)"", 0 };
    return OK;
}

static Err post_fleet(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    Fleet fleet = *(const Fleet *)ctx->state;
    TRY(fleet_create(ctx, &fleet));
    reply_created(reply, &FLEET_FIELDS, &fleet, fleet.id);
    return OK;
}

static Err look_generation(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    Ref ref;
    FleetGeneration in = { 0 };
    Fleet *fleet = NEW(ctx->arena, Fleet, 1);
    TRY(req_ref(req, "fleet", "flt", &ref));
    TRY(req_body(req, &FLEET_GENERATION_FIELDS, &in));
    TRY(fleet_plan_advance(ctx, &ref, &in, fleet));
    ctx->state = fleet;
    return OK;
}

static Err post_generation(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    Fleet fleet;
    TRY(req_ref(req, "fleet", "flt", &ref));
    TRY(fleet_advance(ctx, &ref, ctx->state, &fleet));
    reply_one(reply, &FLEET_FIELDS, &fleet);
    return OK;
}

static Err serve(Ctx *ctx, const Req *req, Reply *reply, bool on)
{
    Ref fleet, organization;
    FleetOrganization row = { 0 };
    TRY(req_ref(req, "fleet", "flt", &fleet));
    TRY(req_ref(req, "organization", "org", &organization));
    TRY(fleet_serve(ctx, &fleet, &organization, on, &row));
    reply_none(reply);
    return OK;
}

typedef struct ServeAsk {
    Str organization;
} ServeAsk;
static const Field serve_ask_fields[] = {
    FIELD(ServeAsk, organization, .required = true, .max = 64, .doc = "Its id or name."),
};
static const FieldTable SERVE_ASK_FIELDS = FIELD_TABLE(ServeAsk, serve_ask_fields);

static Err post_organization(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref, organization;
    ServeAsk ask = { 0 };
    FleetOrganization row = { 0 };
    TRY(req_ref(req, "fleet", "flt", &ref));
    TRY(req_body(req, &SERVE_ASK_FIELDS, &ask));
    TRY(ref_parse(ask.organization, STR("org"), &organization));
    TRY(fleet_serve(ctx, &ref, &organization, true, &row));
    reply_one(reply, &FLEET_ORGANIZATION_FIELDS, &row);
    return OK;
}

static Err put_organization(Ctx *ctx, const Req *req, Reply *reply)
{
    return serve(ctx, req, reply, true);
}

static Err delete_organization(Ctx *ctx, const Req *req, Reply *reply)
{
    return serve(ctx, req, reply, false);
}

static Err revoke(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref fleet, ref;
    DataPlane data_plane = { 0 };
    TRY(req_ref(req, "fleet", "flt", &fleet));
    TRY(req_ref(req, "data_plane", "dpl", &ref));
    ref.parent = fleet.id;
    ref.parent_name = fleet.name;
    TRY(data_plane_revoke(ctx, &ref, &data_plane));
    reply_one(reply, &DATA_PLANE_FIELDS, &data_plane);
    return OK;
}

/* --- enrolment --- */

static Err look_enrolment(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)reply;
    EnrolmentAsk ask = { 0 };
    EnrolmentPlan *plan;
    TRY(req_body(req, &ENROLMENT_ASK_FIELDS, &ask));
    TRY(enrolment_check(ctx, &ask, &plan));
    ctx->state = plan;
    return OK;
}

static Err ask_keyring(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    (void)reply;
    return enrolment_keyring(ctx, ctx->state);
}

static Err post_enrolment(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    Enrolment enrolment;
    TRY(enrolment_commit(ctx, ctx->state, &enrolment));
    reply_one(reply, &ENROLMENT_FIELDS, &enrolment);
    return OK;
}

typedef struct TokenAsk {
    Str assertion;
} TokenAsk;
static const Field token_ask_fields[] = {
    FIELD(TokenAsk, assertion, .required = true, .max = STATEMENT_BYTES_MAX,
        .doc = "Signed by the data plane's own key within the last minute."),
};
static const FieldTable TOKEN_ASK_FIELDS = FIELD_TABLE(TokenAsk, token_ask_fields);

typedef struct TokenGiven {
    Str access_token;
    int64_t expires_in;
} TokenGiven;
static const Field token_given_fields[] = {
    FIELD(TokenGiven, access_token, .read_only = true),
    FIELD(TokenGiven, expires_in, .read_only = true),
};
static const FieldTable TOKEN_GIVEN_FIELDS = FIELD_TABLE(TokenGiven, token_given_fields);

static Err post_token(Ctx *ctx, const Req *req, Reply *reply)
{
    TokenAsk ask = { 0 };
    _cleanup_(secret_release) Secret token = { 0 };
    TRY(req_body(req, &TOKEN_ASK_FIELDS, &ask));
    TRY(data_plane_token_issue(ctx, ask.assertion, &token));
    json_t *body = json_object();
    json_object_set_new(body, "expires_in", json_integer(DATA_PLANE_TOKEN_TTL_S));
    reply_json(reply, body);
    reply_reveal_as(reply, "access_token", &token);
    return OK;
}

static const char *const fleet[] = { "flt" };
static const char *const served[] = { "flt", "org" };
static const char *const member[] = { "flt", "dpl" };
static const Read get = { .stmt = &SQL_FLEET_GET, .table = &FLEET_FIELDS };
static const Read list = { .stmt = &SQL_FLEET_LIST, .table = &FLEET_FIELDS, .list = true };
static const Read list_served = {
    .stmt = &SQL_FLEET_ORGANIZATION_LIST, .table = &FLEET_ORGANIZATION_FIELDS, .list = true, .within = &SQL_FLEET_EXISTS
};
static const Read get_member = { .stmt = &SQL_DATA_PLANE_GET, .table = &DATA_PLANE_FIELDS };
static const Read list_members = {
    .stmt = &SQL_DATA_PLANE_LIST, .table = &DATA_PLANE_FIELDS, .list = true, .within = &SQL_FLEET_EXISTS
};

extern const Route FLEET_ROUTES[];
const Route FLEET_ROUTES[] = {
    ROUTE(GET, "/v1/fleets", FLEET_LIST, .says = "List fleets.", .read = &list, .reply = &FLEET_FIELDS),
    ROUTE(POST, "/v1/fleets", FLEET_CREATE, .says = "Create a fleet with its first key.", .look = look_fleet,
        .prepare = make_key, .commit = post_fleet, .body = &FLEET_FIELDS, .reply = &FLEET_FIELDS, .status = 201),
    ROUTE(GET, "/v1/fleets/{fleet}", FLEET_READ, .says = "Read a fleet.", .read = &get, .reply = &FLEET_FIELDS,
        .prefixes = fleet),
    ROUTE(PATCH, "/v1/fleets/{fleet}", FLEET_UPDATE, .says = "Change a fleet (merge patch).", .commit = noun_patch,
        .noun = &FLEET, .body = &FLEET_FIELDS, .reply = &FLEET_FIELDS, .if_match = true, .prefixes = fleet),
    ROUTE(DELETE, "/v1/fleets/{fleet}", FLEET_DELETE, .says = "Delete a fleet that has no data plane.",
        .commit = noun_delete, .noun = &FLEET, .if_match = true, .prefixes = fleet),
    ROUTE(POST, "/v1/fleets/{fleet}/generations", FLEET_ADVANCE,
        .says = "Open the next generation of the fleet's key with a statement of the enrol role.",
        .look = look_generation, .prepare = make_key, .commit = post_generation, .body = &FLEET_GENERATION_FIELDS,
        .reply = &FLEET_FIELDS, .prefixes = fleet),
    ROUTE(GET, "/v1/fleets/{fleet}/organizations", FLEET_READ, .says = "List the organizations a fleet may serve.",
        .read = &list_served, .reply = &FLEET_ORGANIZATION_FIELDS, .prefixes = fleet),
    ROUTE(POST, "/v1/fleets/{fleet}/organizations", FLEET_SERVE, .says = "Let a fleet serve an organization.",
        .commit = post_organization, .body = &SERVE_ASK_FIELDS, .reply = &FLEET_ORGANIZATION_FIELDS, .status = 201,
        .prefixes = fleet),
    ROUTE(PUT, "/v1/fleets/{fleet}/organizations/{organization}", FLEET_SERVE,
        .says = "Let a fleet serve an organization.", .commit = put_organization, .prefixes = served),
    ROUTE(DELETE, "/v1/fleets/{fleet}/organizations/{organization}", FLEET_SERVE,
        .says = "Let a fleet serve an organization no longer.", .commit = delete_organization, .prefixes = served),
    ROUTE(GET, "/v1/fleets/{fleet}/data-planes", DATA_PLANE_LIST,
        .says = "List data planes with what each has verified and runs.", .read = &list_members,
        .reply = &DATA_PLANE_FIELDS, .prefixes = fleet),
    ROUTE(GET, "/v1/fleets/{fleet}/data-planes/{data_plane}", DATA_PLANE_READ, .says = "Read a data plane.",
        .read = &get_member, .reply = &DATA_PLANE_FIELDS, .prefixes = member),
    ROUTE(POST, "/v1/fleets/{fleet}/data-planes/{data_plane}/revoke", DATA_PLANE_REVOKE,
        .says = "Revoke a data plane: its credential ends at once.", .commit = revoke, .reply = &DATA_PLANE_FIELDS,
        .prefixes = member),
    ROUTE_PUBLIC(POST, "/v1/enrolments",
        "Enrol a gateway. The join certificate and the signed request are the proof; no other credential is asked for.",
        .look = look_enrolment, .prepare = ask_keyring, .commit = post_enrolment, .body = &ENROLMENT_ASK_FIELDS,
        .reply = &ENROLMENT_FIELDS, .status = 201, .no_replay = true),
    ROUTE_PUBLIC(POST, "/v1/data-planes/token",
        "Exchange an assertion signed by the data plane's own key for an access token.", .commit = post_token,
        .body = &TOKEN_ASK_FIELDS, .reply = &TOKEN_GIVEN_FIELDS, .no_replay = true),
    ROUTE_END,
};
