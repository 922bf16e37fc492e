/*
 * dispatch.h: from an HTTP exchange to a handler and back.
 *
 * In the loop's thread: route (404, 405 with Allow), shape of the credential, limits. On a worker thread: one round
 * trip that authenticates, sets the tenant and (for declarative reads) reads; authorisation from the bindings against
 * policies/; then the route's steps. The answer goes back through loop_post, after COMMIT.
 */
#ifndef API_DISPATCH_H
#define API_DISPATCH_H

#include "api/route.h"
#include "api/work.h"

typedef struct Dispatch Dispatch;

typedef struct DispatchOptions {
    Pool *pools[DB_ROLE_COUNT];
    Work *work;
    const World *world;
    unsigned parked_max; /* waiting long polls */
} DispatchOptions;

CHECKED Err dispatch_new(const DispatchOptions *options, Dispatch **ret_dispatch);
void dispatch_free(Dispatch **dispatch); /* after the loops stopped and the work is drained */

/* ServerOptions' callbacks; their arg is a DispatchLoop. */
typedef struct DispatchLoop {
    Dispatch *dispatch;
    Loop *loop;
} DispatchLoop;
bool dispatch_admit(Exchange *exchange, void *loop, size_t *ret_body_max);
void dispatch_request(Exchange *exchange, void *loop);

/* From any thread: the calls that wait for key run again. */
void dispatch_wake(Dispatch *dispatch, Uuid key);
/* From any thread: every waiting call runs again as if its time had come (shutdown). */
void dispatch_wake_all(Dispatch *dispatch);

typedef struct DispatchStats {
    uint64_t requests, errors, waiting, retried;
    uint64_t by_class[6]; /* 1xx..5xx at 1..5 */
    uint64_t micros;      /* from exchange to answer, summed */
} DispatchStats;
DispatchStats dispatch_stats(const Dispatch *dispatch);

#endif
