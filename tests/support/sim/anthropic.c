/*
 * anthropic.c: the shapes of the Anthropic messages dialect.
 */
#include "exchange.h"

static void put_counts(Buf *out, const Served *served)
{
    PUT(out, "\"input_tokens\":");
    buf_int(out, served->input_uncached);
    PUT(out, ",\"cache_creation_input_tokens\":");
    buf_int(out, served->cache_write_5m + served->cache_write_1h);
    PUT(out, ",\"cache_read_input_tokens\":");
    buf_int(out, served->cache_read);
}

static void put_creation(Buf *out, const Served *served)
{
    PUT(out, ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":");
    buf_int(out, served->cache_write_5m);
    PUT(out, ",\"ephemeral_1h_input_tokens\":");
    buf_int(out, served->cache_write_1h);
    PUT(out, "}");
}

static void put_output(Buf *out, const Served *served)
{
    PUT(out, ",\"output_tokens\":");
    buf_int(out, served->output + served->reasoning);
    if (served->reasoning) {
        PUT(out, ",\"output_tokens_details\":{\"thinking_tokens\":");
        buf_int(out, served->reasoning);
        PUT(out, "}");
    }
}

/* A stream splits the account: message_start has the cache writes by ttl, message_delta the output. */
static void anthropic_usage(Buf *out, const Exchange *exchange, bool at_start)
{
    PUT(out, "{");
    put_counts(out, &exchange->served);
    if (at_start || !exchange->stream)
        put_creation(out, &exchange->served);
    if (at_start)
        PUT(out, ",\"output_tokens\":1");
    else
        put_output(out, &exchange->served);
    if (at_start || !exchange->stream)
        PUT(out, ",\"service_tier\":\"standard\"");
    PUT(out, "}");
}

static Text stop_reason(const Exchange *exchange)
{
    return exchange->bounded ? TEXT("\"max_tokens\"") : TEXT("\"end_turn\"");
}

static void put_message_start(Buf *out, const Exchange *exchange)
{
    PUT(out, "{\"id\":\"");
    buf_put(out, text_of(exchange->answer_id));
    PUT(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"");
    buf_put(out, text_of(exchange->model));
    PUT(out, "\",\"content\":[");
}

static void anthropic_answer(Buf *out, const Exchange *exchange)
{
    put_message_start(out, exchange);
    PUT(out, "{\"type\":\"text\",\"text\":\"");
    buf_put(out, exchange_text(0, exchange->visible));
    PUT(out, "\"}],\"stop_reason\":");
    buf_put(out, stop_reason(exchange));
    PUT(out, ",\"stop_sequence\":null,\"usage\":");
    anthropic_usage(out, exchange, false);
    PUT(out, "}");
}

static void anthropic_opening(Buf *out, const Exchange *exchange)
{
    PUT(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    put_message_start(out, exchange);
    PUT(out, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    anthropic_usage(out, exchange, true);
    PUT(out, "}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
             "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
             "event: ping\ndata: {\"type\": \"ping\"}\n\n");
}

static void anthropic_content(Buf *out, const Exchange *exchange, Text text)
{
    (void)exchange;
    PUT(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
             "\"delta\":{\"type\":\"text_delta\",\"text\":\"");
    buf_put(out, text);
    PUT(out, "\"}}\n\n");
}

static void anthropic_closing(Buf *out, const Exchange *exchange)
{
    PUT(out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
             "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
    buf_put(out, stop_reason(exchange));
    PUT(out, ",\"stop_sequence\":null},\"usage\":");
    anthropic_usage(out, exchange, false);
    PUT(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void anthropic_error(Buf *out, const Exchange *exchange, int status, Text message)
{
    static const struct {
        int status;
        Text type;
    } kinds[] = {
        { 400, TEXT_INIT("invalid_request_error") },
        { 401, TEXT_INIT("authentication_error") },
        { 403, TEXT_INIT("permission_error") },
        { 404, TEXT_INIT("not_found_error") },
        { 413, TEXT_INIT("request_too_large") },
        { 429, TEXT_INIT("rate_limit_error") },
        { 504, TEXT_INIT("timeout_error") },
        { 529, TEXT_INIT("overloaded_error") },
        { 0, TEXT_INIT("api_error") },
    };
    size_t i = 0;
    while (kinds[i].status && kinds[i].status != status)
        i++;
    PUT(out, "{\"type\":\"error\",\"error\":{\"type\":\"");
    buf_put(out, kinds[i].type);
    PUT(out, "\",\"message\":");
    buf_quote(out, message);
    PUT(out, "},\"request_id\":\"");
    buf_put(out, text_of(exchange->request_id));
    PUT(out, "\"}");
}

static void anthropic_error_event(Buf *out, const Exchange *exchange)
{
    PUT(out, "event: error\ndata: ");
    anthropic_error(out, exchange, 529, TEXT("Overloaded"));
    PUT(out, "\n\n");
}

const Dialect ANTHROPIC = {
    .name = TEXT_INIT("anthropic"),
    .request_id_header = TEXT_INIT("request-id"),
    .answer_id_prefix = TEXT_INIT("msg_"),
    .explicit_cache = true,
    .answer = anthropic_answer,
    .opening = anthropic_opening,
    .content = anthropic_content,
    .closing = anthropic_closing,
    .error = anthropic_error,
    .error_event = anthropic_error_event,
    .usage = anthropic_usage,
};
