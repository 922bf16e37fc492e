/*
 * config.h: the keeper's configuration file.
 */
#ifndef KEEPER_CONFIG_H
#define KEEPER_CONFIG_H

#include "base/config.h"
#include "base/log.h"
#include "kms/kms.h"

#define KEEPER_KMS_MAX 32
#define KEEPER_UIDS_MAX 16
#define KEEPER_WORKERS_MAX 64

typedef struct KeeperLog {
    Str level;
    Str format;
} KeeperLog;

typedef struct KeeperCache {
    MaybeInt seconds; /* how long an unwrapped key may be kept; 0: not at all */
    MaybeInt uses;    /* how often it may be used; 0: as often as it is asked for */
    int64_t entries;
} KeeperCache;

typedef struct KeeperConfig {
    Str socket;
    Str socket_mode; /* "0600" or "0660" */
    Json allowed_uids;
    Str state_dir;
    Uuid installation;
    Str root_file;
    Str root_hash;
    Strs kms;
    Json local_kms;
    KeeperCache cache;
    int64_t workers;
    int64_t kms_concurrency; /* operations at once per KMS key */
    KeeperLog log;
    /* from the above */
    int64_t uids[KEEPER_UIDS_MAX];
    size_t uid_count;
} KeeperConfig;

extern const FieldTable KEEPER_CONFIG_FIELDS;

/* Reads, fills in what is left out, and checks all that can be checked without opening a key. */
CHECKED Err keeper_config_load(Arena *arena, Str path, KeeperConfig *ret_config);
/* The files of local KMS `name` of local_kms; ERR_INVALID "bad-config" when it has none. */
CHECKED Err keeper_config_local(const KeeperConfig *config, Str uri, KmsLocal *ret_local);

#endif
