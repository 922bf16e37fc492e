#include "cache.h"

#include <stdlib.h>
#include <string.h>

/* Entry 0 is the head of the ring of ages; free entries are those never used, since entries leave only by reuse. */
typedef struct Entry {
    uint64_t hash;
    int64_t until_us;
    uint32_t chain;        /* next in the bucket, 0 = none */
    uint32_t older, newer; /* ring of ages */
} Entry;

struct Cache {
    Entry *entries;
    uint32_t *buckets;
    uint32_t used, max, mask;
};

Cache *cache_new(uint32_t entries_max)
{
    Cache *cache = calloc(1, sizeof *cache);
    uint32_t buckets = 1024;
    while (buckets < entries_max)
        buckets *= 2;
    if (!cache)
        abort();
    cache->max = entries_max;
    cache->mask = buckets - 1;
    cache->entries = calloc((size_t)entries_max + 1, sizeof *cache->entries);
    cache->buckets = calloc(buckets, sizeof *cache->buckets);
    if (!cache->entries || !cache->buckets)
        abort();
    return cache;
}

void cache_free(Cache *cache)
{
    if (!cache)
        return;
    free(cache->entries);
    free(cache->buckets);
    free(cache);
}

void cache_clear(Cache *cache)
{
    memset(cache->buckets, 0, ((size_t)cache->mask + 1) * sizeof *cache->buckets);
    cache->entries[0] = (Entry){ 0 };
    cache->used = 0;
}

static uint32_t find(const Cache *cache, uint64_t hash)
{
    uint32_t at = cache->buckets[hash & cache->mask];
    while (at && cache->entries[at].hash != hash)
        at = cache->entries[at].chain;
    return at;
}

bool cache_has(const Cache *cache, uint64_t hash, int64_t now_us)
{
    uint32_t at = find(cache, hash);
    return at && cache->entries[at].until_us > now_us;
}

static void ring_out(Cache *cache, uint32_t at)
{
    Entry *entry = &cache->entries[at];
    cache->entries[entry->older].newer = entry->newer;
    cache->entries[entry->newer].older = entry->older;
}

static void ring_in_newest(Cache *cache, uint32_t at)
{
    Entry *head = &cache->entries[0];
    Entry *entry = &cache->entries[at];
    entry->newer = 0;
    entry->older = head->older;
    cache->entries[head->older].newer = at;
    head->older = at;
}

static void bucket_out(Cache *cache, uint32_t at)
{
    uint32_t *link = &cache->buckets[cache->entries[at].hash & cache->mask];
    while (*link != at)
        link = &cache->entries[*link].chain;
    *link = cache->entries[at].chain;
}

/* An entry to use: a fresh one, or the oldest. The head's `newer` is the oldest entry of the ring. */
static uint32_t take_entry(Cache *cache)
{
    if (cache->used < cache->max)
        return ++cache->used;
    uint32_t oldest = cache->entries[0].newer;
    ring_out(cache, oldest);
    bucket_out(cache, oldest);
    return oldest;
}

void cache_touch(Cache *cache, uint64_t hash, int64_t now_us, int64_t ttl_us)
{
    uint32_t at = find(cache, hash);
    if (at) {
        ring_out(cache, at);
    } else {
        at = take_entry(cache);
        cache->entries[at].hash = hash;
        cache->entries[at].chain = cache->buckets[hash & cache->mask];
        cache->buckets[hash & cache->mask] = at;
    }
    cache->entries[at].until_us = ttl_us == CACHE_FOR_EVER ? CACHE_FOR_EVER : now_us + ttl_us;
    ring_in_newest(cache, at);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ (hash >> 32);
}

uint64_t cache_hash(uint64_t hash, Text bytes)
{
    uint64_t word;
    hash = mix(hash, bytes.len);
    for (; bytes.len >= sizeof word; bytes.ptr += sizeof word, bytes.len -= sizeof word) {
        memcpy(&word, bytes.ptr, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    if (bytes.len)
        memcpy(&word, bytes.ptr, bytes.len);
    return mix(hash, word);
}
