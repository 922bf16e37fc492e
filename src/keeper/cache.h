/*
 * cache.h: unwrapped project and fleet keys, for a while, in guarded memory.
 *
 * An entry is found by the digest of everything that unwrapping depends on (context, KMS key, wrapped bytes), so a key
 * can only be found by a request that could have unwrapped it. It ends after a time or a number of uses.
 */
#ifndef KEEPER_CACHE_H
#define KEEPER_CACHE_H

#include "crypto/digest.h"

typedef struct KeyCache KeyCache;

/* seconds 0: keeps nothing; uses 0: no limit of uses. */
KeyCache *key_cache_new(size_t entries, int64_t seconds, int64_t uses);
void key_cache_free(KeyCache **cache);
/* A copy, for the caller to release. */
bool key_cache_get(KeyCache *cache, Digest name, int64_t now_us, Secret *ret_key);
void key_cache_put(KeyCache *cache, Digest name, int64_t now_us, const Secret *key);

#endif
