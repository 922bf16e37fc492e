/*
 * vault_sign.c: manifests, heartbeats and checkpoints, each built here from its fields.
 */
#include "vault_parts.h"

#include <string.h>

#define CLOCK_NEAR_S 60
#define PRINTABLE_MIN 0x21
#define PRINTABLE_MAX 0x7e

/* Those that the caller names and those that the journal knows. */
static Err join_revoked(Vault *v, Arena *arena, Uuid fleet, Uuids named, Uuids *ret_all)
{
    Uuids known = journal_revoked(v->journal, arena, fleet);
    Uuids all = { .items = NEW(arena, Uuid, named.count + known.count), .count = named.count };
    if (named.count > 0)
        memcpy(all.items, named.items, named.count * sizeof(Uuid));
    for (size_t i = 0; i < known.count; i++) {
        bool there = false;
        for (size_t n = 0; n < named.count; n++)
            there = there || uuid_eq(named.items[n], known.items[i]);
        if (!there)
            all.items[all.count++] = known.items[i];
    }
    if (all.count > MANIFEST_REVOKED_MAX)
        return vault_bad_request("Too many data planes are revoked; start a new fleet.");
    *ret_all = all;
    return OK;
}

/* What manifest_build takes for granted. */
static Err check_manifest(const Manifest *in, Time now)
{
    TRY(vault_check_number(in->seq));
    TRY(vault_check_number(in->max_stale_s));
    if (!time_before(now, in->hard_expiry))
        return vault_bad_request("The manifest has expired before it is signed.");
    if (in->checkpoint.size < 0 || in->min_client < 0 || in->min_client > WIRE_INT_MAX)
        return vault_bad_request("A number of the manifest is out of its range.");
    return OK;
}

Err vault_sign_manifest(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    Manifest m = *(const Manifest *)ask, check;
    JournalHead head = journal_head(v->journal);
    Time now = time_now();
    receipt->fleet = m.fleet;
    receipt->generation = m.generation;
    receipt->version = m.seq;
    TRY(vault_check_generation(v, m.fleet, m.generation));
    TRY(check_manifest(&m, now));
    TRY(join_revoked(v, arena, m.fleet, m.revoked, &m.revoked));
    m.installation = v->installation;
    m.issued_at = now;
    if (m.checkpoint.origin.len == 0)
        m.checkpoint.origin = (Str){ .ptr = NULL, .len = 0 };
    m.receipts = (ManifestReceipts){ .boot = uuid_format(arena, head.boot), .count = head.count, .head = head.head };
    Str payload = manifest_build(arena, &m);
    TRY(manifest_parse(arena, payload, &check)); /* what a gateway would refuse is not signed */
    Str jws = jws_sign(arena, &v->keys.manifest, STR(MANIFEST_TYP), payload);
    receipt->subject = digest_of(str_bytes(jws));
    ((TextReply *)ret_reply)->text = jws;
    return OK;
}

static Err check_near_clock(Time time, Time now)
{
    if (time_before(time, time_add_s(now, -CLOCK_NEAR_S)) || time_before(time_add_s(now, CLOCK_NEAR_S), time))
        return FAIL(ERR_INVALID, "keeper-clock", "The time in the request is not the keeper's; check both clocks.");
    return OK;
}

Err vault_sign_heartbeat(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    Heartbeat h = *(const Heartbeat *)ask, check;
    receipt->fleet = h.fleet;
    receipt->version = h.seq;
    receipt->subject = h.manifest;
    TRY(vault_check_number(h.seq));
    TRY(check_near_clock(h.now, time_now()));
    if (!time_before(h.now, h.expires) || time_before(time_add_s(h.now, HEARTBEAT_TTL_S_MAX), h.expires))
        return vault_bad_request("A heartbeat is good for at most an hour.");
    h.installation = v->installation;
    Str payload = heartbeat_build(arena, &h);
    TRY(heartbeat_parse(arena, payload, &check));
    ((TextReply *)ret_reply)->text = jws_sign(arena, &v->keys.manifest, STR(HEARTBEAT_TYP), payload);
    return OK;
}

/* "reeve/<installation>" or below it, of characters that stay on one line of a note. */
static Err check_origin(const Vault *v, Arena *arena, Str origin)
{
    Str own = arena_fmt(arena, "reeve/" STR_FMT, STR_ARG(v->installation_text));
    Str rest = str_skip(origin, own.len);
    if (!str_starts_with(origin, own) || (rest.len > 0 && rest.ptr[0] != '/'))
        return vault_bad_request("A checkpoint's origin begins with this installation's name.");
    for (size_t i = 0; i < origin.len; i++)
        if (origin.ptr[i] < PRINTABLE_MIN || origin.ptr[i] > PRINTABLE_MAX || origin.ptr[i] == '+')
            return vault_bad_request("A checkpoint's origin has a character that is not accepted.");
    return OK;
}

Err vault_sign_checkpoint(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const CheckpointAsk *in = ask;
    receipt->version = in->size;
    receipt->subject = in->root;
    if (in->size < 0)
        return vault_bad_request("A log has no negative size.");
    TRY(check_origin(v, arena, in->origin));
    const Checkpoint checkpoint = { .origin = in->origin, .size = (uint64_t)in->size, .root = in->root };
    ((TextReply *)ret_reply)->text = checkpoint_sign(arena, &checkpoint, &v->keys.checkpoint);
    return OK;
}
