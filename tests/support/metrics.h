/*
 * metrics.h: a page of metrics, judged by the rules of `promtool check metrics` (metrics_lint.py).
 */
#ifndef TESTS_SUPPORT_METRICS_H
#define TESTS_SUPPORT_METRICS_H

#include "support/check.h"

#include <unistd.h>

#include "base/arena.h"

static inline void assert_metrics_are_good(Arena *arena, Str page)
{
    char path[] = "/tmp/reeve-metrics-XXXXXX", said[4096];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, page.ptr, page.len), (ssize_t)page.len);
    close(fd);
    Str command = arena_fmt(arena, "/usr/bin/python3 %s/tests/support/metrics_lint.py < %s", REEVE_SOURCE_DIR, path);
    FILE *lint = popen(command.ptr, "r");
    assert_non_null(lint);
    size_t len = fread(said, 1, sizeof said, lint);
    int status = pclose(lint);
    unlink(path);
    if (status != 0)
        fail_msg("%.*s", (int)len, said);
}

#endif
