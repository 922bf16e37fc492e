/* The client against a peer that answers late, out of order, wrongly, or not at all. */
#include "support/expect.h"

#include "keeper/client.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CALLERS 8

static char path[] = "/tmp/reeve-client-XXXXXX/socket";
static int listener = -1;

static void answer_checkpoint(int fd, const MessageHeader *header, Bytes body)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(buf_release) Buf out = buf_new(MESSAGE_BYTES_MAX);
    CheckpointAsk ask;
    expect_ok(wire_decode(arena, message_kind(header->type)->request, body, &ask));
    TextReply reply = { .text = arena_fmt(arena, "%lld", (long long)ask.size) };
    expect_ok(message_write(*header, message_kind(header->type)->reply, &reply, &out));
    assert_true(send(fd, out.ptr, out.len, MSG_NOSIGNAL) > 0);
}

/* Takes CALLERS requests and answers them last one first. */
static void *backwards_peer(void *unused __attribute__((unused)))
{
    int fd = accept(listener, NULL, NULL);
    static uint8_t packets[CALLERS][4096];
    ssize_t lens[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        lens[i] = recv(fd, packets[i], sizeof(packets[i]), 0);
    for (int i = CALLERS - 1; i >= 0; i--) {
        MessageHeader header;
        Bytes body;
        expect_ok(message_parse((Bytes){ packets[i], (size_t)lens[i] }, &header, &body));
        answer_checkpoint(fd, &header, body);
    }
    char end;
    while (recv(fd, &end, 1, 0) > 0)
        ;
    close(fd);
    return NULL;
}

typedef struct Caller {
    pthread_t thread;
    KeeperClient *client;
    int64_t number;
    bool right;
} Caller;

static void *caller_main(void *argument)
{
    Caller *caller = argument;
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str note = STR(""), expected = arena_fmt(arena, "%lld", (long long)caller->number);
    Err err = keeper_sign_checkpoint(
        caller->client, arena, &(CheckpointAsk){ .origin = STR("o"), .size = caller->number }, &note);
    caller->right = err.kind == ERR_NONE && str_eq(note, expected);
    return NULL;
}

TEST(answers_find_their_callers_out_of_order)
{
    pthread_t peer;
    Caller callers[CALLERS] = { 0 };
    KeeperClient *client = keeper_client_open(str_from_c(path));
    pthread_create(&peer, NULL, backwards_peer, NULL);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (Caller){ .client = client, .number = 100 + i };
        pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_true(callers[i].right);
    }
    keeper_client_free(&client);
    pthread_join(peer, NULL);
}

static void *hang_up_peer(void *unused __attribute__((unused)))
{
    char packet[4096];
    int fd = accept(listener, NULL, NULL);
    recv(fd, packet, sizeof(packet), 0);
    close(fd);
    return NULL;
}

static void *silent_peer(void *unused __attribute__((unused)))
{
    char packet[4096];
    int fd = accept(listener, NULL, NULL);
    while (recv(fd, packet, sizeof(packet), 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void *junk_peer(void *unused __attribute__((unused)))
{
    char packet[4096];
    int fd = accept(listener, NULL, NULL);
    recv(fd, packet, sizeof(packet), 0);
    assert_true(send(fd, "junk", 4, MSG_NOSIGNAL) > 0);
    packet[20] = 'x'; /* its own request back, with a byte too many */
    assert_true(send(fd, packet, 21, MSG_NOSIGNAL) > 0);
    packet[7] = ERR_INTERNAL; /* an error without code and sentence */
    assert_true(send(fd, packet, 20, MSG_NOSIGNAL) > 0);
    while (recv(fd, packet, sizeof(packet), 0) > 0)
        ;
    close(fd);
    return NULL;
}

static Err hello(KeeperClient *client)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Hello ignored;
    Err err = keeper_hello(client, arena, &ignored);
    return err.kind == ERR_NONE ? OK
                                : (Err){ .kind = err.kind,
                                      .code = err_is(err, "keeper-timeout")       ? STR("keeper-timeout")
                                              : err_is(err, "keeper-unavailable") ? STR("keeper-unavailable")
                                                                                  : STR("other") };
}

TEST(call_fails_when_the_keeper_hangs_up_and_the_next_connects_again)
{
    pthread_t peer;
    KeeperClient *client = keeper_client_open(str_from_c(path));
    for (int i = 0; i < 3; i++) {
        pthread_create(&peer, NULL, hang_up_peer, NULL);
        expect_err(hello(client), "keeper-unavailable");
        pthread_join(peer, NULL);
    }
    keeper_client_free(&client);
}

TEST(call_ends_at_its_deadline)
{
    pthread_t peer;
    KeeperClient *client = keeper_client_open(str_from_c(path));
    keeper_client_deadline(client, 50);
    pthread_create(&peer, NULL, silent_peer, NULL);
    expect_err(hello(client), "keeper-timeout");
    keeper_client_free(&client);
    pthread_join(peer, NULL);
}

TEST(keeper_that_takes_no_more_connections_is_unavailable_at_the_deadline)
{
    int waiting[64], count = 0;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, path, sizeof(path));
    for (; count < 64; count++) {
        waiting[count] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(waiting[count], (struct sockaddr *)&address, sizeof(address)) != 0)
            break;
    }
    assert_true(count < 64); /* the backlog is full */
    KeeperClient *client = keeper_client_open(str_from_c(path));
    keeper_client_deadline(client, 100);
    alarm(20);
    expect_err(hello(client), "keeper-unavailable");
    alarm(0);
    keeper_client_free(&client);
    for (int i = 0; i <= count; i++)
        close(waiting[i]);
    for (int i = 0; i < count; i++)
        close(accept(listener, NULL, NULL));
}

TEST(junk_is_not_taken_for_an_answer)
{
    pthread_t peer;
    KeeperClient *client = keeper_client_open(str_from_c(path));
    keeper_client_deadline(client, 2000);
    pthread_create(&peer, NULL, junk_peer, NULL);
    expect_err(hello(client), "keeper-unavailable");
    keeper_client_free(&client);
    pthread_join(peer, NULL);
}

TEST(keeper_that_is_not_there_is_unavailable_at_once)
{
    KeeperClient *client = keeper_client_open(STR("/nonexistent/reeve-keeper"));
    expect_err(hello(client), "keeper-unavailable");
    keeper_client_free(&client);
}

int main(void)
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    if (mkdtemp(path) == NULL)
        return 1;
    *slash = '/';
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, path, sizeof(path));
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 8) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        RUN(answers_find_their_callers_out_of_order),
        RUN(call_fails_when_the_keeper_hangs_up_and_the_next_connects_again),
        RUN(call_ends_at_its_deadline),
        RUN(keeper_that_takes_no_more_connections_is_unavailable_at_the_deadline),
        RUN(junk_is_not_taken_for_an_answer),
        RUN(keeper_that_is_not_there_is_unavailable_at_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close(listener);
    unlink(path);
    *slash = '\0';
    rmdir(path);
    return failed;
}
