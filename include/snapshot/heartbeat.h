/*
 * heartbeat.h: "at `now`, this manifest was still the newest of this fleet", signed by a manifest key under its own
 * typ. It is the body of a long poll that found nothing, and what makes a frozen snapshot visible.
 *
 *   JWS (typ reeve-heartbeat+jws) over { v, installation, fleet, seq, manifest, now, expires }
 *
 * Invariant: signed only over a (seq, manifest) that was read from the database after `now`.
 */
#ifndef SNAPSHOT_HEARTBEAT_H
#define SNAPSHOT_HEARTBEAT_H

#include "snapshot/manifest.h"

#define HEARTBEAT_TYP "reeve-heartbeat+jws"
#define HEARTBEAT_BYTES_MAX 4096
#define HEARTBEAT_TTL_S_MAX 3600

typedef struct Heartbeat {
    Uuid installation;
    Uuid fleet;
    int64_t seq;
    Digest manifest;
    Time now;
    Time expires; /* after now, by at most HEARTBEAT_TTL_S_MAX */
} Heartbeat;

Str heartbeat_build(Arena *arena, const Heartbeat *heartbeat);
/* ERR_INVALID "heartbeat-malformed", "version-unsupported". */
CHECKED Err heartbeat_parse(Arena *arena, Str payload, Heartbeat *ret_heartbeat);
CHECKED Err heartbeat_verify(Arena *arena, Str jws, KeySet keys, Heartbeat *ret_heartbeat);

#endif
