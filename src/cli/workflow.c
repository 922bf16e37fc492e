/*
 * workflow.c: workflows, their revisions and releases. `workflow switch` is the everyday change: a new revision like
 * the released one but for a model, released at once; `--target` describes targets without a file.
 */
#include "cli/cli.h"

#include "base/config.h"
#include "base/json.h"

#define TARGETS_MAX 16
#define REVISION_BYTES_MAX ((size_t)(256 * 1024))

static Err workflow_path(Cli *cli, const char *suffix, Str *ret_path)
{
    Str project;
    TRY(context_resolve(cli));
    TRY(cli_project(cli, &project));
    *ret_path = arena_fmt(cli->arena, "/v1/projects/" STR_FMT "/workflows/" STR_FMT "%s",
        STR_ARG(path_escape(cli->arena, project)), STR_ARG(path_escape(cli->arena, cli_argument(cli, "WORKFLOW"))),
        suffix);
    return OK;
}

/* "connection=primary,model=gpt-4o-mini,max_attempts=2,first_byte_ms=5000": numbers are numbers, *_ms are timeouts. */
static Err parse_target(Cli *cli, Str text, json_t **ret_target)
{
    _cleanup_(json_release) json_t *target = json_object();
    for (Str rest = text, pair, name, value; rest.len > 0;) {
        int64_t number;
        str_cut(rest, ',', &pair, &rest);
        if (!str_cut(pair, '=', &name, &value) || value.len == 0)
            return FAIL(ERR_INVALID, "usage", "--target is connection=NAME,model=MODEL[,MEMBER=VALUE...]");
        bool is_timeout = str_ends_with(name, STR("_ms"));
        if (is_timeout && json_object_get(target, "timeouts") == NULL)
            json_object_set_new(target, "timeouts", json_object());
        json_t *json = str_to_i64(value, &number) ? json_integer(number) : json_from_str(value);
        json_object_set_new(is_timeout ? json_object_get(target, "timeouts") : target, arena_c(cli->arena, name), json);
    }
    *ret_target = TAKE(target);
    return OK;
}

static Err targets_of_options(Cli *cli, json_t **ret_targets)
{
    Str texts[TARGETS_MAX];
    size_t count = cli_option_all(cli, "target", texts, TARGETS_MAX);
    _cleanup_(json_release) json_t *targets = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *target = NULL;
        TRY(parse_target(cli, texts[i], &target));
        json_array_append_new(targets, target);
    }
    *ret_targets = TAKE(targets);
    return OK;
}

static Err post_revision(Cli *cli, json_t *body, json_t **ret_revision)
{
    Str path;
    _cleanup_(answer_release) Answer answer = { 0 };
    TRY(workflow_path(cli, "/revisions", &path));
    TRY(cli_call(cli, &(Call){ .method = "POST", .path = path, .body = body }, &answer));
    *ret_revision = TAKE(answer.body);
    return OK;
}

static Err put_release(Cli *cli, Str revision, json_t **ret_release)
{
    Str path, workflow;
    int64_t number;
    _cleanup_(answer_release) Answer answer = { 0 };
    _cleanup_(json_release) json_t *body = json_object();
    json_object_set_new(
        body, "revision", str_to_i64(revision, &number) ? json_integer(number) : json_from_str(revision));
    TRY(workflow_path(cli, "", &workflow));
    TRY(workflow_path(cli, "/release", &path));
    /* Before the first release only the workflow has a version. */
    Call call = { .method = "PUT", .path = path, .body = body, .if_match = true, .etag_of = workflow };
    TRY(cli_call(cli, &call, &answer));
    *ret_release = TAKE(answer.body);
    return OK;
}

/* Releases what was just made, unless the caller only wants to look. */
static Err release_and_show(Cli *cli, const json_t *revision)
{
    _cleanup_(json_release) json_t *release = NULL;
    if (cli->globals.dry_run || cli->globals.curl)
        return output_item(cli, revision, "id,number");
    TRY(put_release(cli, json_str(revision, "id"), &release));
    int64_t number = 0;
    json_i64(revision, "number", &number);
    cli_say(cli, "revision %lld is released", (long long)number);
    return output_item(cli, release, "number,stages");
}

static Err workflow_revise(Cli *cli)
{
    _cleanup_(json_release) json_t *body = NULL, *revision = NULL;
    Str file = cli_option(cli, "file");
    if (file.ptr != NULL) {
        Str text;
        TRY(file_read(cli->arena, file, REVISION_BYTES_MAX, &text));
        TRY(yaml_parse(cli->arena, file, text, &body));
    } else {
        body = json_object();
        json_t *targets = NULL;
        TRY(targets_of_options(cli, &targets));
        json_object_set_new(body, "targets", targets);
        if (json_array_size(targets) == 0)
            return FAIL(ERR_INVALID, "usage", "give --target once or more, or --file");
    }
    Str note = cli_option(cli, "note");
    if (note.ptr != NULL)
        json_object_set_new(body, "note", json_from_str(note));
    TRY(post_revision(cli, body, &revision));
    if (cli_flag(cli, "release"))
        return release_and_show(cli, revision);
    return output_item(cli, revision, "id,number,created_at");
}

/* The revision that most calls get now. */
static Err released_revision(Cli *cli, json_t **ret_revision)
{
    Str path;
    _cleanup_(json_release) json_t *release = NULL;
    TRY(workflow_path(cli, "/release", &path));
    TRY(cli_get(cli, path, &release));
    const json_t *stage = NULL, *best = NULL;
    int64_t percent = 0, best_percent = -1;
    size_t index;
    json_array_foreach(json_object_get(release, "stages"), index, stage)
    {
        json_i64(stage, "percent", &percent);
        if (percent > best_percent) {
            best = stage;
            best_percent = percent;
        }
    }
    Str id = json_str(best, "revision");
    if (id.len == 0)
        return FAIL(ERR_CONFLICT, "no-release", "the workflow has no released revision yet; reeve workflow revise");
    TRY(workflow_path(cli, "/revisions/", &path));
    return cli_get(cli, arena_fmt(cli->arena, STR_FMT STR_FMT, STR_ARG(path), STR_ARG(id)), ret_revision);
}

static Err workflow_switch(Cli *cli)
{
    _cleanup_(json_release) json_t *old = NULL, *body = json_object(), *revision = NULL;
    Str model = cli_argument(cli, "MODEL"), from = cli_option(cli, "from");
    TRY(released_revision(cli, &old));
    json_t *targets = json_deep_copy(json_object_get(old, "targets")), *target;
    json_object_set_new(body, "targets", targets);
    json_t *retry = json_object_get(old, "retry");
    if (json_is_object(retry))
        json_object_set(body, "retry", retry);
    size_t index, changed = 0;
    json_array_foreach(targets, index, target)
    {
        bool meant = from.ptr != NULL ? str_eq(json_str(target, "model"), from) : index == 0;
        if (!meant)
            continue;
        json_object_set_new(target, "model", json_from_str(model));
        changed++;
    }
    if (changed == 0)
        return FAIL(ERR_INVALID, "usage", "no target of the released revision has the model given by --from");
    Str note = cli_option(cli, "note");
    json_object_set_new(body, "note",
        json_from_str(note.ptr != NULL ? note : arena_fmt(cli->arena, "switch to " STR_FMT, STR_ARG(model))));
    TRY(post_revision(cli, body, &revision));
    return release_and_show(cli, revision);
}

static Err workflow_release(Cli *cli)
{
    _cleanup_(json_release) json_t *release = NULL;
    TRY(put_release(cli, cli_argument(cli, "REVISION"), &release));
    return output_item(cli, release, "number,stages");
}

static const Option CREATE_OPTIONS[] = {
    { "dialect", "DIALECT", "what applications speak: openai or anthropic", "dialect", OPTION_TEXT, true },
    { "description", "TEXT", "what it is for", "description", OPTION_TEXT, false },
    { 0 },
};
static const Option UPDATE_OPTIONS[] = {
    { "description", "TEXT", "what it is for", "description", OPTION_TEXT, false },
    { 0 },
};
static const Option REVISE_OPTIONS[] = {
    { "target", "TARGET", "connection=NAME,model=MODEL[,max_attempts=N,first_byte_ms=N...]; in order, repeat", NULL,
        OPTION_LIST, false },
    { "file", "FILE", "the whole revision as YAML or JSON", NULL, OPTION_TEXT, false },
    { "note", "TEXT", "why", NULL, OPTION_TEXT, false },
    { "release", NULL, "release it at once", NULL, OPTION_FLAG, false },
    { 0 },
};
static const Option SWITCH_OPTIONS[] = {
    { "from", "MODEL", "only where this model stands now (otherwise: the first target)", NULL, OPTION_TEXT, false },
    { "note", "TEXT", "why", NULL, OPTION_TEXT, false },
    { 0 },
};

const Command WORKFLOW_COMMANDS[] = {
    { .words = "workflow create",
        .arguments = "NAME",
        .method = "POST",
        .path = "/v1/projects/{project}/workflows",
        .body = "NAME=name",
        .options = CREATE_OPTIONS,
        .summary = "Create a workflow: a model name of your own",
        .example = "reeve workflow create summarize --dialect openai" },
    { .words = "workflow revise",
        .arguments = "WORKFLOW",
        .options = REVISE_OPTIONS,
        .run = workflow_revise,
        .summary = "Add a revision: the ordered targets of the workflow",
        .example = "reeve workflow revise summarize --release --target connection=openai,model=gpt-4o-mini "
                   "--target connection=backup,model=gpt-4o" },
    { .words = "workflow switch",
        .arguments = "WORKFLOW MODEL",
        .options = SWITCH_OPTIONS,
        .run = workflow_switch,
        .summary = "Switch a workflow to another model: revises and releases",
        .example = "reeve workflow switch summarize gpt-4.1-mini" },
    { .words = "workflow release",
        .arguments = "WORKFLOW REVISION",
        .run = workflow_release,
        .summary = "Release a revision, by its number or id" },
    { .words = "workflow rollback",
        .arguments = "WORKFLOW",
        .method = "POST",
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}/rollback",
        .summary = "Go back to the release before" },
    { .words = "workflow list",
        .method = "GET",
        .path = "/v1/projects/{project}/workflows",
        .columns = "name,id,dialect,revision,release,created_at",
        .summary = "List the workflows" },
    { .words = "workflow get",
        .arguments = "WORKFLOW",
        .method = "GET",
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}",
        .summary = "Show a workflow" },
    { .words = "workflow update",
        .arguments = "WORKFLOW",
        .method = "PATCH",
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}",
        .options = UPDATE_OPTIONS,
        .summary = "Change a workflow's description" },
    { .words = "workflow status",
        .arguments = "WORKFLOW",
        .method = "GET",
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}/release",
        .summary = "Show which revision runs where" },
    { .words = "workflow revisions list",
        .arguments = "WORKFLOW",
        .method = "GET",
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}/revisions",
        .columns = "number,id,note,created_at",
        .summary = "List the revisions of a workflow" },
    { .words = "workflow delete",
        .arguments = "WORKFLOW",
        .method = "DELETE",
        .destructive = true,
        .path = "/v1/projects/{project}/workflows/{WORKFLOW}",
        .summary = "Delete a workflow" },
    { 0 },
};
