/*
 * certificate.h: a self-signed certificate of localhost for a test: /tmp/reeve-test-PID-NAME.pem and .key.
 */
#ifndef TESTS_UNIT_HTTP_CERTIFICATE_H
#define TESTS_UNIT_HTTP_CERTIFICATE_H

#include "fixture.h"

#include <spawn.h>
#include <sys/wait.h>

#include "base/config.h"

extern char **environ;

static inline void make_certificate(const char *name)
{
    char key[64], cert[64];
    snprintf(key, sizeof(key), "/tmp/reeve-test-%d-%s.key", getpid(), name);
    snprintf(cert, sizeof(cert), "/tmp/reeve-test-%d-%s.pem", getpid(), name);
    char *argv[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1", NULL };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    pid_t pid;
    int status;
    assert_int_equal(posix_spawnp(&pid, "openssl", &actions, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    posix_spawn_file_actions_destroy(&actions);
}

static inline Str path_of(Arena *arena, const char *name, const char *suffix)
{
    return arena_fmt(arena, "/tmp/reeve-test-%d-%s.%s", getpid(), name, suffix);
}

static inline Str pem_of(Arena *arena, const char *name)
{
    Str pem;
    assert_int_equal(file_read(arena, path_of(arena, name, "pem"), 65536, &pem).kind, ERR_NONE);
    return pem;
}

static inline void remove_certificate(Arena *arena, const char *name)
{
    unlink(path_of(arena, name, "pem").ptr);
    unlink(path_of(arena, name, "key").ptr);
}

#endif
