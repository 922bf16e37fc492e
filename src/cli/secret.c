/*
 * secret.c: provider keys, sealed before they leave. The intake key comes with the root document that signs for it; the
 * root's hash is pinned in the context, so that a control plane cannot put its own key in between.
 */
#include "cli/cli.h"

#include "base/id.h"
#include "base/json.h"
#include "crypto/jose.h"
#include "snapshot/origin.h"
#include "snapshot/root.h"

#define PROVIDER_KEY_BYTES_MAX ((size_t)4096)

typedef struct Place { /* what a sealed secret is bound to */
    Str installation, org, project, secret, origin;
} Place;

/* The newest intake key that the pinned root lists. */
static Err intake_key(Cli *cli, Str *ret_installation, PublicKey *ret_key)
{
    _cleanup_(json_release) json_t *body = NULL;
    Root root;
    TRY(cli_get(cli, STR("/v1/intake-key"), &body));
    Str jws = arena_str(cli->arena, json_str(body, "root"));
    Digest hash = digest_of(str_bytes(jws));
    TRY(context_pin_root(cli, digest_text(cli->arena, hash)));
    TRY(root_verify(cli->arena, jws, hash, time_now(), &root));
    KeySet keys = root_keys(&root, "intake");
    if (keys.count == 0)
        return FAIL(ERR_UNAVAILABLE, "no-intake-key", "the root lists no intake key: secrets cannot be sealed here");
    *ret_key = keys.items[0];
    *ret_installation = typeid_format(cli->arena, STR("ins"), root.installation);
    return OK;
}

static Err seal(Cli *cli, const Place *place, const PublicKey *key, Bytes plain, Str *ret_jwe)
{
    _cleanup_(json_release) json_t *header = json_object();
    json_object_set_new(header, "installation", json_from_str(place->installation));
    json_object_set_new(header, "org", json_from_str(place->org));
    json_object_set_new(header, "project", json_from_str(place->project));
    json_object_set_new(header, "secret", json_from_str(place->secret));
    json_object_set_new(header, "origin", json_from_str(place->origin));
    return jwe_seal_to(cli->arena, key, STR("reeve-intake+jwe"), header, plain, ret_jwe);
}

static Err own_organization(Cli *cli, Str *ret_org)
{
    _cleanup_(json_release) json_t *body = NULL;
    TRY(cli_get(cli, STR("/v1/organization"), &body));
    *ret_org = arena_str(cli->arena, json_str(body, "id"));
    return OK;
}

/* The ids that the seal binds come from the control plane's own words about the project. */
static Err place_in_project(Cli *cli, Place *place)
{
    Str project;
    _cleanup_(json_release) json_t *body = NULL;
    TRY(context_resolve(cli));
    TRY(cli_project(cli, &project));
    TRY(cli_get(cli, arena_fmt(cli->arena, "/v1/projects/" STR_FMT, STR_ARG(path_escape(cli->arena, project))), &body));
    place->project = arena_str(cli->arena, json_str(body, "id"));
    TRY(own_organization(cli, &place->org));
    if (place->project.len == 0 || place->org.len == 0)
        return FAIL(ERR_INTERNAL, "bad-answer", "the server's answer names no project and organization");
    return OK;
}

static Err seal_for(Cli *cli, Place *place, const char *prompt, Str *ret_jwe)
{
    PublicKey key;
    _cleanup_(secret_release) Secret plain = { 0 };
    TRY(intake_key(cli, &place->installation, &key));
    TRY(cli_read_secret(cli, prompt, PROVIDER_KEY_BYTES_MAX, &plain));
    return seal(cli, place, &key, secret_bytes(&plain), ret_jwe);
}

static Err secret_create(Cli *cli)
{
    Place place = { 0 };
    Str jwe;
    TRY(origin_of_url(cli->arena, cli_option(cli, "origin"), &place.origin));
    TRY(place_in_project(cli, &place));
    place.secret = typeid_format(cli->arena, STR("sec"), uuid_v7(time_now()));
    TRY(seal_for(cli, &place, "provider key (not shown)", &jwe));
    _cleanup_(json_release) json_t *body = json_object();
    json_object_set_new(body, "id", json_from_str(place.secret));
    json_object_set_new(body, "name", json_from_str(cli_argument(cli, "NAME")));
    json_object_set_new(body, "origin", json_from_str(place.origin));
    json_object_set_new(body, "sealed", json_from_str(jwe));
    _cleanup_(answer_release) Answer answer = { 0 };
    Call call = { .method = "POST",
        .path = arena_fmt(cli->arena, "/v1/projects/" STR_FMT "/secrets", STR_ARG(place.project)),
        .body = body };
    TRY(cli_call(cli, &call, &answer));
    return output_item(cli, answer.body, cli->command->columns);
}

static Err secret_rotate(Cli *cli)
{
    Place place = { 0 };
    Str jwe, overlap = cli_option(cli, "overlap");
    int64_t overlap_s = -1;
    if (str_eq(overlap, STR("0")))
        overlap_s = 0;
    else if (overlap.ptr != NULL && duration_parse(overlap, &overlap_s).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "usage", "--overlap must be a duration such as 0, 90s, 15m or 24h");
    TRY(place_in_project(cli, &place));
    Str path = arena_fmt(cli->arena, "/v1/projects/" STR_FMT "/secrets/" STR_FMT, STR_ARG(place.project),
        STR_ARG(path_escape(cli->arena, cli_argument(cli, "SECRET"))));
    _cleanup_(json_release) json_t *secret = NULL;
    TRY(cli_get(cli, path, &secret));
    place.secret = arena_str(cli->arena, json_str(secret, "id"));
    place.origin = arena_str(cli->arena, json_str(secret, "origin"));
    TRY(seal_for(cli, &place, "new provider key (not shown)", &jwe));
    _cleanup_(json_release) json_t *body = json_object();
    json_object_set_new(body, "sealed", json_from_str(jwe));
    if (overlap_s >= 0)
        json_object_set_new(body, "overlap_s", json_integer(overlap_s));
    if (cli_flag(cli, "pending"))
        json_object_set_new(body, "pending", json_true());
    _cleanup_(answer_release) Answer answer = { 0 };
    Call call = { .method = "POST", .path = arena_fmt(cli->arena, STR_FMT "/versions", STR_ARG(path)), .body = body };
    TRY(cli_call(cli, &call, &answer));
    return output_item(cli, answer.body, cli->command->columns);
}

static const Option CREATE_OPTIONS[] = {
    { "origin", "URL", "the only scheme, host and port this key may ever be sent to", NULL, OPTION_TEXT, true },
    { "from-file", "FILE", "read the key from a file; - is standard input", NULL, OPTION_TEXT, false },
    { 0 },
};
static const Option ROTATE_OPTIONS[] = {
    { "overlap", "DURATION", "how long the former version may still be used (15m)", NULL, OPTION_DURATION, false },
    { "pending", NULL, "keep it for later: reeve secret activate", NULL, OPTION_FLAG, false },
    { "from-file", "FILE", "read the key from a file; - is standard input", NULL, OPTION_TEXT, false },
    { 0 },
};

static const Option ACTIVATE_OPTIONS[] = {
    { "overlap", "DURATION", "how long the former version may still be used (15m)", "overlap_s", OPTION_DURATION,
        false },
    { 0 },
};

const Command SECRET_COMMANDS[] = {
    { .words = "secret create",
        .arguments = "NAME",
        .options = CREATE_OPTIONS,
        .run = secret_create,
        .summary = "Put a provider key into the project, sealed before it leaves",
        .example = "reeve secret create openai --origin https://api.openai.com --from-file key.txt" },
    { .words = "secret rotate",
        .arguments = "SECRET",
        .options = ROTATE_OPTIONS,
        .run = secret_rotate,
        .summary = "Give a secret a new version; the former one retires after the overlap",
        .example = "reeve secret rotate openai --overlap 15m --from-file new-key.txt" },
    { .words = "secret list",
        .method = "GET",
        .path = "/v1/projects/{project}/secrets",
        .columns = "name,id,origin,active,hint,created_at",
        .summary = "List the project's secrets: never the keys" },
    { .words = "secret get",
        .arguments = "SECRET",
        .method = "GET",
        .path = "/v1/projects/{project}/secrets/{SECRET}",
        .summary = "Show a secret's origin and state: never the key" },
    { .words = "secret versions list",
        .arguments = "SECRET",
        .method = "GET",
        .path = "/v1/projects/{project}/secrets/{SECRET}/versions",
        .columns = "number,state,hint,not_after,created_at",
        .summary = "List the versions of a secret" },
    { .words = "secret activate",
        .arguments = "SECRET VERSION",
        .method = "POST",
        .path = "/v1/projects/{project}/secrets/{SECRET}/versions/{VERSION}/activate",
        .options = ACTIVATE_OPTIONS,
        .summary = "Make a pending version the active one; the former one retires after the overlap" },
    { .words = "secret revoke",
        .arguments = "SECRET VERSION",
        .method = "POST",
        .destructive = true,
        .path = "/v1/projects/{project}/secrets/{SECRET}/versions/{VERSION}/revoke",
        .summary = "Revoke one version of a secret at once" },
    { .words = "secret delete",
        .arguments = "SECRET",
        .method = "DELETE",
        .destructive = true,
        .path = "/v1/projects/{project}/secrets/{SECRET}",
        .summary = "Delete a secret that no connection uses" },
    { 0 },
};
