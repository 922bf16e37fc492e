/*
 * loop.h: one I/O thread, one world: an epoll set of our own that holds libmicrohttpd's, libcurl's sockets, timers,
 * disconnect watches and an eventfd through which other threads hand back results.
 *
 * Everything that belongs to a Loop (its server, its client, their exchanges and transfers) is used from its thread
 * only. The two exceptions say so: loop_post and loop_stop.
 */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H

#include "base/clock.h"

typedef struct Loop Loop;
typedef struct Timer Timer;

CHECKED Err loop_new(Loop **ret_loop);
void loop_free(Loop **loop);
void loop_run(Loop *loop);  /* until loop_stop */
void loop_stop(Loop *loop); /* from any thread or signal handler */

/* Runs fn(arg) in the loop's thread; from any thread; cheap; order kept per posting thread. Never fails (dies on no
 * memory). */
void loop_post(Loop *loop, void (*fn)(void *arg), void *arg);

/* One-shot timer; fires in the loop's thread; timer_cancel frees it (NULL is fine), firing frees it too (the caller's
 * pointer is cleared before fn runs). */
void timer_start(Loop *loop, Timer **timer, int64_t delay_us, void (*fn)(void *arg), void *arg);
void timer_cancel(Timer **timer);

int64_t loop_now_us(const Loop *loop); /* monotonic time at the start of this turn */

/* Called once at the end of every turn before the loop sleeps (e.g. the gateway's spool flush). One hook. */
void loop_on_turn_end(Loop *loop, void (*fn)(void *arg), void *arg);
/*
 * A turn: wait, serve sockets and posts and timers, run the turn-end hook, then start the transfers that were queued in
 * this turn. So what the hook writes is on disk (in the kernel) before any request of the turn is dispatched.
 */

#endif
