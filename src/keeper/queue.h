/*
 * queue.h: first in, first out, but for lanes: at most `cap` items of a lane are at work at once, and what waits for a
 * full lane lets the others pass. A lane is a KMS key. Not thread-safe: the server's lock guards it.
 */
#ifndef KEEPER_QUEUE_H
#define KEEPER_QUEUE_H

#include "config.h"

#define NO_LANE (-1)

typedef struct QueueItem {
    int lane;
    struct QueueItem *next;
} QueueItem;

typedef struct Queue {
    QueueItem *first;
    QueueItem *last;
    unsigned waiting;
    unsigned running;
    unsigned cap;
    unsigned running_in[KEEPER_KMS_MAX];
} Queue;

void queue_push(Queue *queue, QueueItem *item);
/* The first whose lane has room, now at work; NULL when there is none. */
QueueItem *queue_take(Queue *queue);
/* Its work is over. */
void queue_done(Queue *queue, const QueueItem *item);

#endif
