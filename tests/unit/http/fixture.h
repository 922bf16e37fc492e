/*
 * fixture.h: a server of the http floor on a loop of its own thread, and a raw socket to speak to it byte by byte.
 */
#ifndef TESTS_UNIT_HTTP_FIXTURE_H
#define TESTS_UNIT_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/problem.h"
#include "http/server.h"

typedef struct Fixture {
    Loop *loop;
    Server *server;
    pthread_t thread;
    ServerOptions options;
    void (*in_loop)(struct Fixture *fixture); /* before the loop runs, in its thread */
    atomic_bool started;
    atomic_bool keep_server; /* a test frees it itself */
} Fixture;

static inline void fixture_drained(void *arg)
{
    loop_stop(((Fixture *)arg)->loop);
}

static inline void *fixture_thread(void *arg)
{
    Fixture *fixture = arg;
    if (fixture->in_loop != NULL)
        fixture->in_loop(fixture);
    atomic_store(&fixture->started, true);
    loop_run(fixture->loop);
    server_free(&fixture->server);
    return NULL;
}

static inline void fixture_start(Fixture *fixture)
{
    if (fixture->options.address.len == 0)
        fixture->options.address = STR("127.0.0.1");
    if (fixture->options.limits.header_bytes_max == 0)
        fixture->options.limits = SERVER_LIMITS_DEFAULT;
    assert_int_equal(loop_new(&fixture->loop).kind, ERR_NONE);
    Err err = server_start(fixture->loop, &fixture->options, &fixture->server);
    if (err.kind != ERR_NONE)
        fail_msg("server_start: %.*s", STR_ARG(err.detail));
    pthread_create(&fixture->thread, NULL, fixture_thread, fixture);
    while (!atomic_load(&fixture->started))
        usleep(100);
}

static inline void fixture_stop(Fixture *fixture)
{
    loop_stop(fixture->loop);
    pthread_join(fixture->thread, NULL);
    loop_free(&fixture->loop);
}

static inline int dial(const Fixture *fixture)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
        .sin_port = htons(server_port(fixture->server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline void say_n(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server may close early; what it said is what the test looks at */
        text += n;
        len -= (size_t)n;
    }
}

static inline void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

/* Reads until `needle` was seen `times` times, the end, or timeout; returns what was read, NUL-terminated. */
static inline size_t hear_until(int fd, char *out, size_t room, const char *needle, int times, int timeout_ms)
{
    size_t len = 0;
    out[0] = '\0';
    while (len + 1 < room) {
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        if (poll(&pollfd, 1, timeout_ms) <= 0)
            break;
        ssize_t n = recv(fd, out + len, room - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        out[len] = '\0';
        int seen = 0;
        for (const char *at = out; needle != NULL && (at = strstr(at, needle)) != NULL; at++)
            seen++;
        if (needle != NULL && seen >= times)
            break;
    }
    return len;
}

#define HEAR_MS 5000

static inline bool hears(int fd, const char *needle)
{
    char text[65536];
    hear_until(fd, text, sizeof(text), needle, 1, HEAR_MS);
    bool found = strstr(text, needle) != NULL;
    if (!found)
        print_message("expected \"%s\" in:\n%s\n", needle, text);
    return found;
}

/* The other side has closed, within a few seconds. Bytes still on their way are skipped. */
static inline bool is_closed_by_peer(int fd)
{
    char text[4096];
    for (;;) {
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        if (poll(&pollfd, 1, HEAR_MS) <= 0)
            return false;
        if (recv(fd, text, sizeof(text), 0) <= 0)
            return true;
    }
}

static inline bool stays_open(int fd, int for_ms)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    char byte;
    return poll(&pollfd, 1, for_ms) == 0 || recv(fd, &byte, 1, MSG_PEEK) > 0;
}

#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        int64_t until_ = monotonic_us() + 5 * US_PER_S;                                                                \
        while (!(condition) && monotonic_us() < until_)                                                                \
            usleep(500);                                                                                               \
        assert_true(condition);                                                                                        \
    } while (0)

#endif
