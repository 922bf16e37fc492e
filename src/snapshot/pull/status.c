/*
 * status.c: what is known about the puller: freshness, age, the last error; and what it tells the control plane, in the
 * reporting thread, so that a slow or dead endpoint delays nothing.
 */
#include "parts.h"

#include "base/json.h"

#include <string.h>

static const char *const report_states[REPORT_STATES] = { "verified", "active", "refused" };

static void copy_text(char *out, size_t size, Str text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    if (len > 0)
        memcpy(out, text.ptr, len);
    out[len] = 0;
}

/* --- time --- */

static int64_t wall_us(const Puller *puller)
{
    return puller->options.clock != NULL ? puller->options.clock(puller->options.arg) : time_now().us;
}

Time puller_now(Puller *puller)
{
    int64_t wall = wall_us(puller), vouched = monotonic_us() + atomic_load(&puller->signed_offset_us);
    return (Time){ .us = wall > vouched ? wall : vouched };
}

/* Signed time only moves us forward: a clock set back makes nothing young again. */
void pull_note_signed(Puller *puller, Time signed_time)
{
    int64_t offset = signed_time.us - monotonic_us();
    if (offset > atomic_load(&puller->signed_offset_us))
        atomic_store(&puller->signed_offset_us, offset);
    if (puller->trust.mark.seq > 0 && time_before(puller->trust.mark.signed_time, signed_time))
        puller->trust.mark.signed_time = signed_time;
    pthread_mutex_lock(&puller->mutex);
    if (signed_time.us > puller->signed_us)
        puller->signed_us = signed_time.us;
    pthread_mutex_unlock(&puller->mutex);
}

/* --- status --- */

void pull_note_active(Puller *puller, const DocumentSet *set)
{
    pthread_mutex_lock(&puller->mutex);
    puller->status.seq = set->manifest.seq;
    puller->status.generation = set->manifest.generation;
    puller->status.activations++;
    puller->max_stale_s = set->manifest.max_stale_s;
    puller->hard_expiry = set->manifest.hard_expiry;
    pthread_mutex_unlock(&puller->mutex);
}

void pull_note_turn(Puller *puller, Err err)
{
    pthread_mutex_lock(&puller->mutex);
    copy_text(puller->status.code, sizeof puller->status.code, err.kind == ERR_NONE ? STR("") : err.code);
    copy_text(puller->status.detail, sizeof puller->status.detail, err.kind == ERR_NONE ? STR("") : err.detail);
    pthread_mutex_unlock(&puller->mutex);
}

void puller_status(Puller *puller, PullStatus *ret_status)
{
    Time now = puller_now(puller);
    pthread_mutex_lock(&puller->mutex);
    PullStatus status = puller->status;
    status.revoked = atomic_load(&puller->revoked);
    status.age_us = status.seq > 0 && now.us > puller->signed_us ? now.us - puller->signed_us : 0;
    if (status.seq == 0)
        status.freshness = PULL_EMPTY;
    else if (!time_before(now, puller->hard_expiry))
        status.freshness = PULL_EXPIRED;
    else
        status.freshness = status.age_us > puller->max_stale_s * US_PER_S ? PULL_STALE : PULL_FRESH;
    pthread_mutex_unlock(&puller->mutex);
    *ret_status = status;
}

Err puller_access_token(Puller *puller, Arena *arena, Str *ret_token)
{
    pthread_mutex_lock(&puller->mutex);
    bool usable = puller->token[0] != 0 && monotonic_us() < puller->token_ends_us;
    Str token = usable ? arena_str(arena, str_from_c(puller->token)) : STR("");
    pthread_mutex_unlock(&puller->mutex);
    if (!usable)
        return FAIL(ERR_UNAVAILABLE, "token-absent", "There is no access token at the moment.");
    *ret_token = token;
    return OK;
}

Str puller_url(Puller *puller, Arena *arena)
{
    return arena_str(arena, puller->identity.url);
}

Uuid puller_data_plane(Puller *puller)
{
    return puller->identity.data_plane;
}

bool puller_is_revoked(Puller *puller)
{
    return atomic_load_explicit(&puller->revoked, memory_order_relaxed);
}

/* --- reports --- */

void pull_queue_report(Puller *puller, ReportState state, int64_t seq, int64_t generation, Err err)
{
    Report report = { .pending = true, .seq = seq, .generation = generation, .at = puller_now(puller) };
    copy_text(report.code, sizeof report.code, err.code);
    copy_text(report.detail, sizeof report.detail, err.detail);
    if (err.fields.count > 0)
        copy_text(report.pointer, sizeof report.pointer, err.fields.items[0].pointer);
    pthread_mutex_lock(&puller->mutex);
    Report *last = &puller->reports[state];
    /* One storm, one report: the same refusal again is not news. */
    bool repeats = state == REPORT_REFUSED && last->seq == seq && strcmp(last->code, report.code) == 0;
    if (!repeats)
        *last = report;
    puller->status.refusals += state == REPORT_REFUSED ? 1 : 0;
    pthread_cond_broadcast(&puller->changed);
    pthread_mutex_unlock(&puller->mutex);
}

static bool window_is_open(Puller *puller)
{
    int64_t now = monotonic_us();
    if (puller->report_window_us == 0 || now - puller->report_window_us > 60 * US_PER_S) {
        puller->report_window_us = now;
        puller->reports_in_window = 0;
    }
    return puller->reports_in_window < PULL_REPORTS_PER_MINUTE_MAX;
}

/* Refusals first; "verified" is left out when "active" of the same number waits already. */
static bool take_report(Puller *puller, Report *ret_report, ReportState *ret_state)
{
    static const ReportState order[] = { REPORT_REFUSED, REPORT_ACTIVE, REPORT_VERIFIED };
    bool found = false;
    pthread_mutex_lock(&puller->mutex);
    Report *verified = &puller->reports[REPORT_VERIFIED], *active = &puller->reports[REPORT_ACTIVE];
    if (active->pending && verified->seq <= active->seq)
        verified->pending = false;
    for (size_t i = 0; window_is_open(puller) && !found && i < COUNT_OF(order); i++) {
        Report *report = &puller->reports[order[i]];
        if (!report->pending)
            continue;
        found = true;
        report->pending = false;
        puller->reports_in_window++;
        puller->status.reports++;
        *ret_report = *report;
        *ret_state = order[i];
    }
    pthread_mutex_unlock(&puller->mutex);
    return found;
}

static Str report_body(Arena *arena, const Report *report, ReportState state)
{
    _cleanup_(json_release) json_t *body = json_object();
    json_object_set_new(body, "seq", json_integer(report->seq));
    json_object_set_new(body, "state", json_string(report_states[state]));
    json_object_set_new(body, "code", report->code[0] == 0 ? json_null() : json_string(report->code));
    json_object_set_new(body, "detail", report->detail[0] == 0 ? json_null() : json_string(report->detail));
    json_object_set_new(body, "pointer", report->pointer[0] == 0 ? json_null() : json_string(report->pointer));
    json_object_set_new(body, "generation", json_integer(report->generation));
    json_object_set_new(body, "at", json_from_str(time_format(arena, report->at)));
    return json_write(arena, body);
}

Err pull_make_durable(Puller *puller)
{
    return atomic_exchange(&puller->dirty, false) ? state_sync(puller->state) : OK;
}

Err puller_report(Puller *puller)
{
    TRY(pull_make_durable(puller));
    Report report;
    ReportState state;
    if (!take_report(puller, &report, &state))
        return OK;
    _cleanup_(arena_free) Arena *arena = arena_new();
    PullReply reply = { 0 };
    PullCall call = {
        .method = "POST",
        .path = STR("/v1/snapshot/ack"),
        .bearer = pull_bearer(puller, arena),
        .body = report_body(arena, &report, state),
        .body_max = 64 * 1024,
        .timeout_us = PULL_CALL_TIMEOUT_US,
    };
    Err err = pull_call(puller, arena, &call, &reply);
    err.code = STR("report-failed"); /* what it points to ends with this arena */
    err.detail = STR("The control plane did not take the report.");
    err.fields = (FieldErrs){ 0 };
    return err;
}
