/*
 * vault.h: what the keeper does. One function per message; each says in its receipt what it decided about whom.
 *
 * The keeper believes its configuration, statements that chain to the root, and its clock. Contexts, payloads and
 * headers are built here from ids and numbers: nothing that a caller sends is signed as it stands.
 */
#ifndef KEEPER_VAULT_H
#define KEEPER_VAULT_H

#include "cache.h"
#include "journal.h"
#include "crypto/merkle.h"
#include "snapshot/statement.h"
#include "state.h"

typedef struct Vault Vault;

/* Opens state, root and journal. Refuses a root in which the keeper's keys do not stand. */
CHECKED Err vault_open(Arena *arena, const KeeperConfig *config, Vault **ret_vault);
void vault_free(Vault **vault);

/* Which KMS key a request needs, as an index below vault_kms_count; -1 when none or one that is not allowed. */
int vault_kms_of(const Vault *vault, unsigned type, const void *ask);
size_t vault_kms_count(const Vault *vault);

/* Does it, journals it, and only then answers. ret_reply: the struct of message_kind(type)->reply. */
CHECKED Err vault_do(Vault *vault, Arena *arena, unsigned type, const void *ask, int64_t peer_uid, void *ret_reply);

#endif
