/*
 * state.c: making and opening the keeper's state.
 */
#include "state.h"

#include "base/encode.h"
#include "base/json.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_BYTES_MAX (256 * 1024)

typedef struct KeyKind {
    const char *name;
    size_t offset;
    KeyPair (*make)(void);
    json_t *(*to_jwk)(const PublicKey *key);
    Err (*to_private)(const KeyPair *pair, Secret *ret_text);
    Err (*from_private)(Bytes text, KeyPair *ret_pair);
} KeyKind;

static const KeyKind key_kinds[] = {
    { "manifest", offsetof(KeeperKeys, manifest), ed25519_new, ed25519_jwk, ed25519_private_jwk,
        ed25519_from_private_jwk },
    { "checkpoint", offsetof(KeeperKeys, checkpoint), ed25519_new, ed25519_jwk, ed25519_private_jwk,
        ed25519_from_private_jwk },
    { "intake", offsetof(KeeperKeys, intake), x25519_new, x25519_jwk, x25519_private_jwk, x25519_from_private_jwk },
};

static KeyPair *key_of(KeeperKeys *keys, const KeyKind *kind)
{
    return (KeyPair *)((char *)keys + kind->offset);
}

void keeper_keys_release(KeeperKeys *keys)
{
    for (size_t i = 0; i < COUNT_OF(key_kinds); i++)
        keypair_release(key_of(keys, &key_kinds[i]));
}

void kms_list_release(KmsList *list)
{
    for (size_t i = 0; i < list->count; i++)
        kms_free(&list->items[i]);
    list->count = 0;
}

Str keeper_path(Arena *arena, const KeeperConfig *config, const char *name)
{
    return arena_fmt(arena, STR_FMT "/%s", STR_ARG(config->state_dir), name);
}

/* --- KMSs --- */

static Err bad_state(void)
{
    return FAIL(ERR_INVALID, "bad-state", "keeper-state.json is not what init wrote.");
}

static Err wrong_root_key(Arena *arena, Str uri)
{
    return FAIL_FMT(arena, ERR_INVALID, "wrong-root-key",
        "The root key of " STR_FMT " is not the one that this keeper was initialised with; nothing was written.",
        STR_ARG(uri));
}

/* known: the KMS's entry in the state, or NULL when it has none yet. */
static Err open_kms(Arena *arena, const KeeperConfig *config, Str uri, const json_t *known, Kms **ret_kms)
{
    KmsLocal local;
    Digest check;
    TRY(keeper_config_local(config, uri, &local));
    if (known != NULL && (base64url_decode_into(json_str(known, "salt"), local.salt, sizeof(local.salt)).kind != 0 ||
                             digest_parse(json_str(known, "check"), &check).kind != ERR_NONE))
        return bad_state();
    TRY(kms_open(uri, &local, ret_kms));
    KmsDescription description;
    kms_describe(*ret_kms, &description);
    if (known != NULL && !digest_eq(description.check, check)) {
        kms_free(ret_kms);
        return wrong_root_key(arena, uri);
    }
    return OK;
}

/* A new local KMS: its root key file when there is none, its salt, its check value. */
static Err meet_kms(Arena *arena, const KeeperConfig *config, Str uri, json_t *ret_entry)
{
    KmsLocal local;
    TRY(keeper_config_local(config, uri, &local));
    if (local.root_key_file.len > 0 && access(arena_c(arena, local.root_key_file), F_OK) != 0 && errno == ENOENT)
        TRY(kms_local_new_root_key(local.root_key_file));
    random_bytes(local.salt, sizeof(local.salt));
    Kms *kms = NULL;
    TRY(kms_open(uri, &local, &kms));
    KmsDescription description;
    kms_describe(kms, &description);
    kms_free(&kms);
    json_object_set_new(ret_entry, "salt", json_from_str(base64url_encode(arena, BYTES_OF(local.salt))));
    json_object_set_new(ret_entry, "check", json_from_str(digest_text(arena, description.check)));
    return OK;
}

/* --- keys --- */

static Err seal_key(Arena *arena, const Secret *state_key, const KeyKind *kind, const KeyPair *pair, Str *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    const Bytes items[] = { str_bytes(STR("reeve-keeper-key-1")), str_bytes(str_from_c(kind->name)) };
    Bytes sealed;
    TRY(kind->to_private(pair, &text));
    TRY(envelope_seal(
        arena, state_key, (Uuid){ { 0 } }, (Context){ items, COUNT_OF(items) }, secret_bytes(&text), &sealed));
    *ret_text = base64url_encode(arena, sealed);
    return OK;
}

static Err open_key(Arena *arena, const Secret *state_key, const KeyKind *kind, Str text, KeyPair *ret_pair)
{
    _cleanup_(secret_release) Secret plain = { 0 };
    const Bytes items[] = { str_bytes(STR("reeve-keeper-key-1")), str_bytes(str_from_c(kind->name)) };
    Bytes sealed;
    if (base64url_decode(arena, text, &sealed).kind != ERR_NONE)
        return bad_state();
    TRY(envelope_open(state_key, (Context){ items, COUNT_OF(items) }, sealed, &plain));
    return kind->from_private(secret_bytes(&plain), ret_pair);
}

/* The context of the key that seals the keeper's own keys; strings live as long as the arena. */
static KmsContext state_context(Arena *arena, const KeeperConfig *config)
{
    KmsPair *pairs = NEW(arena, KmsPair, 2);
    pairs[0] = (KmsPair){ STR("installation"), typeid_format(arena, STR("ins"), config->installation) };
    pairs[1] = (KmsPair){ STR("purpose"), STR("keeper-state") };
    return (KmsContext){ .items = pairs, .count = 2 };
}

static Err write_public(Arena *arena, const KeeperConfig *config, KeeperKeys *keys)
{
    _cleanup_(json_release) json_t *all = json_object();
    for (size_t i = 0; i < COUNT_OF(key_kinds); i++) {
        json_t *list = json_array();
        json_array_append_new(list, key_kinds[i].to_jwk(&key_of(keys, &key_kinds[i])->public_key));
        json_object_set_new(all, key_kinds[i].name, list);
    }
    return file_write_atomic(keeper_path(arena, config, "keeper-keys.json"), json_write_pretty(arena, all), 0644);
}

/* --- init --- */

static Err make_keys(Arena *arena, const KeeperConfig *config, Kms *kms, json_t *state, KeeperKeys *keys)
{
    _cleanup_(secret_release) Secret state_key = { 0 };
    Bytes wrapped;
    TRY(kms_generate(kms, arena, state_context(arena, config), &state_key, &wrapped));
    json_t *sealed = json_object();
    json_object_set_new(state, "keys", sealed);
    for (size_t i = 0; i < COUNT_OF(key_kinds); i++) {
        Str text;
        *key_of(keys, &key_kinds[i]) = key_kinds[i].make();
        TRY(seal_key(arena, &state_key, &key_kinds[i], key_of(keys, &key_kinds[i]), &text));
        json_object_set_new(sealed, key_kinds[i].name, json_from_str(text));
    }
    json_t *key = json_object();
    json_object_set_new(key, "kms_uri", json_from_str(kms_uri(kms)));
    json_object_set_new(key, "wrapped", json_from_str(base64url_encode(arena, wrapped)));
    json_object_set_new(state, "state_key", key);
    return OK;
}

static Err meet_all(Arena *arena, const KeeperConfig *config, json_t *entries)
{
    for (size_t i = 0; i < config->kms.count; i++) {
        json_t *entry = json_object();
        json_object_set_new(entries, arena_c(arena, config->kms.items[i]), entry);
        TRY(meet_kms(arena, config, config->kms.items[i], entry));
    }
    return OK;
}

static Err init_new(Arena *arena, const KeeperConfig *config)
{
    _cleanup_(json_release) json_t *state = json_object();
    _cleanup_(keeper_keys_release) KeeperKeys keys = { 0 };
    json_object_set_new(state, "v", json_integer(1));
    json_object_set_new(state, "installation", json_from_str(typeid_format(arena, STR("ins"), config->installation)));
    json_t *entries = json_object();
    json_object_set_new(state, "kms", entries);
    TRY(meet_all(arena, config, entries));
    Kms *kms = NULL;
    Str first = config->kms.items[0];
    TRY(open_kms(arena, config, first, json_object_get(entries, arena_c(arena, first)), &kms));
    Err err = make_keys(arena, config, kms, state, &keys);
    kms_free(&kms);
    TRY(err);
    TRY(file_write_atomic(keeper_path(arena, config, "keeper-state.json"), json_write_pretty(arena, state), 0600));
    return write_public(arena, config, &keys);
}

static bool state_exists(Arena *arena, const KeeperConfig *config)
{
    return access(arena_c(arena, keeper_path(arena, config, "keeper-state.json")), F_OK) == 0;
}

static Err read_state(Arena *arena, const KeeperConfig *config, json_t **ret_state)
{
    const JsonLimits limits = { .bytes_max = STATE_BYTES_MAX, .depth_max = 4, .tokens_max = 4096 };
    _cleanup_(json_release) json_t *state = NULL;
    Str text, installation = typeid_format(arena, STR("ins"), config->installation);
    int64_t v = 0;
    if (!state_exists(arena, config))
        return FAIL(ERR_INVALID, "not-initialised", "The keeper has no keys yet: run reeve-keeper --config FILE init.");
    TRY(file_read(arena, keeper_path(arena, config, "keeper-state.json"), STATE_BYTES_MAX, &text));
    if (json_parse(text, limits, &state).kind != ERR_NONE || !json_i64(state, "v", &v) || v != 1)
        return bad_state();
    if (!str_eq(json_str(state, "installation"), installation))
        return FAIL(ERR_INVALID, "bad-state", "The state directory is one of another installation.");
    *ret_state = TAKE(state);
    return OK;
}

/* A KMS that was added to the configuration later: met now, written into the state. */
static Err init_again(Arena *arena, const KeeperConfig *config)
{
    _cleanup_(kms_list_release) KmsList kms = { .count = 0 };
    _cleanup_(keeper_keys_release) KeeperKeys keys = { 0 };
    _cleanup_(json_release) json_t *state = NULL;
    TRY(read_state(arena, config, &state));
    json_t *entries = json_object_get(state, "kms");
    bool grown = false;
    for (size_t i = 0; i < config->kms.count; i++) {
        const char *uri = arena_c(arena, config->kms.items[i]);
        if (json_object_get(entries, uri) != NULL)
            continue;
        json_t *entry = json_object();
        json_object_set_new(entries, uri, entry);
        TRY(meet_kms(arena, config, config->kms.items[i], entry));
        grown = true;
    }
    if (grown)
        TRY(file_write_atomic(keeper_path(arena, config, "keeper-state.json"), json_write_pretty(arena, state), 0600));
    TRY(keeper_state_open(arena, config, &kms, &keys));
    return write_public(arena, config, &keys);
}

Err keeper_init(Arena *arena, const KeeperConfig *config)
{
    if (mkdir(arena_c(arena, config->state_dir), 0700) != 0 && errno != EEXIST)
        return FAIL(ERR_INVALID, "bad-state", "The state directory cannot be made.");
    return state_exists(arena, config) ? init_again(arena, config) : init_new(arena, config);
}

/* --- start --- */

static Err open_all(Arena *arena, const KeeperConfig *config, const json_t *state, KmsList *list)
{
    const json_t *entries = json_object_get(state, "kms");
    for (size_t i = 0; i < config->kms.count; i++) {
        Str uri = config->kms.items[i];
        const json_t *entry = json_object_get(entries, arena_c(arena, uri));
        if (entry == NULL)
            return FAIL_FMT(arena, ERR_INVALID, "not-initialised",
                "The keeper has not met " STR_FMT " yet: run reeve-keeper --config FILE init.", STR_ARG(uri));
        TRY(open_kms(arena, config, uri, entry, &list->items[list->count]));
        list->count++;
    }
    return OK;
}

static Kms *find_kms(const KmsList *list, Str uri)
{
    for (size_t i = 0; i < list->count; i++)
        if (str_eq(kms_uri(list->items[i]), uri))
            return list->items[i];
    return NULL;
}

static Err open_keys(
    Arena *arena, const KeeperConfig *config, const json_t *state, const KmsList *list, KeeperKeys *keys)
{
    const json_t *state_key = json_object_get(state, "state_key");
    Kms *kms = find_kms(list, json_str(state_key, "kms_uri"));
    _cleanup_(secret_release) Secret key = { 0 };
    Bytes wrapped;
    if (kms == NULL)
        return FAIL(ERR_INVALID, "bad-state", "The KMS that seals the keeper's own keys is not in the configuration.");
    if (base64url_decode(arena, json_str(state_key, "wrapped"), &wrapped).kind != ERR_NONE)
        return bad_state();
    TRY(kms_unwrap(kms, state_context(arena, config), wrapped, &key));
    for (size_t i = 0; i < COUNT_OF(key_kinds); i++)
        TRY(open_key(arena, &key, &key_kinds[i], json_str(json_object_get(state, "keys"), key_kinds[i].name),
            key_of(keys, &key_kinds[i])));
    return OK;
}

Err keeper_state_open(Arena *arena, const KeeperConfig *config, KmsList *ret_kms, KeeperKeys *ret_keys)
{
    _cleanup_(json_release) json_t *state = NULL;
    _cleanup_(kms_list_release) KmsList list = { .count = 0 };
    _cleanup_(keeper_keys_release) KeeperKeys keys = { 0 };
    TRY(read_state(arena, config, &state));
    TRY(open_all(arena, config, state, &list));
    TRY(open_keys(arena, config, state, &list, &keys));
    *ret_kms = TAKE(list);
    *ret_keys = TAKE(keys);
    return OK;
}
