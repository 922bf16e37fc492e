/*
 * metrics.h: what each worker counts, and the Prometheus text of their sum.
 *
 * A worker is the only writer of its Metrics; the scrape reads them without a lock. No key, user or label of a caller
 * is ever a label here.
 */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include <stdatomic.h>

#include "base/buf.h"
#include "gateway/spool.h"
#include "record.h"

#define STATUS_CLASSES 6
#define HISTOGRAM_BUCKETS 16

typedef _Atomic uint64_t Counter;

typedef struct Histogram {
    Counter buckets[HISTOGRAM_BUCKETS + 1];
    Counter sum_us;
} Histogram;

typedef struct Metrics {
    Counter requests[DIALECT_COUNT][STATUS_CLASSES];
    Counter faults[FAULT_COUNT];
    Counter attempts[DIALECT_COUNT][ATTEMPT_OUTCOME_COUNT];
    Counter tokens[DIALECT_COUNT][METER_COUNT];
    Counter failovers, secret_failures;
    Histogram duration[DIALECT_COUNT], first_byte[DIALECT_COUNT];
    Counter calls_open, streams_open;
} Metrics;

typedef struct UploadStats {
    uint64_t batches, failures, stored, duplicates, quarantined, refused;
    int64_t last_us; /* when a batch was last acknowledged; 0: never */
} UploadStats;

/* One writer: a load and a store, no locked instruction. */
static inline void counter_add(Counter *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

void histogram_add(Histogram *histogram, int64_t us);

typedef struct MetricsView {
    Metrics *const *workers;
    size_t worker_count;
    SpoolStats spool;
    UploadStats upload;
    const ReeveStatus *status;
} MetricsView;

void metrics_write(Buf *out, const MetricsView *view);

#endif
