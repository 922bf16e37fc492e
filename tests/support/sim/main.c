/*
 * reeve-sim: a provider of models that has none: it answers as OpenAI and Anthropic do, counts tokens exactly, fails on
 * request, and keeps an account of what it served. docs: README.md beside this file.
 */
#include "server.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREADS_MAX 64

enum {
    OPT_PORT_FILE = 256,
    OPT_KEYS,
    OPT_JOURNAL,
    OPT_NO_JOURNAL,
    OPT_MODELS,
    OPT_FAST,
    OPT_FIRST_BYTE,
    OPT_TOKEN,
    OPT_PER_EVENT,
    OPT_OUTPUT,
    OPT_CACHE,
    OPT_DRAIN,
};

static const struct argp_option argp_options[] = {
    { "port", 'p', "N", 0, "Port on the loopback address; 0 = any free one (default)", 0 },
    { "port-file", OPT_PORT_FILE, "FILE", 0, "Write the port here once it listens", 0 },
    { "threads", 't', "N", 0, "Loops that share the port (default 1)", 0 },
    { "keys", OPT_KEYS, "FILE", 0, "Accept only these keys, one a line (default: any)", 0 },
    { "models", OPT_MODELS, "A,B", 0, "Serve only these models (default: any name)", 0 },
    { "journal", OPT_JOURNAL, "FILE", 0, "Write the account here, JSON Lines (default: in memory)", 0 },
    { "no-journal", OPT_NO_JOURNAL, NULL, 0, "Keep no account", 0 },
    { "fast", OPT_FAST, NULL, 0, "Never wait, whatever is asked", 0 },
    { "first-byte-ms", OPT_FIRST_BYTE, "N", 0, "Delay of the first byte (default 0)", 0 },
    { "token-ms", OPT_TOKEN, "N", 0, "Time to generate one token (default 0)", 0 },
    { "tokens-per-event", OPT_PER_EVENT, "N", 0, "Tokens in one event of a stream (default 1)", 0 },
    { "output-tokens", OPT_OUTPUT, "N", 0, "Tokens of an answer when nothing says otherwise (default 32)", 0 },
    { "cache-entries", OPT_CACHE, "N", 0, "Prefixes to remember (default 262144)", 0 },
    { "drain-s", OPT_DRAIN, "N", 0, "On SIGTERM, time for calls in flight to end (default 5)", 0 },
    { 0 },
};

typedef struct Number {
    int key;
    int64_t min, max;
    size_t offset;
} Number;

static const Number numbers[] = {
    { OPT_FIRST_BYTE, 0, 3600000, offsetof(Options, first_byte_ms) },
    { OPT_TOKEN, 0, 60000, offsetof(Options, token_us) },
    { OPT_PER_EVENT, 1, OUTPUT_TOKENS_MAX, offsetof(Options, tokens_per_event) },
    { OPT_OUTPUT, 1, OUTPUT_TOKENS_MAX, offsetof(Options, output_tokens) },
    { OPT_CACHE, 1, 1 << 26, offsetof(Options, cache_entries) },
    { OPT_DRAIN, 0, 600, offsetof(Options, drain_s) },
};

static int64_t number_of(const char *text, int64_t min, int64_t max, struct argp_state *state)
{
    int64_t value = 0;
    if (!text_int(text_of(text), &value) || value < min || value > max)
        argp_error(state, "%s is not a whole number from %lld to %lld", text, (long long)min, (long long)max);
    return value;
}

static error_t parse_number(int key, char *argument, Options *options, struct argp_state *state)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].key != key)
            continue;
        int64_t value = number_of(argument, numbers[i].min, numbers[i].max, state);
        *(int64_t *)((char *)options + numbers[i].offset) = key == OPT_TOKEN ? value * 1000 : value;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    Options *options = state->input;
    switch (key) {
    case 'p':
        options->port = (int)number_of(argument, 0, 65535, state);
        return 0;
    case 't':
        options->threads = (int)number_of(argument, 1, THREADS_MAX, state);
        return 0;
    case OPT_PORT_FILE:
        options->port_file = argument;
        return 0;
    case OPT_KEYS:
        options->keys_file = argument;
        return 0;
    case OPT_JOURNAL:
        options->journal = argument;
        return 0;
    case OPT_NO_JOURNAL:
        options->no_journal = true;
        return 0;
    case OPT_MODELS:
        options->models = argument;
        return 0;
    case OPT_FAST:
        options->fast = true;
        return 0;
    default:
        return parse_number(key, argument, options, state);
    }
}

static int fail(const char *what, const char *name)
{
    fprintf(stderr, "reeve-sim: could not %s %s\n", what, name);
    return 1;
}

/* Written beside and renamed, so that a reader never sees half a number. */
static bool write_port(const char *path, int port)
{
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return false;
    FILE *file = fopen(beside, "we");
    if (!file)
        return false;
    fprintf(file, "%d\n", port);
    return fclose(file) == 0 && rename(beside, path) == 0;
}

static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void serve(World *world, Loop **loops, int count)
{
    pthread_t threads[THREADS_MAX];
    sigset_t signals;
    int signal_number;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (int i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, run_loop, loops[i]) != 0)
            abort();
    }
    sigwait(&signals, &signal_number);
    atomic_store(&world->stopping, true);
    for (int i = 0; i < count; i++)
        loop_wake(loops[i]);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static int listen_all(World *world, Loop **loops)
{
    int port = world->options.port;
    for (int i = 0; i < world->options.threads; i++) {
        int listener = server_listen(port);
        if (listener < 0)
            return -1;
        port = server_port(listener);
        loops[i] = loop_new(world, listener);
    }
    return port;
}

static int run(World *world)
{
    const Options *options = &world->options;
    Loop *loops[THREADS_MAX] = { 0 };
    if (options->keys_file && !keys_load(world->keys, options->keys_file))
        return fail("read", options->keys_file);
    if (!options->no_journal && !(world->journal = journal_open(options->journal)))
        return fail("write", options->journal);
    int port = listen_all(world, loops);
    if (port < 0)
        return fail("listen on", "the port; is it taken?");
    if (options->port_file && !write_port(options->port_file, port))
        return fail("write", options->port_file);
    fprintf(stderr, "reeve-sim: http://127.0.0.1:%d\n", port);
    serve(world, loops, options->threads);
    for (int i = 0; i < options->threads; i++)
        loop_free(loops[i]);
    return 0;
}

int main(int argc, char **argv)
{
    static World world = {
        .options = { .threads = 1, .tokens_per_event = 1, .output_tokens = 32, .cache_entries = 262144, .drain_s = 5 },
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    static const struct argp argp = { .options = argp_options,
        .parser = parse_option,
        .doc = "A simulated provider: OpenAI chat completions and Anthropic messages on the loopback address." };
    argp_parse(&argp, argc, argv, 0, NULL, &world.options);
    allow_many_files();
    world.keys = keys_new();
    world.cache = cache_new((uint32_t)world.options.cache_entries);
    int code = run(&world);
    journal_close(world.journal);
    cache_free(world.cache);
    keys_free(world.keys);
    return code;
}
