/*
 * document.h: how every document of a snapshot is read: limits first, then the schema version, then every member
 * strictly by its field table. Private to this folder.
 */
#ifndef SNAPSHOT_WIRE_DOCUMENT_H
#define SNAPSHOT_WIRE_DOCUMENT_H

#include "base/field.h"
#include "base/json.h"
#include "crypto/digest.h"

typedef struct DocumentKind {
    const FieldTable *table;
    JsonLimits limits;
    int64_t version; /* the one schema version this code reads */
    Str malformed;   /* error code of anything wrong with the document */
} DocumentKind;

/* *ret_value owns the Json members of *ret_struct. */
CHECKED Err document_parse(Arena *arena, const DocumentKind *kind, Str text, json_t **ret_value, void *ret_struct);
/* A member that cannot be accepted: ERR_INVALID, the document's code, one field error. */
Err document_refuse(Arena *arena, Str code, Str pointer, Str detail);
/* A JWS of a document whose own limit is smaller than the floor's. */
CHECKED Err document_length(Str text, size_t bytes_max, Str code);

/* A digest in a member that may be null; *ret_set says whether it stood there. */
CHECKED Err document_digest(Arena *arena, Str code, Str pointer, Str text, bool *ret_set, Digest *ret_digest);

#endif
