/* signs.c: numbers of what waits. See signs.h. */
#include "worker/signs.h"

#include "base/clock.h"
#include "keeper/client.h"
#include "store/sql.h"

#include <pthread.h>

typedef struct VitalSigns {
    int64_t publish_waiting, publish_lag_ms, audit_unsequenced, rating_batches, rating_lag_ms, manifests, data_planes,
        data_planes_behind;
} VitalSigns;
static const Field vital_signs_fields[] = {
    FIELD(VitalSigns, publish_waiting, .internal = true),
    FIELD(VitalSigns, publish_lag_ms, .internal = true),
    FIELD(VitalSigns, audit_unsequenced, .internal = true),
    FIELD(VitalSigns, rating_batches, .internal = true),
    FIELD(VitalSigns, rating_lag_ms, .internal = true),
    FIELD(VitalSigns, manifests, .internal = true),
    FIELD(VitalSigns, data_planes, .internal = true),
    FIELD(VitalSigns, data_planes_behind, .internal = true),
};
static const FieldTable VITAL_SIGNS_FIELDS = FIELD_TABLE(VitalSigns, vital_signs_fields);

struct Signs {
    Arena *arena;
    pthread_mutex_t lock; /* of all below */
    VitalSigns seen;
    bool database_up, keeper_up, looked;
    int64_t looked_us;
};

Signs *signs_new(void)
{
    Arena *arena = arena_new();
    Signs *signs = NEW(arena, Signs, 1);
    signs->arena = arena;
    pthread_mutex_init(&signs->lock, NULL);
    return signs;
}

void signs_free(Signs **signs)
{
    if (*signs == NULL)
        return;
    Arena *arena = (*signs)->arena;
    pthread_mutex_destroy(&(*signs)->lock);
    *signs = NULL;
    arena_free(&arena);
}

static Err ask_database(Pool *pool, Arena *arena, VitalSigns *ret_seen)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    TRY(db_lease(pool, &lease));
    return db_one(lease.db, arena, &SQL_VITAL_SIGNS, REC_NONE, REC(&VITAL_SIGNS_FIELDS, ret_seen));
}

void signs_look(Signs *signs, Pool *pool, struct KeeperClient *keeper)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    VitalSigns seen = { 0 };
    Hello hello;
    bool database_up = ask_database(pool, arena, &seen).kind == ERR_NONE;
    bool keeper_up = keeper != NULL && keeper_hello(keeper, arena, &hello).kind == ERR_NONE;
    pthread_mutex_lock(&signs->lock);
    signs->database_up = database_up;
    signs->keeper_up = keeper_up;
    if (database_up) {
        signs->seen = seen;
        signs->looked = true;
        signs->looked_us = monotonic_us();
    }
    pthread_mutex_unlock(&signs->lock);
}

static void metric(Buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static void write_seen(Buf *out, const VitalSigns *seen, int64_t age_us)
{
    metric(
        out, "reeved_signs_age_seconds", "gauge", "How old the numbers from the database are.", (double)age_us / 1e6);
    metric(out, "reeved_publish_waiting", "gauge", "Changes that wait to be published.", (double)seen->publish_waiting);
    metric(out, "reeved_publish_lag_seconds", "gauge", "How long the oldest of them has waited.",
        (double)seen->publish_lag_ms / 1e3);
    metric(out, "reeved_manifests_total", "counter", "Manifests issued, of all fleets.", (double)seen->manifests);
    metric(out, "reeved_data_planes", "gauge", "Data planes that are enrolled.", (double)seen->data_planes);
    metric(out, "reeved_data_planes_behind", "gauge", "Of them, those that do not run the newest manifest.",
        (double)seen->data_planes_behind);
    metric(out, "reeved_rating_batches_waiting", "gauge", "Batches of usage events that wait to be rated.",
        (double)seen->rating_batches);
    metric(out, "reeved_rating_lag_seconds", "gauge", "How long the oldest of them has waited.",
        (double)seen->rating_lag_ms / 1e3);
    metric(out, "reeved_audit_unsequenced", "gauge", "Leaves of audit logs without a position yet.",
        (double)seen->audit_unsequenced);
}

void signs_write(Buf *out, void *arg)
{
    Signs *signs = arg;
    pthread_mutex_lock(&signs->lock);
    VitalSigns seen = signs->seen;
    bool looked = signs->looked, database_up = signs->database_up, keeper_up = signs->keeper_up;
    int64_t age_us = monotonic_us() - signs->looked_us;
    pthread_mutex_unlock(&signs->lock);
    metric(out, "reeved_database_up", "gauge", "Whether the database answered when it was asked last.", database_up);
    metric(out, "reeved_keeper_up", "gauge", "Whether the keeper answered when it was asked last.", keeper_up);
    if (looked)
        write_seen(out, &seen, age_us);
}
