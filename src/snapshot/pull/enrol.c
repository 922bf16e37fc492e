/*
 * enrol.c: how a data plane comes to be known, and how it proves itself: enrolment by join token, short access tokens,
 * the chain of roots, the keyring.
 */
#include "parts.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static Str root_name(Arena *arena, int64_t version)
{
    return arena_fmt(arena, "roots/%012lld.jws", (long long)version);
}

static Str keyring_name(Arena *arena, int64_t generation)
{
    return arena_fmt(arena, "keyrings/%012lld.jws", (long long)generation);
}

/* Believes a verified root from now on; it and all it points to move to an arena of their own. */
static Err adopt_root(Puller *puller, Str jws, Digest hash, const Root *previous)
{
    Arena *arena = arena_new();
    Root root = { 0 };
    Str copy = arena_str(arena, jws);
    Err err = previous == NULL ? root_verify(arena, copy, hash, TIME_NONE, &root)
                               : root_verify_next(arena, copy, previous, TIME_NONE, &root);
    if (err.kind == ERR_NONE && !uuid_eq(root.installation, puller->identity.installation))
        err = FAIL(ERR_INVALID, "root-installation", "The root is of another installation.");
    if (err.kind != ERR_NONE) {
        Arena *unused = arena;
        arena_free(&unused);
        return err;
    }
    Arena *old = puller->root_arena;
    puller->root_arena = arena;
    puller->root = root;
    puller->trust.root = &puller->root;
    arena_free(&old);
    pthread_mutex_lock(&puller->mutex);
    puller->status.root_version = root.version;
    pthread_mutex_unlock(&puller->mutex);
    return OK;
}

Err pull_load_roots(Puller *puller, Arena *arena)
{
    Strs names = { 0 };
    TRY(state_list(puller->state, arena, STR("roots"), &names));
    for (size_t i = 0; i < names.count && i < ROOT_CHAIN_MAX; i++) {
        Str text = STR("");
        Str name = arena_fmt(arena, "roots/" STR_FMT, STR_ARG(names.items[i]));
        Err err = state_read(puller->state, arena, name, ROOT_BYTES_MAX, &text);
        if (err.kind == ERR_NONE)
            err = adopt_root(puller, text, puller->identity.root, puller->trust.root);
        if (err.kind != ERR_NONE && puller->trust.root == NULL)
            return err;
        if (err.kind != ERR_NONE)
            break; /* what follows chains to nothing; it will be fetched again */
    }
    return OK;
}

/* --- enrolment --- */

static Err enrolment_body(Puller *puller, Arena *arena, Str *ret_body)
{
    const Identity *identity = &puller->identity;
    EnrolRequest request = {
        .installation = identity->installation,
        .fleet = identity->fleet,
        .name = identity->name,
        .sign = identity->sign.public_key,
        .encrypt = identity->encrypt.public_key,
        .at = puller_now(puller),
    };
    _cleanup_(json_release) json_t *body = json_object();
    json_object_set_new(body, "cert", json_from_str(identity->join.cert));
    json_object_set_new(body, "request", json_from_str(enrol_request_sign(arena, &identity->join.key, &request)));
    *ret_body = json_write(arena, body);
    return OK;
}

static Err post_json(Puller *puller, Arena *arena, const char *path, Str body, json_t **ret_reply)
{
    PullReply reply = { 0 };
    PullCall call = {
        .method = "POST",
        .path = str_from_c(path),
        .body = body,
        .body_max = 2 * ROOT_BYTES_MAX,
        .timeout_us = PULL_CALL_TIMEOUT_US,
    };
    TRY(pull_call(puller, arena, &call, &reply));
    Err err = json_parse(reply.body, JSON_LIMITS_ADMIN, ret_reply);
    if (err.kind != ERR_NONE)
        return FAIL(ERR_INVALID, "answer-malformed", "The control plane's answer is not the JSON that was asked for.");
    return OK;
}

static Err take_enrolment(Puller *puller, Arena *arena, const json_t *reply)
{
    Str root = json_str(reply, "root"), keyring = json_str(reply, "keyring");
    Str expected = typeid_format(arena, STR("dpl"), puller->identity.data_plane);
    if (!str_eq(expected, json_str(reply, "data_plane")))
        return FAIL(ERR_INVALID, "enrolment-other", "The control plane enrolled somebody else.");
    if (puller->trust.root == NULL) {
        TRY(adopt_root(puller, root, puller->identity.root, NULL));
        TRY(state_write(puller->state, root_name(arena, puller->root.version), puller->root.jws));
    }
    Keyring parsed;
    TRY(keyring_verify(arena, keyring, root_keys(&puller->root, "manifest"), &parsed));
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(trust_keyring(&puller->trust, arena, keyring, parsed.generation, &puller->identity.encrypt, &key));
    TRY(state_write(puller->state, keyring_name(arena, parsed.generation), keyring));
    puller->identity.enrolled = true;
    return identity_save(puller->state, &puller->identity);
}

Err pull_ensure_enrolled(Puller *puller, Arena *arena)
{
    if (puller->identity.enrolled)
        return OK;
    Str body = STR("");
    _cleanup_(json_release) json_t *reply = NULL;
    TRY(enrolment_body(puller, arena, &body));
    TRY(post_json(puller, arena, "/v1/enrolments", body, &reply));
    TRY(take_enrolment(puller, arena, reply));
    pthread_mutex_lock(&puller->mutex);
    puller->status.enrolled = true;
    pthread_mutex_unlock(&puller->mutex);
    return OK;
}

/* --- access tokens --- */

static Err take_token(Puller *puller, const json_t *reply)
{
    Str token = json_str(reply, "access_token");
    int64_t expires_in = 0;
    if (token.len == 0 || token.len >= ACCESS_TOKEN_BYTES_MAX || !json_i64(reply, "expires_in", &expires_in) ||
        expires_in < 1 || expires_in > 86400)
        return FAIL(ERR_INVALID, "answer-malformed", "The control plane's answer holds no access token.");
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
            return FAIL(ERR_INVALID, "answer-malformed", "The control plane's answer holds no access token.");
    int64_t now = monotonic_us();
    pthread_mutex_lock(&puller->mutex);
    memcpy(puller->token, token.ptr, token.len);
    puller->token[token.len] = 0;
    puller->token_renew_us = now + expires_in * US_PER_S / 2;
    puller->token_ends_us = now + expires_in * US_PER_S;
    pthread_mutex_unlock(&puller->mutex);
    return OK;
}

static Err renew_token(Puller *puller, Arena *arena)
{
    _cleanup_(json_release) json_t *body = json_object(), *reply = NULL;
    Str assertion = assertion_sign(
        arena, &puller->identity.sign, puller->identity.data_plane, puller->identity.installation, puller_now(puller));
    json_object_set_new(body, "assertion", json_from_str(assertion));
    TRY(post_json(puller, arena, "/v1/data-planes/token", json_write(arena, body), &reply));
    return take_token(puller, reply);
}

Err pull_ensure_token(Puller *puller, Arena *arena)
{
    int64_t now = monotonic_us();
    pthread_mutex_lock(&puller->mutex);
    bool due = now >= puller->token_renew_us;
    bool usable = puller->token[0] != 0 && puller->token_renew_us != 0 && now < puller->token_ends_us;
    pthread_mutex_unlock(&puller->mutex);
    if (!due)
        return OK;
    Err err = renew_token(puller, arena);
    return usable ? OK : err; /* the last one serves while the control plane is slow */
}

/* --- roots --- */

/* Version n + 1, and so on while there is one. */
Err pull_advance_root(Puller *puller, Arena *arena)
{
    for (int links = 0; links < ROOT_CHAIN_MAX; links++) {
        PullReply reply = { 0 };
        Str path = arena_fmt(arena, "/v1/snapshot/root?version=%lld", (long long)puller->root.version + 1);
        Err err = pull_get(puller, arena, path, ROOT_BYTES_MAX, PULL_CALL_TIMEOUT_US, &reply);
        if (err.kind == ERR_NOT_FOUND)
            break;
        TRY(err);
        TRY(adopt_root(puller, reply.body, puller->identity.root, &puller->root));
        TRY(state_write(puller->state, root_name(arena, puller->root.version), puller->root.jws));
        puller->fleet_key_generation = 0; /* the keyring must verify under this root too, or be fetched anew */
    }
    puller->root_checked_us = monotonic_us();
    return OK;
}

/* --- keyrings --- */

static Err fetch_keyring(Puller *puller, Arena *arena, int64_t generation, Secret *ret_key)
{
    PullReply reply = { 0 };
    TRY(pull_get(puller, arena, STR("/v1/snapshot/keyring"), KEYRING_BYTES_MAX, PULL_CALL_TIMEOUT_US, &reply));
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(trust_keyring(&puller->trust, arena, reply.body, generation, &puller->identity.encrypt, &key));
    TRY(state_write(puller->state, keyring_name(arena, generation), reply.body));
    *ret_key = TAKE(key);
    return OK;
}

Err pull_load_keyring(Puller *puller, Arena *arena, int64_t generation, bool may_fetch)
{
    if (puller->fleet_key_generation == generation)
        return OK;
    Str text = STR("");
    _cleanup_(secret_release) Secret key = { 0 };
    Err err = state_read(puller->state, arena, keyring_name(arena, generation), KEYRING_BYTES_MAX, &text);
    if (err.kind == ERR_NONE)
        err = trust_keyring(&puller->trust, arena, text, generation, &puller->identity.encrypt, &key);
    if (err.kind != ERR_NONE && may_fetch)
        err = fetch_keyring(puller, arena, generation, &key);
    TRY(err);
    secret_release(&puller->fleet_key);
    puller->fleet_key = TAKE(key);
    puller->fleet_key_generation = generation;
    return OK;
}
