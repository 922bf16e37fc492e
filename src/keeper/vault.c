/*
 * vault.c: opening the vault, and the one door to its operations: run, journal, answer.
 */
#include "vault_parts.h"

#include "base/json.h"
#include "base/log.h"

/* --- opening --- */

/* Beside the root file lie the versions before it, as FILE.1, FILE.2, ... */
static Err read_older(Arena *arena, const void *file, int64_t version, Str *ret_text)
{
    const Str *path = file;
    return file_read(
        arena, arena_fmt(arena, STR_FMT ".%lld", STR_ARG(*path), (long long)version), ROOT_BYTES_MAX, ret_text);
}

static Err read_root(Vault *v, const KeeperConfig *config)
{
    Str text;
    Digest hash;
    if (config->root_file.len == 0 || config->root_hash.len == 0)
        return FAIL(
            ERR_INVALID, "bad-config", "root_file and root_hash are needed: make the root (reeve root init) first.");
    TRY(digest_parse(config->root_hash, &hash));
    TRY(file_read(v->arena, config->root_file, ROOT_BYTES_MAX, &text));
    TRY(root_verify_from(v->arena, text, hash, read_older, &config->root_file, time_now(), &v->root));
    if (!uuid_eq(v->root.installation, v->installation))
        return FAIL(ERR_INVALID, "root-installation", "The root is one of another installation.");
    return OK;
}

static bool stands_in(KeySet keys, const PublicKey *key)
{
    for (size_t i = 0; i < keys.count; i++)
        if (bytes_eq(BYTES_OF(keys.items[i].b), BYTES_OF(key->b)))
            return true;
    return false;
}

static Err check_own_keys(const Vault *v)
{
    if (!stands_in(root_keys(&v->root, "manifest"), &v->keys.manifest.public_key) ||
        !stands_in(root_keys(&v->root, "checkpoint"), &v->keys.checkpoint.public_key) ||
        !stands_in(root_keys(&v->root, "intake"), &v->keys.intake.public_key))
        return FAIL(ERR_INVALID, "keys-not-in-root",
            "The keeper's keys (keeper-keys.json) do not stand in the root; nobody would believe them.");
    return OK;
}

static Err open_into(Vault *v, const KeeperConfig *config)
{
    v->installation = config->installation;
    v->installation_text = typeid_format(v->arena, STR("ins"), config->installation);
    TRY(keeper_state_open(v->arena, config, &v->kms, &v->keys));
    TRY(read_root(v, config));
    TRY(check_own_keys(v));
    v->cache = key_cache_new((size_t)config->cache.entries, config->cache.seconds.value, config->cache.uses.value);
    return journal_open(keeper_path(v->arena, config, "journal"), v->installation, &v->keys.checkpoint, &v->journal);
}

#define ROOT_WARN_S (30 * INT64_C(86400))

/* What is allowed and still not right for production. */
static Strs warnings_of(const Vault *v, Arena *arena)
{
    Strs all = { .items = NEW(arena, Str, v->kms.count + 2) };
    for (size_t i = 0; i < v->kms.count; i++) {
        KmsDescription description;
        kms_describe(v->kms.items[i], &description);
        if (description.warning.len > 0)
            all.items[all.count++] =
                arena_fmt(arena, STR_FMT ": " STR_FMT, STR_ARG(kms_uri(v->kms.items[i])), STR_ARG(description.warning));
    }
    if (v->root.roles[ROLE_ROOT].threshold == 1)
        all.items[all.count++] =
            STR("the root is signed by one key alone: whoever holds it speaks for the installation");
    if (!time_before(time_add_s(time_now(), ROOT_WARN_S), v->root.expires))
        all.items[all.count++] = arena_fmt(arena, "the root expires at " STR_FMT ": sign its next version",
            STR_ARG(time_format(arena, v->root.expires)));
    return all;
}

/* The error's texts move to the caller's arena: the vault's own goes. */
static Err kept_in(Arena *arena, Err err)
{
    err.code = arena_str(arena, err.code);
    err.detail = arena_str(arena, err.detail);
    err.fields = (FieldErrs){ 0 };
    return err;
}

Err vault_open(Arena *arena, const KeeperConfig *config, Vault **ret_vault)
{
    Arena *own = arena_new();
    Vault *v = NEW(own, Vault, 1);
    v->arena = own;
    pthread_mutex_init(&v->enrolment, NULL);
    Err err = open_into(v, config);
    if (err.kind != ERR_NONE) {
        err = kept_in(arena, err);
        vault_free(&v);
        return err;
    }
    Strs warnings = warnings_of(v, arena);
    for (size_t i = 0; i < warnings.count; i++)
        log_warn("not for production", LOG_STR("warning", warnings.items[i]));
    *ret_vault = v;
    return OK;
}

void vault_free(Vault **vault)
{
    Vault *v = *vault;
    if (v == NULL)
        return;
    journal_free(&v->journal);
    key_cache_free(&v->cache);
    keeper_keys_release(&v->keys);
    kms_list_release(&v->kms);
    pthread_mutex_destroy(&v->enrolment);
    Arena *arena = v->arena;
    arena_free(&arena);
    *vault = NULL;
}

/* --- operations --- */

static Err do_hello(Vault *v, Arena *arena, const void *ask __attribute__((unused)),
    Receipt *receipt __attribute__((unused)), void *ret_reply)
{
    _cleanup_(json_release) json_t *jwk = x25519_jwk(&v->keys.intake.public_key);
    Strs uris = { .items = NEW(arena, Str, v->kms.count), .count = v->kms.count };
    for (size_t i = 0; i < v->kms.count; i++)
        uris.items[i] = kms_uri(v->kms.items[i]);
    *(Hello *)ret_reply = (Hello){
        .installation = v->installation,
        .boot = journal_head(v->journal).boot,
        .root_version = v->root.version,
        .root_hash = v->root.hash,
        .kms_uris = uris,
        .intake_jwk = json_write(arena, jwk),
        .clock = time_now(),
        .warnings = warnings_of(v, arena),
    };
    return OK;
}

static Err do_receipts(
    Vault *v, Arena *arena, const void *ask, Receipt *receipt __attribute__((unused)), void *ret_reply)
{
    journal_page(v->journal, arena, ((const ReceiptsAsk *)ask)->after, ret_reply);
    return OK;
}

/* --- doing --- */

typedef Err (*Operation)(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);

#define NO_KMS SIZE_MAX

typedef struct OperationRow {
    Operation run;  /* NULL: its own function below, for it changes what the journal knows */
    size_t kms_uri; /* where the request names the KMS key that it may wait for */
    bool without_receipt;
} OperationRow;

static const OperationRow operations[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_HELLO] = { do_hello, NO_KMS, true },
    [MESSAGE_PROJECT_KEY_NEW] = { vault_project_key_new, offsetof(ProjectKeyNew, kms_uri), false },
    [MESSAGE_FLEET_KEY_NEW] = { NULL, offsetof(FleetKeyNew, kms_uri), false },
    [MESSAGE_SECRET_INTAKE] = { vault_secret_intake, offsetof(SecretIntake, key.kms_uri), false },
    [MESSAGE_SECRET_RESEAL] = { vault_secret_reseal, offsetof(SecretReseal, from.kms_uri), false },
    [MESSAGE_SECRET_SEAL_FLEET] = { vault_secret_seal_fleet, offsetof(SecretSealFleet, key.kms_uri), false },
    [MESSAGE_KEYRING] = { NULL, offsetof(KeyringAsk, fleet_key.kms_uri), false },
    [MESSAGE_REWRAP] = { vault_rewrap, offsetof(Rewrap, kms_uri), false },
    [MESSAGE_SIGN_MANIFEST] = { vault_sign_manifest, NO_KMS, false },
    [MESSAGE_SIGN_HEARTBEAT] = { vault_sign_heartbeat, NO_KMS, false },
    [MESSAGE_SIGN_CHECKPOINT] = { vault_sign_checkpoint, NO_KMS, false },
    [MESSAGE_RECEIPTS] = { do_receipts, NO_KMS, true },
};

int vault_kms_of(const Vault *vault, unsigned type, const void *ask)
{
    if (operations[type].kms_uri == NO_KMS)
        return -1;
    const Str *uri = (const Str *)(const void *)((const char *)ask + operations[type].kms_uri);
    for (size_t i = 0; i < vault->kms.count; i++)
        if (str_eq(kms_uri(vault->kms.items[i]), *uri))
            return (int)i;
    return -1;
}

size_t vault_kms_count(const Vault *vault)
{
    return vault->kms.count;
}

/* A receipt for what was done and for what was refused; what cannot be journalled is not answered. */
static Err journalled(Vault *v, Err err, Receipt *receipt, Uuids revoked)
{
    receipt->outcome = err.kind;
    TRY(journal_append(v->journal, receipt, revoked));
    return err;
}

static Err enrolment_locked(Vault *v, Arena *arena, unsigned type, const void *ask, Receipt *receipt, void *ret_reply)
{
    Uuids revoked = { 0 };
    Err err = type == MESSAGE_KEYRING ? vault_keyring(v, arena, ask, receipt, ret_reply)
                                      : vault_fleet_key_new(v, arena, ask, receipt, &revoked, ret_reply);
    return journalled(v, err, receipt, revoked);
}

Err vault_do(Vault *vault, Arena *arena, unsigned type, const void *ask, int64_t peer_uid, void *ret_reply)
{
    const OperationRow *row = &operations[type];
    Receipt receipt = { .operation = type, .peer_uid = peer_uid };
    if (row->run == NULL) {
        pthread_mutex_lock(&vault->enrolment);
        Err err = enrolment_locked(vault, arena, type, ask, &receipt, ret_reply);
        pthread_mutex_unlock(&vault->enrolment);
        return err;
    }
    Err err = row->run(vault, arena, ask, &receipt, ret_reply);
    return row->without_receipt ? err : journalled(vault, err, &receipt, (Uuids){ 0 });
}
