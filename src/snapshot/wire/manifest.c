/*
 * manifest.c: the manifest's payload, strictly, both ways.
 */
#include "snapshot/manifest.h"

#include "document.h"

#include <assert.h>
#include <string.h>

/* As it stands in JSON; Manifest is what it means. */
typedef struct ManifestDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    int64_t seq;
    Str prev;
    Time issued_at;
    int64_t generation;
    Uuids revoked;
    int64_t max_stale_s;
    Time hard_expiry;
    Strs shards;
    Json checkpoint;
    Json receipts;
    int64_t min_client;
} ManifestDocument;

static const Field manifest_fields[] = {
    FIELD(ManifestDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(ManifestDocument, installation, .required = true, .prefix = "ins"),
    FIELD(ManifestDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(ManifestDocument, seq, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(ManifestDocument, prev, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(ManifestDocument, issued_at, .required = true),
    FIELD(ManifestDocument, generation, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(ManifestDocument, revoked, .required = true, .max = MANIFEST_REVOKED_MAX, .prefix = "dpl"),
    FIELD(ManifestDocument, max_stale_s, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(ManifestDocument, hard_expiry, .required = true),
    FIELD(ManifestDocument, shards, .required = true, .min = MANIFEST_SHARDS, .max = MANIFEST_SHARDS),
    FIELD(ManifestDocument, checkpoint, .required = false),
    FIELD(ManifestDocument, receipts, .required = false),
    FIELD(ManifestDocument, min_client, .min = 0, .max = WIRE_INT_MAX, .omit_null = true),
};
static const FieldTable MANIFEST_FIELDS = FIELD_TABLE(ManifestDocument, manifest_fields);

typedef struct CheckpointDocument {
    Str origin;
    int64_t size;
    Str root;
} CheckpointDocument;

static const Field checkpoint_fields[] = {
    FIELD(CheckpointDocument, origin, .required = true, .min = 1, .max = 256),
    FIELD(CheckpointDocument, size, .required = true, .min = 0, .max = WIRE_INT_MAX),
    FIELD(CheckpointDocument, root, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
};
static const FieldTable CHECKPOINT_FIELDS = FIELD_TABLE(CheckpointDocument, checkpoint_fields);

typedef struct ReceiptsDocument {
    Str boot;
    int64_t count;
    Str head;
} ReceiptsDocument;

static const Field receipts_fields[] = {
    FIELD(ReceiptsDocument, boot, .required = true, .min = 1, .max = 64),
    FIELD(ReceiptsDocument, count, .required = true, .min = 0, .max = WIRE_INT_MAX),
    FIELD(ReceiptsDocument, head, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
};
static const FieldTable RECEIPTS_FIELDS = FIELD_TABLE(ReceiptsDocument, receipts_fields);

static const DocumentKind manifest_kind = {
    .table = &MANIFEST_FIELDS,
    .limits = { .bytes_max = MANIFEST_BYTES_MAX, .depth_max = 4, .tokens_max = 8000 },
    .version = MANIFEST_VERSION,
    .malformed = STR_INIT("manifest-malformed"),
};

static Str optional_digest(Arena *arena, bool set, Digest digest)
{
    return set ? digest_text(arena, digest) : (Str){ .ptr = NULL, .len = 0 };
}

static json_t *checkpoint_json(Arena *arena, const ManifestCheckpoint *checkpoint)
{
    if (checkpoint->origin.ptr == NULL)
        return json_null();
    CheckpointDocument document = {
        .origin = checkpoint->origin,
        .size = checkpoint->size,
        .root = digest_text(arena, checkpoint->root),
    };
    return fields_encode(arena, &CHECKPOINT_FIELDS, &document);
}

static json_t *receipts_json(Arena *arena, const ManifestReceipts *receipts)
{
    if (receipts->boot.ptr == NULL)
        return json_null();
    ReceiptsDocument document = {
        .boot = receipts->boot,
        .count = receipts->count,
        .head = digest_text(arena, receipts->head),
    };
    return fields_encode(arena, &RECEIPTS_FIELDS, &document);
}

static Strs shard_texts(Arena *arena, const Digest *shards)
{
    Strs texts = { .items = NEW(arena, Str, MANIFEST_SHARDS), .count = MANIFEST_SHARDS };
    for (size_t i = 0; i < MANIFEST_SHARDS; i++)
        texts.items[i] = digest_text(arena, shards[i]);
    return texts;
}

Str manifest_build(Arena *arena, const Manifest *manifest)
{
    assert(manifest->seq >= 1 && manifest->seq <= WIRE_INT_MAX && manifest->shards != NULL);
    assert(manifest->revoked.count <= MANIFEST_REVOKED_MAX);
    ManifestDocument document = {
        .v = MANIFEST_VERSION,
        .installation = manifest->installation,
        .fleet = manifest->fleet,
        .seq = manifest->seq,
        .prev = optional_digest(arena, manifest->has_prev, manifest->prev),
        .issued_at = manifest->issued_at,
        .generation = manifest->generation,
        .revoked = manifest->revoked,
        .max_stale_s = manifest->max_stale_s,
        .hard_expiry = manifest->hard_expiry,
        .shards = shard_texts(arena, manifest->shards),
        .min_client = manifest->min_client,
    };
    _cleanup_(json_release) json_t *value = fields_encode(arena, &MANIFEST_FIELDS, &document);
    json_object_set_new(value, "checkpoint", checkpoint_json(arena, &manifest->checkpoint));
    json_object_set_new(value, "receipts", receipts_json(arena, &manifest->receipts));
    if (manifest->min_client == 0)
        json_object_del(value, "min_client");
    return json_write(arena, value);
}

/* --- reading --- */

static Err parse_shards(Arena *arena, Strs texts, const Digest **ret_shards)
{
    Digest *shards = NEW(arena, Digest, MANIFEST_SHARDS);
    if (texts.count != MANIFEST_SHARDS)
        return document_refuse(arena, manifest_kind.malformed, STR("/shards"), STR("must be 256 digests"));
    for (size_t i = 0; i < MANIFEST_SHARDS; i++) {
        Err err = digest_parse(texts.items[i], &shards[i]);
        if (err.kind != ERR_NONE)
            return document_refuse(arena, manifest_kind.malformed, arena_fmt(arena, "/shards/%zu", i),
                STR("must be a SHA-256 digest in base64url"));
    }
    *ret_shards = shards;
    return OK;
}

static Err part_refused(Arena *arena, const char *part, Err err)
{
    if (err.kind == ERR_NONE)
        return OK;
    return document_refuse(arena, manifest_kind.malformed, arena_fmt(arena, "/%s", part),
        err.fields.count > 0 ? err.fields.items[0].detail : STR("cannot be read"));
}

static Err parse_checkpoint(Arena *arena, json_t *value, ManifestCheckpoint *ret_checkpoint)
{
    CheckpointDocument document = { 0 };
    ManifestCheckpoint checkpoint = { 0 };
    bool set = false;
    if (value == NULL || json_is_null(value))
        return OK;
    TRY(part_refused(arena, "checkpoint", fields_decode(arena, &CHECKPOINT_FIELDS, value, DECODE_STRICT, &document)));
    TRY(document_digest(
        arena, manifest_kind.malformed, STR("/checkpoint/root"), document.root, &set, &checkpoint.root));
    checkpoint.origin = document.origin;
    checkpoint.size = document.size;
    *ret_checkpoint = checkpoint;
    return OK;
}

static Err parse_receipts(Arena *arena, json_t *value, ManifestReceipts *ret_receipts)
{
    ReceiptsDocument document = { 0 };
    ManifestReceipts receipts = { 0 };
    bool set = false;
    if (value == NULL || json_is_null(value))
        return OK;
    TRY(part_refused(arena, "receipts", fields_decode(arena, &RECEIPTS_FIELDS, value, DECODE_STRICT, &document)));
    TRY(document_digest(arena, manifest_kind.malformed, STR("/receipts/head"), document.head, &set, &receipts.head));
    receipts.boot = document.boot;
    receipts.count = document.count;
    *ret_receipts = receipts;
    return OK;
}

/* What the members mean together. */
static Err check_sense(Arena *arena, const Manifest *manifest)
{
    if (manifest->min_client > SNAPSHOT_CLIENT_LEVEL)
        return FAIL(ERR_INVALID, "client-too-old", "The manifest asks for a newer client than this one.");
    if (!time_before(manifest->issued_at, manifest->hard_expiry))
        return document_refuse(arena, manifest_kind.malformed, STR("/hard_expiry"), STR("must be after issued_at"));
    if (manifest->has_prev && manifest->seq == 1)
        return document_refuse(arena, manifest_kind.malformed, STR("/prev"), STR("must be null in the first manifest"));
    return OK;
}

Err manifest_parse(Arena *arena, Str payload, Manifest *ret_manifest)
{
    _cleanup_(json_release) json_t *value = NULL;
    ManifestDocument document = { 0 };
    TRY(document_parse(arena, &manifest_kind, payload, &value, &document));
    Manifest manifest = {
        .installation = document.installation,
        .fleet = document.fleet,
        .seq = document.seq,
        .issued_at = document.issued_at,
        .generation = document.generation,
        .revoked = document.revoked,
        .max_stale_s = document.max_stale_s,
        .hard_expiry = document.hard_expiry,
        .min_client = document.min_client,
    };
    TRY(document_digest(
        arena, manifest_kind.malformed, STR("/prev"), document.prev, &manifest.has_prev, &manifest.prev));
    TRY(parse_shards(arena, document.shards, &manifest.shards));
    TRY(parse_checkpoint(arena, document.checkpoint.value, &manifest.checkpoint));
    TRY(parse_receipts(arena, document.receipts.value, &manifest.receipts));
    TRY(check_sense(arena, &manifest));
    *ret_manifest = manifest;
    return OK;
}

Err manifest_verify(Arena *arena, Str jws, KeySet keys, Manifest *ret_manifest)
{
    Str payload = STR("");
    TRY(document_length(jws, MANIFEST_BYTES_MAX, manifest_kind.malformed));
    TRY(jws_verify(arena, jws, keys, STR(MANIFEST_TYP), &payload, /* ret_kid= */ NULL));
    return manifest_parse(arena, payload, ret_manifest);
}

bool manifest_revokes(const Manifest *manifest, Uuid data_plane)
{
    for (size_t i = 0; i < manifest->revoked.count; i++)
        if (uuid_eq(manifest->revoked.items[i], data_plane))
            return true;
    return false;
}
