/* field.c: one verb per kind of field, each direction. See field.h. */
#include "base/field.h"

#include "base/encode.h"
#include "base/json.h"

#include <string.h>

#define FIELD_ERRS_MAX ((size_t)64)
#define JSON_SAFE_INT INT64_C(9007199254740992)

typedef struct Decoding {
    Arena *arena;
    DecodeMode mode;
    FieldErr errors[FIELD_ERRS_MAX];
    size_t count;
} Decoding;

const Field *field_find(const FieldTable *table, Str name)
{
    for (size_t i = 0; i < table->count; i++)
        if (str_eq(name, str_from_c(table->fields[i].name)))
            return &table->fields[i];
    return NULL;
}

static void note(Decoding *d, Str pointer, Str detail)
{
    if (d->count < FIELD_ERRS_MAX)
        d->errors[d->count++] = (FieldErr){ .pointer = pointer, .detail = detail };
}

#define NOTE(d, pointer, ...) note((d), (pointer), arena_fmt((d)->arena, __VA_ARGS__))

/* RFC 6901: "~" and "/" inside a name are escaped. */
static Str pointer_of(Decoding *d, Str parent, Str name)
{
    size_t at;
    Str out = name;
    if (str_find(name, '~', &at) || str_find(name, '/', &at)) {
        char *text = arena_alloc(d->arena, name.len * 2 + 1, 1);
        size_t len = 0;
        for (size_t i = 0; i < name.len; i++) {
            if (name.ptr[i] == '~' || name.ptr[i] == '/') {
                text[len++] = '~';
                text[len++] = name.ptr[i] == '~' ? '0' : '1';
            } else {
                text[len++] = name.ptr[i];
            }
        }
        out = str_n(text, len);
    }
    return arena_fmt(d->arena, STR_FMT "/" STR_FMT, STR_ARG(parent), STR_ARG(str_first(out, 128)));
}

static Str json_text(const json_t *value)
{
    return str_n(json_string_value(value), json_string_length(value));
}

/* The string of a value, or false with a note. */
static bool want_text(Decoding *d, Str pointer, const json_t *value, const char *what, Str *ret_text)
{
    if (!json_is_string(value)) {
        NOTE(d, pointer, "must be %s", what);
        return false;
    }
    *ret_text = json_text(value);
    return true;
}

static bool one_of(const char *const *allowed, Str text)
{
    for (; *allowed != NULL; allowed++)
        if (str_eq(text, str_from_c(*allowed)))
            return true;
    return false;
}

static void note_one_of(Decoding *d, Str pointer, const char *const *allowed)
{
    Str list = STR("");
    for (size_t i = 0; allowed[i] != NULL; i++)
        list = arena_fmt(d->arena, STR_FMT "%s%s", STR_ARG(list), i == 0 ? "" : ", ", allowed[i]);
    NOTE(d, pointer, "must be one of: " STR_FMT, STR_ARG(list));
}

static bool check_text(Decoding *d, Str pointer, const Field *field, Str text)
{
    int64_t max = field->max != 0 ? field->max : FIELD_STR_MAX;
    if ((int64_t)text.len < field->min || (int64_t)text.len > max)
        NOTE(d, pointer, "must be from %lld to %lld bytes long", (long long)field->min, (long long)max);
    else if (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)
        NOTE(d, pointer, "must not contain a NUL character");
    else if (field->name_like && !str_is_name(text))
        NOTE(d, pointer, "must be 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit");
    else if (field->one_of != NULL && !one_of(field->one_of, text))
        note_one_of(d, pointer, field->one_of);
    else
        return true;
    return false;
}

static void decode_str(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    Str text;
    if (want_text(d, pointer, value, "a string", &text) && check_text(d, pointer, field, text))
        *(Str *)out = arena_str(d->arena, text);
}

/* Checks that value is an array within the field's bounds. */
static bool want_array(Decoding *d, Str pointer, const Field *field, const json_t *value, const char *what)
{
    int64_t max = field->max != 0 ? field->max : FIELD_LIST_MAX, count = (int64_t)json_array_size(value);
    if (!json_is_array(value))
        NOTE(d, pointer, "must be an array of %s", what);
    else if (count < field->min || count > max)
        NOTE(d, pointer, "must have from %lld to %lld items", (long long)field->min, (long long)max);
    else
        return true;
    return false;
}

static Str pointer_at(Decoding *d, Str pointer, size_t index)
{
    return arena_fmt(d->arena, STR_FMT "/%zu", STR_ARG(pointer), index);
}

static void decode_strs(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    if (!want_array(d, pointer, field, value, "strings"))
        return;
    Strs list = { .items = NEW(d->arena, Str, json_array_size(value)), .count = json_array_size(value) };
    const Field item = { .one_of = field->one_of, .name_like = field->name_like };
    for (size_t i = 0; i < list.count; i++)
        decode_str(d, pointer_at(d, pointer, i), &item, json_array_get(value, i), &list.items[i]);
    *(Strs *)out = list;
}

static void decode_bool(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)field;
    if (json_is_boolean(value))
        *(bool *)out = json_is_true(value);
    else
        NOTE(d, pointer, "must be true or false");
}

/* Integers are JSON integers, or decimal strings beyond what a double holds exactly. */
static bool want_int(Decoding *d, Str pointer, const Field *field, const json_t *value, int64_t *ret_value)
{
    int64_t number = 0;
    if (json_is_integer(value))
        number = json_integer_value(value);
    else if (!json_is_string(value) || !str_to_i64(json_text(value), &number)) {
        NOTE(d, pointer, "must be an integer");
        return false;
    }
    int64_t max = field->min == 0 && field->max == 0 ? INT64_MAX : field->max;
    if (number < field->min || number > max) {
        NOTE(d, pointer, "must be from %lld to %lld", (long long)field->min, (long long)max);
        return false;
    }
    *ret_value = number;
    return true;
}

static void decode_int(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    int64_t number;
    if (want_int(d, pointer, field, value, &number))
        *(int64_t *)out = number;
}

static void decode_maybe_int(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    int64_t number;
    if (want_int(d, pointer, field, value, &number))
        *(MaybeInt *)out = (MaybeInt){ .value = number, .set = true };
}

static void decode_uuid(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    Str text;
    Uuid id;
    if (!want_text(d, pointer, value, "an id", &text))
        return;
    Err err = field->prefix != NULL ? typeid_parse(text, str_from_c(field->prefix), &id) : uuid_parse(text, &id);
    if (err.kind == ERR_NONE)
        *(Uuid *)out = id;
    else if (field->prefix != NULL)
        NOTE(d, pointer, "must be an id that begins with %s_", field->prefix);
    else
        note(d, pointer, err.detail);
}

static void decode_uuids(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    if (!want_array(d, pointer, field, value, "ids"))
        return;
    Uuids list = { .items = NEW(d->arena, Uuid, json_array_size(value)), .count = json_array_size(value) };
    for (size_t i = 0; i < list.count; i++)
        decode_uuid(d, pointer_at(d, pointer, i), field, json_array_get(value, i), &list.items[i]);
    *(Uuids *)out = list;
}

static void decode_time(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)field;
    Str text;
    Time time;
    if (!want_text(d, pointer, value, "an RFC 3339 time in UTC", &text))
        return;
    Err err = time_parse(text, &time);
    if (err.kind == ERR_NONE)
        *(Time *)out = time;
    else
        note(d, pointer, err.detail);
}

static void decode_bytes(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    Str text;
    Bytes bytes;
    if (!want_text(d, pointer, value, "base64url text", &text))
        return;
    int64_t max = field->max != 0 ? field->max : FIELD_STR_MAX;
    Err err = base64url_decode(d->arena, text, &bytes);
    if (err.kind != ERR_NONE)
        note(d, pointer, err.detail);
    else if ((int64_t)bytes.len < field->min || (int64_t)bytes.len > max)
        NOTE(d, pointer, "must be from %lld to %lld octets", (long long)field->min, (long long)max);
    else
        *(Bytes *)out = bytes;
}

static void decode_json(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)d, (void)pointer, (void)field;
    ((Json *)out)->value = value;
}

static void decode_money(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)field;
    Str text;
    Money money;
    if (!want_text(d, pointer, value, "a decimal string of dollars", &text))
        return;
    Err err = money_parse(text, &money);
    if (err.kind == ERR_NONE)
        *(Money *)out = money;
    else
        note(d, pointer, err.detail);
}

static void decode_money_sum(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)field;
    Str text;
    MoneySum sum;
    if (!want_text(d, pointer, value, "a decimal string of dollars", &text))
        return;
    Err err = money_sum_parse(text, &sum);
    if (err.kind == ERR_NONE)
        *(MoneySum *)out = sum;
    else
        note(d, pointer, err.detail);
}

static void decode_struct(Decoding *d, Str pointer, const FieldTable *table, json_t *object, void *out);

static void decode_object(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    decode_struct(d, pointer, field->table, value, out);
}

static void decode_list(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    if (!want_array(d, pointer, field, value, "objects"))
        return;
    List list = { .count = json_array_size(value) };
    list.items = arena_alloc(d->arena, list.count, field->table->size);
    /* Items of a merge patch are whole: RFC 7396 replaces arrays. */
    DecodeMode mode = d->mode;
    d->mode = mode == DECODE_PATCH ? DECODE_BODY : mode;
    for (size_t i = 0; i < list.count; i++)
        decode_struct(d, pointer_at(d, pointer, i), field->table, json_array_get(value, i),
            (char *)list.items + i * field->table->size);
    d->mode = mode;
    *(List *)out = list;
}

static void decode_never(Decoding *d, Str pointer, const Field *field, json_t *value, void *out)
{
    (void)field, (void)value, (void)out;
    NOTE(d, pointer, "cannot be given as JSON");
}

/* Encoders: a new JSON value, or NULL for null. */
static json_t *encode_str(const Field *field, const void *ptr)
{
    (void)field;
    const Str *s = ptr;
    return s->ptr == NULL ? NULL : json_from_str(*s);
}

static json_t *encode_strs(const Field *field, const void *ptr)
{
    (void)field;
    const Strs *list = ptr;
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_from_str(list->items[i]));
    return array;
}

static json_t *encode_bool(const Field *field, const void *ptr)
{
    (void)field;
    return json_boolean(*(const bool *)ptr);
}

static json_t *encode_i64(int64_t value)
{
    if (value <= JSON_SAFE_INT && value >= -JSON_SAFE_INT)
        return json_integer(value);
    return json_sprintf("%lld", (long long)value);
}

static json_t *encode_int(const Field *field, const void *ptr)
{
    (void)field;
    return encode_i64(*(const int64_t *)ptr);
}

static json_t *encode_maybe_int(const Field *field, const void *ptr)
{
    (void)field;
    const MaybeInt *maybe = ptr;
    return maybe->set ? encode_i64(maybe->value) : NULL;
}

static json_t *text_json(Arena *arena, Str text)
{
    json_t *value = json_from_str(text);
    arena_free(&arena);
    return value;
}

static json_t *encode_one_uuid(const Field *field, Uuid id)
{
    if (uuid_is_zero(id))
        return NULL;
    Arena *arena = arena_new();
    return text_json(
        arena, field->prefix != NULL ? typeid_format(arena, str_from_c(field->prefix), id) : uuid_format(arena, id));
}

static json_t *encode_uuid(const Field *field, const void *ptr)
{
    return encode_one_uuid(field, *(const Uuid *)ptr);
}

static json_t *encode_uuids(const Field *field, const void *ptr)
{
    const Uuids *list = ptr;
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        json_t *id = encode_one_uuid(field, list->items[i]);
        json_array_append_new(array, id != NULL ? id : json_null());
    }
    return array;
}

static json_t *encode_time(const Field *field, const void *ptr)
{
    (void)field;
    const Time *time = ptr;
    if (time_is_none(*time))
        return NULL;
    Arena *arena = arena_new();
    return text_json(arena, time_format(arena, *time));
}

static json_t *encode_bytes(const Field *field, const void *ptr)
{
    (void)field;
    const Bytes *bytes = ptr;
    if (bytes->ptr == NULL)
        return NULL;
    Arena *arena = arena_new();
    return text_json(arena, base64url_encode(arena, *bytes));
}

static json_t *encode_json(const Field *field, const void *ptr)
{
    (void)field;
    const Json *json = ptr;
    return json->value == NULL ? NULL : json_incref(json->value);
}

static json_t *encode_money(const Field *field, const void *ptr)
{
    (void)field;
    Arena *arena = arena_new();
    return text_json(arena, money_format(arena, *(const Money *)ptr));
}

static json_t *encode_money_sum(const Field *field, const void *ptr)
{
    (void)field;
    MoneySum sum;
    memcpy(&sum, ptr, sizeof(sum));
    Arena *arena = arena_new();
    return text_json(arena, money_sum_format(arena, sum));
}

static json_t *encode_object(const Field *field, const void *ptr)
{
    return fields_encode(NULL, field->table, ptr);
}

static json_t *encode_list(const Field *field, const void *ptr)
{
    const List *list = ptr;
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(
            array, fields_encode(NULL, field->table, (const char *)list->items + i * field->table->size));
    return array;
}

static json_t *encode_ints(const Field *field, const void *ptr)
{
    (void)field;
    const Ints *list = ptr;
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, encode_i64(list->items[i]));
    return array;
}

static json_t *encode_never(const Field *field, const void *ptr)
{
    (void)field, (void)ptr;
    return NULL;
}

typedef struct FieldVerbs {
    void (*decode)(Decoding *d, Str pointer, const Field *field, json_t *value, void *out);
    json_t *(*encode)(const Field *field, const void *ptr);
    size_t size;
} FieldVerbs;

static const FieldVerbs VERBS[] = {
    [FIELD_STR] = { decode_str, encode_str, sizeof(Str) },
    [FIELD_STRS] = { decode_strs, encode_strs, sizeof(Strs) },
    [FIELD_BOOL] = { decode_bool, encode_bool, sizeof(bool) },
    [FIELD_INT] = { decode_int, encode_int, sizeof(int64_t) },
    [FIELD_MAYBE_INT] = { decode_maybe_int, encode_maybe_int, sizeof(MaybeInt) },
    [FIELD_UUID] = { decode_uuid, encode_uuid, sizeof(Uuid) },
    [FIELD_UUIDS] = { decode_uuids, encode_uuids, sizeof(Uuids) },
    [FIELD_TIME] = { decode_time, encode_time, sizeof(Time) },
    [FIELD_BYTES] = { decode_bytes, encode_bytes, sizeof(Bytes) },
    [FIELD_JSON] = { decode_json, encode_json, sizeof(Json) },
    [FIELD_MONEY] = { decode_money, encode_money, sizeof(Money) },
    [FIELD_MONEY_SUM] = { decode_money_sum, encode_money_sum, sizeof(MoneySum) },
    [FIELD_OBJECT] = { decode_object, encode_object, 0 },
    [FIELD_LIST] = { decode_list, encode_list, sizeof(List) },
    [FIELD_INTS] = { decode_never, encode_ints, sizeof(Ints) },
    [FIELD_TIMES] = { decode_never, encode_never, sizeof(Times) },
    [FIELD_BYTES_LIST] = { decode_never, encode_never, sizeof(BytesList) },
    [FIELD_BOOLS] = { decode_never, encode_never, sizeof(Bools) },
};

/* A null: clears what may be absent. */
static void decode_null(Decoding *d, Str pointer, const Field *field, void *out)
{
    if (field->required)
        NOTE(d, pointer, "must not be null");
    else
        memset(out, 0, field->kind == FIELD_OBJECT ? field->table->size : VERBS[field->kind].size);
}

static void decode_member(Decoding *d, Str parent, const FieldTable *table, Str name, json_t *value, void *out)
{
    const Field *field = field_find(table, name);
    Str pointer = pointer_of(d, parent, name);
    if (field == NULL || field->internal) {
        if (d->mode != DECODE_TRUST)
            NOTE(d, pointer, "is not a known member");
        return;
    }
    if (field->read_only && (d->mode == DECODE_BODY || d->mode == DECODE_PATCH)) {
        NOTE(d, pointer, "is set by the server");
        return;
    }
    void *member = (char *)out + field->offset;
    if (json_is_null(value) && field->kind != FIELD_JSON)
        decode_null(d, pointer, field, member);
    else
        VERBS[field->kind].decode(d, pointer, field, value, member);
}

static void decode_struct(Decoding *d, Str pointer, const FieldTable *table, json_t *object, void *out)
{
    if (!json_is_object(object)) {
        NOTE(d, pointer, "must be an object");
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        const Field *field = &table->fields[i];
        bool needed = field->required && !field->internal && d->mode != DECODE_PATCH &&
                      !(field->read_only && d->mode == DECODE_BODY);
        if (needed && json_object_get(object, field->name) == NULL)
            NOTE(d, pointer_of(d, pointer, str_from_c(field->name)), "is required");
    }
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) decode_member(d, pointer, table, str_from_c(key), value, out);
}

Err fields_decode(Arena *arena, const FieldTable *table, json_t *object, DecodeMode mode, void *ret_struct)
{
    Decoding d = { .arena = arena, .mode = mode };
    /* Into a copy: what was there stays whole when anything is wrong. */
    void *copy = arena_alloc(arena, 1, table->size);
    memcpy(copy, ret_struct, table->size);
    decode_struct(&d, (Str){ 0 }, table, object, copy);
    if (d.count == 0) {
        memcpy(ret_struct, copy, table->size);
        return OK;
    }
    Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
    err.fields = (FieldErrs){ .items = NEW(arena, FieldErr, d.count), .count = d.count };
    memcpy(err.fields.items, d.errors, d.count * sizeof(FieldErr));
    return err;
}

json_t *fields_encode(Arena *arena, const FieldTable *table, const void *ptr)
{
    (void)arena;
    json_t *object = json_object();
    for (size_t i = 0; i < table->count; i++) {
        const Field *field = &table->fields[i];
        if (field->internal || field->write_only)
            continue;
        json_t *value = VERBS[field->kind].encode(field, (const char *)ptr + field->offset);
        if (value != NULL)
            json_object_set_new(object, field->name, value);
        else if (!field->omit_null)
            json_object_set_new(object, field->name, json_null());
    }
    return object;
}
