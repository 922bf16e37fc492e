/*
 * loop_parts.h: what the server and the client need of a Loop beyond loop.h. Private to this floor.
 *
 * Watch     a file descriptor in the loop's epoll set
 * LoopPart  something that takes its share of every turn (a server, a client)
 * defer     work put off to the end of the turn, out of a library's callback
 */
#ifndef HTTP_LOOP_PARTS_H
#define HTTP_LOOP_PARTS_H

#include "http/loop.h"

#include <sys/epoll.h>

typedef struct Watch Watch;

Watch *watch_new(Loop *loop, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg);
void watch_change(Watch *watch, uint32_t events);
/* No callback comes after it, not even for an event that this turn has already fetched. Before closing the fd. */
void watch_free(Watch **watch);

typedef struct LoopPart {
    int64_t (*deadline_us)(void *arg); /* monotonic; INT64_MAX: none; 0: at once */
    void (*turn)(void *arg);           /* after sockets, posts and timers */
    void (*dispatch)(void *arg);       /* after the turn-end hook; may be NULL */
    void *arg;
} LoopPart;

void loop_part_add(Loop *loop, LoopPart part);
void loop_part_remove(Loop *loop, void *arg);

/* Runs fn(arg) in the loop's thread before this turn ends, outside any library's callback. From the loop's thread. */
void loop_defer(Loop *loop, void (*fn)(void *arg), void *arg);
/* Deferred calls with this arg are forgotten. */
void loop_forget(Loop *loop, void *arg);

#endif
