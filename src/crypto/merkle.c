/*
 * merkle.c: the tree of RFC 6962, 2.1: hashing, appending, proofs and their verification.
 */
#include "crypto/merkle.h"

#include <sodium.h>

#include <string.h>

/* Bounds what a stranger's proof can hold. */
#define PROOF_NODES_MAX (2 * MERKLE_LEVELS_MAX)

Digest merkle_leaf(Bytes data)
{
    static const uint8_t tag = 0;
    return digest_of_two((Bytes){ .ptr = &tag, .len = 1 }, data);
}

Digest merkle_node(Digest left, Digest right)
{
    uint8_t bytes[1 + 2 * sizeof(Digest)] = { 1 };
    memcpy(bytes + 1, left.b, sizeof(left.b));
    memcpy(bytes + 1 + sizeof(left.b), right.b, sizeof(right.b));
    return digest_of(BYTES_OF(bytes));
}

static unsigned bits_set(uint64_t value)
{
    return (unsigned)__builtin_popcountll(value);
}

void merkle_append(MerkleEdge *edge, Digest leaf)
{
    unsigned count = bits_set(edge->size);
    Digest node = leaf;
    for (uint64_t size = edge->size; (size & 1) != 0; size >>= 1)
        node = merkle_node(edge->nodes[--count], node);
    if (count == MERKLE_LEVELS_MAX)
        die("a Merkle tree is full");
    edge->nodes[count] = node;
    edge->size++;
}

Digest merkle_root(const MerkleEdge *edge)
{
    unsigned count = bits_set(edge->size);
    if (count == 0)
        return digest_of((Bytes){ 0 });
    Digest root = edge->nodes[count - 1];
    for (unsigned i = count - 1; i-- > 0;)
        root = merkle_node(edge->nodes[i], root);
    return root;
}

Bytes merkle_edge_bytes(Arena *arena, const MerkleEdge *edge)
{
    return arena_bytes(arena, (Bytes){ .ptr = edge->nodes[0].b, .len = bits_set(edge->size) * sizeof(Digest) });
}

Err merkle_edge_load(uint64_t size, Bytes bytes, MerkleEdge *ret_edge)
{
    if (size > INT64_MAX || bytes.len != bits_set(size) * sizeof(Digest))
        return FAIL(ERR_INVALID, "merkle-edge", "The stored edge of the log does not fit its size.");
    MerkleEdge edge = { .size = size };
    if (bytes.len > 0)
        memcpy(edge.nodes, bytes.ptr, bytes.len);
    *ret_edge = edge;
    return OK;
}

/* --- proofs over all leaves --- */

/* The largest power of two below n (n > 1). */
static uint64_t split_of(uint64_t n)
{
    return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

static Digest root_of(const Digest *leaves, uint64_t n)
{
    MerkleEdge edge = { 0 };
    for (uint64_t i = 0; i < n; i++)
        merkle_append(&edge, leaves[i]);
    return merkle_root(&edge);
}

typedef struct Proof {
    Digest *nodes;
    size_t count;
} Proof;

static void proof_add(Proof *proof, Digest node)
{
    if (proof->count == PROOF_NODES_MAX)
        die("a proof is too long");
    proof->nodes[proof->count++] = node;
}

/* PATH(m, D[n]) of RFC 6962, 2.1.1. */
static void path(Proof *proof, const Digest *leaves, uint64_t n, uint64_t m)
{
    if (n <= 1)
        return;
    uint64_t k = split_of(n);
    if (m < k) {
        path(proof, leaves, k, m);
        proof_add(proof, root_of(leaves + k, n - k));
    } else {
        path(proof, leaves + k, n - k, m - k);
        proof_add(proof, root_of(leaves, k));
    }
}

/* SUBPROOF(m, D[n], whole) of RFC 6962, 2.1.2. */
static void subproof(Proof *proof, const Digest *leaves, uint64_t n, uint64_t m, bool whole)
{
    if (m == n) {
        if (!whole)
            proof_add(proof, root_of(leaves, n));
        return;
    }
    uint64_t k = split_of(n);
    if (m <= k) {
        subproof(proof, leaves, k, m, whole);
        proof_add(proof, root_of(leaves + k, n - k));
    } else {
        subproof(proof, leaves + k, n - k, m - k, false);
        proof_add(proof, root_of(leaves, k));
    }
}

Err merkle_inclusion(
    Arena *arena, const Digest *leaves, uint64_t size, uint64_t index, Digest **ret_proof, size_t *ret_count)
{
    if (index >= size)
        return FAIL(ERR_INVALID, "merkle-index", "The log has no leaf of that index.");
    Proof proof = { .nodes = NEW(arena, Digest, PROOF_NODES_MAX) };
    path(&proof, leaves, size, index);
    *ret_proof = proof.nodes;
    *ret_count = proof.count;
    return OK;
}

Err merkle_consistency(
    Arena *arena, const Digest *leaves, uint64_t old_size, uint64_t size, Digest **ret_proof, size_t *ret_count)
{
    if (old_size > size)
        return FAIL(ERR_INVALID, "merkle-index", "The log was never of that size.");
    Proof proof = { .nodes = NEW(arena, Digest, PROOF_NODES_MAX) };
    if (old_size > 0)
        subproof(&proof, leaves, size, old_size, true);
    *ret_proof = proof.nodes;
    *ret_count = proof.count;
    return OK;
}

/* --- verification (RFC 9162, 2.1.3.2 and 2.1.4.2) --- */

static Err bad_proof(void)
{
    return FAIL(ERR_INVALID, "merkle-proof", "The proof does not lead to the root.");
}

Err merkle_verify_inclusion(Digest leaf, uint64_t index, uint64_t size, const Digest *proof, size_t count, Digest root)
{
    if (index >= size || count > PROOF_NODES_MAX)
        return bad_proof();
    uint64_t fn = index, sn = size - 1;
    Digest r = leaf;
    for (size_t i = 0; i < count; i++) {
        if (sn == 0)
            return bad_proof();
        if ((fn & 1) != 0 || fn == sn) {
            r = merkle_node(proof[i], r);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            r = merkle_node(r, proof[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && digest_eq(r, root) ? OK : bad_proof();
}

/* Both roots rebuilt from one walk; fr and sr start at the old tree's last perfect subtree. */
static Err walk_consistency(
    uint64_t fn, uint64_t sn, Digest first, const Digest *proof, size_t count, Digest old_root, Digest root)
{
    Digest fr = first, sr = first;
    for (size_t i = 0; i < count; i++) {
        if (sn == 0)
            return bad_proof();
        if ((fn & 1) != 0 || fn == sn) {
            fr = merkle_node(proof[i], fr);
            sr = merkle_node(proof[i], sr);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            sr = merkle_node(sr, proof[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && digest_eq(fr, old_root) && digest_eq(sr, root) ? OK : bad_proof();
}

Err merkle_verify_consistency(
    uint64_t old_size, Digest old_root, uint64_t size, Digest root, const Digest *proof, size_t count)
{
    if (old_size > size || count > PROOF_NODES_MAX)
        return bad_proof();
    if (old_size == size)
        return count == 0 && digest_eq(old_root, root) ? OK : bad_proof();
    if (old_size == 0)
        return count == 0 && digest_eq(old_root, digest_of((Bytes){ 0 })) ? OK : bad_proof();
    uint64_t fn = old_size - 1, sn = size - 1;
    while ((fn & 1) != 0) {
        fn >>= 1;
        sn >>= 1;
    }
    /* A power of two is a perfect subtree of the new tree: the proof leaves it out. */
    if ((old_size & (old_size - 1)) == 0)
        return walk_consistency(fn, sn, old_root, proof, count, old_root, root);
    if (count == 0)
        return bad_proof();
    return walk_consistency(fn, sn, proof[0], proof + 1, count - 1, old_root, root);
}
