/*
 * server.h: one loop: an epoll set, a timer wheel, and the connections the kernel gave to its listening socket.
 *
 * Bytes are read into one buffer per loop and served straight from it; only what is incomplete is copied to its
 * connection. An answer is built in one buffer per loop and sent at once; only what the socket did not take is kept.
 * So an idle connection, and a stream that waits for its next token, holds little more than its Conn.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "world.h"

#define CONNECTIONS_MAX 20000

typedef struct Loop Loop;

/* A socket bound to the loopback port (0 = any) with SO_REUSEPORT, listening; -1 when that failed. */
int server_listen(int port);
int server_port(int listener);

/* Takes over the listener. */
Loop *loop_new(World *world, int listener);
/* Runs until the world is stopping and the calls in flight have ended or the drain time is over. */
void loop_run(Loop *loop);
/* From any thread: the loop looks at world->stopping. */
void loop_wake(Loop *loop);
void loop_free(Loop *loop);

#endif
