/*
 * context.c: contexts are rows of $XDG_CONFIG_HOME/reeve/contexts.yaml: where a control plane is, which token file,
 * which project, and the root's hash that was pinned. Flags win over the environment, which wins over the context.
 */
#include "cli/cli.h"

#include "base/config.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_BYTES_MAX ((size_t)1024)
#define CA_BYTES_MAX ((size_t)(1024 * 1024))

Str context_folder(Arena *arena)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config != NULL && config[0] == '/')
        return arena_fmt(arena, "%s/reeve", config);
    return arena_fmt(arena, "%s/.config/reeve", home != NULL ? home : "");
}

static Str contexts_path(Arena *arena)
{
    return arena_fmt(arena, STR_FMT "/contexts.yaml", STR_ARG(context_folder(arena)));
}

/* {"current": NAME, "contexts": {NAME: {url, token_file, ca_file, root_hash, project, organization}}}; empty when there
 * is no file. */
static Err load(Arena *arena, json_t **ret_root)
{
    Str path = contexts_path(arena), text;
    json_t *root = NULL;
    if (access(path.ptr, F_OK) != 0) {
        *ret_root = json_adopt(arena, json_pack("{s:s,s:{}}", "current", "", "contexts"));
        return OK;
    }
    TRY(file_read(arena, path, CONFIG_BYTES_MAX, &text));
    TRY(yaml_parse(arena, path, text, &root));
    json_adopt(arena, root);
    if (!json_is_object(json_object_get(root, "contexts")))
        return FAIL_FMT(
            arena, ERR_INVALID, "bad-config", STR_FMT ": must have a mapping named contexts", STR_ARG(path));
    *ret_root = root;
    return OK;
}

static Err save(Arena *arena, const json_t *root)
{
    Str folder = context_folder(arena);
    for (char *at = (char *)(uintptr_t)folder.ptr + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        mkdir(folder.ptr, 0700);
        *at = '/';
    }
    if (mkdir(folder.ptr, 0700) != 0 && access(folder.ptr, W_OK) != 0)
        return FAIL_FMT(arena, ERR_INVALID, "file-unwritable", "could not make the folder " STR_FMT, STR_ARG(folder));
    return file_write_atomic(contexts_path(arena), yaml_write(arena, root), 0600);
}

static Str current_name(const Cli *cli, const json_t *root)
{
    const char *from_environment = getenv("REEVE_CONTEXT");
    if (cli->globals.context.len > 0)
        return cli->globals.context;
    return from_environment != NULL ? str_from_c(from_environment) : json_str(root, "current");
}

/* Flag, then environment, then context. */
static Str choose(Str flag, const char *variable, const json_t *context, const char *member)
{
    const char *value = getenv(variable);
    if (flag.len > 0)
        return flag;
    return value != NULL && value[0] != '\0' ? str_from_c(value) : json_str(context, member);
}

static Err read_token(Cli *cli, Str file)
{
    if (file.len == 0)
        return OK;
    if (!str_eq(file, STR("-")))
        return cli_secret_file(cli, file, TOKEN_BYTES_MAX, &cli->token);
    char text[TOKEN_BYTES_MAX];
    size_t len = fread(text, 1, sizeof(text), stdin);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    cli->token = secret_copy((Bytes){ (const uint8_t *)text, len });
    secret_wipe(text, sizeof(text));
    return OK;
}

Err context_resolve(Cli *cli)
{
    json_t *root;
    if (cli->url.len > 0)
        return OK;
    TRY(load(cli->arena, &root));
    Str name = current_name(cli, root);
    const json_t *context =
        name.len == 0 ? NULL : json_object_get(json_object_get(root, "contexts"), arena_c(cli->arena, name));
    if (name.len > 0 && context == NULL && cli->globals.context.len > 0)
        return FAIL_FMT(cli->arena, ERR_INVALID, "usage", "there is no context named " STR_FMT, STR_ARG(name));
    Str url = choose(cli->globals.url, "REEVE_URL", context, "url");
    if (url.len == 0)
        return FAIL(ERR_INVALID, "usage",
            "where is the control plane? Give --url, set REEVE_URL, or: reeve context add NAME --url URL --token-file "
            "FILE");
    if (str_ends_with(url, STR("/")))
        url.len--;
    Str ca_file = choose(cli->globals.ca_file, "REEVE_CA_FILE", context, "ca_file");
    if (ca_file.len > 0)
        TRY(file_read(cli->arena, ca_file, CA_BYTES_MAX, &cli->ca_pem));
    TRY(read_token(cli, choose(cli->globals.token_file, "REEVE_TOKEN_FILE", context, "token_file")));
    cli->root_hash = choose(cli->globals.root_hash, "REEVE_ROOT_HASH", context, "root_hash");
    cli->globals.project = choose(cli->globals.project, "REEVE_PROJECT", context, "project");
    cli->globals.organization = choose(cli->globals.organization, "REEVE_ORGANIZATION", context, "organization");
    cli->url = url;
    return OK;
}

Err context_pin_root(Cli *cli, Str hash)
{
    if (cli->root_hash.len > 0) {
        if (str_eq(cli->root_hash, hash))
            return OK;
        return FAIL(ERR_SEALED, "root-changed",
            "the control plane shows another root than the one that was pinned: nothing was sealed or sent");
    }
    json_t *root;
    TRY(load(cli->arena, &root));
    Str name = current_name(cli, root);
    json_t *context =
        name.len == 0 ? NULL : json_object_get(json_object_get(root, "contexts"), arena_c(cli->arena, name));
    cli_say(cli, "note: trusting the root " STR_FMT " from now on (it was not pinned; check it with your operator)",
        STR_ARG(hash));
    cli->root_hash = hash;
    if (context == NULL)
        return OK;
    json_object_set_new(context, "root_hash", json_from_str(hash));
    return save(cli->arena, root);
}

/* --- the commands --- */

static const char *const MEMBERS[] = { "url", "token_file", "ca_file", "root_hash", "project", "organization" };

static Str global_of(const Cli *cli, size_t member)
{
    const Str values[] = { cli->globals.url, cli->globals.token_file, cli->globals.ca_file, cli->globals.root_hash,
        cli->globals.project, cli->globals.organization };
    return values[member];
}

static Str absolute(Arena *arena, Str path)
{
    char *full = path.len == 0 || str_eq(path, STR("-")) ? NULL : realpath(arena_c(arena, path), NULL);
    if (full == NULL)
        return path;
    Str copy = arena_str(arena, str_from_c(full));
    free(full); /* allow free: realpath allocated it */
    return copy;
}

static void set_members(Cli *cli, json_t *context)
{
    for (size_t i = 0; i < COUNT_OF(MEMBERS); i++) {
        Str value = global_of(cli, i);
        bool is_file = str_ends_with(str_from_c(MEMBERS[i]), STR("_file"));
        if (value.len > 0)
            json_object_set_new(context, MEMBERS[i], json_from_str(is_file ? absolute(cli->arena, value) : value));
    }
}

static Err context_add(Cli *cli)
{
    json_t *root;
    TRY(load(cli->arena, &root));
    Str name = cli_argument(cli, "NAME");
    if (!str_is_name(name))
        return FAIL(ERR_INVALID, "usage", "a context's name is made of a-z, 0-9, - and _");
    if (cli->globals.url.len == 0)
        return FAIL(ERR_INVALID, "usage", "--url is required");
    json_t *context = json_object();
    set_members(cli, context);
    json_object_set_new(json_object_get(root, "contexts"), arena_c(cli->arena, name), context);
    json_object_set_new(root, "current", json_from_str(name));
    TRY(save(cli->arena, root));
    cli_say(cli, "context " STR_FMT " is in use", STR_ARG(name));
    return OK;
}

static Err existing(Cli *cli, Str name, json_t **ret_root, json_t **ret_context)
{
    TRY(load(cli->arena, ret_root));
    Str wanted = name.len > 0 ? name : current_name(cli, *ret_root);
    *ret_context = json_object_get(json_object_get(*ret_root, "contexts"), arena_c(cli->arena, wanted));
    if (*ret_context == NULL)
        return FAIL_FMT(cli->arena, ERR_INVALID, "usage", "there is no context named " STR_FMT "; reeve context list",
            STR_ARG(wanted));
    return OK;
}

static Err context_set(Cli *cli)
{
    json_t *root, *context;
    TRY(existing(cli, cli->globals.context, &root, &context));
    set_members(cli, context);
    return save(cli->arena, root);
}

static Err context_use(Cli *cli)
{
    json_t *root, *context;
    TRY(existing(cli, cli_argument(cli, "NAME"), &root, &context));
    json_object_set_new(root, "current", json_from_str(cli_argument(cli, "NAME")));
    return save(cli->arena, root);
}

static Err context_delete(Cli *cli)
{
    json_t *root, *context;
    TRY(existing(cli, cli_argument(cli, "NAME"), &root, &context));
    json_object_del(json_object_get(root, "contexts"), arena_c(cli->arena, cli_argument(cli, "NAME")));
    return save(cli->arena, root);
}

static Err context_list(Cli *cli)
{
    json_t *root, *context;
    const char *name;
    TRY(load(cli->arena, &root));
    _cleanup_(json_release) json_t *items = json_array();
    Str current = current_name(cli, root);
    json_object_foreach(json_object_get(root, "contexts"), name, context)
    {
        json_t *item = json_deep_copy(context);
        json_object_set_new(item, "name", json_string(name));
        json_object_set_new(item, "current", json_boolean(str_eq(current, str_from_c(name))));
        json_array_append_new(items, item);
    }
    return output_items(cli, items, "name,current,url,project,token_file");
}

const Command CONTEXT_COMMANDS[] = {
    { .words = "context add",
        .arguments = "NAME",
        .summary = "Remember a control plane under a name and use it",
        .run = context_add,
        .example = "reeve context add prod --url https://reeve.example.com --token-file ~/.reeve-token" },
    { .words = "context set",
        .summary = "Change the current context: its project, token file, address or root",
        .run = context_set,
        .example = "reeve context set --project search" },
    { .words = "context use", .arguments = "NAME", .summary = "Use another context", .run = context_use },
    { .words = "context list", .summary = "List the contexts", .run = context_list },
    { .words = "context delete", .arguments = "NAME", .summary = "Forget a context", .run = context_delete },
    { 0 },
};
