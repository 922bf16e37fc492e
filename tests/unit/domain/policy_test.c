/* The roles keep the truth table of policies/cases, row by row. */
#include "support/check.h"

#include "base/json.h"
#include "domain/policy.h"

#include <jansson.h>

static json_t *load(const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof(path), REEVE_SOURCE_DIR "/policies/cases/%s", name);
    json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (file == NULL)
        die("%s: %s", path, error.text);
    return file;
}

TEST(roles_allow_and_refuse_what_the_truth_table_says)
{
    json_t *file = load("roles.json"), *item;
    size_t i, wrong = 0;
    CHECK(json_array_size(json_object_get(file, "cases")) > 100);
    json_array_foreach(json_object_get(file, "cases"), i, item)
    {
        Str role = json_str(item, "role"), action = json_str(item, "action");
        CHECK(role_find(role) != NULL);
        CHECK(action_find(action) != ACTION_NONE);
        bool allow = json_is_true(json_object_get(item, "allow"));
        if (role_allows(role, action_find(action)) != allow) {
            print_error(STR_FMT " %s " STR_FMT "\n", STR_ARG(role), allow ? "must be allowed" : "must not be allowed",
                STR_ARG(action));
            wrong++;
        }
    }
    json_decref(file);
    CHECK_INT(wrong, 0);
}

TEST(no_role_holds_what_must_never_be_granted)
{
    json_t *file = load("never.json"), *item;
    size_t i;
    json_array_foreach(json_object_get(file, "never"), i, item)
    {
        Action action = action_find(json_str(item, "action"));
        for (size_t r = 0; action != ACTION_NONE && r < POLICY_ROLE_COUNT; r++)
            CHECK(!ROLES[r].holds[action]);
    }
    json_decref(file);
}

TEST(every_role_has_cases_of_both_kinds)
{
    json_t *file = load("roles.json"), *item;
    size_t i;
    for (size_t r = 0; r < POLICY_ROLE_COUNT; r++) {
        bool seen[2] = { false, false };
        json_array_foreach(json_object_get(file, "cases"), i, item)
        {
            if (str_eq(json_str(item, "role"), str_from_c(ROLES[r].name)))
                seen[json_is_true(json_object_get(item, "allow"))] = true;
        }
        CHECK(seen[0] && seen[1]);
    }
    json_decref(file);
}

TEST(unknown_roles_and_actions_allow_nothing)
{
    for (int action = 0; action < ACTION_COUNT; action++) {
        CHECK(!role_allows(STR("root"), (Action)action));
        CHECK(!role_allows(STR(""), (Action)action));
    }
    for (size_t r = 0; r < POLICY_ROLE_COUNT; r++)
        CHECK(!role_allows(str_from_c(ROLES[r].name), ACTION_NONE));
}

TEST(no_role_of_a_tenant_holds_an_action_of_the_installation)
{
    for (size_t r = 0; r < POLICY_ROLE_COUNT; r++)
        for (int action = 1; action < ACTION_COUNT; action++)
            if (strcmp(ACTIONS[action].scope, "installation") == 0 && ROLES[r].holds[action])
                CHECK(strcmp(ROLES[r].scope, "installation") == 0);
}

int main(void)
{
    json_start();
    return RUN(UNIT(roles_allow_and_refuse_what_the_truth_table_says), UNIT(no_role_holds_what_must_never_be_granted),
        UNIT(every_role_has_cases_of_both_kinds), UNIT(unknown_roles_and_actions_allow_nothing),
        UNIT(no_role_of_a_tenant_holds_an_action_of_the_installation));
}
