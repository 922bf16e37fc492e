/*
 * workflows.c: /v1/projects/{project}/workflows, their revisions and releases.
 */
#include "api/route.h"

#include "domain/workflow.h"
#include "store/sql.h"

/* Targets may name their connections. */
static Err resolve_targets(Ctx *ctx, const Req *req)
{
    json_t *body, *target;
    size_t i;
    TRY(req_json(req, &body));
    json_array_foreach(json_object_get(body, "targets"), i, target)
    {
        if (i >= REVISION_TARGETS_MAX)
            break;
        TRY(refs_resolve(ctx, TARGET_REFS, target));
    }
    return OK;
}

static Err post_revision(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    Revision revision = { 0 };
    TRY(req_ref(req, "workflow", "wfl", &ref));
    TRY(resolve_targets(ctx, req));
    TRY(req_body(req, &REVISION_FIELDS, &revision));
    TRY(revision_create(ctx, &ref, &revision));
    reply_created(reply, &REVISION_FIELDS, &revision, revision.id);
    return OK;
}

static Err put_release(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    ReleaseAsk ask = { 0 };
    Release release;
    TRY(req_ref(req, "workflow", "wfl", &ref));
    TRY(req_body(req, &RELEASE_ASK_FIELDS, &ask));
    TRY(release_create(ctx, &ref, &ask, &release));
    reply_one(reply, &RELEASE_FIELDS, &release);
    return OK;
}

static Err rollback(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    Release release;
    TRY(req_ref(req, "workflow", "wfl", &ref));
    TRY(release_rollback(ctx, &ref, &release));
    reply_one(reply, &RELEASE_FIELDS, &release);
    return OK;
}

static Err get_release(Ctx *ctx, const Req *req, Reply *reply)
{
    Ref ref;
    Release release = { 0 };
    TRY(req_ref(req, "workflow", "wfl", &ref));
    TRY(release_get(ctx, &ref, &release));
    reply_one(reply, &RELEASE_FIELDS, &release);
    return OK;
}

static const char *const workflow[] = { "wfl" };
static const char *const revision[] = { "wfl", "#rev" };
static const Read get = { .stmt = &SQL_WORKFLOW_GET, .table = &WORKFLOW_FIELDS };
static const Read list = { .stmt = &SQL_WORKFLOW_LIST, .table = &WORKFLOW_FIELDS, .list = true };
static const Read get_revision = { .stmt = &SQL_REVISION_GET, .table = &REVISION_FIELDS };
static const Read list_revisions = {
    .stmt = &SQL_REVISION_LIST, .table = &REVISION_FIELDS, .list = true, .within = &SQL_WORKFLOW_EXISTS
};

extern const Route WORKFLOW_ROUTES[];
const Route WORKFLOW_ROUTES[] = {
    ROUTE(GET, "/v1/projects/{project}/workflows", WORKFLOW_LIST, .says = "List workflows.", .read = &list,
        .reply = &WORKFLOW_FIELDS),
    ROUTE(POST, "/v1/projects/{project}/workflows", WORKFLOW_CREATE, .says = "Create a workflow.", .commit = noun_post,
        .noun = &WORKFLOW, .body = &WORKFLOW_FIELDS, .reply = &WORKFLOW_FIELDS, .status = 201),
    ROUTE(GET, "/v1/projects/{project}/workflows/{workflow}", WORKFLOW_READ, .says = "Read a workflow.", .read = &get,
        .reply = &WORKFLOW_FIELDS, .prefixes = workflow),
    ROUTE(PATCH, "/v1/projects/{project}/workflows/{workflow}", WORKFLOW_UPDATE,
        .says = "Change a workflow's description (merge patch).", .commit = noun_patch, .noun = &WORKFLOW,
        .body = &WORKFLOW_FIELDS, .reply = &WORKFLOW_FIELDS, .if_match = true, .prefixes = workflow),
    ROUTE(DELETE, "/v1/projects/{project}/workflows/{workflow}", WORKFLOW_DELETE, .says = "Delete a workflow.",
        .commit = noun_delete, .noun = &WORKFLOW, .if_match = true, .prefixes = workflow),
    ROUTE(GET, "/v1/projects/{project}/workflows/{workflow}/revisions", WORKFLOW_READ, .says = "List revisions.",
        .read = &list_revisions, .reply = &REVISION_FIELDS, .prefixes = workflow),
    ROUTE(POST, "/v1/projects/{project}/workflows/{workflow}/revisions", WORKFLOW_REVISE,
        .says = "Add a revision; it never changes.", .commit = post_revision, .body = &REVISION_FIELDS,
        .reply = &REVISION_FIELDS, .status = 201, .prefixes = workflow),
    ROUTE(GET, "/v1/projects/{project}/workflows/{workflow}/revisions/{revision}", WORKFLOW_READ,
        .says = "Read a revision by its number or id.", .read = &get_revision, .reply = &REVISION_FIELDS,
        .prefixes = revision),
    ROUTE(GET, "/v1/projects/{project}/workflows/{workflow}/release", WORKFLOW_READ,
        .says = "Read the current release.", .look = get_release, .reply = &RELEASE_FIELDS, .prefixes = workflow),
    ROUTE(PUT, "/v1/projects/{project}/workflows/{workflow}/release", WORKFLOW_RELEASE,
        .says = "Release a revision to everybody, or several to shares of the fleet.", .commit = put_release,
        .body = &RELEASE_ASK_FIELDS, .reply = &RELEASE_FIELDS, .if_match = true, .prefixes = workflow),
    ROUTE(POST, "/v1/projects/{project}/workflows/{workflow}/rollback", WORKFLOW_RELEASE,
        .says = "Go back to the release before the current one.", .commit = rollback, .reply = &RELEASE_FIELDS,
        .prefixes = workflow),
    ROUTE_END,
};
