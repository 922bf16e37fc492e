/* metrics.c: see metrics.h. Each family: HELP, TYPE, samples. */
#include "metrics.h"

static const int64_t bounds_us[HISTOGRAM_BUCKETS] = { 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000 };

void histogram_add(Histogram *histogram, int64_t us)
{
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && us > bounds_us[bucket])
        bucket++;
    counter_add(&histogram->buckets[bucket], 1);
    counter_add(&histogram->sum_us, us > 0 ? (uint64_t)us : 0);
}

static uint64_t load(const Counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The sum over workers of the counter at this offset of Metrics. */
static uint64_t sum_at(const MetricsView *view, size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < view->worker_count; i++)
        sum += load((const Counter *)(const void *)((const char *)view->workers[i] + offset));
    return sum;
}

#define SUM(view, member) sum_at((view), offsetof(Metrics, member))

static void family(Buf *out, const char *name, const char *type, const char *help)
{
    buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(Buf *out, const char *name, const char *type, const char *help, int64_t value)
{
    family(out, name, type, help);
    buf_fmt(out, "%s %lld\n", name, (long long)value);
}

static Str dialect_name(int dialect)
{
    return dialect_row((Dialect)dialect)->name;
}

static void write_requests(Buf *out, const MetricsView *view)
{
    family(out, "reeve_gateway_requests_total", "counter", "Answered calls by dialect and class of status.");
    for (int d = 0; d < DIALECT_COUNT; d++)
        for (int class = 1; class < STATUS_CLASSES; class ++)
            buf_fmt(out, "reeve_gateway_requests_total{dialect=\"" STR_FMT "\",status=\"%dxx\"} %llu\n",
                STR_ARG(dialect_name(d)), class, (unsigned long long)SUM(view, requests[d][class]));
    family(out, "reeve_gateway_faults_total", "counter", "Errors made by the gateway itself, by kind.");
    for (int fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++)
        buf_fmt(out, "reeve_gateway_faults_total{fault=\"%s\"} %llu\n", fault_name((Fault)fault),
            (unsigned long long)SUM(view, faults[fault]));
    family(out, "reeve_gateway_attempts_total", "counter", "Tries at providers by dialect and outcome.");
    for (int d = 0; d < DIALECT_COUNT; d++)
        for (int outcome = ATTEMPT_INDETERMINATE + 1; outcome < ATTEMPT_OUTCOME_COUNT; outcome++)
            buf_fmt(out, "reeve_gateway_attempts_total{dialect=\"" STR_FMT "\",outcome=\"%s\"} %llu\n",
                STR_ARG(dialect_name(d)), attempt_outcome_name((AttemptOutcome)outcome),
                (unsigned long long)SUM(view, attempts[d][outcome]));
    family(out, "reeve_gateway_tokens_total", "counter", "Quantities by dialect and meter, as read by the gateway.");
    for (int d = 0; d < DIALECT_COUNT; d++)
        for (int meter = 1; meter < METER_COUNT; meter++)
            if (SUM(view, tokens[d][meter]) > 0)
                buf_fmt(out, "reeve_gateway_tokens_total{dialect=\"" STR_FMT "\",meter=\"" STR_FMT "\"} %llu\n",
                    STR_ARG(dialect_name(d)), STR_ARG(meter_name((Meter)meter)),
                    (unsigned long long)SUM(view, tokens[d][meter]));
}

static void write_histogram(Buf *out, const MetricsView *view, const char *name, const char *help, size_t offset)
{
    family(out, name, "histogram", help);
    for (int d = 0; d < DIALECT_COUNT; d++) {
        size_t at = offset + (size_t)d * sizeof(Histogram);
        uint64_t count = 0;
        for (size_t bucket = 0; bucket <= HISTOGRAM_BUCKETS; bucket++) {
            count += sum_at(view, at + offsetof(Histogram, buckets) + bucket * sizeof(Counter));
            buf_fmt(out, "%s_bucket{dialect=\"" STR_FMT "\",le=\"", name, STR_ARG(dialect_name(d)));
            if (bucket < HISTOGRAM_BUCKETS)
                buf_fmt(out, "%g", (double)bounds_us[bucket] / 1e6);
            else
                buf_add(out, STR("+Inf"));
            buf_fmt(out, "\"} %llu\n", (unsigned long long)count);
        }
        buf_fmt(out, "%s_sum{dialect=\"" STR_FMT "\"} %.6f\n", name, STR_ARG(dialect_name(d)),
            (double)sum_at(view, at + offsetof(Histogram, sum_us)) / 1e6);
        buf_fmt(
            out, "%s_count{dialect=\"" STR_FMT "\"} %llu\n", name, STR_ARG(dialect_name(d)), (unsigned long long)count);
    }
}

static void write_spool(Buf *out, const MetricsView *view)
{
    const SpoolStats *spool = &view->spool;
    single(out, "reeve_gateway_spool_events", "gauge", "Events on disk that the control plane has not acknowledged.",
        (int64_t)(spool->events_written - spool->events_acknowledged));
    single(out, "reeve_gateway_spool_bytes", "gauge", "Size of the spool.", (int64_t)spool->bytes);
    single(out, "reeve_gateway_spool_open_intents", "gauge", "Calls dispatched that have no outcome yet.",
        (int64_t)spool->open_intents);
    single(out, "reeve_gateway_spool_refusing", "gauge", "1 while the spool takes no intents (disk full or failing).",
        spool->trouble != NULL);
    single(out, "reeve_gateway_spool_recovered_total", "counter", "Calls found unfinished at start.",
        (int64_t)spool->events_recovered);
    single(out, "reeve_gateway_spool_set_aside_total", "counter", "Events that the control plane refused for ever.",
        (int64_t)spool->events_set_aside);
}

static void write_upload(Buf *out, const MetricsView *view)
{
    const UploadStats *upload = &view->upload;
    single(out, "reeve_gateway_upload_batches_total", "counter", "Batches of events that were acknowledged.",
        (int64_t)upload->batches);
    single(out, "reeve_gateway_upload_failures_total", "counter", "Batches that could not be delivered at once.",
        (int64_t)upload->failures);
    family(out, "reeve_gateway_upload_events_total", "counter", "Events by the control plane's verdict.");
    const struct {
        const char *verdict;
        uint64_t count;
    } verdicts[] = { { "stored", upload->stored }, { "duplicate", upload->duplicates },
        { "quarantined", upload->quarantined }, { "refused", upload->refused } };
    for (size_t i = 0; i < COUNT_OF(verdicts); i++)
        buf_fmt(out, "reeve_gateway_upload_events_total{verdict=\"%s\"} %llu\n", verdicts[i].verdict,
            (unsigned long long)verdicts[i].count);
}

static void write_snapshot(Buf *out, const MetricsView *view)
{
    const ReeveStatus *status = view->status;
    single(out, "reeve_gateway_snapshot_seq", "gauge", "Sequence number of the active snapshot; 0 without one.",
        status->seq);
    family(out, "reeve_gateway_snapshot_age_seconds", "gauge", "Time since the control plane confirmed the snapshot.");
    buf_fmt(out, "reeve_gateway_snapshot_age_seconds %.3f\n", (double)status->age_us / 1e6);
    single(out, "reeve_gateway_snapshot_activations_total", "counter", "Snapshots activated since start.",
        status->activations);
    single(out, "reeve_gateway_snapshot_refusals_total", "counter", "Snapshots refused since start.", status->refusals);
}

void metrics_write(Buf *out, const MetricsView *view)
{
    write_requests(out, view);
    single(out, "reeve_gateway_failovers_total", "counter", "Tries that followed a failed one.",
        (int64_t)SUM(view, failovers));
    single(out, "reeve_gateway_secret_failures_total", "counter", "Provider keys that could not be opened.",
        (int64_t)SUM(view, secret_failures));
    single(out, "reeve_gateway_open_calls", "gauge", "Calls being served.", (int64_t)SUM(view, calls_open));
    single(out, "reeve_gateway_open_streams", "gauge", "Streams being served.", (int64_t)SUM(view, streams_open));
    write_histogram(out, view, "reeve_gateway_request_duration_seconds", "From the request to its last byte.",
        offsetof(Metrics, duration));
    write_histogram(out, view, "reeve_gateway_first_byte_seconds", "From the request to the first byte of its answer.",
        offsetof(Metrics, first_byte));
    write_spool(out, view);
    write_upload(out, view);
    write_snapshot(out, view);
}
