/*
 * cache.c: a fixed number of entries in one guarded slab; the oldest makes room.
 */
#include "cache.h"

#include "base/clock.h"

#include <pthread.h>
#include <string.h>

#define KEY_LEN 32

typedef struct Entry {
    Digest name;
    uint8_t *slot; /* NULL: free */
    int64_t until_us;
    int64_t uses_left; /* negative: no limit */
} Entry;

struct KeyCache {
    Arena *arena;
    pthread_mutex_t lock;
    SecretSlab *slab;
    Entry *entries;
    size_t count;
    int64_t seconds;
    int64_t uses;
};

KeyCache *key_cache_new(size_t entries, int64_t seconds, int64_t uses)
{
    Arena *arena = arena_new();
    KeyCache *cache = NEW(arena, KeyCache, 1);
    *cache = (KeyCache){ .arena = arena, .seconds = seconds, .uses = uses };
    pthread_mutex_init(&cache->lock, NULL);
    if (seconds > 0 && entries > 0) {
        cache->count = entries;
        cache->entries = NEW(arena, Entry, entries);
        cache->slab = secret_slab_new(KEY_LEN, (unsigned)entries);
    }
    return cache;
}

void key_cache_free(KeyCache **cache)
{
    KeyCache *c = *cache;
    if (c == NULL)
        return;
    secret_slab_free(&c->slab);
    pthread_mutex_destroy(&c->lock);
    Arena *arena = c->arena;
    arena_free(&arena);
    *cache = NULL;
}

static void drop(KeyCache *cache, Entry *entry)
{
    secret_slab_give(cache->slab, entry->slot);
    *entry = (Entry){ 0 };
}

static Entry *find(KeyCache *cache, Digest name)
{
    for (size_t i = 0; i < cache->count; i++)
        if (cache->entries[i].slot != NULL && digest_eq(cache->entries[i].name, name))
            return &cache->entries[i];
    return NULL;
}

bool key_cache_get(KeyCache *cache, Digest name, int64_t now_us, Secret *ret_key)
{
    bool found = false;
    pthread_mutex_lock(&cache->lock);
    Entry *entry = find(cache, name);
    if (entry != NULL && now_us < entry->until_us) {
        *ret_key = secret_copy((Bytes){ .ptr = entry->slot, .len = KEY_LEN });
        found = true;
        if (entry->uses_left > 0 && --entry->uses_left == 0)
            drop(cache, entry);
    } else if (entry != NULL) {
        drop(cache, entry);
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

/* A free entry, or the one that ends first. */
static Entry *room(KeyCache *cache)
{
    Entry *oldest = &cache->entries[0];
    for (size_t i = 0; i < cache->count; i++) {
        if (cache->entries[i].slot == NULL)
            return &cache->entries[i];
        if (cache->entries[i].until_us < oldest->until_us)
            oldest = &cache->entries[i];
    }
    drop(cache, oldest);
    return oldest;
}

void key_cache_put(KeyCache *cache, Digest name, int64_t now_us, const Secret *key)
{
    if (cache->count == 0 || key->len != KEY_LEN)
        return;
    pthread_mutex_lock(&cache->lock);
    if (find(cache, name) == NULL) {
        Entry *entry = room(cache);
        *entry = (Entry){
            .name = name,
            .slot = secret_slab_take(cache->slab),
            .until_us = now_us + cache->seconds * US_PER_S,
            .uses_left = cache->uses == 0 ? -1 : cache->uses,
        };
        memcpy(entry->slot, key->ptr, KEY_LEN);
    }
    pthread_mutex_unlock(&cache->lock);
}
