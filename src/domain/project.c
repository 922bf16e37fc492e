/*
 * project.c: projects and their states.
 */
#include "domain/project.h"

#include "store/sql.h"

static const Field project_fields[] = {
    FIELD(Project, id, .prefix = "prj", .read_only = true),
    FIELD(Project, org, .prefix = "org", .read_only = true),
    FIELD(Project, name, .required = true, .name_like = true, .doc = "Unique in the organization, usable in paths."),
    FIELD(Project, display_name, .max = 200),
    FIELD(Project, description, .max = 2000),
    FIELD(Project, state, .read_only = true, .doc = "active, archived or deleted"),
    FIELD(Project, version, .read_only = true),
    FIELD(Project, created_at, .read_only = true),
    FIELD(Project, updated_at, .read_only = true),
    FIELD(Project, archived_at, .read_only = true),
    FIELD(Project, deleted_at, .read_only = true),
    FIELD(Project, purge_at, .read_only = true, .doc = "When a deleted project and its key are destroyed."),
};
const FieldTable PROJECT_FIELDS = FIELD_TABLE(Project, project_fields);

static const char *const fixed[] = { "name", NULL };
const Noun PROJECT = { .name = "project",
    .prefix = "prj",
    .fields = &PROJECT_FIELDS,
    .insert = &SQL_PROJECT_INSERT,
    .lock = &SQL_PROJECT_LOCK,
    .update = &SQL_PROJECT_UPDATE,
    .fixed = fixed,
    .room = &SQL_PROJECT_ROOM,
    .most = PROJECTS_MAX };

static const struct {
    const Stmt *stmt;
    const char *action;
} turns[] = {
    [PROJECT_ARCHIVE] = { &SQL_PROJECT_ARCHIVE, "project.archived" },
    [PROJECT_RESTORE] = { &SQL_PROJECT_RESTORE, "project.restored" },
    [PROJECT_DELETE] = { &SQL_PROJECT_DELETE, "project.deleted" },
    [PROJECT_UNDELETE] = { &SQL_PROJECT_UNDELETE, "project.undeleted" },
};

Err project_turn(Ctx *ctx, ProjectTurn turn, Project *ret_project)
{
    Ref none = { 0 };
    TRY(noun_lock(ctx, &PROJECT, &none, ret_project));
    Err err = db_one(
        ctx->db, ctx->arena, turns[turn].stmt, REC(&PROJECT_FIELDS, ret_project), REC(&PROJECT_FIELDS, ret_project));
    if (err.kind == ERR_NOT_FOUND)
        return OK; /* it has that state already */
    TRY(err);
    TRY(audit(
        ctx, turns[turn].action, "prj", ret_project->id, fields_encode(ctx->arena, &PROJECT_FIELDS, ret_project)));
    return publish_enqueue(ctx, ret_project->id, str_from_c(turns[turn].action));
}
