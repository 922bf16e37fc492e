/*
 * root.c: the operator's offline work: the root of an installation, and the join tokens by which gateways enrol. None
 * of it talks to the control plane; private keys are files of this machine, mode 0600.
 */
#include "cli/cli.h"

#include "base/config.h"
#include "base/json.h"
#include "cli/operator.h"
#include "snapshot/root.h"
#include "snapshot/statement.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_BYTES_MAX ((size_t)4096)

static const JsonLimits KEY_LIMITS = { .bytes_max = 256 * 1024, .depth_max = 8, .tokens_max = 4000 };

Err operator_key(Cli *cli, Str path, KeyPair *ret_pair)
{
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(cli_secret_file(cli, path, KEY_FILE_BYTES_MAX, &text));
    Err err = ed25519_from_private_jwk(secret_bytes(&text), ret_pair);
    if (err.kind != ERR_NONE)
        return FAIL_FMT(
            cli->arena, ERR_INVALID, "bad-key-file", STR_FMT ": is not a private Ed25519 JWK", STR_ARG(path));
    return OK;
}

static Err write_keypair(Str path, const KeyPair *pair)
{
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(ed25519_private_jwk(pair, &text));
    return file_write_atomic(path, bytes_str(secret_bytes(&text)), 0600);
}

/* One role's public keys of the keeper's file. */
static Err role_of_keeper(Cli *cli, const json_t *file, const char *role, bool agreement, RoleKeys *ret_role)
{
    const json_t *list = json_object_get(file, role);
    size_t count = json_array_size(list);
    if (count == 0 || count > ROLE_KEYS_MAX)
        return FAIL_FMT(cli->arena, ERR_INVALID, "bad-key-file", "the keeper's keys name no key for the role %s", role);
    PublicKey *keys = NEW(cli->arena, PublicKey, count);
    for (size_t i = 0; i < count; i++)
        TRY(agreement ? x25519_from_jwk(json_array_get(list, i), &keys[i])
                      : ed25519_from_jwk(json_array_get(list, i), &keys[i]));
    *ret_role = (RoleKeys){ .threshold = 1, .keys = { .items = keys, .count = count } };
    return OK;
}

static Err keeper_roles(Cli *cli, Root *root)
{
    Str text;
    _cleanup_(json_release) json_t *file = NULL;
    TRY(file_read(cli->arena, cli_option(cli, "keeper-keys"), KEY_LIMITS.bytes_max, &text));
    TRY(json_parse(text, KEY_LIMITS, &file));
    TRY(role_of_keeper(cli, file, "manifest", false, &root->roles[ROLE_MANIFEST]));
    TRY(role_of_keeper(cli, file, "checkpoint", false, &root->roles[ROLE_CHECKPOINT]));
    return role_of_keeper(cli, file, "intake", true, &root->roles[ROLE_INTAKE]);
}

static Str in_folder(Cli *cli, Str folder, const char *name)
{
    return arena_fmt(cli->arena, STR_FMT "/%s", STR_ARG(folder), name);
}

static Err fresh_folder(Cli *cli, Str folder)
{
    if (mkdir(arena_c(cli->arena, folder), 0700) != 0 && access(arena_c(cli->arena, folder), W_OK) != 0)
        return FAIL_FMT(
            cli->arena, ERR_INVALID, "file-unwritable", "could not make the folder " STR_FMT, STR_ARG(folder));
    if (access(in_folder(cli, folder, "root.jws").ptr, F_OK) == 0)
        return FAIL_FMT(cli->arena, ERR_CONFLICT, "root-exists", STR_FMT " has a root already: nothing was written",
            STR_ARG(folder));
    return OK;
}

static Err installation_id(Cli *cli, Uuid *ret_id)
{
    Str given = cli_option(cli, "installation");
    *ret_id = uuid_v7(time_now());
    if (given.ptr == NULL)
        return OK;
    if (typeid_parse(given, STR("ins"), ret_id).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "usage", "--installation must be an id that begins with ins_");
    return OK;
}

static Err expiry(Cli *cli, Time *ret_expires)
{
    int64_t seconds = INT64_C(730) * 86400;
    Str given = cli_option(cli, "expires");
    if (given.ptr != NULL && duration_parse(given, &seconds).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "usage", "--expires must be a duration such as 730d");
    *ret_expires = (Time){ time_add_s(time_now(), seconds).us / US_PER_S * US_PER_S };
    return OK;
}

static Err root_init(Cli *cli)
{
    Root root = { .version = 1 };
    Str folder = cli_option(cli, "dir"), jws;
    TRY(installation_id(cli, &root.installation));
    TRY(expiry(cli, &root.expires));
    TRY(keeper_roles(cli, &root));
    TRY(fresh_folder(cli, folder));
    _cleanup_(keypair_release) KeyPair root_key = ed25519_new(), enrol_key = ed25519_new();
    root.roles[ROLE_ROOT] = (RoleKeys){ .threshold = 1, .keys = { .items = &root_key.public_key, .count = 1 } };
    root.roles[ROLE_ENROL] = (RoleKeys){ .threshold = 1, .keys = { .items = &enrol_key.public_key, .count = 1 } };
    const KeyPair *signers[] = { &root_key };
    TRY(root_build(cli->arena, &root, signers, 1, &jws));
    Str hash = digest_text(cli->arena, digest_of(str_bytes(jws)));
    TRY(write_keypair(in_folder(cli, folder, "root.key"), &root_key));
    TRY(write_keypair(in_folder(cli, folder, "enrol.key"), &enrol_key));
    TRY(file_write_atomic(
        in_folder(cli, folder, "root.hash"), arena_fmt(cli->arena, STR_FMT "\n", STR_ARG(hash)), 0644));
    TRY(file_write_atomic(in_folder(cli, folder, "root.jws"), jws, 0644));
    _cleanup_(json_release) json_t *out = json_object();
    json_object_set_new(out, "installation", json_from_str(typeid_format(cli->arena, STR("ins"), root.installation)));
    json_object_set_new(out, "root_hash", json_from_str(hash));
    json_object_set_new(out, "expires", json_from_str(time_format(cli->arena, root.expires)));
    json_object_set_new(out, "root_file", json_from_str(in_folder(cli, folder, "root.jws")));
    json_object_set_new(out, "enrol_key_file", json_from_str(in_folder(cli, folder, "enrol.key")));
    cli_say(cli, "note: one key signs this root; keep root.key offline, away from the machines that serve");
    return output_item(cli, out, "installation,root_hash,expires");
}

Err operator_root(Cli *cli, Str path, Root *ret_root)
{
    Str jws;
    TRY(file_read(cli->arena, path, ROOT_BYTES_MAX, &jws));
    Digest hash = digest_of(str_bytes(jws));
    if (cli->globals.root_hash.len > 0)
        TRY(digest_parse(cli->globals.root_hash, &hash));
    return root_verify(cli->arena, jws, hash, time_now(), ret_root);
}

static Err root_show(Cli *cli)
{
    static const char *const ROLES[] = { "root", "enrol", "manifest", "checkpoint", "intake" };
    Root root;
    TRY(operator_root(cli, cli_argument(cli, "FILE"), &root));
    _cleanup_(json_release) json_t *out = json_object();
    json_object_set_new(out, "installation", json_from_str(typeid_format(cli->arena, STR("ins"), root.installation)));
    json_object_set_new(out, "version", json_integer(root.version));
    json_object_set_new(out, "root_hash", json_from_str(digest_text(cli->arena, root.hash)));
    json_object_set_new(out, "expires", json_from_str(time_format(cli->arena, root.expires)));
    for (size_t i = 0; i < COUNT_OF(ROLES); i++) {
        json_t *role = json_object(), *kids = json_array();
        KeySet keys = root_keys(&root, ROLES[i]);
        for (size_t k = 0; k < keys.count; k++)
            json_array_append_new(kids, json_string(keys.items[k].kid));
        json_object_set_new(role, "threshold", json_integer(root.roles[i].threshold));
        json_object_set_new(role, "keys", kids);
        json_object_set_new(out, ROLES[i], role);
    }
    return output_item(cli, out, "installation,version,root_hash,expires");
}

static Err join_lifetime(Cli *cli, JoinCert *cert)
{
    int64_t seconds = 3600;
    Str ttl = cli_option(cli, "ttl");
    if (ttl.ptr != NULL && (duration_parse(ttl, &seconds).kind != ERR_NONE || seconds > JOIN_TTL_S_MAX))
        return FAIL(ERR_INVALID, "usage", "--ttl must be a duration of at most 30d, such as 1h");
    Time now = { time_now().us / US_PER_S * US_PER_S };
    cert->not_before = now;
    cert->not_after = time_add_s(now, seconds);
    return OK;
}

static Err fleet_join_token(Cli *cli)
{
    Root root;
    JoinCert cert = { 0 };
    _cleanup_(keypair_release) KeyPair enrol = { 0 };
    _cleanup_(secret_release) Secret text = { 0 };
    if (typeid_parse(cli_argument(cli, "FLEET"), STR("flt"), &cert.fleet).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "usage", "FLEET must be the fleet's id, flt_…: this command works offline");
    TRY(operator_root(cli, cli_option(cli, "root"), &root));
    TRY(operator_key(cli, cli_option(cli, "enrol-key"), &enrol));
    TRY(join_lifetime(cli, &cert));
    _cleanup_(join_token_release) JoinToken token = { .url = cli_option(cli, "join-url"),
        .root = root.hash,
        .installation = root.installation,
        .fleet = cert.fleet,
        .key = ed25519_new() };
    cert.installation = root.installation;
    cert.key = token.key.public_key;
    token.cert = join_cert_sign(cli->arena, &enrol, &cert);
    JoinCert checked;
    TRY(join_cert_verify(cli->arena, token.cert, root_keys(&root, "enrol"), root.installation, time_now(), &checked));
    TRY(join_token_write(cli->arena, &token, &text));
    Str file = cli_option(cli, "out");
    if (file.ptr != NULL)
        return file_write_atomic(file, bytes_str(secret_bytes(&text)), 0600);
    fwrite(text.ptr, 1, text.len, stdout);
    putchar('\n');
    return OK;
}

static const Option INIT_OPTIONS[] = {
    { "dir", "DIR", "where to write root.jws, root.hash, root.key and enrol.key", NULL, OPTION_TEXT, true },
    { "keeper-keys", "FILE", "public keys that reeve-keeper init wrote", NULL, OPTION_TEXT, true },
    { "installation", "ID", "the installation's id, ins_… (otherwise a new one)", NULL, OPTION_TEXT, false },
    { "expires", "DURATION", "how long this root is valid (730d)", NULL, OPTION_DURATION, false },
    { 0 },
};
static const Option JOIN_OPTIONS[] = {
    { "enrol-key", "FILE", "the private enrol key", NULL, OPTION_TEXT, true },
    { "root", "FILE", "the root document", NULL, OPTION_TEXT, true },
    { "ttl", "DURATION", "how long the token can be used (1h)", NULL, OPTION_DURATION, false },
    { "join-url", "URL", "the control plane's address, for the gateway", NULL, OPTION_TEXT, false },
    { "out", "FILE", "write the token there, mode 0600, instead of printing it", NULL, OPTION_TEXT, false },
    { 0 },
};

const Command ROOT_COMMANDS[] = {
    { .words = "root init",
        .options = INIT_OPTIONS,
        .run = root_init,
        .summary = "Make the root of an installation, offline",
        .example = "reeve root init --dir root --keeper-keys /var/lib/reeve-keeper/keeper-keys.json" },
    { .words = "root show",
        .arguments = "FILE",
        .run = root_show,
        .summary = "Verify a root document and show its roles" },
    { .words = "fleet join-token",
        .arguments = "FLEET",
        .options = JOIN_OPTIONS,
        .run = fleet_join_token,
        .summary = "Make a one-time token by which a gateway enrols, offline",
        .example = "reeve fleet join-token flt_… --enrol-key root/enrol.key --root root/root.jws --out join.token" },
    { 0 },
};
