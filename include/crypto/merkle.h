/*
 * merkle.h: RFC 6962 hashing (0x00 leaf, 0x01 node), append by keeping the right edge, inclusion and consistency
 * proofs, and C2SP checkpoints (signed notes with Ed25519).
 */
#ifndef CRYPTO_MERKLE_H
#define CRYPTO_MERKLE_H

#include "crypto/jose.h"

#define MERKLE_LEVELS_MAX 63

/* The right edge: the roots of the perfect subtrees, largest first; `size` tells how many there are. */
typedef struct MerkleEdge {
    uint64_t size;
    Digest nodes[MERKLE_LEVELS_MAX];
} MerkleEdge;

Digest merkle_leaf(Bytes data);
Digest merkle_node(Digest left, Digest right);
void merkle_append(MerkleEdge *edge, Digest leaf);
Digest merkle_root(const MerkleEdge *edge); /* of no leaves: SHA-256 of nothing */
/* Bytes of an edge for storage: its nodes one behind the other. */
Bytes merkle_edge_bytes(Arena *arena, const MerkleEdge *edge);
CHECKED Err merkle_edge_load(uint64_t size, Bytes bytes, MerkleEdge *ret_edge);

/* Over all leaves (small logs, tests); large logs read stored nodes (domain/audit). */
CHECKED Err merkle_inclusion(
    Arena *arena, const Digest *leaves, uint64_t size, uint64_t index, Digest **ret_proof, size_t *ret_count);
CHECKED Err merkle_verify_inclusion(
    Digest leaf, uint64_t index, uint64_t size, const Digest *proof, size_t count, Digest root);
CHECKED Err merkle_consistency(
    Arena *arena, const Digest *leaves, uint64_t old_size, uint64_t size, Digest **ret_proof, size_t *ret_count);
CHECKED Err merkle_verify_consistency(
    uint64_t old_size, Digest old_root, uint64_t size, Digest root, const Digest *proof, size_t count);

typedef struct Checkpoint {
    Str origin; /* "reeve/<installation>/<org>" */
    uint64_t size;
    Digest root;
} Checkpoint;
Str checkpoint_text(Arena *arena, const Checkpoint *checkpoint); /* the signed part of the note */
Str checkpoint_sign(Arena *arena, const Checkpoint *checkpoint, const KeyPair *pair);
CHECKED Err checkpoint_verify(Arena *arena, Str note, Str origin, KeySet keys, Checkpoint *ret_checkpoint);

#endif
