/* wire.c: the tables of a usage event, the reader that fills structs by them, and the digest over them. */
#include "wire.h"

#include "base/encode.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024 /* what others chose: names of models, ids of requests; refusing them would lose the event */
#define RAW_BASE64_MAX (USAGE_RAW_BYTES_MAX / 3 * 4 + 8)
#define METERS_MAX 64
#define DEPTH_MAX 16 /* of a value that is skipped */
#define PLACES_MAX 8

/* --- the tables: they are the format --- */

typedef enum Kind {
    KIND_TEXT,
    KIND_INT,
    KIND_MAYBE_INT,
    KIND_BOOL,
    KIND_ID,
    KIND_TIME,
    KIND_BASE64,
    KIND_LABELS,
    KIND_METERS,
    KIND_OBJECT,
    KIND_LIST,
} Kind;

typedef struct Shape Shape;

typedef struct Member {
    Str name;
    size_t offset;
    Kind kind;
    bool required, aside /* no part of the digest */;
    int64_t min, max; /* int: value (max 0: no limit above); text: bytes; list: items */
    Str prefix;       /* id */
    const Str *one_of;
    const Shape *shape; /* object, list */
} Member;

struct Shape {
    size_t size;
    const Member *members;
    size_t count;
};

#define MEMBER(T, member_name, member_kind, ...)                                                                       \
    {                                                                                                                  \
        .name = STR_INIT(#member_name), .offset = offsetof(T, member_name), .kind = (member_kind), __VA_ARGS__         \
    }
#define SHAPE(T, rows)                                                                                                 \
    {                                                                                                                  \
        .size = sizeof(T), .members = (rows), .count = COUNT_OF(rows)                                                  \
    }

static const Str event_outcomes[] = { STR_INIT("ok"), STR_INIT("failed"), STR_INIT("refused"), STR_INIT("client_gone"),
    STR_INIT("indeterminate"), { NULL, 0 } };
static const Str attempt_outcomes[] = { STR_INIT("ok"), STR_INIT("connect"), STR_INIT("connect-timeout"),
    STR_INIT("tls"), STR_INIT("first-byte-timeout"), STR_INIT("idle-timeout"), STR_INIT("total-timeout"),
    STR_INIT("reset"), STR_INIT("status-429"), STR_INIT("status-5xx"), STR_INIT("status-4xx"), STR_INIT("empty"),
    STR_INIT("malformed"), STR_INIT("cancelled"), STR_INIT("partial"), STR_INIT("indeterminate"), { NULL, 0 } };

static const Member unit_members[] = {
    MEMBER(WireUnit, model, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireUnit, meters, KIND_METERS, .max = METERS_MAX),
    MEMBER(WireUnit, usage_raw, KIND_BASE64, .max = RAW_BASE64_MAX),
    MEMBER(WireUnit, normaliser, KIND_MAYBE_INT, .max = 1000000),
    MEMBER(WireUnit, residual, KIND_INT, .min = INT64_MIN),
    MEMBER(WireUnit, stream, KIND_BOOL, .max = 0),
};
static const Shape unit_shape = SHAPE(WireUnit, unit_members);

static const Member timing_members[] = {
    MEMBER(WireTimings, queue_us, KIND_MAYBE_INT, .min = 0),
    MEMBER(WireTimings, connect_us, KIND_MAYBE_INT, .min = 0),
    MEMBER(WireTimings, first_byte_us, KIND_MAYBE_INT, .min = 0),
    MEMBER(WireTimings, total_us, KIND_MAYBE_INT, .min = 0),
};
static const Shape timing_shape = SHAPE(WireTimings, timing_members);

static const Member attempt_members[] = {
    MEMBER(WireAttempt, n, KIND_INT, .required = true, .min = 1, .max = INGEST_ATTEMPTS_MAX),
    MEMBER(WireAttempt, connection, KIND_ID, .prefix = STR_INIT("con")),
    MEMBER(WireAttempt, provider, KIND_TEXT, .required = true, .min = 1, .max = 64),
    MEMBER(WireAttempt, model_asked, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireAttempt, model_answered, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireAttempt, outcome, KIND_TEXT, .required = true, .max = 64, .one_of = attempt_outcomes),
    MEMBER(WireAttempt, status, KIND_MAYBE_INT, .max = 999),
    MEMBER(WireAttempt, secret, KIND_ID, .prefix = STR_INIT("sec")),
    MEMBER(WireAttempt, secret_version, KIND_MAYBE_INT, .max = INT32_MAX),
    MEMBER(WireAttempt, timings, KIND_OBJECT, .shape = &timing_shape),
    MEMBER(WireAttempt, provider_request_id, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireAttempt, lease, KIND_ID, .prefix = STR_INIT("lse")),
    MEMBER(WireAttempt, units, KIND_LIST, .max = INGEST_UNITS_MAX, .shape = &unit_shape),
};
static const Shape attempt_shape = SHAPE(WireAttempt, attempt_members);

static const Member data_members[] = {
    MEMBER(WireData, epoch, KIND_INT, .required = true, .min = 0),
    MEMBER(WireData, sequence, KIND_INT, .required = true, .min = 1, .max = INT64_MAX - 1),
    MEMBER(WireData, org, KIND_ID, .required = true, .prefix = STR_INIT("org")),
    MEMBER(WireData, project, KIND_ID, .required = true, .prefix = STR_INIT("prj")),
    MEMBER(WireData, workflow, KIND_ID, .prefix = STR_INIT("wfl")),
    MEMBER(WireData, revision, KIND_ID, .prefix = STR_INIT("rev")),
    MEMBER(WireData, client_key, KIND_ID, .prefix = STR_INIT("cky")),
    MEMBER(WireData, dialect, KIND_TEXT, .required = true, .min = 1, .max = 64),
    MEMBER(WireData, stream, KIND_BOOL, .max = 0),
    MEMBER(WireData, end_user, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireData, labels, KIND_LABELS, .max = INGEST_LABELS_MAX),
    MEMBER(WireData, correlation_id, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireData, trace_id, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireData, request_id, KIND_TEXT, .max = TEXT_MAX),
    MEMBER(WireData, outcome, KIND_TEXT, .required = true, .max = 64, .one_of = event_outcomes),
    MEMBER(WireData, status, KIND_MAYBE_INT, .max = 999),
    MEMBER(WireData, timings, KIND_OBJECT, .shape = &timing_shape),
    MEMBER(WireData, attempts, KIND_LIST, .max = INGEST_ATTEMPTS_MAX, .shape = &attempt_shape),
};
static const Shape data_shape = SHAPE(WireData, data_members);

static const Member event_members[] = {
    MEMBER(WireEvent, specversion, KIND_TEXT, .required = true, .max = 8),
    MEMBER(WireEvent, type, KIND_TEXT, .required = true, .max = 64),
    MEMBER(WireEvent, source, KIND_TEXT, .aside = true, .max = TEXT_MAX),
    MEMBER(WireEvent, id, KIND_ID, .required = true, .prefix = STR_INIT("evt")),
    MEMBER(WireEvent, time, KIND_TIME, .max = 0),
    MEMBER(WireEvent, datacontenttype, KIND_TEXT, .max = 64),
    MEMBER(WireEvent, data, KIND_OBJECT, .required = true, .shape = &data_shape),
};
static const Shape event_shape = SHAPE(WireEvent, event_members);

/* --- JSON, lexically: two failures are told apart, text that is no JSON and a value that is not wanted --- */

typedef struct In {
    Arena *arena;
    const char *at, *end;
    const Member *path[PLACES_MAX];
    size_t index[PLACES_MAX];
    size_t depth;
    bool broken;        /* no JSON: the whole batch is refused */
    const char *reason; /* the first value that is not wanted, and where */
    Str where;
} In;

static bool broken(In *in)
{
    in->broken = true;
    return false;
}

static Str where_now(const In *in, Str member)
{
    Str path = { 0 };
    for (size_t i = 0; i < in->depth; i++) {
        path = arena_fmt(in->arena, STR_FMT "/" STR_FMT, STR_ARG(path), STR_ARG(in->path[i]->name));
        if (in->path[i]->kind == KIND_LIST)
            path = arena_fmt(in->arena, STR_FMT "/%zu", STR_ARG(path), in->index[i]);
    }
    return member.ptr == NULL ? path : arena_fmt(in->arena, STR_FMT "/" STR_FMT, STR_ARG(path), STR_ARG(member));
}

/* Notes what is wrong with a member; reading goes on, to find where the item ends. */
static void unwanted(In *in, Str member, const char *reason)
{
    if (in->reason != NULL)
        return;
    in->reason = reason;
    in->where = where_now(in, str_first(member, 64));
}

static inline void skip_space(In *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\r' || *in->at == '\t'))
        in->at++;
}

static inline bool take(In *in, char c)
{
    skip_space(in);
    if (in->at >= in->end || *in->at != c)
        return false;
    in->at++;
    return true;
}

static inline char peek(In *in)
{
    skip_space(in);
    return in->at < in->end ? *in->at : '\0';
}

static bool hex4(In *in, uint32_t *ret_code)
{
    if (in->end - in->at < 4)
        return false;
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *in->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        code = code << 4 | digit;
    }
    *ret_code = code;
    return true;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* One escape behind its backslash. NUL and lone surrogates are no text that can be stored. */
static bool take_escape(In *in, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = in->at < in->end ? *in->at++ : '\0';
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found != NULL) {
        *(*out)++ = to[found - from];
        return true;
    }
    uint32_t code, low;
    if (c != 'u' || !hex4(in, &code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (in->end - in->at < 6 || *in->at++ != '\\' || *in->at++ != 'u' || !hex4(in, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = put_utf8(*out, code);
    return true;
}

/* A string; borrowed when it has no escapes. */
static bool take_string(In *in, Str *ret_text)
{
    if (!take(in, '"'))
        return broken(in);
    const char *start = in->at;
    while (in->at < in->end && *in->at != '"' && *in->at != '\\' && (unsigned char)*in->at >= 0x20)
        in->at++;
    if (in->at < in->end && *in->at == '"') {
        *ret_text = str_n(start, (size_t)(in->at++ - start));
        return true;
    }
    const char *close = start; /* what is unescaped is never longer */
    while (close < in->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= in->end)
        return broken(in);
    char *text = arena_alloc(in->arena, (size_t)(close - start) + 1, 1), *out = text;
    in->at = start;
    while (in->at < in->end && *in->at != '"') {
        unsigned char c = (unsigned char)*in->at++;
        if (c < 0x20 || (c == '\\' && !take_escape(in, &out)))
            return broken(in);
        if (c != '\\')
            *out++ = (char)c;
    }
    in->at++;
    *ret_text = str_n(text, (size_t)(out - text));
    return true;
}

static bool take_word(In *in, Str word)
{
    skip_space(in);
    if ((size_t)(in->end - in->at) < word.len || memcmp(in->at, word.ptr, word.len) != 0)
        return broken(in);
    in->at += word.len;
    return true;
}

/* Any number; *ret_whole: it is an integer of 64 bits. */
static bool take_number(In *in, int64_t *ret_value, bool *ret_whole)
{
    skip_space(in);
    const char *start = in->at;
    if (in->at < in->end && *in->at == '-')
        in->at++;
    const char *digits = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
        in->at++;
    if (in->at == digits || (*digits == '0' && in->at - digits > 1))
        return broken(in);
    Str whole = str_n(start, (size_t)(in->at - start));
    bool fraction = false;
    while (
        in->at < in->end && (strchr(".eE+-", *in->at) != NULL || (*in->at >= '0' && *in->at <= '9')) && *in->at != 0) {
        fraction = true;
        in->at++;
    }
    *ret_whole = !fraction && str_to_i64(whole, ret_value);
    return true;
}

/* Over any value, whatever it is. */
static bool skip_value(In *in, unsigned depth)
{
    if (depth > DEPTH_MAX)
        return broken(in);
    Str text;
    int64_t number;
    bool whole;
    char open = peek(in);
    switch (open) {
    case '"':
        return take_string(in, &text);
    case 't':
        return take_word(in, STR("true"));
    case 'f':
        return take_word(in, STR("false"));
    case 'n':
        return take_word(in, STR("null"));
    case '{':
    case '[':
        break;
    default:
        return take_number(in, &number, &whole);
    }
    in->at++;
    char close = open == '{' ? '}' : ']';
    if (take(in, close))
        return true;
    do {
        if (open == '{' && (!take_string(in, &text) || !(take(in, ':') || broken(in))))
            return false;
        if (!skip_value(in, depth + 1))
            return false;
    } while (take(in, ','));
    return take(in, close) || broken(in);
}

/* --- values by kind: false only when the text is broken --- */

static bool skip_unwanted(In *in, const Member *member, const char *reason)
{
    unwanted(in, member->name, reason);
    return skip_value(in, 0);
}

static bool read_text(In *in, const Member *member, Str *out)
{
    if (peek(in) != '"')
        return skip_unwanted(in, member, "must be a string");
    Str text;
    if (!take_string(in, &text))
        return false;
    if ((int64_t)text.len < member->min || (int64_t)text.len > member->max) {
        unwanted(in, member->name, "is too long or too short");
        return true;
    }
    *out = text;
    for (const Str *word = member->one_of; word != NULL; word++) {
        if (word->ptr == NULL)
            unwanted(in, member->name, "is none of the known words");
        if (word->ptr == NULL || str_eq(*word, text))
            break;
    }
    return true;
}

static bool read_int(In *in, const Member *member, int64_t *out, bool *ret_set)
{
    int64_t value = 0;
    bool whole = false;
    Str text;
    char c = peek(in);
    if (c == '"') { /* beyond 2^53 integers travel as strings */
        if (!take_string(in, &text))
            return false;
        whole = str_to_i64(text, &value);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        if (!take_number(in, &value, &whole))
            return false;
    } else {
        return skip_unwanted(in, member, "must be an integer");
    }
    if (!whole)
        unwanted(in, member->name, "must be an integer");
    else if (value < member->min || (member->max != 0 && value > member->max))
        unwanted(in, member->name, "is out of range");
    *out = value;
    *ret_set = true;
    return true;
}

static bool read_bool(In *in, const Member *member, bool *out)
{
    char c = peek(in);
    if (c != 't' && c != 'f')
        return skip_unwanted(in, member, "must be true or false");
    *out = c == 't';
    return take_word(in, *out ? STR("true") : STR("false"));
}

static bool read_id(In *in, const Member *member, Uuid *out)
{
    if (peek(in) != '"')
        return skip_unwanted(in, member, "must be an id");
    Str text;
    if (!take_string(in, &text))
        return false;
    if (typeid_parse(text, member->prefix, out).kind != ERR_NONE)
        unwanted(in, member->name, "is not an id of this kind");
    return true;
}

static bool read_time(In *in, const Member *member, Time *out)
{
    Str text = { 0 };
    Member as_text = *member;
    as_text.max = 40;
    if (!read_text(in, &as_text, &text))
        return false;
    if (text.ptr != NULL && time_parse(text, out).kind != ERR_NONE)
        unwanted(in, member->name, "must be an RFC 3339 time in UTC");
    return true;
}

static bool read_base64(In *in, const Member *member, Bytes *out)
{
    Str text = { 0 };
    if (!read_text(in, member, &text))
        return false;
    if (text.ptr != NULL && (base64_decode(in->arena, text, out).kind != ERR_NONE || out->len > USAGE_RAW_BYTES_MAX))
        unwanted(in, member->name, "must be base64 of at most 65536 bytes");
    return true;
}

static bool read_meters(In *in, const Member *member, WireMeters *out)
{
    if (peek(in) != '{')
        return skip_unwanted(in, member, "must be an object");
    in->at++;
    if (take(in, '}'))
        return true;
    size_t count = 0;
    do {
        Str name;
        Meter meter = METER_NONE;
        int64_t value = 0;
        bool set = false;
        if (!take_string(in, &name) || !(take(in, ':') || broken(in)))
            return false;
        const Member quantity = { .name = member->name, .kind = KIND_INT };
        if (!read_int(in, &quantity, &value, &set))
            return false;
        if (++count > METERS_MAX)
            unwanted(in, member->name, "has too many members");
        if (!meter_find(name, &meter))
            continue; /* the provider's bytes are kept, and they are what is billed */
        if ((out->present >> meter & 1) != 0)
            unwanted(in, member->name, "names a meter twice");
        out->present |= UINT32_C(1) << meter;
        out->quantity[meter] = value;
    } while (take(in, ','));
    return take(in, '}') || broken(in);
}

/* --- labels: read as pairs, written again sorted, so that equal labels are equal text --- */

typedef struct Label {
    Str name, value;
} Label;

static int by_name(const void *a, const void *b)
{
    return str_compare(((const Label *)a)->name, ((const Label *)b)->name);
}

void wire_quote(Buf *out, Str text)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\')
            buf_add_char(out, '\\');
        if (c < 0x20)
            buf_fmt(out, "\\u%04x", c);
        else
            buf_add_char(out, (char)c);
    }
    buf_add_char(out, '"');
}

static Str labels_text(Arena *arena, Label *labels, size_t count)
{
    qsort(labels, count, sizeof(Label), by_name);
    _cleanup_(buf_release) Buf out = buf_new(INGEST_LABELS_MAX * TEXT_MAX * 16);
    for (size_t i = 0; i < count; i++) {
        buf_add_char(&out, i == 0 ? '{' : ',');
        wire_quote(&out, labels[i].name);
        buf_add_char(&out, ':');
        wire_quote(&out, labels[i].value);
    }
    buf_add(&out, count == 0 ? STR("{}") : STR("}"));
    return arena_str(arena, buf_str(&out));
}

static bool read_labels(In *in, const Member *member, Str *out)
{
    if (peek(in) != '{')
        return skip_unwanted(in, member, "must be an object");
    in->at++;
    Label labels[INGEST_LABELS_MAX];
    size_t count = 0;
    if (!take(in, '}')) {
        do {
            Label label = { 0 };
            if (!take_string(in, &label.name) || !(take(in, ':') || broken(in)))
                return false;
            const Member value = { .name = member->name, .kind = KIND_TEXT, .max = TEXT_MAX };
            if (!read_text(in, &value, &label.value))
                return false;
            if (count == INGEST_LABELS_MAX || label.name.len > TEXT_MAX)
                unwanted(in, member->name, "has too many or too long members");
            else
                labels[count++] = label;
        } while (take(in, ','));
        if (!take(in, '}'))
            return broken(in);
    }
    *out = labels_text(in->arena, labels, count);
    for (size_t i = 1; i < count; i++)
        if (str_eq(labels[i - 1].name, labels[i].name))
            unwanted(in, member->name, "names a label twice");
    return true;
}

/* --- objects by their tables --- */

static bool read_object(In *in, const Shape *shape, char *out);

static bool read_list(In *in, const Member *member, List *out)
{
    if (peek(in) != '[')
        return skip_unwanted(in, member, "must be an array of objects");
    in->at++;
    if (take(in, ']'))
        return true;
    size_t room = 0, size = member->shape->size;
    in->path[in->depth++] = member;
    do {
        if (out->count == (size_t)member->max) {
            unwanted(in, (Str){ 0 }, "is one too many");
            if (!skip_value(in, 0))
                return false;
            continue;
        }
        if (out->count == room) {
            room = room == 0 ? 1 : room * 2;
            void *grown = arena_alloc(in->arena, room, size);
            if (out->count > 0)
                memcpy(grown, out->items, out->count * size);
            out->items = grown;
        }
        in->index[in->depth - 1] = out->count;
        if (!read_object(in, member->shape, (char *)out->items + out->count++ * size))
            return false;
    } while (take(in, ','));
    in->depth--;
    return take(in, ']') || broken(in);
}

static bool read_nested(In *in, const Member *member, char *out)
{
    in->path[in->depth++] = member;
    bool well = read_object(in, member->shape, out);
    in->depth--;
    return well;
}

static bool read_member(In *in, const Member *member, char *object)
{
    void *out = object + member->offset;
    bool set;
    if (peek(in) == 'n') {
        if (member->required)
            unwanted(in, member->name, "must not be null");
        return take_word(in, STR("null"));
    }
    switch (member->kind) {
    case KIND_TEXT:
        return read_text(in, member, out);
    case KIND_INT:
        return read_int(in, member, out, &set);
    case KIND_MAYBE_INT:
        return read_int(in, member, &((MaybeInt *)out)->value, &((MaybeInt *)out)->set);
    case KIND_BOOL:
        return read_bool(in, member, out);
    case KIND_ID:
        return read_id(in, member, out);
    case KIND_TIME:
        return read_time(in, member, out);
    case KIND_BASE64:
        return read_base64(in, member, out);
    case KIND_LABELS:
        return read_labels(in, member, out);
    case KIND_METERS:
        return read_meters(in, member, out);
    case KIND_OBJECT:
        return read_nested(in, member, out);
    case KIND_LIST:
        return read_list(in, member, out);
    }
    return broken(in);
}

/* The member of a name; senders keep the table's order, so the next one is tried first. */
static const Member *member_find(const Shape *shape, Str name, size_t *next)
{
    for (size_t i = 0; i < shape->count; i++) {
        size_t at = *next + i < shape->count ? *next + i : *next + i - shape->count;
        if (str_eq(shape->members[at].name, name)) {
            *next = at + 1 < shape->count ? at + 1 : 0;
            return &shape->members[at];
        }
    }
    return NULL;
}

static bool read_object(In *in, const Shape *shape, char *out)
{
    if (peek(in) != '{') {
        unwanted(in, (Str){ 0 }, "must be an object");
        return skip_value(in, 0);
    }
    in->at++;
    uint32_t seen = 0;
    size_t next = 0;
    if (!take(in, '}')) {
        do {
            Str name;
            if (!take_string(in, &name) || !(take(in, ':') || broken(in)))
                return false;
            const Member *member = member_find(shape, name, &next);
            uint32_t bit = member == NULL ? 0 : UINT32_C(1) << (member - shape->members);
            if (member == NULL || (seen & bit) != 0) {
                unwanted(in, name, member == NULL ? "is not a known member" : "stands twice");
                if (!skip_value(in, 0))
                    return false;
                continue;
            }
            seen |= bit;
            if (!read_member(in, member, out))
                return false;
        } while (take(in, ','));
        if (!take(in, '}'))
            return broken(in);
    }
    for (size_t i = 0; i < shape->count; i++)
        if (shape->members[i].required && (seen >> i & 1) == 0)
            unwanted(in, shape->members[i].name, "is required");
    return true;
}

/* --- the batch --- */

static Err batch_broken(void)
{
    return FAIL(ERR_INVALID, "json-malformed", "The body is not well-formed JSON.");
}

Err wire_batch_open(Arena *arena, Str body, WireBatch *ret_batch)
{
    if (!str_is_utf8(body))
        return FAIL(ERR_INVALID, "json-not-utf8", "The body is not UTF-8.");
    In in = { .arena = arena, .at = body.ptr, .end = body.ptr + body.len };
    if (!take(&in, '['))
        return FAIL(ERR_INVALID, "batch-not-a-list", "The body must be an array of CloudEvents.");
    *ret_batch = (WireBatch){ .arena = arena, .at = in.at, .end = in.end };
    return OK;
}

static const char *rule_broken(const WireEvent *event)
{
    if (!str_eq(event->specversion, STR("1.0")) || !str_eq(event->type, STR("reeve.usage.v1")))
        return "must be a CloudEvent 1.0 of type reeve.usage.v1";
    if (!uuid_is_v7(event->id))
        return "must have a version 7 id";
    const WireAttempt *attempts = event->data.attempts.items;
    for (size_t i = 0; i < event->data.attempts.count; i++)
        if (attempts[i].n != (int64_t)i + 1)
            return "must number its attempts 1, 2, 3 in order";
    return NULL;
}

/* The id of a refused item, for its verdict. */
static Str id_as_spelt(Str item)
{
    size_t at = 0;
    const char *found = memmem(item.ptr, item.len, "\"evt_", 5);
    if (found == NULL)
        return STR("");
    Str rest = str_skip(item, (size_t)(found + 1 - item.ptr));
    return str_find(rest, '"', &at) && at <= TYPEID_LEN_MAX ? str_first(rest, at) : STR("");
}

static bool batch_ends(WireBatch *batch, In *in)
{
    skip_space(in);
    if (in->at != in->end)
        batch->err = batch_broken();
    return false;
}

bool wire_batch_next(WireBatch *batch, Str *ret_text, WireEvent *ret_event, Err *ret_err)
{
    In in = { .arena = batch->arena, .at = batch->at, .end = batch->end };
    if (take(&in, ']'))
        return batch_ends(batch, &in);
    if (batch->started && !take(&in, ',')) {
        batch->err = batch_broken();
        return false;
    }
    skip_space(&in);
    const char *start = in.at;
    WireEvent event = { 0 };
    if (!read_object(&in, &event_shape, (char *)&event)) {
        batch->err = batch_broken();
        return false;
    }
    batch->started = true;
    batch->at = in.at;
    batch->count++;
    *ret_text = str_n(start, (size_t)(in.at - start));
    event.id_text = id_as_spelt(*ret_text);
    if (in.reason == NULL)
        in.reason = rule_broken(&event);
    *ret_event = event;
    *ret_err = in.reason == NULL ? OK
                                 : FAIL_FMT(batch->arena, ERR_INVALID, "malformed", STR_FMT "%s%s.", STR_ARG(in.where),
                                       in.where.len > 0 ? " " : "The event ", in.reason);
    return true;
}

/* --- the digest --- */

static void add_struct(Buf *out, const Shape *shape, const char *ptr);

static void add_bytes(Buf *out, const void *ptr, size_t len)
{
    buf_u32(out, ptr == NULL ? UINT32_MAX : (uint32_t)len); /* null is not the empty text */
    buf_add_bytes(out, ptr, len);
}

static void add_meters(Buf *out, const WireMeters *meters)
{
    buf_u32(out, meters->present);
    for (unsigned m = 1; m < METER_COUNT; m++)
        if ((meters->present >> m & 1) != 0)
            buf_u64(out, (uint64_t)meters->quantity[m]);
}

static void add_member(Buf *out, const Member *member, const char *ptr)
{
    const void *at = ptr + member->offset;
    switch (member->kind) {
    case KIND_TEXT:
    case KIND_LABELS:
        add_bytes(out, ((const Str *)at)->ptr, ((const Str *)at)->len);
        break;
    case KIND_BASE64:
        add_bytes(out, ((const Bytes *)at)->ptr, ((const Bytes *)at)->len);
        break;
    case KIND_BOOL:
        buf_add_char(out, *(const bool *)at ? 1 : 0);
        break;
    case KIND_INT:
    case KIND_TIME:
        buf_u64(out, (uint64_t) * (const int64_t *)at);
        break;
    case KIND_MAYBE_INT:
        buf_add_char(out, ((const MaybeInt *)at)->set ? 1 : 0);
        buf_u64(out, (uint64_t)((const MaybeInt *)at)->value);
        break;
    case KIND_ID:
        buf_add_bytes(out, at, sizeof(Uuid));
        break;
    case KIND_METERS:
        add_meters(out, at);
        break;
    case KIND_OBJECT:
        add_struct(out, member->shape, at);
        break;
    case KIND_LIST: {
        const List *list = at;
        buf_u32(out, (uint32_t)list->count);
        for (size_t i = 0; i < list->count; i++)
            add_struct(out, member->shape, (const char *)list->items + i * member->shape->size);
        break;
    }
    }
}

static void add_struct(Buf *out, const Shape *shape, const char *ptr)
{
    for (size_t i = 0; i < shape->count; i++)
        if (!shape->members[i].aside)
            add_member(out, &shape->members[i], ptr);
}

Digest wire_event_digest(Buf *scratch, const WireEvent *event)
{
    buf_clear(scratch);
    add_struct(scratch, &event_shape, (const char *)event);
    return digest_of(str_bytes(buf_str(scratch)));
}
