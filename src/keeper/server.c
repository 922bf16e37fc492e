/*
 * server.c: packets in, packets out.
 */
#include "server.h"

#include "queue.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define IN_FLIGHT_MAX 256 /* per connection: more is not read */
#define SEND_WAIT_MS 1000 /* a peer that does not read its answers loses its connection */
#define BACKLOG 16

typedef struct Connection {
    int fd;
    int64_t uid;
    unsigned in_flight; /* jobs that point here */
    bool closed;        /* reads nothing and answers nothing more; the reader frees it when in_flight is 0 */
    bool used;
    pthread_mutex_t sending;
} Connection;

/* Any request and any reply. */
typedef union AnyMessage {
    ProjectKeyNew project_key_new;
    FleetKeyNew fleet_key_new;
    SecretIntake secret_intake;
    SecretReseal secret_reseal;
    SecretSealFleet secret_seal_fleet;
    KeyringAsk keyring_ask;
    Rewrap rewrap;
    Manifest manifest;
    Heartbeat heartbeat;
    CheckpointAsk checkpoint_ask;
    ReceiptsAsk receipts_ask;
    Empty empty;
    Hello hello;
    SecretTaken secret_taken;
    KeyringGiven keyring_given;
    Receipts receipts;
    WrappedReply wrapped;
    EnvelopeReply envelope;
    TextReply text;
} AnyMessage;

typedef struct Job {
    QueueItem item; /* first: a Job is taken out of the queue as its item; its lane is the KMS key it may wait for */
    Arena *arena;   /* holds the job and its packet; wiped when it is done */
    Connection *connection;
    MessageHeader header;
    AnyMessage ask;
} Job;

_Static_assert(offsetof(Job, item) == 0, "a queue's item is its job");
_Static_assert(NO_LANE == -1, "vault_kms_of says -1 for none");

struct KeeperServer {
    Arena *arena;
    const KeeperConfig *config;
    Vault *vault;
    int listener;
    int signals;
    int woken[2]; /* a worker tells the reader that a full connection has room again, or that a closed one is done */
    Connection connections[KEEPER_CONNECTIONS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle;
    Queue queue;
    bool stopping;
    pthread_t workers[KEEPER_WORKERS_MAX];
    size_t worker_count;
};

/* --- connections --- */

/* With the lock held. Frees nothing: the reader may have a packet of it in its hands, and no job may find another
 * connection in its place. */
static void connection_end(Connection *c)
{
    c->closed = true;
    shutdown(c->fd, SHUT_RDWR);
}

/* In the reader's thread, with the lock held. */
static void connection_free(Connection *c)
{
    close(c->fd);
    pthread_mutex_destroy(&c->sending);
    *c = (Connection){ .fd = -1 };
}

static bool uid_is_allowed(const KeeperConfig *config, int64_t uid)
{
    for (size_t i = 0; i < config->uid_count; i++)
        if (config->uids[i] == uid)
            return true;
    return false;
}

static Connection *free_connection(KeeperServer *s)
{
    for (size_t i = 0; i < KEEPER_CONNECTIONS_MAX; i++)
        if (!s->connections[i].used)
            return &s->connections[i];
    return NULL;
}

static void accept_one(KeeperServer *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || !uid_is_allowed(s->config, peer.uid)) {
        log_warn("a user that is not allowed was turned away", LOG_INT("uid", peer.uid));
        close(fd);
        return;
    }
    int size = 2 * MESSAGE_BYTES_MAX;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    pthread_mutex_lock(&s->lock);
    Connection *c = free_connection(s);
    if (c == NULL) {
        close(fd);
    } else {
        *c = (Connection){ .fd = fd, .uid = peer.uid, .used = true };
        pthread_mutex_init(&c->sending, NULL);
    }
    pthread_mutex_unlock(&s->lock);
}

/* --- answers --- */

static bool send_whole(int fd, Str packet)
{
    int64_t until = monotonic_us() + SEND_WAIT_MS * US_PER_MS;
    while (send(fd, packet.ptr, packet.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        int64_t left_ms = (until - monotonic_us()) / US_PER_MS;
        if ((errno != EAGAIN && errno != ENOBUFS) || left_ms <= 0)
            return false;
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        poll(&ready, 1, (int)left_ms);
    }
    return true;
}

static bool answer(Connection *c, MessageHeader header, Err err, const void *reply)
{
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    header.status = ERR_NONE;
    if (err.kind == ERR_NONE)
        err = message_write(header, message_kind(header.type)->reply, reply, &out);
    if (err.kind != ERR_NONE) {
        buf_clear(&out);
        message_write_error(header, err, &out);
    }
    pthread_mutex_lock(&c->sending);
    bool sent = send_whole(c->fd, buf_str(&out));
    pthread_mutex_unlock(&c->sending);
    return sent;
}

/* --- workers --- */

static void run_job(KeeperServer *s, Job *job)
{
    AnyMessage reply = { .empty = { 0 } };
    Err err = vault_do(s->vault, job->arena, job->header.type, &job->ask, job->connection->uid, &reply);
    pthread_mutex_lock(&s->lock);
    bool gone = job->connection->closed;
    pthread_mutex_unlock(&s->lock);
    bool sent = gone || answer(job->connection, job->header, err, &reply);
    if (err.kind == ERR_INTERNAL || err.kind == ERR_UNAVAILABLE)
        log_err("a request failed", err);
    pthread_mutex_lock(&s->lock);
    queue_done(&s->queue, &job->item);
    Connection *c = job->connection;
    bool was_full = c->in_flight-- == IN_FLIGHT_MAX;
    if (!sent)
        connection_end(c);
    bool wakes = was_full || (c->closed && c->in_flight == 0);
    pthread_cond_broadcast(&s->work); /* whoever waited for this KMS key */
    pthread_cond_signal(&s->idle);
    pthread_mutex_unlock(&s->lock);
    if (wakes && write(s->woken[1], "", 1) < 0)
        log_debug("the reader is awake already", LOG_INT("errno", errno));
    Arena *arena = job->arena;
    arena_free(&arena);
}

static void *worker_main(void *argument)
{
    KeeperServer *s = argument;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        Job *job;
        while ((job = (Job *)queue_take(&s->queue)) == NULL && !(s->stopping && s->queue.waiting == 0))
            pthread_cond_wait(&s->work, &s->lock);
        pthread_mutex_unlock(&s->lock);
        if (job == NULL)
            return NULL;
        run_job(s, job);
    }
}

/* --- the reader --- */

static Err parse_job(const KeeperServer *s, Bytes packet, Job *job)
{
    Bytes body;
    TRY(message_parse(packet, &job->header, &body));
    if (job->header.status != 0)
        return FAIL(ERR_INVALID, "message-malformed", "A request has no status.");
    TRY(wire_decode(job->arena, message_kind(job->header.type)->request, body, &job->ask));
    job->item.lane = vault_kms_of(s->vault, job->header.type, &job->ask);
    return OK;
}

static bool enqueue(KeeperServer *s, Job *job)
{
    pthread_mutex_lock(&s->lock);
    bool taken = s->queue.waiting < KEEPER_QUEUE_MAX && !s->stopping;
    if (taken) {
        queue_push(&s->queue, &job->item);
        job->connection->in_flight++;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

/* A packet that can be answered but not taken in. */
static bool refuse(Connection *c, MessageHeader header, Err err)
{
    return answer(c, header, err, NULL);
}

/* False ends the connection. */
static bool take_packet(KeeperServer *s, Connection *c, Bytes packet)
{
    Arena *arena = arena_new();
    Job *job = NEW(arena, Job, 1);
    *job = (Job){ .arena = arena, .connection = c, .item = { .lane = NO_LANE } };
    Err err = parse_job(s, arena_bytes(arena, packet), job);
    if (err.kind != ERR_NONE) {
        /* Whoever speaks another language is told once and cut off. */
        log_warn("a packet was not understood", LOG_INT("uid", c->uid), LOG_STR("why", err.detail));
        refuse(c, job->header, err);
        arena_free(&arena);
        return false;
    }
    if (enqueue(s, job))
        return true;
    err = FAIL(ERR_UNAVAILABLE, "keeper-busy", "The keeper has too much to do or is stopping.");
    err.retry_after_s = 1;
    bool answered = refuse(c, job->header, err);
    arena_free(&arena);
    return answered;
}

static void read_connection(KeeperServer *s, Connection *c)
{
    static uint8_t packet[MESSAGE_BYTES_MAX];
    ssize_t len = recv(c->fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    bool good = len > 0 && (size_t)len <= sizeof(packet) && take_packet(s, c, (Bytes){ packet, (size_t)len });
    secret_wipe(packet, len > 0 && (size_t)len < sizeof(packet) ? (size_t)len : sizeof(packet));
    if (good)
        return;
    pthread_mutex_lock(&s->lock);
    connection_end(c);
    pthread_mutex_unlock(&s->lock);
}

#define POLLED_FIRST 3 /* listener, signals, woken */

static size_t what_to_poll(KeeperServer *s, struct pollfd *polled, Connection **owners)
{
    size_t count = POLLED_FIRST;
    polled[0] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
    polled[1] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
    polled[2] = (struct pollfd){ .fd = s->woken[0], .events = POLLIN };
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < KEEPER_CONNECTIONS_MAX; i++) {
        Connection *c = &s->connections[i];
        if (c->used && c->closed && c->in_flight == 0)
            connection_free(c);
        if (!c->used || c->closed || c->in_flight >= IN_FLIGHT_MAX)
            continue;
        owners[count] = c;
        polled[count++] = (struct pollfd){ .fd = c->fd, .events = POLLIN };
    }
    pthread_mutex_unlock(&s->lock);
    return count;
}

/* True when a signal asked for the end. */
static bool serve_once(KeeperServer *s)
{
    struct pollfd polled[POLLED_FIRST + KEEPER_CONNECTIONS_MAX];
    Connection *owners[POLLED_FIRST + KEEPER_CONNECTIONS_MAX];
    size_t count = what_to_poll(s, polled, owners);
    if (poll(polled, (nfds_t)count, -1) < 0)
        return false;
    if (polled[1].revents != 0)
        return true;
    char drained[64];
    if (polled[2].revents != 0 && read(s->woken[0], drained, sizeof(drained)) < 0)
        return false;
    for (size_t i = POLLED_FIRST; i < count; i++)
        if (polled[i].revents != 0)
            read_connection(s, owners[i]);
    if (polled[0].revents != 0)
        accept_one(s);
    return false;
}

/* --- life --- */

static Err listen_at(KeeperServer *s)
{
    const KeeperConfig *config = s->config;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (config->socket.len >= sizeof(address.sun_path))
        return FAIL(ERR_INVALID, "bad-config", "socket: the path is too long");
    memcpy(address.sun_path, config->socket.ptr, config->socket.len);
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Safe because the journal's lock says that no other keeper is at work here. */
    unlink(address.sun_path);
    mode_t open = str_eq(config->socket_mode, STR("0660")) ? 0660 : 0600, before = umask(0777 & ~open);
    int bound = bind(s->listener, (const struct sockaddr *)&address, sizeof(address));
    umask(before);
    if (s->listener < 0 || bound != 0 || listen(s->listener, BACKLOG) != 0)
        return FAIL(ERR_INVALID, "socket", "The keeper cannot listen at its socket's path.");
    return OK;
}

static Err watch_signals(KeeperServer *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || (s->signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0 ||
        pipe2(s->woken, O_CLOEXEC | O_NONBLOCK) != 0)
        return FAIL(ERR_INTERNAL, "signals", "The keeper cannot watch its signals.");
    return OK;
}

Err keeper_server_open(const KeeperConfig *config, Vault *vault, KeeperServer **ret_server)
{
    Arena *arena = arena_new();
    KeeperServer *s = NEW(arena, KeeperServer, 1);
    *s = (KeeperServer){
        .arena = arena, .config = config, .vault = vault, .listener = -1, .signals = -1, .woken = { -1, -1 }
    };
    s->queue.cap = (unsigned)config->kms_concurrency;
    for (size_t i = 0; i < KEEPER_CONNECTIONS_MAX; i++)
        s->connections[i].fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->idle, NULL);
    Err err = watch_signals(s);
    if (err.kind == ERR_NONE)
        err = listen_at(s);
    if (err.kind != ERR_NONE) {
        keeper_server_free(&s);
        return err;
    }
    *ret_server = s;
    return OK;
}

/* Waits for the workers to finish what was taken in. */
static void drain(KeeperServer *s)
{
    int64_t until_us = monotonic_us() + DRAIN_S * US_PER_S;
    const struct timespec until = { .tv_sec = until_us / US_PER_S, .tv_nsec = until_us % US_PER_S * 1000 };
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    while (s->queue.waiting + s->queue.running > 0)
        if (pthread_cond_clockwait(&s->idle, &s->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            break;
    unsigned left = s->queue.waiting + s->queue.running;
    pthread_mutex_unlock(&s->lock);
    if (left > 0) {
        log_error("requests were not finished in time", LOG_INT("requests", left));
        _exit(1); /* their threads hang in a KMS: nothing of theirs was answered */
    }
    for (size_t i = 0; i < s->worker_count; i++)
        pthread_join(s->workers[i], NULL);
}

Err keeper_server_run(KeeperServer *server)
{
    for (int64_t i = 0; i < server->config->workers; i++) {
        if (pthread_create(&server->workers[server->worker_count], NULL, worker_main, server) != 0)
            return FAIL(ERR_INTERNAL, "threads", "The keeper's threads could not be started.");
        server->worker_count++;
    }
    log_info("listening", LOG_STR("socket", server->config->socket));
    while (!serve_once(server))
        ;
    close(server->listener);
    server->listener = -1;
    drain(server);
    log_info("stopped", LOG_INT("requests_left", 0));
    return OK;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void keeper_server_free(KeeperServer **server)
{
    KeeperServer *s = *server;
    if (s == NULL)
        return;
    for (size_t i = 0; i < KEEPER_CONNECTIONS_MAX; i++)
        if (s->connections[i].used)
            connection_free(&s->connections[i]);
    close_fd(s->listener);
    close_fd(s->signals);
    close_fd(s->woken[0]);
    close_fd(s->woken[1]);
    pthread_cond_destroy(&s->idle);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    Arena *arena = s->arena;
    arena_free(&arena);
    *server = NULL;
}
