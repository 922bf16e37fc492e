/*
 * config.c: the keeper's configuration, its defaults and its checks.
 */
#include "config.h"

#include "base/json.h"
#include "crypto/digest.h"

#include <unistd.h>

#define CACHE_SECONDS 300
#define CACHE_ENTRIES 1024
#define CACHE_ENTRIES_MAX 65536
#define WORKERS 8
#define KMS_CONCURRENCY 4

static const char *const log_formats[] = { "json", "text", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const socket_modes[] = { "0600", "0660", NULL };

static const Field log_fields[] = {
    FIELD(KeeperLog, level, .one_of = log_levels, .doc = "debug, info, warn or error"),
    FIELD(KeeperLog, format, .one_of = log_formats, .doc = "json or text"),
};
static const FieldTable LOG_FIELDS = FIELD_TABLE(KeeperLog, log_fields);

static const Field cache_fields[] = {
    FIELD(KeeperCache, seconds, .max = 86400, .doc = "how long an unwrapped key is kept; 0: not at all"),
    FIELD(KeeperCache, uses, .max = 1000000000, .doc = "how often an unwrapped key is used; 0: no limit"),
    FIELD(KeeperCache, entries, .max = CACHE_ENTRIES_MAX, .doc = "how many unwrapped keys are kept"),
};
static const FieldTable CACHE_FIELDS = FIELD_TABLE(KeeperCache, cache_fields);

static const Field config_fields[] = {
    FIELD(KeeperConfig, socket, .required = true, .min = 1, .max = 107, .doc = "path of the Unix socket"),
    FIELD(KeeperConfig, socket_mode, .one_of = socket_modes, .doc = "0600 or 0660"),
    FIELD(KeeperConfig, allowed_uids, .doc = "users that may connect; without it the keeper's own"),
    FIELD(KeeperConfig, state_dir, .required = true, .min = 1, .doc = "the keeper's own directory, mode 0700"),
    FIELD(KeeperConfig, installation, .required = true, .prefix = "ins", .doc = "the installation's id"),
    FIELD(KeeperConfig, root_file, .max = 4096, .doc = "the root document"),
    FIELD(KeeperConfig, root_hash, .max = DIGEST_TEXT_LEN, .doc = "SHA-256 of the root document, base64url"),
    FIELD(KeeperConfig, kms, .required = true, .min = 1, .max = KEEPER_KMS_MAX, .doc = "allowed KMS keys, by URI"),
    FIELD(KeeperConfig, local_kms, .doc = "by name: root_key_file or passphrase_file"),
    FIELD_NESTED(KeeperConfig, cache, &CACHE_FIELDS, .doc = "unwrapped project and fleet keys"),
    FIELD(KeeperConfig, workers, .max = KEEPER_WORKERS_MAX, .doc = "threads"),
    FIELD(KeeperConfig, kms_concurrency, .max = KEEPER_WORKERS_MAX, .doc = "operations at once per KMS key"),
    FIELD_NESTED(KeeperConfig, log, &LOG_FIELDS, .doc = "what is logged and how"),
};
const FieldTable KEEPER_CONFIG_FIELDS = FIELD_TABLE(KeeperConfig, config_fields);

static void fill_in(KeeperConfig *config)
{
    if (config->socket_mode.len == 0)
        config->socket_mode = STR("0600");
    if (!config->cache.seconds.set)
        config->cache.seconds = (MaybeInt){ .value = CACHE_SECONDS, .set = true };
    if (!config->cache.uses.set)
        config->cache.uses = (MaybeInt){ .value = 0, .set = true };
    if (config->cache.entries == 0)
        config->cache.entries = CACHE_ENTRIES;
    if (config->workers == 0)
        config->workers = WORKERS;
    if (config->kms_concurrency == 0)
        config->kms_concurrency = KMS_CONCURRENCY;
    if (config->log.level.len == 0)
        config->log.level = STR("info");
    if (config->log.format.len == 0)
        config->log.format = STR("json");
}

static Err bad(Arena *arena, const char *member, const char *detail)
{
    return FAIL_FMT(arena, ERR_INVALID, "bad-config", "%s %s", member, detail);
}

static Err read_uids(Arena *arena, KeeperConfig *config)
{
    const json_t *list = config->allowed_uids.value;
    if (list == NULL || json_is_null(list)) {
        config->uids[0] = (int64_t)geteuid();
        config->uid_count = 1;
        return OK;
    }
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > KEEPER_UIDS_MAX)
        return bad(arena, "allowed_uids", "must be a list of 1 to 16 user ids");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *uid = json_array_get(list, i);
        if (!json_is_integer(uid) || json_integer_value(uid) < 0 || json_integer_value(uid) >= UINT32_MAX)
            return bad(arena, "allowed_uids", "must be numbers of users");
        config->uids[config->uid_count++] = json_integer_value(uid);
    }
    return OK;
}

static Err check_local_names(Arena *arena, const KeeperConfig *config)
{
    json_t *all = config->local_kms.value, *entry;
    const char *name, *member;
    json_t *value;
    if (all != NULL && !json_is_object(all))
        return bad(arena, "local_kms", "must be a mapping of names");
    json_object_foreach(all, name, entry)
    {
        if (!json_is_object(entry))
            return bad(arena, "local_kms", "must map each name to root_key_file or passphrase_file");
        json_object_foreach(entry, member, value)
        {
            if (!json_is_string(value) || (!str_eq(str_from_c(member), STR("root_key_file")) &&
                                              !str_eq(str_from_c(member), STR("passphrase_file"))))
                return bad(arena, "local_kms", "knows root_key_file and passphrase_file");
        }
    }
    return OK;
}

Err keeper_config_local(const KeeperConfig *config, Str uri, KmsLocal *ret_local)
{
    Str scheme, name;
    *ret_local = (KmsLocal){ 0 };
    if (!str_cut(uri, ':', &scheme, &name) || !str_eq(scheme, STR("local")))
        return OK;
    _cleanup_(arena_free) Arena *arena = arena_new();
    const json_t *entry = json_object_get(config->local_kms.value, arena_c(arena, name));
    if (entry == NULL)
        return FAIL(ERR_INVALID, "bad-config", "kms names a local KMS that local_kms does not have");
    ret_local->root_key_file = json_str(entry, "root_key_file");
    ret_local->passphrase_file = json_str(entry, "passphrase_file");
    if ((ret_local->root_key_file.len > 0) == (ret_local->passphrase_file.len > 0))
        return FAIL(ERR_INVALID, "bad-config", "a local KMS has either root_key_file or passphrase_file");
    return OK;
}

Err keeper_config_load(Arena *arena, Str path, KeeperConfig *ret_config)
{
    KeeperConfig config = { 0 };
    KmsLocal local;
    TRY(config_load(arena, path, STR("REEVE_KEEPER"), &KEEPER_CONFIG_FIELDS, &config));
    fill_in(&config);
    TRY(read_uids(arena, &config));
    TRY(check_local_names(arena, &config));
    for (size_t i = 0; i < config.kms.count; i++)
        TRY(keeper_config_local(&config, config.kms.items[i], &local));
    *ret_config = config;
    return OK;
}
