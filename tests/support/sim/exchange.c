#include "exchange.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FILLER_WORDS 16

/* --- identifiers and filler ----------------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
    static _Thread_local uint64_t state;
    if (!state && getrandom(&state, sizeof state, 0) != sizeof state)
        state = (uint64_t)time(NULL);
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void make_id(char *array, size_t size, Text prefix)
{
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t high = next_random(), low = next_random();
    size_t at = prefix.len < size - 25 ? prefix.len : size - 25;
    memcpy(array, prefix.ptr, at);
    for (int i = 0; i < 12; i++) {
        array[at++] = alphabet[high >> (5 * i) & 31];
        array[at++] = alphabet[low >> (5 * i) & 31];
    }
    array[at] = '\0';
}

/* Tokens are four bytes each, so the text of a run of tokens is a slice. */
Text exchange_text(int64_t from, int64_t to)
{
    static const char words[FILLER_WORDS][BYTES_PER_TOKEN + 1] = { "The ", "key ", "was ", "set ", "and ", "the ",
        "sum ", "was ", "due ", "for ", "all ", "who ", "had ", "any ", "ask ", "now " };
    static _Thread_local char text[OUTPUT_TOKENS_MAX * BYTES_PER_TOKEN];
    if (!text[0]) {
        for (size_t i = 0; i < OUTPUT_TOKENS_MAX; i++)
            memcpy(text + i * BYTES_PER_TOKEN, words[i % FILLER_WORDS], BYTES_PER_TOKEN);
    }
    return (Text){ text + from * BYTES_PER_TOKEN, (size_t)(to - from) * BYTES_PER_TOKEN };
}

/* --- deciding ---------------------------------------------------------------------------------------------------- */

static Text caller_key(const Exchange *exchange, const Request *request)
{
    if (exchange->dialect == &ANTHROPIC && request->api_key.len)
        return request->api_key;
    return request->bearer;
}

static void refuse(Exchange *exchange, int status, const char *problem)
{
    exchange->status = status;
    exchange->problem = problem;
}

static bool model_is_served(const Options *options, const char *model)
{
    Text rest = text_of(options->models);
    if (!options->models)
        return true;
    while (rest.ptr) {
        if (text_eq(text_trim(text_split(&rest, ',')), text_of(model)))
            return true;
    }
    return false;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How much is generated: what the directive says, else the events asked for, else the default; never over the bound. */
static void decide_output(Exchange *exchange, const Options *options, const Prompt *prompt)
{
    int64_t output = options->output_tokens;
    if (prompt->pace.events > 0)
        output = prompt->pace.events;
    if (prompt->directive.output >= 0)
        output = prompt->directive.output;
    output = smaller(output, OUTPUT_TOKENS_MAX);
    exchange->bounded = prompt->output_max >= 0 && prompt->output_max < output;
    if (exchange->bounded)
        output = prompt->output_max;
    exchange->reasoning = output * prompt->reasoning_percent / 100;
    exchange->visible = output - exchange->reasoning;
}

static void decide_pace(Exchange *exchange, const Options *options, const Prompt *prompt)
{
    const Pace *pace = &prompt->pace;
    int64_t per_event = options->tokens_per_event;
    int64_t gap_us = pace->gap_us >= 0 ? pace->gap_us : options->token_us * per_event;
    int64_t first_ms = pace->first_ms >= 0 ? pace->first_ms : options->first_byte_ms;
    exchange->events =
        pace->events > 0 ? smaller(pace->events, exchange->visible) : (exchange->visible + per_event - 1) / per_event;
    exchange->gap_us = options->fast ? 0 : gap_us;
    exchange->first_us = options->fast ? 0 : first_ms * 1000;
    if (!exchange->stream)
        exchange->first_us += exchange->events * exchange->gap_us;
    if (exchange->fault.kind == FAULT_SLOW_FIRST_BYTE)
        exchange->first_us += exchange->fault.ms * 1000;
}

static bool fault_answers_nothing(FaultKind kind)
{
    return kind == FAULT_STATUS || kind == FAULT_HANG || kind == FAULT_HANG_AFTER_HEADERS || kind == FAULT_RESET ||
           kind == FAULT_EMPTY || kind == FAULT_MALFORMED;
}

static void keep_echo(Exchange *exchange, const Request *request)
{
    snprintf(exchange->echo, sizeof exchange->echo, "authorization: %.*s\r\nx-api-key: %.*s\r\n",
        (int)smaller((int64_t)request->authorization.len, 100),
        request->authorization.len ? request->authorization.ptr : "", (int)smaller((int64_t)request->api_key.len, 100),
        request->api_key.len ? request->api_key.ptr : "");
}

static void count_model(Stats *stats, const char *model)
{
    for (int i = 0; i < stats->model_count; i++) {
        if (strcmp(stats->models[i].name, model) == 0) {
            stats->models[i].requests++;
            return;
        }
    }
    if (stats->model_count == MODELS_MAX)
        return;
    ModelCount *count = &stats->models[stats->model_count++];
    text_copy(count->name, sizeof count->name, text_of(model));
    count->requests = 1;
}

/* Under the world's lock. */
static void decide(Exchange *exchange, World *world, Prompt *prompt, const Request *request, int64_t now_us)
{
    Text key_text = caller_key(exchange, request);
    exchange->key = keys_find(world->keys, key_text);
    world->stats.requests++;
    if (exchange->key)
        exchange->key->requests++;
    if (!keys_accept(world->keys, exchange->key)) {
        refuse(exchange, 401, "Incorrect API key provided.");
        return;
    }
    exchange->fault = faults_take(&world->faults, text_of(prompt->model), key_text, request->path, prompt->stream);
    if (exchange->fault.kind == FAULT_ERROR_EVENT && !prompt->stream) {
        exchange->fault.kind = FAULT_STATUS; /* without a stream there is no event to send */
        exchange->fault.status = 500;
    }
    if (exchange->fault.kind == FAULT_STATUS) {
        refuse(exchange, (int)exchange->fault.status, "The simulated provider was told to fail.");
        return;
    }
    if (prompt->problem) {
        refuse(exchange, 400, prompt->problem);
        return;
    }
    count_model(&world->stats, prompt->model);
    if (!model_is_served(&world->options, prompt->model)) {
        refuse(exchange, 404, "The model does not exist or you do not have access to it.");
        return;
    }
    if (!fault_answers_nothing(exchange->fault.kind))
        exchange->served = served_input(world->cache, prompt, exchange->dialect->explicit_cache, now_us);
    decide_output(exchange, &world->options, prompt);
    decide_pace(exchange, &world->options, prompt);
}

void exchange_begin(
    Exchange *exchange, World *world, Prompt *prompt, Buf *scratch, const Request *request, int64_t now_us)
{
    const Dialect *dialect = text_eq(request->path, TEXT("/v1/messages")) ? &ANTHROPIC : &OPENAI;
    *exchange = (Exchange){ .dialect = dialect, .status = 200, .started_us = now_us, .created_s = now_us / 1000000 };
    exchange->scratch = scratch;
    exchange->keep_alive = request->keep_alive;
    text_copy(exchange->path, sizeof exchange->path, request->path);
    make_id(exchange->request_id, sizeof exchange->request_id, TEXT("req_"));
    make_id(exchange->answer_id, sizeof exchange->answer_id, dialect->answer_id_prefix);
    prompt_read(prompt, request->body);
    if (request->pace.ptr)
        pace_read(&prompt->pace, request->pace);
    if (dialect == &ANTHROPIC && prompt->output_max < 0 && !prompt->problem)
        prompt->problem = "max_tokens: Field required";
    memcpy(exchange->model, prompt->model, sizeof exchange->model);
    exchange->stream = prompt->stream;
    exchange->include_usage = prompt->include_usage;
    exchange->output_max = prompt->output_max;
    pthread_mutex_lock(&world->lock);
    decide(exchange, world, prompt, request, now_us);
    pthread_mutex_unlock(&world->lock);
    if (exchange->fault.kind == FAULT_ECHO_AUTH)
        keep_echo(exchange, request);
    atomic_fetch_add(&world->in_flight, 1);
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

bool exchange_streams(const Exchange *exchange)
{
    return exchange->stream && exchange->status == 200;
}

static void put_head(const Exchange *exchange, Buf *out, Text content_type)
{
    http_status_line(out, exchange->status);
    PUT(out, "content-type: ");
    buf_put(out, content_type);
    PUT(out, "\r\n");
    buf_put(out, exchange->dialect->request_id_header);
    PUT(out, ": ");
    buf_put(out, text_of(exchange->request_id));
    PUT(out, "\r\n");
    if (exchange->fault.kind == FAULT_STATUS && exchange->fault.retry_after >= 0) {
        PUT(out, "retry-after: ");
        buf_int(out, exchange->fault.retry_after);
        PUT(out, "\r\n");
    }
    buf_put(out, text_of(exchange->echo));
    if (!exchange->keep_alive)
        PUT(out, "connection: close\r\n");
}

static void put_body(Exchange *exchange, Buf *body)
{
    if (exchange->status != 200) {
        exchange->dialect->error(body, exchange, exchange->status, text_of(exchange->problem));
    } else if (exchange->fault.kind == FAULT_MALFORMED) {
        PUT(body, "{\"id\":\"chatcmpl-broken\",\"object\":\"chat.comp");
    } else if (exchange->fault.kind != FAULT_EMPTY) {
        exchange->served.reasoning = exchange->reasoning;
        exchange->served.output = exchange->visible;
        exchange->dialect->answer(body, exchange);
        exchange->usage_sent = true;
    }
}

static Buf *fresh_scratch(Exchange *exchange)
{
    exchange->scratch->len = 0;
    return exchange->scratch;
}

void exchange_answer(Exchange *exchange, Buf *out, size_t *ret_body_at)
{
    Buf *body = fresh_scratch(exchange);
    put_body(exchange, body);
    put_head(exchange, out, TEXT("application/json"));
    PUT(out, "content-length: ");
    buf_int(out, (int64_t)body->len);
    PUT(out, "\r\n\r\n");
    if (ret_body_at)
        *ret_body_at = out->len;
    buf_put(out, buf_text(body));
}

static void put_chunk(Buf *out, const Buf *chunk)
{
    int digits = 1;
    if (chunk->len == 0)
        return;
    while (chunk->len >> (4 * digits))
        digits++;
    buf_hex(out, chunk->len, digits);
    PUT(out, "\r\n");
    buf_put(out, buf_text(chunk));
    PUT(out, "\r\n");
}

void exchange_stream_head(Exchange *exchange, Buf *out)
{
    put_head(exchange, out, TEXT("text/event-stream; charset=utf-8"));
    PUT(out, "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
}

void exchange_stream_opening(Exchange *exchange, Buf *out)
{
    Buf *event = fresh_scratch(exchange);
    exchange->served.reasoning = exchange->reasoning;
    exchange->dialect->opening(event, exchange);
    exchange->usage_start_sent = exchange->dialect == &ANTHROPIC;
    put_chunk(out, event);
}

void exchange_stream_content(Exchange *exchange, Buf *out)
{
    Buf *event = fresh_scratch(exchange);
    int64_t from = exchange->served.output;
    int64_t to = exchange->visible * (exchange->events_sent + 1) / exchange->events;
    exchange->dialect->content(event, exchange, exchange_text(from, to));
    exchange->served.output = to;
    exchange->events_sent++;
    put_chunk(out, event);
}

void exchange_stream_closing(Exchange *exchange, Buf *out)
{
    Buf *event = fresh_scratch(exchange);
    exchange->dialect->closing(event, exchange);
    exchange->usage_sent = exchange->dialect == &ANTHROPIC || exchange->include_usage;
    put_chunk(out, event);
    PUT(out, "0\r\n\r\n");
}

void exchange_stream_error(Exchange *exchange, Buf *out)
{
    Buf *event = fresh_scratch(exchange);
    if (exchange->fault.kind == FAULT_ERROR_EVENT)
        exchange->dialect->error_event(event, exchange);
    else if (exchange->fault.kind == FAULT_MALFORMED)
        PUT(event, "data: {\"id\":\"chatcmpl-broken\",\"choices\":[{\n\n");
    put_chunk(out, event);
    PUT(out, "0\r\n\r\n");
}

/* --- the journal's line --------------------------------------------------------------------------------------------
 */

static const char *outcome_of(const Exchange *exchange, bool complete)
{
    FaultKind kind = exchange->fault.kind;
    if (fault_answers_nothing(kind) || kind == FAULT_ERROR_EVENT || kind == FAULT_HANG_AFTER_EVENTS)
        return fault_name(kind);
    if (exchange->client_gone)
        return "client_gone";
    if (kind == FAULT_CUT_AFTER_EVENTS)
        return "cut";
    if (exchange->status != 200)
        return "refused";
    return complete ? "complete" : "cut";
}

static void put_text_member(Buf *line, Text name, Text value)
{
    PUT(line, ",\"");
    buf_put(line, name);
    PUT(line, "\":");
    if (value.ptr)
        buf_quote(line, value);
    else
        PUT(line, "null");
}

static void put_int_member(Buf *line, Text name, int64_t value)
{
    PUT(line, ",\"");
    buf_put(line, name);
    PUT(line, "\":");
    buf_int(line, value);
}

static void put_bool_member(Buf *line, Text name, bool value)
{
    PUT(line, ",\"");
    buf_put(line, name);
    PUT(line, "\":");
    buf_put(line, value ? TEXT("true") : TEXT("false"));
}

static void put_served(Buf *line, const Served *served)
{
    PUT(line, ",\"served\":{\"input_uncached\":");
    buf_int(line, served->input_uncached);
    put_int_member(line, TEXT("cache_read"), served->cache_read);
    put_int_member(line, TEXT("cache_write_5m"), served->cache_write_5m);
    put_int_member(line, TEXT("cache_write_1h"), served->cache_write_1h);
    put_int_member(line, TEXT("output"), served->output);
    put_int_member(line, TEXT("reasoning"), served->reasoning);
    PUT(line, "}");
}

static void put_usage(Buf *line, const Exchange *exchange, Text name, bool sent, bool at_start)
{
    PUT(line, ",\"");
    buf_put(line, name);
    PUT(line, "\":");
    if (sent)
        exchange->dialect->usage(line, exchange, at_start);
    else
        PUT(line, "null");
}

static void put_line(Buf *line, const Exchange *exchange, bool complete)
{
    put_text_member(line, TEXT("request_id"), text_of(exchange->request_id));
    put_int_member(line, TEXT("at_us"), exchange->started_us);
    put_int_member(line, TEXT("duration_us"), exchange->ended_us - exchange->started_us);
    put_text_member(line, TEXT("dialect"), exchange->dialect->name);
    put_text_member(line, TEXT("path"), text_of(exchange->path));
    put_text_member(line, TEXT("model"), text_of(exchange->model));
    put_text_member(line, TEXT("key_sha256"), text_of(exchange->key ? exchange->key->digest : NULL));
    put_bool_member(line, TEXT("stream"), exchange->stream);
    if (exchange->output_max >= 0)
        put_int_member(line, TEXT("max_tokens"), exchange->output_max);
    else
        PUT(line, ",\"max_tokens\":null");
    put_int_member(line, TEXT("status"), exchange->status);
    put_text_member(line, TEXT("outcome"), text_of(outcome_of(exchange, complete)));
    bool has_fault = exchange->fault.kind != FAULT_NONE;
    put_text_member(line, TEXT("fault"), text_of(has_fault ? fault_name(exchange->fault.kind) : NULL));
    put_bool_member(line, TEXT("client_gone"), exchange->client_gone);
    put_usage(line, exchange, TEXT("usage_start"), exchange->usage_start_sent, true);
    put_usage(line, exchange, TEXT("usage"), exchange->usage_sent, false);
    put_bool_member(line, TEXT("usage_delivered"), exchange->usage_sent && complete);
    put_int_member(line, TEXT("tokens_generated"), exchange->served.output + exchange->served.reasoning);
    put_served(line, &exchange->served);
}

void exchange_end(Exchange *exchange, World *world, bool complete, int64_t now_us)
{
    exchange->ended_us = now_us;
    pthread_mutex_lock(&world->lock);
    if (world->journal) {
        put_line(journal_begin(world->journal), exchange, complete);
        journal_end(world->journal);
    }
    world->stats.client_disconnects += exchange->client_gone;
    world->stats.refused += exchange->status >= 400 && exchange->fault.kind == FAULT_NONE;
    pthread_mutex_unlock(&world->lock);
    atomic_fetch_sub(&world->in_flight, 1);
}
