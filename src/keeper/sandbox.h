/*
 * sandbox.h: what the keeper gives up once everything is open: files, programs, privileges, and all system calls but
 * those it serves with.
 *
 * seccomp allows a list and kills the process otherwise; Landlock closes the file system where the kernel has it.
 * Programs built with a sanitizer need system calls of their own: for them only the privileges go.
 */
#ifndef KEEPER_SANDBOX_H
#define KEEPER_SANDBOX_H

#include "base/err.h"

/* Before any thread is started and after every file is open. */
CHECKED Err sandbox_enter(void);

#endif
