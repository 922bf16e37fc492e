/*
 * world.h: an installation in a test's memory: root, keys, one fleet with projects, and a control plane that answers a
 * puller's calls without a network. Whatever it serves can be replaced, so that a test can be a hostile one.
 */
#ifndef TESTS_LIBREEVE_WORLD_H
#define TESTS_LIBREEVE_WORLD_H

#include "../../../src/libreeve/view.h"

#include "../snapshot_wire/check.h"
#include "base/json.h"
#include "snapshot/heartbeat.h"
#include "crypto/token.h"
#include "snapshot/statement.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORLD_PROJECTS 3
#define WORLD_STORE 512
#define ORIGIN "https://api.example.com"

typedef struct WorldProject {
    Uuid org, id, connection, secret, workflow, revision, key;
    int64_t version; /* of both objects */
    int64_t secret_version;
    const char *provider_key; /* plaintext */
    const char *model;
    const char *client_key;
    bool buried;
    Str jwe; /* sealed once per version and generation */
    int64_t jwe_version, jwe_generation;
} WorldProject;

typedef struct Stored {
    Digest digest;
    Str bytes;
} Stored;

typedef struct World {
    Arena *arena;
    char dir[64];
    Uuid installation, fleet, data_plane;
    KeyPair root_key, enrol_key, manifest_key, checkpoint_key;
    KeyPair intake_key;
    KeyPair *extra; /* made by tests */
    Root root;
    Str roots[8]; /* by version; [0] unused */
    int64_t root_count;
    PublicKey encrypt; /* of the data plane, learnt at enrolment */
    Secret fleet_key;
    int64_t generation;
    WorldProject projects[WORLD_PROJECTS];
    Stored store[WORLD_STORE];
    size_t stored;
    Manifest manifest; /* the newest */
    Str manifest_jws;
    Str join_token;
    /* what a hostile control plane does */
    Str answer;             /* instead of the manifest; ptr NULL: the truth */
    const char *media_type; /* of it */
    const char *encoding;
    int status; /* instead of 200 for the manifest */
    int object_status;
    Str (*spoil)(struct World *world, Str bytes); /* of objects */
    Str keyring;                                  /* instead of ours */
    Err transport;                                /* kind other than none: no connection */
    int calls, acks, object_calls, token_calls;
    char last_ack[1024];
    int64_t clock_us; /* added to the wall clock */
    int writes_left;  /* until a crash; 0: none */
    Puller *puller;
} World;

static inline Str world_store(World *world, Str bytes)
{
    Digest digest = digest_of(str_bytes(bytes));
    for (size_t i = 0; i < world->stored; i++)
        if (digest_eq(world->store[i].digest, digest))
            return bytes;
    assert_true(world->stored < WORLD_STORE);
    world->store[world->stored++] = (Stored){ .digest = digest, .bytes = bytes };
    return bytes;
}

/* --- the truth --- */

static inline Str world_seal(World *world, const SecretPlace *place, const char *plain)
{
    Str jwe = STR("");
    Secret key = delivery_key(&world->fleet_key, place->org, place->project);
    json_t *header = secret_header(world->arena, place);
    assert_ok(jwe_seal_dir(world->arena, &key, STR(SECRET_TYP), header, str_bytes(str_from_c(plain)), &jwe));
    json_decref(header);
    secret_release(&key);
    return jwe;
}

static inline SecretPlace world_place(const World *world, const WorldProject *p)
{
    return (SecretPlace){ .org = p->org,
        .project = p->id,
        .secret = p->secret,
        .version = p->secret_version,
        .origin = STR(ORIGIN),
        .fleet = world->fleet,
        .generation = world->generation };
}

static inline Str world_secrets_with(World *world, const WorldProject *p, Str jwe)
{
    SecretsVersion version = { .version = p->secret_version, .state = STR("active"), .jwe = jwe };
    SecretsEntry entry = { .id = p->secret, .versions = { .items = &version, .count = 1 } };
    Secrets secrets = { .org = p->org,
        .project = p->id,
        .version = p->version,
        .fleet = world->fleet,
        .generation = world->generation,
        .secrets = { .items = &entry, .count = 1 } };
    return secrets_build(world->arena, &secrets);
}

static inline Str world_secrets(World *world, WorldProject *p)
{
    SecretPlace place = world_place(world, p);
    if (p->jwe_version != p->secret_version || p->jwe_generation != world->generation)
        p->jwe = world_seal(world, &place, p->provider_key);
    p->jwe_version = p->secret_version;
    p->jwe_generation = world->generation;
    return world_secrets_with(world, p, p->jwe);
}

static inline Str world_routing(World *world, const WorldProject *p)
{
    RoutingConnection connection = { .id = p->connection,
        .name = STR("main"),
        .dialect = STR("openai"),
        .base_url = STR(ORIGIN "/v1"),
        .secret = p->secret };
    RoutingTarget target = { .connection = p->connection, .model = str_from_c(p->model), .max_attempts = 1 };
    RoutingRevision revision = { .id = p->revision, .number = 1, .targets = { .items = &target, .count = 1 } };
    RoutingStage stage = { .revision = p->revision, .percent = 100 };
    RoutingWorkflow workflow = { .id = p->workflow,
        .name = STR("summarize"),
        .dialect = STR("openai"),
        .revisions = { .items = &revision, .count = 1 },
        .release = { .salt = STR("salt"), .stages = { .items = &stage, .count = 1 } } };
    RoutingClientKey key = { .id = p->key,
        .digest = digest_text(world->arena, token_digest(str_from_c(p->client_key))) };
    Routing routing = { .org = p->org,
        .project = p->id,
        .version = p->version,
        .connections = { .items = &connection, .count = 1 },
        .workflows = { .items = &workflow, .count = 1 },
        .client_keys = { .items = &key, .count = 1 } };
    return routing_build(world->arena, &routing);
}

static inline ShardEntry world_entry(World *world, const WorldProject *p, const char *kind, Str bytes)
{
    world_store(world, bytes);
    return (ShardEntry){ .kind = str_from_c(kind),
        .org = p->org,
        .project = p->id,
        .version = p->version,
        .length = (int64_t)bytes.len,
        .sha256 = digest_of(str_bytes(bytes)) };
}

/* The shards of the projects as they are now. */
static inline void world_shards(World *world, Digest *shards)
{
    for (int n = 0; n < MANIFEST_SHARDS; n++) {
        ShardEntry entries[WORLD_PROJECTS * 2];
        Shard shard = { .number = n, .entries = entries };
        for (size_t i = 0; i < WORLD_PROJECTS; i++) {
            WorldProject *p = &world->projects[i];
            if (shard_of_project(p->id) != n)
                continue;
            if (p->buried) {
                entries[shard.count++] = shard_tombstone(p->org, p->id, p->version);
                continue;
            }
            entries[shard.count++] = world_entry(world, p, KIND_ROUTING, world_routing(world, p));
            entries[shard.count++] = world_entry(world, p, KIND_SECRETS, world_secrets(world, p));
        }
        shards[n] = digest_of(str_bytes(world_store(world, shard_build(world->arena, &shard))));
    }
}

static inline Str world_sign_with(World *world, const KeyPair *key, const Manifest *manifest)
{
    return jws_sign(world->arena, key, STR(MANIFEST_TYP), manifest_build(world->arena, manifest));
}

static inline Str world_sign(World *world, const Manifest *manifest)
{
    return world_sign_with(world, &world->manifest_key, manifest);
}

/* What would follow the newest manifest. */
static inline Manifest world_next(World *world)
{
    Manifest next = world->manifest;
    Digest *shards = NEW(world->arena, Digest, MANIFEST_SHARDS);
    world_shards(world, shards);
    next.shards = shards;
    next.seq++;
    next.has_prev = next.seq > 1;
    next.prev = digest_of(str_bytes(world->manifest_jws));
    next.generation = world->generation;
    next.issued_at = time_now();
    next.hard_expiry = time_add_s(next.issued_at, 3600);
    next.max_stale_s = 60;
    return next;
}

static inline void world_serve(World *world, const Manifest *manifest)
{
    world->manifest = *manifest;
    world->manifest_jws = world_sign(world, manifest);
}

static inline void world_publish(World *world)
{
    Manifest next = world_next(world);
    world_serve(world, &next);
}

/* One project changes: another model, a higher version. */
static inline void world_change(World *world, size_t n, const char *model)
{
    world->projects[n].model = model;
    world->projects[n].version++;
}

static inline Heartbeat world_heartbeat(World *world)
{
    Time now = time_now();
    return (Heartbeat){ .installation = world->installation,
        .fleet = world->fleet,
        .seq = world->manifest.seq,
        .manifest = digest_of(str_bytes(world->manifest_jws)),
        .now = now,
        .expires = time_add_s(now, 60) };
}

static inline Str world_sign_heartbeat(World *world, const KeyPair *key, const Heartbeat *heartbeat)
{
    return jws_sign(world->arena, key, STR(HEARTBEAT_TYP), heartbeat_build(world->arena, heartbeat));
}

static inline Str world_keyring_for(World *world, Uuid data_plane, const PublicKey *encrypt, int64_t generation)
{
    Str jwe = STR("");
    json_t *none = json_object();
    assert_ok(jwe_seal_to(world->arena, encrypt, STR(FLEET_KEY_TYP), none, secret_bytes(&world->fleet_key), &jwe));
    json_decref(none);
    Keyring keyring = { .installation = world->installation,
        .fleet = world->fleet,
        .generation = generation,
        .data_plane = data_plane,
        .jwe = jwe };
    return jws_sign(world->arena, &world->manifest_key, STR(KEYRING_TYP), keyring_build(world->arena, &keyring));
}

static inline void world_role(World *world, RootRole role, const KeyPair *pair)
{
    PublicKey *key = NEW(world->arena, PublicKey, 1);
    *key = pair->public_key;
    world->root.roles[role] = (RoleKeys){ .threshold = 1, .keys = { .items = key, .count = 1 } };
}

/* Signs world->root as it is now by `signers` and serves it as its version. */
static inline void world_root_by(World *world, const KeyPair *const *signers, size_t count)
{
    Str jws = STR("");
    assert_ok(root_build(world->arena, &world->root, signers, count, &jws));
    world->roots[world->root.version] = jws;
    if (world->root.version > world->root_count)
        world->root_count = world->root.version;
}

static inline void world_root(World *world)
{
    const KeyPair *signers[] = { &world->root_key };
    world_root_by(world, signers, 1);
}

/* --- the control plane's answers --- */

static inline void reply(PullReply *out, int status, const char *type, Str body)
{
    *out = (PullReply){ .status = status, .content_type = str_from_c(type), .body = body };
}

static inline Str world_enrol(World *world, Arena *arena, Str body)
{
    json_t *request = NULL;
    JoinCert cert;
    EnrolRequest enrol;
    assert_ok(json_parse(body, JSON_LIMITS_ADMIN, &request));
    assert_ok(join_cert_verify(
        arena, json_str(request, "cert"), root_keys(&world->root, "enrol"), world->installation, time_now(), &cert));
    assert_ok(enrol_request_verify(arena, json_str(request, "request"), &cert, &enrol));
    json_decref(request);
    world->data_plane = data_plane_id(world->installation, &enrol.sign);
    world->encrypt = enrol.encrypt;
    json_t *answer = json_object();
    json_object_set_new(answer, "data_plane", json_from_str(typeid_format(arena, STR("dpl"), world->data_plane)));
    json_object_set_new(answer, "root", json_from_str(world->roots[1]));
    json_object_set_new(answer, "keyring",
        json_from_str(world_keyring_for(world, world->data_plane, &world->encrypt, world->generation)));
    Str text = json_write(arena, answer);
    json_decref(answer);
    return text;
}

static inline int64_t number_of(Str path, const char *name)
{
    const char *at = strstr(path.ptr, name);
    return at == NULL ? 0 : strtoll(at + strlen(name), NULL, 10);
}

static inline void world_manifest(World *world, Str path, PullReply *out)
{
    if (world->status != 0) {
        reply(out, world->status, world->media_type != NULL ? world->media_type : "text/plain", STR("no"));
        return;
    }
    Str body = world->answer;
    if (body.ptr == NULL && world->manifest.seq > number_of(path, "after="))
        body = world->manifest_jws;
    if (body.ptr == NULL) {
        Heartbeat heartbeat = world_heartbeat(world);
        body = world_sign_heartbeat(world, &world->manifest_key, &heartbeat);
    }
    reply(out, 200, world->media_type != NULL ? world->media_type : "application/jose", body);
    if (world->encoding != NULL)
        out->content_encoding = str_from_c(world->encoding);
}

static inline void world_object(World *world, Str path, PullReply *out)
{
    Digest digest;
    world->object_calls++;
    if (world->object_status != 0) {
        reply(out, world->object_status, "text/plain", STR("no"));
        return;
    }
    assert_ok(digest_parse(str_skip(path, sizeof "/v1/objects/" - 1), &digest));
    for (size_t i = 0; i < world->stored; i++)
        if (digest_eq(world->store[i].digest, digest)) {
            Str bytes = world->store[i].bytes;
            reply(out, 200, "application/json", world->spoil != NULL ? world->spoil(world, bytes) : bytes);
            return;
        }
    reply(out, 404, "application/problem+json", STR("{}"));
}

static inline void world_root_answer(World *world, Str path, PullReply *out)
{
    int64_t version = number_of(path, "version=");
    if (version < 1 || version > world->root_count || world->roots[version].ptr == NULL) {
        reply(out, 404, "application/problem+json", STR("{}"));
        return;
    }
    reply(out, 200, "application/jose", world->roots[version]);
}

static inline Err world_call(void *arg, Arena *arena, const PullCall *call, PullReply *out)
{
    World *world = arg;
    world->calls++;
    if (world->transport.kind != ERR_NONE)
        return world->transport;
    if (str_starts_with(call->path, STR("/v1/snapshot/manifest")))
        world_manifest(world, call->path, out);
    else if (str_starts_with(call->path, STR("/v1/objects/")))
        world_object(world, call->path, out);
    else if (str_starts_with(call->path, STR("/v1/snapshot/root")))
        world_root_answer(world, call->path, out);
    else if (str_eq(call->path, STR("/v1/snapshot/keyring")))
        reply(out, 200, "application/jose",
            world->keyring.ptr != NULL
                ? world->keyring
                : world_keyring_for(world, world->data_plane, &world->encrypt, world->generation));
    else if (str_eq(call->path, STR("/v1/enrolments")))
        reply(out, 201, "application/json", world_enrol(world, arena, call->body));
    else if (str_eq(call->path, STR("/v1/data-planes/token"))) {
        world->token_calls++;
        reply(out, 200, "application/json", STR("{\"access_token\":\"rv_dpl_test\",\"expires_in\":600}"));
    } else if (str_eq(call->path, STR("/v1/snapshot/ack"))) {
        world->acks++;
        snprintf(world->last_ack, sizeof world->last_ack, STR_FMT, STR_ARG(call->body));
        reply(out, 204, "", STR(""));
    } else
        fail_msg("unexpected call to " STR_FMT, STR_ARG(call->path));
    return OK;
}

/* --- life --- */

static inline int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

static inline int64_t world_clock(void *arg)
{
    return time_now().us + ((World *)arg)->clock_us;
}

static inline Err world_try_open(World *world, Arena *arena, Puller **ret_puller)
{
    PullTransport transport = { .call = world_call, .arg = world };
    PullerOptions options = { .state_dir = str_from_c(world->dir),
        .url = STR("http://control.example"),
        .join_token = world->join_token,
        .name = STR("test"),
        .wait_s = 1,
        .builder = view_builder(),
        .transport = &transport,
        .clock = world_clock,
        .arg = world };
    return puller_open(arena, &options, ret_puller);
}

static inline void world_open(World *world)
{
    assert_ok(world_try_open(world, world->arena, &world->puller));
}

static inline void world_restart(World *world)
{
    puller_close(&world->puller);
    world_open(world);
}

static inline void world_make_join_token(World *world)
{
    Time now = time_now();
    JoinToken token = { .url = STR("http://control.example"),
        .root = digest_of(str_bytes(world->roots[1])),
        .installation = world->installation,
        .fleet = world->fleet,
        .key = ed25519_new() };
    JoinCert cert = { .installation = world->installation,
        .fleet = world->fleet,
        .key = token.key.public_key,
        .not_before = time_add_s(now, -60),
        .not_after = time_add_s(now, 3600) };
    token.cert = join_cert_sign(world->arena, &world->enrol_key, &cert);
    Secret text = { 0 };
    assert_ok(join_token_write(world->arena, &token, &text));
    world->join_token = arena_str(world->arena, bytes_str(secret_bytes(&text)));
    secret_release(&text);
    keypair_release(&token.key);
}

static inline void world_make_projects(World *world)
{
    static const char *const client_keys[] = { "rv_key_a", "rv_key_b", "rv_key_c" };
    static const char *const provider_keys[] = { "sk-a", "sk-b", "sk-c" };
    for (size_t i = 0; i < WORLD_PROJECTS; i++) {
        Time now = time_now();
        world->projects[i] = (WorldProject){ .org = uuid_v7(now),
            .id = uuid_v7(now),
            .connection = uuid_v7(now),
            .secret = uuid_v7(now),
            .workflow = uuid_v7(now),
            .revision = uuid_v7(now),
            .key = uuid_v7(now),
            .version = 1,
            .secret_version = 1,
            .provider_key = provider_keys[i],
            .model = "model-1",
            .client_key = client_keys[i] };
    }
}

static inline World *world_new(void)
{
    Arena *arena = arena_new();
    World *world = NEW(arena, World, 1);
    world->arena = arena;
    world->installation = uuid_v7(time_now());
    world->fleet = uuid_v7(time_now());
    world->root_key = ed25519_new();
    world->enrol_key = ed25519_new();
    world->manifest_key = ed25519_new();
    world->checkpoint_key = ed25519_new();
    world->intake_key = x25519_new();
    world->fleet_key = secret_random(FLEET_KEY_BYTES);
    world->generation = 1;
    world->root = (Root){ .installation = world->installation, .version = 1, .expires = time_add_s(time_now(), 86400) };
    world_role(world, ROLE_ROOT, &world->root_key);
    world_role(world, ROLE_ENROL, &world->enrol_key);
    world_role(world, ROLE_MANIFEST, &world->manifest_key);
    world_role(world, ROLE_CHECKPOINT, &world->checkpoint_key);
    world_role(world, ROLE_INTAKE, &world->intake_key);
    world_root(world);
    world_make_projects(world);
    world_make_join_token(world);
    world->manifest = (Manifest){ .installation = world->installation, .fleet = world->fleet };
    snprintf(world->dir, sizeof world->dir, "/tmp/reeve-pull-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    world_publish(world);
    return world;
}

static inline void world_free(World *world)
{
    puller_close(&world->puller);
    nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    keypair_release(&world->root_key);
    keypair_release(&world->enrol_key);
    keypair_release(&world->manifest_key);
    keypair_release(&world->checkpoint_key);
    keypair_release(&world->intake_key);
    secret_release(&world->fleet_key);
    Arena *arena = world->arena;
    arena_free(&arena);
}

/* --- what readers see --- */

/* The model of project n's workflow by its client key; "none" when there is none. */
static inline const char *world_model(World *world, size_t n)
{
    PullView *view = puller_acquire(world->puller);
    const ReeveSnapshot *snapshot = (const ReeveSnapshot *)view;
    const char *model = "none";
    if (snapshot != NULL) {
        Digest digest = token_digest(str_from_c(world->projects[n].client_key));
        const ReeveClientKey *key = reeve_client_key(snapshot, digest.b);
        const ReeveWorkflow *workflow = key == NULL ? NULL : reeve_workflow(key->project, "summarize", 9);
        if (workflow != NULL)
            model = arena_str(world->arena, str_from_c(workflow->revision->targets[0].model)).ptr;
    }
    puller_release(world->puller, view);
    return model;
}

static inline int64_t world_seq(World *world)
{
    PullStatus status;
    puller_status(world->puller, &status);
    return status.seq;
}

#endif
