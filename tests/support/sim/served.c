#include "served.h"

#define MINUTE_US ((int64_t)60 * 1000000)

static uint64_t model_seed(const Prompt *prompt, Text kind)
{
    return cache_hash(cache_hash(0x7265657665u, text_of(prompt->model)), kind);
}

int64_t served_input_total(const Served *served)
{
    return served->input_uncached + served->cache_read + served->cache_write_5m + served->cache_write_1h;
}

/* --- the sim: directive ------------------------------------------------------------------------------------ */

static Served served_directive(Cache *cache, const Prompt *prompt, bool explicit_cache, int64_t now_us)
{
    const Directive *directive = &prompt->directive;
    int64_t full_max = directive->input / directive->block_tokens, full = 0, read = 0;
    uint64_t seed = model_seed(prompt, TEXT("blocks"));
    JsonWalk walk;
    Text name, id;
    if (json_open(directive->blocks, &walk)) {
        while (full < full_max && json_next(&walk, &name, &id)) {
            uint64_t hash = cache_hash(seed, id);
            if (read == full && cache_has(cache, hash, now_us))
                read++;
            cache_touch(cache, hash, now_us, CACHE_FOR_EVER);
            full++;
        }
    }
    Served served = { .cache_read = read * directive->block_tokens };
    int64_t written = explicit_cache ? (full - read) * directive->block_tokens : 0;
    if (directive->ttl == TTL_1H)
        served.cache_write_1h = written;
    else
        served.cache_write_5m = written;
    served.input_uncached = directive->input - served.cache_read - written;
    return served;
}

/* --- OpenAI: automatic ------------------------------------------------------------------------------------- */

static Served served_automatic(Cache *cache, const Prompt *prompt, int64_t now_us)
{
    const size_t block = CACHE_BLOCK_TOKENS * BYTES_PER_TOKEN;
    int64_t tokens = tokens_of(prompt->text.len), full = 0, read = 0;
    uint64_t hash = model_seed(prompt, TEXT("text"));
    if (tokens < CACHED_TOKENS_MIN)
        return (Served){ .input_uncached = tokens };
    for (size_t at = 0; at + block <= prompt->text.len; at += block, full++) {
        hash = cache_hash(hash, (Text){ prompt->text.ptr + at, block });
        if (read == full && cache_has(cache, hash, now_us))
            read++;
        cache_touch(cache, hash, now_us, CACHE_FOR_EVER);
    }
    int64_t cached = read * CACHE_BLOCK_TOKENS;
    if (cached < CACHED_TOKENS_MIN)
        cached = 0;
    return (Served){ .cache_read = cached, .input_uncached = tokens - cached };
}

/* --- Anthropic: explicit ----------------------------------------------------------------------------------- */

static void hash_marks(const Prompt *prompt, uint64_t *ret_hashes)
{
    uint64_t hash = model_seed(prompt, TEXT("marks"));
    size_t from = 0;
    for (int i = 0; i < prompt->mark_count; i++) {
        hash = cache_hash(hash, (Text){ prompt->text.ptr + from, prompt->marks[i].end - from });
        from = prompt->marks[i].end;
        ret_hashes[i] = hash;
    }
}

static bool in_reach_of_a_breakpoint(const Prompt *prompt, int at)
{
    for (int i = at; i < prompt->mark_count && i <= at + LOOK_BACK_BLOCKS; i++) {
        if (prompt->marks[i].ttl != TTL_NONE)
            return true;
    }
    return false;
}

/* The longest remembered prefix's mark, or -1. */
static int remembered_mark(const Cache *cache, const Prompt *prompt, const uint64_t *hashes, int64_t now_us)
{
    for (int i = prompt->mark_count - 1; i >= 0; i--) {
        if (in_reach_of_a_breakpoint(prompt, i) && cache_has(cache, hashes[i], now_us))
            return i;
    }
    return -1;
}

static int64_t tokens_until(const Prompt *prompt, int mark)
{
    return mark < 0 ? 0 : (int64_t)(prompt->marks[mark].end / BYTES_PER_TOKEN);
}

static Served served_explicit(Cache *cache, const Prompt *prompt, int64_t now_us)
{
    static _Thread_local uint64_t hashes[MARKS_MAX];
    int64_t tokens = tokens_of(prompt->text.len);
    if (prompt->breakpoint_count == 0)
        return (Served){ .input_uncached = tokens };
    hash_marks(prompt, hashes);
    int found = remembered_mark(cache, prompt, hashes, now_us);
    Served served = { .cache_read = tokens_until(prompt, found) };
    int64_t covered = served.cache_read;
    for (int i = 0; i < prompt->mark_count; i++) {
        Ttl ttl = prompt->marks[i].ttl;
        int64_t until = tokens_until(prompt, i);
        if (ttl == TTL_NONE || until < CACHED_TOKENS_MIN)
            continue;
        cache_touch(cache, hashes[i], now_us, ttl == TTL_1H ? 60 * MINUTE_US : 5 * MINUTE_US);
        if (until <= covered)
            continue;
        *(ttl == TTL_1H ? &served.cache_write_1h : &served.cache_write_5m) += until - covered;
        covered = until;
    }
    if (found >= 0) /* a read prolongs what was read */
        cache_touch(cache, hashes[found], now_us, prompt->marks[found].ttl == TTL_1H ? 60 * MINUTE_US : 5 * MINUTE_US);
    served.input_uncached = tokens - covered;
    return served;
}

Served served_input(Cache *cache, const Prompt *prompt, bool explicit_cache, int64_t now_us)
{
    if (prompt->directive.given)
        return served_directive(cache, prompt, explicit_cache, now_us);
    if (explicit_cache)
        return served_explicit(cache, prompt, now_us);
    return served_automatic(cache, prompt, now_us);
}
