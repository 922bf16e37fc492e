/*
 * openai.c: the shapes of the OpenAI chat completions dialect.
 */
#include "exchange.h"

static void openai_usage(Buf *out, const Exchange *exchange, bool at_start)
{
    const Served *served = &exchange->served;
    int64_t prompt = served_input_total(served), completion = served->output + served->reasoning;
    (void)at_start;
    PUT(out, "{\"prompt_tokens\":");
    buf_int(out, prompt);
    PUT(out, ",\"completion_tokens\":");
    buf_int(out, completion);
    PUT(out, ",\"total_tokens\":");
    buf_int(out, prompt + completion);
    PUT(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    buf_int(out, served->cache_read);
    PUT(out, ",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":");
    buf_int(out, served->reasoning);
    PUT(out, ",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}");
}

static void put_start(Buf *out, const Exchange *exchange, Text object)
{
    PUT(out, "{\"id\":\"");
    buf_put(out, text_of(exchange->answer_id));
    PUT(out, "\",\"object\":\"");
    buf_put(out, object);
    PUT(out, "\",\"created\":");
    buf_int(out, exchange->created_s);
    PUT(out, ",\"model\":\"");
    buf_put(out, text_of(exchange->model));
    PUT(out, "\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\",\"choices\":[");
}

static Text finish_reason(const Exchange *exchange)
{
    return exchange->bounded ? TEXT("\"length\"") : TEXT("\"stop\"");
}

static void openai_answer(Buf *out, const Exchange *exchange)
{
    put_start(out, exchange, TEXT("chat.completion"));
    PUT(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    buf_put(out, exchange_text(0, exchange->visible));
    PUT(out, "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":");
    buf_put(out, finish_reason(exchange));
    PUT(out, "}],\"usage\":");
    openai_usage(out, exchange, false);
    PUT(out, "}");
}

/* One chunk: a delta, a finish reason (null while it goes on). */
static void put_chunk_event(Buf *out, const Exchange *exchange, Text delta, Text content, Text after, Text finish)
{
    PUT(out, "data: ");
    put_start(out, exchange, TEXT("chat.completion.chunk"));
    PUT(out, "{\"index\":0,\"delta\":");
    buf_put(out, delta);
    buf_put(out, content);
    buf_put(out, after);
    PUT(out, ",\"logprobs\":null,\"finish_reason\":");
    buf_put(out, finish);
    PUT(out, "}]");
    if (exchange->include_usage)
        PUT(out, ",\"usage\":null");
    PUT(out, "}\n\n");
}

static void openai_opening(Buf *out, const Exchange *exchange)
{
    Text delta = TEXT("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
    put_chunk_event(out, exchange, delta, TEXT(""), TEXT(""), TEXT("null"));
}

static void openai_content(Buf *out, const Exchange *exchange, Text text)
{
    put_chunk_event(out, exchange, TEXT("{\"content\":\""), text, TEXT("\"}"), TEXT("null"));
}

static void openai_closing(Buf *out, const Exchange *exchange)
{
    put_chunk_event(out, exchange, TEXT("{}"), TEXT(""), TEXT(""), finish_reason(exchange));
    if (exchange->include_usage) {
        PUT(out, "data: ");
        put_start(out, exchange, TEXT("chat.completion.chunk"));
        PUT(out, "],\"usage\":");
        openai_usage(out, exchange, false);
        PUT(out, "}\n\n");
    }
    PUT(out, "data: [DONE]\n\n");
}

static void openai_error(Buf *out, const Exchange *exchange, int status, Text message)
{
    static const struct {
        int status;
        Text type, code;
    } kinds[] = {
        { 400, TEXT_INIT("\"invalid_request_error\""), TEXT_INIT("null") },
        { 401, TEXT_INIT("\"invalid_request_error\""), TEXT_INIT("\"invalid_api_key\"") },
        { 404, TEXT_INIT("\"invalid_request_error\""), TEXT_INIT("\"model_not_found\"") },
        { 429, TEXT_INIT("\"requests\""), TEXT_INIT("\"rate_limit_exceeded\"") },
        { 500, TEXT_INIT("\"server_error\""), TEXT_INIT("null") },
        { 0, TEXT_INIT("\"server_error\""), TEXT_INIT("null") },
    };
    size_t i = 0;
    (void)exchange;
    while (kinds[i].status && kinds[i].status != status)
        i++;
    PUT(out, "{\"error\":{\"message\":");
    buf_quote(out, message);
    PUT(out, ",\"type\":");
    buf_put(out, kinds[i].type);
    PUT(out, ",\"param\":null,\"code\":");
    buf_put(out, kinds[i].code);
    PUT(out, "}}");
}

static void openai_error_event(Buf *out, const Exchange *exchange)
{
    PUT(out, "data: ");
    openai_error(out, exchange, 500, TEXT("The server had an error while processing your request. Sorry about that!"));
    PUT(out, "\n\n");
}

const Dialect OPENAI = {
    .name = TEXT_INIT("openai"),
    .request_id_header = TEXT_INIT("x-request-id"),
    .answer_id_prefix = TEXT_INIT("chatcmpl-"),
    .explicit_cache = false,
    .answer = openai_answer,
    .opening = openai_opening,
    .content = openai_content,
    .closing = openai_closing,
    .error = openai_error,
    .error_event = openai_error_event,
    .usage = openai_usage,
};
