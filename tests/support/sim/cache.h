/*
 * cache.h: what the simulated provider remembers of prompts: a bounded set of prefix hashes, oldest out first.
 *
 * A prefix is remembered under a 64-bit hash that covers the model and everything before it, so finding the hash of
 * the third block means that the first two were the same. An entry may also expire (Anthropic's five minutes and
 * one hour, prolonged by each use).
 */
#ifndef SIM_CACHE_H
#define SIM_CACHE_H

#include "text.h"

#define CACHE_FOR_EVER INT64_MAX

typedef struct Cache Cache;

Cache *cache_new(uint32_t entries_max);
void cache_free(Cache *cache);
void cache_clear(Cache *cache);

/* True when the prefix is remembered at that time. Changes nothing. */
bool cache_has(const Cache *cache, uint64_t hash, int64_t now_us);

/* Remembers the prefix as the newest for ttl_us from now on; pushes the oldest out when full. */
void cache_touch(Cache *cache, uint64_t hash, int64_t now_us, int64_t ttl_us);

/* Continues a hash over more bytes. */
uint64_t cache_hash(uint64_t hash, Text bytes);

#endif
