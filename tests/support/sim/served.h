/*
 * served.h: counting: how many tokens of a prompt were remembered, newly remembered, or read afresh.
 *
 * The counts are disjoint. OpenAI's cache is automatic: blocks of 128 tokens, from 1024 up, per model. Anthropic's
 * is asked for: up to four breakpoints; the longest remembered prefix that ends at one, or at most 20 blocks before
 * one, is a read; what lies between it and a later breakpoint is a write with that breakpoint's ttl.
 */
#ifndef SIM_SERVED_H
#define SIM_SERVED_H

#include "cache.h"
#include "prompt.h"

#define CACHED_TOKENS_MIN 1024
#define CACHE_BLOCK_TOKENS 128
#define LOOK_BACK_BLOCKS 20

typedef struct Served {
    int64_t input_uncached;
    int64_t cache_read;
    int64_t cache_write_5m;
    int64_t cache_write_1h;
    int64_t output; /* shown to the caller; reasoning comes on top */
    int64_t reasoning;
} Served;

/* Counts the input of a prompt and remembers its prefixes. Whose key asked makes no difference. */
Served served_input(Cache *cache, const Prompt *prompt, bool explicit_cache, int64_t now_us);

int64_t served_input_total(const Served *served);

#endif
