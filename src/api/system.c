/*
 * system.c: what tells about the daemon itself: health, readiness, metrics, the API's description, the caller, the
 * root.
 */
#include "api/vitals.h"
#include "base/json.h"
#include "call.h"
#include "domain/fleet.h"
#include "keeper/client.h"
#include "api/openapi.h"
#include "store/sql.h"

static Err healthz(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)ctx;
    (void)req;
    reply_raw(reply, "text/plain", STR("ok\n"));
    return OK;
}

/* --- readiness --- */

typedef struct Check {
    const char *name;
    bool needed; /* without it the daemon is not ready; else it only says so */
    Err (*run)(Ctx *ctx);
} Check;

static Err check_database(Ctx *ctx)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(dispatch_pool(ctx->world->vitals->dispatch, DB_API), &lease));
    return db_exec(lease.db, ctx->arena, &SQL_INSTALLATION_EXISTS, REC_NONE, NULL);
}

static Err check_keeper(Ctx *ctx)
{
    Hello hello;
    if (ctx->world->keeper == NULL)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "No keeper is configured.");
    return keeper_hello(ctx->world->keeper, ctx->arena, &hello);
}

static Err check_root(Ctx *ctx)
{
    Root root;
    return root_load(ctx, &root);
}

static const Check checks[] = {
    { "database", true, check_database },
    { "keeper", false, check_keeper },
    { "root", false, check_root },
};

static Err readyz(Ctx *ctx, const Req *req, Reply *reply)
{
    bool verbose = false, ready = true;
    for (size_t i = 0; i < req->argument_count; i++)
        verbose |= str_eq(req->arguments[i].name, STR("verbose"));
    json_t *body = json_object(), *list = json_array();
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        Err err = checks[i].run(ctx);
        json_t *item = json_object();
        json_object_set_new(item, "name", json_string(checks[i].name));
        json_object_set_new(item, "ok", json_boolean(err.kind == ERR_NONE));
        json_object_set_new(item, "needed", json_boolean(checks[i].needed));
        json_object_set_new(item, "code", err.kind == ERR_NONE ? json_null() : json_from_str(err.code));
        json_array_append_new(list, item);
        ready &= err.kind == ERR_NONE || !checks[i].needed;
    }
    json_object_set_new(body, "ready", json_boolean(ready));
    if (verbose)
        json_object_set(body, "checks", list);
    json_decref(list);
    reply_json(reply, body);
    reply_status(reply, ready ? 200 : 503);
    return OK;
}

/* --- metrics --- */

static void metric(Buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static void write_classes(Buf *out, const DispatchStats *stats)
{
    buf_fmt(out, "# HELP reeved_responses_total Answers by class of status.\n# TYPE reeved_responses_total counter\n");
    for (int class = 2; class <= 5; class ++)
        buf_fmt(
            out, "reeved_responses_total{class=\"%dxx\"} %llu\n", class, (unsigned long long)stats->by_class[class]);
}

#define METRICS_BYTES_MAX (1024 * 1024)

static Err metrics(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    const Vitals *vitals = ctx->world->vitals;
    DispatchStats stats = dispatch_stats(vitals->dispatch);
    _cleanup_(buf_release) Buf out = buf_new(METRICS_BYTES_MAX);
    metric(&out, "reeved_requests_total", "counter", "Requests that reached a route.", (double)stats.requests);
    metric(&out, "reeved_errors_total", "counter", "Requests that ended in a problem document.", (double)stats.errors);
    metric(&out, "reeved_request_seconds_total", "counter", "Time from a request's first byte to its answer.",
        (double)stats.micros / 1e6);
    metric(&out, "reeved_transaction_retries_total", "counter", "Transactions run again after a serialization failure.",
        (double)stats.retried);
    metric(&out, "reeved_long_polls_waiting", "gauge", "Calls that wait for news.", (double)stats.waiting);
    metric(&out, "reeved_work_waiting", "gauge", "Calls that wait for a worker thread.",
        (double)work_waiting(vitals->work));
    metric(&out, "reeved_start_time_seconds", "gauge", "When the daemon started, in seconds since 1970.",
        (double)vitals->started.us / 1e6);
    write_classes(&out, &stats);
    for (size_t i = 0; i < vitals->source_count; i++)
        vitals->sources[i].write(&out, vitals->sources[i].arg);
    reply_raw(reply, "text/plain; version=0.0.4", arena_str(ctx->arena, buf_str(&out)));
    return OK;
}

static Err openapi(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)ctx;
    (void)req;
    reply_json(reply, openapi_document());
    return OK;
}

/* --- the caller --- */

static json_t *id_or_null(Ctx *ctx, const char *prefix, Uuid id)
{
    return uuid_is_zero(id) ? json_null() : json_from_str(typeid_format(ctx->arena, str_from_c(prefix), id));
}

static Err whoami(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    json_t *body = json_object(), *roles = json_array(), *actions = json_array();
    for (size_t i = 0; i < ctx->who.org_roles.count; i++)
        json_array_append_new(roles, json_from_str(ctx->who.org_roles.items[i]));
    for (int i = ACTION_NONE + 1; i < ACTION_COUNT; i++)
        if (ctx_allows(ctx, (Action)i))
            json_array_append_new(actions, json_string(ACTIONS[i].name));
    json_object_set_new(body, "service_account", id_or_null(ctx, "sva", ctx->who.id));
    json_object_set_new(body, "token", id_or_null(ctx, "tok", ctx->who.token));
    json_object_set_new(body, "organization", ctx->who.is_operator ? json_null() : id_or_null(ctx, "org", ctx->org));
    json_object_set_new(body, "installation", id_or_null(ctx, "ins", ctx->installation));
    json_object_set_new(body, "operator", json_boolean(ctx->who.is_operator));
    json_object_set_new(body, "roles", roles);
    json_object_set_new(body, "actions", actions);
    reply_json(reply, body);
    return OK;
}

/* --- the root and the intake key --- */

static Err intake_key(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    Root root;
    TRY(root_load(ctx, &root));
    KeySet keys = root_keys(&root, "intake");
    json_t *body = json_object(), *list = json_array();
    for (size_t i = 0; i < keys.count; i++)
        json_array_append_new(list, x25519_jwk(&keys.items[i]));
    json_object_set_new(body, "root", json_from_str(root.jws));
    json_object_set_new(body, "installation", id_or_null(ctx, "ins", root.installation));
    json_object_set(body, "jwk", keys.count > 0 ? json_array_get(list, 0) : json_null());
    json_object_set_new(body, "keys", list);
    reply_json(reply, body);
    return OK;
}

typedef struct Verbose {
    Str verbose;
} Verbose;
static const Field verbose_fields[] = { FIELD(Verbose, verbose, .max = 8, .doc = "Also every check.") };
static const FieldTable VERBOSE_FIELDS = FIELD_TABLE(Verbose, verbose_fields);

extern const Route SYSTEM_ROUTES[];
const Route SYSTEM_ROUTES[] = {
    ROUTE_PUBLIC(GET, "/healthz", "The process lives.", .look = healthz, .no_tenant = true, .media = "text/plain"),
    ROUTE_PUBLIC(
        GET, "/readyz", "The daemon can do its work.", .look = readyz, .no_tenant = true, .query = &VERBOSE_FIELDS),
    ROUTE_PUBLIC(GET, "/metrics", "Prometheus metrics; they name no tenant.", .look = metrics, .no_tenant = true,
        .media = "text/plain"),
    ROUTE_PUBLIC(GET, "/openapi.json", "This description.", .look = openapi, .no_tenant = true),
    ROUTE(GET, "/v1/whoami", SELF_READ, .says = "Who the caller is and what it may do.", .look = whoami),
    ROUTE(GET, "/v1/intake-key", INSTALLATION_READ, .says = "The root document and the key to seal provider keys to.",
        .look = intake_key),
    ROUTE_END,
};
