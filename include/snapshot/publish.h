/*
 * publish.h: the publisher: turns changed rows into objects, shards and manifests, and wakes whoever waits for them.
 *
 * One replica publishes at a time (a lease with a fencing epoch, held in every writing transaction). A round:
 *   read   the queue, the changed projects (one consistent read each) and the fleets
 *   seal   provider keys not yet sealed for (fleet, generation), through the keeper, outside any transaction
 *   build  objects whose content changed, their shards, one manifest a fleet, signed by the keeper
 *   commit everything at once, if nothing moved; then notify `reeve_manifest`
 *
 *     TRY(publisher_open(&options, &publisher));
 *     publisher_start(publisher);                // a thread: wakes by notification, and every five seconds anyway
 *     publisher_stop(&publisher);
 */
#ifndef SNAPSHOT_PUBLISH_H
#define SNAPSHOT_PUBLISH_H

#include "keeper/client.h"
#include "store/db.h"

#define PUBLISH_COALESCE_US (20 * US_PER_MS)
#define PUBLISH_QUEUE_MAX 10000 /* rows of one round */
#define PUBLISH_POLL_MS 5000
#define PUBLISH_CHECKPOINT_S 60 /* a new audit checkpoint alone makes a manifest no more often than that */

typedef struct Publisher Publisher;

typedef struct PublisherOptions {
    PoolOptions pool; /* role "publish"; two connections, and one that listens */
    KeeperClient *keeper;
    int64_t checkpoint_s; /* 0: PUBLISH_CHECKPOINT_S */
    int64_t reissue_s;    /* a manifest is issued again so long before its hard expiry; 0: half of its life */
} PublisherOptions;

CHECKED Err publisher_open(const PublisherOptions *options, Publisher **ret_publisher);
void publisher_start(Publisher *publisher);
void publisher_stop(Publisher **publisher); /* ends the thread and the pool */
/* One round on the caller's thread; *ret_manifests: how many were issued. "lease-held": another replica publishes. */
CHECKED Err publisher_round(Publisher *publisher, int *ret_manifests);

typedef struct PublisherStats {
    int64_t rounds, manifests, objects, sealed, failures;
    int64_t last_round_us; /* duration */
} PublisherStats;
PublisherStats publisher_stats(const Publisher *publisher);

#endif
