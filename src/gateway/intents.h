/*
 * intents.h: which intents are open, and where in the spool each is written: a hash table by (epoch, sequence).
 *
 * Not safe for threads: the spool's lock guards it.
 */
#ifndef GATEWAY_INTENTS_H
#define GATEWAY_INTENTS_H

#include "base/buf.h"

typedef struct Intent {
    uint64_t sequence; /* 0: an empty slot; sequences start at 1 */
    uint32_t epoch;
    uint32_t len; /* of the whole record */
    uint64_t segment, offset;
} Intent;

typedef struct Intents {
    Buf memory;
    Intent *slots;
    size_t capacity, count; /* capacity is a power of two, at most half full */
} Intents;

void intents_release(Intents *intents);
Intent *intents_find(Intents *intents, uint32_t epoch, uint64_t sequence); /* NULL when it is not open */
/* Puts it there; returns the one it replaced, sequence 0 when there was none. */
Intent intents_put(Intents *intents, Intent intent);
/* Takes it away; sequence 0 when it was not open. */
Intent intents_take(Intents *intents, uint32_t epoch, uint64_t sequence);

#endif
