/*
 * child.h: a child process that does not outlive its test program, even when that is killed.
 */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* fork() whose child gets SIGKILL when the calling thread ends. */
static inline pid_t child_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

#endif
