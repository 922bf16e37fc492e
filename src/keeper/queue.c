/*
 * queue.c: a list with lanes.
 */
#include "queue.h"

void queue_push(Queue *queue, QueueItem *item)
{
    item->next = NULL;
    if (queue->first == NULL)
        queue->first = item;
    else
        queue->last->next = item;
    queue->last = item;
    queue->waiting++;
}

static bool has_room(const Queue *queue, const QueueItem *item)
{
    return item->lane == NO_LANE || queue->running_in[item->lane] < queue->cap;
}

static void unlink_item(Queue *queue, QueueItem *before, QueueItem *item)
{
    if (before == NULL)
        queue->first = item->next;
    else
        before->next = item->next;
    if (queue->last == item)
        queue->last = before;
}

QueueItem *queue_take(Queue *queue)
{
    QueueItem *before = NULL, *item = queue->first;
    while (item != NULL && !has_room(queue, item)) {
        before = item;
        item = item->next;
    }
    if (item == NULL)
        return NULL;
    unlink_item(queue, before, item);
    queue->waiting--;
    queue->running++;
    if (item->lane != NO_LANE)
        queue->running_in[item->lane]++;
    return item;
}

void queue_done(Queue *queue, const QueueItem *item)
{
    queue->running--;
    if (item->lane != NO_LANE)
        queue->running_in[item->lane]--;
}
