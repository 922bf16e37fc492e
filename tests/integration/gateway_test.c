/*
 * gateway_test.c: the real gateway with the real libreeve, between a control plane of the test (support/control.h) and
 * the simulated provider, on loopback sockets.
 */
#include "support/check.h"
#include "support/child.h"
#include "support/control.h"
#include "support/metrics.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "gateway/gateway.h"
#include "http/client.h"

#define FIRST_KEY "sk-first-canary-0123456789"
#define SECOND_KEY "sk-second-canary-0123456789"

typedef struct Stage {
    Arena *arena;
    char dir[64];
    pid_t sim;
    Str provider; /* base URL of the simulated provider */
    Control *control;
    GatewayConfig config;
    Gateway *gateway;
} Stage;

static Stage stage;

static void sleep_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void must(Err err)
{
    if (err.kind != ERR_NONE)
        fail_msg(STR_FMT ": " STR_FMT, STR_ARG(err.code), STR_ARG(err.detail));
}

/* --- the provider --- */

static void start_sim(void)
{
    Str port_file = arena_fmt(stage.arena, "%s/sim-port", stage.dir), text, port;
    const char *program = REEVE_BINARY_DIR "/bin/reeve-sim";
    if (access(program, X_OK) != 0)
        fail_msg("%s is not built (ninja reeve-sim)", program);
    stage.sim = child_fork();
    if (stage.sim == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        execl(program, program, "--port-file", port_file.ptr, "--token-ms", "1", (char *)NULL);
        _exit(1);
    }
    for (int i = 0; i < 2000 && file_read(stage.arena, port_file, 16, &text).kind != ERR_NONE; i++)
        sleep_ms(5);
    (void)str_cut(text, '\n', &port, &text);
    stage.provider = arena_fmt(stage.arena, "http://127.0.0.1:" STR_FMT, STR_ARG(port));
}

static HttpReply fetch(const char *method, Str url, const Header *headers, size_t count, Str body)
{
    HttpReply reply;
    TransferOptions options = { .method = method,
        .url = url,
        .headers = headers,
        .header_count = count,
        .body = body,
        .connect_timeout_us = 5 * US_PER_S,
        .first_byte_timeout_us = 20 * US_PER_S,
        .idle_timeout_us = 20 * US_PER_S,
        .total_timeout_us = 30 * US_PER_S,
        .header_bytes_max = 32 * 1024,
        .allow_private = true };
    must(http_fetch(stage.arena, &options, 16 << 20, &reply));
    return reply;
}

static void sim_fault(const char *rule)
{
    HttpReply reply = fetch(
        "POST", arena_fmt(stage.arena, STR_FMT "/_sim/faults", STR_ARG(stage.provider)), NULL, 0, str_from_c(rule));
    assert_int_equal(reply.status, 200);
}

static Str sim_get(const char *path)
{
    return fetch("GET", arena_fmt(stage.arena, STR_FMT "%s", STR_ARG(stage.provider), path), NULL, 0, STR("")).body;
}

static void sim_reset(void)
{
    fetch("DELETE", arena_fmt(stage.arena, STR_FMT "/_sim/faults", STR_ARG(stage.provider)), NULL, 0, STR(""));
}

/* --- the gateway --- */

static ControlSpec two_targets(void)
{
    const char *base = arena_c(stage.arena, stage.provider);
    ControlTarget first = {
        .base_url = base, .model = "model-one", .key = FIRST_KEY, .first_byte_ms = 400, .idle_ms = 400
    };
    ControlTarget second = { .base_url = base, .model = "model-two", .key = SECOND_KEY };
    return (ControlSpec){ .workflows = {
                              { .name = "summarize",
                                  .dialect = "openai",
                                  .targets = { first, second },
                                  .retry_base_ms = 1 },
                              { .name = "claude",
                                  .dialect = "anthropic",
                                  .targets = { first, second },
                                  .retry_base_ms = 1 },
                              { .name = "alone",
                                  .dialect = "openai",
                                  .targets = { first },
                                  .retry_base_ms = 1,
                                  .retry_max_ms = 2 },
                          } };
}

static void configure(void)
{
    Str token_file = arena_fmt(stage.arena, "%s/join-token", stage.dir);
    must(file_write_atomic(token_file, control_join_token(stage.control), 0600));
    stage.config = gateway_config_default();
    stage.config.listen = STR("127.0.0.1:0");
    stage.config.admin_listen = STR("127.0.0.1:0");
    stage.config.state_dir = arena_fmt(stage.arena, "%s/state", stage.dir);
    stage.config.join_token_file = token_file;
    stage.config.control_plane.url = control_url(stage.control);
    stage.config.allow_private_upstreams = true;
    stage.config.drain_s = 2;
    stage.config.spool.upload_ms = 10;
}

static Str admin_url(const char *path)
{
    return arena_fmt(stage.arena, "http://127.0.0.1:%d%s", gateway_admin_port(stage.gateway), path);
}

static void wait_ready(int status)
{
    for (int i = 0; i < 1000; i++) {
        if (fetch("GET", admin_url("/readyz"), NULL, 0, STR("")).status == status)
            return;
        sleep_ms(10);
    }
    fail_msg("the gateway did not become %s", status == 200 ? "ready" : "unready");
}

static void start_gateway(void)
{
    must(gateway_start(stage.arena, &stage.config, &stage.gateway));
    wait_ready(200);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    stage = (Stage){ .arena = arena_new() };
    snprintf(stage.dir, sizeof stage.dir, "/tmp/reeve-gateway-XXXXXX");
    assert_non_null(mkdtemp(stage.dir));
    start_sim();
    ControlSpec spec = two_targets();
    stage.control = control_start(&spec);
    configure();
    start_gateway();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gateway_stop(&stage.gateway);
    control_stop(&stage.control);
    kill(stage.sim, SIGTERM);
    waitpid(stage.sim, NULL, 0);
    nftw(stage.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    arena_free(&stage.arena);
    return 0;
}

/* --- calls --- */

static HttpReply call_with(Str key, const char *path, const char *body)
{
    const Header headers[] = { { STR("authorization"), arena_fmt(stage.arena, "Bearer " STR_FMT, STR_ARG(key)) },
        { STR("content-type"), STR("application/json") }, { STR("reeve-labels"), STR("team=search; job = nightly") },
        { STR("traceparent"), STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") } };
    Str url = arena_fmt(stage.arena, "http://127.0.0.1:%d%s", gateway_port(stage.gateway), path);
    return fetch("POST", url, headers, COUNT_OF(headers), str_from_c(body));
}

static HttpReply call(const char *path, const char *body)
{
    return call_with(control_client_key(stage.control), path, body);
}

#define CHAT "/v1/chat/completions"
#define MESSAGES "/v1/messages"
#define ASK                                                                                                            \
    "\"messages\":[{\"role\":\"user\",\"content\":\"sim:{\\\"input\\\":20,\\\"output\\\":5,\\\"events\\\":5}\"}]"
#define ASK_LONG                                                                                                       \
    "\"messages\":[{\"role\":\"user\",\"content\":\"sim:{\\\"input\\\":20,\\\"output\\\":400,\\\"events\\\":400,"      \
    "\\\"gap_ms\\\":20}\"}]"

static const char chat[] = "{\"model\":\"summarize\",\"user\":\"someone\"," ASK "}";
static const char chat_stream[] = "{\"model\":\"summarize\",\"stream\":true," ASK "}";
static const char messages[] = "{\"model\":\"claude\",\"max_tokens\":50," ASK "}";
static const char messages_stream[] = "{\"model\":\"claude\",\"max_tokens\":50,\"stream\":true," ASK "}";

/* Waits until there are `count` events and gives the last one's data. */
static json_t *event_data(size_t count)
{
    for (int i = 0; i < 1500 && control_event_count(stage.control) < count; i++)
        sleep_ms(10);
    Strs events = control_events(stage.control, stage.arena);
    assert_int_equal(events.count, count);
    json_t *event = NULL;
    must(json_parse(events.items[count - 1], JSON_LIMITS_WIRE, &event));
    json_adopt(stage.arena, event);
    return json_object_get(event, "data");
}

static json_t *attempt_of(json_t *data, size_t n)
{
    return json_array_get(json_object_get(data, "attempts"), n);
}

static int64_t number(json_t *object, const char *path)
{
    json_t *value = json_at(object, path);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static int64_t meter_of(json_t *data, size_t attempt, const char *meter)
{
    json_t *unit = json_array_get(json_object_get(attempt_of(data, attempt), "units"), 0);
    return number(json_object_get(unit, "meters"), meter);
}

static void assert_member(json_t *object, const char *name, const char *wanted)
{
    check_str(json_str(object, name), wanted, __FILE__, __LINE__);
}

TEST(a_call_is_answered_routed_and_metered)
{
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 200);
    CHECK_STR(http_reply_header(&reply, STR("reeve-model")), "model-one");
    CHECK_STR(http_reply_header(&reply, STR("reeve-attempts")), "1");
    assert_true(http_reply_header(&reply, STR("x-request-id")).len > 10);
    assert_true(str_eq(http_reply_header(&reply, STR("x-request-id")), http_reply_header(&reply, STR("request-id"))));
    assert_true(str_contains(reply.body, STR("\"model\":\"model-one\"")));
    json_t *data = event_data(1);
    assert_member(data, "outcome", "ok");
    assert_member(data, "end_user", "someone");
    assert_member(data, "trace_id", "0af7651916cd43dd8448eb211c80319c");
    assert_member(json_object_get(data, "labels"), "job", "nightly");
    assert_int_equal(number(data, "sequence"), 1);
    assert_int_equal(number(data, "epoch"), 1);
    assert_member(attempt_of(data, 0), "model_answered", "model-one");
    assert_int_equal(meter_of(data, 0, "input_uncached"), 20);
    assert_int_equal(meter_of(data, 0, "output"), 5);
}

TEST(both_dialects_are_served_streamed_and_not_also_behind_their_prefix)
{
    static const struct {
        const char *path, *body;
        bool stream;
    } cases[] = { { CHAT, chat, false }, { "/openai" CHAT, chat_stream, true }, { MESSAGES, messages, false },
        { "/anthropic" MESSAGES, messages_stream, true } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        HttpReply reply = call(cases[i].path, cases[i].body);
        assert_int_equal(reply.status, 200);
        bool is_sse = str_starts_with(http_reply_header(&reply, STR("content-type")), STR("text/event-stream"));
        assert_int_equal(is_sse, cases[i].stream);
        json_t *data = event_data(i + 1);
        assert_member(data, "outcome", "ok");
        assert_int_equal(meter_of(data, 0, "input_uncached"), 20);
        assert_int_equal(meter_of(data, 0, "output"), 5);
    }
}

TEST(the_usage_chunk_is_hidden_unless_it_was_asked_for)
{
    HttpReply silent = call(CHAT, chat_stream);
    assert_false(str_contains(silent.body, STR("prompt_tokens")));
    assert_true(str_contains(silent.body, STR("data: [DONE]")));
    HttpReply asked =
        call(CHAT, "{\"model\":\"summarize\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," ASK "}");
    assert_true(str_contains(asked.body, STR("prompt_tokens")));
    assert_int_equal(meter_of(event_data(2), 0, "output"), 5);
}

TEST(every_failure_before_the_first_byte_goes_to_the_fallback_and_is_recorded)
{
    static const struct {
        const char *fault, *outcome;
        bool whole_only;
    } cases[] = {
        { "\"kind\":\"status\",\"status\":500", "status-5xx", false },
        { "\"kind\":\"status\",\"status\":529", "status-5xx", false },
        { "\"kind\":\"status\",\"status\":429", "status-429", false },
        { "\"kind\":\"status\",\"status\":401", "status-4xx", false },
        { "\"kind\":\"hang\"", "first-byte-timeout", false },
        { "\"kind\":\"hang_after_headers\"", "idle-timeout", false },
        { "\"kind\":\"reset\"", "reset", false },
        { "\"kind\":\"empty\"", "empty", false },
        { "\"kind\":\"malformed\"", "malformed", true },
        { "\"kind\":\"cut_after_events\",\"events\":1", "reset", true },
    };
    size_t events = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        static const char *const bodies[] = { chat, chat_stream, messages, messages_stream };
        for (size_t b = 0; b < COUNT_OF(bodies); b++) {
            bool stream = b % 2 == 1;
            if (cases[i].whole_only && stream)
                continue;
            sim_fault(arena_fmt(
                stage.arena, "{\"match\":{\"model\":\"model-one\"},\"fault\":{%s,\"count\":1}}", cases[i].fault)
                          .ptr);
            HttpReply reply = call(b < 2 ? CHAT : MESSAGES, bodies[b]);
            json_t *data = event_data(++events);
            if (reply.status != 200 || !str_eq(json_str(attempt_of(data, 0), "outcome"), str_from_c(cases[i].outcome)))
                fail_msg("%s, body %zu: status %d, first outcome " STR_FMT, cases[i].fault, b, reply.status,
                    STR_ARG(json_str(attempt_of(data, 0), "outcome")));
            CHECK_STR(http_reply_header(&reply, STR("reeve-attempts")), "2");
            CHECK_STR(http_reply_header(&reply, STR("reeve-model")), "model-two");
            assert_member(attempt_of(data, 1), "outcome", "ok");
            assert_member(data, "outcome", "ok");
            assert_int_equal(meter_of(data, 1, "output"), 5);
            sim_reset();
        }
    }
}

/* A provider of one sentence: whatever is asked, it sends these bytes and closes. */
typedef struct Canned {
    int fd;
    Str base_url;
    const char *answer;
    pthread_t thread;
} Canned;

static void *canned_run(void *arg)
{
    const Canned *canned = arg;
    char bytes[8192];
    for (int fd; (fd = accept(canned->fd, NULL, NULL)) >= 0; close(fd)) {
        if (recv(fd, bytes, sizeof bytes, 0) <= 0)
            continue;
        (void)!send(fd, canned->answer, strlen(canned->answer), MSG_NOSIGNAL);
    }
    return NULL;
}

static void canned_start(Canned *canned)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    canned->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(canned->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(canned->fd, 16), 0);
    assert_int_equal(getsockname(canned->fd, (struct sockaddr *)&address, &len), 0);
    canned->base_url = arena_fmt(stage.arena, "http://127.0.0.1:%d", ntohs(address.sin_port));
    pthread_create(&canned->thread, NULL, canned_run, canned);
}

static void canned_stop(Canned *canned)
{
    shutdown(canned->fd, SHUT_RDWR);
    pthread_join(canned->thread, NULL);
    close(canned->fd);
}

/* Publishes a first target at the canned provider and waits until the gateway uses it. */
static void publish_canned(const Canned *canned)
{
    ControlSpec spec = two_targets();
    for (size_t i = 0; i < 2; i++) {
        spec.workflows[i].targets[0].base_url = arena_c(stage.arena, canned->base_url);
        spec.workflows[i].targets[0].model = "model-canned";
    }
    control_publish(stage.control, &spec);
    for (int i = 0; i < 500; i++) {
        Str text = fetch("GET", admin_url("/readyz"), NULL, 0, STR("")).body;
        if (str_contains(text, STR("\"seq\":2")))
            return;
        sleep_ms(10);
    }
    fail_msg("the gateway did not take the snapshot");
}

#define SSE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

TEST(an_error_as_the_first_event_of_a_stream_goes_to_the_fallback)
{
    Canned canned = { .answer = SSE_HEAD ": hello\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                                         "\"overloaded_error\",\"message\":\"busy\"}}\n\n" };
    canned_start(&canned);
    publish_canned(&canned);
    HttpReply reply = call(MESSAGES, messages_stream);
    assert_int_equal(reply.status, 200);
    assert_true(str_contains(reply.body, STR("message_stop")));
    assert_false(str_contains(reply.body, STR("overloaded_error")));
    assert_member(attempt_of(event_data(1), 0), "outcome", "status-5xx");
    canned.answer = SSE_HEAD "<html>";
    assert_int_equal(call(CHAT, chat_stream).status, 200);
    assert_member(attempt_of(event_data(2), 0), "outcome", "malformed");
    canned.answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>login</html>";
    assert_int_equal(call(CHAT, chat).status, 200);
    assert_member(attempt_of(event_data(3), 0), "outcome", "malformed");
    canned.answer = "SSH-2.0-OpenSSH_9.2\r\n";
    assert_int_equal(call(CHAT, chat).status, 200);
    assert_member(attempt_of(event_data(4), 0), "outcome", "malformed");
    canned_stop(&canned);
}

TEST(an_error_body_that_echoes_the_key_is_not_passed_on)
{
    Canned canned = { .answer = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
                                "X-Echo: " FIRST_KEY "\r\n\r\n{\"error\":{\"message\":\"bad key " FIRST_KEY "\"}}" };
    canned_start(&canned);
    publish_canned(&canned);
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 502);
    assert_false(str_contains(reply.body, STR("canary")));
    for (size_t i = 0; i < reply.header_count; i++)
        assert_false(str_contains(reply.headers[i].value, STR("canary")));
    canned_stop(&canned);
}

TEST(a_provider_that_is_not_there_is_passed_over)
{
    ControlSpec spec = two_targets();
    spec.workflows[0].targets[0].base_url = "http://127.0.0.1:1";
    control_publish(stage.control, &spec);
    HttpReply reply = { 0 };
    size_t calls = 0; /* until the gateway has the new snapshot */
    while (calls < 200) {
        reply = call(CHAT, chat);
        calls++;
        if (str_eq(http_reply_header(&reply, STR("reeve-attempts")), STR("2")))
            break;
        sleep_ms(10);
    }
    assert_int_equal(reply.status, 200);
    json_t *data = event_data(calls);
    assert_member(attempt_of(data, 0), "outcome", "connect");
}

TEST(what_the_request_is_to_blame_for_passes_as_it_is)
{
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":400,\"count\":1}}");
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 400);
    assert_true(str_contains(reply.body, STR("\"error\"")));
    json_t *data = event_data(1);
    assert_int_equal(json_array_size(json_object_get(data, "attempts")), 1);
    assert_member(attempt_of(data, 0), "outcome", "status-4xx");
    assert_member(data, "outcome", "failed");
}

TEST(when_all_fail_the_last_providers_answer_is_passed_on_and_refused_keys_are_ours_to_mend)
{
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":429,\"retry_after\":7}}");
    HttpReply limited = call(CHAT, chat);
    assert_int_equal(limited.status, 429);
    CHECK_STR(http_reply_header(&limited, STR("retry-after")), "7");
    sim_reset();
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":401}}");
    HttpReply refused = call(CHAT, chat);
    assert_int_equal(refused.status, 503);
    assert_true(str_contains(refused.body, STR("provider_refused_gateway")));
    sim_reset();
    sim_fault("{\"fault\":{\"kind\":\"hang\"}}");
    HttpReply late = call(CHAT, "{\"model\":\"alone\"," ASK "}");
    assert_int_equal(late.status, 504);
    json_t *data = event_data(3);
    assert_member(data, "outcome", "failed");
}

TEST(a_lone_target_is_tried_twice)
{
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":503,\"count\":1}}");
    HttpReply reply = call(CHAT, "{\"model\":\"alone\"," ASK "}");
    assert_int_equal(reply.status, 200);
    CHECK_STR(http_reply_header(&reply, STR("reeve-attempts")), "2");
}

TEST(a_stream_that_breaks_ends_in_an_error_event_of_the_dialect)
{
    sim_fault("{\"fault\":{\"kind\":\"cut_after_events\",\"events\":2,\"count\":1}}");
    HttpReply openai = call(CHAT, chat_stream);
    assert_int_equal(openai.status, 200);
    assert_true(str_contains(openai.body, STR("data: {\"error\":{")));
    json_t *data = event_data(1);
    assert_member(attempt_of(data, 0), "outcome", "partial");
    assert_member(data, "outcome", "failed");
    sim_fault("{\"fault\":{\"kind\":\"hang_after_events\",\"events\":2,\"count\":1}}");
    HttpReply anthropic = call(MESSAGES, messages_stream);
    assert_true(str_contains(anthropic.body, STR("event: error\ndata: {\"type\":\"error\"")));
    assert_member(attempt_of(event_data(2), 0), "outcome", "idle-timeout");
    sim_fault("{\"fault\":{\"kind\":\"error_event_in_stream\",\"events\":2,\"count\":1}}");
    HttpReply told = call(CHAT, chat_stream);
    assert_true(str_contains(told.body, STR("\"error\"")));
    assert_member(attempt_of(event_data(3), 0), "outcome", "partial");
}

static int connect_to_gateway(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(gateway_port(stage.gateway)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int send_call(const char *body)
{
    int fd = connect_to_gateway();
    Str request = arena_fmt(stage.arena,
        "POST " CHAT " HTTP/1.1\r\nHost: gateway\r\nx-api-key: " STR_FMT "\r\nContent-Length: %zu\r\n\r\n%s",
        STR_ARG(control_client_key(stage.control)), strlen(body), body);
    assert_int_equal(send(fd, request.ptr, request.len, MSG_NOSIGNAL), (ssize_t)request.len);
    return fd;
}

TEST(a_client_that_leaves_stops_the_provider_call)
{
    char bytes[512];
    int fd = send_call("{\"model\":\"summarize\",\"stream\":true," ASK_LONG "}");
    assert_true(recv(fd, bytes, sizeof bytes, 0) > 0);
    close(fd);
    json_t *data = event_data(1);
    assert_member(data, "outcome", "client_gone");
    assert_member(attempt_of(data, 0), "outcome", "cancelled");
    for (int i = 0; i < 300 && !str_contains(sim_get("/_sim/journal?after=0"), STR("client_gone\":true")); i++)
        sleep_ms(10);
    assert_true(str_contains(sim_get("/_sim/journal?after=0"), STR("client_gone\":true")));
}

TEST(a_slow_reader_gets_every_event_of_its_stream)
{
    int fd = send_call("{\"model\":\"summarize\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
                       "\"sim:{\\\"input\\\":20,\\\"output\\\":3000,\\\"events\\\":3000,\\\"gap_ms\\\":0}\"}]}");
    _cleanup_(buf_release) Buf all = buf_new(64 << 20);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    char bytes[8192];
    bool last = false;
    while (!last) {
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        assert_true(got > 0);
        buf_add_bytes(&all, bytes, (size_t)got);
        last = all.len > 5 && memcmp(all.ptr + all.len - 5, "0\r\n\r\n", 5) == 0;
        if (all.len < 200 * 1024)
            sleep_ms(2);
    }
    close(fd);
    size_t contents = 0;
    for (const char *at = all.ptr, *end = all.ptr + all.len;
         (at = memmem(at, (size_t)(end - at), "\"content\":", 10)) != NULL; at++)
        contents++;
    assert_true(contents >= 3000);
    assert_true(memmem(all.ptr, all.len, "[DONE]", 6) != NULL);
    assert_member(event_data(1), "outcome", "ok");
}

static void restart_with(int64_t keepalive_s, int64_t stall_s, int64_t drain_s)
{
    gateway_stop(&stage.gateway);
    stage.config.keepalive_s = keepalive_s;
    stage.config.stall_s = stall_s;
    stage.config.drain_s = drain_s;
    start_gateway();
}

TEST(a_silent_stream_gets_comments_between_its_events)
{
    restart_with(1, 60, 2);
    /* To the second target, which has longer timeouts. */
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":500,\"count\":1}}");
    HttpReply reply =
        call(CHAT, "{\"model\":\"summarize\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
                   "\"sim:{\\\"input\\\":20,\\\"output\\\":2,\\\"events\\\":2,\\\"gap_ms\\\":2500}\"}]}");
    assert_true(str_contains(reply.body, STR("\n\n: keepalive\n\n")));
    assert_true(str_contains(reply.body, STR("data: [DONE]\n\n")));
    assert_member(event_data(1), "outcome", "ok");
}

TEST(a_client_that_takes_nothing_is_given_up)
{
    char bytes[512];
    restart_with(15, 1, 2);
    int fd = send_call("{\"model\":\"summarize\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
                       "\"sim:{\\\"input\\\":20,\\\"output\\\":60000,\\\"events\\\":60000,\\\"gap_ms\\\":0}\"}]}");
    assert_true(recv(fd, bytes, sizeof bytes, 0) > 0);
    json_t *data = event_data(1); /* while the client still holds its connection */
    assert_member(data, "outcome", "client_gone");
    assert_member(attempt_of(data, 0), "outcome", "cancelled");
    close(fd);
}

TEST(a_stop_ends_open_streams_and_their_calls_are_reported)
{
    char bytes[4096];
    restart_with(15, 60, 1);
    int fds[8];
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = send_call("{\"model\":\"summarize\",\"stream\":true," ASK_LONG "}");
        assert_true(recv(fds[i], bytes, sizeof bytes, 0) > 0);
    }
    int64_t before_us = monotonic_us();
    gateway_stop(&stage.gateway);
    assert_true(monotonic_us() - before_us < 6 * US_PER_S);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        while (recv(fds[i], bytes, sizeof bytes, 0) > 0)
            continue;
        close(fds[i]);
    }
    start_gateway();
    json_t *data = event_data(COUNT_OF(fds));
    assert_member(data, "outcome", "failed");
    assert_member(attempt_of(data, 0), "outcome", "partial");
}

/* Clients leave while their next try is being made: whatever the turn, each call is reported once. */
TEST(clients_that_leave_at_any_moment_are_each_reported_once)
{
    enum { CALLS = 150 };
    sim_fault("{\"fault\":{\"kind\":\"status\",\"status\":500}}");
    for (size_t i = 0; i < CALLS; i++) {
        int fd = send_call("{\"model\":\"alone\"," ASK "}");
        struct timespec pause = { .tv_nsec = (long)(i * 40000) };
        nanosleep(&pause, NULL);
        struct linger hard = { .l_onoff = 1 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd); /* a reset */
    }
    sim_reset();
    sleep_ms(300);
    assert_int_equal(call(CHAT, chat).status, 200);
    for (int i = 0; i < 300; i++) {
        Str text = fetch("GET", admin_url("/metrics"), NULL, 0, STR("")).body;
        if (str_contains(text, STR("reeve_gateway_spool_events 0\n")) &&
            str_contains(text, STR("reeve_gateway_open_calls 0\n")))
            break;
        sleep_ms(10);
    }
    Str text = fetch("GET", admin_url("/metrics"), NULL, 0, STR("")).body;
    assert_true(str_contains(text, STR("reeve_gateway_open_calls 0\n")));
    assert_true(str_contains(text, STR("reeve_gateway_spool_open_intents 0\n")));
    Strs events = control_events(stage.control, stage.arena);
    for (size_t i = 0; i < events.count; i++)
        assert_false(str_contains(events.items[i], STR("\"outcome\":\"indeterminate\"")));
}

TEST(nobody_is_told_the_providers_key)
{
    sim_fault("{\"fault\":{\"kind\":\"echo_auth\"}}");
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 200);
    for (size_t i = 0; i < reply.header_count; i++)
        assert_false(str_contains(reply.headers[i].value, STR("canary")));
    assert_true(str_contains(sim_get("/_sim/journal?after=0"), STR("echo_auth")));
}

TEST(a_key_goes_to_no_other_origin_than_it_was_sealed_for)
{
    ControlSpec spec = two_targets();
    spec.workflows[0].targets[0].sealed_origin = "https://api.openai.com";
    spec.workflows[0].targets[1].sealed_origin = "https://api.openai.com";
    control_publish(stage.control, &spec);
    HttpReply reply = { 0 };
    for (int i = 0; i < 300 && reply.status != 503; i++) {
        reply = call(CHAT, chat);
        sleep_ms(10);
    }
    assert_int_equal(reply.status, 503);
    assert_true(str_contains(reply.body, STR("route_unusable")));
    Str before = sim_get("/_sim/journal?after=0");
    assert_int_equal(call(CHAT, chat).status, 503);
    assert_int_equal(sim_get("/_sim/journal?after=0").len, before.len);
}

TEST(requests_that_cannot_be_served_are_refused_in_the_providers_shape)
{
    static const struct {
        const char *path, *body, *has;
        int status;
    } cases[] = {
        { "/v1/nothing", "{}", "unknown_url", 404 },
        { "/anthropic/v1/nothing", "{}", "\"type\":\"not_found_error\"", 404 },
        { CHAT, "{\"model\":\"nobody\"}", "model_not_found", 404 },
        { CHAT, "{\"model\":\"claude\"}", "wrong_dialect", 400 },
        { CHAT, "{\"model\":\"summarize\",\"model\":\"alone\"}", "twice", 400 },
        { CHAT, "{\"messages\":[]}", "'model' is missing", 400 },
        { CHAT, "not json", "not valid JSON", 400 },
        { MESSAGES, "{\"model\":\"summarize\"}", "\"type\":\"error\"", 400 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        HttpReply reply = call(cases[i].path, cases[i].body);
        if (reply.status != cases[i].status || !str_contains(reply.body, str_from_c(cases[i].has)))
            fail_msg("%s %s: %d " STR_FMT, cases[i].path, cases[i].body, reply.status, STR_ARG(reply.body));
    }
    HttpReply unknown = call_with(STR("rv_key_nothing"), CHAT, chat);
    assert_int_equal(unknown.status, 401);
    assert_true(str_contains(unknown.body, STR("invalid_api_key")));
    assert_int_equal(call_with(STR(""), MESSAGES, messages).status, 401);
    sleep_ms(50);
    assert_int_equal(control_event_count(stage.control), 0);
}

/* Sends bytes as they are and reads until the end. */
static Str exchange_raw(Str request)
{
    static char bytes[16384];
    size_t len = 0;
    int fd = connect_to_gateway();
    assert_int_equal(send(fd, request.ptr, request.len, MSG_NOSIGNAL), (ssize_t)request.len);
    for (ssize_t got; len < sizeof bytes && (got = recv(fd, bytes + len, sizeof bytes - len, 0)) > 0;)
        len += (size_t)got;
    close(fd);
    return str_n(bytes, len);
}

TEST(what_the_framing_guard_refuses_has_the_providers_shape_too)
{
    static const struct {
        const char *path, *headers, *status, *has;
    } cases[] = {
        { CHAT, "Transfer-Encoding: chunked\r\n", " 411 ", "{\"error\":{\"message\":" },
        { MESSAGES, "Transfer-Encoding: chunked\r\n", " 411 ", "{\"type\":\"error\",\"error\":{" },
        { CHAT, "Content-Length: 1\r\nContent-Length: 2\r\n", " 400 ", "\"invalid_request_error\"" },
        { CHAT, "Content-Length: 999999999999\r\n", " 413 ", "{\"error\":{\"message\":" },
        { MESSAGES, "Content-Length: 999999999999\r\n", " 413 ", "\"request_too_large\"" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str answer =
            exchange_raw(arena_fmt(stage.arena, "POST %s HTTP/1.1\r\nHost: g\r\nx-api-key: " STR_FMT "\r\n%s\r\n",
                cases[i].path, STR_ARG(control_client_key(stage.control)), cases[i].headers));
        if (!str_contains(answer, str_from_c(cases[i].status)) || !str_contains(answer, str_from_c(cases[i].has)))
            fail_msg("%s %s: " STR_FMT, cases[i].path, cases[i].headers, STR_ARG(answer));
    }
}

TEST(two_different_keys_in_one_request_are_refused)
{
    const Header headers[] = { { STR("authorization"), STR("Bearer rv_key_a") },
        { STR("x-api-key"), STR("rv_key_b") } };
    Str url = arena_fmt(stage.arena, "http://127.0.0.1:%d" CHAT, gateway_port(stage.gateway));
    HttpReply reply = fetch("POST", url, headers, 2, str_from_c(chat));
    assert_int_equal(reply.status, 401);
    assert_true(str_contains(reply.body, STR("different keys")));
}

TEST(an_expired_snapshot_is_503_and_never_401)
{
    ControlSpec spec = two_targets();
    spec.hard_expiry_s = 2;
    control_publish(stage.control, &spec);
    wait_ready(503);
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 503);
    assert_int_equal(call_with(STR("rv_key_nothing"), CHAT, chat).status, 503);
}

TEST(events_wait_for_the_control_plane_and_arrive_once)
{
    control_take_events(stage.control, false);
    for (int i = 0; i < 20; i++)
        assert_int_equal(call(CHAT, chat).status, 200);
    sleep_ms(100);
    assert_int_equal(control_event_count(stage.control), 0);
    gateway_stop(&stage.gateway); /* they wait on disk, not in memory */
    start_gateway();
    assert_int_equal(call(CHAT, chat).status, 200);
    control_take_events(stage.control, true);
    json_t *data = event_data(21);
    assert_int_equal(number(data, "epoch"), 2);
    assert_int_equal(number(data, "sequence"), 1);
}

TEST(a_full_disk_refuses_calls_says_so_and_heals)
{
    struct rlimit before, tight;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 64;
    setrlimit(RLIMIT_FSIZE, &tight);
    HttpReply reply = call(CHAT, chat);
    assert_int_equal(reply.status, 503);
    assert_true(str_contains(reply.body, STR("does not serve unmetered")));
    assert_false(str_contains(sim_get("/_sim/journal?after=0"), STR("model-one"))); /* nothing was dispatched */
    HttpReply ready = fetch("GET", admin_url("/readyz"), NULL, 0, STR(""));
    assert_int_equal(ready.status, 503);
    assert_true(str_contains(ready.body, STR("\"reason\":\"spool\"")));
    setrlimit(RLIMIT_FSIZE, &before);
    wait_ready(200);
    assert_int_equal(call(CHAT, chat).status, 200);
}

TEST(a_second_gateway_on_the_state_directory_is_refused)
{
    Gateway *second = NULL;
    GatewayConfig config = stage.config;
    Err err = gateway_start(stage.arena, &config, &second);
    assert_int_not_equal(err.kind, ERR_NONE);
    assert_null(second);
}

TEST(metrics_count_calls_and_hold_no_key)
{
    assert_int_equal(call(CHAT, chat).status, 200);
    assert_member(event_data(1), "outcome", "ok");
    Str text = fetch("GET", admin_url("/metrics"), NULL, 0, STR("")).body;
    assert_true(str_contains(text, STR("reeve_gateway_requests_total{dialect=\"openai\",status=\"2xx\"} 1\n")));
    assert_true(str_contains(text, STR("reeve_gateway_attempts_total{dialect=\"openai\",outcome=\"ok\"} 1\n")));
    assert_true(str_contains(text, STR("reeve_gateway_tokens_total{dialect=\"openai\",meter=\"output\"} 5\n")));
    assert_false(str_contains(text, STR("canary")) || str_contains(text, STR("rv_key_")));
    CHECK_METRICS(text);
}

/* --- the program, killed in mid-call --- */

typedef struct Program {
    pid_t pid;
    Str log;
} Program;

static Program start_program(int port)
{
    Program program = { .log = arena_fmt(stage.arena, "%s/gateway.log", stage.dir) };
    Str config = arena_fmt(stage.arena, "%s/gateway.yaml", stage.dir);
    Str text = arena_fmt(stage.arena,
        "listen: \"127.0.0.1:%d\"\nstate_dir: %s/program\njoin_token_file: " STR_FMT
        "\nallow_private_upstreams: true\nspool:\n  upload_ms: 10\ncontrol_plane:\n  url: \"" STR_FMT
        "\"\n  allow_private: true\nlog:\n  level: debug\n",
        port, stage.dir, STR_ARG(stage.config.join_token_file), STR_ARG(control_url(stage.control)));
    must(file_write_atomic(config, text, 0600));
    program.pid = child_fork();
    if (program.pid == 0) {
        const char *path = REEVE_BINARY_DIR "/bin/reeve-gateway";
        if (freopen(program.log.ptr, "a", stderr) == NULL)
            _exit(1);
        execl(path, path, "--config", config.ptr, (char *)NULL);
        _exit(1);
    }
    return program;
}

/* Calls the program until it serves. */
static HttpReply call_program(int port, const char *body)
{
    const Header headers[] = { { STR("x-api-key"), control_client_key(stage.control) } };
    Str url = arena_fmt(stage.arena, "http://127.0.0.1:%d" CHAT, port);
    TransferOptions options = { .method = "POST",
        .url = url,
        .headers = headers,
        .header_count = 1,
        .body = str_from_c(body),
        .connect_timeout_us = US_PER_S,
        .first_byte_timeout_us = US_PER_S,
        .idle_timeout_us = US_PER_S,
        .total_timeout_us = US_PER_S,
        .header_bytes_max = 32 * 1024,
        .allow_private = true };
    HttpReply reply = { 0 };
    for (int i = 0; i < 600; i++) {
        Err err = http_fetch(stage.arena, &options, 1 << 20, &reply);
        if (err.kind == ERR_NONE && reply.status != 503)
            return reply;
        if (err.kind == ERR_TIMEOUT)
            return (HttpReply){ 0 };
        sleep_ms(20);
    }
    fail_msg("the program does not serve");
    return reply;
}

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void end_program(Program program, int with)
{
    kill(program.pid, with);
    waitpid(program.pid, NULL, 0);
}

TEST(a_gateway_killed_in_mid_call_reports_the_call_as_indeterminate_once)
{
    if (access(REEVE_BINARY_DIR "/bin/reeve-gateway", X_OK) != 0)
        fail_msg("reeve-gateway is not built");
    ControlSpec spec = two_targets();
    spec.workflows[0].targets[0].first_byte_ms = 20000;
    control_publish(stage.control, &spec);
    int port = free_port();
    Program program = start_program(port);
    assert_int_equal(call_program(port, chat).status, 200);
    assert_member(event_data(1), "outcome", "ok");
    sim_fault("{\"fault\":{\"kind\":\"hang\"}}");
    assert_int_equal(call_program(port, "{\"model\":\"summarize\"," ASK "}").status, 0);
    size_t before = control_event_count(stage.control); /* the client's timeout may have ended it: call again, unseen */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    Str request = arena_fmt(stage.arena,
        "POST " CHAT " HTTP/1.1\r\nHost: g\r\nx-api-key: " STR_FMT "\r\nContent-Length: %zu\r\n\r\n%s",
        STR_ARG(control_client_key(stage.control)), strlen(chat), chat);
    assert_int_equal(send(fd, request.ptr, request.len, MSG_NOSIGNAL), (ssize_t)request.len);
    sleep_ms(300);
    end_program(program, SIGKILL);
    close(fd);
    (void)before;
    sim_reset();
    program = start_program(port);
    assert_int_equal(call_program(port, chat).status, 200);
    sleep_ms(300);
    Strs events = control_events(stage.control, stage.arena);
    size_t indeterminate = 0, all = events.count;
    for (size_t i = 0; i < all; i++)
        indeterminate += str_contains(events.items[i], STR("\"outcome\":\"indeterminate\",\"status\":0"));
    assert_int_equal(indeterminate, 1);
    end_program(program, SIGTERM);
    program = start_program(port);
    assert_int_equal(call_program(port, chat).status, 200);
    end_program(program, SIGTERM);
    events = control_events(stage.control, stage.arena);
    assert_int_equal(events.count, all + 1);
    Str log;
    must(file_read(stage.arena, program.log, 8 << 20, &log));
    assert_false(str_contains(log, STR("canary")));
    assert_false(str_contains(log, control_client_key(stage.control)));
}

int main(int argc, char **argv)
{
#define STAGED(sentence) cmocka_unit_test_setup_teardown(test_##sentence, setup, teardown)
    const struct CMUnitTest tests[] = {
        STAGED(a_call_is_answered_routed_and_metered),
        STAGED(both_dialects_are_served_streamed_and_not_also_behind_their_prefix),
        STAGED(the_usage_chunk_is_hidden_unless_it_was_asked_for),
        STAGED(every_failure_before_the_first_byte_goes_to_the_fallback_and_is_recorded),
        STAGED(an_error_as_the_first_event_of_a_stream_goes_to_the_fallback),
        STAGED(an_error_body_that_echoes_the_key_is_not_passed_on),
        STAGED(a_provider_that_is_not_there_is_passed_over),
        STAGED(what_the_request_is_to_blame_for_passes_as_it_is),
        STAGED(when_all_fail_the_last_providers_answer_is_passed_on_and_refused_keys_are_ours_to_mend),
        STAGED(a_lone_target_is_tried_twice),
        STAGED(a_stream_that_breaks_ends_in_an_error_event_of_the_dialect),
        STAGED(a_client_that_leaves_stops_the_provider_call),
        STAGED(a_slow_reader_gets_every_event_of_its_stream),
        STAGED(a_silent_stream_gets_comments_between_its_events),
        STAGED(a_client_that_takes_nothing_is_given_up),
        STAGED(a_stop_ends_open_streams_and_their_calls_are_reported),
        STAGED(clients_that_leave_at_any_moment_are_each_reported_once),
        STAGED(nobody_is_told_the_providers_key),
        STAGED(a_key_goes_to_no_other_origin_than_it_was_sealed_for),
        STAGED(requests_that_cannot_be_served_are_refused_in_the_providers_shape),
        STAGED(what_the_framing_guard_refuses_has_the_providers_shape_too),
        STAGED(two_different_keys_in_one_request_are_refused),
        STAGED(an_expired_snapshot_is_503_and_never_401),
        STAGED(events_wait_for_the_control_plane_and_arrive_once),
        STAGED(a_full_disk_refuses_calls_says_so_and_heals),
        STAGED(a_second_gateway_on_the_state_directory_is_refused),
        STAGED(metrics_count_calls_and_hold_no_key),
        STAGED(a_gateway_killed_in_mid_call_reports_the_call_as_indeterminate_once),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern: run some */
    crypto_start();
    json_start();
    client_start();
    signal(SIGPIPE, SIG_IGN);
    log_start("gateway_test", LOG_ERROR, true);
    return _cmocka_run_group_tests("gateway", tests, COUNT_OF(tests), NULL, NULL);
}
