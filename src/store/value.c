/*
 * value.c: one field of a struct as a PostgreSQL parameter, and one column as a field. Binary where that is exact and
 * simple; the type the server inferred decides the form, the field's kind decides the meaning.
 *
 * Zero means null both ways for Str, Bytes, Time, Uuid and Json (and for the elements of their lists). A null column
 * never becomes a number: unknown is not 0, so such a field must be a MaybeInt.
 */
#include "internal.h"

#include "base/buf.h"
#include "base/json.h"

#include <string.h>

#define PG_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 in our epoch */
#define STORED_JSON ((JsonLimits){ .bytes_max = 32 * 1024 * 1024, .depth_max = 64, .tokens_max = 4000000 })
#define NUMERIC_DIGITS_MAX 64

/* The place a value is bound from or filled to, for messages and for memory. */
typedef struct Spot {
    Arena *arena;
    const char *statement;
    const Field *field;
    Oid type;
} Spot;

static Err mismatch(const Spot *spot)
{
    return FAIL_FMT(spot->arena, ERR_INTERNAL, "statement-mismatch",
        "%s: the field %s does not go with the database type %u.", spot->statement, spot->field->name, spot->type);
}

static Err too_large(const Spot *spot)
{
    return FAIL_FMT(
        spot->arena, ERR_INVALID, "value-not-storable", "%s is out of the range that is stored.", spot->field->name);
}

/* --- big-endian ------------------------------------------------------------------------------------------------- */

static void put_be(uint8_t *out, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        out[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
}

static uint64_t get_be(const uint8_t *in, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | in[i];
    return value;
}

/* --- one scalar as bytes, the same for a parameter and for the element of an array -------------------------------- */

typedef struct Scalar {
    const uint8_t *ptr;
    size_t len;
    bool null;
} Scalar;

static Scalar scalar_number(Arena *arena, uint64_t value, size_t width)
{
    uint8_t *out = arena_alloc(arena, width, 1);
    put_be(out, value, width);
    return (Scalar){ .ptr = out, .len = width };
}

static Scalar scalar_bytes(const void *ptr, size_t len)
{
    return (Scalar){ .ptr = ptr == NULL ? (const uint8_t *)"" : ptr, .len = len };
}

static const Scalar SCALAR_NULL = { .null = true };

static Scalar scalar_str(Arena *arena, Str s)
{
    (void)arena;
    return s.ptr == NULL ? SCALAR_NULL : scalar_bytes(s.ptr, s.len);
}

static Scalar scalar_uuid(Arena *arena, Uuid id)
{
    return uuid_is_zero(id) ? SCALAR_NULL : scalar_bytes(arena_bytes(arena, BYTES_OF(id.b)).ptr, sizeof(id.b));
}

static Scalar scalar_time(Arena *arena, Time time)
{
    return time_is_none(time) ? SCALAR_NULL : scalar_number(arena, (uint64_t)time.us - (uint64_t)PG_EPOCH_US, 8);
}

static Scalar scalar_bool(Arena *arena, bool value)
{
    return scalar_number(arena, value, 1);
}

static Scalar scalar_of_bytes(Arena *arena, Bytes b)
{
    (void)arena;
    return b.ptr == NULL ? SCALAR_NULL : scalar_bytes(b.ptr, b.len);
}

static int int_width(Oid type)
{
    switch (type) {
    case TYPE_INT8:
    case TYPE_INT8_ARRAY:
    case TYPE_XID8:
        return 8;
    case TYPE_INT4:
    case TYPE_INT4_ARRAY:
    case TYPE_OID:
        return 4;
    case TYPE_INT2:
    case TYPE_INT2_ARRAY:
        return 2;
    default:
        return 0;
    }
}

static bool int_fits(int64_t value, Oid type)
{
    int width = int_width(type);
    if (type == TYPE_OID)
        return value >= 0 && value <= UINT32_MAX;
    return width == 8 || (value >= -(INT64_C(1) << (width * 8 - 1)) && value < INT64_C(1) << (width * 8 - 1));
}

/* --- parameters --------------------------------------------------------------------------------------------------- */

static void set_binary(Parameter *out, Scalar scalar)
{
    *out =
        (Parameter){ .value = scalar.null ? NULL : (const char *)scalar.ptr, .length = (int)scalar.len, .format = 1 };
}

/* Text format lets the server's own input function read it: for numeric, jsonb, interval and the like. */
static Err set_text(const Spot *spot, Parameter *out, Str text)
{
    if (text.ptr != NULL && memchr(text.ptr, '\0', text.len) != NULL)
        return FAIL_FMT(spot->arena, ERR_INVALID, "value-not-storable", "%s holds a zero byte.", spot->field->name);
    *out = (Parameter){ .value = text.ptr == NULL ? NULL : arena_str(spot->arena, text).ptr };
    return OK;
}

static Err bind_int(const Spot *spot, int64_t value, Parameter *out)
{
    if (spot->type == TYPE_NUMERIC || spot->type == TYPE_TEXT)
        return set_text(spot, out, arena_fmt(spot->arena, "%lld", (long long)value));
    int width = int_width(spot->type);
    if (width == 0)
        return mismatch(spot);
    if (!int_fits(value, spot->type))
        return too_large(spot);
    set_binary(out, scalar_number(spot->arena, (uint64_t)value, (size_t)width));
    return OK;
}

static Err bind_json(const Spot *spot, const json_t *value, Parameter *out)
{
    if (spot->type != TYPE_JSONB && spot->type != TYPE_JSON && spot->type != TYPE_TEXT)
        return mismatch(spot);
    return set_text(spot, out, value == NULL ? (Str){ 0 } : json_write(spot->arena, value));
}

static Err bind_list(const Spot *spot, const List *list, Parameter *out)
{
    _cleanup_(json_release) json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array,
            fields_encode(spot->arena, spot->field->table, (const char *)list->items + i * spot->field->table->size));
    return bind_json(spot, array, out);
}

static Err bind_object(const Spot *spot, const void *object, Parameter *out)
{
    _cleanup_(json_release) json_t *value = fields_encode(spot->arena, spot->field->table, object);
    return bind_json(spot, value, out);
}

static Err bind_time(const Spot *spot, Time time, Parameter *out)
{
    if (spot->type == TYPE_DATE) {
        int64_t since;
        if (__builtin_sub_overflow(time.us, PG_EPOCH_US, &since))
            return too_large(spot);
        int64_t day = since / US_PER_DAY - (since % US_PER_DAY < 0);
        set_binary(out, time_is_none(time) ? SCALAR_NULL : scalar_number(spot->arena, (uint64_t)day, 4));
        return OK;
    }
    if (spot->type != TYPE_TIMESTAMPTZ)
        return mismatch(spot);
    if (time.us < INT64_MIN + PG_EPOCH_US)
        return too_large(spot);
    set_binary(out, scalar_time(spot->arena, time));
    return OK;
}

/* The array types: what stands in the header, and how an element of ours becomes bytes. */
typedef struct ArrayRow {
    FieldKind kind;
    Oid type, element;
    size_t stride;
} ArrayRow;

static const ArrayRow arrays[] = {
    { FIELD_STRS, TYPE_TEXT_ARRAY, TYPE_TEXT, sizeof(Str) },
    { FIELD_UUIDS, TYPE_UUID_ARRAY, TYPE_UUID, sizeof(Uuid) },
    { FIELD_INTS, TYPE_INT8_ARRAY, TYPE_INT8, sizeof(int64_t) },
    { FIELD_INTS, TYPE_INT4_ARRAY, TYPE_INT4, sizeof(int64_t) },
    { FIELD_INTS, TYPE_INT2_ARRAY, TYPE_INT2, sizeof(int64_t) },
    { FIELD_TIMES, TYPE_TIMESTAMPTZ_ARRAY, TYPE_TIMESTAMPTZ, sizeof(Time) },
    { FIELD_BYTES_LIST, TYPE_BYTEA_ARRAY, TYPE_BYTEA, sizeof(Bytes) },
    { FIELD_BOOLS, TYPE_BOOL_ARRAY, TYPE_BOOL, sizeof(bool) },
};

/* Every list kind is { items, count }. */
typedef struct AnyList {
    void *items;
    size_t count;
} AnyList;
_Static_assert(sizeof(AnyList) == sizeof(Strs) && sizeof(AnyList) == sizeof(Bools), "lists have one shape");

static const ArrayRow *array_row(FieldKind kind, Oid type)
{
    for (size_t i = 0; i < COUNT_OF(arrays); i++)
        if (arrays[i].kind == kind && arrays[i].type == type)
            return &arrays[i];
    return NULL;
}

static Scalar element_scalar(Arena *arena, const ArrayRow *row, const void *item)
{
    switch (row->kind) {
    case FIELD_STRS:
        return scalar_str(arena, *(const Str *)item);
    case FIELD_UUIDS:
        return scalar_uuid(arena, *(const Uuid *)item);
    case FIELD_TIMES:
        return scalar_time(arena, *(const Time *)item);
    case FIELD_BYTES_LIST:
        return scalar_of_bytes(arena, *(const Bytes *)item);
    case FIELD_BOOLS:
        return scalar_bool(arena, *(const bool *)item);
    default:
        return scalar_number(arena, (uint64_t) * (const int64_t *)item, (size_t)int_width(row->element));
    }
}

static Err bind_array(const Spot *spot, const AnyList *list, Parameter *out)
{
    const ArrayRow *row = array_row(spot->field->kind, spot->type);
    if (row == NULL)
        return mismatch(spot);
    Scalar *elements = NEW(spot->arena, Scalar, list->count);
    size_t bytes = 12 + 8;
    bool nulls = false;
    for (size_t i = 0; i < list->count; i++) {
        const void *item = (const char *)list->items + i * row->stride;
        if (row->kind == FIELD_INTS && !int_fits(*(const int64_t *)item, row->element))
            return too_large(spot);
        elements[i] = element_scalar(spot->arena, row, item);
        bytes += 4 + (elements[i].null ? 0 : elements[i].len);
        nulls |= elements[i].null;
    }
    uint8_t *start = arena_alloc(spot->arena, bytes, 1);
    uint8_t *at = start;
    put_be(at, list->count > 0, 4); /* dimensions */
    put_be(at + 4, nulls, 4);
    put_be(at + 8, row->element, 4);
    at += 12;
    if (list->count > 0) {
        put_be(at, list->count, 4);
        put_be(at + 4, 1, 4); /* lower bound */
        at += 8;
    }
    for (size_t i = 0; i < list->count; i++) {
        put_be(at, elements[i].null ? UINT32_MAX : elements[i].len, 4);
        at += 4;
        if (elements[i].null || elements[i].len == 0)
            continue;
        memcpy(at, elements[i].ptr, elements[i].len);
        at += elements[i].len;
    }
    *out = (Parameter){ .value = (const char *)start, .length = (int)(at - start), .format = 1 };
    return OK;
}

static Err bind_str(const Spot *spot, Str s, Parameter *out)
{
    if (spot->type != TYPE_TEXT && spot->type != TYPE_VARCHAR)
        return set_text(spot, out, s);
    set_binary(out, scalar_str(spot->arena, s)); /* the server refuses zero bytes and bad UTF-8 */
    return OK;
}

static Err bind_exact(const Spot *spot, Oid wanted, Scalar scalar, Parameter *out)
{
    if (spot->type != wanted)
        return mismatch(spot);
    set_binary(out, scalar);
    return OK;
}

Err value_bind(
    Arena *arena, const char *statement, const Field *field, Oid type, const void *record, Parameter *ret_parameter)
{
    const Spot spot = { arena, statement, field, type };
    const void *at = (const char *)record + field->offset;
    switch (field->kind) {
    case FIELD_STR:
        return bind_str(&spot, *(const Str *)at, ret_parameter);
    case FIELD_BOOL:
        return bind_exact(&spot, TYPE_BOOL, scalar_bool(arena, *(const bool *)at), ret_parameter);
    case FIELD_INT:
        return bind_int(&spot, *(const int64_t *)at, ret_parameter);
    case FIELD_MAYBE_INT:
        if (((const MaybeInt *)at)->set)
            return bind_int(&spot, ((const MaybeInt *)at)->value, ret_parameter);
        *ret_parameter = (Parameter){ 0 };
        return OK;
    case FIELD_MONEY:
        return bind_int(&spot, ((const Money *)at)->pico, ret_parameter);
    case FIELD_MONEY_SUM:
        if (type != TYPE_NUMERIC)
            return mismatch(&spot);
        return set_text(&spot, ret_parameter, money_sum_digits(arena, *(const MoneySum *)at));
    case FIELD_UUID:
        return bind_exact(&spot, TYPE_UUID, scalar_uuid(arena, *(const Uuid *)at), ret_parameter);
    case FIELD_TIME:
        return bind_time(&spot, *(const Time *)at, ret_parameter);
    case FIELD_BYTES:
        return bind_exact(&spot, TYPE_BYTEA, scalar_of_bytes(arena, *(const Bytes *)at), ret_parameter);
    case FIELD_JSON:
        return bind_json(&spot, ((const Json *)at)->value, ret_parameter);
    case FIELD_OBJECT:
        return bind_object(&spot, at, ret_parameter);
    case FIELD_LIST:
        return bind_list(&spot, at, ret_parameter);
    default:
        return bind_array(&spot, at, ret_parameter);
    }
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

static bool is_text_type(Oid type)
{
    return type == TYPE_TEXT || type == TYPE_VARCHAR || type == TYPE_NAME || type == TYPE_BPCHAR || type == TYPE_JSON ||
           type == TYPE_UNKNOWN || type == TYPE_VOID;
}

/* Binary numeric: digit count, weight, sign, scale, then base-10000 digits, most significant first. Whole numbers of
 * 128 bits only. */
static bool numeric_whole(Bytes bytes, Int128 *ret_value)
{
    if (bytes.len < 8 || bytes.len > 8 + 2 * NUMERIC_DIGITS_MAX)
        return false;
    int count = (int)get_be(bytes.ptr, 2);
    int weight = (int16_t)get_be(bytes.ptr + 2, 2);
    unsigned sign = (unsigned)get_be(bytes.ptr + 4, 2);
    if (bytes.len != 8 + (size_t)count * 2 || (sign != 0 && sign != 0x4000))
        return false; /* NaN and infinities have other signs */
    Int128 value = 0;
    for (int i = 0; i <= weight || i < count; i++) {
        Int128 digit = i < count ? (Int128)get_be(bytes.ptr + 8 + 2 * i, 2) : 0;
        if (i > weight) {
            if (digit != 0)
                return false; /* a fraction */
            continue;
        }
        if (__builtin_mul_overflow(value, (Int128)10000, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret_value = sign == 0 ? value : -value;
    return true;
}

static Err fill_int(const Spot *spot, Bytes bytes, int64_t *ret_value)
{
    if (spot->type == TYPE_NUMERIC) {
        Int128 value;
        if (!numeric_whole(bytes, &value) || value > INT64_MAX || value < INT64_MIN)
            return mismatch(spot);
        *ret_value = (int64_t)value;
        return OK;
    }
    int width = int_width(spot->type);
    if (width == 0 || bytes.len != (size_t)width)
        return mismatch(spot);
    uint64_t raw = get_be(bytes.ptr, (size_t)width);
    unsigned shift = spot->type == TYPE_OID ? 0 : 64 - 8 * (unsigned)width;
    *ret_value = (int64_t)(raw << shift) >> shift;
    return OK;
}

static Err fill_money_sum(const Spot *spot, Bytes bytes, MoneySum *ret_sum)
{
    if (spot->type == TYPE_NUMERIC)
        return numeric_whole(bytes, &ret_sum->pico) ? OK : mismatch(spot);
    int64_t value;
    TRY(fill_int(spot, bytes, &value));
    ret_sum->pico = value;
    return OK;
}

static Err fill_time(const Spot *spot, Bytes bytes, Time *ret_time)
{
    int64_t since;
    if (spot->type == TYPE_DATE && bytes.len == 4) {
        if (__builtin_mul_overflow((int64_t)(int32_t)get_be(bytes.ptr, 4), US_PER_DAY, &since))
            return mismatch(spot);
    } else if (spot->type == TYPE_TIMESTAMPTZ && bytes.len == 8) {
        since = (int64_t)get_be(bytes.ptr, 8);
        if (since == INT64_MIN)
            return mismatch(spot);
    } else {
        return mismatch(spot);
    }
    /* Infinity is the largest number, and no point in time. */
    if (__builtin_add_overflow(since, PG_EPOCH_US, &ret_time->us))
        return mismatch(spot);
    return OK;
}

static void json_forget(void *value)
{
    json_decref(value);
}

/* The value belongs to the arena; Json members of what is decoded from it are borrowed. */
static Err fill_json(const Spot *spot, Bytes bytes, json_t **ret_value)
{
    if (spot->type == TYPE_JSONB && bytes.len > 0) {
        bytes.ptr++; /* the version of the binary form, 1 */
        bytes.len--;
    } else if (!is_text_type(spot->type)) {
        return mismatch(spot);
    }
    /* A bare string or number is a JSON value too; the parser takes documents, so it is parsed inside an array. */
    json_t *array = NULL;
    Str text = arena_fmt(spot->arena, "[" STR_FMT "]", STR_ARG(bytes_str(bytes)));
    if (json_parse(text, STORED_JSON, &array).kind != ERR_NONE)
        return FAIL_FMT(spot->arena, ERR_INTERNAL, "stored-json", "%s: the stored %s is not JSON within limits.",
            spot->statement, spot->field->name);
    arena_defer(spot->arena, json_forget, array);
    *ret_value = json_array_get(array, 0);
    return OK;
}

static Err fill_object(const Spot *spot, Bytes bytes, void *object)
{
    json_t *value = NULL;
    TRY(fill_json(spot, bytes, &value));
    return fields_decode(spot->arena, spot->field->table, value, DECODE_TRUST, object);
}

static Err fill_list(const Spot *spot, Bytes bytes, List *ret_list)
{
    json_t *array = NULL;
    TRY(fill_json(spot, bytes, &array));
    const FieldTable *table = spot->field->table;
    List list = { .count = json_array_size(array) };
    list.items = arena_alloc(spot->arena, list.count, table->size);
    for (size_t i = 0; i < list.count; i++)
        TRY(fields_decode(
            spot->arena, table, json_array_get(array, i), DECODE_TRUST, (char *)list.items + i * table->size));
    *ret_list = list;
    return OK;
}

static Err fill_element(const Spot *spot, const ArrayRow *row, Bytes bytes, void *item)
{
    const Spot inner = { spot->arena, spot->statement, spot->field, row->element };
    switch (row->kind) {
    case FIELD_STRS:
        *(Str *)item = arena_str(spot->arena, bytes_str(bytes));
        return OK;
    case FIELD_UUIDS:
        if (bytes.len != sizeof(Uuid))
            return mismatch(spot);
        memcpy(item, bytes.ptr, sizeof(Uuid));
        return OK;
    case FIELD_TIMES:
        return fill_time(&inner, bytes, item);
    case FIELD_BYTES_LIST:
        *(Bytes *)item = arena_bytes(spot->arena, bytes);
        return OK;
    case FIELD_BOOLS:
        *(bool *)item = bytes.len == 1 && bytes.ptr[0] != 0;
        return OK;
    default:
        return fill_int(&inner, bytes, item);
    }
}

static Err fill_array(const Spot *spot, Bytes bytes, AnyList *ret_list)
{
    const ArrayRow *row = array_row(spot->field->kind, spot->type);
    if (row == NULL || bytes.len < 12)
        return mismatch(spot);
    Reader reader = reader_of(bytes);
    uint32_t dimensions = read_u32(&reader);
    read_u32(&reader); /* whether there are nulls: the elements say so too */
    if (read_u32(&reader) != row->element || dimensions > 1)
        return mismatch(spot);
    AnyList list = { 0 };
    if (dimensions == 1) {
        list.count = read_u32(&reader);
        read_u32(&reader);
        if (list.count > bytes.len / 4)
            return mismatch(spot);
        list.items = arena_alloc(spot->arena, list.count, row->stride);
    }
    for (size_t i = 0; i < list.count; i++) {
        uint32_t length = read_u32(&reader);
        bool null = length == UINT32_MAX;
        Bytes element = null ? (Bytes){ 0 } : read_bytes(&reader, length);
        if (reader.failed || (null && (row->kind == FIELD_INTS || row->kind == FIELD_BOOLS)))
            return mismatch(spot);
        if (!null)
            TRY(fill_element(spot, row, element, (char *)list.items + i * row->stride));
    }
    *ret_list = list;
    return OK;
}

static Err fill_uuid(const Spot *spot, Bytes bytes, Uuid *ret_id)
{
    if (spot->type != TYPE_UUID || bytes.len != sizeof(ret_id->b))
        return mismatch(spot);
    memcpy(ret_id->b, bytes.ptr, sizeof(ret_id->b));
    return OK;
}

static Err fill_str(const Spot *spot, Bytes bytes, Str *ret_text)
{
    if (spot->type == TYPE_JSONB && bytes.len > 0)
        bytes = (Bytes){ .ptr = bytes.ptr + 1, .len = bytes.len - 1 };
    else if (!is_text_type(spot->type))
        return mismatch(spot);
    *ret_text = arena_str(spot->arena, bytes_str(bytes));
    return OK;
}

static size_t kind_size(const Field *field)
{
    static const size_t sizes[] = {
        [FIELD_STR] = sizeof(Str),
        [FIELD_BOOL] = sizeof(bool),
        [FIELD_INT] = sizeof(int64_t),
        [FIELD_MAYBE_INT] = sizeof(MaybeInt),
        [FIELD_UUID] = sizeof(Uuid),
        [FIELD_TIME] = sizeof(Time),
        [FIELD_BYTES] = sizeof(Bytes),
        [FIELD_JSON] = sizeof(Json),
        [FIELD_MONEY] = sizeof(Money),
        [FIELD_MONEY_SUM] = sizeof(MoneySum),
    };
    if (field->kind == FIELD_OBJECT)
        return field->table->size;
    return field->kind < COUNT_OF(sizes) && sizes[field->kind] > 0 ? sizes[field->kind] : sizeof(AnyList);
}

static Err fill_null(const Spot *spot, void *at)
{
    FieldKind kind = spot->field->kind;
    if (kind == FIELD_INT || kind == FIELD_BOOL || kind == FIELD_MONEY || kind == FIELD_MONEY_SUM)
        return FAIL_FMT(spot->arena, ERR_INTERNAL, "statement-mismatch",
            "%s: the column %s is null, which its field cannot say.", spot->statement, spot->field->name);
    memset(at, 0, kind_size(spot->field));
    return OK;
}

Err value_fill(
    Arena *arena, const char *statement, const Field *field, Oid type, const uint8_t *value, int length, void *record)
{
    const Spot spot = { arena, statement, field, type };
    void *at = (char *)record + field->offset;
    if (value == NULL)
        return fill_null(&spot, at);
    Bytes bytes = { .ptr = value, .len = (size_t)length };
    switch (field->kind) {
    case FIELD_STR:
        return fill_str(&spot, bytes, at);
    case FIELD_BOOL:
        if (type != TYPE_BOOL || bytes.len != 1)
            return mismatch(&spot);
        *(bool *)at = bytes.ptr[0] != 0;
        return OK;
    case FIELD_INT:
        return fill_int(&spot, bytes, at);
    case FIELD_MAYBE_INT:
        TRY(fill_int(&spot, bytes, &((MaybeInt *)at)->value));
        ((MaybeInt *)at)->set = true;
        return OK;
    case FIELD_MONEY:
        return fill_int(&spot, bytes, &((Money *)at)->pico);
    case FIELD_MONEY_SUM:
        return fill_money_sum(&spot, bytes, at);
    case FIELD_UUID:
        return fill_uuid(&spot, bytes, at);
    case FIELD_TIME:
        return fill_time(&spot, bytes, at);
    case FIELD_BYTES:
        if (type != TYPE_BYTEA)
            return mismatch(&spot);
        *(Bytes *)at = arena_bytes(arena, bytes);
        return OK;
    case FIELD_JSON:
        return fill_json(&spot, bytes, &((Json *)at)->value);
    case FIELD_OBJECT:
        return fill_object(&spot, bytes, at);
    case FIELD_LIST:
        return fill_list(&spot, bytes, at);
    default:
        return fill_array(&spot, bytes, at);
    }
}
