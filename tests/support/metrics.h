/*
 * metrics.h: a page of metrics, judged by the rules of `promtool check metrics` (metrics_lint.py, which says what is
 * wrong on its standard output).
 */
#ifndef TESTS_SUPPORT_METRICS_H
#define TESTS_SUPPORT_METRICS_H

#include "support/check.h"

#include <sys/wait.h>
#include <unistd.h>

#define CHECK_METRICS(page) check_metrics(REEVE_SOURCE_DIR "/tests/support/metrics_lint.py", (page))

static inline void check_metrics(const char *lint, Str page)
{
    char path[] = "/tmp/reeve-metrics-XXXXXX";
    int fd = mkstemp(path), status = -1;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, page.ptr, page.len), (ssize_t)page.len);
    lseek(fd, 0, SEEK_SET);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(fd, STDIN_FILENO) == STDIN_FILENO)
            execl("/usr/bin/python3", "python3", lint, (char *)NULL);
        _exit(127);
    }
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(path);
    assert_int_equal(status, 0);
}

#endif
