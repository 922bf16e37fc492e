/*
 * normalise.h: a provider's own usage numbers, read as disjoint meters.
 *
 * `raw` is the JSON object that the provider calls usage (`usage`, `usageMetadata`, `meta`), byte for byte, or several
 * of them in the order they came (a stream's message_start and message_delta), with white space between. A document
 * that merely contains the usage object at its top (a whole response) is read as well.
 *
 *     UsageReading reading;
 *     TRY(usage_normalise(arena, dialect, endpoint, stream, raw, &reading));
 *     for (size_t i = 0; i < reading.count; i++)
 *         if (usage_unit_has(&reading.units[i], METER_CACHE_READ)) ...
 *
 * What a count means is a table (src/usage/dialects.c), because providers disagree: some count cached tokens inside the
 * prompt, some outside, some change their minds. Where a dialect has several readings the provider's own total decides.
 *
 * Invariants: a count the provider did not give is absent, never 0. No quantity is negative. For a dialect whose
 * provider states totals, Σ token meters + residual = total; a contradiction lands in the residual with a flag and is
 * never clamped away. The same bytes and version give the same reading for ever.
 */
#ifndef USAGE_NORMALISE_H
#define USAGE_NORMALISE_H

#include "base/arena.h"
#include "usage/meter.h"

#define USAGE_NORMALISER_VERSION 1
#define USAGE_RAW_BYTES_MAX (64 * 1024)
#define USAGE_DOCUMENTS_MAX 64
#define USAGE_ITERATIONS_MAX 64
#define USAGE_DEPTH_MAX 16

typedef enum UsageFlag {
    USAGE_CONTRADICTION = 1,     /* a class would be negative: it is absent, the difference is in the residual */
    USAGE_RESIDUAL = 2,          /* the provider's total is not the sum of the classes */
    USAGE_BAD_VALUE = 4,         /* a count was negative, fractional or beyond 64 bits; taken as absent */
    USAGE_OTHER_READING = 8,     /* not the dialect's first reading: the provider's total chose another */
    USAGE_TOP_DIFFERS = 16,      /* the totals hide what the iterations bill, or disagree with them */
    USAGE_SPELLINGS_DIFFER = 32, /* two spellings of one count disagree; the detailed one counts */
    USAGE_EMPTY = 64,            /* well-formed, but no count that the dialect knows */
} UsageFlag;

/* One priced quantity vector. Strings are borrowed from the raw bytes. */
typedef struct UsageUnit {
    Str model;        /* empty: the model that answered the attempt */
    Str kind;         /* "message", or an iteration's type: "compaction", "advisor_message" */
    uint32_t present; /* bit of each meter that has a quantity */
    uint32_t flags;   /* of UsageFlag */
    int64_t residual;
    int64_t quantity[METER_COUNT];
} UsageUnit;

typedef struct UsageReading {
    UsageUnit *units; /* at least one */
    size_t count;
    int64_t residual; /* Σ of the units' */
    uint32_t flags;   /* of all units */
    int version;
    Str service_tier; /* as the response says, or empty */
} UsageReading;

static inline bool usage_unit_has(const UsageUnit *unit, Meter meter)
{
    return (unit->present >> meter & 1) != 0;
}

bool usage_dialect_known(Str dialect);

/*
 * Reads raw bytes of a dialect ("openai", "anthropic", "gemini", "bedrock", "deepseek", "xai", "groq", "mistral",
 * "cohere", "openrouter", ...). `endpoint` and `stream` are hints that version 1 does not need: the shape of the
 * numbers decides. ERR_INVALID with code "usage-unknown-dialect", "usage-too-large" or "usage-malformed".
 */
CHECKED Err usage_normalise(Arena *arena, Str dialect, Str endpoint, bool stream, Str raw, UsageReading *ret_reading);

#endif
