/*
 * message.h: the closed set of messages between the control plane and the keeper, and their codec.
 *
 *   one packet (SOCK_SEQPACKET):  magic u32 'RVK1' | type u16 | status u16 | id u64 | body length u32 | body
 *
 * Big-endian. A message is a table of fields in order: fixed ones, and variable ones with a length before them. Every
 * length is exact and trailing bytes are refused. In a request the status is 0; in a reply it is 0 or the kind of an
 * error whose code and sentence are the body. Replies carry the id of their request and may come out of order.
 *
 * There is no message that signs what it is given, and none whose answer holds a provider key in the clear.
 */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H

#include "base/buf.h"
#include "base/field.h"
#include "snapshot/heartbeat.h"
#include "snapshot/manifest.h"

#define MESSAGE_MAGIC UINT32_C(0x52564b31) /* "RVK1" */
#define MESSAGE_HEADER_BYTES 20
#define MESSAGE_BYTES_MAX (128 * 1024)
#define KMS_URI_BYTES_MAX 512
#define WRAPPED_BYTES_MAX 8192
#define PROVIDER_KEY_BYTES_MAX 4096
#define RECEIPTS_PAGE_MAX 64

typedef enum MessageType {
    MESSAGE_NONE,
    MESSAGE_HELLO,
    MESSAGE_PROJECT_KEY_NEW,
    MESSAGE_FLEET_KEY_NEW,
    MESSAGE_SECRET_INTAKE,
    MESSAGE_SECRET_RESEAL,
    MESSAGE_SECRET_SEAL_FLEET,
    MESSAGE_KEYRING,
    MESSAGE_REWRAP,
    MESSAGE_SIGN_MANIFEST,
    MESSAGE_SIGN_HEARTBEAT,
    MESSAGE_SIGN_CHECKPOINT,
    MESSAGE_RECEIPTS,
    MESSAGE_TYPE_COUNT,
} MessageType;

/* --- what they carry --- */

/* A project key as the database stores it: wrapped by the KMS key of that URI; its context names the version. */
typedef struct ProjectKeyRef {
    int64_t version;
    Str kms_uri;
    Bytes wrapped;
} ProjectKeyRef;

typedef struct FleetKeyRef {
    int64_t generation;
    Str kms_uri;
    Bytes wrapped;
} FleetKeyRef;

/* One version of a secret; origin as origin_of_url gives it. */
typedef struct SecretRef {
    Uuid org;
    Uuid project;
    Uuid secret;
    int64_t version;
    Str origin;
} SecretRef;

typedef struct Hello {
    Uuid installation;
    Uuid boot;
    int64_t root_version;
    Digest root_hash;
    Strs kms_uris;
    Str intake_jwk; /* JSON of the public key */
    Time clock;
    Strs warnings; /* sentences for readiness: a KMS that is a file, a root of one key, a root that ends soon */
} Hello;

typedef struct ProjectKeyNew {
    Uuid org;
    Uuid project;
    int64_t version;
    Str kms_uri;
} ProjectKeyNew;

typedef struct FleetKeyNew {
    Uuid fleet;
    int64_t generation;
    Str kms_uri;
    Str statement; /* generation_sign's JWS; empty for generation 1 */
} FleetKeyNew;

/* Exactly one of jwe (sealed by the client: typ reeve-intake+jwe) and plain (over TLS, where policy allows it). */
typedef struct SecretIntake {
    SecretRef ref;
    ProjectKeyRef key;
    Str jwe;
    Bytes plain;
} SecretIntake;

typedef struct SecretTaken {
    Bytes envelope;
    Str hint; /* its last four characters, when it has sixteen or more of printable ASCII */
} SecretTaken;

typedef struct SecretReseal {
    SecretRef ref;
    Bytes envelope;
    ProjectKeyRef from;
    ProjectKeyRef to;
} SecretReseal;

typedef struct SecretSealFleet {
    SecretRef ref;
    Bytes envelope;
    ProjectKeyRef key;
    Uuid fleet;
    FleetKeyRef fleet_key;
    Time not_after; /* none: the version has no end */
} SecretSealFleet;

typedef struct KeyringAsk {
    Uuid fleet;
    FleetKeyRef fleet_key;
    Str cert;    /* join certificate */
    Str request; /* enrolment request */
} KeyringAsk;

typedef struct KeyringGiven {
    Uuid data_plane;
    Str keyring; /* JWS */
} KeyringGiven;

/* Of a project key (org, project, version) or a fleet key (fleet, version = generation): the other ids are zero. */
typedef struct Rewrap {
    Uuid org;
    Uuid project;
    Uuid fleet;
    int64_t version;
    Str kms_uri;
    Bytes wrapped;
    Str to_kms_uri;
} Rewrap;

typedef struct ReceiptsAsk {
    int64_t after; /* position: 0 asks from the beginning of what the keeper still remembers */
} ReceiptsAsk;

/* A page of receipts (keeper/receipt.h reads one) and the newest signed head. */
typedef struct Receipts {
    Uuid boot;
    int64_t count; /* of this boot */
    Digest head;
    BytesList items;
    Str signed_head; /* JWS reeve-receipts+jws by the checkpoint key */
} Receipts;

typedef struct WrappedReply {
    Bytes wrapped;
} WrappedReply;
typedef struct EnvelopeReply {
    Bytes envelope;
} EnvelopeReply;
typedef struct TextReply {
    Str text;
} TextReply;
typedef struct CheckpointAsk {
    Str origin; /* "reeve/<installation>" or below it */
    int64_t size;
    Digest root;
} CheckpointAsk;
typedef struct Empty {
    int64_t nothing; /* no field is sent */
} Empty;

/* --- codec --- */

typedef struct WireTable WireTable;

typedef struct MessageKind {
    const char *name;
    const WireTable *request;
    const WireTable *reply;
} MessageKind;

/* NULL for a type that does not exist. */
const MessageKind *message_kind(unsigned type);

typedef struct MessageHeader {
    unsigned type;
    unsigned status; /* an ErrKind */
    uint64_t id;
} MessageHeader;

/* ERR_INVALID "message-malformed": magic, type, length. *ret_body is borrowed from packet. */
CHECKED Err message_parse(Bytes packet, MessageHeader *ret_header, Bytes *ret_body);
/* Texts and bytes of the struct are borrowed from body, lists lie in the arena. "message-malformed" names the field. */
CHECKED Err wire_decode(Arena *arena, const WireTable *table, Bytes body, void *ret_struct);
/* Appends one packet to out (a Buf of MESSAGE_BYTES_MAX); a field over its limit is ERR_INVALID "message-too-large". */
CHECKED Err message_write(MessageHeader header, const WireTable *table, const void *ptr, Buf *out);
/* The packet of a failed request. */
void message_write_error(MessageHeader header, Err err, Buf *out);
/* The error inside a reply, its texts in the arena. */
Err message_error(Arena *arena, MessageHeader header, Bytes body);

#endif
