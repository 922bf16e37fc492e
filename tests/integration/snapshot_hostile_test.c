/*
 * A data plane against a hostile control plane on a real socket: answers that a cache, a proxy, a portal or a stranger
 * would give, bodies that never end, bytes that come one at a time. None of it may change what is served, make the data
 * plane follow anybody, or cost it unbounded memory or time.
 */
#include "../unit/libreeve/world.h"

#include "http/client.h"
#include "http/server.h"

#include <pthread.h>
#include <signal.h>

#define DRIP_US (200 * US_PER_MS)
#define CHUNK_BYTES 65536

typedef enum Trick { TRICK_NONE, TRICK_DRIP, TRICK_ENDLESS, TRICK_RESET } Trick;

/* The world behind a server; what it does to a path is set between turns, while nobody asks. */
typedef struct Hostile {
    World *world;
    Loop *loop;
    Server *server;
    pthread_t thread;
    Str url;
    Trick trick; /* for the manifest, or for objects */
    bool on_objects;
    int status; /* 0: the truth */
    const char *header_name, *header_value, *media_type;
    Str body;                     /* with status */
    _Atomic int asked, strangers; /* strangers: requests that no data plane makes */
    _Atomic bool ranged;
} Hostile;

/* One stream that goes on until its reader leaves; in the exchange's arena. */
typedef struct Stream {
    Hostile *hostile;
    Exchange *exchange;
    Timer *timer;
} Stream;

static void stream_gone(Exchange *exchange, void *arg)
{
    Stream *stream = arg;
    timer_cancel(&stream->timer);
    exchange_stream_abort(exchange);
}

static void drip(void *arg)
{
    Stream *stream = arg;
    stream->timer = NULL;
    exchange_stream_write(stream->exchange, STR("e"));
    timer_start(stream->hostile->loop, &stream->timer, DRIP_US, drip, stream);
}

static void pour(Exchange *exchange, void *arg)
{
    static char chunk[CHUNK_BYTES];
    (void)arg;
    memset(chunk, 'A', sizeof chunk);
    exchange_stream_write(exchange, str_n(chunk, sizeof chunk));
}

static void play(Hostile *hostile, Exchange *exchange)
{
    Stream *stream = NEW(exchange_arena(exchange), Stream, 1);
    *stream = (Stream){ .hostile = hostile, .exchange = exchange };
    exchange_stream_begin(exchange, &(Response){ .status = 200, .content_type = "application/jose" });
    if (hostile->trick == TRICK_RESET) {
        exchange_stream_abort(exchange);
        return;
    }
    exchange_on_gone(exchange, stream_gone, stream);
    if (hostile->trick == TRICK_DRIP) {
        drip(stream);
        return;
    }
    exchange_on_drain(exchange, CHUNK_BYTES / 4, pour, stream);
    pour(exchange, stream);
}

static void lie(Hostile *hostile, Exchange *exchange)
{
    const Header header = { str_from_c(hostile->header_name != NULL ? hostile->header_name : "X-Nothing"),
        str_from_c(hostile->header_value != NULL ? hostile->header_value : "x") };
    exchange_reply(exchange, &(Response){ .status = hostile->status,
                                 .content_type = hostile->media_type != NULL ? hostile->media_type : "application/jose",
                                 .body = hostile->body,
                                 .headers = &header,
                                 .header_count = 1 });
}

static void tell_the_truth(Hostile *hostile, Exchange *exchange)
{
    PullReply reply = { 0 };
    Arena *arena = exchange_arena(exchange);
    PullCall call = { .method = arena_c(arena, exchange_method(exchange)),
        .path = exchange_target(exchange),
        .body = exchange_body(exchange) };
    assert_ok(world_call(hostile->world, arena, &call, &reply));
    exchange_reply(exchange,
        &(Response){ .status = reply.status, .content_type = arena_c(arena, reply.content_type), .body = reply.body });
}

static void on_request(Exchange *exchange, void *arg)
{
    Hostile *hostile = arg;
    Str path = exchange_path(exchange);
    bool is_object = str_starts_with(path, STR("/v1/objects/"));
    bool is_target = hostile->on_objects ? is_object : str_eq(path, STR("/v1/snapshot/manifest"));
    if (exchange_header(exchange, STR("range")).len > 0 || exchange_header(exchange, STR("if-none-match")).len > 0)
        hostile->ranged = true;
    if (str_starts_with(path, STR("/stranger")))
        hostile->strangers++;
    if (is_target)
        hostile->asked++;
    if (is_target && hostile->trick != TRICK_NONE)
        play(hostile, exchange);
    else if (is_target && hostile->status != 0)
        lie(hostile, exchange);
    else
        tell_the_truth(hostile, exchange);
}

static void *run_loop(void *arg)
{
    loop_run(((Hostile *)arg)->loop);
    return NULL;
}

static void open_puller(Hostile *hostile)
{
    World *world = hostile->world;
    PullerOptions options = { .state_dir = str_from_c(world->dir),
        .url = hostile->url,
        .join_token = world->join_token,
        .name = STR("test"),
        .wait_s = 1,
        .allow_private = true,
        .builder = view_builder() };
    assert_ok(puller_open(world->arena, &options, &world->puller));
}

static int setup(void **state)
{
    World *world = world_new();
    Hostile *hostile = NEW(world->arena, Hostile, 1);
    hostile->world = world;
    ServerOptions options = {
        .address = STR("127.0.0.1"), .limits = SERVER_LIMITS_DEFAULT, .on_request = on_request, .arg = hostile
    };
    assert_ok(loop_new(&hostile->loop));
    assert_ok(server_start(hostile->loop, &options, &hostile->server));
    hostile->url = arena_fmt(world->arena, "http://127.0.0.1:%u", server_port(hostile->server));
    assert_int_equal(0, pthread_create(&hostile->thread, NULL, run_loop, hostile));
    open_puller(hostile);
    assert_ok(puller_step(world->puller));
    assert_int_equal(1, world_seq(world));
    *state = hostile;
    return 0;
}

static int teardown(void **state)
{
    Hostile *hostile = *state;
    World *world = hostile->world;
    puller_close(&world->puller);
    loop_stop(hostile->loop);
    pthread_join(hostile->thread, NULL);
    server_free(&hostile->server);
    loop_free(&hostile->loop);
    world_free(world);
    return 0;
}

static void be_honest(Hostile *hostile)
{
    hostile->trick = TRICK_NONE;
    hostile->on_objects = false;
    hostile->status = 0;
    hostile->header_name = hostile->header_value = hostile->media_type = NULL;
    hostile->body = STR("");
}

/* Refused with that code (NULL: any), within the time; the first snapshot still serves. */
static void check_unmoved(Hostile *hostile, const char *code, int64_t within_us, int line)
{
    int64_t began = monotonic_us();
    Err err = puller_step(hostile->world->puller);
    if (err.kind == ERR_NONE || (code != NULL && !err_is(err, code)))
        fail_msg("line %d: expected %s, got " STR_FMT, line, code != NULL ? code : "a refusal", STR_ARG(err.code));
    if (monotonic_us() - began > within_us)
        fail_msg("line %d: it took %lld ms", line, (long long)((monotonic_us() - began) / 1000));
    assert_int_equal(1, world_seq(hostile->world));
    assert_string_equal("model-1", world_model(hostile->world, 0));
    assert_false(hostile->ranged);
    assert_int_equal(0, hostile->strangers);
}
#define assert_unmoved(code) check_unmoved(hostile, (code), 5 * US_PER_S, __LINE__)

static void assert_recovers(Hostile *hostile)
{
    be_honest(hostile);
    world_change(hostile->world, 0, "recovered");
    world_publish(hostile->world);
    assert_ok(puller_step(hostile->world->puller));
    assert_string_equal("recovered", world_model(hostile->world, 0));
}

static Str next_jws(Hostile *hostile)
{
    world_change(hostile->world, 0, "attacked");
    Manifest next = world_next(hostile->world);
    hostile->world->projects[0].model = "model-1";
    return world_sign(hostile->world, &next);
}

static void answers_with(Hostile *hostile, int status, const char *name, const char *value)
{
    hostile->status = status;
    hostile->header_name = name;
    hostile->header_value = value;
}

/* Even with a body that would be believed under 200. */
static void attack_42_not_modified_and_partial_answers(void **state)
{
    Hostile *hostile = *state;
    hostile->body = next_jws(hostile);
    answers_with(hostile, 206, "Content-Range", "bytes 0-99/100");
    assert_unmoved("status-206");
    answers_with(hostile, 203, "Warning", "214 proxy");
    assert_unmoved("status-203");
    hostile->body = STR("");
    answers_with(hostile, 304, "ETag", "\"of another fleet\"");
    assert_unmoved("status-304");
    assert_recovers(hostile);
}

static void attack_43_redirects_are_not_followed(void **state)
{
    Hostile *hostile = *state;
    static const int statuses[] = { 301, 302, 303, 307, 308 };
    Str there = arena_fmt(hostile->world->arena, STR_FMT "/stranger", STR_ARG(hostile->url));
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        char code[32];
        snprintf(code, sizeof code, "status-%d", statuses[i]);
        answers_with(hostile, statuses[i], "Location", there.ptr);
        assert_unmoved(code);
    }
    be_honest(hostile);
    world_change(hostile->world, 0, "attacked");
    world_publish(hostile->world);
    hostile->on_objects = true;
    answers_with(hostile, 302, "Location", there.ptr);
    assert_unmoved("status-302");
    assert_recovers(hostile);
}

static void attack_44_refusals_failures_and_captive_portals(void **state)
{
    Hostile *hostile = *state;
    static const int statuses[] = { 400, 401, 403, 404, 410, 429, 500, 502, 503, 504, 511 };
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        char code[32];
        snprintf(code, sizeof code, "status-%d", statuses[i]);
        answers_with(hostile, statuses[i], "Retry-After", "86400");
        assert_unmoved(code);
    }
    be_honest(hostile);
    hostile->status = 200;
    hostile->media_type = "text/html";
    hostile->body = STR("<html><script>location='http://portal.example/login'</script></html>");
    assert_unmoved("content-type");
    hostile->media_type = "application/jose";
    assert_unmoved("jose-malformed");
    hostile->body = next_jws(hostile);
    answers_with(hostile, 200, "Content-Encoding", "gzip");
    assert_unmoved(NULL);
    assert_recovers(hostile);
}

static void a_body_without_end_is_given_up_at_its_limit(void **state)
{
    Hostile *hostile = *state;
    hostile->trick = TRICK_ENDLESS;
    assert_unmoved(NULL);
    be_honest(hostile);
    world_change(hostile->world, 0, "attacked");
    world_publish(hostile->world);
    hostile->on_objects = true;
    hostile->trick = TRICK_ENDLESS;
    assert_unmoved(NULL);
    assert_recovers(hostile);
}

static void a_connection_cut_in_the_midst_of_a_body_changes_nothing(void **state)
{
    Hostile *hostile = *state;
    hostile->trick = TRICK_RESET;
    assert_unmoved(NULL);
    assert_recovers(hostile);
}

/* One byte at a time keeps any connection busy for ever: the whole call has an end, wait and 15 seconds. */
static void a_slow_drip_ends_with_the_time_of_the_call(void **state)
{
    Hostile *hostile = *state;
    hostile->trick = TRICK_DRIP;
    check_unmoved(hostile, "total-timeout", 25 * US_PER_S, __LINE__);
    assert_recovers(hostile);
}

#define ATTACK(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    json_start();
    client_start();
    const struct CMUnitTest tests[] = {
        ATTACK(attack_42_not_modified_and_partial_answers),
        ATTACK(attack_43_redirects_are_not_followed),
        ATTACK(attack_44_refusals_failures_and_captive_portals),
        ATTACK(a_body_without_end_is_given_up_at_its_limit),
        ATTACK(a_connection_cut_in_the_midst_of_a_body_changes_nothing),
        ATTACK(a_slow_drip_ends_with_the_time_of_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
