/* stream_test.c: streamed replies: flushed at once, held back for slow readers, ended, aborted, abandoned; and TLS. */
#include "certificate.h"
#include "fixture.h"

#include <spawn.h>
#include <sys/wait.h>

#include "base/config.h"
#include "http/client.h"

#define BLOCK_BYTES (64 * 1024)
#define HIGH_WATER (256 * 1024)
#define TOTAL_BYTES (24 * 1024 * 1024)

typedef struct World {
    Fixture fixture;
    Exchange *exchange;
    Timer *timer;
    char block[BLOCK_BYTES];
    atomic_size_t written;
    atomic_size_t most_waiting;
    atomic_int drains, gone, closed, closed_sent, begun;
} World;

static void on_close(Exchange *exchange, bool sent, void *arg)
{
    (void)exchange;
    World *world = arg;
    timer_cancel(&world->timer);
    atomic_fetch_add(&world->closed, 1);
    if (sent)
        atomic_fetch_add(&world->closed_sent, 1);
}

static void on_gone(Exchange *exchange, void *arg)
{
    World *world = arg;
    atomic_fetch_add(&world->gone, 1);
    exchange_stream_abort(exchange);
}

static void pump(World *world)
{
    size_t waiting = 0;
    while (world->written < TOTAL_BYTES && waiting <= HIGH_WATER) {
        waiting = exchange_stream_write(world->exchange, str_n(world->block, BLOCK_BYTES));
        world->written += BLOCK_BYTES;
        if (waiting > atomic_load(&world->most_waiting))
            atomic_store(&world->most_waiting, waiting);
    }
    if (world->written == TOTAL_BYTES)
        exchange_stream_end(world->exchange);
}

static void on_drain(Exchange *exchange, void *arg)
{
    (void)exchange;
    World *world = arg;
    atomic_fetch_add(&world->drains, 1);
    pump(world);
}

static void second_chunk(void *arg)
{
    World *world = arg;
    exchange_stream_write(world->exchange, STR("data: two\n\n"));
    exchange_stream_end(world->exchange);
}

static void on_request(Exchange *exchange, void *arg)
{
    World *world = arg;
    world->exchange = exchange;
    exchange_on_close(exchange, on_close, world);
    exchange_on_gone(exchange, on_gone, world);
    exchange_stream_begin(exchange, &(Response){ .status = 200, .content_type = "text/event-stream" });
    atomic_fetch_add(&world->begun, 1);
    if (str_eq(exchange_path(exchange), STR("/flood"))) {
        exchange_on_drain(exchange, BLOCK_BYTES, on_drain, world);
        world->written = 0;
        pump(world);
    } else if (str_eq(exchange_path(exchange), STR("/two"))) {
        exchange_stream_write(exchange, STR("data: one\n\n"));
        timer_start(world->fixture.loop, &world->timer, 400 * US_PER_MS, second_chunk, world);
    } else if (str_eq(exchange_path(exchange), STR("/abort"))) {
        exchange_stream_write(exchange, STR("data: one\n\n"));
        exchange_stream_abort(exchange);
    } else if (str_eq(exchange_path(exchange), STR("/empty")))
        exchange_stream_end(exchange);
    else
        exchange_stream_write(exchange, STR("data: one\n\n"));
}

static World *world_new(void)
{
    World *world = calloc(1, sizeof(World));
    world->fixture.options = (ServerOptions){ .on_request = on_request, .arg = world };
    memset(world->block, 'x', sizeof(world->block));
    fixture_start(&world->fixture);
    return world;
}

static void world_free(World *world)
{
    fixture_stop(&world->fixture);
    free(world);
}

static void get(int fd, const char *path)
{
    char text[256];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    say(fd, text);
}

static void test_a_chunk_is_flushed_at_once_and_the_connection_kept(void **state)
{
    (void)state;
    World *world = world_new();
    int fd = dial(&world->fixture);
    for (int i = 0; i < 3; i++) {
        get(fd, "/two");
        char text[4096];
        int64_t start_us = monotonic_us();
        hear_until(fd, text, sizeof(text), "data: one\n\n\r\n", 1, HEAR_MS);
        assert_true(monotonic_us() - start_us < 300 * US_PER_MS);
        assert_null(strstr(text, "two"));
        assert_true(hears(fd, "data: two\n\n\r\n0\r\n\r\n"));
    }
    get(fd, "/empty");
    assert_true(hears(fd, "\r\n\r\n0\r\n\r\n"));
    WAIT_FOR(atomic_load(&world->closed_sent) == 4);
    close(fd);
    world_free(world);
}

static void test_a_slow_reader_holds_the_producer_back(void **state)
{
    (void)state;
    World *world = world_new();
    int fd = dial(&world->fixture);
    get(fd, "/flood");
    usleep(300000);
    size_t written = world->written;
    assert_true(written < TOTAL_BYTES);
    static char text[256 * 1024];
    size_t x = 0;
    while (x < TOTAL_BYTES) {
        ssize_t n = recv(fd, text, sizeof(text), 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            x += text[i] == 'x';
    }
    assert_true(x >= TOTAL_BYTES);
    WAIT_FOR(atomic_load(&world->closed_sent) == 1);
    assert_true(atomic_load(&world->drains) > 10);
    assert_true(atomic_load(&world->most_waiting) <= HIGH_WATER + BLOCK_BYTES);
    close(fd);
    world_free(world);
}

static void test_a_client_that_leaves_a_stream_is_noticed_at_once(void **state)
{
    (void)state;
    World *world = world_new();
    for (int i = 1; i <= 5; i++) {
        int fd = dial(&world->fixture);
        get(fd, i % 2 == 0 ? "/flood" : "/wait");
        WAIT_FOR(atomic_load(&world->begun) == i);
        usleep(20000);
        int64_t start_us = monotonic_us();
        close(fd);
        WAIT_FOR(atomic_load(&world->gone) == i);
        assert_true(monotonic_us() - start_us < US_PER_S);
        WAIT_FOR(atomic_load(&world->closed) == i);
    }
    assert_int_equal(atomic_load(&world->closed_sent), 0);
    WAIT_FOR(server_stats(world->fixture.server).connections == 0);
    world_free(world);
}

static void test_an_aborted_stream_has_no_last_chunk(void **state)
{
    (void)state;
    World *world = world_new();
    int fd = dial(&world->fixture);
    get(fd, "/abort");
    char text[4096];
    hear_until(fd, text, sizeof(text), NULL, 0, HEAR_MS);
    assert_null(strstr(text, "\r\n0\r\n"));
    WAIT_FOR(atomic_load(&world->closed) == 1);
    assert_int_equal(atomic_load(&world->closed_sent), 0);
    close(fd);
    world_free(world);
}

/* --- TLS --- */

static void on_tls_request(Exchange *exchange, void *arg)
{
    (void)arg;
    exchange_reply(
        exchange, &(Response){ .status = 200, .content_type = "text/plain", .body = exchange_body(exchange) });
}

typedef struct Reload {
    Server *server;
    Str cert_pem, key_file;
    Err err;
    atomic_bool done;
} Reload;

static void reload_now(void *arg)
{
    Reload *reload = arg;
    reload->err = server_reload_tls(reload->server, reload->cert_pem, reload->key_file);
    atomic_store(&reload->done, true);
}

static Err reload(Fixture *fixture, Str cert_pem, Str key_file)
{
    Reload reload = { .server = fixture->server, .cert_pem = cert_pem, .key_file = key_file };
    loop_post(fixture->loop, reload_now, &reload);
    WAIT_FOR(atomic_load(&reload.done));
    return reload.err;
}

static void test_tls_serves_large_bodies_keeps_connections_and_reloads_its_certificate(void **state)
{
    (void)state;
    _cleanup_(arena_free) Arena *arena = arena_new();
    make_certificate("one");
    make_certificate("two");
    Fixture fixture = { .options = { .on_request = on_tls_request,
                            .tls_cert_pem = pem_of(arena, "one"),
                            .tls_key_file = path_of(arena, "one", "key") } };
    fixture_start(&fixture);
    static char body[200000];
    memset(body, 'b', sizeof(body));
    TransferOptions options = { .method = "POST",
        .url = arena_fmt(arena, "https://127.0.0.1:%u/x", server_port(fixture.server)),
        .body = str_n(body, sizeof(body)),
        .ca_pem = pem_of(arena, "one"),
        .allow_private = true };
    HttpReply reply;
    for (int i = 0; i < 3; i++) {
        Err err = http_fetch(arena, &options, sizeof(body), &reply);
        if (err.kind != ERR_NONE)
            fail_msg("%.*s", STR_ARG(err.detail));
        assert_true(str_eq(reply.body, options.body));
    }
    assert_int_equal(server_stats(fixture.server).accepted, 1);
    options.ca_pem = pem_of(arena, "two");
    assert_true(err_is(http_fetch(arena, &options, sizeof(body), &reply), "tls"));
    /* A key that is not the certificate's changes nothing. */
    assert_true(err_is(reload(&fixture, pem_of(arena, "two"), path_of(arena, "one", "key")), "tls-key"));
    assert_int_equal(reload(&fixture, pem_of(arena, "two"), path_of(arena, "two", "key")).kind, ERR_NONE);
    assert_int_equal(http_fetch(arena, &options, sizeof(body), &reply).kind, ERR_NONE);
    assert_true(str_eq(reply.body, options.body));
    fixture_stop(&fixture);
    static const char *const names[] = { "one", "two" };
    for (size_t i = 0; i < 2; i++) {
        unlink(path_of(arena, names[i], "pem").ptr);
        unlink(path_of(arena, names[i], "key").ptr);
    }
}

int main(void)
{
    client_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_chunk_is_flushed_at_once_and_the_connection_kept),
        cmocka_unit_test(test_a_slow_reader_holds_the_producer_back),
        cmocka_unit_test(test_a_client_that_leaves_a_stream_is_noticed_at_once),
        cmocka_unit_test(test_an_aborted_stream_has_no_last_chunk),
        cmocka_unit_test(test_tls_serves_large_bodies_keeps_connections_and_reloads_its_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
