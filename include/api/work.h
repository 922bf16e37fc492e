/*
 * work.h: a bounded queue of jobs and the threads that run them. Database calls block; loops never do.
 */
#ifndef API_WORK_H
#define API_WORK_H

#include "base/arena.h"

typedef struct Work Work;

Work *work_new(unsigned threads, unsigned waiting_max);
/* False when the queue is full: the caller answers 503 at once. From any thread. */
bool work_submit(Work *work, void (*fn)(void *arg), void *arg);
unsigned work_waiting(const Work *work);
void work_free(Work **work); /* runs what waits, then joins */

#endif
