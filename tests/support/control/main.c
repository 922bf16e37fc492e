/*
 * main.c: reeve-test-control DIR PROVIDER-URL: the control plane of support/control.h until its input ends.
 *
 * Writes DIR/join-token, DIR/client-key and DIR/url. One workflow per dialect ("summarize", "claude"), one target each,
 * at the provider's URL. Events are counted, not kept; their number is printed at the end.
 */
#include <stdio.h>
#include <unistd.h>

#include "../control.h"
#include "base/config.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "http/client.h"

static void write_file(Arena *arena, const char *dir, const char *name, Str text)
{
    Err err = file_write_atomic(arena_fmt(arena, "%s/%s", dir, name), text, 0600);
    if (err.kind != ERR_NONE)
        die(STR_FMT, STR_ARG(err.detail));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: reeve-test-control DIR PROVIDER-URL\n", stderr);
        return 64;
    }
    crypto_start();
    json_start();
    client_start();
    log_start("reeve-test-control", LOG_WARN, true);
    ControlTarget target = { .base_url = argv[2], .model = "model-one", .key = "sk-bench-0123456789abcdef0123456789" };
    ControlSpec spec = { .workflows = { { .name = "summarize", .dialect = "openai", .targets = { target } },
                             { .name = "claude", .dialect = "anthropic", .targets = { target } } } };
    _cleanup_(arena_free) Arena *arena = arena_new();
    Control *control = control_start(&spec);
    control_keep_events(control, false);
    write_file(arena, argv[1], "join-token", control_join_token(control));
    write_file(arena, argv[1], "client-key", control_client_key(control));
    write_file(arena, argv[1], "url", control_url(control));
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    printf("%zu\n", control_event_count(control));
    control_stop(&control);
    return 0;
}
