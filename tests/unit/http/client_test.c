/* client_test.c: transfers against servers that behave, and against sockets that do not. */
#include "fixture.h"

#include <sys/stat.h>
#include <sys/un.h>

#include "http/address.h"
#include "http/client.h"

/* --- an upstream of raw sockets: a thread that runs a script per connection --- */

typedef struct Upstream {
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    void (*script)(int fd, int connection);
    atomic_int connections;
    atomic_bool stopping;
} Upstream;

static void *upstream_thread(void *arg)
{
    Upstream *upstream = arg;
    for (;;) {
        int fd = accept4(upstream->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || atomic_load(&upstream->stopping)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        upstream->script(fd, atomic_fetch_add(&upstream->connections, 1));
        close(fd);
    }
}

static void upstream_start(Upstream *upstream, void (*script)(int fd, int connection))
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    *upstream = (Upstream){ .script = script };
    upstream->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(upstream->listen_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(upstream->listen_fd, 16), 0);
    getsockname(upstream->listen_fd, (struct sockaddr *)&address, &len);
    upstream->port = ntohs(address.sin_port);
    pthread_create(&upstream->thread, NULL, upstream_thread, upstream);
}

static void upstream_stop(Upstream *upstream)
{
    atomic_store(&upstream->stopping, true);
    shutdown(upstream->listen_fd, SHUT_RDWR);
    pthread_join(upstream->thread, NULL);
    close(upstream->listen_fd);
}

/* Reads one request with its body (by Content-Length). */
static bool read_request(int fd)
{
    char text[8192];
    size_t len = 0;
    while (len + 1 < sizeof(text)) {
        ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
        if (end == NULL)
            continue;
        size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
        if (len >= (size_t)(end + 4 - text) + body)
            return true;
    }
    return true;
}

/* --- one transfer, run to its end --- */

typedef struct Run {
    Loop *loop;
    Client *client;
    Transfer *transfer;
    Timer *timer;
    TransferEnd end;
    TransferTimes times;
    int status, ends, datas;
    char body[65536];
    size_t len;
    bool pause_once;
    char header[256];
} Run;

static bool on_data(Transfer *transfer, Bytes data, void *arg);

static void resume(void *arg)
{
    transfer_resume(((Run *)arg)->transfer);
}

static bool on_data(Transfer *transfer, Bytes data, void *arg)
{
    Run *run = arg;
    run->datas++;
    if (run->pause_once) {
        run->pause_once = false;
        run->transfer = transfer;
        timer_start(run->loop, &run->timer, 50 * US_PER_MS, resume, run);
        return false;
    }
    assert_true(run->len + data.len < sizeof(run->body));
    memcpy(run->body + run->len, data.ptr, data.len);
    run->len += data.len;
    run->body[run->len] = '\0';
    return true;
}

static void on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Run *run = arg;
    run->ends++;
    run->end = end;
    run->status = transfer_status(transfer);
    run->times = transfer_times(transfer);
    Str value = transfer_header(transfer, STR("x-test"));
    snprintf(run->header, sizeof(run->header), "%.*s", STR_ARG(value));
    loop_stop(run->loop);
}

static void run_init(Run *run)
{
    *run = (Run){ 0 };
    assert_int_equal(loop_new(&run->loop).kind, ERR_NONE);
    assert_int_equal(client_new(run->loop, 8, &run->client).kind, ERR_NONE);
}

static void run_release(Run *run)
{
    client_free(&run->client);
    loop_free(&run->loop);
}

static TransferOptions options_for(Run *run, const char *method, uint16_t port, char *url, Str body)
{
    snprintf(url, 64, "http://127.0.0.1:%u/path", port);
    return (TransferOptions){ .method = method,
        .url = str_from_c(url),
        .body = body,
        .connect_timeout_us = 2 * US_PER_S,
        .first_byte_timeout_us = 5 * US_PER_S,
        .idle_timeout_us = 5 * US_PER_S,
        .total_timeout_us = 20 * US_PER_S,
        .allow_private = true,
        .on_data = on_data,
        .on_end = on_end,
        .arg = run };
}

static void run_transfer(Run *run, const TransferOptions *options)
{
    run->len = 0;
    run->body[0] = '\0';
    run->ends = run->datas = 0;
    Err err = transfer_start(run->client, options, &run->transfer);
    if (err.kind != ERR_NONE)
        fail_msg("transfer_start: %.*s", STR_ARG(err.detail));
    loop_run(run->loop);
    assert_int_equal(run->ends, 1);
}

/* --- scripts --- */

static void script_ok(int fd, int connection)
{
    (void)connection;
    while (read_request(fd))
        say(fd, "HTTP/1.1 200 OK\r\nX-Test: yes\r\nContent-Length: 5\r\n\r\nhello");
}

static void script_closes_after_one(int fd, int connection)
{
    (void)connection;
    if (read_request(fd))
        say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
}

static atomic_bool ahead_asked, ahead_said;

/* The second answer is said when the test asks for it, before its question. */
static void script_answers_ahead(int fd, int connection)
{
    if (!read_request(fd))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
    while (connection == 0 && !atomic_load(&ahead_asked))
        usleep(1000);
    if (connection == 0)
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
    atomic_store(&ahead_said, true);
    while (read_request(fd))
        ;
}

static void script_silent(int fd, int connection)
{
    (void)connection;
    char byte;
    while (recv(fd, &byte, 1, 0) > 0)
        ;
}

static void script_stalls_after_header(int fd, int connection)
{
    read_request(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
    script_silent(fd, connection);
}

static void script_drips(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) <= 0)
            return;
        usleep(20000);
    }
}

static void script_closes_half_way(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
}

static void script_resets(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void script_not_http(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    say(fd, "SSH-2.0-OpenSSH_9.2\r\nnonsense\r\n");
}

static void script_endless_headers(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    say(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 5000; i++)
        if (send(fd, "X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 60, MSG_NOSIGNAL) <= 0)
            return;
}

static atomic_int executed;

/* The second request on a kept connection is executed and then the connection dies without a byte of an answer. */
static void script_dies_on_reuse(int fd, int connection)
{
    (void)connection;
    if (!read_request(fd))
        return;
    atomic_fetch_add(&executed, 1);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (read_request(fd))
        atomic_fetch_add(&executed, 1);
}

static void script_interim(int fd, int connection)
{
    (void)connection;
    read_request(fd);
    say(fd, "HTTP/1.1 103 Early Hints\r\nX-Test: early\r\n\r\nHTTP/1.1 200 OK\r\nX-Test: real\r\nContent-Length: "
            "2\r\n\r\nok");
}

/* --- tests --- */

static void test_a_response_is_received_and_the_connection_kept(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_ok);
    TransferOptions options = options_for(&run, "POST", upstream.port, url, STR("{}"));
    for (int i = 0; i < 5; i++) {
        run_transfer(&run, &options);
        assert_int_equal(run.end, TRANSFER_OK);
        assert_int_equal(run.status, 200);
        assert_string_equal(run.body, "hello");
        assert_string_equal(run.header, "yes");
        assert_int_equal(run.times.reused, i > 0);
        assert_true(run.times.first_byte_us > 0 && run.times.total_us >= run.times.first_byte_us);
    }
    assert_int_equal(atomic_load(&upstream.connections), 1);
    run_release(&run);
    upstream_stop(&upstream);
}

static void have_it_said(void)
{
    atomic_store(&ahead_asked, true);
    while (!atomic_load(&ahead_said))
        usleep(1000);
}

typedef struct Ahead {
    Run *run;
    const TransferOptions *options;
} Ahead;

/* Behind this turn's look at the sockets, before its dispatch. */
static void start_when_it_was_said(void *arg)
{
    const Ahead *ahead = arg;
    have_it_said();
    assert_int_equal(transfer_start(ahead->run->client, ahead->options, NULL).kind, ERR_NONE);
}

static void test_an_answer_that_is_there_when_the_request_goes_out_is_taken_at_once(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    atomic_store(&ahead_asked, false);
    atomic_store(&ahead_said, false);
    run_init(&run);
    upstream_start(&upstream, script_answers_ahead);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    options.connect_timeout_us = 10 * US_PER_S;
    run_transfer(&run, &options);
    assert_string_equal(run.body, "first");
    run.len = 0;
    timer_start(run.loop, &run.timer, 0, start_when_it_was_said, &(Ahead){ &run, &options });
    loop_run(run.loop);
    assert_int_equal(run.end, TRANSFER_OK);
    assert_string_equal(run.body, "second");
    assert_true(run.times.reused && run.times.total_us < 4 * US_PER_S); /* no timer woke it */
    run_release(&run);
    upstream_stop(&upstream);
}

typedef struct EndCase {
    const char *name;
    void (*script)(int fd, int connection);
    TransferEnd end;
    int64_t first_byte_us, idle_us, total_us;
} EndCase;

static void test_each_failure_has_its_own_end(void **state)
{
    (void)state;
    static const EndCase cases[] = {
        { "no answer", script_silent, TRANSFER_FIRST_BYTE_TIMEOUT, 200000, 5000000, 9000000 },
        { "stall", script_stalls_after_header, TRANSFER_IDLE_TIMEOUT, 5000000, 200000, 9000000 },
        { "drip", script_drips, TRANSFER_TOTAL_TIMEOUT, 5000000, 5000000, 300000 },
        { "cut", script_closes_half_way, TRANSFER_RESET, 5000000, 5000000, 9000000 },
        { "reset", script_resets, TRANSFER_RESET, 5000000, 5000000, 9000000 },
        { "not http", script_not_http, TRANSFER_MALFORMED, 5000000, 5000000, 9000000 },
        { "headers", script_endless_headers, TRANSFER_MALFORMED, 5000000, 5000000, 9000000 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Run run;
        Upstream upstream;
        char url[64];
        run_init(&run);
        upstream_start(&upstream, cases[i].script);
        TransferOptions options = options_for(&run, "POST", upstream.port, url, STR("{}"));
        options.first_byte_timeout_us = cases[i].first_byte_us;
        options.idle_timeout_us = cases[i].idle_us;
        options.total_timeout_us = cases[i].total_us;
        run_transfer(&run, &options);
        if (run.end != cases[i].end)
            fail_msg(
                "%s: %s instead of %s", cases[i].name, transfer_end_name(run.end), transfer_end_name(cases[i].end));
        run_release(&run);
        upstream_stop(&upstream);
    }
}

static void test_a_refused_connection_and_an_unknown_name_are_told_apart(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_ok);
    upstream_stop(&upstream);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_CONNECT);
    options.url = STR("http://nothing.invalid/");
    options.connect_timeout_us = 19 * US_PER_S; /* a name server that loses a question is asked again after five */
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_RESOLVE);
    run_release(&run);
}

static void test_a_post_is_never_sent_twice(void **state)
{
    (void)state;
    static const Str bodies[] = { STR_INIT("{\"a\":1}"), STR_INIT("") };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        Run run;
        Upstream upstream;
        char url[64];
        atomic_store(&executed, 0);
        run_init(&run);
        upstream_start(&upstream, script_dies_on_reuse);
        TransferOptions options = options_for(&run, "POST", upstream.port, url, bodies[i]);
        run_transfer(&run, &options);
        assert_int_equal(run.end, TRANSFER_OK);
        run_transfer(&run, &options);
        assert_int_equal(run.end, TRANSFER_RESET);
        usleep(50000);
        assert_int_equal(atomic_load(&executed), 2);
        run_release(&run);
        upstream_stop(&upstream);
    }
}

static void test_a_large_post_is_never_sent_twice_and_arrives_whole(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    static char body[7000];
    memset(body, 'b', sizeof(body));
    atomic_store(&executed, 0);
    run_init(&run);
    upstream_start(&upstream, script_dies_on_reuse);
    TransferOptions options = options_for(&run, "POST", upstream.port, url, str_n(body, sizeof(body)));
    run_transfer(&run, &options);
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_RESET);
    assert_int_equal(atomic_load(&executed), 2);
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_private_and_metadata_addresses_are_denied(void **state)
{
    (void)state;
    static const char *const urls[] = { "http://127.0.0.1:1/", "http://2130706433/", "http://0x7f.1/",
        "http://017700000001/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/", "http://0.0.0.0/", "http://localhost:1/" };
    Run run;
    run_init(&run);
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        char unused[64];
        TransferOptions options = options_for(&run, "GET", 1, unused, (Str){ 0 });
        options.allow_private = false;
        options.url = str_from_c(urls[i]);
        run_transfer(&run, &options);
        if (run.end != TRANSFER_DENIED)
            fail_msg("%s: %s", urls[i], transfer_end_name(run.end));
    }
    run_release(&run);
}

static void test_a_kept_connection_to_a_private_address_is_not_lent_to_who_may_not(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_ok);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_OK);
    options.allow_private = false;
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_DENIED);
    run_release(&run);
    upstream_stop(&upstream);
}

/* A name is looked up by a thread that answers through a socket pair which libcurl closes by itself: its number comes
 * back as that of the connection, or of the next look-up. */
static void test_names_are_looked_up_again_and_again_on_descriptors_that_come_back(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char host[128], url[256];
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    run_init(&run);
    upstream_start(&upstream, script_closes_after_one);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    snprintf(url, sizeof(url), "http://%s:%u/path", host, upstream.port);
    options.url = str_from_c(url);
    for (int i = 0; i < 20; i++) {
        run_transfer(&run, &options);
        if (run.end == TRANSFER_RESOLVE)
            print_message("this machine does not know its own name\n");
        else
            assert_int_equal(run.end, TRANSFER_OK);
    }
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_a_pause_delivers_the_same_bytes_again(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_ok);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    run.pause_once = true;
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_OK);
    assert_string_equal(run.body, "hello");
    assert_int_equal(run.datas, 2);
    run_release(&run);
    upstream_stop(&upstream);
}

static void cancel(void *arg)
{
    transfer_cancel(((Run *)arg)->transfer);
}

static void test_a_cancelled_transfer_ends_once_as_cancelled(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_silent);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    timer_start(run.loop, &run.timer, 100 * US_PER_MS, cancel, &run);
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_CANCELLED);
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_a_transfer_cancelled_before_it_began_reaches_nobody(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_ok);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    assert_int_equal(transfer_start(run.client, &options, &run.transfer).kind, ERR_NONE);
    transfer_cancel(run.transfer);
    loop_run(run.loop);
    assert_int_equal(run.end, TRANSFER_CANCELLED);
    assert_int_equal(atomic_load(&upstream.connections), 0);
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_an_interim_response_is_passed_over(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    run_init(&run);
    upstream_start(&upstream, script_interim);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    run_transfer(&run, &options);
    assert_int_equal(run.status, 200);
    assert_string_equal(run.header, "real");
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_a_proxy_of_the_environment_is_ignored(void **state)
{
    (void)state;
    Run run;
    Upstream upstream;
    char url[64];
    setenv("http_proxy", "http://127.0.0.1:1/", 1);
    run_init(&run);
    upstream_start(&upstream, script_ok);
    TransferOptions options = options_for(&run, "GET", upstream.port, url, (Str){ 0 });
    run_transfer(&run, &options);
    assert_int_equal(run.end, TRANSFER_OK);
    unsetenv("http_proxy");
    run_release(&run);
    upstream_stop(&upstream);
}

static void test_a_header_with_a_line_end_is_refused(void **state)
{
    (void)state;
    Run run;
    char url[64];
    run_init(&run);
    TransferOptions options = options_for(&run, "GET", 1, url, (Str){ 0 });
    Header header = { STR("x-a"), STR("b\r\nx-evil: 1") };
    options.headers = &header;
    options.header_count = 1;
    assert_int_equal(transfer_start(run.client, &options, &run.transfer).kind, ERR_INVALID);
    options.header_count = 0;
    options.secret_header = STR("authorization");
    options.secret_value = str_bytes(STR("a\nb"));
    assert_int_equal(transfer_start(run.client, &options, &run.transfer).kind, ERR_INVALID);
    run_release(&run);
}

/* --- what the upstream sees --- */

static void echo_headers(Exchange *exchange, void *arg)
{
    (void)arg;
    const Header *headers;
    size_t count = exchange_headers(exchange, &headers);
    Str text = exchange_method(exchange);
    for (size_t i = 0; i < count; i++)
        text = arena_fmt(exchange_arena(exchange), STR_FMT "|" STR_FMT "=" STR_FMT, STR_ARG(text),
            STR_ARG(headers[i].name), STR_ARG(headers[i].value));
    text = arena_fmt(exchange_arena(exchange), STR_FMT "|body=%zu", STR_ARG(text), exchange_body(exchange).len);
    exchange_reply(exchange, &(Response){ .status = 200, .content_type = "text/plain", .body = text });
}

static void test_fetch_sends_what_was_asked_and_nothing_else(void **state)
{
    (void)state;
    Fixture fixture = { .options = { .on_request = echo_headers } };
    fixture_start(&fixture);
    _cleanup_(arena_free) Arena *arena = arena_new();
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", server_port(fixture.server));
    Header header = { STR("content-type"), STR("application/json") };
    static char large[200000];
    TransferOptions options = { .method = "POST",
        .url = str_from_c(url),
        .headers = &header,
        .header_count = 1,
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(STR("sk-test")),
        .body = STR("{}"),
        .allow_private = true };
    HttpReply reply;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_fetch(arena, &options, 65536, &reply).kind, ERR_NONE);
        assert_int_equal(reply.status, 200);
        assert_true(str_eq(http_reply_header(&reply, STR("Content-Type")), STR("text/plain")));
        char expected[256];
        snprintf(expected, sizeof(expected),
            "POST|Host=127.0.0.1:%u|authorization=Bearer sk-test|content-type=application/json|Content-Length=2|body=2",
            server_port(fixture.server));
        Str body = reply.body;
        if (!str_eq(body, str_from_c(expected)))
            fail_msg("%.*s", STR_ARG(body));
    }
    options.body = str_n(large, sizeof(large));
    assert_int_equal(http_fetch(arena, &options, 65536, &reply).kind, ERR_NONE);
    assert_true(str_contains(reply.body, STR("|body=200000")));
    options.method = "GET";
    options.body = (Str){ 0 };
    assert_int_equal(http_fetch(arena, &options, 65536, &reply).kind, ERR_NONE);
    assert_true(str_starts_with(reply.body, STR("GET|")) && str_contains(reply.body, STR("|body=0")));
    options.method = "DELETE";
    assert_int_equal(http_fetch(arena, &options, 65536, &reply).kind, ERR_NONE);
    assert_true(str_starts_with(reply.body, STR("DELETE|")));
    Err err = http_fetch(arena, &options, 10, &reply);
    assert_true(err_is(err, "reply-too-large"));
    fixture_stop(&fixture);
    err = http_fetch(arena, &options, 65536, &reply);
    assert_true(err_is(err, "connect"));
}

static void test_fetch_goes_through_a_unix_socket_where_one_is_named(void **state)
{
    (void)state;
    char folder[] = "/tmp/reeve-unix-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/http", folder);
    static Upstream upstream; /* this thread keeps its connection, and so the upstream its thread, to the end */
    upstream.script = script_ok;
    upstream.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(upstream.listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(upstream.listen_fd, 4), 0);
    pthread_create(&upstream.thread, NULL, upstream_thread, &upstream);

    _cleanup_(arena_free) Arena *arena = arena_new();
    HttpReply reply;
    /* The name is only for Host: it is not looked up, and no private address need be allowed. */
    TransferOptions options = { .url = STR("http://nothing.invalid/x"),
        .unix_socket = str_from_c(address.sun_path),
        .total_timeout_us = 10 * US_PER_S };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_fetch(arena, &options, 100, &reply).kind, ERR_NONE);
        assert_true(str_eq(reply.body, STR("hello")));
    }
    assert_int_equal(atomic_load(&upstream.connections), 1);
    /* Its connection is lent to nobody who did not name the socket. */
    options.unix_socket = (Str){ 0 };
    options.url = STR("http://127.0.0.1:1/x");
    assert_true(err_is(http_fetch(arena, &options, 100, &reply), "denied"));
    options.unix_socket = arena_fmt(arena, "%s/none", folder);
    assert_true(err_is(http_fetch(arena, &options, 100, &reply), "connect"));
    options.unix_socket = str_from_c(address.sun_path);
    shutdown(upstream.listen_fd, SHUT_RDWR);
    unlink(address.sun_path);
    rmdir(folder);
}

static void test_address_classes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        AddressClass class;
    } cases[] = { { "8.8.8.8", ADDRESS_PUBLIC }, { "10.1.2.3", ADDRESS_PRIVATE }, { "172.15.255.255", ADDRESS_PUBLIC },
        { "172.16.0.0", ADDRESS_PRIVATE }, { "172.31.255.255", ADDRESS_PRIVATE }, { "172.32.0.0", ADDRESS_PUBLIC },
        { "192.168.1.1", ADDRESS_PRIVATE }, { "100.64.0.1", ADDRESS_PRIVATE }, { "100.128.0.1", ADDRESS_PUBLIC },
        { "100.100.100.200", ADDRESS_METADATA }, { "169.254.169.254", ADDRESS_METADATA }, { "0.1.2.3", ADDRESS_NEVER },
        { "192.0.0.192", ADDRESS_NEVER }, { "198.18.0.1", ADDRESS_NEVER }, { "198.19.255.255", ADDRESS_NEVER },
        { "198.20.0.0", ADDRESS_PUBLIC }, { "224.0.0.1", ADDRESS_NEVER }, { "255.255.255.255", ADDRESS_NEVER },
        { "::", ADDRESS_NEVER }, { "::1", ADDRESS_PRIVATE }, { "::127.0.0.1", ADDRESS_NEVER },
        { "::ffff:10.0.0.1", ADDRESS_PRIVATE }, { "::ffff:169.254.169.254", ADDRESS_METADATA },
        { "::ffff:8.8.8.8", ADDRESS_PUBLIC }, { "64:ff9b::a9fe:a9fe", ADDRESS_METADATA },
        { "2002:7f00:1::", ADDRESS_PRIVATE }, { "2002:808:808::", ADDRESS_PUBLIC }, { "fc00::1", ADDRESS_PRIVATE },
        { "fdff::1", ADDRESS_PRIVATE }, { "fd00:ec2::254", ADDRESS_METADATA }, { "fe80::1%eth0", ADDRESS_METADATA },
        { "febf::1", ADDRESS_METADATA }, { "fec0::1", ADDRESS_NEVER }, { "ff02::1", ADDRESS_NEVER },
        { "2606:4700::1111", ADDRESS_PUBLIC }, { "not an address", ADDRESS_NEVER }, { "", ADDRESS_NEVER } };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (address_class_of_text(cases[i].text) != cases[i].class)
            fail_msg("%s: %d", cases[i].text, address_class_of_text(cases[i].text));
}

int main(void)
{
    client_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_classes),
        cmocka_unit_test(test_fetch_goes_through_a_unix_socket_where_one_is_named),
        cmocka_unit_test(test_a_response_is_received_and_the_connection_kept),
        cmocka_unit_test(test_an_answer_that_is_there_when_the_request_goes_out_is_taken_at_once),
        cmocka_unit_test(test_each_failure_has_its_own_end),
        cmocka_unit_test(test_a_refused_connection_and_an_unknown_name_are_told_apart),
        cmocka_unit_test(test_a_post_is_never_sent_twice),
        cmocka_unit_test(test_a_large_post_is_never_sent_twice_and_arrives_whole),
        cmocka_unit_test(test_private_and_metadata_addresses_are_denied),
        cmocka_unit_test(test_a_kept_connection_to_a_private_address_is_not_lent_to_who_may_not),
        cmocka_unit_test(test_names_are_looked_up_again_and_again_on_descriptors_that_come_back),
        cmocka_unit_test(test_a_pause_delivers_the_same_bytes_again),
        cmocka_unit_test(test_a_cancelled_transfer_ends_once_as_cancelled),
        cmocka_unit_test(test_a_transfer_cancelled_before_it_began_reaches_nobody),
        cmocka_unit_test(test_an_interim_response_is_passed_over),
        cmocka_unit_test(test_a_proxy_of_the_environment_is_ignored),
        cmocka_unit_test(test_a_header_with_a_line_end_is_refused),
        cmocka_unit_test(test_fetch_sends_what_was_asked_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
