/*
 * secret_test.c: after a transfer this process's memory holds no copy of the secret that was sent. The upstream is a
 * process of its own, for it has to hold one.
 */
#include "certificate.h"

#include <signal.h>
#include <sys/prctl.h>

#include "http/client.h"

#define SECRET_LEN 40
#define MASK 0x5a

static bool stands_at(const char *at, const char *masked)
{
    for (size_t i = 0; i < SECRET_LEN; i++)
        if (at[i] != (char)(masked[i] ^ MASK))
            return false;
    return true;
}

static int copies_in(char *block, size_t len, const char *masked)
{
    int copies = 0;
    for (size_t i = 0; i + SECRET_LEN <= len; i++)
        copies += stands_at(block + i, masked);
    explicit_bzero(block, len);
    return copies;
}

/* How often the secret stands in the writable memory of this process. */
static int copies_in_memory(const char *masked)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    FILE *memory = fopen("/proc/self/mem", "re");
    char line[512];
    int copies = 0;
    assert_true(maps != NULL && memory != NULL);
    setvbuf(memory, NULL, _IONBF, 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w' || to - from > 256UL << 20)
            continue;
        char *block = malloc(to - from);
        ssize_t got = pread(fileno(memory), block, to - from, (off_t)from);
        if (got > 0)
            copies += copies_in(block, (size_t)got, masked);
        free(block);
    }
    fclose(maps);
    fclose(memory);
    return copies;
}

/* --- the upstream --- */

typedef struct Upstream {
    bool is_tls;
    bool echoes; /* what was sent as authorization comes back in a field of the response */
    Str cert_pem, key_file;
    pid_t pid;
    uint16_t port;
} Upstream;

static void answer(Exchange *exchange, void *arg)
{
    const Upstream *upstream = arg;
    Header echo = { STR("x-echo"), exchange_header(exchange, STR("authorization")) };
    exchange_reply(exchange,
        &(Response){ .status = 200, .body = STR("{}"), .headers = &echo, .header_count = upstream->echoes ? 1 : 0 });
}

_Noreturn static void serve(Upstream *upstream, int port_fd)
{
    Loop *loop;
    Server *server;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind who holds its output open */
    ServerOptions options = {
        .address = STR("127.0.0.1"), .limits = SERVER_LIMITS_DEFAULT, .on_request = answer, .arg = upstream
    };
    if (upstream->is_tls) {
        options.tls_cert_pem = upstream->cert_pem;
        options.tls_key_file = upstream->key_file;
    }
    if (loop_new(&loop).kind != ERR_NONE || server_start(loop, &options, &server).kind != ERR_NONE)
        _exit(1);
    uint16_t port = server_port(server);
    if (write(port_fd, &port, sizeof(port)) != sizeof(port))
        _exit(1);
    loop_run(loop);
    _exit(0);
}

static void upstream_start(Upstream *upstream)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    upstream->pid = fork();
    if (upstream->pid == 0)
        serve(upstream, ends[1]);
    assert_int_equal(read(ends[0], &upstream->port, sizeof(upstream->port)), sizeof(upstream->port));
    close(ends[0]);
    close(ends[1]);
}

static void upstream_stop(const Upstream *upstream)
{
    kill(upstream->pid, SIGKILL);
    waitpid(upstream->pid, NULL, 0);
}

/* --- the transfer --- */

typedef struct Run {
    Loop *loop;
    TransferEnd end;
    size_t echo_len;
    bool reused;
} Run;

static void on_end(Transfer *transfer, TransferEnd end, void *arg)
{
    Run *run = arg;
    run->end = end;
    run->echo_len = transfer_header(transfer, STR("x-echo")).len;
    run->reused = transfer_times(transfer).reused;
    loop_stop(run->loop);
}

static void run_transfer(Run *run, Client *client, const TransferOptions *options)
{
    assert_int_equal(transfer_start(client, options, NULL).kind, ERR_NONE);
    loop_run(run->loop);
    assert_int_equal(run->end, TRANSFER_OK);
}

static void check_no_copy_stays(Upstream *upstream)
{
    if (REEVE_SANITIZED) {
        print_message("skipped: a sanitizer's allocator keeps memory of its own\n");
        skip();
    }
    _cleanup_(arena_free) Arena *arena = arena_new();
    Run run = { 0 };
    Client *client;
    if (upstream->is_tls) {
        make_certificate("secret");
        upstream->cert_pem = pem_of(arena, "secret");
        upstream->key_file = path_of(arena, "secret", "key");
    }
    upstream_start(upstream);
    char masked[SECRET_LEN], secret[SECRET_LEN];
    for (int i = 0; i < SECRET_LEN; i++) {
        secret[i] = (char)('a' + (i * 11 + getpid()) % 26);
        masked[i] = (char)(secret[i] ^ MASK);
    }
    assert_int_equal(loop_new(&run.loop).kind, ERR_NONE);
    assert_int_equal(client_new(run.loop, 8, &client).kind, ERR_NONE);
    TransferOptions options = { .method = "POST",
        .url = arena_fmt(arena, "http%s://127.0.0.1:%u/", upstream->is_tls ? "s" : "", upstream->port),
        .body = STR("{}"),
        .total_timeout_us = 20 * US_PER_S,
        .ca_pem = upstream->cert_pem,
        .allow_private = true,
        .on_end = on_end,
        .arg = &run };
    run_transfer(&run, client, &options); /* the connection that the secret goes through is a kept one */
    options.secret_header = STR("authorization");
    options.secret_prefix = STR("Bearer ");
    options.secret_value = (Bytes){ .ptr = (const uint8_t *)secret, .len = SECRET_LEN };
    assert_int_equal(copies_in_memory(masked), 1); /* the search finds what is there */
    run_transfer(&run, client, &options);
    explicit_bzero(secret, sizeof(secret));
    assert_true(run.reused);
    assert_int_equal(run.echo_len, upstream->echoes ? SECRET_LEN + 7 : 0);
    assert_int_equal(copies_in_memory(masked), 0);
    options.secret_header = (Str){ 0 };
    run_transfer(&run, client, &options);
    assert_int_equal(run.reused, !upstream->echoes);
    client_free(&client);
    loop_free(&run.loop);
    upstream_stop(upstream);
    if (upstream->is_tls)
        remove_certificate(arena, "secret");
}

static void test_a_sent_secret_leaves_no_copy_in_memory(void **state)
{
    (void)state;
    check_no_copy_stays(&(Upstream){ .is_tls = false });
}

static void test_a_secret_sent_through_tls_leaves_no_copy_in_memory(void **state)
{
    (void)state;
    check_no_copy_stays(&(Upstream){ .is_tls = true });
}

static void test_a_secret_that_comes_back_in_a_header_leaves_no_copy_in_memory(void **state)
{
    (void)state;
    check_no_copy_stays(&(Upstream){ .echoes = true });
}

static void test_a_secret_that_comes_back_through_tls_leaves_no_copy_in_memory(void **state)
{
    (void)state;
    check_no_copy_stays(&(Upstream){ .is_tls = true, .echoes = true });
}

int main(void)
{
    client_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sent_secret_leaves_no_copy_in_memory),
        cmocka_unit_test(test_a_secret_sent_through_tls_leaves_no_copy_in_memory),
        cmocka_unit_test(test_a_secret_that_comes_back_in_a_header_leaves_no_copy_in_memory),
        cmocka_unit_test(test_a_secret_that_comes_back_through_tls_leaves_no_copy_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
