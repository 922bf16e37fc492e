/*
 * audit.h: the tamper-evident log of an organization.
 *
 * Every change appends a leaf in its own transaction; a worker gives leaves their positions, grows the Merkle tree
 * (RFC 6962) and has its head signed. The bytes of a leaf are stored as they were hashed and never made again:
 *
 *     {"action":"secret.rotated","actor":{"principal":"sva_…","token":"tok_…"},"at":"2026-11-20T18:30:00Z",
 *      "detail":{…},"id":"aud_…","object":"sec_…","org":"org_…","project":"prj_…","request":"req_…","v":1}
 *
 * Members are sorted; a leaf never holds a secret, nor anything from which one could be guessed. Checkpoints of
 * organizations are leaves of the installation's own log: the log of logs.
 *
 *     TRY(audit_append(db, arena, "secret.rotated", "sec", secret.id, secret.project, detail));
 */
#ifndef DOMAIN_AUDIT_H
#define DOMAIN_AUDIT_H

#include "crypto/merkle.h"
#include "store/lease.h"

#define AUDIT_LEAF_BYTES_MAX 65536
#define AUDIT_PROOF_MAX 64 /* hashes in any proof */

/* In the transaction of the change. prefix: the TypeID prefix of the object; project may be zero; detail is borrowed
 * and may be NULL. Tenant, principal, token and request id are those of the transaction (app.*). */
CHECKED Err audit_append(
    Db *db, Arena *arena, const char *action, const char *prefix, Uuid object, Uuid project, const json_t *detail);

/* --- reading; inside a transaction that has a tenant --- */

typedef struct AuditLeaf {
    Uuid id;
    int64_t position; /* -1: not sequenced yet */
    Bytes bytes;      /* JSON; its leaf hash is merkle_leaf(bytes) */
} AuditLeaf;
extern const FieldTable AUDIT_LEAF_FIELDS;

typedef struct AuditCheckpoint {
    int64_t size;
    Bytes root;
    Str note; /* C2SP signed note */
    Time signed_at;
} AuditCheckpoint;
extern const FieldTable AUDIT_CHECKPOINT_FIELDS;

/* Sequenced leaves from `position` on, at most `most`. */
CHECKED Err audit_leaves(Db *db, Arena *arena, int64_t position, int64_t most, List *ret_leaves);
CHECKED Err audit_leaf_get(Db *db, Arena *arena, Uuid id, AuditLeaf *ret_leaf);
/* ERR_NOT_FOUND while nothing is signed yet. */
CHECKED Err audit_checkpoint_latest(Db *db, Arena *arena, AuditCheckpoint *ret_checkpoint);

typedef struct AuditProof {
    Digest *hashes;
    size_t count;
} AuditProof;
/* Read a logarithm of stored nodes. ERR_INVALID "audit-range" unless position < size ≤ the log's size (old ≤ size). */
CHECKED Err audit_inclusion(Db *db, Arena *arena, int64_t position, int64_t size, AuditProof *ret_proof);
CHECKED Err audit_consistency(Db *db, Arena *arena, int64_t old_size, int64_t size, AuditProof *ret_proof);
CHECKED Err audit_root(Db *db, Arena *arena, int64_t size, Digest *ret_root);

/* "reeve/ins_…/org_…": the origin line of an organization's checkpoints; the installation's own is "reeve/ins_…". */
Str audit_origin(Arena *arena, Uuid installation, Uuid org);

/* --- sequencing: the worker's part --- */

/* Gives positions to waiting leaves of one organization, in one transaction under the lease; *ret_count leaves. */
CHECKED Err audit_sequence(Db *db, Arena *arena, const Lease *lease, Uuid org, int64_t *ret_count);

/* Signs a checkpoint: the keeper in the daemon, a key in tests. Called outside any transaction. */
typedef struct CheckpointSigner {
    void *context;
    Err (*sign)(void *context, Arena *arena, const Checkpoint *checkpoint, Str *ret_note);
} CheckpointSigner;
/* Signs the head of one organization's log and stores it; the checkpoint of an organization becomes a leaf of the
 * installation's log in the same transaction. */
CHECKED Err audit_sign(Db *db, Arena *arena, const Lease *lease, Uuid org, const CheckpointSigner *signer);

/* Organizations that have leaves to sequence, and those whose head is not signed. */
CHECKED Err audit_waiting(Db *db, Arena *arena, int64_t most, Uuids *ret_orgs);
CHECKED Err audit_unsigned(Db *db, Arena *arena, int64_t most, Uuids *ret_orgs);

#endif
