/*
 * document.c: the one road by which bytes become a snapshot document.
 */
#include "document.h"

Err document_refuse(Arena *arena, Str code, Str pointer, Str detail)
{
    FieldErr *item = NEW(arena, FieldErr, 1);
    *item = (FieldErr){ .pointer = pointer, .detail = detail };
    return (Err){ .kind = ERR_INVALID,
        .code = code,
        .detail = arena_fmt(arena, STR_FMT " " STR_FMT ".", STR_ARG(pointer), STR_ARG(detail)),
        .fields = { .items = item, .count = 1 } };
}

Err document_length(Str text, size_t bytes_max, Str code)
{
    if (text.len > bytes_max)
        return (Err){ .kind = ERR_INVALID, .code = code, .detail = STR("The document is longer than its limit.") };
    return OK;
}

/* What a JSON or field error becomes: the document's own code; pointers and sentences are kept. */
static Err as_malformed(Arena *arena, Err err, Str code)
{
    if (err.fields.count > 0)
        err.detail = arena_fmt(
            arena, STR_FMT " " STR_FMT ".", STR_ARG(err.fields.items[0].pointer), STR_ARG(err.fields.items[0].detail));
    err.kind = ERR_INVALID;
    err.code = code;
    return err;
}

static Err check_version(Arena *arena, const json_t *value, const DocumentKind *kind)
{
    int64_t version = 0;
    if (!json_is_object(value) || !json_i64(value, "v", &version))
        return document_refuse(arena, kind->malformed, STR("/v"), STR("must be the schema version"));
    if (version != kind->version)
        return FAIL_FMT(arena, ERR_INVALID, "version-unsupported", "Schema version %lld is not one this program reads.",
            (long long)version);
    return OK;
}

Err document_parse(Arena *arena, const DocumentKind *kind, Str text, json_t **ret_value, void *ret_struct)
{
    _cleanup_(json_release) json_t *value = NULL;
    Err err = json_parse(text, kind->limits, &value);
    if (err.kind != ERR_NONE)
        return as_malformed(arena, err, kind->malformed);
    TRY(check_version(arena, value, kind));
    err = fields_decode(arena, kind->table, value, DECODE_STRICT, ret_struct);
    if (err.kind != ERR_NONE)
        return as_malformed(arena, err, kind->malformed);
    *ret_value = TAKE(value);
    return OK;
}

Err document_digest(Arena *arena, Str code, Str pointer, Str text, bool *ret_set, Digest *ret_digest)
{
    *ret_set = text.ptr != NULL;
    if (text.ptr == NULL)
        return OK;
    Err err = digest_parse(text, ret_digest);
    if (err.kind != ERR_NONE)
        return document_refuse(arena, code, pointer, STR("must be a SHA-256 digest in base64url"));
    return OK;
}
