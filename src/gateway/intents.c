/* intents.c: see intents.h. Open addressing, linear probing, deletion by shifting back. */
#include "intents.h"

#include <string.h>

#define CAPACITY_MIN ((size_t)256)
#define MEMORY_MAX ((size_t)1 << 32)

void intents_release(Intents *intents)
{
    buf_release(&intents->memory);
    *intents = (Intents){ 0 };
}

static size_t home_of(const Intents *intents, uint32_t epoch, uint64_t sequence)
{
    uint64_t mixed = (sequence + ((uint64_t)epoch << 40)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 32) & (intents->capacity - 1);
}

/* The slot that holds it, or the empty one where it would go. */
static Intent *slot_of(const Intents *intents, uint32_t epoch, uint64_t sequence)
{
    size_t at = home_of(intents, epoch, sequence);
    while (intents->slots[at].sequence != 0 &&
           (intents->slots[at].sequence != sequence || intents->slots[at].epoch != epoch))
        at = (at + 1) & (intents->capacity - 1);
    return &intents->slots[at];
}

static void grow(Intents *intents)
{
    Intents wide = { .memory = buf_new(MEMORY_MAX) };
    wide.capacity = intents->capacity == 0 ? CAPACITY_MIN : intents->capacity * 2;
    wide.slots = (Intent *)(void *)buf_reserve(&wide.memory, wide.capacity * sizeof(Intent));
    if (wide.slots == NULL)
        die("too many open calls");
    memset(wide.slots, 0, wide.capacity * sizeof(Intent));
    for (size_t i = 0; i < intents->capacity; i++)
        if (intents->slots[i].sequence != 0)
            *slot_of(&wide, intents->slots[i].epoch, intents->slots[i].sequence) = intents->slots[i];
    wide.count = intents->count;
    buf_release(&intents->memory);
    *intents = wide;
}

Intent *intents_find(Intents *intents, uint32_t epoch, uint64_t sequence)
{
    if (intents->count == 0)
        return NULL;
    Intent *slot = slot_of(intents, epoch, sequence);
    return slot->sequence == 0 ? NULL : slot;
}

Intent intents_put(Intents *intents, Intent intent)
{
    if (intents->capacity < 2 * (intents->count + 1))
        grow(intents);
    Intent *slot = slot_of(intents, intent.epoch, intent.sequence);
    Intent old = *slot;
    *slot = intent;
    intents->count += old.sequence == 0;
    return old;
}

Intent intents_take(Intents *intents, uint32_t epoch, uint64_t sequence)
{
    Intent *slot = intents_find(intents, epoch, sequence);
    if (slot == NULL)
        return (Intent){ 0 };
    Intent taken = *slot;
    size_t mask = intents->capacity - 1, hole = (size_t)(slot - intents->slots);
    for (size_t at = (hole + 1) & mask; intents->slots[at].sequence != 0; at = (at + 1) & mask) {
        size_t home = home_of(intents, intents->slots[at].epoch, intents->slots[at].sequence);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue; /* it may not move before its home */
        intents->slots[hole] = intents->slots[at];
        hole = at;
    }
    intents->slots[hole] = (Intent){ 0 };
    intents->count--;
    return taken;
}
