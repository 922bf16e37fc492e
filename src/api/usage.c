/*
 * usage.c: /v1/usage: what data planes report, and what it comes to.
 */
#include "base/json.h"
#include "call.h"
#include "ledger/ingest.h"
#include "ledger/report.h"
#include "ledger/verify.h"

#define CSV_ROWS_MAX 20000

/* --- events in --- */

static Err post_events(Ctx *ctx, const Req *req, Reply *reply)
{
    const IngestSource source = { .data_plane = ctx->who.id, .may_serve = ingest_served };
    List verdicts;
    TRY(ingest_batch(ctx->db, ctx->arena, &source, req_raw_body(req), ctx->now, &verdicts));
    reply_raw(reply, "application/json", ingest_reply(ctx->arena, verdicts));
    return OK;
}

/* --- the report --- */

typedef struct UsageAsk {
    Time from, to;
    Str group_by, project, workflow, model, provider, attempt_outcome, meter;
    Uuid client_key, connection;
} UsageAsk;
static const Field ask_fields[] = {
    FIELD(UsageAsk, from, .doc = "From this hour on; without it the last day."),
    FIELD(UsageAsk, to, .doc = "Before this hour; without it now."),
    FIELD(UsageAsk, group_by, .max = 200,
        .doc = "Comma-separated: organization, project, workflow, client_key, connection, provider, model, "
               "attempt_outcome, meter, hour or day."),
    FIELD(UsageAsk, project, .max = 64, .doc = "Only this project, by id or name."),
    FIELD(UsageAsk, workflow, .max = 64, .doc = "Only this workflow, by id or name."),
    FIELD(UsageAsk, client_key, .prefix = "cky"),
    FIELD(UsageAsk, connection, .prefix = "con"),
    FIELD(UsageAsk, provider, .max = 64),
    FIELD(UsageAsk, model, .max = 256),
    FIELD(UsageAsk, attempt_outcome, .max = 64),
    FIELD(UsageAsk, meter, .max = 64),
};
static const FieldTable ASK_FIELDS = FIELD_TABLE(UsageAsk, ask_fields);

static int64_t skipped(Uuid after)
{
    int64_t skip = 0;
    for (size_t i = 8; i < sizeof(after.b); i++)
        skip = skip << 8 | after.b[i];
    return skip;
}

static Str next_page(const Req *req, int64_t skip)
{
    Uuid after = { 0 };
    for (size_t i = 0; i < 8; i++)
        after.b[15 - i] = (uint8_t)((uint64_t)skip >> (8 * i));
    return page_token_make(req, after);
}

static void reply_report(Ctx *ctx, const Req *req, Reply *reply, const UsageReport *report, int64_t reached)
{
    json_t *body = json_object(), *data = json_array();
    const UsageRow *rows = report->rows.items;
    for (size_t i = 0; i < report->rows.count; i++)
        json_array_append_new(data, usage_row_json(ctx->arena, &rows[i], report->dimensions));
    json_object_set_new(body, "data", data);
    json_object_set_new(
        body, "next_page_token", reached < report->groups ? json_from_str(next_page(req, reached)) : json_null());
    json_object_set_new(body, "totals", usage_row_json(ctx->arena, &report->totals, 0));
    json_object_set_new(body, "from", json_from_str(time_format(ctx->arena, report->from)));
    json_object_set_new(body, "to", json_from_str(time_format(ctx->arena, report->to)));
    json_object_set_new(body, "complete_to", json_from_str(time_format(ctx->arena, report->complete_to)));
    reply_json(reply, body);
}

static Err look_usage(Ctx *ctx, const Req *req, Reply *reply)
{
    UsageAsk ask = { 0 };
    int64_t limit;
    Uuid after;
    TRY(req_query(req, &ASK_FIELDS, &ask));
    TRY(req_page(req, &limit, &after));
    UsageQuery query = { .from = ask.from,
        .to = ask.to,
        .group_by = ask.group_by,
        .project = ctx->project, /* of the path, where there is one */
        .client_key = ask.client_key,
        .connection = ask.connection,
        .provider = ask.provider,
        .model = ask.model,
        .attempt_outcome = ask.attempt_outcome,
        .meter = ask.meter,
        .skip = skipped(after),
        .limit = limit };
    bool csv = str_starts_with(req_header(req, STR("accept")), STR("text/csv"));
    Ref project = { 0 }, workflow = { 0 };
    if (ask.workflow.len > 0) {
        TRY(ref_parse(ask.workflow, STR("wfl"), &workflow));
        query.workflow = workflow.id;
        query.workflow_name = workflow.name;
    }
    if (ask.project.len > 0 && uuid_is_zero(ctx->project)) {
        TRY(ref_parse(ask.project, STR("prj"), &project));
        query.project = project.id;
        query.project_name = project.name;
    }
    if (csv) {
        query.skip = 0;
        query.limit = CSV_ROWS_MAX;
    }
    UsageReport report;
    TRY(usage_report(ctx->db, ctx->arena, &query, ctx->now, &report));
    if (!csv) {
        reply_report(ctx, req, reply, &report, query.skip + (int64_t)report.rows.count);
        return OK;
    }
    Str text;
    TRY(usage_csv(ctx->arena, &report, &text));
    reply_raw(reply, "text/csv; charset=utf-8", text);
    return OK;
}

/* --- the check --- */

typedef struct VerifyAsk {
    Time from, to;
} VerifyAsk;
static const Field verify_fields[] = {
    FIELD(VerifyAsk, from, .doc = "From this hour on; without it the last day. At most 31 days."),
    FIELD(VerifyAsk, to, .doc = "Before this hour; without it now."),
};
static const FieldTable VERIFY_FIELDS = FIELD_TABLE(VerifyAsk, verify_fields);

static Err look_verify(Ctx *ctx, const Req *req, Reply *reply)
{
    VerifyAsk ask = { 0 };
    UsageVerdict verdict;
    TRY(req_query(req, &VERIFY_FIELDS, &ask));
    TRY(usage_verify(ctx->db, ctx->arena, ask.from, ask.to, ctx->now, &verdict));
    reply_json(reply, usage_verdict_json(ctx->arena, &verdict));
    return OK;
}

extern const Route USAGE_ROUTES[];
const Route USAGE_ROUTES[] = {
    ROUTE(POST, "/v1/usage/events", USAGE_REPORT,
        .says = "Take in a batch of usage events (CloudEvents 1.0); a verdict for each, after commit.",
        .credential = CREDENTIAL_DATA_PLANE, .role = DB_INGEST, .commit = post_events, .no_replay = true,
        .body_max = INGEST_BYTES_MAX),
    ROUTE(GET, "/v1/usage", USAGE_READ, .says = "Usage and its cost, grouped; text/csv on request.", .look = look_usage,
        .query = &ASK_FIELDS, .pages = true),
    ROUTE(GET, "/v1/usage/verify", USAGE_READ,
        .says = "Check the account: sums against lines, missing numbers, what has no price, what is kept aside.",
        .look = look_verify, .query = &VERIFY_FIELDS),
    ROUTE(GET, "/v1/projects/{project}/usage", USAGE_READ, .says = "Usage of one project and its cost, grouped.",
        .look = look_usage, .query = &ASK_FIELDS, .pages = true, .deleted_too = true),
    ROUTE_END,
};
