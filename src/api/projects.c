/*
 * projects.c: /v1/projects. The example of how a resource is made.
 */
#include "api/route.h"

#include "domain/project.h"
#include "store/sql.h"

static Err turn(Ctx *ctx, Reply *reply, ProjectTurn which)
{
    Project project = { 0 };
    TRY(project_turn(ctx, which, &project));
    reply_one(reply, &PROJECT_FIELDS, &project);
    return OK;
}

static Err archive(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    return turn(ctx, reply, PROJECT_ARCHIVE);
}

static Err restore(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    return turn(ctx, reply, PROJECT_RESTORE);
}

static Err undelete(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    return turn(ctx, reply, PROJECT_UNDELETE);
}

static Err delete_project(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    return turn(ctx, reply, PROJECT_DELETE);
}

static const Read get = { .stmt = &SQL_PROJECT_GET, .table = &PROJECT_FIELDS };
static const Read list = { .stmt = &SQL_PROJECT_LIST,
    .table = &PROJECT_FIELDS,
    .list = true,
    .seen_by = &SQL_PROJECT_SEEN_BY,
    .seen = &SQL_PROJECT_LIST_SEEN };

extern const Route PROJECT_ROUTES[];
const Route PROJECT_ROUTES[] = {
    ROUTE(GET, "/v1/projects", PROJECT_LIST, .says = "List the projects that the caller may see.", .read = &list,
        .reply = &PROJECT_FIELDS, .query = &QUERY_SHOW_DELETED),
    ROUTE(POST, "/v1/projects", PROJECT_CREATE, .says = "Create a project.", .commit = noun_post, .noun = &PROJECT,
        .body = &PROJECT_FIELDS, .reply = &PROJECT_FIELDS, .status = 201),
    ROUTE(GET, "/v1/projects/{project}", PROJECT_READ, .says = "Read a project.", .read = &get,
        .reply = &PROJECT_FIELDS, .deleted_too = true),
    ROUTE(PATCH, "/v1/projects/{project}", PROJECT_UPDATE, .says = "Change a project (merge patch).",
        .commit = noun_patch, .noun = &PROJECT, .body = &PROJECT_FIELDS, .reply = &PROJECT_FIELDS, .if_match = true),
    ROUTE(DELETE, "/v1/projects/{project}", PROJECT_DELETE,
        .says = "Delete a project. It can be brought back for 30 days; then it and its key are destroyed.",
        .commit = delete_project, .reply = &PROJECT_FIELDS, .if_match = true, .archived_too = true),
    ROUTE(POST, "/v1/projects/{project}/archive", PROJECT_ARCHIVE,
        .says = "Archive a project: it leaves every gateway.", .commit = archive, .reply = &PROJECT_FIELDS,
        .archived_too = true),
    ROUTE(POST, "/v1/projects/{project}/unarchive", PROJECT_ARCHIVE, .says = "Bring an archived project back.",
        .commit = restore, .reply = &PROJECT_FIELDS, .archived_too = true),
    ROUTE(POST, "/v1/projects/{project}/undelete", PROJECT_DELETE, .says = "Bring a deleted project back.",
        .commit = undelete, .reply = &PROJECT_FIELDS, .archived_too = true, .deleted_too = true),
    ROUTE_END,
};
