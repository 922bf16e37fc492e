/* The Merkle tree against the reference roots of Certificate Transparency, its proofs, and checkpoints. */
#include "support/expect.h"

#include "base/encode.h"
#include "crypto/merkle.h"

#define LEAVES 40

static Arena *arena;
static Digest leaves[LEAVES];

/* The eight inputs and the roots that the reference implementation's test uses. */
static const char *const inputs[] = { "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f" };
static const char *const roots[] = {
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static Digest digest_hex(const char *text)
{
    Bytes bytes;
    Digest d;
    expect_ok(hex_decode(arena, str_from_c(text), &bytes));
    memcpy(d.b, bytes.ptr, sizeof(d.b));
    return d;
}

static Digest root_at(uint64_t size)
{
    MerkleEdge edge = { 0 };
    for (uint64_t i = 0; i < size; i++)
        merkle_append(&edge, leaves[i]);
    return merkle_root(&edge);
}

TEST(tree_has_the_roots_of_the_reference)
{
    MerkleEdge edge = { 0 };
    Digest empty = digest_of((Bytes){ 0 });
    assert_true(digest_eq(merkle_root(&edge), empty));
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        Bytes data;
        expect_ok(hex_decode(arena, str_from_c(inputs[i]), &data));
        merkle_append(&edge, merkle_leaf(data));
        assert_true(digest_eq(merkle_root(&edge), digest_hex(roots[i])));
    }
}

TEST(edge_survives_being_stored)
{
    MerkleEdge edge = { 0 }, back;
    for (uint64_t i = 0; i < 21; i++)
        merkle_append(&edge, leaves[i]);
    Bytes bytes = merkle_edge_bytes(arena, &edge);
    expect_ok(merkle_edge_load(21, bytes, &back));
    merkle_append(&edge, leaves[21]);
    merkle_append(&back, leaves[21]);
    assert_true(digest_eq(merkle_root(&edge), merkle_root(&back)));
    expect_err(merkle_edge_load(20, bytes, &back), "merkle-edge");
}

TEST(every_leaf_of_every_size_has_a_proof_that_holds_and_only_there)
{
    for (uint64_t size = 1; size <= LEAVES; size++) {
        Digest root = root_at(size);
        for (uint64_t index = 0; index < size; index++) {
            Digest *proof;
            size_t count;
            expect_ok(merkle_inclusion(arena, leaves, size, index, &proof, &count));
            expect_ok(merkle_verify_inclusion(leaves[index], index, size, proof, count, root));
            expect_err(
                merkle_verify_inclusion(leaves[(index + 1) % LEAVES], index, size, proof, count, root), "merkle-proof");
            expect_err(
                merkle_verify_inclusion(leaves[index], index, size, proof, count, root_at(size - 1)), "merkle-proof");
            if (size > 1) {
                expect_err(merkle_verify_inclusion(leaves[index], (index + 1) % size, size, proof, count, root),
                    "merkle-proof");
                expect_err(merkle_verify_inclusion(leaves[index], index, size, proof, count - 1, root), "merkle-proof");
            }
        }
    }
    Digest *proof;
    size_t count;
    expect_err(merkle_inclusion(arena, leaves, 4, 4, &proof, &count), "merkle-index");
    expect_err(merkle_verify_inclusion(leaves[0], 4, 4, leaves, 2, leaves[1]), "merkle-proof");
}

TEST(every_pair_of_sizes_has_a_consistency_proof_that_holds)
{
    for (uint64_t size = 0; size <= LEAVES; size++) {
        for (uint64_t old = 0; old <= size; old++) {
            Digest *proof;
            size_t count;
            expect_ok(merkle_consistency(arena, leaves, old, size, &proof, &count));
            expect_ok(merkle_verify_consistency(old, root_at(old), size, root_at(size), proof, count));
            if (old == 0 || old == size)
                continue;
            expect_err(
                merkle_verify_consistency(old, root_at(old - 1), size, root_at(size), proof, count), "merkle-proof");
            expect_err(
                merkle_verify_consistency(old, root_at(old), size, root_at(size - 1), proof, count), "merkle-proof");
            expect_err(
                merkle_verify_consistency(old, root_at(old), size, root_at(size), proof, count - 1), "merkle-proof");
        }
    }
    expect_err(merkle_verify_consistency(3, leaves[0], 2, leaves[0], NULL, 0), "merkle-proof");
}

TEST(rewritten_history_has_no_consistency_proof)
{
    Digest old_root = root_at(13), was = leaves[5], *proof;
    size_t count;
    leaves[5] = merkle_leaf(str_bytes(STR("forged")));
    expect_ok(merkle_consistency(arena, leaves, 13, 20, &proof, &count));
    Digest forged = root_at(20);
    leaves[5] = was;
    expect_err(merkle_verify_consistency(13, old_root, 20, forged, proof, count), "merkle-proof");
}

/* --- checkpoints --- */

static Checkpoint head(void)
{
    return (Checkpoint){ .origin = STR("reeve/ins_1/org_1"), .size = 7, .root = leaves[3] };
}

TEST(checkpoint_is_three_lines_and_a_signature)
{
    _cleanup_(keypair_release) KeyPair pair = ed25519_new();
    Checkpoint in = head(), out;
    Str note = checkpoint_sign(arena, &in, &pair);
    assert_true(str_starts_with(note, STR("reeve/ins_1/org_1\n7\n")));
    assert_true(str_contains(note, STR("\n\n\xe2\x80\x94 reeve/ins_1/org_1 ")));
    expect_ok(checkpoint_verify(arena, note, in.origin, (KeySet){ &pair.public_key, 1 }, &out));
    assert_int_equal(out.size, 7);
    assert_true(digest_eq(out.root, in.root));
}

TEST(checkpoint_of_another_log_key_or_text_is_refused)
{
    _cleanup_(keypair_release) KeyPair pair = ed25519_new(), other = ed25519_new();
    Checkpoint in = head(), out;
    KeySet keys = { &pair.public_key, 1 };
    Str note = checkpoint_sign(arena, &in, &pair);
    expect_err(checkpoint_verify(arena, note, STR("reeve/ins_1/org_2"), keys, &out), "checkpoint-origin");
    expect_err(
        checkpoint_verify(arena, note, in.origin, (KeySet){ &other.public_key, 1 }, &out), "checkpoint-unsigned");
    expect_err(checkpoint_verify(arena, checkpoint_text(arena, &in), in.origin, keys, &out), "checkpoint-malformed");
    expect_err(checkpoint_verify(
                   arena, arena_fmt(arena, STR_FMT "\n", STR_ARG(checkpoint_text(arena, &in))), in.origin, keys, &out),
        "checkpoint-unsigned");
    for (size_t i = 0; i < note.len; i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, note).ptr;
        copy[i] ^= 1;
        Err err = checkpoint_verify(arena, str_n(copy, note.len), in.origin, keys, &out);
        if (err.kind == ERR_NONE)
            fail_msg("a checkpoint with byte %zu changed was accepted", i);
    }
}

TEST(checkpoint_with_a_witness_still_holds)
{
    _cleanup_(keypair_release) KeyPair pair = ed25519_new();
    Checkpoint in = head(), out;
    Str note = checkpoint_sign(arena, &in, &pair);
    Str foreign = arena_fmt(arena, STR_FMT "\xe2\x80\x94 witness.example AAAAAAAA\n", STR_ARG(note));
    expect_ok(checkpoint_verify(arena, foreign, in.origin, (KeySet){ &pair.public_key, 1 }, &out));
    expect_err(checkpoint_verify(arena, arena_fmt(arena, STR_FMT "junk\n", STR_ARG(note)), in.origin,
                   (KeySet){ &pair.public_key, 1 }, &out),
        "checkpoint-malformed");
}

int main(void)
{
    crypto_start();
    arena = arena_new();
    for (size_t i = 0; i < LEAVES; i++) {
        uint8_t number = (uint8_t)i;
        leaves[i] = merkle_leaf((Bytes){ &number, 1 });
    }
    const struct CMUnitTest tests[] = {
        RUN(tree_has_the_roots_of_the_reference),
        RUN(edge_survives_being_stored),
        RUN(every_leaf_of_every_size_has_a_proof_that_holds_and_only_there),
        RUN(every_pair_of_sizes_has_a_consistency_proof_that_holds),
        RUN(rewritten_history_has_no_consistency_proof),
        RUN(checkpoint_is_three_lines_and_a_signature),
        RUN(checkpoint_of_another_log_key_or_text_is_refused),
        RUN(checkpoint_with_a_witness_still_holds),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
