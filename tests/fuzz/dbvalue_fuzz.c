/* Any bytes as a column of any type for any kind of field: an error or a value, and a value binds to bytes that read
 * the same again. */
#include "../../src/store/value.c"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Inner {
    Str name;
    int64_t weight;
    Json any;
} Inner;
static const Field inner_fields[] = {
    FIELD(Inner, name, .max = 100),
    FIELD(Inner, weight, .max = 1000),
    FIELD(Inner, any, .required = false),
};
static const FieldTable INNER = FIELD_TABLE(Inner, inner_fields);

typedef struct All {
    Str text;
    Strs texts;
    bool flag;
    int64_t number;
    MaybeInt maybe;
    Uuid id;
    Uuids ids;
    Time at;
    Bytes bytes;
    Json json;
    Money money;
    MoneySum sum;
    Inner object;
    List list;
    Ints ints;
    Times times;
    BytesList bytes_list;
    Bools bools;
} All;
static const Field all_fields[] = {
    FIELD(All, text, .required = false),
    FIELD(All, texts, .required = false),
    FIELD(All, flag, .required = false),
    FIELD(All, number, .required = false),
    FIELD(All, maybe, .required = false),
    FIELD(All, id, .required = false),
    FIELD(All, ids, .required = false),
    FIELD(All, at, .required = false),
    FIELD(All, bytes, .required = false),
    FIELD(All, json, .required = false),
    FIELD(All, money, .required = false),
    FIELD(All, sum, .required = false),
    FIELD_NESTED(All, object, &INNER, .required = false),
    FIELD(All, list, .table = &INNER),
    FIELD(All, ints, .required = false),
    FIELD(All, times, .required = false),
    FIELD(All, bytes_list, .required = false),
    FIELD(All, bools, .required = false),
};

static const Oid types[] = { TYPE_BOOL, TYPE_BYTEA, TYPE_INT8, TYPE_INT2, TYPE_INT4, TYPE_TEXT, TYPE_OID, TYPE_JSON,
    TYPE_BOOL_ARRAY, TYPE_BYTEA_ARRAY, TYPE_INT2_ARRAY, TYPE_INT4_ARRAY, TYPE_TEXT_ARRAY, TYPE_INT8_ARRAY, TYPE_DATE,
    TYPE_TIMESTAMPTZ, TYPE_TIMESTAMPTZ_ARRAY, TYPE_NUMERIC, TYPE_UUID, TYPE_UUID_ARRAY, TYPE_JSONB, TYPE_XID8 };

/* What was bound in binary must be read again, and bind to the same bytes. */
static void check_again(Arena *arena, const Field *field, Oid type, const All *record)
{
    Parameter first, second;
    if (value_bind(arena, "fuzz", field, type, record, &first).kind != ERR_NONE || first.format != 1 ||
        first.value == NULL)
        return;
    All again = { 0 };
    Err err = value_fill(arena, "fuzz", field, type, (const uint8_t *)first.value, first.length, &again);
    if (err.kind != ERR_NONE || value_bind(arena, "fuzz", field, type, &again, &second).kind != ERR_NONE ||
        first.length != second.length || memcmp(first.value, second.value, (size_t)first.length) != 0)
        die("%s as %u is not stable", field->name, type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    _cleanup_(arena_free) Arena *arena = arena_new();
    const Field *field = &all_fields[data[0] % COUNT_OF(all_fields)];
    Oid type = types[data[1] % COUNT_OF(types)];
    All record = { 0 };
    if (value_fill(arena, "fuzz", field, type, data + 2, (int)size - 2, &record).kind == ERR_NONE)
        check_again(arena, field, type, &record);
    return 0;
}
