/*
 * usage_events.h: usage events as a gateway would send them, made from a seed: both dialects, cached tokens, retries,
 * failed and cut-off attempts, compactions, models without a price.
 */
#ifndef SUPPORT_USAGE_EVENTS_H
#define SUPPORT_USAGE_EVENTS_H

#include "base/buf.h"
#include "base/id.h"

typedef struct EventMix {
    uint64_t seed;
    Uuid orgs[2];
    Uuid projects[4];        /* the first two of orgs[0], the others of orgs[1] */
    Time from;               /* ids are minted from here on, a millisecond apart */
    int64_t epoch, sequence; /* of the first */
    bool plain;              /* every event is one priced attempt: for benches */
} EventMix;

EventMix event_mix(uint64_t seed, Uuid org_a, Uuid org_b, Time from);

/* `count` CloudEvents, each in the arena. The mix moves on, so the next call makes other ones. */
Strs events_make(Arena *arena, EventMix *mix, size_t count);
/* As a batch: [a,b,...] */
Str events_batch(Arena *arena, const Str *events, size_t count);

/* The rates that the events' priced models have: rows of provider, model, meter, picodollars; the last is {0}. */
typedef struct EventRate {
    const char *provider, *model, *meter;
    int64_t pico;
} EventRate;
extern const EventRate EVENT_RATES[];
/* SQL that puts them into the cost book, valid from 2020 on. */
Str event_rates_sql(Arena *arena);

#endif
