/* Strangers' bytes as a packet for the keeper, a reply from it, and a receipt: read or refused, and written the same.
 */
#include "keeper/receipt.h"

#include <assert.h>
#include <string.h>

typedef union AnyMessage {
    SecretIntake a;
    SecretReseal b;
    SecretSealFleet c;
    KeyringAsk d;
    Manifest e;
    Hello f;
    Receipts g;
    Rewrap h;
} AnyMessage;

static void round_trip(Arena *arena, MessageHeader header, const WireTable *table, Bytes body, Bytes packet)
{
    AnyMessage message;
    if (wire_decode(arena, table, body, &message).kind != ERR_NONE)
        return;
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    Err err = message_write(header, table, &message, &out);
    assert(err.kind == ERR_NONE);
    assert(out.len == packet.len && memcmp(out.ptr, packet.ptr, packet.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    const Bytes packet = { .ptr = data, .len = size };
    MessageHeader header;
    Bytes body;
    Receipt receipt;
    (void)!receipt_parse(arena, packet, &receipt).kind;
    if (message_parse(packet, &header, &body).kind != ERR_NONE)
        return 0;
    const MessageKind *kind = message_kind(header.type);
    assert(kind != NULL);
    round_trip(arena, header, kind->request, body, packet);
    round_trip(arena, header, kind->reply, body, packet);
    Err err = message_error(arena, header, body);
    assert(err.kind != ERR_NONE);
    return 0;
}
