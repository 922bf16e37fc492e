/*
 * state.h: what the keeper keeps in its state directory beside the journal: its own signing and intake keys, sealed
 * under its first KMS key, and for every local KMS a salt and a value that only the right root key gives.
 *
 *   keeper-state.json   {"v","installation","kms":{uri:{"salt","check"}},"state_key":{"kms_uri","wrapped"},
 *                        "keys":{"manifest","checkpoint","intake"}}       mode 0600, written once by `init`
 *   keeper-keys.json    {"manifest":[jwk],"checkpoint":[jwk],"intake":[jwk]}   the public halves, for the root ceremony
 *   journal             see journal.h
 *
 * A root key that is not the one of `init` is refused before anything is written.
 */
#ifndef KEEPER_STATE_H
#define KEEPER_STATE_H

#include "config.h"
#include "crypto/jose.h"

typedef struct KeeperKeys {
    KeyPair manifest;
    KeyPair checkpoint;
    KeyPair intake;
} KeeperKeys;

typedef struct KmsList {
    Kms *items[KEEPER_KMS_MAX];
    size_t count;
} KmsList;

void keeper_keys_release(KeeperKeys *keys);
void kms_list_release(KmsList *list);

/* Makes what is missing; finds everything in place the second time. ERR_INVALID "wrong-root-key". */
CHECKED Err keeper_init(Arena *arena, const KeeperConfig *config);
/* Opens every allowed KMS and the keeper's keys. ERR_INVALID "not-initialised", "wrong-root-key", "bad-state". */
CHECKED Err keeper_state_open(Arena *arena, const KeeperConfig *config, KmsList *ret_kms, KeeperKeys *ret_keys);
Str keeper_path(Arena *arena, const KeeperConfig *config, const char *name);

#endif
