/*
 * client.c: one connection, many callers.
 *
 * A caller registers its call, sends its packet and sleeps on its own condition; one thread reads answers and wakes
 * the caller that each belongs to. When the connection ends every waiting call fails at once, and the next call
 * connects again.
 */
#include "keeper/client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

typedef struct Call {
    uint64_t id;
    pthread_cond_t wake;
    bool done;
    bool lost;
    Buf *packet; /* the answer, once done */
    struct Call *next;
} Call;

struct KeeperClient {
    Arena *arena; /* holds the client itself and its path */
    Str path;
    int64_t deadline_ms;
    pthread_mutex_t lock;
    pthread_cond_t slots; /* fewer than KEEPER_CALLS_MAX calls wait */
    pthread_cond_t connected;
    pthread_t reader;
    int fd; /* -1: not connected */
    uint64_t connection;
    uint64_t next_id;
    unsigned waiting;
    bool closing;
    Call *calls;
};

static Err unavailable(void)
{
    Err err = FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper cannot be reached.");
    err.retry_after_s = 1;
    return err;
}

/* --- the reader --- */

static void deliver(KeeperClient *client, Bytes packet)
{
    MessageHeader header;
    Bytes body;
    if (message_parse(packet, &header, &body).kind != ERR_NONE)
        return;
    pthread_mutex_lock(&client->lock);
    for (Call *call = client->calls; call != NULL; call = call->next) {
        if (call->id != header.id || call->done)
            continue;
        buf_add_bytes(call->packet, packet.ptr, packet.len);
        call->done = true;
        pthread_cond_signal(&call->wake);
    }
    pthread_mutex_unlock(&client->lock); /* an answer that nobody waits for any more is dropped */
}

static void disconnect(KeeperClient *client)
{
    pthread_mutex_lock(&client->lock);
    close(client->fd);
    client->fd = -1;
    for (Call *call = client->calls; call != NULL; call = call->next) {
        call->lost = true;
        pthread_cond_signal(&call->wake);
    }
    pthread_mutex_unlock(&client->lock);
}

/* The descriptor of the connection, or -1 when the client is being freed. */
static int wait_for_connection(KeeperClient *client)
{
    pthread_mutex_lock(&client->lock);
    while (client->fd < 0 && !client->closing)
        pthread_cond_wait(&client->connected, &client->lock);
    int fd = client->closing ? -1 : client->fd;
    pthread_mutex_unlock(&client->lock);
    return fd;
}

static void *reader_main(void *argument)
{
    KeeperClient *client = argument;
    _cleanup_(buf_release) Buf packet = buf_new(MESSAGE_BYTES_MAX);
    char *room = buf_reserve(&packet, MESSAGE_BYTES_MAX);
    for (int fd; (fd = wait_for_connection(client)) >= 0;) {
        ssize_t len;
        while ((len = recv(fd, room, MESSAGE_BYTES_MAX, 0)) > 0 || (len < 0 && errno == EINTR))
            if (len > 0)
                deliver(client, (Bytes){ .ptr = (const uint8_t *)room, .len = (size_t)len });
        disconnect(client);
    }
    return NULL;
}

/* --- life --- */

KeeperClient *keeper_client_open(Str path)
{
    Arena *arena = arena_new();
    KeeperClient *client = NEW(arena, KeeperClient, 1);
    *client = (KeeperClient){
        .arena = arena, .path = arena_str(arena, path), .deadline_ms = KEEPER_DEADLINE_MS, .fd = -1, .next_id = 1
    };
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->slots, NULL);
    pthread_cond_init(&client->connected, NULL);
    if (pthread_create(&client->reader, NULL, reader_main, client) != 0)
        die("a thread could not be started");
    return client;
}

void keeper_client_free(KeeperClient **client)
{
    KeeperClient *c = *client;
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    pthread_cond_broadcast(&c->connected);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->reader, NULL);
    pthread_cond_destroy(&c->connected);
    pthread_cond_destroy(&c->slots);
    pthread_mutex_destroy(&c->lock);
    Arena *arena = c->arena;
    arena_free(&arena);
    *client = NULL;
}

void keeper_client_deadline(KeeperClient *client, int64_t milliseconds)
{
    client->deadline_ms = milliseconds;
}

/* --- one call --- */

/* With the lock held; so a keeper that hangs, with its backlog full, must not hold connect(). */
static Err connect_when_needed(KeeperClient *client)
{
    if (client->fd >= 0)
        return OK;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (client->path.len == 0 || client->path.len >= sizeof(address.sun_path))
        return FAIL(ERR_INTERNAL, "keeper-path", "The path of the keeper's socket is empty or too long.");
    memcpy(address.sun_path, client->path.ptr, client->path.len);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return unavailable();
    int size = 2 * MESSAGE_BYTES_MAX;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    int64_t wait_ms = client->deadline_ms < 1 ? 1 : client->deadline_ms;
    const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return unavailable();
    }
    client->fd = fd;
    client->connection++;
    pthread_cond_signal(&client->connected);
    return OK;
}

static struct timespec deadline_of(int64_t until_us)
{
    return (struct timespec){ .tv_sec = until_us / US_PER_S, .tv_nsec = until_us % US_PER_S * 1000 };
}

/* With the lock held, given up while the socket is full. */
static Err send_packet(KeeperClient *client, Str packet, int64_t until_us)
{
    uint64_t connection = client->connection;
    while (client->fd >= 0 && client->connection == connection) {
        int fd = client->fd;
        if (send(fd, packet.ptr, packet.len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return OK;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != ENOBUFS) {
            shutdown(fd, SHUT_RDWR); /* the reader sees the end and fails every call */
            return unavailable();
        }
        int64_t left_ms = (until_us - monotonic_us()) / US_PER_MS;
        if (left_ms <= 0)
            return FAIL(ERR_TIMEOUT, "keeper-timeout", "The keeper did not take the request in time.");
        pthread_mutex_unlock(&client->lock);
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        poll(&ready, 1, left_ms < 100 ? (int)left_ms : 100);
        pthread_mutex_lock(&client->lock);
    }
    return unavailable();
}

static void call_add(KeeperClient *client, Call *call)
{
    call->id = client->next_id++;
    call->next = client->calls;
    client->calls = call;
    client->waiting++;
}

static void call_remove(KeeperClient *client, Call *call)
{
    for (Call **at = &client->calls; *at != NULL; at = &(*at)->next) {
        if (*at == call) {
            *at = call->next;
            break;
        }
    }
    client->waiting--;
    pthread_cond_signal(&client->slots);
}

static Err wait_for_answer(KeeperClient *client, Call *call, int64_t until_us)
{
    const struct timespec until = deadline_of(until_us);
    while (!call->done && !call->lost)
        if (pthread_cond_clockwait(&call->wake, &client->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            break;
    if (call->done)
        return OK;
    if (call->lost)
        return unavailable();
    return FAIL(ERR_TIMEOUT, "keeper-timeout", "The keeper did not answer in time.");
}

static Err exchange_locked(KeeperClient *client, Call *call, unsigned type, const void *ask)
{
    int64_t until_us = monotonic_us() + client->deadline_ms * US_PER_MS;
    const struct timespec until = deadline_of(until_us);
    while (client->waiting >= KEEPER_CALLS_MAX)
        if (pthread_cond_clockwait(&client->slots, &client->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            return FAIL(ERR_TIMEOUT, "keeper-timeout", "Too many requests wait for the keeper.");
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    TRY(message_write((MessageHeader){ .type = type, .id = client->next_id }, message_kind(type)->request, ask, &out));
    TRY(connect_when_needed(client));
    call_add(client, call);
    Err err = send_packet(client, buf_str(&out), until_us);
    if (err.kind == ERR_NONE)
        err = wait_for_answer(client, call, until_us);
    call_remove(client, call);
    return err;
}

static Err exchange(KeeperClient *client, Arena *arena, unsigned type, const void *ask, void *ret_reply)
{
    _cleanup_(buf_release) Buf packet = buf_new(MESSAGE_BYTES_MAX);
    Call call = { .packet = &packet };
    pthread_cond_init(&call.wake, NULL);
    pthread_mutex_lock(&client->lock);
    Err err = exchange_locked(client, &call, type, ask);
    pthread_mutex_unlock(&client->lock);
    pthread_cond_destroy(&call.wake);
    TRY(err);

    MessageHeader header;
    Bytes body;
    Bytes kept = arena_bytes(arena, str_bytes(buf_str(&packet)));
    if (message_parse(kept, &header, &body).kind != ERR_NONE || header.type != type)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper's answer could not be understood.");
    if (header.status != ERR_NONE)
        return message_error(arena, header, body);
    if (wire_decode(arena, message_kind(type)->reply, body, ret_reply).kind != ERR_NONE)
        return FAIL(ERR_UNAVAILABLE, "keeper-unavailable", "The keeper's answer could not be understood.");
    return OK;
}

/* --- the calls --- */

Err keeper_hello(KeeperClient *client, Arena *arena, Hello *ret_hello)
{
    return exchange(client, arena, MESSAGE_HELLO, &(Empty){ 0 }, ret_hello);
}

static Err ask_wrapped(KeeperClient *client, Arena *arena, unsigned type, const void *ask, Bytes *ret_wrapped)
{
    WrappedReply reply;
    TRY(exchange(client, arena, type, ask, &reply));
    *ret_wrapped = reply.wrapped;
    return OK;
}

static Err ask_text(KeeperClient *client, Arena *arena, unsigned type, const void *ask, Str *ret_text)
{
    TextReply reply;
    TRY(exchange(client, arena, type, ask, &reply));
    *ret_text = arena_str(arena, reply.text);
    return OK;
}

Err keeper_project_key_new(KeeperClient *client, Arena *arena, const ProjectKeyNew *ask, Bytes *ret_wrapped)
{
    return ask_wrapped(client, arena, MESSAGE_PROJECT_KEY_NEW, ask, ret_wrapped);
}

Err keeper_fleet_key_new(KeeperClient *client, Arena *arena, const FleetKeyNew *ask, Bytes *ret_wrapped)
{
    return ask_wrapped(client, arena, MESSAGE_FLEET_KEY_NEW, ask, ret_wrapped);
}

Err keeper_secret_intake(KeeperClient *client, Arena *arena, const SecretIntake *ask, SecretTaken *ret_taken)
{
    TRY(exchange(client, arena, MESSAGE_SECRET_INTAKE, ask, ret_taken));
    ret_taken->hint = arena_str(arena, ret_taken->hint);
    return OK;
}

Err keeper_secret_reseal(KeeperClient *client, Arena *arena, const SecretReseal *ask, Bytes *ret_envelope)
{
    EnvelopeReply reply;
    TRY(exchange(client, arena, MESSAGE_SECRET_RESEAL, ask, &reply));
    *ret_envelope = reply.envelope;
    return OK;
}

Err keeper_secret_seal_fleet(KeeperClient *client, Arena *arena, const SecretSealFleet *ask, Str *ret_jwe)
{
    return ask_text(client, arena, MESSAGE_SECRET_SEAL_FLEET, ask, ret_jwe);
}

Err keeper_keyring(KeeperClient *client, Arena *arena, const KeyringAsk *ask, KeyringGiven *ret_given)
{
    TRY(exchange(client, arena, MESSAGE_KEYRING, ask, ret_given));
    ret_given->keyring = arena_str(arena, ret_given->keyring);
    return OK;
}

Err keeper_rewrap(KeeperClient *client, Arena *arena, const Rewrap *ask, Bytes *ret_wrapped)
{
    return ask_wrapped(client, arena, MESSAGE_REWRAP, ask, ret_wrapped);
}

Err keeper_sign_manifest(KeeperClient *client, Arena *arena, const Manifest *manifest, Str *ret_jws)
{
    return ask_text(client, arena, MESSAGE_SIGN_MANIFEST, manifest, ret_jws);
}

Err keeper_sign_heartbeat(KeeperClient *client, Arena *arena, const Heartbeat *heartbeat, Str *ret_jws)
{
    return ask_text(client, arena, MESSAGE_SIGN_HEARTBEAT, heartbeat, ret_jws);
}

Err keeper_sign_checkpoint(KeeperClient *client, Arena *arena, const CheckpointAsk *ask, Str *ret_note)
{
    return ask_text(client, arena, MESSAGE_SIGN_CHECKPOINT, ask, ret_note);
}

Err keeper_receipts(KeeperClient *client, Arena *arena, int64_t after, Receipts *ret_receipts)
{
    return exchange(client, arena, MESSAGE_RECEIPTS, &(ReceiptsAsk){ .after = after }, ret_receipts);
}
