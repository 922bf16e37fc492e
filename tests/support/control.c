/* control.c: see control.h. */
#include "control.h"

#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "crypto/token.h"
#include "http/server.h"
#include "snapshot/heartbeat.h"
#include "snapshot/manifest.h"
#include "snapshot/object.h"
#include "snapshot/origin.h"
#include "snapshot/shard.h"
#include "snapshot/statement.h"

#define STORE_MAX 4096
#define WAITING_MAX 16
#define TARGETS_ALL (CONTROL_WORKFLOWS * CONTROL_TARGETS)
#define EVENTS_MAX 200000

typedef struct Stored {
    Digest digest;
    Str bytes;
} Stored;

typedef struct Waiting {
    Control *control;
    Exchange *exchange;
    Timer *timer;
} Waiting;

struct Control {
    Arena *arena;
    Loop *loop;
    Server *server;
    pthread_t thread;
    pthread_mutex_t mutex; /* over what tests ask for while the thread runs */
    Uuid installation, fleet, org, project, key_id;
    KeyPair root_key, enrol_key, manifest_key, other_key, intake_key;
    Root root;
    Str root_jws, url, join_token;
    Secret fleet_key, client_key;
    Uuid connections[TARGETS_ALL], secrets[TARGETS_ALL], workflows[CONTROL_WORKFLOWS];
    int64_t version;
    Stored store[STORE_MAX];
    size_t stored;
    Manifest manifest;
    Str manifest_jws;
    Waiting waiting[WAITING_MAX];
    bool take_events, keep_events;
    Str *events, *ids;
    size_t event_count;
};

#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        Err must_ = (expression);                                                                                      \
        if (must_.kind != ERR_NONE)                                                                                    \
            die("%s: " STR_FMT ": " STR_FMT, #expression, STR_ARG(must_.code), STR_ARG(must_.detail));                 \
    } while (0)

/* --- publishing --- */

static Digest keep(Control *control, Str bytes)
{
    Digest digest = digest_of(str_bytes(bytes));
    for (size_t i = 0; i < control->stored; i++)
        if (digest_eq(control->store[i].digest, digest))
            return digest;
    if (control->stored == STORE_MAX)
        die("the test's control plane holds too many objects");
    control->store[control->stored++] = (Stored){ .digest = digest, .bytes = bytes };
    return digest;
}

static Str seal(Control *control, size_t n, const ControlTarget *target)
{
    Str jwe = STR(""), origin = STR("");
    MUST(origin_of_url(
        control->arena, str_from_c(target->sealed_origin != NULL ? target->sealed_origin : target->base_url), &origin));
    SecretPlace place = { .org = control->org,
        .project = control->project,
        .secret = control->secrets[n],
        .version = control->version,
        .origin = origin,
        .fleet = control->fleet,
        .generation = 1 };
    _cleanup_(secret_release) Secret key = delivery_key(&control->fleet_key, control->org, control->project);
    json_t *header = secret_header(control->arena, &place);
    MUST(jwe_seal_dir(control->arena, &key, STR("reeve-secret+jwe"), header, str_bytes(str_from_c(target->key)), &jwe));
    json_decref(header);
    return jwe;
}

static RoutingTarget routing_target(Control *control, size_t n, const ControlTarget *target)
{
    return (RoutingTarget){ .connection = control->connections[n],
        .model = str_from_c(target->model),
        .max_attempts = target->max_attempts,
        .timeouts = { .connect_ms = target->connect_ms,
            .first_byte_ms = target->first_byte_ms,
            .idle_ms = target->idle_ms,
            .total_ms = target->total_ms } };
}

static RoutingWorkflow routing_workflow(Control *control, size_t w, const ControlWorkflow *workflow)
{
    Arena *arena = control->arena;
    RoutingRevision *revision = NEW(arena, RoutingRevision, 1);
    RoutingStage *stage = NEW(arena, RoutingStage, 1);
    RoutingTarget *targets = NEW(arena, RoutingTarget, CONTROL_TARGETS);
    size_t count = 0;
    for (; count < CONTROL_TARGETS && workflow->targets[count].model != NULL; count++)
        targets[count] = routing_target(control, w * CONTROL_TARGETS + count, &workflow->targets[count]);
    *revision = (RoutingRevision){ .id = uuid_v7(time_now()),
        .number = control->version,
        .targets = { .items = targets, .count = count },
        .retry = { .budget_ms = workflow->retry_budget_ms,
            .base_ms = workflow->retry_base_ms,
            .max_ms = workflow->retry_max_ms,
            .attempts = workflow->retry_attempts } };
    *stage = (RoutingStage){ .revision = revision->id, .percent = 100 };
    return (RoutingWorkflow){ .id = control->workflows[w],
        .name = str_from_c(workflow->name),
        .dialect = str_from_c(workflow->dialect),
        .revisions = { .items = revision, .count = 1 },
        .release = { .salt = STR("salt"), .stages = { .items = stage, .count = 1 } } };
}

static void add_target(Control *control, size_t n, const ControlWorkflow *workflow, const ControlTarget *target,
    Routing *routing, Secrets *secrets)
{
    Arena *arena = control->arena;
    RoutingConnection *connection = &((RoutingConnection *)routing->connections.items)[routing->connections.count++];
    *connection = (RoutingConnection){ .id = control->connections[n],
        .name = arena_fmt(arena, "connection-%zu", n),
        .dialect = str_from_c(target->dialect != NULL ? target->dialect : workflow->dialect),
        .base_url = str_from_c(target->base_url) };
    if (target->key == NULL)
        return;
    connection->secret = control->secrets[n];
    SecretsVersion *version = NEW(arena, SecretsVersion, 1);
    *version = (SecretsVersion){ .version = control->version, .state = STR("active"), .jwe = seal(control, n, target) };
    ((SecretsEntry *)secrets->secrets.items)[secrets->secrets.count++] =
        (SecretsEntry){ .id = control->secrets[n], .versions = { .items = version, .count = 1 } };
}

static ShardEntry entry_of(Control *control, const char *kind, Str bytes)
{
    return (ShardEntry){ .kind = str_from_c(kind),
        .org = control->org,
        .project = control->project,
        .version = control->version,
        .length = (int64_t)bytes.len,
        .sha256 = keep(control, bytes) };
}

static void build_objects(Control *control, const ControlSpec *spec, ShardEntry entries[2])
{
    Arena *arena = control->arena;
    RoutingClientKey key = { .id = control->key_id,
        .digest = digest_text(arena, token_digest(bytes_str(secret_bytes(&control->client_key)))) };
    Routing routing = { .org = control->org,
        .project = control->project,
        .version = control->version,
        .connections = { .items = NEW(arena, RoutingConnection, TARGETS_ALL) },
        .workflows = { .items = NEW(arena, RoutingWorkflow, CONTROL_WORKFLOWS) },
        .client_keys = { .items = &key, .count = 1 } };
    Secrets secrets = { .org = control->org,
        .project = control->project,
        .version = control->version,
        .fleet = control->fleet,
        .generation = 1,
        .secrets = { .items = NEW(arena, SecretsEntry, TARGETS_ALL) } };
    for (size_t w = 0; w < CONTROL_WORKFLOWS && spec->workflows[w].name != NULL; w++) {
        const ControlWorkflow *workflow = &spec->workflows[w];
        ((RoutingWorkflow *)routing.workflows.items)[routing.workflows.count++] =
            routing_workflow(control, w, workflow);
        for (size_t t = 0; t < CONTROL_TARGETS && workflow->targets[t].model != NULL; t++)
            add_target(control, w * CONTROL_TARGETS + t, workflow, &workflow->targets[t], &routing, &secrets);
    }
    entries[0] = entry_of(control, "routing", routing_build(arena, &routing));
    entries[1] = entry_of(control, "secrets", secrets_build(arena, &secrets));
}

static void publish(Control *control, const ControlSpec *spec)
{
    Arena *arena = control->arena;
    ShardEntry entries[2];
    Digest *shards = NEW(arena, Digest, MANIFEST_SHARDS);
    Manifest next = { .installation = control->installation, .fleet = control->fleet };
    control->version++;
    build_objects(control, spec, entries);
    for (int n = 0; n < MANIFEST_SHARDS; n++) {
        Shard shard = { .number = n, .entries = entries };
        shard.count = shard_of_project(control->project) == n ? 2 : 0;
        shards[n] = keep(control, shard_build(arena, &shard));
    }
    next.seq = control->manifest.seq + 1;
    next.has_prev = next.seq > 1;
    next.prev = digest_of(str_bytes(control->manifest_jws));
    next.shards = shards;
    next.generation = 1;
    next.issued_at = time_now();
    next.hard_expiry = time_add_s(next.issued_at, spec->hard_expiry_s != 0 ? spec->hard_expiry_s : 3600);
    next.max_stale_s = 60;
    control->manifest = next;
    control->manifest_jws = jws_sign(arena, &control->manifest_key, STR(MANIFEST_TYP), manifest_build(arena, &next));
}

/* --- answers --- */

static void answer(Exchange *exchange, int status, const char *type, Str body)
{
    exchange_reply(exchange, &(Response){ .status = status, .content_type = type, .body = body });
}

static Str heartbeat_jws(Control *control, Arena *arena)
{
    Time now = time_now();
    Heartbeat heartbeat = { .installation = control->installation,
        .fleet = control->fleet,
        .seq = control->manifest.seq,
        .manifest = digest_of(str_bytes(control->manifest_jws)),
        .now = now,
        .expires = time_add_s(now, 60) };
    return jws_sign(arena, &control->manifest_key, STR(HEARTBEAT_TYP), heartbeat_build(arena, &heartbeat));
}

static void poll_over(void *arg)
{
    Waiting *waiting = arg;
    Exchange *exchange = TAKE(waiting->exchange);
    answer(exchange, 200, "application/jose", heartbeat_jws(waiting->control, exchange_arena(exchange)));
}

static void poll_closed(Exchange *exchange, bool sent, void *arg)
{
    (void)sent;
    Waiting *waiting = arg;
    if (waiting->exchange != exchange)
        return;
    timer_cancel(&waiting->timer);
    waiting->exchange = NULL;
}

static void poll_gone(Exchange *exchange, void *arg)
{
    poll_closed(exchange, false, arg);
    answer(exchange, 503, "text/plain", STR(""));
}

static int64_t query_number(Exchange *exchange, const char *name)
{
    Str text;
    int64_t value = 0;
    MUST(query_get(exchange_arena(exchange), exchange_query(exchange), str_from_c(name), &text));
    (void)str_to_i64(text, &value);
    return value;
}

static void answer_manifest(Control *control, Exchange *exchange)
{
    if (control->manifest.seq > query_number(exchange, "after")) {
        answer(exchange, 200, "application/jose", control->manifest_jws);
        return;
    }
    for (size_t i = 0; i < WAITING_MAX; i++) {
        Waiting *waiting = &control->waiting[i];
        if (waiting->exchange != NULL)
            continue;
        waiting->control = control;
        waiting->exchange = exchange;
        exchange_on_gone(exchange, poll_gone, waiting);
        exchange_on_close(exchange, poll_closed, waiting);
        timer_start(control->loop, &waiting->timer, query_number(exchange, "wait") * US_PER_S, poll_over, waiting);
        return;
    }
    answer(exchange, 503, "text/plain", STR("too many polls"));
}

static void answer_object(Control *control, Exchange *exchange, Str name)
{
    Digest digest;
    if (digest_parse(name, &digest).kind == ERR_NONE)
        for (size_t i = 0; i < control->stored; i++)
            if (digest_eq(control->store[i].digest, digest)) {
                answer(exchange, 200, "application/json", control->store[i].bytes);
                return;
            }
    answer(exchange, 404, "text/plain", STR("no such object"));
}

static Str keyring_for(Control *control, Arena *arena, const EnrolRequest *request)
{
    Str jwe = STR("");
    json_t *none = json_object();
    MUST(jwe_seal_to(
        arena, &request->encrypt, STR("reeve-fleet-key+jwe"), none, secret_bytes(&control->fleet_key), &jwe));
    json_decref(none);
    Keyring keyring = { .installation = control->installation,
        .fleet = control->fleet,
        .generation = 1,
        .data_plane = data_plane_id(control->installation, &request->sign),
        .jwe = jwe };
    return jws_sign(arena, &control->manifest_key, STR(KEYRING_TYP), keyring_build(arena, &keyring));
}

static void answer_enrolment(Control *control, Exchange *exchange)
{
    Arena *arena = exchange_arena(exchange);
    _cleanup_(json_release) json_t *body = NULL;
    _cleanup_(json_release) json_t *reply = json_object();
    JoinCert cert;
    EnrolRequest request;
    MUST(json_parse(exchange_body(exchange), JSON_LIMITS_ADMIN, &body));
    MUST(join_cert_verify(
        arena, json_str(body, "cert"), root_keys(&control->root, "enrol"), control->installation, time_now(), &cert));
    MUST(enrol_request_verify(arena, json_str(body, "request"), &cert, &request));
    Uuid id = data_plane_id(control->installation, &request.sign);
    json_object_set_new(reply, "data_plane", json_from_str(typeid_format(arena, STR("dpl"), id)));
    json_object_set_new(reply, "root", json_from_str(control->root_jws));
    json_object_set_new(reply, "keyring", json_from_str(keyring_for(control, arena, &request)));
    answer(exchange, 201, "application/json", json_write(arena, reply));
}

static bool known_id(const Control *control, Str id)
{
    for (size_t i = control->event_count; i > 0; i--)
        if (str_eq(control->ids[i - 1], id))
            return true;
    return false;
}

static Str take_event(Control *control, Arena *arena, const json_t *event)
{
    Str id = json_str(event, "id");
    bool duplicate = known_id(control, id);
    if (!duplicate && control->event_count < EVENTS_MAX) {
        control->ids[control->event_count] = arena_str(control->arena, id);
        control->events[control->event_count++] = json_write(control->arena, event);
    }
    return arena_fmt(
        arena, "{\"id\":\"" STR_FMT "\",\"verdict\":\"%s\"}", STR_ARG(id), duplicate ? "duplicate" : "stored");
}

/* For benches: as many verdicts as there are events, nothing parsed. */
static void count_events(Control *control, Str body, Buf *out)
{
    static const char mark[] = "{\"specversion\"";
    const char *end = body.ptr + body.len;
    buf_add(out, STR("{\"verdicts\":["));
    for (const char *at = body.ptr; (at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL; at++) {
        buf_add(out, at > body.ptr + 1 ? STR(",{\"verdict\":\"stored\"}") : STR("{\"verdict\":\"stored\"}"));
        control->event_count++;
    }
    buf_add(out, STR("]}"));
}

static void answer_events(Control *control, Exchange *exchange)
{
    Arena *arena = exchange_arena(exchange);
    if (!control->take_events) {
        answer(exchange, 503, "text/plain", STR("not now"));
        return;
    }
    if (!control->keep_events) {
        _cleanup_(buf_release) Buf verdicts = buf_new(1 << 20);
        count_events(control, exchange_body(exchange), &verdicts);
        answer(exchange, 200, "application/json", buf_str(&verdicts));
        return;
    }
    _cleanup_(json_release) json_t *events = NULL;
    Str out = STR("");
    MUST(json_parse(exchange_body(exchange), JSON_LIMITS_WIRE, &events));
    for (size_t i = 0; i < json_array_size(events); i++) {
        Str verdict = take_event(control, arena, json_array_get(events, i));
        out = arena_fmt(arena, STR_FMT "%s" STR_FMT, STR_ARG(out), i > 0 ? "," : "", STR_ARG(verdict));
    }
    answer(exchange, 200, "application/json", arena_fmt(arena, "{\"verdicts\":[" STR_FMT "]}", STR_ARG(out)));
}

static void serve(Exchange *exchange, void *arg)
{
    Control *control = arg;
    Str path = exchange_path(exchange);
    pthread_mutex_lock(&control->mutex);
    if (str_eq(path, STR("/v1/snapshot/manifest")))
        answer_manifest(control, exchange);
    else if (str_starts_with(path, STR("/v1/objects/")))
        answer_object(control, exchange, str_skip(path, 12));
    else if (str_eq(path, STR("/v1/snapshot/root")))
        answer(exchange, query_number(exchange, "version") == 1 ? 200 : 404, "application/jose", control->root_jws);
    else if (str_eq(path, STR("/v1/enrolments")))
        answer_enrolment(control, exchange);
    else if (str_eq(path, STR("/v1/data-planes/token")))
        answer(exchange, 200, "application/json", STR("{\"access_token\":\"rv_dpl_test\",\"expires_in\":600}"));
    else if (str_eq(path, STR("/v1/snapshot/ack")))
        answer(exchange, 204, NULL, STR(""));
    else if (str_eq(path, STR("/v1/usage/events")))
        answer_events(control, exchange);
    else
        answer(exchange, 404, "text/plain", STR("not here"));
    pthread_mutex_unlock(&control->mutex);
}

/* --- life --- */

static void make_role(Control *control, RootRole role, const KeyPair *pair)
{
    PublicKey *key = NEW(control->arena, PublicKey, 1);
    *key = pair->public_key;
    control->root.roles[role] = (RoleKeys){ .threshold = 1, .keys = { .items = key, .count = 1 } };
}

static void make_keys(Control *control)
{
    KeyPair *pairs[] = { &control->root_key, &control->enrol_key, &control->manifest_key, &control->other_key };
    const KeyPair *signers[] = { &control->root_key };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        *pairs[i] = ed25519_new();
    control->intake_key = x25519_new();
    control->fleet_key = secret_random(32);
    MUST(token_new(STR("key"), &control->client_key));
    control->root =
        (Root){ .installation = control->installation, .version = 1, .expires = time_add_s(time_now(), 86400) };
    make_role(control, ROLE_ROOT, &control->root_key);
    make_role(control, ROLE_ENROL, &control->enrol_key);
    make_role(control, ROLE_MANIFEST, &control->manifest_key);
    make_role(control, ROLE_CHECKPOINT, &control->other_key);
    make_role(control, ROLE_INTAKE, &control->intake_key);
    MUST(root_build(control->arena, &control->root, signers, 1, &control->root_jws));
}

static void make_join_token(Control *control)
{
    Time now = time_now();
    _cleanup_(secret_release) Secret text = { 0 };
    JoinToken token = { .url = control->url,
        .root = digest_of(str_bytes(control->root_jws)),
        .installation = control->installation,
        .fleet = control->fleet,
        .key = ed25519_new() };
    JoinCert cert = { .installation = control->installation,
        .fleet = control->fleet,
        .key = token.key.public_key,
        .not_before = time_add_s(now, -60),
        .not_after = time_add_s(now, 3600) };
    token.cert = join_cert_sign(control->arena, &control->enrol_key, &cert);
    MUST(join_token_write(control->arena, &token, &text));
    control->join_token = arena_str(control->arena, bytes_str(secret_bytes(&text)));
    keypair_release(&token.key);
}

static void make_ids(Control *control)
{
    Uuid *const ids[] = { &control->installation, &control->fleet, &control->org, &control->project, &control->key_id };
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        *ids[i] = uuid_v7(time_now());
    for (size_t i = 0; i < TARGETS_ALL; i++) {
        control->connections[i] = uuid_v7(time_now());
        control->secrets[i] = uuid_v7(time_now());
    }
    for (size_t i = 0; i < CONTROL_WORKFLOWS; i++)
        control->workflows[i] = uuid_v7(time_now());
}

static void *run(void *arg)
{
    loop_run(((Control *)arg)->loop);
    return NULL;
}

Control *control_start(const ControlSpec *spec)
{
    Control *control = MEM_NEW(Control, 1);
    control->arena = arena_new();
    control->events = MEM_NEW(Str, EVENTS_MAX);
    control->ids = MEM_NEW(Str, EVENTS_MAX);
    control->take_events = control->keep_events = true;
    pthread_mutex_init(&control->mutex, NULL);
    make_ids(control);
    make_keys(control);
    publish(control, spec);
    ServerOptions options = {
        .address = STR("127.0.0.1"), .limits = SERVER_LIMITS_DEFAULT, .on_request = serve, .arg = control
    };
    options.limits.body_bytes_max = 8 * 1024 * 1024;
    MUST(loop_new(&control->loop));
    MUST(server_start(control->loop, &options, &control->server));
    control->url = arena_fmt(control->arena, "http://127.0.0.1:%d", server_port(control->server));
    make_join_token(control);
    if (pthread_create(&control->thread, NULL, run, control) != 0)
        die("could not start a thread");
    return control;
}

void control_stop(Control **control_ptr)
{
    Control *control = TAKE(*control_ptr);
    if (control == NULL)
        return;
    loop_stop(control->loop);
    pthread_join(control->thread, NULL);
    for (size_t i = 0; i < WAITING_MAX; i++)
        timer_cancel(&control->waiting[i].timer);
    server_free(&control->server);
    loop_free(&control->loop);
    KeyPair *pairs[] = { &control->root_key, &control->enrol_key, &control->manifest_key, &control->other_key,
        &control->intake_key };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        keypair_release(pairs[i]);
    secret_release(&control->fleet_key);
    secret_release(&control->client_key);
    mem_free(control->events);
    mem_free(control->ids);
    pthread_mutex_destroy(&control->mutex);
    arena_free(&control->arena);
    mem_free(control);
}

Str control_url(const Control *control)
{
    return control->url;
}

Str control_join_token(const Control *control)
{
    return control->join_token;
}

Str control_client_key(const Control *control)
{
    return bytes_str(secret_bytes(&control->client_key));
}

static void wake_polls(void *arg)
{
    Control *control = arg;
    for (size_t i = 0; i < WAITING_MAX; i++) {
        if (control->waiting[i].exchange == NULL)
            continue;
        timer_cancel(&control->waiting[i].timer);
        Exchange *exchange = TAKE(control->waiting[i].exchange);
        answer(exchange, 200, "application/jose", control->manifest_jws);
    }
}

void control_publish(Control *control, const ControlSpec *spec)
{
    pthread_mutex_lock(&control->mutex);
    publish(control, spec);
    pthread_mutex_unlock(&control->mutex);
    loop_post(control->loop, wake_polls, control);
}

void control_take_events(Control *control, bool take)
{
    pthread_mutex_lock(&control->mutex);
    control->take_events = take;
    pthread_mutex_unlock(&control->mutex);
}

void control_keep_events(Control *control, bool keep_them)
{
    pthread_mutex_lock(&control->mutex);
    control->keep_events = keep_them;
    pthread_mutex_unlock(&control->mutex);
}

size_t control_event_count(Control *control)
{
    pthread_mutex_lock(&control->mutex);
    size_t count = control->event_count;
    pthread_mutex_unlock(&control->mutex);
    return count;
}

Strs control_events(Control *control, Arena *arena)
{
    pthread_mutex_lock(&control->mutex);
    Strs events = { .items = NEW(arena, Str, control->event_count + 1), .count = control->event_count };
    for (size_t i = 0; i < events.count; i++)
        events.items[i] = arena_str(arena, control->events[i]);
    pthread_mutex_unlock(&control->mutex);
    return events;
}
