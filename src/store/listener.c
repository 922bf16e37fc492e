/*
 * listener.c: a connection of its own that waits for notifications. A lost one is made again; since notifications of
 * the time between are gone, the new connection counts as one: the caller reads the state anyhow.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CHANNELS_MAX 16
#define LISTENER_MAGIC 0x4c495354u
#define RETRY_MS 250

struct Listener {
    unsigned magic;
    Arena *arena;
    ConnectOptions connect;
    const char *listen_sql[CHANNELS_MAX];
    size_t channel_count;
    PGconn *connection;
    int wake_fd;
};

Err listener_open(const PoolOptions *options, const char *const *channels, size_t count, Listener **ret_listener)
{
    if (count == 0 || count > CHANNELS_MAX)
        die("a listener of %zu channels", count);
    Arena *arena = arena_new();
    Listener *listener = NEW(arena, Listener, 1);
    *listener = (Listener){ .magic = LISTENER_MAGIC, .arena = arena, .channel_count = count };
    listener->connect = (ConnectOptions){ .conninfo = arena_str(arena, options->conninfo),
        .application = arena_fmt(arena, "reeve-" STR_FMT "-listen", STR_ARG(options->role)),
        .statement_timeout_ms = options->statement_timeout_ms > 0 ? options->statement_timeout_ms : 5000 };
    for (size_t i = 0; i < count; i++) {
        if (!str_is_name(str_from_c(channels[i])))
            die("a channel is not called %s", channels[i]);
        listener->listen_sql[i] = arena_fmt(arena, "listen %s", channels[i]).ptr;
    }
    listener->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener->wake_fd < 0)
        die("no eventfd");
    *ret_listener = listener;
    return OK;
}

void listener_free(Listener **listener_at)
{
    Listener *listener = *listener_at;
    if (listener == NULL)
        return;
    connection_close(&listener->connection);
    close(listener->wake_fd);
    listener->magic = 0;
    Arena *arena = listener->arena;
    arena_free(&arena);
    *listener_at = NULL;
}

int listener_wake_fd(const Listener *listener)
{
    return listener->wake_fd;
}

static Err listen_again(Listener *listener, int64_t deadline_us)
{
    _cleanup_(arena_free) Arena *scratch = arena_new();
    TRY(connection_open(scratch, &listener->connect, deadline_us, &listener->connection));
    Err err = OK;
    for (size_t i = 0; i < listener->channel_count && err.kind == ERR_NONE; i++)
        err = connection_query(scratch, listener->connection, listener->listen_sql[i], deadline_us, NULL);
    if (err.kind != ERR_NONE) {
        connection_close(&listener->connection);
        return error_unavailable();
    }
    return OK;
}

/* Waits for the socket (fd < 0: for nothing) or the wake; true when the socket has something. */
static bool wait_either(Listener *listener, int fd, int64_t until_us, bool *ret_woken)
{
    int64_t left_ms = (until_us - monotonic_us() + US_PER_MS - 1) / US_PER_MS;
    struct pollfd fds[2] = { { .fd = listener->wake_fd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    int ready = left_ms > 0 ? poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms) : 0;
    *ret_woken = ready > 0 && fds[0].revents != 0;
    if (*ret_woken) {
        uint64_t count;
        ssize_t got = read(listener->wake_fd, &count, sizeof(count));
        (void)got; /* only to empty it */
    }
    return ready > 0 && fds[1].revents != 0;
}

static bool drain(PGconn *connection)
{
    bool any = false;
    for (;;) {
        PGnotify *notify = PQnotifies(connection);
        if (notify == NULL)
            return any;
        PQfreemem(notify);
        any = true;
    }
}

/* Makes the connection; without one it waits a moment, so that a caller in a loop does not spin. */
static Err reconnect(Listener *listener, int64_t until_us, bool *ret_notified)
{
    Err err = listen_again(listener, monotonic_us() + CONNECT_DEADLINE_MS * US_PER_MS);
    if (err.kind == ERR_NONE) {
        *ret_notified = true;
        return OK;
    }
    int64_t retry_us = monotonic_us() + RETRY_MS * US_PER_MS;
    bool woken;
    wait_either(listener, -1, retry_us < until_us ? retry_us : until_us, &woken);
    return err;
}

Err listener_wait(Listener *listener, int timeout_ms, bool *ret_notified)
{
    if (listener == NULL || listener->magic != LISTENER_MAGIC)
        die("not a listener");
    int64_t until_us = monotonic_us() + timeout_ms * US_PER_MS;
    bool woken = false;
    if (listener->connection == NULL)
        return reconnect(listener, until_us, ret_notified);
    while (!drain(listener->connection)) {
        if (monotonic_us() >= until_us || woken) {
            *ret_notified = false;
            return OK;
        }
        if (!wait_either(listener, PQsocket(listener->connection), until_us, &woken))
            continue;
        if (!PQconsumeInput(listener->connection) || PQstatus(listener->connection) != CONNECTION_OK) {
            connection_close(&listener->connection);
            return reconnect(listener, until_us, ret_notified);
        }
    }
    *ret_notified = true;
    return OK;
}
