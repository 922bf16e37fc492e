/*
 * field.h: the struct is the schema. A table of Field rows describes a struct once; the same table decodes a JSON body
 * (all bad members at once, unknown ones refused), encodes a reply, binds SQL parameters and fills rows by name, and
 * prints the API reference.
 *
 *     static const Field project_fields[] = {
 *         FIELD(Project, id,         .prefix = "prj"),
 *         FIELD(Project, name,       .required = true, .name_like = true),
 *         FIELD(Project, created_at, .read_only = true),
 *         FIELD(Project, digest,     .internal = true),     // a column, never a member
 *     };
 *     static const FieldTable PROJECT_FIELDS = FIELD_TABLE(Project, project_fields);
 *
 * A member of a type that is not listed (Secret above all) does not compile.
 * "Zero means null" for Str (ptr NULL), Bytes (ptr NULL), Time, Uuid, Json; MaybeInt where an absent integer is not 0.
 */
#ifndef BASE_FIELD_H
#define BASE_FIELD_H

#include "base/clock.h"
#include "base/id.h"
#include "base/money.h"

#include <jansson.h>

typedef enum FieldKind {
    FIELD_STR,
    FIELD_STRS,
    FIELD_BOOL,
    FIELD_INT,
    FIELD_MAYBE_INT,
    FIELD_UUID,
    FIELD_UUIDS,
    FIELD_TIME,
    FIELD_BYTES,      /* base64url in JSON, bytea in SQL */
    FIELD_JSON,       /* any JSON value, borrowed from the decoded body or parsed from a jsonb column */
    FIELD_MONEY,      /* decimal string of dollars in JSON, bigint picodollars in SQL */
    FIELD_MONEY_SUM,  /* decimal string of dollars in JSON, numeric(38,0) in SQL */
    FIELD_OBJECT,     /* a nested struct, .table says which */
    FIELD_LIST,       /* a List of nested structs, .table says which; jsonb in SQL */
    FIELD_INTS,       /* SQL arrays for batches: int8[] */
    FIELD_TIMES,      /* timestamptz[] */
    FIELD_BYTES_LIST, /* bytea[] */
    FIELD_BOOLS,      /* bool[] */
} FieldKind;

typedef struct MaybeInt {
    int64_t value;
    bool set;
} MaybeInt;
typedef struct Json {
    json_t *value; /* NULL is null */
} Json;
typedef struct List {
    void *items; /* structs of table->size, one behind the other */
    size_t count;
} List;
typedef struct Ints {
    int64_t *items;
    size_t count;
} Ints;
typedef struct Times {
    Time *items;
    size_t count;
} Times;
typedef struct BytesList {
    Bytes *items;
    size_t count;
} BytesList;
typedef struct Bools {
    bool *items;
    size_t count;
} Bools;

typedef struct FieldTable FieldTable;

typedef struct Field {
    const char *name;
    size_t offset;
    FieldKind kind;
    bool required;      /* must be in a body and not null */
    bool read_only;     /* in replies; refused in bodies ("is set by the server") */
    bool write_only;    /* in bodies; never in replies */
    bool internal;      /* a column or parameter, never a JSON member */
    bool name_like;     /* Str: str_is_name */
    bool omit_null;     /* replies leave it out when null; otherwise null is written */
    int64_t min, max;   /* Int: value; Str: bytes; Bytes: octets; lists: count. max 0 = the kind's default maximum */
    const char *prefix; /* Uuid, Uuids: TypeID prefix; a Uuid without one is plain uuid text */
    const char *const *one_of; /* Str: NULL-terminated allowed values */
    const FieldTable *table;   /* Object, List */
    const char *doc;           /* one sentence for the API reference */
} Field;

struct FieldTable {
    const char *name; /* of the struct, for the API reference */
    size_t size;
    const Field *fields;
    size_t count;
};

#define FIELD_STR_MAX 1024
#define FIELD_LIST_MAX 256

#define FIELD(Type, member, ...)                                                                                       \
    {                                                                                                                  \
        .name = #member, .offset = offsetof(Type, member), .kind = FIELD_KIND(((Type *)0)->member), __VA_ARGS__        \
    }
/* The member's name in JSON and SQL where it cannot be the C name. */
#define FIELD_AS(Type, member, json_name, ...)                                                                         \
    {                                                                                                                  \
        .name = json_name, .offset = offsetof(Type, member), .kind = FIELD_KIND(((Type *)0)->member), __VA_ARGS__      \
    }
/* A nested struct: .table is required. */
#define FIELD_NESTED(Type, member, nested_table, ...)                                                                  \
    {                                                                                                                  \
        .name = #member, .offset = offsetof(Type, member), .kind = FIELD_OBJECT, .table = (nested_table), __VA_ARGS__  \
    }
#define FIELD_KIND(expression)                                                                                         \
    _Generic((expression), Str                                                                                         \
             : FIELD_STR, Strs                                                                                         \
             : FIELD_STRS, bool                                                                                        \
             : FIELD_BOOL, int64_t                                                                                     \
             : FIELD_INT, MaybeInt                                                                                     \
             : FIELD_MAYBE_INT, Uuid                                                                                   \
             : FIELD_UUID, Uuids                                                                                       \
             : FIELD_UUIDS, Time                                                                                       \
             : FIELD_TIME, Bytes                                                                                       \
             : FIELD_BYTES, Json                                                                                       \
             : FIELD_JSON, Money                                                                                       \
             : FIELD_MONEY, MoneySum                                                                                   \
             : FIELD_MONEY_SUM, List                                                                                   \
             : FIELD_LIST, Ints                                                                                        \
             : FIELD_INTS, Times                                                                                       \
             : FIELD_TIMES, BytesList                                                                                  \
             : FIELD_BYTES_LIST, Bools                                                                                 \
             : FIELD_BOOLS)
#define FIELD_TABLE(Type, rows)                                                                                        \
    {                                                                                                                  \
        .name = #Type, .size = sizeof(Type), .fields = (rows), .count = COUNT_OF(rows)                                 \
    }

/* A struct and its table, as parameter or result of a statement: REC(&PROJECT_FIELDS, &project). */
typedef struct Record {
    const FieldTable *table;
    void *ptr;
} Record;
#define REC(fields, pointer) ((Record){ .table = (fields), .ptr = (pointer) })
#define REC_NONE ((Record){ .table = NULL, .ptr = NULL })

const Field *field_find(const FieldTable *table, Str name); /* NULL when there is none */

typedef enum DecodeMode {
    DECODE_BODY,   /* required members must be there, read_only ones must not */
    DECODE_PATCH,  /* RFC 7396: absent members keep what the struct has, null clears (refused for required ones) */
    DECODE_TRUST,  /* our own documents (jsonb, files): read_only members are taken; unknown ones are ignored */
    DECODE_STRICT, /* our own wire documents: like BODY, but read_only members are taken */
} DecodeMode;

/*
 * Fills *ret_struct from a JSON object. Strings are copied to the arena; Json members are borrowed from `object`.
 * On bad members: ERR_INVALID "invalid-body" whose fields list every one of them.
 */
CHECKED Err fields_decode(Arena *arena, const FieldTable *table, json_t *object, DecodeMode mode, void *ret_struct);

/* A new JSON object of the struct (the caller's reference); internal and write_only fields are left out. */
json_t *fields_encode(Arena *arena, const FieldTable *table, const void *ptr);

#endif
