/*
 * policyembed: turns policies/permissions.json and policies/roles/NAME.json into the tables of domain/policy.h.
 *
 *     policyembed --header OUT.h --source OUT.c permissions.json roles/a.json roles/b.json ...
 *
 * A role may name whole nouns ("project:*"). Anything that does not resolve stops the build: an unknown action, a role
 * without actions, two actions or roles of one name.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIONS_MAX 256
#define ROLES_MAX 64

typedef struct Action {
    const char *name, *scope, *says;
} Action;

typedef struct Role {
    const char *name, *scope, *says;
    bool holds[ACTIONS_MAX];
} Role;

static Action actions[ACTIONS_MAX];
static size_t action_count;
static Role roles[ROLES_MAX];
static size_t role_count;
static json_t *files;

__attribute__((format(printf, 1, 2), noreturn)) static void stop(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "policyembed: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* Kept until the end: the tables point into the file. */
static json_t *load(const char *path)
{
    json_error_t error;
    json_t *value = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        stop("%s:%d: %s", path, error.line, error.text);
    if (json_array_append_new(files, value) != 0)
        stop("%s: no memory", path);
    return value;
}

static const char *text_of(const char *path, json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL || *text == 0 || strpbrk(text, "\"\\\n") != NULL)
        stop("%s: \"%s\" must be a text without quotes", path, key);
    return text;
}

static void read_actions(const char *path)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(load(path), "actions"), i, item)
    {
        Action action = { text_of(path, item, "name"), text_of(path, item, "scope"), text_of(path, item, "says") };
        for (size_t j = 0; j < action_count; j++)
            if (strcmp(actions[j].name, action.name) == 0)
                stop("%s: %s stands twice", path, action.name);
        if (action_count == ACTIONS_MAX)
            stop("%s: more than %d actions", path, ACTIONS_MAX);
        actions[action_count++] = action;
    }
}

static bool matches(const char *pattern, const char *action)
{
    size_t n = strlen(pattern);
    if (n > 2 && strcmp(pattern + n - 2, ":*") == 0)
        return strncmp(pattern, action, n - 1) == 0;
    return strcmp(pattern, action) == 0;
}

static void grant(const char *path, Role *role, const char *pattern)
{
    bool any = false;
    for (size_t i = 0; i < action_count; i++)
        if (matches(pattern, actions[i].name))
            role->holds[i] = any = true;
    if (!any)
        stop("%s: %s is no action", path, pattern);
}

static void read_role(const char *path)
{
    json_t *file = load(path);
    if (role_count == ROLES_MAX)
        stop("%s: more than %d roles", path, ROLES_MAX);
    Role *role = &roles[role_count++];
    role->name = text_of(path, file, "role");
    role->scope = text_of(path, file, "scope");
    role->says = text_of(path, file, "says");
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(file, "actions"), i, item)
    {
        grant(path, role, json_string_value(item) == NULL ? "" : json_string_value(item));
    }
    if (json_array_size(json_object_get(file, "actions")) == 0)
        stop("%s: a role without actions", path);
}

static FILE *open_output(const char *path)
{
    FILE *out = fopen(path, "w");
    if (out == NULL)
        stop("could not write %s", path);
    return out;
}

/* project:read → PROJECT_READ */
static void put_name(FILE *out, const char *name)
{
    for (; *name; name++)
        fputc(*name == ':' || *name == '-' ? '_' : (*name >= 'a' && *name <= 'z') ? *name - 32 : *name, out);
}

static void write_header(const char *path)
{
    FILE *out = open_output(path);
    fprintf(out, "/* Made from policies/ by policyembed. */\n#ifndef DOMAIN_POLICY_TABLE_H\n#define "
                 "DOMAIN_POLICY_TABLE_H\n\ntypedef enum Action {\n    ACTION_NONE = 0,\n");
    for (size_t i = 0; i < action_count; i++) {
        fprintf(out, "    ACTION_");
        put_name(out, actions[i].name);
        fprintf(out, ", /* %s */\n", actions[i].says);
    }
    fprintf(out, "    ACTION_COUNT\n} Action;\n\n#define POLICY_ROLE_COUNT %zu\n\n#endif\n", role_count);
    if (fclose(out) != 0)
        stop("could not write %s", path);
}

static void write_source(const char *path)
{
    FILE *out = open_output(path);
    fprintf(out, "/* Made from policies/ by policyembed. */\n#include \"domain/policy.h\"\n\n"
                 "const ActionInfo ACTIONS[ACTION_COUNT] = {\n    { .name = \"\", .scope = \"\", .says = \"\" },\n");
    for (size_t i = 0; i < action_count; i++)
        fprintf(out, "    { .name = \"%s\", .scope = \"%s\", .says = \"%s\" },\n", actions[i].name, actions[i].scope,
            actions[i].says);
    fprintf(out, "};\n\nconst RoleInfo ROLES[POLICY_ROLE_COUNT] = {\n");
    for (size_t r = 0; r < role_count; r++) {
        fprintf(out, "    { .name = \"%s\", .scope = \"%s\", .says = \"%s\",\n        .holds = {", roles[r].name,
            roles[r].scope, roles[r].says);
        for (size_t i = 0; i < action_count; i++)
            if (roles[r].holds[i])
                fprintf(out, " [%zu] = true,", i + 1);
        fprintf(out, " } },\n");
    }
    fprintf(out, "};\n");
    if (fclose(out) != 0)
        stop("could not write %s", path);
}

int main(int argc, char **argv)
{
    if (argc < 7 || strcmp(argv[1], "--header") != 0 || strcmp(argv[3], "--source") != 0)
        stop("usage: policyembed --header OUT.h --source OUT.c permissions.json role.json...");
    files = json_array();
    read_actions(argv[5]);
    for (int i = 6; i < argc; i++)
        read_role(argv[i]);
    write_header(argv[2]);
    write_source(argv[4]);
    json_decref(files);
    return 0;
}
