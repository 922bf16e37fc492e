/*
 * snapshot.h: the thread that wakes waiting data planes: it listens to `reeve_manifest` and wakes the long polls of the
 * fleets whose newest number rose.
 *
 *     TRY(manifest_watch_start(&options, pool, dispatch, &watch));
 */
#ifndef API_SNAPSHOT_H
#define API_SNAPSHOT_H

#include "api/dispatch.h"

typedef struct ManifestWatch ManifestWatch;

/* options: of the api role, for the connection that listens; pool: of the same role. */
CHECKED Err manifest_watch_start(const PoolOptions *options, Pool *pool, Dispatch *dispatch, ManifestWatch **ret_watch);
void manifest_watch_stop(ManifestWatch **watch);

#endif
