/*
 * policy.c: looks into the tables that policyembed made.
 */
#include "domain/policy.h"

const RoleInfo *role_find(Str name)
{
    for (size_t i = 0; i < POLICY_ROLE_COUNT; i++)
        if (str_eq(name, str_from_c(ROLES[i].name)))
            return &ROLES[i];
    return NULL;
}

Action action_find(Str name)
{
    for (int i = ACTION_NONE + 1; i < ACTION_COUNT; i++)
        if (str_eq(name, str_from_c(ACTIONS[i].name)))
            return (Action)i;
    return ACTION_NONE;
}

bool role_allows(Str role, Action action)
{
    const RoleInfo *info = role_find(role);
    return info != NULL && action > ACTION_NONE && action < ACTION_COUNT && info->holds[action];
}

bool roles_allow(Strs roles, Action action)
{
    for (size_t i = 0; i < roles.count; i++)
        if (role_allows(roles.items[i], action))
            return true;
    return false;
}

Strs roles_with(Arena *arena, Action action)
{
    Strs found = { .items = NEW(arena, Str, POLICY_ROLE_COUNT) };
    for (size_t i = 0; i < POLICY_ROLE_COUNT; i++)
        if (role_allows(str_from_c(ROLES[i].name), action))
            found.items[found.count++] = str_from_c(ROLES[i].name);
    return found;
}
