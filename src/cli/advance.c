/*
 * advance.c: the next generation of a fleet's key, with the word of the enrol role: who is revoked gets no key any
 * more.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "cli/operator.h"
#include "snapshot/statement.h"

#define REVOKED_MAX 1024 /* in a manifest, too */

static Err revoke_now(Cli *cli, Str fleet, Str data_plane)
{
    _cleanup_(answer_release) Answer answer = { 0 };
    Str path = arena_fmt(cli->arena, "/v1/fleets/" STR_FMT "/data-planes/" STR_FMT "/revoke",
        STR_ARG(path_escape(cli->arena, fleet)), STR_ARG(path_escape(cli->arena, data_plane)));
    return cli_call(cli, &(Call){ .method = "POST", .path = path }, &answer);
}

static bool is_among(const Str *names, size_t count, Str id)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(names[i], id))
            return true;
    return false;
}

/* Those that are named, and those that are revoked already: the statement names all of the fleet. */
static Err who_is_revoked(Cli *cli, Str fleet, const Str *named, size_t named_count, Uuids *ret_revoked)
{
    _cleanup_(json_release) json_t *data_planes = NULL;
    json_t *item;
    size_t i, found = 0;
    Uuids revoked = { .items = NEW(cli->arena, Uuid, REVOKED_MAX) };
    TRY(cli_get_all(
        cli, arena_fmt(cli->arena, "/v1/fleets/" STR_FMT "/data-planes?page_size=500", STR_ARG(fleet)), &data_planes));
    json_array_foreach(data_planes, i, item)
    {
        bool is_named = is_among(named, named_count, json_str(item, "id"));
        found += is_named ? 1 : 0;
        if (!is_named && !str_eq(json_str(item, "state"), STR("revoked")))
            continue;
        if (revoked.count == REVOKED_MAX)
            return FAIL(ERR_INVALID, "too-many", "more than 1024 gateways of the fleet are revoked");
        TRY(typeid_parse(json_str(item, "id"), STR("dpl"), &revoked.items[revoked.count++]));
    }
    if (found != named_count)
        return FAIL(ERR_NOT_FOUND, "not-found",
            "not every gateway of --revoke is one of this fleet: give each once, by its id dpl_… (nothing was "
            "changed)");
    *ret_revoked = revoked;
    return OK;
}

static Err sign_statement(Cli *cli, const json_t *fleet, Uuids revoked, int64_t generation, Str *ret_statement)
{
    Root root;
    _cleanup_(keypair_release) KeyPair enrol = { 0 };
    GenerationStatement statement = { .generation = generation,
        .revoked = revoked,
        .at = { time_now().us / US_PER_S * US_PER_S } },
                        checked;
    TRY(operator_root(cli, cli_option(cli, "root"), &root));
    TRY(operator_key(cli, cli_option(cli, "enrol-key"), &enrol));
    TRY(typeid_parse(json_str(fleet, "id"), STR("flt"), &statement.fleet));
    statement.installation = root.installation;
    *ret_statement = generation_sign(cli->arena, &enrol, &statement);
    return generation_verify(cli->arena, *ret_statement, root_keys(&root, "enrol"), root.installation, &checked);
}

static Err fleet_advance(Cli *cli)
{
    _cleanup_(json_release) json_t *fleet = NULL, *body = json_object();
    _cleanup_(answer_release) Answer answer = { 0 };
    Str named[CLI_VALUES_MAX], statement, path;
    Uuids revoked = { 0 };
    int64_t generation = 0;
    size_t count = cli_option_all(cli, "revoke", named, COUNT_OF(named));
    path = arena_fmt(cli->arena, "/v1/fleets/" STR_FMT, STR_ARG(path_escape(cli->arena, cli_argument(cli, "FLEET"))));
    TRY(cli_get(cli, path, &fleet));
    if (!json_i64(fleet, "generation", &generation))
        return FAIL(ERR_INTERNAL, "bad-answer", "the server's answer is not a fleet");
    Str id = json_str(fleet, "id");
    TRY(who_is_revoked(cli, id, named, count, &revoked));
    TRY(sign_statement(cli, fleet, revoked, generation + 1, &statement));
    for (size_t i = 0; i < count; i++)
        TRY(revoke_now(cli, id, named[i]));
    json_object_set_new(body, "generation", json_integer(generation + 1));
    json_object_set_new(body, "statement", json_from_str(statement));
    path = arena_fmt(cli->arena, "/v1/fleets/" STR_FMT "/generations", STR_ARG(id));
    TRY(cli_call(cli, &(Call){ .method = "POST", .path = path, .body = body }, &answer));
    return output_item(cli, answer.body, "name,id,generation,version");
}

static const Option ADVANCE_OPTIONS[] = {
    { "revoke", "DATA_PLANE", "a gateway that gets no key any more, dpl_… (may be repeated)", NULL, OPTION_LIST,
        false },
    { "enrol-key", "FILE", "the private enrol key", NULL, OPTION_TEXT, true },
    { "root", "FILE", "the root document", NULL, OPTION_TEXT, true },
    { 0 },
};

const Command ADVANCE_COMMANDS[] = {
    { .words = "fleet advance",
        .arguments = "FLEET",
        .options = ADVANCE_OPTIONS,
        .run = fleet_advance,
        .destructive = true,
        .summary = "Revoke gateways for good: open the next generation of the fleet's key, without them (operators)",
        .example = "reeve fleet advance main --revoke dpl_… --enrol-key root/enrol.key --root root/root.jws" },
    { 0 },
};
