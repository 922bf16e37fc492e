/*
 * keeper.h: the keeper as its program sees it: one configuration file, and what to do with it.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "base/arena.h"

typedef enum KeeperTask {
    KEEPER_SERVE,
    KEEPER_INIT,         /* make the keeper's keys, once */
    KEEPER_CHECK_CONFIG, /* read the configuration and end */
    KEEPER_PRINT_CONFIG, /* the same, and print it with its defaults on stdout */
} KeeperTask;

/* Runs the task to its end; KEEPER_SERVE ends with SIGTERM or SIGINT. Errors' texts lie in the arena. */
CHECKED Err keeper_run(Arena *arena, Str config_path, KeeperTask task);

#endif
