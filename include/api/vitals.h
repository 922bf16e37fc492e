/*
 * vitals.h: what /readyz and /metrics look at. Filled by main; the dispatcher's World points at it.
 */
#ifndef API_VITALS_H
#define API_VITALS_H

#include "api/dispatch.h"
#include "base/buf.h"

/* More lines for /metrics from other floors: appends Prometheus text. */
typedef struct MetricsSource {
    void (*write)(Buf *out, void *arg);
    void *arg;
} MetricsSource;

#define METRICS_SOURCES_MAX 16

typedef struct Vitals {
    Dispatch *dispatch;
    Work *work;
    Time started;
    MetricsSource sources[METRICS_SOURCES_MAX];
    _Atomic size_t source_count; /* a source is added while requests are served */
} Vitals;

#endif
