/*
 * exchange.h: one model call: what the provider decided when it came, and how far it has got.
 *
 * exchange_begin reads a request and decides everything: who asks, whether a fault applies, how many tokens are read
 * and will be generated, at which pace. From then on the server only asks for bytes: a whole answer, or a head, an
 * opening, content events one by one, and a closing. exchange_end writes the journal's line.
 */
#ifndef SIM_EXCHANGE_H
#define SIM_EXCHANGE_H

#include "http.h"
#include "served.h"
#include "world.h"

typedef struct Exchange Exchange;

/* What differs between providers. All append to out; events are whole SSE events. */
typedef struct Dialect {
    Text name;
    Text request_id_header;
    Text answer_id_prefix;
    bool explicit_cache;
    void (*answer)(Buf *out, const Exchange *exchange);
    void (*opening)(Buf *out, const Exchange *exchange);
    void (*content)(Buf *out, const Exchange *exchange, Text text);
    void (*closing)(Buf *out, const Exchange *exchange);
    void (*error)(Buf *out, const Exchange *exchange, int status, Text message);
    void (*error_event)(Buf *out, const Exchange *exchange);
    /* The usage object: at_start is what message_start says, before anything was generated. */
    void (*usage)(Buf *out, const Exchange *exchange, bool at_start);
} Dialect;

extern const Dialect OPENAI, ANTHROPIC;

struct Exchange {
    const Dialect *dialect;
    Key *key;
    Buf *scratch; /* the loop's, for what is being built */
    char request_id[40];
    char answer_id[40];
    char path[48];
    char model[MODEL_BYTES_MAX];
    char echo[256];      /* the credentials to echo, as header lines */
    const char *problem; /* of an error answer */
    Fault fault;
    int status;
    bool keep_alive;
    bool stream;
    bool include_usage;
    bool bounded;       /* max_tokens ended the output */
    int64_t output_max; /* as asked, -1 = not said */
    bool usage_start_sent;
    bool usage_sent;
    bool client_gone;
    int64_t created_s;
    int64_t started_us;
    int64_t first_us; /* delay before the first byte */
    int64_t gap_us;   /* between content events */
    int64_t events;   /* content events of the stream */
    int64_t events_sent;
    int64_t visible; /* tokens of output to show */
    Served served;   /* output and reasoning grow as they are generated */
    int64_t reasoning;
    int64_t ended_us;
};

/* Decides. The prompt and the scratch buffer are the caller's, to use again; the scratch must outlive the exchange. */
void exchange_begin(
    Exchange *exchange, World *world, Prompt *prompt, Buf *scratch, const Request *request, int64_t now_us);

/* The whole answer, head included. ret_body_at (may be NULL) is where the body starts. */
void exchange_answer(Exchange *exchange, Buf *out, size_t *ret_body_at);

/* The head of a stream, and its opening events. */
void exchange_stream_head(Exchange *exchange, Buf *out);
void exchange_stream_opening(Exchange *exchange, Buf *out);
/* The next content event. */
void exchange_stream_content(Exchange *exchange, Buf *out);
/* Usage, the end mark, and the last chunk. */
void exchange_stream_closing(Exchange *exchange, Buf *out);
/* A stream that ends in an error event, in broken JSON, or with nothing. */
void exchange_stream_error(Exchange *exchange, Buf *out);

/* Journals. Complete means that everything was handed to the caller's socket. */
void exchange_end(Exchange *exchange, World *world, bool complete, int64_t now_us);

/* The text of a run of generated tokens. It needs no escaping in JSON. */
Text exchange_text(int64_t from, int64_t to);

bool exchange_streams(const Exchange *exchange);

#endif
