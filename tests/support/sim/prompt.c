#include "prompt.h"

#include <string.h>

/* The parts of a body that are walked only after all of it has been seen, since their order matters. */
typedef struct Parts {
    Text tools, system, messages;
} Parts;

int64_t tokens_of(size_t bytes)
{
    int64_t tokens = (int64_t)((bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN);
    return tokens ? tokens : 1;
}

/* --- the top-level members ---------------------------------------------------------------------------------- */

static void read_model(Prompt *prompt, Parts *parts, Text value)
{
    Text raw = json_raw(value);
    (void)parts;
    if (raw.len >= sizeof prompt->model || (raw.len && memchr(raw.ptr, '\\', raw.len)))
        prompt->problem = "model is too long or has escapes.";
    else
        text_copy(prompt->model, sizeof prompt->model, raw);
}

static void read_stream(Prompt *prompt, Parts *parts, Text value)
{
    (void)parts;
    prompt->stream = json_is_true(value);
}

static void read_stream_options(Prompt *prompt, Parts *parts, Text value)
{
    Text member;
    (void)parts;
    prompt->include_usage = json_member(value, TEXT("include_usage"), &member) && json_is_true(member);
}

static void read_output_max(Prompt *prompt, Parts *parts, Text value)
{
    (void)parts;
    if (text_eq(value, TEXT("null")))
        return;
    if (!text_int(value, &prompt->output_max) || prompt->output_max < 1)
        prompt->problem = "max_tokens must be a whole number from 1 up.";
}

static void read_reasoning_effort(Prompt *prompt, Parts *parts, Text value)
{
    static const struct {
        Text effort;
        int percent;
    } shares[] = { { TEXT_INIT("minimal"), 10 }, { TEXT_INIT("low"), 25 }, { TEXT_INIT("medium"), 50 },
        { TEXT_INIT("high"), 75 } };
    (void)parts;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        if (text_eq(json_raw(value), shares[i].effort))
            prompt->reasoning_percent = shares[i].percent;
    }
}

static void read_thinking(Prompt *prompt, Parts *parts, Text value)
{
    Text type;
    (void)parts;
    if (json_member(value, TEXT("type"), &type) && text_eq(json_raw(type), TEXT("enabled")))
        prompt->reasoning_percent = 50;
}

static void read_tools(Prompt *prompt, Parts *parts, Text value)
{
    (void)prompt;
    parts->tools = value;
}

static void read_system(Prompt *prompt, Parts *parts, Text value)
{
    (void)prompt;
    parts->system = value;
}

static void read_messages(Prompt *prompt, Parts *parts, Text value)
{
    (void)prompt;
    parts->messages = value;
}

static const struct {
    Text name;
    void (*read)(Prompt *prompt, Parts *parts, Text value);
} members[] = {
    { TEXT_INIT("model"), read_model },
    { TEXT_INIT("messages"), read_messages },
    { TEXT_INIT("stream"), read_stream },
    { TEXT_INIT("stream_options"), read_stream_options },
    { TEXT_INIT("max_tokens"), read_output_max },
    { TEXT_INIT("max_completion_tokens"), read_output_max },
    { TEXT_INIT("system"), read_system },
    { TEXT_INIT("tools"), read_tools },
    { TEXT_INIT("reasoning_effort"), read_reasoning_effort },
    { TEXT_INIT("thinking"), read_thinking },
};

static void read_member(Prompt *prompt, Parts *parts, Text name, Text value)
{
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (text_eq(name, members[i].name)) {
            members[i].read(prompt, parts, value);
            return;
        }
    }
}

/* --- the prompt's text ---------------------------------------------------------------------------------------- */

static Ttl ttl_read(Text control)
{
    Text ttl;
    bool hour = json_member(control, TEXT("ttl"), &ttl) && text_eq(json_raw(ttl), TEXT("1h"));
    return hour ? TTL_1H : TTL_5M;
}

/* Ends a block of the prompt; `object` is where its cache_control would stand. */
static void mark_end(Prompt *prompt, Text object)
{
    Text control;
    Ttl ttl = TTL_NONE;
    if (json_member(object, TEXT("cache_control"), &control) && control.ptr[0] == '{')
        ttl = ttl_read(control);
    if (ttl != TTL_NONE && ++prompt->breakpoint_count > BREAKPOINTS_MAX)
        prompt->problem = "A maximum of 4 blocks with cache_control may be provided.";
    if (prompt->mark_count == MARKS_MAX) /* the last mark then covers what follows */
        prompt->mark_count--;
    prompt->marks[prompt->mark_count++] = (Mark){ prompt->text.len, ttl };
}

static void read_tool_list(Prompt *prompt, Text tools)
{
    JsonWalk walk;
    Text name, tool;
    if (!json_open(tools, &walk))
        return;
    while (json_next(&walk, &name, &tool)) {
        buf_put(&prompt->text, tool);
        mark_end(prompt, tool);
    }
}

/* A string, or an array of parts of which those that are not text count as their JSON. */
static void read_content(Prompt *prompt, Text content)
{
    JsonWalk walk;
    Text name, part, text;
    if (json_is_string(content)) {
        json_unescape(&prompt->text, content);
        mark_end(prompt, TEXT("{}"));
        return;
    }
    if (!json_open(content, &walk))
        return;
    while (json_next(&walk, &name, &part)) {
        if (json_member(part, TEXT("text"), &text))
            json_unescape(&prompt->text, text);
        else
            buf_put(&prompt->text, part);
        mark_end(prompt, part);
    }
}

static void directive_int(Text object, Text name, int64_t *ret_value)
{
    Text value;
    if (json_member(object, name, &value))
        text_int(value, ret_value);
}

static void read_directive(Prompt *prompt, Text object)
{
    Directive *directive = &prompt->directive;
    Text value;
    int64_t gap_ms = -1;
    *directive = (Directive){ .given = true, .input = 1, .output = -1, .block_tokens = 512, .ttl = TTL_5M };
    directive_int(object, TEXT("input"), &directive->input);
    directive_int(object, TEXT("output"), &directive->output);
    directive_int(object, TEXT("block_tokens"), &directive->block_tokens);
    directive_int(object, TEXT("first_ms"), &prompt->pace.first_ms);
    directive_int(object, TEXT("gap_ms"), &gap_ms);
    directive_int(object, TEXT("events"), &prompt->pace.events);
    if (gap_ms >= 0)
        prompt->pace.gap_us = gap_ms * 1000;
    if (json_member(object, TEXT("blocks"), &value))
        directive->blocks = value;
    if (json_member(object, TEXT("ttl"), &value) && text_eq(json_raw(value), TEXT("1h")))
        directive->ttl = TTL_1H;
    if (directive->input < 1 || directive->block_tokens < 1)
        prompt->problem = "The sim: directive needs input and block_tokens from 1 up.";
}

static void read_message(Prompt *prompt, Text message, size_t *directive_at)
{
    Text role = { "", 0 }, value;
    size_t start = prompt->text.len;
    if (json_member(message, TEXT("role"), &value))
        role = json_raw(value);
    if (json_member(message, TEXT("content"), &value))
        read_content(prompt, value);
    if (json_member(message, TEXT("tool_calls"), &value)) {
        buf_put(&prompt->text, value);
        mark_end(prompt, TEXT("{}"));
    }
    Text added = { prompt->text.ptr + start, prompt->text.len - start };
    if (text_eq(role, TEXT("user")) && text_starts(added, TEXT("sim:")))
        *directive_at = start + 4;
}

static void read_message_list(Prompt *prompt, Text messages)
{
    JsonWalk walk;
    Text name, message;
    size_t directive_at = 0;
    if (!json_open(messages, &walk) || walk.close != ']') {
        prompt->problem = "messages must be a list.";
        return;
    }
    while (json_next(&walk, &name, &message))
        read_message(prompt, message, &directive_at);
    if (directive_at)
        read_directive(prompt, (Text){ prompt->text.ptr + directive_at, prompt->text.len - directive_at });
}

static void prompt_clear(Prompt *prompt)
{
    Buf text = prompt->text;
    text.len = 0;
    prompt->model[0] = '\0';
    prompt->stream = false;
    prompt->include_usage = false;
    prompt->output_max = -1;
    prompt->reasoning_percent = 0;
    prompt->pace = PACE_UNSET;
    prompt->directive = (Directive){ .output = -1 };
    prompt->mark_count = 0;
    prompt->breakpoint_count = 0;
    prompt->problem = NULL;
    prompt->text = text;
}

void prompt_read(Prompt *prompt, Text body)
{
    JsonWalk walk;
    Text name, value;
    Parts parts = { 0 };
    prompt_clear(prompt);
    if (!json_open(body, &walk) || walk.close != '}') {
        prompt->problem = "The body must be a JSON object.";
        return;
    }
    while (json_next(&walk, &name, &value))
        read_member(prompt, &parts, name, value);
    if (walk.failed || text_trim((Text){ walk.at, (size_t)(walk.end - walk.at) }).len != 1) {
        prompt->problem = "The body is not valid JSON.";
        return;
    }
    read_tool_list(prompt, parts.tools);
    read_content(prompt, parts.system);
    read_message_list(prompt, parts.messages);
    if (!prompt->problem && !prompt->model[0])
        prompt->problem = "you must provide a model parameter";
}

void prompt_release(Prompt *prompt)
{
    buf_release(&prompt->text);
}

void pace_read(Pace *pace, Text header)
{
    while (header.ptr) {
        Text value = text_trim(text_split(&header, ','));
        Text name = text_trim(text_split(&value, '='));
        int64_t number;
        if (!value.ptr || !text_int(text_trim(value), &number))
            continue;
        if (text_eq(name, TEXT("first_ms")))
            pace->first_ms = number;
        else if (text_eq(name, TEXT("gap_ms")))
            pace->gap_us = number * 1000;
        else if (text_eq(name, TEXT("events")))
            pace->events = number;
    }
}
