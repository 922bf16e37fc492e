/*
 * stream_reference_bench.c: many streams at once from one epoll set: PORT STREAMS EVENTS KEY BODY.
 *
 * All connections are opened first; then every request is sent within one pass. Time to first byte is from the sending
 * of a request to the first byte of its answer's body. Prints one JSON object.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define BYTES_PER_READ 16384
#define TIMEOUT_US (60 * US_PER_S)
#define TAIL 8
#define MARK "\"content\""

typedef struct Stream {
    int fd;
    int64_t sent_us, first_us;
    size_t events;
    bool in_body, done, good;
    char tail[TAIL]; /* the end of what was read, for marks that cross reads */
} Stream;

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("could not connect: %s", strerrordesc_np(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static size_t count_of(const char *text, size_t len, const char *mark)
{
    size_t count = 0, mark_len = strlen(mark);
    for (const char *at = text; (at = memmem(at, len - (size_t)(at - text), mark, mark_len)) != NULL; at += mark_len)
        count++;
    return count;
}

static void take(Stream *stream, char *bytes, size_t len)
{
    char joined[TAIL + BYTES_PER_READ];
    memcpy(joined, stream->tail, TAIL);
    memcpy(joined + TAIL, bytes, len);
    if (!stream->in_body && memmem(joined, TAIL + len, "data:", 5) != NULL) {
        stream->in_body = true;
        stream->first_us = monotonic_us();
    }
    static_assert(TAIL == sizeof MARK - 2, "a mark that was counted is never wholly in the tail");
    stream->events += count_of(joined, TAIL + len, MARK);
    if (memmem(joined, TAIL + len, "[DONE]", 6) != NULL)
        stream->good = true;
    if (TAIL + len >= 5 && memcmp(joined + TAIL + len - 5, "0\r\n\r\n", 5) == 0)
        stream->done = true;
    memcpy(stream->tail, joined + len, TAIL);
}

static void serve(Stream *stream, int epoll_fd, size_t *open)
{
    char bytes[BYTES_PER_READ];
    ssize_t got = recv(stream->fd, bytes, sizeof bytes, 0);
    if (got > 0)
        take(stream, bytes, (size_t)got);
    if (got > 0 && !stream->done)
        return;
    stream->done = true;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
    close(stream->fd);
    (*open)--;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const Stream *streams, size_t count, size_t events)
{
    int64_t *times = MEM_NEW(int64_t, count);
    size_t good = 0, errors = 0, missing = 0;
    for (size_t i = 0; i < count; i++) {
        errors += !streams[i].good;
        missing += streams[i].events < events;
        if (streams[i].first_us > 0)
            times[good++] = streams[i].first_us - streams[i].sent_us;
    }
    qsort(times, good, sizeof times[0], compare);
    printf("{\"errors\":%zu,\"missing\":%zu,\"ttfb_p50_ms\":%.3f,\"ttfb_p99_ms\":%.3f}\n", errors, missing,
        good == 0 ? 0.0 : (double)times[good / 2] / 1000, good == 0 ? 0.0 : (double)times[good * 99 / 100] / 1000);
    mem_free(times);
}

static void send_all(int fd, const char *head, const char *body)
{
    if (send(fd, head, strlen(head), MSG_MORE) != (ssize_t)strlen(head) ||
        send(fd, body, strlen(body), 0) != (ssize_t)strlen(body))
        die("could not send");
}

static size_t number(const char *text)
{
    int64_t value;
    if (!str_to_i64(str_from_c(text), &value) || value < 1)
        die("not a number: %s", text);
    return (size_t)value;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        die("usage: bench_stream_reference PORT STREAMS EVENTS KEY BODY");
    struct rlimit files = { 65536, 65536 };
    setrlimit(RLIMIT_NOFILE, &files);
    uint16_t port = (uint16_t)number(argv[1]);
    size_t count = number(argv[2]), open = count;
    Stream *streams = MEM_NEW(Stream, count);
    char head[1024];
    snprintf(head, sizeof head,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        argv[4], strlen(argv[5]));
    int epoll_fd = epoll_create1(0);
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &streams[i] };
        streams[i].fd = connect_to(port);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, streams[i].fd, &event);
    }
    struct epoll_event ready[256];
    for (size_t i = 0; i < count; i++) {
        streams[i].sent_us = monotonic_us();
        send_all(streams[i].fd, head, argv[5]);
        for (int n = epoll_wait(epoll_fd, ready, 256, i % 8 == 7 ? 1 : 0), e = 0; e < n; e++)
            serve(ready[e].data.ptr, epoll_fd, &open);
    }
    int64_t give_up_us = monotonic_us() + TIMEOUT_US;
    while (open > 0 && monotonic_us() < give_up_us)
        for (int n = epoll_wait(epoll_fd, ready, 256, 1000), e = 0; e < n; e++)
            serve(ready[e].data.ptr, epoll_fd, &open);
    report(streams, count, number(argv[3]));
    mem_free(streams);
    return 0;
}
