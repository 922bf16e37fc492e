/*
 * ingest.h: usage events of a data plane, taken in exactly once.
 *
 * A batch is a JSON array of CloudEvents 1.0. Every item gets a verdict, in order, and the verdicts are true when the
 * call returns: what is `stored` is committed. Sending a batch again, in pieces, or from two threads changes nothing.
 *
 *   stored        new, committed, will be rated
 *   duplicate     the same event is there already
 *   conflict      another event has this id; nothing changed
 *   quarantined   the id's day is not open, or lies in the future; kept aside, committed
 *   refused       malformed, or not this data plane's to report; `code` and `detail` say why
 *
 *     IngestSource source = { .data_plane = id, .may_serve = ingest_served };
 *     TRY(ingest_batch(db, arena, &source, body, time_now(), &verdicts));      // db of role ingest, no transaction
 * open
 *
 * Invariant: the organization of an event is checked against what the data plane's fleet serves twice, here and by
 * row-level security; the source is stamped from the credential, never read from the body.
 */
#ifndef LEDGER_INGEST_H
#define LEDGER_INGEST_H

#include "store/db.h"

#define INGEST_EVENTS_MAX 1000
#define INGEST_BYTES_MAX (4 * 1024 * 1024)
#define INGEST_ATTEMPTS_MAX 32 /* an event */
#define INGEST_UNITS_MAX 66    /* an attempt */
#define INGEST_LABELS_MAX 16
#define INGEST_AHEAD_US (5 * 60 * US_PER_S)

/* A project that items of a batch are about. */
typedef struct IngestProject {
    Uuid org, project;
    bool served;
} IngestProject;

typedef struct IngestSource {
    Uuid data_plane;
    /* Sets `served` of each; asked once a batch. */
    Err (*may_serve)(void *arg, Db *db, Arena *arena, IngestProject *projects, size_t count);
    void *arg;
} IngestSource;

/* What the fleet of the data plane that began this transaction may serve. */
CHECKED Err ingest_served(void *arg, Db *db, Arena *arena, IngestProject *projects, size_t count);

typedef enum IngestVerdictKind {
    VERDICT_STORED,
    VERDICT_DUPLICATE,
    VERDICT_CONFLICT,
    VERDICT_QUARANTINED,
    VERDICT_REFUSED,
} IngestVerdictKind;

typedef struct IngestVerdict {
    Str id;      /* as the item spells it; empty when it has none that can be read */
    Str verdict; /* "stored", ... */
    Str code;    /* with quarantined, conflict and refused */
    Str detail;
    IngestVerdictKind kind;
} IngestVerdict;

extern const FieldTable INGEST_VERDICT_FIELDS;

/* `ret_verdicts` holds IngestVerdict. An Err means that nothing of the batch is acknowledged: a body that is not a
 * batch at all (ERR_INVALID, ERR_TOO_LARGE), or a database that is not there. */
CHECKED Err ingest_batch(Db *db, Arena *arena, const IngestSource *source, Str body, Time now, List *ret_verdicts);

/* {"verdicts":[{"id","verdict","code"?,"detail"?}]} */
Str ingest_reply(Arena *arena, List verdicts);

#endif
