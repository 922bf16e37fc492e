/*
 * message.c: the tables of all messages and the one codec that reads and writes them.
 */
#include "keeper/receipt.h"

#include <string.h>

typedef enum WireKind {
    WIRE_INT,
    WIRE_BOOL,
    WIRE_TIME,
    WIRE_UUID,
    WIRE_DIGEST,
    WIRE_STR,
    WIRE_BYTES,
    WIRE_STRS,
    WIRE_UUIDS,
    WIRE_BYTES_LIST,
    WIRE_SHARDS, /* exactly MANIFEST_SHARDS digests */
    WIRE_KIND_COUNT,
} WireKind;

typedef struct WireField {
    const char *name;
    size_t offset;
    WireKind kind;
    size_t max;      /* of a text or bytes: octets */
    size_t list_max; /* of a list: items */
} WireField;

struct WireTable {
    const WireField *fields;
    size_t count;
    size_t size;
};

#define WIRE_KIND(expression)                                                                                          \
    _Generic((expression),                                                                                             \
        int64_t: WIRE_INT,                                                                                             \
        bool: WIRE_BOOL,                                                                                               \
        Time: WIRE_TIME,                                                                                               \
        Uuid: WIRE_UUID,                                                                                               \
        Digest: WIRE_DIGEST,                                                                                           \
        Str: WIRE_STR,                                                                                                 \
        Bytes: WIRE_BYTES,                                                                                             \
        Strs: WIRE_STRS,                                                                                               \
        Uuids: WIRE_UUIDS,                                                                                             \
        BytesList: WIRE_BYTES_LIST,                                                                                    \
        const Digest *: WIRE_SHARDS)
#define WIRE(Type, member, octets, items)                                                                              \
    {                                                                                                                  \
#member, offsetof(Type, member), WIRE_KIND(((Type *)0)->member), octets, items                                 \
    }
#define FIXED(Type, member) WIRE(Type, member, 0, 0)
#define TABLE(Type, rows)                                                                                              \
    {                                                                                                                  \
        .fields = (rows), .count = COUNT_OF(rows), .size = sizeof(Type)                                                \
    }
#define PROJECT_KEY(Type, member)                                                                                      \
    FIXED(Type, member.version), WIRE(Type, member.kms_uri, KMS_URI_BYTES_MAX, 0),                                     \
        WIRE(Type, member.wrapped, WRAPPED_BYTES_MAX, 0)
#define FLEET_KEY(Type, member)                                                                                        \
    FIXED(Type, member.generation), WIRE(Type, member.kms_uri, KMS_URI_BYTES_MAX, 0),                                  \
        WIRE(Type, member.wrapped, WRAPPED_BYTES_MAX, 0)
#define SECRET_REF(Type)                                                                                               \
    FIXED(Type, ref.org), FIXED(Type, ref.project), FIXED(Type, ref.secret), FIXED(Type, ref.version),                 \
        WIRE(Type, ref.origin, ORIGIN_MAX, 0)

#define ORIGIN_MAX 512
#define ENVELOPE_MAX 8192
#define STATEMENT_MAX (32 * 1024)
#define JWE_MAX 16384
#define TEXT_MAX (96 * 1024)
#define RECEIPT_MAX 1536
#define URIS_MAX 64

/* --- tables --- */

static const WireTable empty_table = { .fields = NULL, .count = 0, .size = sizeof(Empty) };

static const WireField hello_fields[] = {
    FIXED(Hello, installation),
    FIXED(Hello, boot),
    FIXED(Hello, root_version),
    FIXED(Hello, root_hash),
    WIRE(Hello, kms_uris, KMS_URI_BYTES_MAX, URIS_MAX),
    WIRE(Hello, intake_jwk, 512, 0),
    FIXED(Hello, clock),
    WIRE(Hello, warnings, 512, URIS_MAX),
};
static const WireTable hello_table = TABLE(Hello, hello_fields);

static const WireField project_key_new_fields[] = {
    FIXED(ProjectKeyNew, org),
    FIXED(ProjectKeyNew, project),
    FIXED(ProjectKeyNew, version),
    WIRE(ProjectKeyNew, kms_uri, KMS_URI_BYTES_MAX, 0),
};
static const WireTable project_key_new_table = TABLE(ProjectKeyNew, project_key_new_fields);

static const WireField fleet_key_new_fields[] = {
    FIXED(FleetKeyNew, fleet),
    FIXED(FleetKeyNew, generation),
    WIRE(FleetKeyNew, kms_uri, KMS_URI_BYTES_MAX, 0),
    WIRE(FleetKeyNew, statement, 2 * STATEMENT_MAX, 0),
};
static const WireTable fleet_key_new_table = TABLE(FleetKeyNew, fleet_key_new_fields);

static const WireField secret_intake_fields[] = {
    SECRET_REF(SecretIntake),
    PROJECT_KEY(SecretIntake, key),
    WIRE(SecretIntake, jwe, JWE_MAX, 0),
    WIRE(SecretIntake, plain, PROVIDER_KEY_BYTES_MAX, 0),
};
static const WireTable secret_intake_table = TABLE(SecretIntake, secret_intake_fields);

static const WireField secret_taken_fields[] = {
    WIRE(SecretTaken, envelope, ENVELOPE_MAX, 0),
    WIRE(SecretTaken, hint, 16, 0),
};
static const WireTable secret_taken_table = TABLE(SecretTaken, secret_taken_fields);

static const WireField secret_reseal_fields[] = {
    SECRET_REF(SecretReseal),
    WIRE(SecretReseal, envelope, ENVELOPE_MAX, 0),
    PROJECT_KEY(SecretReseal, from),
    PROJECT_KEY(SecretReseal, to),
};
static const WireTable secret_reseal_table = TABLE(SecretReseal, secret_reseal_fields);

static const WireField secret_seal_fleet_fields[] = {
    SECRET_REF(SecretSealFleet),
    WIRE(SecretSealFleet, envelope, ENVELOPE_MAX, 0),
    PROJECT_KEY(SecretSealFleet, key),
    FIXED(SecretSealFleet, fleet),
    FLEET_KEY(SecretSealFleet, fleet_key),
    FIXED(SecretSealFleet, not_after),
};
static const WireTable secret_seal_fleet_table = TABLE(SecretSealFleet, secret_seal_fleet_fields);

static const WireField keyring_ask_fields[] = {
    FIXED(KeyringAsk, fleet),
    FLEET_KEY(KeyringAsk, fleet_key),
    WIRE(KeyringAsk, cert, STATEMENT_MAX, 0),
    WIRE(KeyringAsk, request, STATEMENT_MAX, 0),
};
static const WireTable keyring_ask_table = TABLE(KeyringAsk, keyring_ask_fields);

static const WireField keyring_given_fields[] = {
    FIXED(KeyringGiven, data_plane),
    WIRE(KeyringGiven, keyring, TEXT_MAX, 0),
};
static const WireTable keyring_given_table = TABLE(KeyringGiven, keyring_given_fields);

static const WireField rewrap_fields[] = {
    FIXED(Rewrap, org),
    FIXED(Rewrap, project),
    FIXED(Rewrap, fleet),
    FIXED(Rewrap, version),
    WIRE(Rewrap, kms_uri, KMS_URI_BYTES_MAX, 0),
    WIRE(Rewrap, wrapped, WRAPPED_BYTES_MAX, 0),
    WIRE(Rewrap, to_kms_uri, KMS_URI_BYTES_MAX, 0),
};
static const WireTable rewrap_table = TABLE(Rewrap, rewrap_fields);

static const WireField manifest_fields[] = {
    FIXED(Manifest, fleet),
    FIXED(Manifest, seq),
    FIXED(Manifest, has_prev),
    FIXED(Manifest, prev),
    FIXED(Manifest, generation),
    WIRE(Manifest, revoked, 0, MANIFEST_REVOKED_MAX),
    FIXED(Manifest, max_stale_s),
    FIXED(Manifest, hard_expiry),
    FIXED(Manifest, shards),
    WIRE(Manifest, checkpoint.origin, 256, 0),
    FIXED(Manifest, checkpoint.size),
    FIXED(Manifest, checkpoint.root),
    FIXED(Manifest, min_client),
};
static const WireTable manifest_table = TABLE(Manifest, manifest_fields);

static const WireField heartbeat_fields[] = {
    FIXED(Heartbeat, fleet),
    FIXED(Heartbeat, seq),
    FIXED(Heartbeat, manifest),
    FIXED(Heartbeat, now),
    FIXED(Heartbeat, expires),
};
static const WireTable heartbeat_table = TABLE(Heartbeat, heartbeat_fields);

static const WireField checkpoint_ask_fields[] = {
    WIRE(CheckpointAsk, origin, 256, 0),
    FIXED(CheckpointAsk, size),
    FIXED(CheckpointAsk, root),
};
static const WireTable checkpoint_ask_table = TABLE(CheckpointAsk, checkpoint_ask_fields);

static const WireField receipts_ask_fields[] = { FIXED(ReceiptsAsk, after) };
static const WireTable receipts_ask_table = TABLE(ReceiptsAsk, receipts_ask_fields);

static const WireField receipts_fields[] = {
    FIXED(Receipts, boot),
    FIXED(Receipts, count),
    FIXED(Receipts, head),
    WIRE(Receipts, items, RECEIPT_MAX, RECEIPTS_PAGE_MAX),
    WIRE(Receipts, signed_head, 2048, 0),
};
static const WireTable receipts_table = TABLE(Receipts, receipts_fields);

static const WireField receipt_fields[] = {
    FIXED(Receipt, boot),
    FIXED(Receipt, number),
    FIXED(Receipt, position),
    FIXED(Receipt, at),
    FIXED(Receipt, operation),
    FIXED(Receipt, outcome),
    FIXED(Receipt, peer_uid),
    FIXED(Receipt, org),
    FIXED(Receipt, project),
    FIXED(Receipt, secret),
    FIXED(Receipt, version),
    FIXED(Receipt, fleet),
    FIXED(Receipt, generation),
    FIXED(Receipt, data_plane),
    FIXED(Receipt, subject),
    FIXED(Receipt, keys),
    FIXED(Receipt, prev),
};
static const WireTable receipt_table = TABLE(Receipt, receipt_fields);

static const WireField wrapped_fields[] = { WIRE(WrappedReply, wrapped, WRAPPED_BYTES_MAX, 0) };
static const WireTable wrapped_table = TABLE(WrappedReply, wrapped_fields);
static const WireField envelope_fields[] = { WIRE(EnvelopeReply, envelope, ENVELOPE_MAX, 0) };
static const WireTable envelope_table = TABLE(EnvelopeReply, envelope_fields);
static const WireField text_fields[] = { WIRE(TextReply, text, TEXT_MAX, 0) };
static const WireTable text_table = TABLE(TextReply, text_fields);

static const MessageKind kinds[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_HELLO] = { "hello", &empty_table, &hello_table },
    [MESSAGE_PROJECT_KEY_NEW] = { "project-key-new", &project_key_new_table, &wrapped_table },
    [MESSAGE_FLEET_KEY_NEW] = { "fleet-key-new", &fleet_key_new_table, &wrapped_table },
    [MESSAGE_SECRET_INTAKE] = { "secret-intake", &secret_intake_table, &secret_taken_table },
    [MESSAGE_SECRET_RESEAL] = { "secret-reseal", &secret_reseal_table, &envelope_table },
    [MESSAGE_SECRET_SEAL_FLEET] = { "secret-seal-fleet", &secret_seal_fleet_table, &text_table },
    [MESSAGE_KEYRING] = { "keyring", &keyring_ask_table, &keyring_given_table },
    [MESSAGE_REWRAP] = { "rewrap", &rewrap_table, &wrapped_table },
    [MESSAGE_SIGN_MANIFEST] = { "sign-manifest", &manifest_table, &text_table },
    [MESSAGE_SIGN_HEARTBEAT] = { "sign-heartbeat", &heartbeat_table, &text_table },
    [MESSAGE_SIGN_CHECKPOINT] = { "sign-checkpoint", &checkpoint_ask_table, &text_table },
    [MESSAGE_RECEIPTS] = { "receipts", &receipts_ask_table, &receipts_table },
};

const MessageKind *message_kind(unsigned type)
{
    return type == MESSAGE_NONE || type >= MESSAGE_TYPE_COUNT ? NULL : &kinds[type];
}

/* --- verbs of the kinds --- */

typedef struct Decoding {
    Arena *arena;
    Reader reader;
    bool over_limit;
} Decoding;

static Bytes read_blob(Decoding *d, size_t max)
{
    uint32_t len = read_u32(&d->reader);
    if (len > max)
        d->over_limit = true;
    return d->over_limit ? (Bytes){ 0 } : read_bytes(&d->reader, len);
}

/* The number of items, 0 when it is over the limit or cannot fit in what is left. */
static size_t read_count(Decoding *d, size_t max, size_t item_bytes_min)
{
    uint32_t count = read_u32(&d->reader);
    if (count > max || (size_t)count * item_bytes_min > d->reader.len)
        d->over_limit = true;
    return d->over_limit ? 0 : count;
}

static void write_blob(Buf *out, const void *ptr, size_t len)
{
    buf_u32(out, (uint32_t)len);
    buf_add_bytes(out, ptr, len);
}

static void read_int(Decoding *d, const WireField *f __attribute__((unused)), void *at)
{
    *(int64_t *)at = (int64_t)read_u64(&d->reader);
}

static bool write_int(Buf *out, const WireField *f __attribute__((unused)), const void *at)
{
    buf_u64(out, (uint64_t) * (const int64_t *)at);
    return true;
}

static void read_bool(Decoding *d, const WireField *f __attribute__((unused)), void *at)
{
    uint8_t value = read_u8(&d->reader);
    if (value > 1)
        d->over_limit = true;
    *(bool *)at = value == 1;
}

static bool write_bool(Buf *out, const WireField *f __attribute__((unused)), const void *at)
{
    buf_add_char(out, *(const bool *)at ? 1 : 0);
    return true;
}

static void read_fixed(Decoding *d, void *at, size_t len)
{
    Bytes bytes = read_bytes(&d->reader, len);
    if (bytes.len == len)
        memcpy(at, bytes.ptr, len);
}

static void read_uuid(Decoding *d, const WireField *f __attribute__((unused)), void *at)
{
    read_fixed(d, at, sizeof(Uuid));
}

static bool write_uuid(Buf *out, const WireField *f __attribute__((unused)), const void *at)
{
    buf_add_bytes(out, at, sizeof(Uuid));
    return true;
}

static void read_digest(Decoding *d, const WireField *f __attribute__((unused)), void *at)
{
    read_fixed(d, at, sizeof(Digest));
}

static bool write_digest(Buf *out, const WireField *f __attribute__((unused)), const void *at)
{
    buf_add_bytes(out, at, sizeof(Digest));
    return true;
}

static void read_text(Decoding *d, const WireField *f, void *at)
{
    *(Str *)at = bytes_str(read_blob(d, f->max));
    if (!str_is_utf8(*(Str *)at))
        d->over_limit = true;
}

static bool write_text(Buf *out, const WireField *f, const void *at)
{
    const Str *text = at;
    write_blob(out, text->ptr, text->len);
    return text->len <= f->max;
}

static void read_octets(Decoding *d, const WireField *f, void *at)
{
    *(Bytes *)at = read_blob(d, f->max);
}

static bool write_octets(Buf *out, const WireField *f, const void *at)
{
    const Bytes *bytes = at;
    write_blob(out, bytes->ptr, bytes->len);
    return bytes->len <= f->max;
}

static void read_texts(Decoding *d, const WireField *f, void *at)
{
    Strs *list = at;
    list->count = read_count(d, f->list_max, 4);
    list->items = NEW(d->arena, Str, list->count);
    for (size_t i = 0; i < list->count; i++)
        read_text(d, f, &list->items[i]);
}

static bool write_texts(Buf *out, const WireField *f, const void *at)
{
    const Strs *list = at;
    bool fits = list->count <= f->list_max;
    buf_u32(out, (uint32_t)list->count);
    for (size_t i = 0; fits && i < list->count; i++)
        fits = write_text(out, f, &list->items[i]);
    return fits;
}

static void read_uuids(Decoding *d, const WireField *f, void *at)
{
    Uuids *list = at;
    list->count = read_count(d, f->list_max, sizeof(Uuid));
    list->items = NEW(d->arena, Uuid, list->count);
    for (size_t i = 0; i < list->count; i++)
        read_fixed(d, &list->items[i], sizeof(Uuid));
}

static bool write_uuids(Buf *out, const WireField *f, const void *at)
{
    const Uuids *list = at;
    buf_u32(out, (uint32_t)list->count);
    if (list->count <= f->list_max)
        buf_add_bytes(out, list->items, list->count * sizeof(Uuid));
    return list->count <= f->list_max;
}

static void read_bytes_list(Decoding *d, const WireField *f, void *at)
{
    BytesList *list = at;
    list->count = read_count(d, f->list_max, 4);
    list->items = NEW(d->arena, Bytes, list->count);
    for (size_t i = 0; i < list->count; i++)
        list->items[i] = read_blob(d, f->max);
}

static bool write_bytes_list(Buf *out, const WireField *f, const void *at)
{
    const BytesList *list = at;
    bool fits = list->count <= f->list_max;
    buf_u32(out, (uint32_t)list->count);
    for (size_t i = 0; fits && i < list->count; i++)
        fits = write_octets(out, f, &list->items[i]);
    return fits;
}

static void read_shards(Decoding *d, const WireField *f __attribute__((unused)), void *at)
{
    if (d->reader.len < MANIFEST_SHARDS * sizeof(Digest)) {
        d->over_limit = true;
        return;
    }
    Digest *shards = NEW(d->arena, Digest, MANIFEST_SHARDS);
    read_fixed(d, shards, MANIFEST_SHARDS * sizeof(Digest));
    *(const Digest **)at = shards;
}

static bool write_shards(Buf *out, const WireField *f __attribute__((unused)), const void *at)
{
    const Digest *shards = *(const Digest *const *)at;
    if (shards != NULL)
        buf_add_bytes(out, shards, MANIFEST_SHARDS * sizeof(Digest));
    return shards != NULL;
}

static const struct {
    void (*read)(Decoding *d, const WireField *field, void *at);
    bool (*write)(Buf *out, const WireField *field, const void *at); /* false: over its limit */
} verbs[WIRE_KIND_COUNT] = {
    [WIRE_INT] = { read_int, write_int },
    [WIRE_BOOL] = { read_bool, write_bool },
    [WIRE_TIME] = { read_int, write_int },
    [WIRE_UUID] = { read_uuid, write_uuid },
    [WIRE_DIGEST] = { read_digest, write_digest },
    [WIRE_STR] = { read_text, write_text },
    [WIRE_BYTES] = { read_octets, write_octets },
    [WIRE_STRS] = { read_texts, write_texts },
    [WIRE_UUIDS] = { read_uuids, write_uuids },
    [WIRE_BYTES_LIST] = { read_bytes_list, write_bytes_list },
    [WIRE_SHARDS] = { read_shards, write_shards },
};

_Static_assert(sizeof(Time) == sizeof(int64_t), "a Time is read as the integer it holds");

/* --- packets --- */

Err message_parse(Bytes packet, MessageHeader *ret_header, Bytes *ret_body)
{
    Reader reader = reader_of(packet);
    uint32_t magic = read_u32(&reader);
    MessageHeader header = { .type = read_u16(&reader), .status = read_u16(&reader), .id = read_u64(&reader) };
    uint32_t len = read_u32(&reader);
    if (reader.failed || packet.len > MESSAGE_BYTES_MAX || magic != MESSAGE_MAGIC)
        return FAIL(ERR_INVALID, "message-malformed", "The packet is not a message.");
    if (len != reader.len)
        return FAIL(ERR_INVALID, "message-malformed", "The message's length is not the one that it states.");
    if (message_kind(header.type) == NULL)
        return FAIL(ERR_INVALID, "message-malformed", "There is no message of that type.");
    if (header.status >= ERR_KIND_COUNT)
        return FAIL(ERR_INVALID, "message-malformed", "There is no status of that number.");
    *ret_header = header;
    *ret_body = (Bytes){ .ptr = reader.ptr, .len = reader.len };
    return OK;
}

Err wire_decode(Arena *arena, const WireTable *table, Bytes body, void *ret_struct)
{
    Decoding d = { .arena = arena, .reader = reader_of(body) };
    char *out = arena_alloc(arena, 1, table->size);
    for (size_t i = 0; i < table->count; i++) {
        const WireField *field = &table->fields[i];
        verbs[field->kind].read(&d, field, out + field->offset);
        if (d.over_limit || d.reader.failed)
            return FAIL_FMT(arena, ERR_INVALID, "message-malformed", "The message is cut, or its %s is not acceptable.",
                field->name);
    }
    if (!reader_done(&d.reader))
        return FAIL(ERR_INVALID, "message-malformed", "The message has bytes behind its last field.");
    memcpy(ret_struct, out, table->size);
    return OK;
}

static void write_header(MessageHeader header, size_t body_len, Buf *out)
{
    buf_u32(out, MESSAGE_MAGIC);
    buf_u16(out, (uint16_t)header.type);
    buf_u16(out, (uint16_t)header.status);
    buf_u64(out, header.id);
    buf_u32(out, (uint32_t)body_len);
}

static Err wire_encode(const WireTable *table, const void *ptr, Buf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const WireField *field = &table->fields[i];
        if (!verbs[field->kind].write(out, field, (const char *)ptr + field->offset))
            return FAIL(ERR_INVALID, "message-too-large", "A part of the request is larger than the keeper takes.");
    }
    if (buf_overflowed(out))
        return FAIL(ERR_INVALID, "message-too-large", "The request is larger than the keeper takes.");
    return OK;
}

Err message_write(MessageHeader header, const WireTable *table, const void *ptr, Buf *out)
{
    _cleanup_(buf_release) Buf body = buf_new(MESSAGE_BYTES_MAX - MESSAGE_HEADER_BYTES);
    TRY(wire_encode(table, ptr, &body));
    write_header(header, body.len, out);
    buf_add(out, buf_str(&body));
    return OK;
}

/* --- errors --- */

typedef struct ErrorBody {
    Str code;
    Str detail;
    int64_t retry_after_s;
} ErrorBody;

static const WireField error_fields[] = {
    WIRE(ErrorBody, code, 64, 0),
    WIRE(ErrorBody, detail, 1024, 0),
    FIXED(ErrorBody, retry_after_s),
};
static const WireTable error_table = TABLE(ErrorBody, error_fields);

void message_write_error(MessageHeader header, Err err, Buf *out)
{
    ErrorBody body = {
        .code = str_first(err.code, 64), .detail = str_first(err.detail, 1024), .retry_after_s = err.retry_after_s
    };
    header.status = err.kind == ERR_NONE ? ERR_INTERNAL : err.kind;
    if (message_write(header, &error_table, &body, out).kind != ERR_NONE)
        die("an error could not be written");
}

Err message_error(Arena *arena, MessageHeader header, Bytes body)
{
    ErrorBody error = { 0 };
    if (header.status == ERR_NONE || wire_decode(arena, &error_table, body, &error).kind != ERR_NONE)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper's answer could not be understood.");
    return (Err){
        .kind = (ErrKind)header.status,
        .code = arena_str(arena, error.code),
        .detail = arena_str(arena, error.detail),
        .retry_after_s = error.retry_after_s > 0 && error.retry_after_s < 3600 ? (int)error.retry_after_s : 0,
    };
}

/* --- receipts --- */

static const char receipt_label[] = "reeve-receipt-1";

void receipt_write(const Receipt *receipt, Buf *out)
{
    if (wire_encode(&receipt_table, receipt, out).kind != ERR_NONE)
        die("a receipt could not be written");
}

Err receipt_parse(Arena *arena, Bytes bytes, Receipt *ret_receipt)
{
    if (wire_decode(arena, &receipt_table, bytes, ret_receipt).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "receipt-malformed", "The bytes are not a receipt of the keeper.");
    return OK;
}

Digest receipt_head(Bytes bytes)
{
    return digest_of_two(BYTES_OF(receipt_label), bytes);
}
