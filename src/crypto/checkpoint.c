/*
 * checkpoint.c: signed tree heads as C2SP checkpoints: a signed note of three lines.
 *
 *     reeve/ins_.../org_...            origin, also the name of the key
 *     1234                             size
 *     base64 of the root
 *     (empty line)
 *     — <origin> <base64 of key hash(4) | signature(64)>
 */
#include "crypto/merkle.h"

#include "aead.h"

#include "base/encode.h"

#include <string.h>

#define NOTE_BYTES_MAX (16 * 1024)
#define SIGNATURE_LINES_MAX 16
#define KEY_HASH_BYTES 4
#define NOTE_ED25519 0x01
#define SIGNATURE_START "\xe2\x80\x94 " /* an em dash and a space */

Str checkpoint_text(Arena *arena, const Checkpoint *checkpoint)
{
    return arena_fmt(arena, STR_FMT "\n%llu\n" STR_FMT "\n", STR_ARG(checkpoint->origin),
        (unsigned long long)checkpoint->size, STR_ARG(base64_encode(arena, BYTES_OF(checkpoint->root.b))));
}

/* The first bytes of SHA-256(name | '\n' | type | key). */
static void key_hash(Arena *arena, Str name, const PublicKey *key, uint8_t *out)
{
    static const char separator[2] = { '\n', NOTE_ED25519 };
    Str head = arena_fmt(arena, STR_FMT STR_FMT, STR_ARG(name), STR_ARG(str_n(separator, sizeof(separator))));
    Digest digest = digest_of_two(str_bytes(head), BYTES_OF(key->b));
    memcpy(out, digest.b, KEY_HASH_BYTES);
}

Str checkpoint_sign(Arena *arena, const Checkpoint *checkpoint, const KeyPair *pair)
{
    Str text = checkpoint_text(arena, checkpoint);
    uint8_t blob[KEY_HASH_BYTES + ED25519_SIGNATURE_BYTES];
    key_hash(arena, checkpoint->origin, &pair->public_key, blob);
    ed25519_sign(pair, text, blob + KEY_HASH_BYTES);
    return arena_fmt(arena, STR_FMT "\n" SIGNATURE_START STR_FMT " " STR_FMT "\n", STR_ARG(text),
        STR_ARG(checkpoint->origin), STR_ARG(base64_encode(arena, BYTES_OF(blob))));
}

static Err malformed(void)
{
    return FAIL(ERR_INVALID, "checkpoint-malformed", "The text is not a signed checkpoint.");
}

/* The text up to and with its last newline, the signature lines behind the empty line. */
static Err split_note(Str note, Str *ret_text, Str *ret_signatures)
{
    if (note.len > NOTE_BYTES_MAX || !str_is_utf8(note) || !str_ends_with(note, STR("\n")))
        return malformed();
    Str rest = note, line;
    for (int i = 0; i < 3; i++)
        if (!str_cut(rest, '\n', &line, &rest) || line.len == 0)
            return malformed();
    if (!str_starts_with(rest, STR("\n")))
        return malformed();
    *ret_text = str_first(note, note.len - rest.len);
    *ret_signatures = str_skip(rest, 1);
    return OK;
}

static Err parse_text(Arena *arena, Str text, Checkpoint *ret_checkpoint)
{
    Str origin, size_text, root_text, rest;
    int64_t size;
    Bytes root;
    str_cut(text, '\n', &origin, &rest);
    str_cut(rest, '\n', &size_text, &rest);
    str_cut(rest, '\n', &root_text, &rest);
    if (!str_to_i64(size_text, &size) || size < 0 || base64_decode(arena, root_text, &root).kind != ERR_NONE ||
        root.len != sizeof(Digest))
        return malformed();
    Checkpoint checkpoint = { .origin = arena_str(arena, origin), .size = (uint64_t)size };
    memcpy(checkpoint.root.b, root.ptr, sizeof(checkpoint.root.b));
    *ret_checkpoint = checkpoint;
    return OK;
}

/* A line by one of the keys must hold; lines of others (witnesses) say nothing here. */
static Err check_line(Arena *arena, Str line, Str text, Str origin, KeySet keys, bool *io_signed)
{
    Str name, encoded;
    Bytes blob;
    if (!str_starts_with(line, STR(SIGNATURE_START)) ||
        !str_cut(str_skip(line, sizeof(SIGNATURE_START) - 1), ' ', &name, &encoded) || name.len == 0 ||
        base64_decode(arena, encoded, &blob).kind != ERR_NONE || blob.len < KEY_HASH_BYTES)
        return malformed();
    if (!str_eq(name, origin))
        return OK;
    for (size_t i = 0; i < keys.count; i++) {
        uint8_t hash[KEY_HASH_BYTES];
        key_hash(arena, origin, &keys.items[i], hash);
        /* allow memcmp: hashes of public keys */
        if (memcmp(hash, blob.ptr, sizeof(hash)) != 0)
            continue;
        if (blob.len != KEY_HASH_BYTES + ED25519_SIGNATURE_BYTES ||
            !ed25519_verify(keys.items[i].b, text, blob.ptr + KEY_HASH_BYTES))
            return FAIL(ERR_INVALID, "checkpoint-signature", "A signature of the checkpoint does not hold.");
        *io_signed = true;
    }
    return OK;
}

Err checkpoint_verify(Arena *arena, Str note, Str origin, KeySet keys, Checkpoint *ret_checkpoint)
{
    Str text, rest, line;
    Checkpoint checkpoint;
    TRY(split_note(note, &text, &rest));
    TRY(parse_text(arena, text, &checkpoint));
    if (!str_eq(checkpoint.origin, origin))
        return FAIL(ERR_INVALID, "checkpoint-origin", "The checkpoint is one of another log.");
    bool is_signed = false;
    for (int lines = 0; rest.len > 0; lines++) {
        if (lines == SIGNATURE_LINES_MAX || !str_cut(rest, '\n', &line, &rest))
            return malformed();
        TRY(check_line(arena, line, text, origin, keys, &is_signed));
    }
    if (!is_signed)
        return FAIL(ERR_INVALID, "checkpoint-unsigned", "No key of this log has signed the checkpoint.");
    *ret_checkpoint = checkpoint;
    return OK;
}
