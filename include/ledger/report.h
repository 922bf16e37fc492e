/*
 * report.h: the usage report: exact sums of an organization's charge lines, by any of its dimensions.
 *
 * Hours are the finest: `from` and `to` are widened to whole hours and told as they were used. `complete_to` says up to
 * when everything that arrived has been rated; after it the numbers can still grow.
 */
#ifndef LEDGER_REPORT_H
#define LEDGER_REPORT_H

#include "store/db.h"

typedef struct UsageQuery {
    Time from, to;
    Str group_by; /* comma-separated: organization project workflow client_key connection provider model
                     attempt_outcome meter hour day */
    Uuid project, workflow, client_key, connection;
    Str project_name, workflow_name; /* instead of their ids; a workflow's in any project */
    Str provider, model, attempt_outcome, meter;
    int64_t skip, limit;
} UsageQuery;

typedef struct UsageRow {
    int64_t groups; /* how many there are in all */
    Uuid organization, project, workflow, client_key, connection;
    Str provider, model, attempt_outcome, meter;
    Time time;                                   /* of the hour or day */
    MoneySum quantity, amount, unrated_quantity; /* quantities are plain counts, 128 bits wide */
    int64_t attempts, events;
} UsageRow;

typedef struct UsageReport {
    Time from, to;       /* as used */
    uint32_t dimensions; /* bits of UsageDimension, asked for */
    List rows;           /* UsageRow */
    UsageRow totals;
    int64_t groups;
    Time complete_to;
} UsageReport;

typedef enum UsageDimension {
    USAGE_BY_ORGANIZATION,
    USAGE_BY_PROJECT,
    USAGE_BY_WORKFLOW,
    USAGE_BY_CLIENT_KEY,
    USAGE_BY_CONNECTION,
    USAGE_BY_PROVIDER,
    USAGE_BY_MODEL,
    USAGE_BY_ATTEMPT_OUTCOME,
    USAGE_BY_METER,
    USAGE_BY_HOUR,
    USAGE_BY_DAY,
    USAGE_DIMENSION_COUNT,
} UsageDimension;

/* In a transaction (or implicit one) whose tenant is set. ERR_INVALID "invalid-parameters" names what is wrong. */
CHECKED Err usage_report(Db *db, Arena *arena, const UsageQuery *query, Time now, UsageReport *ret_report);

json_t *usage_row_json(Arena *arena, const UsageRow *row, uint32_t dimensions); /* a new reference */
/* ERR_INVALID "report-too-long" when not every row would be in it: a bill that ends early is no bill. */
CHECKED Err usage_csv(Arena *arena, const UsageReport *report, Str *ret_text);

#endif
