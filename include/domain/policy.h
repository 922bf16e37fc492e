/*
 * policy.h: who may do what, decided from tables that policies/ wrote at build time.
 *
 * An action is a column of the route table; a role is a set of actions; bindings give roles at an organization or at
 * one project. Nothing is allowed that no held role names: deny by default.
 *
 *     if (!policy_allows(&who, ACTION_SECRET_ROTATE)) ...
 */
#ifndef DOMAIN_POLICY_H
#define DOMAIN_POLICY_H

#include "base/arena.h"
#include "domain/policy_table.h"

typedef struct ActionInfo {
    const char *name;  /* "secret:rotate" */
    const char *scope; /* installation, organization, project, self, data-plane */
    const char *says;
} ActionInfo;

typedef struct RoleInfo {
    const char *name;
    const char *scope; /* where a binding may give it: organization, project, installation; data-plane is nobody's */
    const char *says;
    bool holds[ACTION_COUNT];
} RoleInfo;

extern const ActionInfo ACTIONS[ACTION_COUNT];
extern const RoleInfo ROLES[POLICY_ROLE_COUNT];

const RoleInfo *role_find(Str name);       /* NULL when there is none */
Action action_find(Str name);              /* ACTION_NONE when there is none */
bool role_allows(Str role, Action action); /* an unknown role allows nothing */
bool roles_allow(Strs roles, Action action);
Strs roles_with(Arena *arena, Action action); /* the names of all roles that hold it */

#endif
