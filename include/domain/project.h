/*
 * project.h: one AI feature of an organization, the unit of isolation, of keys and of cost.
 *
 * A project is active, archived (it leaves every gateway and takes no change) or deleted: still there for 30 days, then
 * purged with its key. A deleted project's name is free again.
 */
#ifndef DOMAIN_PROJECT_H
#define DOMAIN_PROJECT_H

#include "domain/noun.h"

#define PROJECT_GRACE_DAYS 30
#define PROJECTS_MAX 10000 /* of one organization */

typedef struct Project {
    Uuid id, org;
    Str name, display_name, description, state;
    int64_t version;
    Time created_at, updated_at, archived_at, deleted_at, purge_at;
} Project;
extern const FieldTable PROJECT_FIELDS;
extern const Noun PROJECT;

typedef enum ProjectTurn { PROJECT_ARCHIVE, PROJECT_RESTORE, PROJECT_DELETE, PROJECT_UNDELETE } ProjectTurn;
/* Moves the project of the path to another state; asking for the state it has changes nothing. */
CHECKED Err project_turn(Ctx *ctx, ProjectTurn turn, Project *ret_project);

#endif
