/* server_test.c: the server over real sockets: keep-alive, pipelining, splits, bodies, limits, late replies. */
#include "fixture.h"

typedef struct World {
    Fixture fixture;
    Exchange *held; /* by /later, until the test lets it go */
    atomic_int handled, gone, closed, closed_sent;
    atomic_size_t last_body;
} World;

static void on_close(Exchange *exchange, bool sent, void *arg)
{
    (void)exchange;
    World *world = arg;
    atomic_fetch_add(&world->closed, 1);
    if (sent)
        atomic_fetch_add(&world->closed_sent, 1);
}

static void on_gone(Exchange *exchange, void *arg)
{
    World *world = arg;
    assert_true(exchange_client_gone(exchange));
    atomic_fetch_add(&world->gone, 1);
}

static void reply_text(Exchange *exchange, Str text)
{
    exchange_reply(exchange, &(Response){ .status = 200, .content_type = "text/plain", .body = text });
}

static void on_request(Exchange *exchange, void *arg)
{
    World *world = arg;
    atomic_fetch_add(&world->handled, 1);
    exchange_on_close(exchange, on_close, world);
    exchange_on_gone(exchange, on_gone, world);
    atomic_store(&world->last_body, exchange_body(exchange).len);
    if (str_eq(exchange_path(exchange), STR("/later"))) {
        world->held = exchange;
        return;
    }
    if (str_eq(exchange_path(exchange), STR("/error"))) {
        exchange_reply_err(exchange, FAIL(ERR_CONFLICT, "name-taken", "The name is taken."));
        return;
    }
    Str text = arena_fmt(exchange_arena(exchange), "<" STR_FMT " " STR_FMT " q=" STR_FMT " " STR_FMT ">",
        STR_ARG(exchange_method(exchange)), STR_ARG(exchange_path(exchange)), STR_ARG(exchange_query(exchange)),
        STR_ARG(exchange_body(exchange)));
    reply_text(exchange, text);
}

static bool admit(Exchange *exchange, void *arg, size_t *ret_body_max)
{
    (void)arg;
    if (str_eq(exchange_path(exchange), STR("/secret"))) {
        exchange_reply_err(exchange, FAIL(ERR_UNAUTHENTICATED, "no-token", "A token is needed."));
        return false;
    }
    if (str_eq(exchange_path(exchange), STR("/big")))
        *ret_body_max = 8 * 1024 * 1024;
    return true;
}

static World *world_new(ServerLimits limits)
{
    World *world = calloc(1, sizeof(World));
    world->fixture.options =
        (ServerOptions){ .on_request = on_request, .admit = admit, .arg = world, .limits = limits };
    fixture_start(&world->fixture);
    return world;
}

static void world_free(World *world)
{
    fixture_stop(&world->fixture);
    free(world);
}

static void let_go(void *arg)
{
    World *world = arg;
    reply_text(world->held, STR("late"));
}

/* --- requests --- */

static void test_a_request_is_answered_with_a_request_id(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "GET /hello?a=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    char text[4096];
    hear_until(fd, text, sizeof(text), "q=a=1 >", 1, HEAR_MS);
    assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(text, "<GET /hello q=a=1 >"));
    assert_non_null(strstr(text, "x-request-id: req_"));
    assert_null(strstr(text, "onnection: close"));
    close(fd);
    WAIT_FOR(atomic_load(&world->closed_sent) == 1);
    world_free(world);
}

static void test_a_connection_is_kept_and_serves_many_requests(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    for (int i = 0; i < 50; i++) {
        say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        assert_true(hears(fd, "<POST /echo q= hello>"));
    }
    close(fd);
    world_free(world);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
            "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    char text[8192];
    hear_until(fd, text, sizeof(text), "<GET /3", 1, HEAR_MS);
    char *one = strstr(text, "<GET /1"), *two = strstr(text, "<POST /2 q= abc>"), *three = strstr(text, "<GET /3");
    assert_true(one != NULL && two > one && three > two);
    close(fd);
    world_free(world);
}

static void test_a_request_split_at_every_byte_is_the_same_request(void **state)
{
    (void)state;
    static const char request[] = "POST /split?x=y HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody";
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        say_n(fd, request, cut);
        usleep(300);
        say_n(fd, request + cut, sizeof(request) - 1 - cut);
        assert_true(hears(fd, "<POST /split q=x=y body>"));
    }
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        say_n(fd, request + i, 1);
        usleep(200);
    }
    assert_true(hears(fd, "<POST /split q=x=y body>"));
    close(fd);
    world_free(world);
}

static void test_a_large_body_arrives_whole_and_the_connection_goes_on(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    size_t len = 4 * 1024 * 1024;
    char *body = calloc(1, len + 64), head[128];
    memset(body, 'a', len);
    snprintf(head, sizeof(head), "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len);
    static const char next[] = "GET /after HTTP/1.1\r\nHost: x\r\n\r\n";
    memcpy(body + len, next, sizeof(next) - 1);
    say(fd, head);
    /* A thread would be needed to read while sending; the reply is as large as the request, so read /later's. */
    shutdown(fd, 0);
    close(fd);
    fd = dial(&world->fixture);
    snprintf(head, sizeof(head), "POST /error HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 200000);
    say(fd, head);
    say_n(fd, body, 200000);
    assert_true(hears(fd, "name-taken"));
    assert_int_equal(atomic_load(&world->last_body), 200000);
    say_n(fd, next, sizeof(next) - 1);
    assert_true(hears(fd, "<GET /after"));
    free(body);
    close(fd);
    world_free(world);
}

static void test_a_late_reply_is_delivered(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    for (int i = 1; i <= 20; i++) {
        say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
        WAIT_FOR(atomic_load(&world->handled) == i);
        loop_post(world->fixture.loop, let_go, world);
        assert_true(hears(fd, "late"));
    }
    WAIT_FOR(atomic_load(&world->closed_sent) == 20);
    close(fd);
    world_free(world);
}

static void test_a_client_that_leaves_is_noticed_while_its_exchange_waits(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_FOR(atomic_load(&world->handled) == 1);
    close(fd);
    WAIT_FOR(atomic_load(&world->gone) == 1);
    /* The handler still owns it, and its reply goes nowhere. */
    assert_int_equal(atomic_load(&world->closed), 0);
    loop_post(world->fixture.loop, let_go, world);
    WAIT_FOR(atomic_load(&world->closed) == 1);
    assert_int_equal(atomic_load(&world->closed_sent), 0);
    WAIT_FOR(server_stats(world->fixture.server).connections == 0);
    world_free(world);
}

static void test_an_early_refusal_comes_before_the_body(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    assert_true(hears(fd, "no-token"));
    assert_true(is_closed_by_peer(fd));
    close(fd);
    fd = dial(&world->fixture);
    say(fd, "POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    assert_true(hears(fd, "no-token"));
    say(fd, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); /* its body was here: the connection is kept */
    assert_true(hears(fd, "<GET /x"));
    assert_int_equal(atomic_load(&world->handled), 1);
    close(fd);
    world_free(world);
}

static void test_a_body_over_its_limit_is_413_and_closes(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\nabc");
    char text[4096];
    hear_until(fd, text, sizeof(text), "262144", 1, HEAR_MS);
    assert_non_null(strstr(text, "HTTP/1.1 413 "));
    assert_non_null(strstr(text, "body-too-large"));
    assert_true(is_closed_by_peer(fd));
    assert_int_equal(atomic_load(&world->handled), 0);
    close(fd);
    world_free(world);
}

static void test_expect_100_continue_is_answered_before_the_body(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_true(hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(fd, "ok");
    assert_true(hears(fd, "<POST /echo q= ok>"));
    say(fd, "POST /secret HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    char text[4096];
    hear_until(fd, text, sizeof(text), "no-token", 1, HEAR_MS);
    assert_null(strstr(text, "100 Continue"));
    assert_true(is_closed_by_peer(fd));
    close(fd);
    world_free(world);
}

static void test_a_slow_header_gets_408_and_a_slow_body_too(void **state)
{
    (void)state;
    ServerLimits limits = SERVER_LIMITS_DEFAULT;
    limits.header_s = limits.body_s = limits.idle_s = 1;
    World *world = world_new(limits);
    int slow_head = dial(&world->fixture), slow_body = dial(&world->fixture), silent = dial(&world->fixture);
    int idle = dial(&world->fixture);
    say(slow_head, "GET /x HTTP/1.1\r\nHo");
    say(slow_body, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
    say(idle, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hears(slow_head, "408 Request Timeout"));
    assert_true(hears(slow_body, "408 Request Timeout"));
    assert_true(is_closed_by_peer(slow_head));
    assert_true(is_closed_by_peer(slow_body));
    assert_true(is_closed_by_peer(silent));
    assert_true(is_closed_by_peer(idle));
    assert_int_equal(atomic_load(&world->handled), 1);
    close(slow_head), close(slow_body), close(silent), close(idle);
    world_free(world);
}

static void test_dripping_bytes_does_not_prolong_the_header_time(void **state)
{
    (void)state;
    ServerLimits limits = SERVER_LIMITS_DEFAULT;
    limits.header_s = 1;
    World *world = world_new(limits);
    int fd = dial(&world->fixture);
    int64_t start_us = monotonic_us();
    say(fd, "GET /x HTTP/1.1\r\nHost: x\r\nA: ");
    for (int i = 0; i < 40 && stays_open(fd, 100); i++)
        say(fd, "a");
    assert_true(monotonic_us() - start_us < 3 * US_PER_S);
    assert_true(is_closed_by_peer(fd));
    close(fd);
    world_free(world);
}

static void test_http_1_0_is_answered_and_closed(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "GET /old HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hears(fd, "<GET /old"));
    assert_true(is_closed_by_peer(fd));
    assert_int_equal(atomic_load(&world->handled), 1);
    close(fd);
    world_free(world);
}

static void test_a_half_closed_client_still_gets_its_answer(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fd = dial(&world->fixture);
    say(fd, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    assert_true(hears(fd, "<GET /x"));
    close(fd);
    fd = dial(&world->fixture);
    say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    WAIT_FOR(atomic_load(&world->handled) == 2);
    loop_post(world->fixture.loop, let_go, world);
    assert_true(hears(fd, "late"));
    close(fd);
    world_free(world);
}

static void test_drain_finishes_what_was_begun_and_closes_what_is_idle(void **state);

static void start_drain(void *arg)
{
    World *world = arg;
    server_drain(world->fixture.server, 10 * US_PER_S, fixture_drained, &world->fixture);
}

static void test_drain_finishes_what_was_begun_and_closes_what_is_idle(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int busy = dial(&world->fixture), idle = dial(&world->fixture);
    say(idle, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(hears(idle, "<GET /x"));
    say(busy, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_FOR(atomic_load(&world->handled) == 2);
    loop_post(world->fixture.loop, start_drain, world);
    assert_true(is_closed_by_peer(idle));
    loop_post(world->fixture.loop, let_go, world);
    char text[4096];
    hear_until(busy, text, sizeof(text), "late", 1, HEAR_MS);
    assert_non_null(strstr(text, "Connection: close"));
    assert_non_null(strstr(text, "late"));
    assert_true(is_closed_by_peer(busy));
    pthread_join(world->fixture.thread, NULL); /* the drain stopped the loop */
    loop_free(&world->fixture.loop);
    close(busy), close(idle);
    free(world);
}

static void test_a_server_can_be_freed_with_exchanges_waiting(void **state)
{
    (void)state;
    World *world = world_new(SERVER_LIMITS_DEFAULT);
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = dial(&world->fixture);
        say(fds[i], "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    WAIT_FOR(atomic_load(&world->handled) == 8);
    fixture_stop(&world->fixture);
    assert_int_equal(atomic_load(&world->closed), 8);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    free(world);
}

static void test_the_connection_limit_holds(void **state)
{
    (void)state;
    ServerLimits limits = SERVER_LIMITS_DEFAULT;
    limits.connections_per_address_max = 3;
    World *world = world_new(limits);
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&world->fixture);
        say(fds[i], "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(hears(fds[i], "<GET /x"));
    }
    fds[3] = dial(&world->fixture);
    say(fds[3], "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(is_closed_by_peer(fds[3]));
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_answered_with_a_request_id),
        cmocka_unit_test(test_a_connection_is_kept_and_serves_many_requests),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_a_request_split_at_every_byte_is_the_same_request),
        cmocka_unit_test(test_a_large_body_arrives_whole_and_the_connection_goes_on),
        cmocka_unit_test(test_a_late_reply_is_delivered),
        cmocka_unit_test(test_a_client_that_leaves_is_noticed_while_its_exchange_waits),
        cmocka_unit_test(test_an_early_refusal_comes_before_the_body),
        cmocka_unit_test(test_a_body_over_its_limit_is_413_and_closes),
        cmocka_unit_test(test_expect_100_continue_is_answered_before_the_body),
        cmocka_unit_test(test_a_slow_header_gets_408_and_a_slow_body_too),
        cmocka_unit_test(test_dripping_bytes_does_not_prolong_the_header_time),
        cmocka_unit_test(test_http_1_0_is_answered_and_closed),
        cmocka_unit_test(test_a_half_closed_client_still_gets_its_answer),
        cmocka_unit_test(test_drain_finishes_what_was_begun_and_closes_what_is_idle),
        cmocka_unit_test(test_a_server_can_be_freed_with_exchanges_waiting),
        cmocka_unit_test(test_the_connection_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
