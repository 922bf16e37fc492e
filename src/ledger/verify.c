/* verify.c: see verify.h. */
#include "ledger/verify.h"

#include "base/json.h"
#include "store/sql.h"

/* The statement's parameters and its one row. */
typedef struct Findings {
    Time from_time, to_time, complete_to;
    int64_t hours_wrong, days_wrong, lineless, residual, unreadable, unknown, quarantined;
    Str unrated, missing;
} Findings;
#define COLUMN(member) FIELD(Findings, member, .internal = true)
static const Field finding_fields[] = { COLUMN(from_time), COLUMN(to_time), COLUMN(complete_to), COLUMN(hours_wrong),
    COLUMN(days_wrong), COLUMN(lineless), COLUMN(residual), COLUMN(unreadable), COLUMN(unknown), COLUMN(quarantined),
    COLUMN(unrated), COLUMN(missing) };
static const FieldTable FINDING_FIELDS = FIELD_TABLE(Findings, finding_fields);

/* What is told, in this order. */
static const struct {
    Str name;
    size_t count, text; /* where it stands in Findings: one of the two */
    bool harmless;      /* worth telling, and no fault of the account */
    Str detail;
} CHECKS[] = {
    { STR_INIT("hourly-sums"), offsetof(Findings, hours_wrong), 0, false,
        STR_INIT("hourly sums that differ from their lines") },
    { STR_INIT("daily-sums"), offsetof(Findings, days_wrong), 0, false,
        STR_INIT("daily sums that differ from the hours") },
    { STR_INIT("lines"), offsetof(Findings, lineless), 0, false, STR_INIT("events with an attempt that has no line") },
    { STR_INIT("numbers"), 0, offsetof(Findings, missing), false,
        STR_INIT("events that a data plane numbered and has not delivered") },
    { STR_INIT("quarantine"), offsetof(Findings, quarantined), 0, false,
        STR_INIT("events kept aside: the day in their id was not open") },
    { STR_INIT("prices"), 0, offsetof(Findings, unrated), false, STR_INIT("units that no price was found for") },
    { STR_INIT("residuals"), offsetof(Findings, residual), 0, false,
        STR_INIT("lines whose meters are not the provider's total") },
    { STR_INIT("usage"), offsetof(Findings, unreadable), 0, false,
        STR_INIT("lines whose usage could not be read, or is beyond any amount") },
    { STR_INIT("unknown"), offsetof(Findings, unknown), 0, true,
        STR_INIT("attempts cut off before the provider told their usage; it may bill them") },
};

static UsageCheck check_of(Arena *arena, const Findings *findings, size_t i)
{
    const char *base = (const void *)findings;
    Str found = CHECKS[i].text != 0
                    ? *(const Str *)(const void *)(base + CHECKS[i].text)
                    : arena_fmt(arena, "%lld", (long long)*(const int64_t *)(const void *)(base + CHECKS[i].count));
    return (UsageCheck){ .check = CHECKS[i].name,
        .found = found,
        .wrong = !CHECKS[i].harmless && !str_eq(found, STR("0")),
        .detail = CHECKS[i].detail };
}

static Err span_settle(Arena *arena, Time from, Time to, Time now, Findings *findings)
{
    int64_t end = (time_is_none(to) ? now.us : to.us) + US_PER_HOUR - 1;
    int64_t start = time_is_none(from) ? now.us - US_PER_DAY : from.us;
    findings->from_time.us = start / US_PER_HOUR * US_PER_HOUR;
    findings->to_time.us = end / US_PER_HOUR * US_PER_HOUR;
    int64_t span = findings->to_time.us - findings->from_time.us;
    if (span > 0 && span <= VERIFY_SPAN_MAX_US)
        return OK;
    Err err = FAIL(ERR_INVALID, "invalid-parameters", "The request has query parameters that cannot be accepted.");
    FieldErr *field = NEW(arena, FieldErr, 1);
    *field = (FieldErr){ .pointer = STR("/from"),
        .detail = span <= 0 ? STR("must be before to") : STR("must be at most 31 days before to") };
    err.fields = (FieldErrs){ .items = field, .count = 1 };
    return err;
}

Err usage_verify(Db *db, Arena *arena, Time from, Time to, Time now, UsageVerdict *ret_verdict)
{
    Findings findings = { 0 };
    TRY(span_settle(arena, from, to, now, &findings));
    TRY(db_one(db, arena, &SQL_USAGE_VERIFY, REC(&FINDING_FIELDS, &findings), REC(&FINDING_FIELDS, &findings)));
    UsageCheck *checks = NEW(arena, UsageCheck, COUNT_OF(CHECKS));
    UsageVerdict verdict = { .from = findings.from_time,
        .to = findings.to_time,
        .complete_to = findings.complete_to,
        .healthy = true,
        .checks = { .items = checks, .count = COUNT_OF(CHECKS) } };
    for (size_t i = 0; i < COUNT_OF(CHECKS); i++) {
        checks[i] = check_of(arena, &findings, i);
        verdict.healthy = verdict.healthy && !checks[i].wrong;
    }
    *ret_verdict = verdict;
    return OK;
}

json_t *usage_verdict_json(Arena *arena, const UsageVerdict *verdict)
{
    json_t *body = json_object(), *list = json_array();
    const UsageCheck *checks = verdict->checks.items;
    for (size_t i = 0; i < verdict->checks.count; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "check", json_from_str(checks[i].check));
        json_object_set_new(item, "found", json_from_str(checks[i].found));
        json_object_set_new(item, "wrong", json_boolean(checks[i].wrong));
        json_object_set_new(item, "detail", json_from_str(checks[i].detail));
        json_array_append_new(list, item);
    }
    json_object_set_new(body, "healthy", json_boolean(verdict->healthy));
    json_object_set_new(body, "checks", list);
    json_object_set_new(body, "from", json_from_str(time_format(arena, verdict->from)));
    json_object_set_new(body, "to", json_from_str(time_format(arena, verdict->to)));
    json_object_set_new(body, "complete_to", json_from_str(time_format(arena, verdict->complete_to)));
    return body;
}
