/*
 * steps.c: the order in which a call is authenticated, authorised, run and committed. The one place that decides it.
 */
#include "call.h"

#include "store/sql.h"

#include <time.h>

#define ATTEMPTS_MAX 6

/* --- the beginning: who, where, with which roles --- */

typedef struct Begin {
    Bytes digest;
    Str request;
    Uuid want_org, want_project;
    Str want_org_name, want_project_name;
    Str level;
    Uuid org, home, principal, token, project, installation;
    bool project_archived, project_deleted;
    Strs org_roles, project_roles;
    Bytes page_key;
    Uuid data_plane, fleet; /* of a data plane */
    int64_t generation;
} Begin;

static const Field begin_fields[] = {
    FIELD(Begin, digest, .internal = true),
    FIELD(Begin, request, .internal = true),
    FIELD(Begin, want_org, .internal = true),
    FIELD(Begin, want_project, .internal = true),
    FIELD(Begin, want_org_name, .internal = true),
    FIELD(Begin, want_project_name, .internal = true),
    FIELD(Begin, level, .internal = true),
    FIELD(Begin, org, .internal = true),
    FIELD(Begin, home, .internal = true),
    FIELD(Begin, principal, .internal = true),
    FIELD(Begin, token, .internal = true),
    FIELD(Begin, project, .internal = true),
    FIELD(Begin, installation, .internal = true),
    FIELD(Begin, project_archived, .internal = true),
    FIELD(Begin, project_deleted, .internal = true),
    FIELD(Begin, org_roles, .internal = true),
    FIELD(Begin, project_roles, .internal = true),
    FIELD(Begin, page_key, .internal = true),
    FIELD(Begin, data_plane, .internal = true),
    FIELD(Begin, fleet, .internal = true),
    FIELD(Begin, generation, .internal = true),
};
static const FieldTable BEGIN_FIELDS = FIELD_TABLE(Begin, begin_fields);

static const Stmt *begin_statement(const Route *route)
{
    return route->credential == CREDENTIAL_DATA_PLANE ? &SQL_DATA_PLANE_BEGIN : &SQL_CALL_BEGIN;
}

/* A segment that is neither an id nor a name is not found like any other that names nothing. */
static void want(const Req *req, const char *parameter, const char *prefix, Uuid *ret_id, Str *ret_name)
{
    Ref ref = { .name = STR("-") };
    Str text = req_path(req, parameter);
    if (text.ptr == NULL)
        return;
    if (ref_parse(text, str_from_c(prefix), &ref).kind != ERR_NONE)
        ref = (Ref){ .name = STR("-") };
    *ret_id = ref.id;
    *ret_name = ref.name;
}

static void begin_in(const Call *call, Begin *begin)
{
    *begin = (Begin){ .digest = digest_bytes(&call->req.credential), .request = call->request_id };
    want(&call->req, "org", "org", &begin->want_org, &begin->want_org_name);
    want(&call->req, "project", "prj", &begin->want_project, &begin->want_project_name);
}

static void begin_out(const Begin *begin, Call *call, Ctx *ctx)
{
    ctx->installation = begin->installation;
    ctx->org = begin->org;
    ctx->project = begin->project;
    if (call->req.route->credential == CREDENTIAL_DATA_PLANE) {
        ctx->who = (Principal){
            .kind = PRINCIPAL_DATA_PLANE, .id = begin->data_plane, .home = begin->installation, .fleet = begin->fleet
        };
        return;
    }
    ctx->who = (Principal){ .kind = PRINCIPAL_SERVICE,
        .id = begin->principal,
        .token = begin->token,
        .home = begin->home,
        .is_operator = str_eq(begin->level, STR("installation")),
        .org_roles = begin->org_roles,
        .project_roles = begin->project_roles };
    if (begin->page_key.len == sizeof(call->req.page_key.b))
        for (size_t i = 0; i < begin->page_key.len; i++)
            call->req.page_key.b[i] = begin->page_key.ptr[i];
}

/* --- may it --- */

static Err not_found(void)
{
    return FAIL(ERR_NOT_FOUND, "not-found", "There is nothing here.");
}

static Err not_allowed(const Ctx *ctx, Action action)
{
    return FAIL_FMT(ctx->arena, ERR_FORBIDDEN, "not-allowed", "This needs the action %s, which none of your roles has.",
        ACTIONS[action].name);
}

static Err authorise(const Call *call, const Begin *begin, const Ctx *ctx)
{
    const Route *route = call->req.route;
    if (req_path(&call->req, "org").ptr != NULL && uuid_is_zero(ctx->org))
        return not_found();
    if (req_path(&call->req, "project").ptr != NULL && uuid_is_zero(ctx->project))
        return not_found();
    if (begin->project_deleted && !route->deleted_too)
        return not_found();
    if (!ctx_allows(ctx, route->action))
        return not_allowed(ctx, route->action);
    if (begin->project_archived && route->method != METHOD_GET && !route->archived_too)
        return FAIL(ERR_CONFLICT, "project-archived", "The project is archived; bring it back before you change it.");
    return OK;
}

/* In a transaction that is open. */
static Err read_begin(Call *call, Ctx *ctx, Begin *ret_begin)
{
    begin_in(call, ret_begin);
    TRY(db_one(ctx->db, ctx->arena, begin_statement(call->req.route), REC(&BEGIN_FIELDS, ret_begin),
        REC(&BEGIN_FIELDS, ret_begin)));
    begin_out(ret_begin, call, ctx);
    return OK;
}

static Err begin_call(Call *call, Ctx *ctx)
{
    Begin begin;
    if (call->req.route->credential == CREDENTIAL_NONE)
        return OK;
    TRY(read_begin(call, ctx, &begin));
    TRY(authorise(call, &begin, ctx));
    return req_page_open(&call->req, ctx);
}

/* --- reads --- */

/* A list for one without the action at the organization: what roles at projects let the caller see. */
static Err run_list_seen(Call *call, Ctx *ctx)
{
    const Read *read = call->req.route->read;
    List list = { 0 };
    ReadIn in;
    bool any = false;
    TRY(req_page_open(&call->req, ctx));
    TRY(req_read_in(&call->req, &in));
    in.roles = roles_with(ctx->arena, call->req.route->action);
    const DbCall calls[] = {
        { .stmt = read->seen_by,
            .in = REC(&READ_IN_FIELDS, &in),
            .out = REC_NONE,
            .allow_none = true,
            .ret_found = &any },
        { .stmt = read->seen, .in = REC(&READ_IN_FIELDS, &in), .list = read->table, .ret_list = &list },
    };
    TRY(db_pipeline(ctx->db, ctx->arena, calls, COUNT_OF(calls)));
    if (!any)
        return not_allowed(ctx, call->req.route->action);
    reply_list(&call->reply, &call->req, read->table, list, call->req.page_size);
    return OK;
}

/* In two steps within one transaction: who asks, then the list. A page token is checked by a key that only the
 * database has, and what is seen through roles at projects depends on who asks. */
static Err run_list(Call *call, Ctx *ctx)
{
    const Read *read = call->req.route->read;
    ReadIn in;
    List list = { 0 };
    Begin begin;
    TRY(tx_begin_read(ctx->db));
    TRY(read_begin(call, ctx, &begin));
    Err err = authorise(call, &begin, ctx);
    if (err_is(err, "not-allowed") && read->seen != NULL) {
        TRY(run_list_seen(call, ctx));
        tx_rollback(ctx->db);
        return OK;
    }
    TRY(err);
    TRY(req_page_open(&call->req, ctx));
    TRY(req_read_in(&call->req, &in));
    if (read->within != NULL)
        TRY(db_one(ctx->db, ctx->arena, read->within, REC(&READ_IN_FIELDS, &in), REC_NONE));
    TRY(db_list(ctx->db, ctx->arena, read->stmt, REC(&READ_IN_FIELDS, &in), read->table, &list));
    tx_rollback(ctx->db);
    reply_list(&call->reply, &call->req, read->table, list, call->req.page_size);
    return OK;
}

/* One round trip: who asks, and the answer. What was read is dropped when the caller may not see it. */
static Err run_read(Call *call, Ctx *ctx)
{
    const Read *read = call->req.route->read;
    Begin begin;
    ReadIn in;
    List list = { 0 };
    bool found = false, parent = true;
    void *row = arena_alloc(ctx->arena, 1, read->table->size);
    begin_in(call, &begin);
    TRY(req_read_in(&call->req, &in));
    DbCall calls[3] = {
        { .stmt = begin_statement(call->req.route),
            .in = REC(&BEGIN_FIELDS, &begin),
            .out = REC(&BEGIN_FIELDS, &begin) },
        { .stmt = read->stmt, .in = REC(&READ_IN_FIELDS, &in), .allow_none = true, .ret_found = &found },
        { .stmt = read->within,
            .in = REC(&READ_IN_FIELDS, &in),
            .out = REC_NONE,
            .allow_none = true,
            .ret_found = &parent },
    };
    if (read->list) {
        calls[1].list = read->table;
        calls[1].ret_list = &list;
        calls[1].ret_found = NULL;
    } else {
        calls[1].out = REC(read->table, row);
    }
    TRY(db_pipeline(ctx->db, ctx->arena, calls, read->within != NULL ? 3 : 2));
    begin_out(&begin, call, ctx);
    Err allowed = authorise(call, &begin, ctx);
    if (err_is(allowed, "not-allowed") && read->seen != NULL)
        return run_list(call, ctx);
    TRY(allowed);
    if (!parent)
        return not_found();
    if (read->answer != NULL)
        return read->answer(ctx, &call->req, &call->reply, row, found);
    if (!read->list && !found)
        return not_found();
    if (read->list)
        reply_list(&call->reply, &call->req, read->table, list, call->req.page_size);
    else
        reply_one(&call->reply, read->table, row);
    return OK;
}

static Err run_look(Call *call, Ctx *ctx)
{
    TRY(tx_begin_read(ctx->db));
    TRY(begin_call(call, ctx));
    TRY(call->req.route->look(ctx, &call->req, &call->reply));
    tx_rollback(ctx->db);
    return OK;
}

/* --- changes --- */

/* Before the keeper is asked: is this allowed, was it done already, and what does it need? */
static Err before_prepare(Call *call, Ctx *ctx, bool *ret_done)
{
    TRY(tx_begin_read(ctx->db));
    TRY(begin_call(call, ctx));
    if (call->req.idempotency_key.len > 0)
        TRY(idempotency_find(ctx, call, ret_done));
    if (!*ret_done && call->req.route->look != NULL)
        TRY(call->req.route->look(ctx, &call->req, &call->reply));
    tx_rollback(ctx->db);
    return OK;
}

static Err change_once(Call *call, Ctx *ctx)
{
    const Route *route = call->req.route;
    bool done = false, keyed = call->req.idempotency_key.len > 0;
    TRY(tx_begin(ctx->db));
    TRY(begin_call(call, ctx));
    if (keyed)
        TRY(idempotency_begin(ctx, call, &done));
    if (!done)
        TRY(route->commit(ctx, &call->req, &call->reply));
    if (call->reply.status == 0)
        call->reply.status = call->reply.empty ? 204 : route->status > 0 ? route->status : 200;
    if (call->req.dry_run) {
        tx_rollback(ctx->db);
        reply_dry_run(&call->reply, route);
        return OK;
    }
    if (keyed && !done)
        TRY(idempotency_end(ctx, call));
    return tx_commit(ctx->db);
}

static void pause_before_retry(int attempt)
{
    long most_ns = 2000000L << attempt;
    struct timespec pause = { 0, (long)random_below((uint64_t)most_ns) };
    nanosleep(&pause, NULL);
}

static Err change_until_done(Call *call, Ctx *ctx, Pool *pool)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    ctx->db = lease.db;
    for (int attempt = 0;; attempt++) {
        Err err = change_once(call, ctx);
        if (err.kind == ERR_NONE || !err_is_retryable(err) || attempt + 1 == ATTEMPTS_MAX)
            return err;
        tx_rollback(ctx->db);
        reply_clear(&call->reply);
        dispatch_count_retry(call->dispatch);
        pause_before_retry(attempt);
    }
}

/* The connection goes back to the pool before anything outside the database is asked. */
static Err run_prepare(Call *call, Ctx *ctx, Pool *pool, bool *ret_done)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    ctx->db = lease.db;
    Err err = before_prepare(call, ctx, ret_done);
    ctx->db = NULL;
    db_lease_release(&lease);
    TRY(err);
    if (!*ret_done && call->req.route->prepare != NULL)
        TRY(call->req.route->prepare(ctx, &call->req, &call->reply));
    return OK;
}

static Err run_change(Call *call, Ctx *ctx, Pool *pool)
{
    const Route *route = call->req.route;
    bool done = false;
    if (route->prepare != NULL || route->look != NULL)
        TRY(run_prepare(call, ctx, pool, &done));
    if (call->reply.park_us > 0)
        return OK;
    return change_until_done(call, ctx, pool);
}

static Err run_leased(Call *call, Ctx *ctx, Pool *pool)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    ctx->db = lease.db;
    if (call->req.route->read == NULL)
        return run_look(call, ctx);
    return call->req.page_token.ptr != NULL ? run_list(call, ctx) : run_read(call, ctx);
}

static Err run_get(Call *call, Ctx *ctx, Pool *pool)
{
    const Route *route = call->req.route;
    bool done = false;
    if (route->prepare != NULL && route->read == NULL) /* a read that asks the keeper */
        return run_prepare(call, ctx, pool, &done);
    TRY(run_leased(call, ctx, pool));
    ctx->db = NULL;
    if (route->prepare != NULL && call->reply.park_us == 0)
        TRY(route->prepare(ctx, &call->req, &call->reply));
    return OK;
}

static Err run_route(Call *call, Ctx *ctx)
{
    const Route *route = call->req.route;
    if (route->no_tenant)
        return route->look(ctx, &call->req, &call->reply);
    Pool *pool = dispatch_pool(call->dispatch, route->role);
    return route->commit != NULL ? run_change(call, ctx, pool) : run_get(call, ctx, pool);
}

static Ctx ctx_of(const Call *call)
{
    return (Ctx){ .arena = call->arena,
        .world = dispatch_world(call->dispatch),
        .now = time_now(),
        .if_match = call->req.if_match,
        .request_id = call->request_id };
}

static void settle_status(Call *call)
{
    if (call->reply.status == 0)
        call->reply.status = call->reply.empty ? 204 : call->req.route->status > 0 ? call->req.route->status : 200;
}

Err call_steps(Call *call)
{
    Ctx ctx = ctx_of(call);
    Err err = run_route(call, &ctx);
    if (err.kind == ERR_NONE)
        settle_status(call);
    return err;
}

bool call_quick(Call *call)
{
    Ctx ctx = ctx_of(call);
    if (!call->req.route->quick(&ctx, &call->req, &call->reply))
        return false;
    settle_status(call);
    return true;
}
