/*
 * shard.c: the list of a shard's objects, strictly sorted.
 */
#include "snapshot/shard.h"

#include "document.h"
#include "snapshot/manifest.h"
#include "snapshot/object.h"

#include <assert.h>
#include <stdlib.h>

typedef struct EntryDocument {
    Str kind;
    Uuid org;
    Uuid project;
    int64_t version;
    int64_t length;
    Str sha256;
    bool critical;
} EntryDocument;

static const Field entry_fields[] = {
    FIELD(EntryDocument, kind, .required = true, .name_like = true, .min = 1, .max = SHARD_KIND_BYTES_MAX),
    FIELD(EntryDocument, org, .required = true, .prefix = "org"),
    FIELD(EntryDocument, project, .required = true, .prefix = "prj"),
    FIELD(EntryDocument, version, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(EntryDocument, length, .required = true, .min = 0, .max = OBJECT_BYTES_MAX),
    FIELD(EntryDocument, sha256, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(EntryDocument, critical, .omit_null = true),
};
static const FieldTable ENTRY_FIELDS = FIELD_TABLE(EntryDocument, entry_fields);

typedef struct ShardDocument {
    int64_t v;
    int64_t shard;
    List objects;
} ShardDocument;

static const Field shard_fields[] = {
    FIELD(ShardDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(ShardDocument, shard, .required = true, .min = 0, .max = MANIFEST_SHARDS - 1),
    FIELD(ShardDocument, objects, .required = true, .max = SHARD_OBJECTS_MAX, .table = &ENTRY_FIELDS),
};
static const FieldTable SHARD_FIELDS = FIELD_TABLE(ShardDocument, shard_fields);

static const DocumentKind shard_kind = {
    .table = &SHARD_FIELDS,
    .limits = { .bytes_max = SHARD_BYTES_MAX, .depth_max = 4, .tokens_max = 32 * SHARD_OBJECTS_MAX },
    .version = SHARD_VERSION,
    .malformed = STR_INIT("shard-malformed"),
};

int shard_of_project(Uuid project)
{
    return digest_of(BYTES_OF(project.b)).b[0];
}

int shard_entry_compare(const ShardEntry *a, const ShardEntry *b)
{
    int order = uuid_compare(a->org, b->org);
    if (order == 0)
        order = uuid_compare(a->project, b->project);
    return order != 0 ? order : str_compare(a->kind, b->kind);
}

static int compare_entries(const void *a, const void *b)
{
    return shard_entry_compare(a, b);
}

ShardEntry shard_tombstone(Uuid org, Uuid project, int64_t version)
{
    return (ShardEntry){
        .kind = STR(KIND_TOMBSTONE),
        .org = org,
        .project = project,
        .version = version,
        .sha256 = digest_of(str_bytes(STR(""))),
    };
}

bool shard_entry_is_tombstone(const ShardEntry *entry)
{
    return str_eq(entry->kind, STR(KIND_TOMBSTONE));
}

static EntryDocument entry_document(Arena *arena, const ShardEntry *entry)
{
    return (EntryDocument){
        .kind = entry->kind,
        .org = entry->org,
        .project = entry->project,
        .version = entry->version,
        .length = entry->length,
        .sha256 = digest_text(arena, entry->sha256),
        .critical = entry->critical,
    };
}

static json_t *entry_json(Arena *arena, const ShardEntry *entry)
{
    EntryDocument document = entry_document(arena, entry);
    json_t *value = fields_encode(arena, &ENTRY_FIELDS, &document);
    if (!entry->critical)
        json_object_del(value, "critical");
    return value;
}

Str shard_build(Arena *arena, Shard *shard)
{
    assert(shard->count <= SHARD_OBJECTS_MAX && shard->number >= 0 && shard->number < MANIFEST_SHARDS);
    if (shard->count > 1)
        qsort(shard->entries, shard->count, sizeof shard->entries[0], compare_entries);
    _cleanup_(json_release) json_t *value = json_object();
    json_t *objects = json_array();
    json_object_set_new(value, "v", json_integer(SHARD_VERSION));
    json_object_set_new(value, "shard", json_integer(shard->number));
    json_object_set_new(value, "objects", objects);
    for (size_t i = 0; i < shard->count; i++) {
        assert(i == 0 || shard_entry_compare(&shard->entries[i - 1], &shard->entries[i]) < 0);
        json_array_append_new(objects, entry_json(arena, &shard->entries[i]));
    }
    return json_write(arena, value);
}

/* --- reading --- */

static Err refuse_entry(Arena *arena, size_t index, const char *member, Str detail)
{
    return document_refuse(arena, shard_kind.malformed, arena_fmt(arena, "/objects/%zu/%s", index, member), detail);
}

static Err check_entry(Arena *arena, size_t index, const ShardEntry *entry, int number)
{
    if (shard_of_project(entry->project) != number)
        return refuse_entry(arena, index, "project", STR("belongs to another shard"));
    bool empty = entry->length == 0;
    if (shard_entry_is_tombstone(entry) != empty)
        return refuse_entry(arena, index, "length", STR("must be zero for a tombstone, and for nothing else"));
    if (empty && !digest_eq(entry->sha256, digest_of(str_bytes(STR("")))))
        return refuse_entry(arena, index, "sha256", STR("must be the digest of nothing for a tombstone"));
    return OK;
}

static bool same_project(const ShardEntry *a, const ShardEntry *b)
{
    return uuid_eq(a->org, b->org) && uuid_eq(a->project, b->project);
}

/* A project that left stands alone: a tombstone has no neighbour of its own project. */
static Err check_neighbours(Arena *arena, size_t index, const ShardEntry *before, const ShardEntry *entry)
{
    if (shard_entry_compare(before, entry) >= 0)
        return refuse_entry(arena, index, "project", STR("is not in strict order"));
    if (same_project(before, entry) && (shard_entry_is_tombstone(before) || shard_entry_is_tombstone(entry)))
        return refuse_entry(arena, index, "kind", STR("stands beside a tombstone"));
    return OK;
}

static Err parse_entries(Arena *arena, List documents, int number, ShardEntry *entries)
{
    for (size_t i = 0; i < documents.count; i++) {
        const EntryDocument *document = LIST_AT(EntryDocument, documents, i);
        entries[i] = (ShardEntry){
            .kind = document->kind,
            .org = document->org,
            .project = document->project,
            .version = document->version,
            .length = document->length,
            .critical = document->critical,
        };
        Err err = digest_parse(document->sha256, &entries[i].sha256);
        if (err.kind != ERR_NONE)
            return refuse_entry(arena, i, "sha256", STR("must be a SHA-256 digest in base64url"));
        TRY(check_entry(arena, i, &entries[i], number));
        if (i > 0)
            TRY(check_neighbours(arena, i, &entries[i - 1], &entries[i]));
    }
    return OK;
}

Err shard_parse(Arena *arena, Str text, int number, Shard *ret_shard)
{
    _cleanup_(json_release) json_t *value = NULL;
    ShardDocument document = { 0 };
    TRY(document_parse(arena, &shard_kind, text, &value, &document));
    if (document.shard != number)
        return document_refuse(arena, shard_kind.malformed, STR("/shard"), STR("is another shard's number"));
    ShardEntry *entries = NEW(arena, ShardEntry, document.objects.count + 1);
    TRY(parse_entries(arena, document.objects, number, entries));
    *ret_shard = (Shard){ .number = number, .entries = entries, .count = document.objects.count };
    return OK;
}

const ShardEntry *shard_find(const Shard *shard, Uuid org, Uuid project, Str kind)
{
    ShardEntry key = { .kind = kind, .org = org, .project = project };
    if (shard->count == 0)
        return NULL;
    return bsearch(&key, shard->entries, shard->count, sizeof key, compare_entries);
}
