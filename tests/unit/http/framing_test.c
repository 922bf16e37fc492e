/*
 * framing_test.c: what our handler sees of a corpus of raw bytes, against what the handler of a strict parser sees.
 *
 * The promise: no handler of ours ever runs for bytes that llhttp reads as part of an earlier request, or refuses. So
 * the list of requests we saw on a connection must be the beginning of the list llhttp saw. Every case is sent on a
 * fresh connection and after a clean request on the same one, in one piece and byte by byte.
 */
#include "fixture.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define CASES_MAX 256
#define BYTES_MAX 1024
#define VARIANTS 4
#define SETTLE_MS 700

typedef struct Case {
    char name[80];
    char bytes[BYTES_MAX];
    size_t len;
    int expected;
} Case;

typedef struct Probe {
    int ours, theirs;
    uint16_t port; /* of the connection to the reference */
} Probe;

static Case cases[CASES_MAX];
static size_t case_count;
static Probe probes[CASES_MAX][VARIANTS];

static const char first_request[] = "GET /first HTTP/1.1\r\nHost: x\r\n\r\n";
static const char second_request[] = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n";

/* --- the corpus --- */

static void unescape(Case *into, const char *text)
{
    for (; *text != '\0' && *text != '\n'; text++) {
        if (*text != '\\') {
            into->bytes[into->len++] = *text;
            continue;
        }
        text++;
        if (*text == 'B') {
            memcpy(into->bytes + into->len, second_request, sizeof(second_request) - 1);
            into->len += sizeof(second_request) - 1;
        } else if (*text == 'x') {
            unsigned byte;
            assert_int_equal(sscanf(text + 1, "%2x", &byte), 1);
            into->bytes[into->len++] = (char)byte;
            text += 2;
        } else
            into->bytes[into->len++] = *text == 'r'   ? '\r'
                                       : *text == 'n' ? '\n'
                                       : *text == 't' ? '\t'
                                       : *text == '0' ? '\0'
                                                      : '\\';
    }
}

static void read_cases(void)
{
    FILE *file = fopen(REEVE_SOURCE_DIR "/tests/conformance/framing/cases.txt", "re");
    char line[2048];
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        int name_at = 0;
        char *bar = strstr(line, " | ");
        if (line[0] == '#' || bar == NULL)
            continue;
        Case *into = &cases[case_count++];
        assert_true(case_count < CASES_MAX);
        assert_int_equal(sscanf(line, "%d %n", &into->expected, &name_at), 1);
        snprintf(into->name, sizeof(into->name), "%.*s", (int)(bar - line - name_at), line + name_at);
        unescape(into, bar + 3);
    }
    fclose(file);
    assert_true(case_count > 100);
}

/* --- our side --- */

static void on_request(Exchange *exchange, void *arg)
{
    (void)arg;
    Arena *arena = exchange_arena(exchange);
    Str target = exchange_target(exchange), hex = { 0 };
    char *text = arena_alloc(arena, target.len * 2 + 1, 1);
    for (size_t i = 0; i < target.len; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)target.ptr[i]);
    hex = str_n(text, target.len * 2);
    Header saw = { .name = STR("x-saw"),
        .value = arena_fmt(arena, STR_FMT " " STR_FMT " %zu;", STR_ARG(exchange_method(exchange)), STR_ARG(hex),
            exchange_body(exchange).len) };
    exchange_reply(exchange, &(Response){ .status = 200, .headers = &saw, .header_count = 1 });
}

/* --- the reference --- */

static pid_t node;
static int node_in = -1, node_out = -1;
static char node_saw[512 * 1024];

static bool start_node(uint16_t *ret_port)
{
    int in[2], out[2];
    char *argv[] = { "node", REEVE_SOURCE_DIR "/tests/conformance/framing/llhttp_server.js", NULL };
    char text[16] = "";
    extern char **environ;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    int failed = posix_spawnp(&node, "node", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]), close(out[1]);
    ssize_t got = failed != 0 ? 0 : read(out[0], text, sizeof(text) - 1);
    node_in = in[1];
    node_out = out[0];
    *ret_port = (uint16_t)strtoul(text, NULL, 10);
    return got > 0;
}

static void stop_node(void)
{
    int status;
    close(node_in);
    close(node_out);
    kill(node, SIGTERM);
    waitpid(node, &status, 0);
}

/* --- probing --- */

static int send_case(uint16_t port, const Case *sent, int variant)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if ((variant & 1) != 0)
        say_n(fd, first_request, sizeof(first_request) - 1);
    if ((variant & 2) == 0)
        say_n(fd, sent->bytes, sent->len);
    else
        for (size_t i = 0; i < sent->len; i++)
            say_n(fd, sent->bytes + i, 1);
    return fd;
}

static uint16_t local_port(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

/* All that the reference has said until now. */
static void hear_node(void)
{
    size_t len = 0;
    struct pollfd pollfd = { .fd = node_out, .events = POLLIN };
    while (len + 1 < sizeof(node_saw) && poll(&pollfd, 1, SETTLE_MS) > 0) {
        ssize_t n = read(node_out, node_saw + len, sizeof(node_saw) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    node_saw[len] = '\0';
}

/* What the reference saw on the connection from `port`, in order. */
static void node_saw_from(uint16_t port, char *out, size_t room)
{
    size_t len = 0;
    for (char *line = node_saw; *line != '\0'; line = strchr(line, '\n') + 1) {
        char *rest;
        size_t n = strcspn(line, "\n");
        if (strtoul(line, &rest, 10) != port)
            continue;
        n -= (size_t)(rest + 1 - line);
        assert_true(len + n < room);
        memcpy(out + len, rest + 1, n);
        len += n;
    }
    out[len] = '\0';
}

/* The "x-saw" lines of all replies, joined. */
static int saw(int fd, char *out, size_t room)
{
    char text[16384];
    int count = 0;
    size_t len = 0;
    hear_until(fd, text, sizeof(text), NULL, 0, 0);
    close(fd);
    for (char *at = text; (at = strcasestr(at, "x-saw: ")) != NULL; count++) {
        at += 7;
        size_t n = strcspn(at, ";\r\n") + 1;
        assert_true(len + n < room);
        memcpy(out + len, at, n);
        len += n;
    }
    out[len] = '\0';
    return count;
}

static void test_our_handler_sees_only_what_a_strict_parser_sees(void **state)
{
    (void)state;
    uint16_t port;
    if (!start_node(&port)) {
        print_message("skipped: this test compares with Node's llhttp, and `node` is not installed\n");
        skip();
    }
    read_cases();
    Fixture fixture = { .options = { .on_request = on_request } };
    fixture_start(&fixture);
    for (size_t i = 0; i < case_count; i++)
        for (int v = 0; v < VARIANTS; v++) {
            Probe *probe = &probes[i][v];
            probe->ours = send_case(server_port(fixture.server), &cases[i], v);
            probe->theirs = send_case(port, &cases[i], v);
            probe->port = local_port(probe->theirs);
        }
    usleep(SETTLE_MS * 1000);
    hear_node();
    int failures = 0;
    for (size_t i = 0; i < case_count; i++)
        for (int v = 0; v < VARIANTS; v++) {
            char ours[4096], theirs[4096];
            int count = saw(probes[i][v].ours, ours, sizeof(ours)) - (v & 1);
            node_saw_from(probes[i][v].port, theirs, sizeof(theirs));
            close(probes[i][v].theirs);
            if (count == cases[i].expected && strncmp(ours, theirs, strlen(ours)) == 0)
                continue;
            failures++;
            print_message("%s (variant %d): expected %d, we saw \"%s\", llhttp saw \"%s\"\n", cases[i].name, v,
                cases[i].expected, ours, theirs);
        }
    fixture_stop(&fixture);
    stop_node();
    print_message("%zu cases, %d variants each\n", case_count, VARIANTS);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_our_handler_sees_only_what_a_strict_parser_sees) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
