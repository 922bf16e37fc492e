/* rest.c: a command that stands for one call of the admin API, by its row. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/json.h"

#include <string.h>

static const JsonLimits INLINE_LIMITS = { .bytes_max = 256 * 1024, .depth_max = 32, .tokens_max = 20000 };

/* One {NAME} of a path: an argument, or the project or organization of the call. */
static Err place_value(Cli *cli, Str name, Str *ret_value)
{
    if (str_eq(name, STR("project")))
        return cli_project(cli, ret_value);
    *ret_value = cli_argument(cli, arena_c(cli->arena, name));
    return ret_value->len > 0 ? OK : FAIL(ERR_INVALID, "usage", "an argument must not be empty");
}

static Err build_path(Cli *cli, Str *ret_path)
{
    Str rest = str_from_c(cli->command->path), path = STR("");
    while (rest.len > 0) {
        Str literal, name, value;
        if (!str_cut(rest, '{', &literal, &rest)) {
            path = arena_fmt(cli->arena, STR_FMT STR_FMT, STR_ARG(path), STR_ARG(literal));
            break;
        }
        str_cut(rest, '}', &name, &rest);
        TRY(place_value(cli, name, &value));
        path = arena_fmt(cli->arena, STR_FMT STR_FMT STR_FMT, STR_ARG(path), STR_ARG(literal),
            STR_ARG(path_escape(cli->arena, value)));
    }
    *ret_path = path;
    return OK;
}

static Err option_json(Cli *cli, const Option *option, Str value, json_t **ret_value)
{
    int64_t number;
    switch (option->kind) {
    case OPTION_NUMBER:
        if (!str_to_i64(value, &number))
            return FAIL_FMT(cli->arena, ERR_INVALID, "usage", "--%s must be a whole number", option->name);
        *ret_value = json_integer(number);
        return OK;
    case OPTION_DURATION:
        if (str_eq(value, STR("0")))
            number = 0;
        else if (duration_parse(value, &number).kind != ERR_NONE)
            return FAIL_FMT(
                cli->arena, ERR_INVALID, "usage", "--%s must be a duration such as 90s, 15m or 24h", option->name);
        *ret_value = json_integer(number);
        return OK;
    case OPTION_FLAG:
        *ret_value = json_true();
        return OK;
    case OPTION_JSON:
        return json_parse(value, INLINE_LIMITS, ret_value);
    case OPTION_TEXT:
    case OPTION_LIST:
        break;
    }
    *ret_value = json_from_str(value);
    return OK;
}

static Err add_query(Cli *cli, const Option *option, Str value, Str *path)
{
    _cleanup_(json_release) json_t *parsed = NULL;
    TRY(option_json(cli, option, value, &parsed));
    Str text = json_is_string(parsed) ? value : json_write(cli->arena, parsed);
    *path = arena_fmt(cli->arena, STR_FMT "%s%s=" STR_FMT, STR_ARG(*path), str_contains(*path, STR("?")) ? "&" : "?",
        option->member + 1, STR_ARG(path_escape(cli->arena, text)));
    return OK;
}

static Err add_member(Cli *cli, const Option *option, Str value, json_t *body)
{
    json_t *parsed = NULL;
    TRY(option_json(cli, option, value, &parsed));
    if (option->kind != OPTION_LIST) {
        json_object_set_new(body, option->member, parsed);
        return OK;
    }
    json_t *list = json_object_get(body, option->member);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(body, option->member, list);
    }
    json_array_append_new(list, parsed);
    return OK;
}

static Err add_options(Cli *cli, Str *path, json_t *body)
{
    for (size_t i = 0; i < cli->value_count; i++) {
        const Option *option = cli->values[i].option;
        if (option->member == NULL)
            continue;
        if (option->member[0] == '?')
            TRY(add_query(cli, option, cli->values[i].value, path));
        else
            TRY(add_member(cli, option, cli->values[i].value, body));
    }
    return OK;
}

/* "NAME=name,SECRET=secret": arguments that become members. */
static void add_arguments(Cli *cli, json_t *body)
{
    Str rest = str_from_c(cli->command->body), pair, argument, member;
    while (rest.len > 0) {
        str_cut(rest, ',', &pair, &rest);
        str_cut(pair, '=', &argument, &member);
        Str value = cli_argument(cli, arena_c(cli->arena, argument));
        if (value.ptr != NULL)
            json_object_set_new(body, arena_c(cli->arena, member), json_from_str(value));
    }
}

static Err show(Cli *cli, const Answer *answer)
{
    TRY(output_item(cli, answer->body, cli->command->columns));
    if (str_starts_with(json_str(answer->body, "token"), STR("rv_")))
        cli_say(cli, "note: this is the only time the token is shown");
    if (answer->body == NULL && !cli->globals.curl)
        cli_say(cli, "done");
    return OK;
}

Err rest_run(Cli *cli)
{
    const Command *command = cli->command;
    _cleanup_(json_release) json_t *body = json_object();
    TRY(context_resolve(cli));
    Str path;
    TRY(build_path(cli, &path));
    add_arguments(cli, body);
    TRY(add_options(cli, &path, body));
    bool reads = strcmp(command->method, "GET") == 0, deletes = strcmp(command->method, "DELETE") == 0;
    if (reads && str_ends_with(str_from_c(command->words), STR("list")) && !cli->globals.curl) {
        _cleanup_(json_release) json_t *items = NULL;
        TRY(cli_get_all(cli, path, &items));
        return output_items(cli, items, command->columns);
    }
    bool matches = deletes || strcmp(command->method, "PATCH") == 0 || strcmp(command->method, "PUT") == 0;
    bool has_body = !reads && !deletes && (json_object_size(body) > 0 || strcmp(command->method, "POST") != 0);
    _cleanup_(answer_release) Answer answer = { 0 };
    Call call = { .method = command->method, .path = path, .body = has_body ? body : NULL, .if_match = matches };
    TRY(cli_call(cli, &call, &answer));
    return show(cli, &answer);
}
