/*
 * proxy_test.c: server and client of one loop passing streams through, as a gateway does: backpressure from a slow
 * reader to the upstream, readers that leave, a drain under load, several loops on one port.
 */
#include "fixture.h"

#include "http/client.h"

#define STREAM_BYTES (2 * 1024 * 1024)
#define HIGH_WATER (64 * 1024)
#define LOW_WATER (16 * 1024)

typedef struct Gate {
    Fixture fixture;
    Client *client;
    Fixture *upstream;
    atomic_int begun, closed, ends[TRANSFER_END_COUNT];
    atomic_size_t most_waiting;
} Gate;

typedef struct Call {
    Gate *gate;
    Exchange *exchange;
    Transfer *transfer; /* NULL when it has ended */
    bool closing;       /* the exchange was told its end */
} Call;

/* --- the upstream: a pattern of STREAM_BYTES --- */

static char pattern_at(size_t position)
{
    return (char)('a' + (position * 7 + position / 251) % 26);
}

typedef struct Source {
    Exchange *exchange;
    size_t position;
} Source;

static void pump(Source *source)
{
    char block[8192];
    size_t waiting = 0;
    while (source->position < STREAM_BYTES && waiting < 4 * sizeof(block)) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = pattern_at(source->position + i);
        source->position += sizeof(block);
        waiting = exchange_stream_write(source->exchange, str_n(block, sizeof(block)));
        if (exchange_client_gone(source->exchange))
            return;
    }
    if (source->position == STREAM_BYTES)
        exchange_stream_end(source->exchange);
}

static void source_drained(Exchange *exchange, void *arg)
{
    (void)exchange;
    pump(arg);
}

static void source_gone(Exchange *exchange, void *arg)
{
    (void)arg;
    exchange_stream_abort(exchange);
}

static void on_source_request(Exchange *exchange, void *arg)
{
    (void)arg;
    if (str_eq(exchange_path(exchange), STR("/small"))) {
        exchange_reply(exchange, &(Response){ .status = 200, .content_type = "text/plain", .body = STR("small") });
        return;
    }
    Source *source = NEW(exchange_arena(exchange), Source, 1);
    source->exchange = exchange;
    exchange_stream_begin(exchange, &(Response){ .status = 200, .content_type = "text/plain" });
    exchange_on_drain(exchange, 8192, source_drained, source);
    exchange_on_gone(exchange, source_gone, NULL);
    pump(source);
}

/* --- the gate --- */

static void call_on_headers(Transfer *transfer, int status, void *arg)
{
    Call *call = arg;
    (void)transfer;
    exchange_stream_begin(call->exchange, &(Response){ .status = status, .content_type = "text/plain" });
}

static bool call_on_data(Transfer *transfer, Bytes data, void *arg)
{
    Call *call = arg;
    (void)transfer;
    size_t waiting = exchange_stream_write(call->exchange, (Str){ 0 });
    if (waiting > HIGH_WATER)
        return false;
    waiting = exchange_stream_write(call->exchange, bytes_str(data));
    if (waiting > atomic_load(&call->gate->most_waiting))
        atomic_store(&call->gate->most_waiting, waiting);
    return true;
}

static void call_on_drain(Exchange *exchange, void *arg)
{
    (void)exchange;
    Call *call = arg;
    if (call->transfer != NULL)
        transfer_resume(call->transfer);
}

static void call_on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Call *call = arg;
    call->transfer = NULL;
    atomic_fetch_add(&call->gate->ends[end], 1);
    if (call->closing)
        return;
    call->closing = true;
    if (end == TRANSFER_OK)
        exchange_stream_end(call->exchange);
    else if (transfer_status(transfer) > 0)
        exchange_stream_abort(call->exchange);
    else
        exchange_reply_err(call->exchange, FAIL(ERR_UNAVAILABLE, "upstream", "The upstream did not answer."));
}

static void call_on_gone(Exchange *exchange, void *arg)
{
    (void)exchange;
    Call *call = arg;
    if (call->transfer != NULL)
        transfer_cancel(call->transfer); /* its end ends the exchange */
}

static void call_on_close(Exchange *exchange, bool sent, void *arg)
{
    (void)exchange, (void)sent;
    Call *call = arg;
    assert_null(call->transfer);
    atomic_fetch_add(&call->gate->closed, 1);
}

static void on_gate_request(Exchange *exchange, void *arg)
{
    Gate *gate = arg;
    Arena *arena = exchange_arena(exchange);
    Call *call = NEW(arena, Call, 1);
    *call = (Call){ .gate = gate, .exchange = exchange };
    atomic_fetch_add(&gate->begun, 1);
    exchange_on_gone(exchange, call_on_gone, call);
    exchange_on_close(exchange, call_on_close, call);
    exchange_on_drain(exchange, LOW_WATER, call_on_drain, call);
    TransferOptions options = { .method = "GET",
        .url = arena_fmt(arena, "http://127.0.0.1:%u" STR_FMT, server_port(gate->upstream->server),
            STR_ARG(exchange_target(exchange))),
        .first_byte_timeout_us = 10 * US_PER_S,
        .idle_timeout_us = 10 * US_PER_S,
        .total_timeout_us = 60 * US_PER_S,
        .allow_private = true,
        .on_headers = call_on_headers,
        .on_data = call_on_data,
        .on_end = call_on_end,
        .arg = call };
    Err err = transfer_start(gate->client, &options, &call->transfer);
    assert_int_equal(err.kind, ERR_NONE);
}

static void *gate_thread(void *arg)
{
    Gate *gate = arg;
    loop_run(gate->fixture.loop);
    client_free(&gate->client);
    server_free(&gate->fixture.server);
    return NULL;
}

static void gate_start(Gate *gate, Fixture *upstream, uint16_t port)
{
    gate->upstream = upstream;
    gate->fixture.options = (ServerOptions){ .address = STR("127.0.0.1"),
        .port = port,
        .reuse_port = true,
        .limits = SERVER_LIMITS_DEFAULT,
        .on_request = on_gate_request,
        .arg = gate };
    assert_int_equal(loop_new(&gate->fixture.loop).kind, ERR_NONE);
    assert_int_equal(client_new(gate->fixture.loop, 64, &gate->client).kind, ERR_NONE);
    assert_int_equal(server_start(gate->fixture.loop, &gate->fixture.options, &gate->fixture.server).kind, ERR_NONE);
    pthread_create(&gate->fixture.thread, NULL, gate_thread, gate);
}

static void gate_stop(Gate *gate)
{
    loop_stop(gate->fixture.loop);
    pthread_join(gate->fixture.thread, NULL);
    loop_free(&gate->fixture.loop);
}

/* --- readers --- */

/* Reads a chunked reply and checks every byte of its pattern; `pause_us` after each read. True: all came. */
static bool read_stream(int fd, int pause_us, size_t leave_after)
{
    char text[32768];
    size_t position = 0, chunk = 0;
    enum { HEAD, SIZE, DATA, AFTER } part = HEAD;
    int ends = 0;
    for (;;) {
        ssize_t n = recv(fd, text, sizeof(text), 0);
        if (n <= 0)
            return false;
        for (ssize_t i = 0; i < n; i++) {
            char c = text[i];
            if (part == HEAD) {
                ends = c == '\n' ? ends + 1 : c == '\r' ? ends : 0;
                if (ends == 2)
                    part = SIZE, chunk = 0;
            } else if (part == SIZE) {
                if (c == '\n')
                    part = chunk > 0 ? DATA : AFTER;
                else if (c != '\r')
                    chunk = chunk * 16 + (size_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
                if (part == AFTER)
                    return position == STREAM_BYTES;
            } else if (part == DATA) {
                if (c != pattern_at(position++))
                    return false;
                if (--chunk == 0)
                    part = AFTER;
            } else if (c == '\n')
                part = SIZE, chunk = 0;
        }
        if (leave_after > 0 && position >= leave_after)
            return false;
        if (pause_us > 0)
            usleep((useconds_t)pause_us);
    }
}

typedef struct Reader {
    Gate *gate;
    pthread_t thread;
    int number, whole, broken;
} Reader;

static void *read_many(void *arg)
{
    Reader *reader = arg;
    for (int i = 0; i < 6; i++) {
        int fd = dial(&reader->gate->fixture);
        bool leaves = (reader->number + i) % 3 == 1, is_slow = (reader->number + i) % 3 == 2;
        say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        bool is_whole = read_stream(fd, is_slow ? 500 : 0, leaves ? 1 + (size_t)i * 300000 : 0);
        if (!leaves)
            is_whole ? reader->whole++ : reader->broken++;
        close(fd);
    }
    return NULL;
}

#define READERS 6

static void test_streams_pass_whole_to_fast_and_slow_readers_while_others_leave(void **state)
{
    (void)state;
    Fixture upstream = { .options = { .on_request = on_source_request } };
    Gate gate = { 0 };
    Reader readers[READERS];
    fixture_start(&upstream);
    gate_start(&gate, &upstream, 0);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (Reader){ .gate = &gate, .number = i };
        pthread_create(&readers[i].thread, NULL, read_many, &readers[i]);
    }
    int whole = 0, broken = 0;
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        whole += readers[i].whole;
        broken += readers[i].broken;
    }
    assert_int_equal(whole, READERS * 4);
    assert_int_equal(broken, 0);
    WAIT_FOR(atomic_load(&gate.closed) == atomic_load(&gate.begun));
    WAIT_FOR(server_stats(gate.fixture.server).connections == 0);
    WAIT_FOR(server_stats(upstream.server).connections <= 8); /* kept ones only */
    assert_true(atomic_load(&gate.ends[TRANSFER_CANCELLED]) > 0);
    assert_true(atomic_load(&gate.most_waiting) <= HIGH_WATER + 32 * 1024);
    gate_stop(&gate);
    fixture_stop(&upstream);
}

/* --- drain under load --- */

typedef struct Load {
    uint16_t port;
    pthread_t thread;
    atomic_bool *stop;
    int answered, cut;
} Load;

/* Asks again and again on kept connections. A connection may be closed between requests, never inside an answer. */
static void *load(void *arg)
{
    Load *self = arg;
    char text[4096];
    while (!atomic_load(self->stop)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_port = htons(self->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
        };
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
            close(fd);
            return NULL;
        }
        for (;;) {
            say(fd, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
            size_t n = hear_until(fd, text, sizeof(text), "0\r\n\r\n", 1, HEAR_MS);
            if (n == 0)
                break; /* closed before a byte of an answer: the request may be sent elsewhere */
            if (strstr(text, "small") == NULL) {
                self->cut++;
                break;
            }
            self->answered++;
            if (strstr(text, "Connection: close") != NULL || atomic_load(self->stop))
                break;
        }
        close(fd);
    }
    return NULL;
}

static void drained(void *arg)
{
    loop_stop(((Gate *)arg)->fixture.loop);
}

static void start_drain(void *arg)
{
    Gate *gate = arg;
    server_drain(gate->fixture.server, 10 * US_PER_S, drained, gate);
}

static void test_a_drain_under_load_cuts_no_answer(void **state)
{
    (void)state;
    Fixture upstream = { .options = { .on_request = on_source_request } };
    Gate gate = { 0 };
    Load loads[8];
    atomic_bool stop = false;
    fixture_start(&upstream);
    gate_start(&gate, &upstream, 0);
    for (int i = 0; i < 8; i++) {
        loads[i] = (Load){ .port = server_port(gate.fixture.server), .stop = &stop };
        pthread_create(&loads[i].thread, NULL, load, &loads[i]);
    }
    WAIT_FOR(atomic_load(&gate.closed) > 200);
    int64_t start_us = monotonic_us();
    loop_post(gate.fixture.loop, start_drain, &gate);
    pthread_join(gate.fixture.thread, NULL);
    assert_true(monotonic_us() - start_us < 5 * US_PER_S);
    atomic_store(&stop, true);
    int answered = 0, cut = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(loads[i].thread, NULL);
        answered += loads[i].answered;
        cut += loads[i].cut;
    }
    assert_true(answered >= 200);
    assert_int_equal(cut, 0);
    assert_int_equal(atomic_load(&gate.begun), atomic_load(&gate.closed));
    loop_free(&gate.fixture.loop);
    fixture_stop(&upstream);
}

static void test_two_loops_share_a_port(void **state)
{
    (void)state;
    Fixture upstream = { .options = { .on_request = on_source_request } };
    Gate one = { 0 }, two = { 0 };
    fixture_start(&upstream);
    gate_start(&one, &upstream, 0);
    gate_start(&two, &upstream, server_port(one.fixture.server));
    for (int i = 0; i < 64; i++) {
        int fd = dial(&one.fixture);
        say(fd, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(hears(fd, "small"));
        close(fd);
    }
    assert_true(atomic_load(&one.begun) > 0 && atomic_load(&two.begun) > 0);
    gate_stop(&one);
    gate_stop(&two);
    fixture_stop(&upstream);
}

int main(void)
{
    client_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_pass_whole_to_fast_and_slow_readers_while_others_leave),
        cmocka_unit_test(test_a_drain_under_load_cuts_no_answer),
        cmocka_unit_test(test_two_loops_share_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
