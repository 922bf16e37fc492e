/*
 * snapshot.c: what data planes pull: the manifest by long poll, objects by digest, the root, their keyring; and what
 * they say of it. The fleet is the credential's; nothing in a path or query can name another.
 */
#include "api/snapshot.h"

#include "call.h"

#include "base/config.h"
#include "base/log.h"
#include "domain/fleet.h"
#include "keeper/client.h"
#include "snapshot/object.h"
#include "snapshot/root.h"
#include "snapshot/shard.h"
#include "store/sql.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define POLL_WAIT_S_MAX 55
#define HEARTBEAT_TTL_S 120
#define HEARTBEAT_CACHE_US US_PER_S
#define HEARTBEAT_FLEETS_MAX 256 /* remembered at once; more are signed each time */
#define WATCH_POLL_MS 5000
#define ACK_BYTES_MAX 8192

typedef struct SnapshotRow {
    Uuid fleet, data_plane;
    int64_t seq, generation;
    Str jws, kms_uri, cert, request, state, code, detail, pointer, nothing;
    Bytes digest, body, wrapped;
    int64_t version;
    Time at;
} SnapshotRow;

static const Field snapshot_row_fields[] = {
    FIELD(SnapshotRow, fleet, .internal = true),
    FIELD(SnapshotRow, data_plane, .internal = true),
    FIELD(SnapshotRow, seq, .internal = true),
    FIELD(SnapshotRow, generation, .internal = true),
    FIELD(SnapshotRow, jws, .internal = true),
    FIELD(SnapshotRow, kms_uri, .internal = true),
    FIELD(SnapshotRow, cert, .internal = true),
    FIELD(SnapshotRow, request, .internal = true),
    FIELD(SnapshotRow, state, .internal = true),
    FIELD(SnapshotRow, code, .internal = true),
    FIELD(SnapshotRow, detail, .internal = true),
    FIELD(SnapshotRow, pointer, .internal = true),
    FIELD(SnapshotRow, nothing, .internal = true),
    FIELD(SnapshotRow, digest, .internal = true),
    FIELD(SnapshotRow, body, .internal = true),
    FIELD(SnapshotRow, wrapped, .internal = true),
};
static const FieldTable ROW_FIELDS = FIELD_TABLE(SnapshotRow, snapshot_row_fields);

static const Field root_query_fields[] = {
    FIELD(SnapshotRow, version, .min = 0, .max = WIRE_INT_MAX, .doc = "Which root; without it the newest."),
};
static const FieldTable ROOT_QUERY_FIELDS = FIELD_TABLE(SnapshotRow, root_query_fields);

static const char *const ack_states[] = { "verified", "active", "refused", NULL };
static const Field ack_fields[] = {
    FIELD(SnapshotRow, seq, .required = true, .min = 0, .max = WIRE_INT_MAX),
    FIELD(SnapshotRow, state, .required = true, .one_of = ack_states),
    FIELD(SnapshotRow, code, .max = 64, .doc = "Why it was refused."),
    FIELD(SnapshotRow, detail, .max = 512),
    FIELD(SnapshotRow, pointer, .max = 256, .doc = "Where in the document."),
    FIELD(SnapshotRow, generation, .min = 0, .max = WIRE_INT_MAX),
    FIELD(SnapshotRow, at, .required = false),
};
static const FieldTable ACK_FIELDS = FIELD_TABLE(SnapshotRow, ack_fields);

static Err no_such(const char *code, const char *detail)
{
    return (Err){ .kind = ERR_NOT_FOUND, .code = str_from_c(code), .detail = str_from_c(detail) };
}

/* --- heartbeats: one signature a second and fleet serves everybody who waits --- */

typedef struct CachedHeartbeat {
    Uuid fleet;
    int64_t seq;
    Time now;
    Str jws;
    char text[HEARTBEAT_BYTES_MAX];
} CachedHeartbeat;

static struct {
    pthread_mutex_t lock;
    CachedHeartbeat *slots[HEARTBEAT_FLEETS_MAX];
} heartbeats = { .lock = PTHREAD_MUTEX_INITIALIZER };

static unsigned heartbeat_slot(Uuid fleet)
{
    return (unsigned)(fleet.b[15] ^ fleet.b[14]) % HEARTBEAT_FLEETS_MAX;
}

static bool find_heartbeat(Arena *arena, const Heartbeat *wanted, Str *ret_jws)
{
    pthread_mutex_lock(&heartbeats.lock);
    const CachedHeartbeat *slot = heartbeats.slots[heartbeat_slot(wanted->fleet)];
    bool found = slot != NULL && uuid_eq(slot->fleet, wanted->fleet) && slot->seq == wanted->seq &&
                 wanted->now.us - slot->now.us < HEARTBEAT_CACHE_US && wanted->now.us >= slot->now.us;
    if (found)
        *ret_jws = arena_str(arena, slot->jws);
    pthread_mutex_unlock(&heartbeats.lock);
    return found;
}

static void keep_heartbeat(const Heartbeat *heartbeat, Str jws)
{
    static Arena *arena;
    if (jws.len >= sizeof(((CachedHeartbeat *)0)->text))
        return;
    pthread_mutex_lock(&heartbeats.lock);
    if (arena == NULL)
        arena = arena_new();
    CachedHeartbeat **slot = &heartbeats.slots[heartbeat_slot(heartbeat->fleet)];
    if (*slot == NULL)
        *slot = NEW(arena, CachedHeartbeat, 1);
    **slot = (CachedHeartbeat){ .fleet = heartbeat->fleet, .seq = heartbeat->seq, .now = heartbeat->now };
    memcpy((*slot)->text, jws.ptr, jws.len);
    (*slot)->jws = str_n((*slot)->text, jws.len);
    pthread_mutex_unlock(&heartbeats.lock);
}

/* --- what a whole fleet asks at once, from memory --- */

/*
 * Immutable bytes by (fleet, digest), the newest manifest of every fleet, and credentials that the database let in
 * lately. Nothing is answered from here unless the watch below has just compared it with the database: it is told of
 * every revocation and manifest at its commit. Objects are forgotten when any manifest changes (a fleet's loss of an
 * organization is such a change), and a credential when its data plane is revoked.
 */
#define SHELF_OBJECTS 4096
#define SHELF_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define SHELF_CALLERS 4096
#define SHELF_OBJECT_US (10 * US_PER_S)
#define CALLER_GOOD_US (60 * US_PER_S) /* longer than a poll; a token that ends meanwhile reads so much longer */
#define WATCH_TRUSTED_US ((int64_t)WATCH_POLL_MS * US_PER_MS + 2 * US_PER_S)

typedef struct ShelfObject {
    Uuid fleet;
    Digest digest;
    Str body;
    int64_t until_us;
} ShelfObject;

typedef struct ShelfCaller {
    Digest credential;
    Uuid fleet, data_plane;
    int64_t until_us;
} ShelfCaller;

/* Replaced whole by the watch; in an arena of its own. */
typedef struct News {
    SnapshotRow *heads; /* fleet, seq, jws */
    size_t head_count;
    List revoked; /* SnapshotRow */
} News;

static struct {
    pthread_mutex_t lock;
    Arena *arena;
    ShelfObject *objects;
    size_t bytes;
    ShelfCaller callers[SHELF_CALLERS];
    News news;
    int64_t trusted_until_us; /* monotonic; 0: no watch */
} shelf = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* With the lock held. */
static void shelf_empty(void)
{
    if (shelf.arena == NULL)
        shelf.arena = arena_new();
    arena_clear(shelf.arena);
    shelf.objects = NEW(shelf.arena, ShelfObject, SHELF_OBJECTS);
    shelf.bytes = 0;
}

static void shelf_news(const News *news, bool objects_too)
{
    pthread_mutex_lock(&shelf.lock);
    shelf.news = *news;
    shelf.trusted_until_us = monotonic_us() + WATCH_TRUSTED_US;
    if (objects_too)
        shelf_empty();
    pthread_mutex_unlock(&shelf.lock);
}

/* The watch ends, or does not reach the database: everybody asks for himself again. */
static void shelf_distrust(void)
{
    pthread_mutex_lock(&shelf.lock);
    shelf.news = (News){ 0 };
    shelf.trusted_until_us = 0;
    pthread_mutex_unlock(&shelf.lock);
}

static size_t place_of(Digest digest, size_t places)
{
    return ((size_t)digest.b[0] << 16 | (size_t)digest.b[1] << 8 | digest.b[2]) % places;
}

/* The database let this credential in just now. */
static void shelf_let_in(const Req *req, const Principal *who)
{
    ShelfCaller caller = { .credential = req->credential,
        .fleet = who->fleet,
        .data_plane = who->id,
        .until_us = monotonic_us() + CALLER_GOOD_US };
    pthread_mutex_lock(&shelf.lock);
    shelf.callers[place_of(req->credential, SHELF_CALLERS)] = caller;
    pthread_mutex_unlock(&shelf.lock);
}

/* With the lock held. */
static bool is_revoked(const News *news, Uuid data_plane)
{
    for (size_t i = 0; i < news->revoked.count; i++)
        if (uuid_eq(LIST_AT(SnapshotRow, news->revoked, i)->data_plane, data_plane))
            return true;
    return false;
}

/* With the lock held; NULL: the database must say who that is, now or at some time in the next for_us. */
static const ShelfCaller *shelf_caller(const Req *req, int64_t for_us)
{
    const ShelfCaller *caller = &shelf.callers[place_of(req->credential, SHELF_CALLERS)];
    int64_t now_us = monotonic_us();
    bool good = now_us < shelf.trusted_until_us && now_us + for_us < caller->until_us &&
                digest_eq(caller->credential, req->credential) && !is_revoked(&shelf.news, caller->data_plane);
    return good ? caller : NULL;
}

static void shelf_put(Uuid fleet, Digest digest, Str body)
{
    pthread_mutex_lock(&shelf.lock);
    if (shelf.objects == NULL || shelf.bytes + body.len > SHELF_BYTES_MAX)
        shelf_empty();
    if (body.len <= SHELF_BYTES_MAX / 16) {
        shelf.objects[place_of(digest, SHELF_OBJECTS)] = (ShelfObject){ .fleet = fleet,
            .digest = digest,
            .body = arena_str(shelf.arena, body),
            .until_us = monotonic_us() + SHELF_OBJECT_US };
        shelf.bytes += body.len;
    }
    pthread_mutex_unlock(&shelf.lock);
}

static bool shelf_find(Arena *arena, const Req *req, Digest digest, Str *ret_body)
{
    pthread_mutex_lock(&shelf.lock);
    const ShelfCaller *caller = shelf.objects == NULL ? NULL : shelf_caller(req, 0);
    const ShelfObject *object = caller == NULL ? NULL : &shelf.objects[place_of(digest, SHELF_OBJECTS)];
    bool found = object != NULL && object->body.ptr != NULL && monotonic_us() < object->until_us &&
                 digest_eq(object->digest, digest) && uuid_eq(object->fleet, caller->fleet);
    if (found)
        *ret_body = arena_str(arena, object->body);
    pthread_mutex_unlock(&shelf.lock);
    return found;
}

/* The newest manifest of the caller's fleet; its text only when it is newer than `after`. Without news, only for one
 * who stays known while he waits. */
static bool shelf_newest(Arena *arena, const Req *req, const ReadIn *asked, SnapshotRow *ret_newest)
{
    SnapshotRow newest = { 0 };
    int64_t after = asked->after_number;
    pthread_mutex_lock(&shelf.lock);
    const ShelfCaller *caller = shelf_caller(req, 0);
    for (size_t i = 0; caller != NULL && i < shelf.news.head_count; i++) {
        const SnapshotRow *head = &shelf.news.heads[i];
        if (!uuid_eq(head->fleet, caller->fleet) || head->seq < after || head->jws.ptr == NULL)
            continue;
        newest = (SnapshotRow){ .fleet = head->fleet, .seq = head->seq };
        if (head->seq > after)
            newest.jws = arena_str(arena, head->jws);
        else if (shelf_caller(req, asked->limit * US_PER_S) == NULL)
            newest.seq = 0;
    }
    pthread_mutex_unlock(&shelf.lock);
    *ret_newest = newest;
    return newest.seq > 0;
}

/* --- the manifest --- */

/* The query's members, by the names a declarative read binds. */
static const Field poll_fields[] = {
    FIELD_AS(ReadIn, after_number, "after", .min = 0, .max = WIRE_INT_MAX,
        .doc = "The number of the active manifest; 0: none."),
    FIELD_AS(ReadIn, limit, "wait", .min = 0, .max = POLL_WAIT_S_MAX, .doc = "Seconds to wait for a newer one."),
};
static const FieldTable POLL_FIELDS = FIELD_TABLE(ReadIn, poll_fields);

/* The newest manifest when it is newer; else the call waits, and at the end of the wait gets a heartbeat. The time that
 * a heartbeat states was taken before the read: it vouches for what was read after it. */
static Err answer_manifest(Ctx *ctx, const Req *req, Reply *reply, const void *read, bool found)
{
    const SnapshotRow newest = *(const SnapshotRow *)read;
    ReadIn asked = { 0 };
    TRY(req_query(req, &POLL_FIELDS, &asked));
    bool over = asked.limit == 0 || req_timed_out(req);
    shelf_let_in(req, &ctx->who);
    if (newest.jws.ptr != NULL) {
        reply_raw(reply, "application/jose", newest.jws);
        return OK;
    }
    if (!over) {
        reply_park(reply, ctx->who.fleet, asked.limit * US_PER_S);
        return OK;
    }
    if (!found || newest.seq != asked.after_number) {
        reply_none(reply); /* nothing was published for this fleet, or the caller is ahead of us */
        return OK;
    }
    Heartbeat *heartbeat = NEW(ctx->arena, Heartbeat, 1);
    *heartbeat = (Heartbeat){ .installation = ctx->installation,
        .fleet = ctx->who.fleet,
        .seq = newest.seq,
        .now = ctx->now,
        .expires = time_add_s(ctx->now, HEARTBEAT_TTL_S) };
    if (newest.digest.len == sizeof heartbeat->manifest.b)
        memcpy(heartbeat->manifest.b, newest.digest.ptr, newest.digest.len);
    ctx->state = heartbeat;
    return OK;
}

/* Newer: the manifest. The same: the call waits on. A heartbeat is the database's word alone. */
static bool quick_manifest(Ctx *ctx, const Req *req, Reply *reply)
{
    ReadIn asked = { 0 };
    SnapshotRow newest;
    if (req_query(req, &POLL_FIELDS, &asked).kind != ERR_NONE || asked.limit == 0 ||
        !shelf_newest(ctx->arena, req, &asked, &newest))
        return false;
    if (newest.jws.ptr != NULL)
        reply_raw(reply, "application/jose", newest.jws);
    else
        reply_park(reply, newest.fleet, asked.limit * US_PER_S);
    return true;
}

static Err sign_heartbeat(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    const Heartbeat *heartbeat = ctx->state;
    Str jws = STR("");
    if (heartbeat == NULL)
        return OK;
    if (!find_heartbeat(ctx->arena, heartbeat, &jws)) {
        TRY(keeper_sign_heartbeat(ctx->world->keeper, ctx->arena, heartbeat, &jws));
        keep_heartbeat(heartbeat, jws);
    }
    reply_raw(reply, "application/jose", jws);
    return OK;
}

/* --- objects --- */

static void give_object(Reply *reply, Str body)
{
    reply_header(reply, STR("Cache-Control"), STR("private, max-age=31536000, immutable"));
    reply_raw(reply, "application/json", body);
}

static Err look_object(Ctx *ctx, const Req *req, Reply *reply)
{
    Digest digest;
    SnapshotRow row = { 0 };
    Err err = digest_parse(req_path(req, "sha256"), &digest);
    if (err.kind == ERR_NONE) {
        row.digest = digest_bytes(&digest);
        err = db_one(ctx->db, ctx->arena, &SQL_SNAPSHOT_BYTES, REC(&ROW_FIELDS, &row), REC(&ROW_FIELDS, &row));
    }
    if (err.kind == ERR_INVALID || err.kind == ERR_NOT_FOUND)
        return no_such("object-unknown", "There is no such object for this fleet.");
    TRY(err);
    shelf_put(ctx->who.fleet, digest, bytes_str(row.body));
    give_object(reply, bytes_str(row.body));
    return OK;
}

static bool quick_object(Ctx *ctx, const Req *req, Reply *reply)
{
    Digest digest;
    Str body = STR("");
    if (digest_parse(req_path(req, "sha256"), &digest).kind != ERR_NONE || !shelf_find(ctx->arena, req, digest, &body))
        return false;
    give_object(reply, body);
    return true;
}

/* --- the root and its chain --- */

/* Version n is found beside the newest root: FILE, and FILE.N for those before and after it. */
static Err read_root(Ctx *ctx, int64_t version, Str *ret_text)
{
    Root root;
    Str text = STR("");
    TRY(file_read(ctx->arena, ctx->world->root_file, ROOT_BYTES_MAX, &text));
    TRY(root_peek(ctx->arena, text, &root));
    if (version != 0 && version != root.version) {
        if (root_file_read(ctx->arena, &ctx->world->root_file, version, &text).kind != ERR_NONE ||
            root_peek(ctx->arena, text, &root).kind != ERR_NONE || root.version != version)
            return no_such("root-unknown", "There is no root of that version.");
    }
    *ret_text = text;
    return OK;
}

static Err look_root(Ctx *ctx, const Req *req, Reply *reply)
{
    SnapshotRow row = { 0 };
    Str text = STR("");
    TRY(req_query(req, &ROOT_QUERY_FIELDS, &row));
    TRY(read_root(ctx, row.version, &text));
    reply_raw(reply, "application/jose+json", text);
    return OK;
}

/* --- the keyring --- */

static Err look_keyring(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req, (void)reply;
    SnapshotRow in = { 0 }, *row = NEW(ctx->arena, SnapshotRow, 1);
    TRY(db_one(ctx->db, ctx->arena, &SQL_SNAPSHOT_KEYRING_ASK, REC(&ROW_FIELDS, &in), REC(&ROW_FIELDS, row)));
    ctx->state = row;
    return OK;
}

static Err ask_keyring(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    const SnapshotRow *row = ctx->state;
    KeyringGiven given = { 0 };
    KeyringAsk ask = {
        .fleet = row->fleet,
        .fleet_key = { .generation = row->generation, .kms_uri = row->kms_uri, .wrapped = row->wrapped },
        .cert = row->cert,
        .request = row->request,
    };
    TRY(keeper_keyring(ctx->world->keeper, ctx->arena, &ask, &given));
    reply_raw(reply, "application/jose", given.keyring);
    return OK;
}

/* --- acknowledgements --- */

static Err post_ack(Ctx *ctx, const Req *req, Reply *reply)
{
    SnapshotRow row = { 0 };
    TRY(req_body(req, &ACK_FIELDS, &row));
    TRY(db_exec(ctx->db, ctx->arena, &SQL_SNAPSHOT_ACK, REC(&ROW_FIELDS, &row), /* ret_rows= */ NULL));
    reply_none(reply);
    return OK;
}

static const Read read_manifest = { .stmt = &SQL_SNAPSHOT_NEWEST, .table = &ROW_FIELDS, .answer = answer_manifest };

extern const Route SNAPSHOT_ROUTES[];
const Route SNAPSHOT_ROUTES[] = {
    ROUTE(GET, "/v1/snapshot/manifest", SNAPSHOT_PULL, .credential = CREDENTIAL_DATA_PLANE,
        .says = "Wait for a manifest newer than `after`; at the end of the wait a signed heartbeat.",
        .quick = quick_manifest, .read = &read_manifest, .prepare = sign_heartbeat, .query = &POLL_FIELDS,
        .media = "application/jose"),
    ROUTE(GET, "/v1/objects/{sha256}", SNAPSHOT_PULL, .credential = CREDENTIAL_DATA_PLANE,
        .says = "A shard or object of the caller's fleet, by the digest of its bytes.", .quick = quick_object,
        .look = look_object, .media = "application/json"),
    ROUTE(GET, "/v1/snapshot/root", SNAPSHOT_PULL, .credential = CREDENTIAL_DATA_PLANE,
        .says = "A root of the chain, by version.", .look = look_root, .query = &ROOT_QUERY_FIELDS,
        .media = "application/jose+json"),
    ROUTE(GET, "/v1/snapshot/keyring", SNAPSHOT_PULL, .credential = CREDENTIAL_DATA_PLANE,
        .says = "The fleet key of the current generation, sealed to the caller.", .look = look_keyring,
        .prepare = ask_keyring, .media = "application/jose"),
    ROUTE(POST, "/v1/snapshot/ack", SNAPSHOT_ACK, .credential = CREDENTIAL_DATA_PLANE,
        .says = "What the caller verified, activated or refused.", .commit = post_ack, .body = &ACK_FIELDS,
        .body_max = ACK_BYTES_MAX, .no_replay = true),
    ROUTE_END,
};

/* --- waking --- */

struct ManifestWatch {
    Arena *arena;
    Pool *pool;
    Dispatch *dispatch;
    Listener *listener;
    pthread_t thread;
    atomic_bool stopping;
    SnapshotRow *heads; /* as seen last */
    size_t head_count;
    Arena *heads_arena;
};

static const SnapshotRow *known_head(const ManifestWatch *watch, Uuid fleet)
{
    for (size_t i = 0; i < watch->head_count; i++)
        if (uuid_eq(watch->heads[i].fleet, fleet))
            return &watch->heads[i];
    return NULL;
}

static int64_t seen(const ManifestWatch *watch, Uuid fleet)
{
    const SnapshotRow *known = known_head(watch, fleet);
    return known == NULL ? 0 : known->seq;
}

static bool heads_moved(const ManifestWatch *watch, List heads)
{
    for (size_t i = 0; i < heads.count; i++)
        if (LIST_AT(SnapshotRow, heads, i)->seq != seen(watch, LIST_AT(SnapshotRow, heads, i)->fleet))
            return true;
    return heads.count != watch->head_count;
}

/* The text of every fleet's newest manifest: read once for all who wait. */
static Err read_texts(ManifestWatch *watch, Db *db, Arena *arena, List heads)
{
    for (size_t i = 0; i < heads.count; i++) {
        SnapshotRow *head = LIST_AT(SnapshotRow, heads, i);
        const SnapshotRow *known = known_head(watch, head->fleet);
        if (known != NULL && known->seq == head->seq)
            head->jws = arena_str(arena, known->jws);
        else
            TRY(db_one(db, arena, &SQL_SNAPSHOT_MANIFEST, REC(&ROW_FIELDS, head), REC(&ROW_FIELDS, head)));
    }
    return OK;
}

static Err read_news(ManifestWatch *watch, Arena *arena, List *ret_heads, List *ret_revoked)
{
    _cleanup_(db_lease_release) DbLease lease = { 0 };
    SnapshotRow in = { 0 };
    TRY(db_lease(watch->pool, &lease));
    TRY(db_list(lease.db, arena, &SQL_SNAPSHOT_REVOKED, REC(&ROW_FIELDS, &in), &ROW_FIELDS, ret_revoked));
    TRY(db_list(lease.db, arena, &SQL_SNAPSHOT_HEADS, REC(&ROW_FIELDS, &in), &ROW_FIELDS, ret_heads));
    return read_texts(watch, lease.db, arena, *ret_heads);
}

static Err wake_who_waits(ManifestWatch *watch)
{
    List heads = { 0 }, revoked = { 0 };
    Arena *arena = arena_new();
    Err err = read_news(watch, arena, &heads, &revoked);
    if (err.kind != ERR_NONE) {
        arena_free(&arena);
        return FAIL(ERR_UNAVAILABLE, "heads-unread", "The newest manifests could not be read.");
    }
    const News news = { .heads = heads.items, .head_count = heads.count, .revoked = revoked };
    shelf_news(&news, heads_moved(watch, heads));
    for (size_t i = 0; i < heads.count; i++) {
        const SnapshotRow *head = LIST_AT(SnapshotRow, heads, i);
        if (head->seq > seen(watch, head->fleet))
            dispatch_wake(watch->dispatch, head->fleet);
    }
    arena_free(&watch->heads_arena);
    watch->heads_arena = arena;
    watch->heads = heads.items;
    watch->head_count = heads.count;
    return OK;
}

static void *watch_thread(void *arg)
{
    ManifestWatch *watch = arg;
    bool well = true;
    while (!watch->stopping) {
        bool notified = false;
        Err err = wake_who_waits(watch);
        if (err.kind != ERR_NONE && well)
            log_err("waiting data planes are not woken", err);
        well = err.kind == ERR_NONE;
        if (!well)
            shelf_distrust();
        if (listener_wait(watch->listener, WATCH_POLL_MS, &notified).kind != ERR_NONE) {
            struct timespec pause = { .tv_nsec = 200000000 };
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

Err manifest_watch_start(const PoolOptions *options, Pool *pool, Dispatch *dispatch, ManifestWatch **ret_watch)
{
    static const char *const channels[] = { "reeve_manifest", "reeve_publish" }; /* a revocation asks for publishing */
    Listener *listener = NULL;
    TRY(listener_open(options, channels, COUNT_OF(channels), &listener));
    Arena *arena = arena_new();
    ManifestWatch *watch = NEW(arena, ManifestWatch, 1);
    watch->arena = arena;
    watch->pool = pool;
    watch->dispatch = dispatch;
    watch->listener = listener;
    if (pthread_create(&watch->thread, NULL, watch_thread, watch) != 0)
        die("could not start the thread that wakes data planes");
    *ret_watch = watch;
    return OK;
}

void manifest_watch_stop(ManifestWatch **ret_watch)
{
    ManifestWatch *watch = *ret_watch;
    if (watch == NULL)
        return;
    *ret_watch = NULL;
    watch->stopping = true;
    if (eventfd_write(listener_wake_fd(watch->listener), 1) < 0)
        log_warn("the waking thread could not be woken", LOG_INT("fd", listener_wake_fd(watch->listener)));
    pthread_join(watch->thread, NULL);
    shelf_distrust();
    listener_free(&watch->listener);
    arena_free(&watch->heads_arena);
    Arena *arena = watch->arena;
    arena_free(&arena);
}
