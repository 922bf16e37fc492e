/*
 * dialects.h: the tables behind usage_normalise: where counts stand in providers' JSON, and how each dialect reads
 * them.
 *
 * A slot is one path in a usage object. A reading is a list of terms (meter = Σ plus − Σ minus) with the identity that
 * proves it. A dialect is an ordered list of readings: among those whose `needs` slot is there, the first that adds up
 * is taken; when none does, the one that comes nearest (reading_rank).
 */
#ifndef USAGE_DIALECTS_H
#define USAGE_DIALECTS_H

#include "usage/normalise.h"

/* name, path. Members of an array of objects that carry a label (modality, ttl) have the label as last segment. */
#define USAGE_SLOTS(X)                                                                                                 \
    X(PROMPT, "prompt_tokens")                                                                                         \
    X(COMPLETION, "completion_tokens")                                                                                 \
    X(TOTAL, "total_tokens")                                                                                           \
    X(P_CACHED, "prompt_tokens_details.cached_tokens")                                                                 \
    X(P_WRITE, "prompt_tokens_details.cache_write_tokens")                                                             \
    X(P_AUDIO, "prompt_tokens_details.audio_tokens")                                                                   \
    X(P_IMAGE, "prompt_tokens_details.image_tokens")                                                                   \
    X(P_VIDEO, "prompt_tokens_details.video_tokens")                                                                   \
    X(C_REASONING, "completion_tokens_details.reasoning_tokens")                                                       \
    X(C_AUDIO, "completion_tokens_details.audio_tokens")                                                               \
    X(C_IMAGE, "completion_tokens_details.image_tokens")                                                               \
    X(C_REJECTED, "completion_tokens_details.rejected_prediction_tokens")                                              \
    X(NUM_CACHED, "num_cached_tokens")                                                                                 \
    X(CACHED, "cached_tokens")                                                                                         \
    X(HIT, "prompt_cache_hit_tokens")                                                                                  \
    X(MISS, "prompt_cache_miss_tokens")                                                                                \
    X(SEARCHES_DETAILS, "server_tool_use_details.web_search_requests")                                                 \
    X(INPUT, "input_tokens")                                                                                           \
    X(OUTPUT, "output_tokens")                                                                                         \
    X(I_CACHED, "input_tokens_details.cached_tokens")                                                                  \
    X(I_WRITE, "input_tokens_details.cache_write_tokens")                                                              \
    X(O_REASONING, "output_tokens_details.reasoning_tokens")                                                           \
    X(O_THINKING, "output_tokens_details.thinking_tokens")                                                             \
    X(CREATION, "cache_creation_input_tokens")                                                                         \
    X(READ, "cache_read_input_tokens")                                                                                 \
    X(E_5M, "cache_creation.ephemeral_5m_input_tokens")                                                                \
    X(E_1H, "cache_creation.ephemeral_1h_input_tokens")                                                                \
    X(SEARCHES, "server_tool_use.web_search_requests")                                                                 \
    X(B_INPUT, "inputTokens")                                                                                          \
    X(B_OUTPUT, "outputTokens")                                                                                        \
    X(B_TOTAL, "totalTokens")                                                                                          \
    X(B_READ, "cacheReadInputTokens")                                                                                  \
    X(B_WRITE, "cacheWriteInputTokens")                                                                                \
    X(B_READ_COUNT, "cacheReadInputTokenCount")                                                                        \
    X(B_WRITE_COUNT, "cacheWriteInputTokenCount")                                                                      \
    X(B_WRITE_1H, "cacheDetails.1h")                                                                                   \
    X(G_PROMPT, "promptTokenCount")                                                                                    \
    X(G_CANDIDATES, "candidatesTokenCount")                                                                            \
    X(G_TOTAL, "totalTokenCount")                                                                                      \
    X(G_THOUGHTS, "thoughtsTokenCount")                                                                                \
    X(G_TOOL, "toolUsePromptTokenCount")                                                                               \
    X(G_CACHED, "cachedContentTokenCount")                                                                             \
    X(G_P_AUDIO, "promptTokensDetails.AUDIO")                                                                          \
    X(G_P_IMAGE, "promptTokensDetails.IMAGE")                                                                          \
    X(G_P_VIDEO, "promptTokensDetails.VIDEO")                                                                          \
    X(G_C_AUDIO, "candidatesTokensDetails.AUDIO")                                                                      \
    X(G_C_IMAGE, "candidatesTokensDetails.IMAGE")                                                                      \
    X(G_K_AUDIO, "cacheTokensDetails.AUDIO")                                                                           \
    X(G_K_IMAGE, "cacheTokensDetails.IMAGE")                                                                           \
    X(G_K_VIDEO, "cacheTokensDetails.VIDEO")                                                                           \
    X(H_INPUT, "billed_units.input_tokens")                                                                            \
    X(H_OUTPUT, "billed_units.output_tokens")                                                                          \
    X(H_IMAGE, "billed_units.image_tokens")                                                                            \
    X(R_IN_AUDIO, "input_token_details.audio_tokens")                                                                  \
    X(R_IN_IMAGE, "input_token_details.image_tokens")                                                                  \
    X(R_IN_TEXT, "input_token_details.text_tokens")                                                                    \
    X(R_K_AUDIO, "input_token_details.cached_tokens_details.audio_tokens")                                             \
    X(R_K_IMAGE, "input_token_details.cached_tokens_details.image_tokens")                                             \
    X(R_CACHED, "input_token_details.cached_tokens")                                                                   \
    X(R_OUT_AUDIO, "output_token_details.audio_tokens")

typedef enum Slot {
    SLOT_NONE,
#define X(name, path) SLOT_##name,
    USAGE_SLOTS(X)
#undef X
        SLOT_COUNT,
} Slot;
_Static_assert(SLOT_COUNT <= 64, "the set of slots is one word");

extern const Str usage_slot_paths[SLOT_COUNT];

typedef struct Term {
    uint8_t meter;
    uint8_t plus; /* the meter is present when this slot is */
    uint8_t minus[5];
    uint8_t back[3]; /* added again: parts of two of the subtracted */
    bool skip_zero;  /* absent rather than 0: a remainder that usually is nothing */
} Term;

#define READING_TERMS_MAX 12
typedef struct Reading {
    uint8_t needs;    /* slot without which this reading is not tried */
    uint8_t total;    /* the provider's total; SLOT_NONE: `parts` are the total */
    uint8_t parts[5]; /* the counts that the total is made of when the provider gives none */
    Term terms[READING_TERMS_MAX];
} Reading;

typedef struct Dialect {
    Str name;
    const Reading *readings;
    size_t count;
} Dialect;

const Dialect *usage_dialect_find(Str name); /* NULL when there is none */

/* Another spelling of a count: taken for `slot` when that is absent. */
typedef struct Spelling {
    uint8_t slot, other;
} Spelling;
extern const Spelling usage_spellings[];
extern const size_t usage_spelling_count;

#endif
