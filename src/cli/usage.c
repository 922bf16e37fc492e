/*
 * usage.c: the bill. The API answers with ids, which never change; people get the names that belong to them now.
 */
#include "cli/cli.h"

#include "base/json.h"

#include <string.h>

static bool is_for_people(const Cli *cli)
{
    Str form = cli->globals.output;
    return form.len == 0 || str_eq(form, STR("table")) || str_eq(form, STR("csv"));
}

/* Adds id → name of every item of a list; a list that may not be read leaves its ids as they are. */
static void learn(Cli *cli, Str path, json_t *names)
{
    _cleanup_(json_release) json_t *items = NULL;
    size_t index;
    json_t *item;
    if (cli_get_all(cli, path, &items).kind != ERR_NONE)
        return;
    json_array_foreach(items, index, item)
        json_object_set(names, arena_c(cli->arena, json_str(item, "id")), json_object_get(item, "name"));
}

/* Which lists of a project have the names of a column. */
static const char *const PARTS[][2] = { { "workflow", "workflows" }, { "connection", "connections" },
    { "client_key", "client-keys" } };

static void learn_project(Cli *cli, const json_t *row, Str project, json_t *names)
{
    for (size_t i = 0; i < COUNT_OF(PARTS); i++)
        if (json_object_get(row, PARTS[i][0]) != NULL)
            learn(cli, arena_fmt(cli->arena, "/v1/projects/" STR_FMT "/%s", STR_ARG(project), PARTS[i][1]), names);
}

/* Ids become names; what was deleted keeps its id. */
static void name_rows(Cli *cli, json_t *rows)
{
    static const char *const COLUMNS[] = { "project", "workflow", "connection", "client_key" };
    _cleanup_(json_release) json_t *names = json_object();
    const json_t *first = json_array_get(rows, 0);
    size_t index;
    const char *id;
    json_t *row, *name;
    void *next;
    learn(cli, STR("/v1/projects?show_deleted=true"), names);
    _cleanup_(json_release) json_t *projects = json_copy(names);
    json_object_foreach_safe(projects, next, id, name) learn_project(cli, first, str_from_c(id), names);
    json_array_foreach(rows, index, row) for (size_t c = 0; c < COUNT_OF(COLUMNS); c++)
    {
        json_t *known = json_object_get(names, arena_c(cli->arena, json_str(row, COLUMNS[c])));
        if (known != NULL)
            json_object_set(row, COLUMNS[c], known);
    }
}

/* The path with what was asked for as its query. */
static Str with_query(Cli *cli, Str path)
{
    for (size_t i = 0; i < cli->value_count; i++)
        path = arena_fmt(cli->arena, STR_FMT "%s%s=" STR_FMT, STR_ARG(path), i == 0 ? "?" : "&",
            cli->values[i].option->member + 1, STR_ARG(path_escape(cli->arena, cli->values[i].value)));
    return path;
}

static Err show_request(Cli *cli, Str path)
{
    Answer answer;
    return cli_call(cli, &(Call){ .method = "GET", .path = path, .show = true }, &answer);
}

/* An amount that leaves something out is marked. */
static void mark_unrated(Cli *cli, json_t *row)
{
    const json_t *unrated = json_object_get(row, "unrated_quantity");
    if (json_is_string(unrated) || json_integer_value(unrated) != 0)
        json_object_set_new(row, "amount_usd",
            json_from_str(arena_fmt(cli->arena, STR_FMT " *", STR_ARG(json_str(row, "amount_usd")))));
}

/* What a bill has under its rows: the total, how far it is complete, and what has no price. */
static Err add_totals(Cli *cli, Str path, Str group, json_t *rows)
{
    _cleanup_(json_release) json_t *body = NULL;
    Str column, rest;
    TRY(cli_get(cli,
        arena_fmt(cli->arena, STR_FMT "%spage_size=1", STR_ARG(path), str_contains(path, STR("?")) ? "&" : "?"),
        &body));
    json_t *totals = json_object_get(body, "totals");
    str_cut(group, ',', &column, &rest);
    const json_t *unrated = json_object_get(totals, "unrated_quantity");
    bool any_unrated = json_is_string(unrated) || json_integer_value(unrated) != 0;
    if (str_eq(cli->globals.output, STR("csv")) == false) {
        size_t index;
        json_t *row;
        if (group.len > 0 && json_array_size(rows) > 0) {
            json_object_set_new(totals, arena_c(cli->arena, column), json_string("total"));
            json_array_append(rows, totals);
        }
        json_array_foreach(rows, index, row) mark_unrated(cli, row);
    }
    if (any_unrated)
        cli_say(cli, "* without the %s units that have no price yet (reeve price import, then re-rate)",
            json_is_string(unrated) ? json_string_value(unrated)
                                    : arena_c(cli->arena, json_write(cli->arena, unrated)));
    cli_say(cli, "complete to " STR_FMT, STR_ARG(json_str(body, "complete_to")));
    return OK;
}

static Err usage_list(Cli *cli)
{
    Str group = cli_option(cli, "group-by"), path = with_query(cli, STR("/v1/usage"));
    _cleanup_(json_release) json_t *rows = NULL;
    if (cli->globals.curl)
        return show_request(cli, path);
    TRY(cli_get_all(cli, path, &rows));
    if (is_for_people(cli)) {
        if (json_array_size(rows) > 0)
            name_rows(cli, rows);
        TRY(add_totals(cli, path, group, rows));
    }
    return output_items(cli, rows,
        arena_fmt(cli->arena, STR_FMT "%squantity,amount_usd,unrated_quantity,attempts", STR_ARG(group),
            group.len > 0 ? "," : "")
            .ptr);
}

static const Option USAGE_OPTIONS[] = {
    { "from", "TIME", "from this hour on, RFC 3339 in UTC (the last day)", "?from", OPTION_TEXT, false },
    { "to", "TIME", "before this hour (now)", "?to", OPTION_TEXT, false },
    { "group-by", "LIST",
        "any of organization, project, workflow, client_key, connection, provider, model, attempt_outcome, meter, "
        "hour, day",
        "?group_by", OPTION_TEXT, false },
    { "in-project", "PROJECT", "only this project", "?project", OPTION_TEXT, false },
    { "workflow", "ID", "only this workflow", "?workflow", OPTION_TEXT, false },
    { "connection", "ID", "only this connection", "?connection", OPTION_TEXT, false },
    { "client-key", "ID", "only this client key", "?client_key", OPTION_TEXT, false },
    { "provider", "PROVIDER", "only this provider", "?provider", OPTION_TEXT, false },
    { "model", "MODEL", "only this model", "?model", OPTION_TEXT, false },
    { "outcome", "OUTCOME", "only attempts that ended so", "?attempt_outcome", OPTION_TEXT, false },
    { "meter", "METER", "only this meter", "?meter", OPTION_TEXT, false },
    { 0 },
};

/* The account checked; 2 when something is wrong with it. */
static Err usage_verify(Cli *cli)
{
    Str path = with_query(cli, STR("/v1/usage/verify"));
    _cleanup_(json_release) json_t *body = NULL;
    if (cli->globals.curl)
        return show_request(cli, path);
    TRY(cli_get(cli, path, &body));
    if (is_for_people(cli)) {
        size_t index;
        json_t *check;
        json_array_foreach(json_object_get(body, "checks"), index, check) json_object_set_new(
            check, "verdict", json_string(json_is_true(json_object_get(check, "wrong")) ? "WRONG" : "fine"));
        TRY(output_items(cli, json_object_get(body, "checks"), "check,verdict,found,detail"));
    } else {
        TRY(output_item(cli, body, ""));
    }
    bool healthy = json_is_true(json_object_get(body, "healthy"));
    cli_say(cli, "%s; from " STR_FMT " to " STR_FMT ", complete to " STR_FMT,
        healthy ? "the account is in order" : "something is wrong with the account", STR_ARG(json_str(body, "from")),
        STR_ARG(json_str(body, "to")), STR_ARG(json_str(body, "complete_to")));
    cli->exit_code = healthy ? EXIT_FINE : EXIT_DIFFERENT;
    return OK;
}

static const Option VERIFY_OPTIONS[] = {
    { "from", "TIME", "from this hour on, RFC 3339 in UTC (the last day)", "?from", OPTION_TEXT, false },
    { "to", "TIME", "before this hour (now); at most 31 days", "?to", OPTION_TEXT, false },
    { 0 },
};

const Command USAGE_COMMANDS[] = {
    { .words = "usage verify",
        .options = VERIFY_OPTIONS,
        .run = usage_verify,
        .summary = "Check the account: exit code 2 when a sum is wrong or something is missing or has no price",
        .example = "reeve usage verify --from 2030-01-01T00:00:00Z" },
    { .words = "usage list",
        .options = USAGE_OPTIONS,
        .run = usage_list,
        .summary = "The bill: quantities and amounts, exact to the picodollar",
        .example = "reeve usage list --group-by project,workflow,model,meter -o csv" },
    { 0 },
};
