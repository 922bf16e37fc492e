/* fetch.c: one request, waited for: a loop and a client of the calling thread. See client.h. */
#include "http/client.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/mem.h"

#define FETCH_CONNECTIONS_MAX 4

typedef struct Fetcher {
    Loop *loop;
    Client *client;
} Fetcher;

typedef struct Fetch {
    Fetcher *fetcher;
    Arena *arena;
    Buf body;
    HttpReply reply;
    TransferEnd end;
    Transfer *transfer;
    const _Atomic bool *stop;
    Timer *stop_timer;
} Fetch;

/* --- the thread's own client --- */

static pthread_key_t fetcher_key;
static pthread_once_t fetcher_once = PTHREAD_ONCE_INIT;

static void free_fetcher(void *arg)
{
    Fetcher *fetcher = arg;
    client_free(&fetcher->client);
    loop_free(&fetcher->loop);
    mem_free(fetcher);
}

static void make_key(void)
{
    if (pthread_key_create(&fetcher_key, free_fetcher) != 0)
        die("no more thread keys");
}

static CHECKED Err take_fetcher(Fetcher **ret_fetcher)
{
    pthread_once(&fetcher_once, make_key);
    Fetcher *fetcher = pthread_getspecific(fetcher_key);
    if (fetcher == NULL) {
        Loop *loop;
        TRY(loop_new(&loop));
        fetcher = MEM_NEW(Fetcher, 1);
        fetcher->loop = loop;
        pthread_setspecific(fetcher_key, fetcher);
        TRY(client_new(loop, FETCH_CONNECTIONS_MAX, &fetcher->client));
    }
    *ret_fetcher = fetcher;
    return OK;
}

/* --- the transfer --- */

static void copy_headers(Fetch *fetch, const Transfer *transfer)
{
    const Header *headers;
    size_t count = transfer_headers(transfer, &headers);
    fetch->reply.headers = NEW(fetch->arena, Header, count + 1);
    for (size_t i = 0; i < count; i++)
        fetch->reply.headers[i] = (Header){ .name = arena_str(fetch->arena, headers[i].name),
            .value = arena_str(fetch->arena, headers[i].value) };
    fetch->reply.header_count = count;
}

static bool on_data(Transfer *transfer, Bytes data, void *arg)
{
    Fetch *fetch = arg;
    buf_add_bytes(&fetch->body, data.ptr, data.len);
    if (buf_overflowed(&fetch->body))
        transfer_cancel(transfer);
    return true;
}

static void on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Fetch *fetch = arg;
    fetch->end = end;
    fetch->reply.status = transfer_status(transfer);
    copy_headers(fetch, transfer);
    loop_stop(fetch->fetcher->loop);
}

static bool is_timeout(TransferEnd end)
{
    return end == TRANSFER_CONNECT_TIMEOUT || end == TRANSFER_FIRST_BYTE_TIMEOUT || end == TRANSFER_IDLE_TIMEOUT ||
           end == TRANSFER_TOTAL_TIMEOUT;
}

static CHECKED Err error_of(const Fetch *fetch)
{
    if (buf_overflowed(&fetch->body))
        return FAIL(ERR_UNAVAILABLE, "reply-too-large", "The reply is larger than what is accepted.");
    if (fetch->end == TRANSFER_OK)
        return OK;
    return (Err){ .kind = is_timeout(fetch->end) ? ERR_TIMEOUT : ERR_UNAVAILABLE,
        .code = str_from_c(transfer_end_name(fetch->end)),
        .detail = arena_fmt(fetch->arena, "The request could not be completed: %s.", transfer_end_name(fetch->end)) };
}

#define STOP_LOOK_US (50 * US_PER_MS)

/* Another thread may want this one back: a long poll would keep it for half a minute. */
static void look_for_stop(void *arg)
{
    Fetch *fetch = arg;
    if (atomic_load(fetch->stop))
        transfer_cancel(fetch->transfer);
    else
        timer_start(fetch->fetcher->loop, &fetch->stop_timer, STOP_LOOK_US, look_for_stop, fetch);
}

Err http_fetch(Arena *arena, const TransferOptions *options, size_t body_max, HttpReply *ret_reply)
{
    Fetcher *fetcher;
    TRY(take_fetcher(&fetcher));
    Fetch fetch = { .fetcher = fetcher, .arena = arena, .stop = options->stop, .body = buf_new(body_max) };
    TransferOptions own = *options;
    own.on_headers = NULL;
    own.on_data = on_data;
    own.on_end = on_end;
    own.arg = &fetch;
    TRY(transfer_start(fetcher->client, &own, &fetch.transfer));
    if (options->stop != NULL)
        timer_start(fetcher->loop, &fetch.stop_timer, STOP_LOOK_US, look_for_stop, &fetch);
    loop_run(fetcher->loop);
    timer_cancel(&fetch.stop_timer);
    fetch.reply.body = arena_str(arena, buf_str(&fetch.body));
    Err err = error_of(&fetch);
    buf_release(&fetch.body);
    if (err.kind == ERR_NONE)
        *ret_reply = fetch.reply;
    return err;
}

Str http_reply_header(const HttpReply *reply, Str name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (str_eq_nocase(reply->headers[i].name, name))
            return reply->headers[i].value;
    return (Str){ 0 };
}
