/* dialects.c: what each provider's numbers mean. Data, versioned by USAGE_NORMALISER_VERSION. */
/* clang-format off */
#include "dialects.h"

#define S(name) SLOT_##name
#define M(name) METER_##name

const Str usage_slot_paths[SLOT_COUNT] = {
#define X(name, path) [SLOT_##name] = STR_INIT(path),
    USAGE_SLOTS(X)
#undef X
};

const Spelling usage_spellings[] = {
    { S(P_CACHED), S(NUM_CACHED) }, /* Mistral */
    { S(P_CACHED), S(CACHED) },     /* Moonshot; Cohere's is informational and no reading of Cohere's uses it */
    { S(P_CACHED), S(HIT) },
    { S(B_READ), S(B_READ_COUNT) },
    { S(B_WRITE), S(B_WRITE_COUNT) },
};
const size_t usage_spelling_count = COUNT_OF(usage_spellings);

/* Prompt and completion hold everything else. */
#define OPENAI_CHAT                                                                                                    \
    { .needs = S(PROMPT), .total = S(TOTAL), .parts = { S(PROMPT), S(COMPLETION) },                                    \
        .terms = {                                                                                                     \
            { M(INPUT_UNCACHED), S(PROMPT), { S(P_CACHED), S(P_WRITE), S(P_AUDIO), S(P_IMAGE), S(P_VIDEO) } },         \
            { M(CACHE_READ), S(P_CACHED) },                                                                            \
            { M(CACHE_WRITE_OTHER), S(P_WRITE) },                                                                      \
            { M(AUDIO_IN), S(P_AUDIO) },                                                                               \
            { M(IMAGE_IN), S(P_IMAGE) },                                                                               \
            { M(VIDEO_IN), S(P_VIDEO) },                                                                               \
            { M(OUTPUT), S(COMPLETION), { S(C_REASONING), S(C_AUDIO), S(C_IMAGE), S(C_REJECTED) } },                   \
            { M(REASONING), S(C_REASONING) },                                                                          \
            { M(AUDIO_OUT), S(C_AUDIO) },                                                                              \
            { M(IMAGE_OUT), S(C_IMAGE) },                                                                              \
            { M(PREDICTION_REJECTED), S(C_REJECTED) },                                                                 \
            { M(WEB_SEARCH), S(SEARCHES_DETAILS) },                                                                    \
        } }

/* Reasoning stands beside the completion: total = prompt + completion + reasoning. */
#define CHAT_REASONING_BESIDE                                                                                          \
    { .needs = S(C_REASONING), .total = S(TOTAL), .parts = { S(PROMPT), S(COMPLETION), S(C_REASONING) },               \
        .terms = {                                                                                                     \
            { M(INPUT_UNCACHED), S(PROMPT), { S(P_CACHED), S(P_WRITE), S(P_AUDIO), S(P_IMAGE), S(P_VIDEO) } },         \
            { M(CACHE_READ), S(P_CACHED) },                                                                            \
            { M(CACHE_WRITE_OTHER), S(P_WRITE) },                                                                      \
            { M(AUDIO_IN), S(P_AUDIO) },                                                                               \
            { M(IMAGE_IN), S(P_IMAGE) },                                                                               \
            { M(VIDEO_IN), S(P_VIDEO) },                                                                               \
            { M(OUTPUT), S(COMPLETION), { S(C_AUDIO), S(C_IMAGE), S(C_REJECTED) } },                                   \
            { M(REASONING), S(C_REASONING) },                                                                          \
            { M(AUDIO_OUT), S(C_AUDIO) },                                                                              \
            { M(IMAGE_OUT), S(C_IMAGE) },                                                                              \
            { M(PREDICTION_REJECTED), S(C_REJECTED) },                                                                 \
            { M(WEB_SEARCH), S(SEARCHES_DETAILS) },                                                                    \
        } }

/* Cached tokens stand beside the prompt: total = prompt + cached + written + completion. */
#define CHAT_CACHE_BESIDE                                                                                              \
    { .needs = S(P_CACHED), .total = S(TOTAL), .parts = { S(PROMPT), S(P_CACHED), S(P_WRITE), S(COMPLETION) },         \
        .terms = {                                                                                                     \
            { M(INPUT_UNCACHED), S(PROMPT), { S(P_AUDIO), S(P_IMAGE), S(P_VIDEO) } },                                  \
            { M(CACHE_READ), S(P_CACHED) },                                                                            \
            { M(CACHE_WRITE_OTHER), S(P_WRITE) },                                                                      \
            { M(AUDIO_IN), S(P_AUDIO) },                                                                               \
            { M(IMAGE_IN), S(P_IMAGE) },                                                                               \
            { M(VIDEO_IN), S(P_VIDEO) },                                                                               \
            { M(OUTPUT), S(COMPLETION), { S(C_REASONING), S(C_AUDIO), S(C_IMAGE), S(C_REJECTED) } },                   \
            { M(REASONING), S(C_REASONING) },                                                                          \
            { M(AUDIO_OUT), S(C_AUDIO) },                                                                              \
            { M(IMAGE_OUT), S(C_IMAGE) },                                                                              \
            { M(PREDICTION_REJECTED), S(C_REJECTED) },                                                                 \
            { M(WEB_SEARCH), S(SEARCHES_DETAILS) },                                                                    \
        } }

/* Each modality includes its cached part; cached_tokens is the sum of those parts. */
#define OPENAI_REALTIME                                                                                                \
    { .needs = S(R_IN_TEXT), .total = S(TOTAL), .parts = { S(INPUT), S(OUTPUT) },                                      \
        .terms = {                                                                                                     \
            { M(INPUT_UNCACHED), S(INPUT), { S(R_CACHED), S(R_IN_AUDIO), S(R_IN_IMAGE) },                              \
                { S(R_K_AUDIO), S(R_K_IMAGE) } },                                                                      \
            { M(CACHE_READ), S(R_CACHED), { S(R_K_AUDIO) } },                                                          \
            { M(CACHE_READ_AUDIO), S(R_K_AUDIO) },                                                                     \
            { M(AUDIO_IN), S(R_IN_AUDIO), { S(R_K_AUDIO) } },                                                          \
            { M(IMAGE_IN), S(R_IN_IMAGE), { S(R_K_IMAGE) } },                                                          \
            { M(OUTPUT), S(OUTPUT), { S(R_OUT_AUDIO) } },                                                              \
            { M(AUDIO_OUT), S(R_OUT_AUDIO) },                                                                          \
        } }

#define OPENAI_RESPONSES                                                                                               \
    { .needs = S(INPUT), .total = S(TOTAL), .parts = { S(INPUT), S(OUTPUT) },                                          \
        .terms = {                                                                                                     \
            { M(INPUT_UNCACHED), S(INPUT), { S(I_CACHED), S(I_WRITE) } },                                              \
            { M(CACHE_READ), S(I_CACHED) },                                                                            \
            { M(CACHE_WRITE_OTHER), S(I_WRITE) },                                                                      \
            { M(OUTPUT), S(OUTPUT), { S(O_REASONING) } },                                                              \
            { M(REASONING), S(O_REASONING) },                                                                          \
        } }

static const Reading openai[] = { OPENAI_CHAT, CHAT_REASONING_BESIDE, CHAT_CACHE_BESIDE, OPENAI_REALTIME,
    OPENAI_RESPONSES };

/* Input excludes cached tokens; the classes are disjoint as they come. The breakdown by lifetime may be missing: then
 * what was written is taken to live five minutes, which is what the provider's default is. */
static const Reading anthropic[] = {
    { .needs = S(E_5M), .total = SLOT_NONE, .parts = { S(INPUT), S(CREATION), S(READ), S(OUTPUT) },
        .terms = {
            { M(INPUT_UNCACHED), S(INPUT) },
            { M(CACHE_READ), S(READ) },
            { M(CACHE_WRITE_5M), S(E_5M) },
            { M(CACHE_WRITE_1H), S(E_1H) },
            { M(CACHE_WRITE_OTHER), S(CREATION), { S(E_5M), S(E_1H) }, .skip_zero = true },
            { M(OUTPUT), S(OUTPUT), { S(O_THINKING) } },
            { M(REASONING), S(O_THINKING) },
            { M(WEB_SEARCH), S(SEARCHES) },
        } },
    { .needs = S(INPUT), .total = SLOT_NONE, .parts = { S(INPUT), S(CREATION), S(READ), S(OUTPUT) },
        .terms = {
            { M(INPUT_UNCACHED), S(INPUT) },
            { M(CACHE_READ), S(READ) },
            { M(CACHE_WRITE_5M), S(CREATION) },
            { M(OUTPUT), S(OUTPUT), { S(O_THINKING) } },
            { M(REASONING), S(O_THINKING) },
            { M(WEB_SEARCH), S(SEARCHES) },
        } },
    { .needs = S(OUTPUT), .total = SLOT_NONE, .parts = { S(CREATION), S(READ), S(OUTPUT) }, /* a lone message_delta */
        .terms = {
            { M(CACHE_READ), S(READ) },
            { M(CACHE_WRITE_5M), S(CREATION) },
            { M(OUTPUT), S(OUTPUT), { S(O_THINKING) } },
            { M(REASONING), S(O_THINKING) },
            { M(WEB_SEARCH), S(SEARCHES) },
        } },
    OPENAI_CHAT, /* its OpenAI-compatible endpoint */
};

/* Thoughts and tool prompts stand outside candidates and prompt; the prompt includes what was cached. Details by
 * modality do not always add up, so text is what they leave, and the second reading does without them. */
static const Reading gemini[] = {
    { .needs = S(G_PROMPT), .total = S(G_TOTAL), .parts = { S(G_PROMPT), S(G_CANDIDATES), S(G_THOUGHTS), S(G_TOOL) },
        .terms = {
            { M(INPUT_UNCACHED), S(G_PROMPT), { S(G_CACHED), S(G_P_AUDIO), S(G_P_IMAGE), S(G_P_VIDEO) },
                { S(G_K_AUDIO), S(G_K_IMAGE), S(G_K_VIDEO) } },
            { M(CACHE_READ), S(G_CACHED), { S(G_K_AUDIO) } },
            { M(CACHE_READ_AUDIO), S(G_K_AUDIO) },
            { M(AUDIO_IN), S(G_P_AUDIO), { S(G_K_AUDIO) } },
            { M(IMAGE_IN), S(G_P_IMAGE), { S(G_K_IMAGE) } },
            { M(VIDEO_IN), S(G_P_VIDEO), { S(G_K_VIDEO) } },
            { M(TOOL_PROMPT), S(G_TOOL) },
            { M(OUTPUT), S(G_CANDIDATES), { S(G_C_AUDIO), S(G_C_IMAGE) } },
            { M(REASONING), S(G_THOUGHTS) },
            { M(AUDIO_OUT), S(G_C_AUDIO) },
            { M(IMAGE_OUT), S(G_C_IMAGE) },
        } },
    { .needs = S(G_PROMPT), .total = S(G_TOTAL), .parts = { S(G_PROMPT), S(G_CANDIDATES), S(G_THOUGHTS), S(G_TOOL) },
        .terms = {
            { M(INPUT_UNCACHED), S(G_PROMPT), { S(G_CACHED) } },
            { M(CACHE_READ), S(G_CACHED) },
            { M(TOOL_PROMPT), S(G_TOOL) },
            { M(OUTPUT), S(G_CANDIDATES) },
            { M(REASONING), S(G_THOUGHTS) },
        } },
    OPENAI_CHAT,
};

/* Cache tokens stand outside the input; a second reading for models that count them inside. */
static const Reading bedrock[] = {
    { .needs = S(B_INPUT), .total = S(B_TOTAL), .parts = { S(B_INPUT), S(B_OUTPUT), S(B_READ), S(B_WRITE) },
        .terms = {
            { M(INPUT_UNCACHED), S(B_INPUT) },
            { M(CACHE_READ), S(B_READ) },
            { M(CACHE_WRITE_5M), S(B_WRITE), { S(B_WRITE_1H) } },
            { M(CACHE_WRITE_1H), S(B_WRITE_1H) },
            { M(OUTPUT), S(B_OUTPUT) },
        } },
    { .needs = S(B_INPUT), .total = S(B_TOTAL), .parts = { S(B_INPUT), S(B_OUTPUT) },
        .terms = {
            { M(INPUT_UNCACHED), S(B_INPUT), { S(B_READ), S(B_WRITE) } },
            { M(CACHE_READ), S(B_READ) },
            { M(CACHE_WRITE_5M), S(B_WRITE), { S(B_WRITE_1H) } },
            { M(CACHE_WRITE_1H), S(B_WRITE_1H) },
            { M(OUTPUT), S(B_OUTPUT) },
        } },
    OPENAI_CHAT,
    OPENAI_RESPONSES,
};

static const Reading deepseek[] = {
    { .needs = S(MISS), .total = S(TOTAL), .parts = { S(PROMPT), S(COMPLETION) },
        .terms = {
            { M(INPUT_UNCACHED), S(MISS) },
            { M(CACHE_READ), S(HIT) },
            { M(OUTPUT), S(COMPLETION), { S(C_REASONING) } },
            { M(REASONING), S(C_REASONING) },
        } },
    OPENAI_CHAT,
    OPENAI_RESPONSES,
};

/* Bills its own units; tokens and cached_tokens are informational and no part of them. */
static const Reading cohere[] = {
    { .needs = S(H_INPUT), .total = SLOT_NONE, .parts = { S(H_INPUT), S(H_OUTPUT), S(H_IMAGE) },
        .terms = {
            { M(INPUT_UNCACHED), S(H_INPUT) },
            { M(OUTPUT), S(H_OUTPUT) },
            { M(IMAGE_IN), S(H_IMAGE) },
        } },
    OPENAI_CHAT,
};

#define DIALECT(dialect_name, table) { STR_INIT(dialect_name), table, COUNT_OF(table) }
static const Dialect dialects[] = {
    DIALECT("openai", openai),
    DIALECT("anthropic", anthropic),
    DIALECT("gemini", gemini),
    DIALECT("vertex", gemini),
    DIALECT("bedrock", bedrock),
    DIALECT("azure", openai),
    DIALECT("deepseek", deepseek),
    DIALECT("xai", openai),
    DIALECT("groq", openai),
    DIALECT("mistral", openai),
    DIALECT("moonshot", openai),
    DIALECT("zai", openai),
    DIALECT("fireworks", openai),
    DIALECT("together", openai),
    DIALECT("openrouter", openai),
    DIALECT("cohere", cohere),
};

const Dialect *usage_dialect_find(Str name)
{
    for (size_t i = 0; i < COUNT_OF(dialects); i++)
        if (str_eq(dialects[i].name, name))
            return &dialects[i];
    return NULL;
}
