/* The codec: every message reads back, and no cut, grown or misnumbered one is read at all. */
#include "support/expect.h"

#include "keeper/message.h"

static Arena *arena;
static Digest shards[MANIFEST_SHARDS];
static Uuid some_ids[2] = { { { 1 } }, { { 2 } } };

#define TEXT STR_INIT("some text")
#define BLOB                                                                                                           \
    {                                                                                                                  \
        (const uint8_t *)"blob", 4                                                                                     \
    }
#define REF                                                                                                            \
    {                                                                                                                  \
        .org = { { 1 } }, .project = { { 2 } }, .secret = { { 3 } }, .version = 4, .origin = TEXT                      \
    }
#define KEY                                                                                                            \
    {                                                                                                                  \
        1, TEXT, BLOB                                                                                                  \
    }

static const Empty empty;
static const ProjectKeyNew project_key_new = { .org = { { 1 } }, .project = { { 2 } }, .version = 3, .kms_uri = TEXT };
static const FleetKeyNew fleet_key_new = { .fleet = { { 1 } }, .generation = 2, .kms_uri = TEXT, .statement = TEXT };
static const SecretIntake secret_intake = { .ref = REF, .key = KEY, .jwe = TEXT, .plain = BLOB };
static const SecretReseal secret_reseal = { .ref = REF, .envelope = BLOB, .from = KEY, .to = KEY };
static const SecretSealFleet secret_seal_fleet = {
    .ref = REF, .envelope = BLOB, .key = KEY, .fleet = { { 9 } }, .fleet_key = KEY, .not_after = { 5 }
};
static const KeyringAsk keyring_ask = { .fleet = { { 1 } }, .fleet_key = KEY, .cert = TEXT, .request = TEXT };
static const Rewrap rewrap = { .org = { { 1 } }, .version = 1, .kms_uri = TEXT, .wrapped = BLOB, .to_kms_uri = TEXT };
static const Manifest manifest = { .fleet = { { 1 } },
    .seq = 7,
    .has_prev = true,
    .generation = 1,
    .revoked = { some_ids, 2 },
    .max_stale_s = 60,
    .hard_expiry = { 99 },
    .shards = shards,
    .checkpoint = { .origin = TEXT, .size = 3 } };
static const Heartbeat heartbeat = { .fleet = { { 1 } }, .seq = 7, .now = { 1 }, .expires = { 2 } };
static const CheckpointAsk checkpoint_ask = { .origin = TEXT, .size = 5 };
static const ReceiptsAsk receipts_ask = { .after = 3 };

static const void *const requests[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_HELLO] = &empty,
    [MESSAGE_PROJECT_KEY_NEW] = &project_key_new,
    [MESSAGE_FLEET_KEY_NEW] = &fleet_key_new,
    [MESSAGE_SECRET_INTAKE] = &secret_intake,
    [MESSAGE_SECRET_RESEAL] = &secret_reseal,
    [MESSAGE_SECRET_SEAL_FLEET] = &secret_seal_fleet,
    [MESSAGE_KEYRING] = &keyring_ask,
    [MESSAGE_REWRAP] = &rewrap,
    [MESSAGE_SIGN_MANIFEST] = &manifest,
    [MESSAGE_SIGN_HEARTBEAT] = &heartbeat,
    [MESSAGE_SIGN_CHECKPOINT] = &checkpoint_ask,
    [MESSAGE_RECEIPTS] = &receipts_ask,
};

typedef union AnyMessage {
    ProjectKeyNew a;
    FleetKeyNew b;
    SecretIntake c;
    SecretReseal d;
    SecretSealFleet e;
    KeyringAsk f;
    Rewrap g;
    Manifest h;
    Heartbeat i;
    CheckpointAsk j;
    ReceiptsAsk k;
    Hello l;
    Receipts m;
} AnyMessage;

static Bytes packet_of(unsigned type)
{
    Buf out = buf_new(MESSAGE_BYTES_MAX);
    expect_ok(
        message_write((MessageHeader){ .type = type, .id = 42 }, message_kind(type)->request, requests[type], &out));
    Bytes packet = arena_bytes(arena, str_bytes(buf_str(&out)));
    buf_release(&out);
    return packet;
}

static Err decode(Bytes packet, AnyMessage *ret_message, MessageHeader *ret_header)
{
    Bytes body;
    TRY(message_parse(packet, ret_header, &body));
    return wire_decode(arena, message_kind(ret_header->type)->request, body, ret_message);
}

TEST(every_request_reads_back_to_the_same_bytes)
{
    for (unsigned type = MESSAGE_HELLO; type < MESSAGE_TYPE_COUNT; type++) {
        Bytes packet = packet_of(type);
        AnyMessage message;
        MessageHeader header;
        expect_ok(decode(packet, &message, &header));
        assert_int_equal(header.type, type);
        assert_int_equal(header.id, 42);
        _cleanup_(buf_release) Buf again = buf_new(MESSAGE_BYTES_MAX);
        expect_ok(message_write(header, message_kind(type)->request, &message, &again));
        assert_int_equal(again.len, packet.len);
        assert_memory_equal(again.ptr, packet.ptr, packet.len);
    }
}

/* With the stated length made right, so that the fields themselves are what is wrong. */
static void put_length(uint8_t *packet, size_t len)
{
    uint32_t body = (uint32_t)(len - MESSAGE_HEADER_BYTES);
    packet[16] = (uint8_t)(body >> 24);
    packet[17] = (uint8_t)(body >> 16);
    packet[18] = (uint8_t)(body >> 8);
    packet[19] = (uint8_t)body;
}

TEST(no_cut_and_no_grown_message_is_read)
{
    for (unsigned type = MESSAGE_HELLO; type < MESSAGE_TYPE_COUNT; type++) {
        Bytes packet = packet_of(type);
        AnyMessage message;
        MessageHeader header;
        uint8_t *copy = arena_alloc(arena, packet.len + 1, 1);
        memcpy(copy, packet.ptr, packet.len);
        for (size_t len = 0; len < packet.len; len += 1 + len / 256) {
            expect_err(decode((Bytes){ copy, len }, &message, &header), "message-malformed");
            if (len < MESSAGE_HEADER_BYTES)
                continue;
            put_length(copy, len);
            expect_err(decode((Bytes){ copy, len }, &message, &header), "message-malformed");
            put_length(copy, packet.len);
        }
        put_length(copy, packet.len + 1);
        expect_err(decode((Bytes){ copy, packet.len + 1 }, &message, &header), "message-malformed");
    }
}

TEST(unknown_types_statuses_and_magics_are_refused)
{
    Bytes packet = packet_of(MESSAGE_HELLO);
    AnyMessage message;
    MessageHeader header;
    static const struct {
        size_t at;
        uint8_t value;
    } edits[] = { { 0, 'X' }, { 3, '2' }, { 5, 0 }, { 5, MESSAGE_TYPE_COUNT }, { 4, 1 }, { 7, ERR_KIND_COUNT } };
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        uint8_t *copy = (uint8_t *)(uintptr_t)arena_bytes(arena, packet).ptr;
        copy[edits[i].at] = edits[i].value;
        expect_err(decode((Bytes){ copy, packet.len }, &message, &header), "message-malformed");
    }
}

TEST(giant_lengths_are_refused_before_memory_is_taken)
{
    Bytes packet = packet_of(MESSAGE_SIGN_MANIFEST);
    AnyMessage message;
    MessageHeader header;
    size_t before = arena_used(arena);
    for (size_t at = MESSAGE_HEADER_BYTES; at + 4 <= MESSAGE_HEADER_BYTES + 90; at++) {
        uint8_t *copy = (uint8_t *)(uintptr_t)arena_bytes(arena, packet).ptr;
        memset(copy + at, 0xff, 4);
        if (decode((Bytes){ copy, packet.len }, &message, &header).kind == ERR_NONE)
            continue; /* it fell into a number or an id */
    }
    assert_true(arena_used(arena) - before < 90 * 64 * 1024);
}

TEST(texts_that_are_not_utf8_are_refused)
{
    Buf out = buf_new(MESSAGE_BYTES_MAX);
    ProjectKeyNew bad = project_key_new;
    bad.kms_uri = STR("local:\xff\xfe");
    expect_ok(message_write((MessageHeader){ .type = MESSAGE_PROJECT_KEY_NEW },
        message_kind(MESSAGE_PROJECT_KEY_NEW)->request, &bad, &out));
    AnyMessage message;
    MessageHeader header;
    expect_err(decode(str_bytes(buf_str(&out)), &message, &header), "message-malformed");
    buf_release(&out);
}

TEST(too_large_a_part_is_not_written)
{
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    SecretIntake big = secret_intake;
    big.plain = (Bytes){ arena_alloc(arena, PROVIDER_KEY_BYTES_MAX + 1, 1), PROVIDER_KEY_BYTES_MAX + 1 };
    expect_err(message_write((MessageHeader){ .type = MESSAGE_SECRET_INTAKE },
                   message_kind(MESSAGE_SECRET_INTAKE)->request, &big, &out),
        "message-too-large");
    assert_int_equal(out.len, 0);
}

TEST(errors_keep_kind_code_sentence_and_hint)
{
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    Err err = FAIL(ERR_FORBIDDEN, "kms-not-allowed", "That KMS key is not one of the keeper's.");
    err.retry_after_s = 5;
    message_write_error((MessageHeader){ .type = MESSAGE_REWRAP, .id = 1 }, err, &out);
    MessageHeader header;
    Bytes body;
    expect_ok(message_parse(str_bytes(buf_str(&out)), &header, &body));
    Err back = message_error(arena, header, body);
    assert_int_equal(back.kind, ERR_FORBIDDEN);
    assert_true(err_is(back, "kms-not-allowed"));
    expect_str(back.detail, err.detail);
    assert_int_equal(back.retry_after_s, 5);
}

int main(void)
{
    arena = arena_new();
    const struct CMUnitTest tests[] = {
        RUN(every_request_reads_back_to_the_same_bytes),
        RUN(no_cut_and_no_grown_message_is_read),
        RUN(unknown_types_statuses_and_magics_are_refused),
        RUN(giant_lengths_are_refused_before_memory_is_taken),
        RUN(texts_that_are_not_utf8_are_refused),
        RUN(too_large_a_part_is_not_written),
        RUN(errors_keep_kind_code_sentence_and_hint),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
