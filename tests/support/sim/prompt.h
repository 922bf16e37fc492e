/*
 * prompt.h: what a request asks of a model: which one, how much to generate, and a prompt that can be counted.
 *
 * The prompt is the text of tools, system and messages in that order, whatever their order in the body. Four bytes
 * of UTF-8 are a token; any prompt has at least one. A user message that starts with `sim:` and a JSON object
 * replaces all that by plain numbers, so that traces need no megabytes of text:
 *
 *     sim:{"input":40160,"output":6,"blocks":[0,1,2],"block_tokens":512,"ttl":"1h",
 *          "first_ms":300,"gap_ms":20,"events":50}
 */
#ifndef SIM_PROMPT_H
#define SIM_PROMPT_H

#include "json.h"

#define MODEL_BYTES_MAX 128
#define MARKS_MAX 1024
#define BREAKPOINTS_MAX 4
#define OUTPUT_TOKENS_MAX 131072
#define BYTES_PER_TOKEN 4

typedef enum Ttl { TTL_NONE, TTL_5M, TTL_1H } Ttl;

/* The end of one content block, as an offset into the text; a breakpoint when its ttl is not TTL_NONE. */
typedef struct Mark {
    size_t end;
    Ttl ttl;
} Mark;

/* How fast the answer comes; a negative member was not asked for. */
typedef struct Pace {
    int64_t first_ms;
    int64_t gap_us;
    int64_t events;
} Pace;

#define PACE_UNSET ((Pace){ -1, -1, -1 })

typedef struct Directive {
    bool given;
    int64_t input;
    int64_t output; /* -1 = not said */
    int64_t block_tokens;
    Text blocks; /* the JSON array, inside the prompt's text */
    Ttl ttl;
} Directive;

typedef struct Prompt {
    char model[MODEL_BYTES_MAX];
    bool stream;
    bool include_usage;
    int64_t output_max;    /* -1 = not said */
    int reasoning_percent; /* share of the output that is reasoned and not shown */
    Pace pace;
    Directive directive;
    Buf text;
    Mark marks[MARKS_MAX];
    int mark_count;
    int breakpoint_count;
    const char *problem; /* why the provider refuses the body, or NULL */
} Prompt;

/* Reads a body. Afterwards prompt->problem says what is wrong, if anything. The prompt's memory is used again. */
void prompt_read(Prompt *prompt, Text body);
void prompt_release(Prompt *prompt);

/* Reads `first_ms=..,gap_ms=..,events=..`; parts it does not know are ignored. */
void pace_read(Pace *pace, Text header);

int64_t tokens_of(size_t bytes);

#endif
