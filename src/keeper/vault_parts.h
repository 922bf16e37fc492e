/*
 * vault_parts.h: what the keeper's operations share among themselves. Private to src/keeper.
 */
#ifndef KEEPER_VAULT_PARTS_H
#define KEEPER_VAULT_PARTS_H

#include "vault.h"

#include <pthread.h>

struct Vault {
    Arena *arena;
    Uuid installation;
    Str installation_text;
    Root root;
    KmsList kms;
    KeeperKeys keys;
    KeyCache *cache;
    Journal *journal;
    pthread_mutex_t enrolment; /* what the journal says of a fleet or certificate does not change while we decide */
};

/* --- wrapped keys (vault_keys.c): from ids alone to what a key is wrapped for --- */

/* ERR_FORBIDDEN "kms-not-allowed" for one that is not in the configuration. */
CHECKED Err vault_kms(const Vault *v, Str uri, Kms **ret_kms);
/* The strings lie in the arena. */
KmsContext vault_project_context(const Vault *v, Arena *arena, Uuid org, Uuid project, int64_t version);
KmsContext vault_fleet_context(const Vault *v, Arena *arena, Uuid fleet, int64_t generation);
/* Unwrapped by the KMS, or found in the cache. */
CHECKED Err vault_project_key(Vault *v, Arena *arena, const SecretRef *ref, const ProjectKeyRef *key, Secret *ret_key);
CHECKED Err vault_fleet_key(Vault *v, Arena *arena, Uuid fleet, const FleetKeyRef *key, Secret *ret_key);

/* ERR_INVALID "keeper-request" */
Err vault_bad_request(const char *detail);
/* Versions, generations, sequence numbers: 1 to WIRE_INT_MAX. */
CHECKED Err vault_check_number(int64_t number);
/* ERR_FORBIDDEN "generation-old" for one below the newest that the journal has seen. */
CHECKED Err vault_check_generation(Vault *v, Uuid fleet, int64_t generation);

/* --- operations: what is decided about whom goes into the receipt before anything can fail --- */

/* vault_secrets.c */
CHECKED Err vault_project_key_new(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
CHECKED Err vault_secret_intake(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
CHECKED Err vault_secret_reseal(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
CHECKED Err vault_secret_seal_fleet(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
/* vault_fleets.c: under the enrolment lock, the first two */
CHECKED Err vault_fleet_key_new(
    Vault *v, Arena *arena, const FleetKeyNew *in, Receipt *receipt, Uuids *ret_revoked, WrappedReply *ret_reply);
CHECKED Err vault_keyring(Vault *v, Arena *arena, const KeyringAsk *in, Receipt *receipt, KeyringGiven *ret_given);
CHECKED Err vault_rewrap(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
/* vault_sign.c */
CHECKED Err vault_sign_manifest(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
CHECKED Err vault_sign_heartbeat(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);
CHECKED Err vault_sign_checkpoint(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);

#endif
