/*
 * heartbeat.c: the heartbeat's payload, strictly, both ways.
 */
#include "snapshot/heartbeat.h"

#include "document.h"

#include <assert.h>

typedef struct HeartbeatDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    int64_t seq;
    Str manifest;
    Time now;
    Time expires;
} HeartbeatDocument;

static const Field heartbeat_fields[] = {
    FIELD(HeartbeatDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(HeartbeatDocument, installation, .required = true, .prefix = "ins"),
    FIELD(HeartbeatDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(HeartbeatDocument, seq, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(HeartbeatDocument, manifest, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(HeartbeatDocument, now, .required = true),
    FIELD(HeartbeatDocument, expires, .required = true),
};
static const FieldTable HEARTBEAT_FIELDS = FIELD_TABLE(HeartbeatDocument, heartbeat_fields);

static const DocumentKind heartbeat_kind = {
    .table = &HEARTBEAT_FIELDS,
    .limits = { .bytes_max = HEARTBEAT_BYTES_MAX, .depth_max = 2, .tokens_max = 64 },
    .version = 1,
    .malformed = STR_INIT("heartbeat-malformed"),
};

Str heartbeat_build(Arena *arena, const Heartbeat *heartbeat)
{
    assert(heartbeat->seq >= 1 && time_before(heartbeat->now, heartbeat->expires));
    HeartbeatDocument document = {
        .v = 1,
        .installation = heartbeat->installation,
        .fleet = heartbeat->fleet,
        .seq = heartbeat->seq,
        .manifest = digest_text(arena, heartbeat->manifest),
        .now = heartbeat->now,
        .expires = heartbeat->expires,
    };
    _cleanup_(json_release) json_t *value = fields_encode(arena, &HEARTBEAT_FIELDS, &document);
    return json_write(arena, value);
}

Err heartbeat_parse(Arena *arena, Str payload, Heartbeat *ret_heartbeat)
{
    _cleanup_(json_release) json_t *value = NULL;
    HeartbeatDocument document = { 0 };
    bool set = false;
    TRY(document_parse(arena, &heartbeat_kind, payload, &value, &document));
    Heartbeat heartbeat = {
        .installation = document.installation,
        .fleet = document.fleet,
        .seq = document.seq,
        .now = document.now,
        .expires = document.expires,
    };
    TRY(document_digest(
        arena, heartbeat_kind.malformed, STR("/manifest"), document.manifest, &set, &heartbeat.manifest));
    if (!time_before(heartbeat.now, heartbeat.expires) ||
        time_before(time_add_s(heartbeat.now, HEARTBEAT_TTL_S_MAX), heartbeat.expires))
        return document_refuse(
            arena, heartbeat_kind.malformed, STR("/expires"), STR("must be after now, by at most an hour"));
    *ret_heartbeat = heartbeat;
    return OK;
}

Err heartbeat_verify(Arena *arena, Str jws, KeySet keys, Heartbeat *ret_heartbeat)
{
    Str payload = STR("");
    TRY(document_length(jws, HEARTBEAT_BYTES_MAX, heartbeat_kind.malformed));
    TRY(jws_verify(arena, jws, keys, STR(HEARTBEAT_TYP), &payload, /* ret_kid= */ NULL));
    return heartbeat_parse(arena, payload, ret_heartbeat);
}
