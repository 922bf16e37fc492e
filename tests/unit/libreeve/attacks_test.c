/*
 * What a snapshot client must refuse, one numbered attack after the other: it refuses with a stable code, keeps serving
 * the last good state, and goes on when the truth comes back.
 */
#include "world.h"

#include "base/encode.h"

#include <sys/wait.h>

/* Every test begins with snapshot 1 active; the next change is ready to be served as snapshot 2. */
static int setup(void **state)
{
    World *world = world_new();
    world_open(world);
    assert_ok(puller_step(world->puller));
    assert_int_equal(1, world_seq(world));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    World *world = *state;
    world_free(world);
    return 0;
}

#define ATTACK(name)                                                                                                   \
    static void name(void **state);                                                                                    \
    static void name(void **state)

/* The offer is refused with this code; what was active stays active. */
static void check_refused(World *world, const char *code, const char *file, int line)
{
    int64_t seq = world_seq(world);
    const char *model = world_model(world, 0);
    check_err_(code, puller_step(world->puller), file, line);
    if (seq != world_seq(world) || strcmp(model, world_model(world, 0)) != 0)
        fail_msg("%s:%d: the last good state was lost", file, line);
    PullStatus status;
    puller_status(world->puller, &status);
    assert_string_equal(code, status.code);
}
#define assert_refused(world, code) check_refused((world), (code), __FILE__, __LINE__)

/* The truth is served again and accepted. */
static void assert_recovers(World *world)
{
    world->answer = (Str){ 0 };
    world->status = 0;
    world->media_type = NULL;
    world->encoding = NULL;
    world->object_status = 0;
    world->spoil = NULL;
    world->transport = OK;
    world_change(world, 0, "recovered");
    world_publish(world);
    assert_ok(puller_step(world->puller));
    assert_string_equal("recovered", world_model(world, 0));
}

/* The next manifest, not served yet. */
static Manifest next_manifest(World *world)
{
    world_change(world, 0, "attacked");
    return world_next(world);
}

static void offer(World *world, Str jws)
{
    world->answer = jws;
}

static void assert_offer_refused(World *world, Str jws, const char *code)
{
    offer(world, jws);
    assert_refused(world, code);
}

/* A compact JWS with a header of the attacker's choice over a payload, signed by key or not at all. */
static Str jws_with(World *world, const char *header, Str payload, const KeyPair *key)
{
    Arena *a = world->arena;
    Str head = base64url_encode(a, str_bytes(str_from_c(header)));
    Str body = base64url_encode(a, str_bytes(payload));
    Str real = jws_sign(a, key != NULL ? key : &world->manifest_key, STR(MANIFEST_TYP), payload);
    Str first, rest, second, signature;
    str_cut(real, '.', &first, &rest);
    str_cut(rest, '.', &second, &signature);
    return arena_fmt(
        a, STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(body), STR_ARG(key != NULL ? signature : STR("")));
}

static Str header_with(World *world, const char *members)
{
    return arena_fmt(world->arena, "{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"" MANIFEST_TYP "\"%s}",
        world->manifest_key.public_key.kid, members);
}

/* --- envelope --- */

ATTACK(test_attack_01_no_signature)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    assert_offer_refused(world, jws_with(world, header_with(world, "").ptr, payload, NULL), "jose-malformed");
    assert_offer_refused(world, STR("{\"payload\":\"e30\",\"signatures\":[]}"), "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_02_signature_stripped)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    assert_offer_refused(world, manifest_build(world->arena, &next), "jose-malformed");
    Str jws = world_sign(world, &next);
    size_t dot = 0;
    for (size_t i = 0; i < jws.len; i++)
        dot = jws.ptr[i] == '.' ? i : dot;
    assert_offer_refused(world, arena_str(world->arena, str_first(jws, dot)), "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_03_every_other_algorithm)
{
    World *world = *state;
    static const char *const algorithms[] = { "none", "HS256", "ES256", "RS256", "XX", "EdDSA448" };
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
        Str header = arena_fmt(world->arena, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"" MANIFEST_TYP "\"}",
            algorithms[i], world->manifest_key.public_key.kid);
        assert_offer_refused(world, jws_with(world, header.ptr, payload, &world->manifest_key), "jose-algorithm");
    }
    assert_recovers(world);
}

ATTACK(test_attack_04_wrong_typ)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    assert_offer_refused(world, jws_sign(world->arena, &world->manifest_key, STR(HEARTBEAT_TYP), payload), "jose-type");
    assert_offer_refused(world, jws_sign(world->arena, &world->manifest_key, STR("JWT"), payload), "jose-type");
    Heartbeat beat = world_heartbeat(world);
    Str beat_payload = heartbeat_build(world->arena, &beat);
    assert_offer_refused(
        world, jws_sign(world->arena, &world->manifest_key, STR(MANIFEST_TYP), beat_payload), "manifest-malformed");
    assert_offer_refused(world, world->projects[0].jwe, "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_05_unknown_kid_and_kid_of_another_role)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    KeyPair stranger = ed25519_new();
    assert_offer_refused(world, world_sign_with(world, &stranger, &next), "jose-key-unknown");
    assert_offer_refused(world, world_sign_with(world, &world->enrol_key, &next), "jose-key-unknown");
    assert_offer_refused(world, world_sign_with(world, &world->root_key, &next), "jose-key-unknown");
    assert_offer_refused(world, world_sign_with(world, &world->checkpoint_key, &next), "jose-key-unknown");
    keypair_release(&stranger);
    assert_recovers(world);
}

ATTACK(test_attack_06_keys_in_the_header)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    static const char *const members[] = { ",\"jwk\":{\"kty\":\"OKP\"}", ",\"jku\":\"https://evil.example/keys\"",
        ",\"x5c\":[\"AA\"]" };
    for (size_t i = 0; i < COUNT_OF(members); i++)
        assert_offer_refused(world, jws_with(world, header_with(world, members[i]).ptr, payload, &world->manifest_key),
            "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_07_unknown_crit)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str header = header_with(world, ",\"crit\":[\"b64\"],\"b64\":false");
    assert_offer_refused(world, jws_with(world, header.ptr, manifest_build(world->arena, &next), &world->manifest_key),
        "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_08_base64url_that_is_not_canonical)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str jws = world_sign(world, &next);
    assert_offer_refused(world, arena_fmt(world->arena, STR_FMT "=", STR_ARG(jws)), "jose-malformed");
    assert_offer_refused(world, arena_fmt(world->arena, STR_FMT "\n", STR_ARG(jws)), "jose-malformed");
    assert_offer_refused(world, arena_fmt(world->arena, " " STR_FMT, STR_ARG(jws)), "jose-malformed");
    assert_offer_refused(world, arena_fmt(world->arena, STR_FMT "AAAA", STR_ARG(jws)), "jose-malformed");
    /* 64 bytes end in a character of which four bits count: another spelling of the same bytes. */
    char *spelling = (char *)(uintptr_t)arena_str(world->arena, jws).ptr;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *last = &spelling[jws.len - 1];
    *last = letters[((size_t)(strchr(letters, *last) - letters)) | 1];
    if (*last == jws.ptr[jws.len - 1])
        *last = letters[((size_t)(strchr(letters, *last) - letters)) ^ 1];
    assert_offer_refused(world, str_n(spelling, jws.len), "jose-malformed");
    assert_recovers(world);
}

ATTACK(test_attack_09_malleable_signature_and_small_order_key)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str jws = world_sign(world, &next);
    static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde,
        0xf9, 0xde, 0x14, [31] = 0x10 };
    size_t dot = 0;
    for (size_t i = 0; i < jws.len; i++)
        dot = jws.ptr[i] == '.' ? i : dot;
    uint8_t signature[64];
    assert_ok(base64url_decode_into(str_skip(jws, dot + 1), signature, sizeof signature));
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) { /* S + L signs the same to a careless verifier */
        carry += (unsigned)signature[32 + i] + order[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    Str forged = arena_fmt(world->arena, STR_FMT "." STR_FMT, STR_ARG(str_first(jws, dot)),
        STR_ARG(base64url_encode(world->arena, BYTES_OF(signature))));
    assert_offer_refused(world, forged, "jose-signature");
    static const char *const small[] = { "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" };
    for (size_t i = 0; i < COUNT_OF(small); i++) {
        PublicKey key;
        json_t *jwk = json_pack("{s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519", "x", small[i]);
        assert_int_not_equal(ERR_NONE, ed25519_from_jwk(jwk, &key).kind);
        json_decref(jwk);
    }
    assert_recovers(world);
}

/* A second root whose root role needs two different signers. */
static void raise_threshold(World *world, KeyPair *second)
{
    PublicKey *keys = NEW(world->arena, PublicKey, 2);
    *second = ed25519_new();
    keys[0] = world->root_key.public_key;
    keys[1] = second->public_key;
    world->root.version = 2;
    world->root.roles[ROLE_ROOT] = (RoleKeys){ .threshold = 2, .keys = { .items = keys, .count = 2 } };
    const KeyPair *both[] = { &world->root_key, second };
    world_root_by(world, both, 2);
}

/* Asks for the next root now, by a manifest whose key is unknown so far. */
static Err step_with_new_key(World *world, KeyPair *unknown)
{
    Manifest next = world_next(world);
    offer(world, world_sign_with(world, unknown, &next));
    return puller_step(world->puller);
}

static int64_t root_version(World *world)
{
    PullStatus status;
    puller_status(world->puller, &status);
    return status.root_version;
}

ATTACK(test_attack_10_one_key_counted_twice)
{
    World *world = *state;
    KeyPair second, stranger = ed25519_new();
    raise_threshold(world, &second);
    (void)step_with_new_key(world, &stranger).kind;
    assert_int_equal(2, root_version(world));
    /* Version 3 by the first key twice: signed two times, by one signer. */
    world->root.version = 3;
    const KeyPair *twice[] = { &world->root_key, &world->root_key };
    world_root_by(world, twice, 2);
    assert_int_not_equal(ERR_NONE, step_with_new_key(world, &stranger).kind);
    assert_int_equal(2, root_version(world));
    assert_string_equal("model-1", world_model(world, 0));
    keypair_release(&second);
    keypair_release(&stranger);
}

/* --- content --- */

static Str flip_byte(World *world, Str bytes)
{
    char *copy = (char *)(uintptr_t)arena_str(world->arena, bytes).ptr;
    copy[bytes.len / 2] ^= 1;
    return str_n(copy, bytes.len);
}

ATTACK(test_attack_11_one_byte_flipped)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str jws = world_sign(world, &next), first, rest;
    str_cut(jws, '.', &first, &rest);
    char *copy = (char *)(uintptr_t)arena_str(world->arena, jws).ptr;
    copy[first.len + rest.len / 2] = copy[first.len + rest.len / 2] == 'A' ? 'B' : 'A';
    assert_offer_refused(world, str_n(copy, jws.len), "jose-signature");
    world->answer = (Str){ 0 };
    world_serve(world, &next);
    world->spoil = flip_byte;
    assert_refused(world, "object-digest");
    assert_recovers(world);
}

static Str one_byte_more(World *world, Str bytes)
{
    return arena_fmt(world->arena, STR_FMT " ", STR_ARG(bytes));
}

static Str one_byte_less(World *world, Str bytes)
{
    return arena_str(world->arena, str_first(bytes, bytes.len - 1));
}

/* Only the objects proper are spoilt: shards pass. */
static Str shorten_objects(World *world, Str bytes)
{
    return str_starts_with(bytes, STR("{\"v\":1,\"shard\"")) ? bytes : one_byte_less(world, bytes);
}
static Str lengthen_objects(World *world, Str bytes)
{
    return str_starts_with(bytes, STR("{\"v\":1,\"shard\"")) ? bytes : one_byte_more(world, bytes);
}

ATTACK(test_attack_12_wrong_length_and_compression)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    world_serve(world, &next);
    world->spoil = shorten_objects;
    assert_refused(world, "object-length");
    world->spoil = lengthen_objects;
    assert_refused(world, "answer-too-long");
    world->spoil = NULL;
    world->encoding = "gzip";
    assert_refused(world, "content-encoding");
    char *huge = NEW(world->arena, char, MANIFEST_BYTES_MAX + 2);
    memset(huge, 'A', MANIFEST_BYTES_MAX + 1);
    world->encoding = NULL;
    assert_offer_refused(world, str_n(huge, MANIFEST_BYTES_MAX + 1), "answer-too-long");
    assert_recovers(world);
}

/* The newest manifest's first project gets these routing bytes, correctly listed and signed. */
static void serve_routing(World *world, Str bytes)
{
    Manifest next = next_manifest(world);
    Digest *shards = (Digest *)(uintptr_t)next.shards;
    WorldProject *p = &world->projects[0];
    int number = shard_of_project(p->id);
    ShardEntry entries[8];
    Shard shard = { .number = number, .entries = entries };
    for (size_t i = 0; i < WORLD_PROJECTS; i++) {
        WorldProject *other = &world->projects[i];
        if (shard_of_project(other->id) != number)
            continue;
        Str routing = i == 0 ? bytes : world_routing(world, other);
        entries[shard.count++] = world_entry(world, other, KIND_ROUTING, routing);
        entries[shard.count++] = world_entry(world, other, KIND_SECRETS, world_secrets(world, other));
    }
    shards[number] = digest_of(str_bytes(world_store(world, shard_build(world->arena, &shard))));
    next.seq = world_seq(world) + 1;
    offer(world, world_sign(world, &next));
}

static Str replaced(World *world, Str text, const char *from, const char *to)
{
    const char *at = strstr(text.ptr, from);
    assert_non_null(at);
    size_t before = (size_t)(at - text.ptr);
    return arena_fmt(world->arena, STR_FMT "%s%s", STR_ARG(str_first(text, before)), to, at + strlen(from));
}

ATTACK(test_attack_13_json_that_readers_read_differently)
{
    World *world = *state;
    static const char *const edits[][2] = {
        { "\"workflows\":", "\"workflows\":[],\"workflows\":" },
        { "\"limits\"", "\"limitz\"" },
        { "\"version\":", "\"version\":9007199254740993,\"x\":" },
        { "\"max_attempts\":1", "\"max_attempts\":NaN" },
        { "\"max_attempts\":1", "\"max_attempts\":1e400" },
        { "\"model\":\"attacked\"", "\"model\":\"\xff\"" },
        { "\"model\":\"attacked\"", "\"model\":\"a\\u0000b\"" },
        { "\"connections\":[", "\"connections\":[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]],[" },
    };
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        WorldProject as_next = world->projects[0];
        as_next.model = "attacked";
        as_next.version++;
        Str text = world_routing(world, &as_next);
        if (strstr(text.ptr, edits[i][0]) == NULL)
            continue;
        Str edited = replaced(world, text, edits[i][0], edits[i][1]);
        int64_t version = world->projects[0].version;
        serve_routing(world, edited);
        world->projects[0].version = version;
        assert_refused(world, "object-malformed");
    }
    assert_recovers(world);
}

ATTACK(test_attack_14_listed_but_absent)
{
    World *world = *state;
    world_change(world, 0, "attacked");
    world_publish(world);
    world->object_status = 404;
    assert_refused(world, "status-404");
    assert_recovers(world);
}

ATTACK(test_attack_15_path_traversal_in_ids)
{
    World *world = *state;
    static const char *const ids[] = { "..", "../../etc/passwd", "%2f", "", "root", "prj_", "prj_../../../x" };
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        WorldProject as_next = world->projects[0];
        as_next.version++;
        Str id = typeid_format(world->arena, STR("prj"), as_next.id);
        Str quoted = arena_fmt(world->arena, "\"%s\"", ids[i]);
        Str edited = replaced(world, world_routing(world, &as_next),
            arena_fmt(world->arena, "\"" STR_FMT "\"", STR_ARG(id)).ptr, quoted.ptr);
        int64_t version = world->projects[0].version;
        serve_routing(world, edited);
        world->projects[0].version = version;
        assert_refused(world, "object-malformed");
    }
    assert_recovers(world);
}

ATTACK(test_attack_16_manifest_of_another_fleet_or_installation)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    next.fleet = uuid_v7(time_now());
    assert_offer_refused(world, world_sign(world, &next), "manifest-other-fleet");
    next.fleet = world->fleet;
    next.installation = uuid_v7(time_now());
    assert_offer_refused(world, world_sign(world, &next), "manifest-other-installation");
    assert_recovers(world);
}

ATTACK(test_attack_17_object_under_another_projects_entry)
{
    World *world = *state;
    WorldProject other = world->projects[1];
    other.version = world->projects[0].version + 1;
    serve_routing(world, world_routing(world, &other));
    assert_refused(world, "object-misplaced");
    assert_recovers(world);
}

ATTACK(test_attack_18_unknown_schema_version_and_client_too_old)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    Str later = replaced(world, payload, "\"v\":1", "\"v\":2");
    assert_offer_refused(
        world, jws_sign(world->arena, &world->manifest_key, STR(MANIFEST_TYP), later), "version-unsupported");
    next.min_client = SNAPSHOT_CLIENT_LEVEL + 1;
    assert_offer_refused(world, world_sign(world, &next), "client-too-old");
    assert_ok(puller_report(world->puller));
    assert_non_null(strstr(world->last_ack, "\"state\":\"refused\""));
    assert_non_null(strstr(world->last_ack, "client-too-old"));
    assert_recovers(world);
}

/* --- freshness --- */

/* Activates snapshots up to seq. */
static void advance_to(World *world, int64_t seq)
{
    world->answer = (Str){ 0 };
    while (world_seq(world) < seq) {
        world_change(world, 0, "model-1");
        world_publish(world);
        assert_ok(puller_step(world->puller));
    }
}

ATTACK(test_attack_19_lower_seq)
{
    World *world = *state;
    Str old = world->manifest_jws;
    advance_to(world, 3);
    assert_offer_refused(world, old, "manifest-rolled-back");
    assert_recovers(world);
}

ATTACK(test_attack_20_same_seq_other_digest)
{
    World *world = *state;
    Manifest twin = world->manifest;
    twin.max_stale_s++;
    assert_offer_refused(world, world_sign(world, &twin), "manifest-equivocation");
    assert_recovers(world);
}

ATTACK(test_attack_21_same_seq_same_digest_is_accepted)
{
    World *world = *state;
    offer(world, world->manifest_jws);
    assert_ok(puller_step(world->puller));
    assert_int_equal(1, world_seq(world));
}

ATTACK(test_attack_22_broken_prev)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    next.prev = digest_of(str_bytes(STR("another history")));
    assert_offer_refused(world, world_sign(world, &next), "manifest-broken-chain");
    next.has_prev = false;
    assert_offer_refused(world, world_sign(world, &next), "manifest-broken-chain");
    assert_recovers(world);
}

ATTACK(test_attack_23_object_version_going_down)
{
    World *world = *state;
    advance_to(world, 3);
    int64_t version = world->projects[0].version;
    world->projects[0].version = 1;
    world->projects[0].model = "attacked";
    Manifest next = world_next(world);
    assert_offer_refused(world, world_sign(world, &next), "object-rolled-back");
    world->projects[0].version = version;
    world->projects[0].model = "attacked";
    next = world_next(world);
    assert_offer_refused(world, world_sign(world, &next), "object-equivocation");
    assert_recovers(world);
}

/* Shards as if project 0 had never been. */
static Manifest without_project(World *world)
{
    Manifest next = world_next(world);
    Digest *shards = (Digest *)(uintptr_t)next.shards;
    int number = shard_of_project(world->projects[0].id);
    ShardEntry entries[8];
    Shard shard = { .number = number, .entries = entries };
    for (size_t i = 1; i < WORLD_PROJECTS; i++)
        if (shard_of_project(world->projects[i].id) == number) {
            entries[shard.count++] =
                world_entry(world, &world->projects[i], KIND_ROUTING, world_routing(world, &world->projects[i]));
            entries[shard.count++] =
                world_entry(world, &world->projects[i], KIND_SECRETS, world_secrets(world, &world->projects[i]));
        }
    shards[number] = digest_of(str_bytes(world_store(world, shard_build(world->arena, &shard))));
    return next;
}

ATTACK(test_attack_24_project_vanishing_without_a_tombstone)
{
    World *world = *state;
    Manifest next = without_project(world);
    assert_offer_refused(world, world_sign(world, &next), "project-vanished");
    world->answer = (Str){ 0 };
    world->projects[0].buried = true;
    world->projects[0].version++;
    world_publish(world);
    assert_ok(puller_step(world->puller));
    assert_string_equal("none", world_model(world, 0));
    assert_string_equal("model-1", world_model(world, 1));
    next = without_project(world);
    assert_offer_refused(world, world_sign(world, &next), "tombstone-vanished");
    world->projects[0].buried = false;
    world->projects[0].version = 1; /* not above its tombstone */
    next = world_next(world);
    assert_offer_refused(world, world_sign(world, &next), "object-rolled-back");
    world->projects[0].version = 10;
    assert_recovers(world);
}

ATTACK(test_attack_25_fast_forward_and_recovery_by_root_rotation)
{
    World *world = *state;
    Manifest next = next_manifest(world);
    Str payload = manifest_build(world->arena, &next);
    Str forward = replaced(world, payload, "\"seq\":2", "\"seq\":9223372036854775807");
    assert_offer_refused(
        world, jws_sign(world->arena, &world->manifest_key, STR(MANIFEST_TYP), forward), "manifest-malformed");
    /* The highest number there is, by a stolen key: nothing can follow it… */
    next.seq = WIRE_INT_MAX;
    offer(world, world_sign(world, &next));
    assert_ok(puller_step(world->puller));
    assert_true(world_seq(world) == WIRE_INT_MAX);
    /* …until a new root takes the key away. */
    keypair_release(&world->manifest_key);
    world->manifest_key = ed25519_new();
    world->root.version = 2;
    world_role(world, ROLE_MANIFEST, &world->manifest_key);
    world_root(world);
    world->answer = (Str){ 0 };
    world->projects[0].version = 3;
    world->projects[0].model = "after";
    world_publish(world);
    assert_int_equal(2, world->manifest.seq);
    for (int i = 0; i < 2 && world_seq(world) != 2; i++)
        (void)puller_step(world->puller).kind; /* the first poll meets the new key, the next asks from the beginning */
    assert_int_equal(2, world_seq(world));
    assert_string_equal("after", world_model(world, 0));
    world_restart(world);
    assert_int_equal(2, world_seq(world));
}

ATTACK(test_attack_26_heartbeats_expired_old_and_from_the_future)
{
    World *world = *state;
    Heartbeat beat = world_heartbeat(world);
    beat.now = time_add_s(time_now(), -1000);
    beat.expires = time_add_s(beat.now, 60);
    assert_offer_refused(world, world_sign_heartbeat(world, &world->manifest_key, &beat), "heartbeat-expired");
    beat = world_heartbeat(world);
    beat.now = time_add_s(time_now(), 1000);
    beat.expires = time_add_s(beat.now, 60);
    assert_offer_refused(world, world_sign_heartbeat(world, &world->manifest_key, &beat), "heartbeat-from-the-future");
    Heartbeat old = world_heartbeat(world);
    advance_to(world, 2);
    assert_offer_refused(world, world_sign_heartbeat(world, &world->manifest_key, &old), "heartbeat-other-manifest");
    beat = world_heartbeat(world);
    beat.fleet = uuid_v7(time_now());
    assert_offer_refused(world, world_sign_heartbeat(world, &world->manifest_key, &beat), "heartbeat-other-fleet");
    assert_recovers(world);
}

static PullFreshness freshness(World *world)
{
    PullStatus status;
    puller_status(world->puller, &status);
    return status.freshness;
}

ATTACK(test_attack_27_clock_set_back_and_forward)
{
    World *world = *state;
    /* Back: signed time goes on. What has expired by it stays expired. */
    Time before = puller_now(world->puller);
    world->clock_us = -10 * US_PER_DAY;
    assert_true(puller_now(world->puller).us >= before.us - US_PER_S);
    assert_int_equal(PULL_FRESH, freshness(world));
    /* Forward: past the hard expiry nothing is served, and nothing signed earlier is believed… */
    world->clock_us = 10 * US_PER_DAY;
    assert_int_equal(PULL_EXPIRED, freshness(world));
    Heartbeat beat = world_heartbeat(world);
    assert_offer_refused(world, world_sign_heartbeat(world, &world->manifest_key, &beat), "root-expired");
    /* …and it comes back with the clock. */
    world->clock_us = 0;
    assert_int_equal(PULL_FRESH, freshness(world));
    Manifest next = next_manifest(world);
    next.issued_at = time_add_s(time_now(), 2 * PULL_CLOCK_SKEW_S);
    assert_offer_refused(world, world_sign(world, &next), "manifest-from-the-future");
    /* An expiry crossed before the update is done. */
    next = world_next(world);
    next.issued_at = time_add_s(time_now(), -10);
    next.hard_expiry = time_add_s(time_now(), -1);
    assert_offer_refused(world, world_sign(world, &next), "manifest-expired");
    assert_recovers(world);
}

static void remove_file(World *world, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", world->dir, name);
    assert_int_equal(0, remove(path));
}

static void copy_dir(const char *from, const char *to)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("cp", "cp", "-rT", from, to, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_int_equal(0, status);
}

ATTACK(test_attack_28_restart_with_the_mark_deleted_or_the_state_rolled_back)
{
    World *world = *state;
    char saved[] = "/tmp/reeve-saved-XXXXXX", path[256];
    assert_non_null(mkdtemp(saved));
    Str old = world->manifest_jws;
    advance_to(world, 2);
    copy_dir(world->dir, saved);
    advance_to(world, 4);
    /* The mark deleted: the state says it again. */
    remove_file(world, "mark");
    world_restart(world);
    assert_int_equal(4, world_seq(world));
    assert_offer_refused(world, old, "manifest-rolled-back");
    world->answer = (Str){ 0 };
    /* Manifests older than the mark: served, but nothing below the mark is taken. */
    remove_file(world, "manifests/0000000000000004.jws");
    world_restart(world);
    assert_int_equal(3, world_seq(world));
    assert_offer_refused(world, old, "manifest-rolled-back");
    world->answer = (Str){ 0 };
    assert_ok(puller_step(world->puller));
    assert_int_equal(4, world_seq(world));
    /* The whole directory replaced by an older, consistent one cannot be seen offline; the next poll mends it. */
    puller_close(&world->puller);
    nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    copy_dir(saved, world->dir);
    world_open(world);
    assert_int_equal(2, world_seq(world));
    assert_ok(puller_step(world->puller));
    assert_int_equal(4, world_seq(world));
    snprintf(path, sizeof path, "%s", saved);
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static ReeveResult open_key(World *world, size_t n, const char *origin, char *out, size_t out_size)
{
    struct {
        Arena *arena;
        Puller *puller;
    } reeve = { world->arena, world->puller }; /* what reeve_secret_open reads of a Reeve */
    PullView *view = puller_acquire(world->puller);
    const ReeveSnapshot *snapshot = (const ReeveSnapshot *)view;
    Digest digest = token_digest(str_from_c(world->projects[n].client_key));
    const ReeveClientKey *key = reeve_client_key(snapshot, digest.b);
    const ReeveConnection *connection = reeve_workflow(key->project, "summarize", 9)->revision->targets[0].connection;
    size_t len = 0;
    int64_t version = 0;
    memset(out, 0, out_size);
    ReeveResult result =
        reeve_secret_open((Reeve *)&reeve, snapshot, connection, origin, (uint8_t *)out, out_size - 1, &len, &version);
    puller_release(world->puller, view);
    return result;
}

ATTACK(test_attack_29_hard_expiry_reached_while_cut_off)
{
    World *world = *state;
    char key[64];
    assert_int_equal(REEVE_OK, open_key(world, 0, ORIGIN, key, sizeof key));
    assert_string_equal("sk-a", key);
    world->transport = FAIL(ERR_UNAVAILABLE, "connect", "cut off");
    assert_refused(world, "connect");
    world->clock_us = 61 * US_PER_S;
    assert_int_equal(PULL_STALE, freshness(world));
    assert_int_equal(REEVE_OK, open_key(world, 0, ORIGIN, key, sizeof key));
    world->clock_us = 3601 * US_PER_S;
    assert_int_equal(PULL_EXPIRED, freshness(world));
    assert_int_equal(REEVE_EXPIRED, open_key(world, 0, ORIGIN, key, sizeof key));
    assert_string_equal("", key);
}

/* --- keys --- */

ATTACK(test_attack_30_root_n_plus_2_without_n_plus_1)
{
    World *world = *state;
    KeyPair stranger = ed25519_new();
    world->root.version = 3;
    world_root(world);
    world->roots[2] = world->roots[3]; /* served as version 2 */
    assert_int_not_equal(ERR_NONE, step_with_new_key(world, &stranger).kind);
    assert_int_equal(1, root_version(world));
    keypair_release(&stranger);
}

ATTACK(test_attack_31_root_signed_only_by_the_new_or_only_by_the_old_keys)
{
    World *world = *state;
    KeyPair fresh = ed25519_new(), stranger = ed25519_new();
    world->root.version = 2;
    world_role(world, ROLE_ROOT, &fresh);
    const KeyPair *only_new[] = { &fresh }, *only_old[] = { &world->root_key }, *both[] = { &world->root_key, &fresh };
    world_root_by(world, only_new, 1);
    assert_int_not_equal(ERR_NONE, step_with_new_key(world, &stranger).kind);
    assert_int_equal(1, root_version(world));
    world_root_by(world, only_old, 1);
    assert_int_not_equal(ERR_NONE, step_with_new_key(world, &stranger).kind);
    assert_int_equal(1, root_version(world));
    world_root_by(world, both, 2);
    assert_err("jose-key-unknown", step_with_new_key(world, &stranger));
    assert_int_equal(2, root_version(world));
    keypair_release(&fresh);
    keypair_release(&stranger);
}

ATTACK(test_attack_32_manifest_by_a_key_just_removed)
{
    World *world = *state;
    KeyPair old = world->manifest_key;
    world->manifest_key = ed25519_new();
    world->root.version = 2;
    world_role(world, ROLE_MANIFEST, &world->manifest_key);
    world_root(world);
    Manifest next = next_manifest(world);
    offer(world, world_sign(world, &next));
    assert_ok(puller_step(world->puller));
    assert_int_equal(2, root_version(world));
    world->manifest = next;
    world->manifest_jws = world->answer;
    next = next_manifest(world);
    assert_offer_refused(world, world_sign_with(world, &old, &next), "jose-key-unknown");
    keypair_release(&old);
}

ATTACK(test_attack_33_expired_root)
{
    World *world = *state;
    world->clock_us = 2 * US_PER_DAY;
    Manifest next = next_manifest(world);
    next.issued_at = time_add_s(time_now(), 2 * 86400);
    next.hard_expiry = time_add_s(next.issued_at, 3600);
    assert_offer_refused(world, world_sign(world, &next), "root-expired");
}

ATTACK(test_attack_34_threshold_raised_with_the_old_number_of_signatures)
{
    World *world = *state;
    KeyPair second, stranger = ed25519_new();
    raise_threshold(world, &second);
    world_root(world); /* by the first key alone */
    assert_int_not_equal(ERR_NONE, step_with_new_key(world, &stranger).kind);
    assert_int_equal(1, root_version(world));
    keypair_release(&second);
    keypair_release(&stranger);
}

ATTACK(test_attack_35_a_heartbeat_key_signing_a_manifest)
{
    World *world = *state;
    /* There is one role for both; what keeps them apart is the typ, and it is signed. */
    Heartbeat beat = world_heartbeat(world);
    Str heartbeat = world_sign_heartbeat(world, &world->manifest_key, &beat), head, rest;
    Manifest next = next_manifest(world);
    Str manifest = world_sign(world, &next), manifest_head, manifest_rest;
    str_cut(heartbeat, '.', &head, &rest);
    str_cut(manifest, '.', &manifest_head, &manifest_rest);
    assert_offer_refused(
        world, arena_fmt(world->arena, STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(manifest_rest)), "jose-type");
    assert_offer_refused(
        world, arena_fmt(world->arena, STR_FMT "." STR_FMT, STR_ARG(manifest_head), STR_ARG(rest)), "jose-signature");
    assert_recovers(world);
}

/* --- secrets --- */

/* The fleet's next generation: a new key, everything sealed anew. */
static void next_generation(World *world)
{
    secret_release(&world->fleet_key);
    world->fleet_key = secret_random(FLEET_KEY_BYTES);
    world->generation++;
    for (size_t i = 0; i < WORLD_PROJECTS; i++)
        world->projects[i].version++;
    world_publish(world);
}

ATTACK(test_attack_36_keyring_of_another_data_plane)
{
    World *world = *state;
    char key[64];
    KeyPair other = x25519_new();
    next_generation(world);
    world->keyring = world_keyring_for(world, uuid_v7(time_now()), &other.public_key, 2);
    assert_refused(world, "keyring-other-data-plane");
    world->keyring = world_keyring_for(world, world->data_plane, &other.public_key, 2);
    assert_refused(world, "jose-key-unknown");
    world->keyring = world_keyring_for(world, world->data_plane, &world->encrypt, 1);
    assert_refused(world, "keyring-other-generation");
    world->keyring = (Str){ 0 };
    assert_ok(puller_step(world->puller));
    assert_int_equal(REEVE_OK, open_key(world, 1, ORIGIN, key, sizeof key));
    keypair_release(&other);
}

/* Offers snapshot 2 whose first project's sealed secret is this. */
static void serve_secret(World *world, Str jwe)
{
    WorldProject *p = &world->projects[0];
    p->jwe = jwe;
    p->jwe_version = p->secret_version;
    p->jwe_generation = world->generation;
    p->version++;
    Manifest next = world_next(world);
    p->version--;
    offer(world, world_sign(world, &next));
}

ATTACK(test_attack_37_protected_header_edited)
{
    World *world = *state;
    char key[64];
    SecretPlace places[5];
    for (size_t i = 0; i < COUNT_OF(places); i++)
        places[i] = world_place(world, &world->projects[0]);
    places[0].project = world->projects[1].id;
    places[1].org = world->projects[1].org;
    places[2].version = 2;
    places[3].fleet = world->projects[1].id;
    places[4].generation = 2;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        serve_secret(world, world_seal(world, &places[i], "sk-evil"));
        assert_refused(world, "secret-misplaced");
    }
    /* The origin edited in the header of a sealed secret: well placed, and it does not open. */
    SecretPlace place = world_place(world, &world->projects[0]);
    Str good = world_seal(world, &place, "sk-a"), head, rest;
    place.origin = STR("https://evil.example");
    Str evil = world_seal(world, &place, "sk-a"), evil_head, evil_rest;
    str_cut(good, '.', &head, &rest);
    str_cut(evil, '.', &evil_head, &evil_rest);
    serve_secret(world, arena_fmt(world->arena, STR_FMT "." STR_FMT, STR_ARG(evil_head), STR_ARG(rest)));
    assert_ok(puller_step(world->puller));
    assert_int_equal(REEVE_SEALED, open_key(world, 0, "https://evil.example", key, sizeof key));
    assert_int_equal(REEVE_ORIGIN, open_key(world, 0, ORIGIN, key, sizeof key));
    assert_int_equal(REEVE_OK, open_key(world, 1, ORIGIN, key, sizeof key));
}

ATTACK(test_attack_38_secret_of_another_project)
{
    World *world = *state;
    serve_secret(world, world->projects[1].jwe);
    assert_refused(world, "secret-misplaced");
}

ATTACK(test_attack_39_old_secret_version_replayed_after_rotation)
{
    World *world = *state;
    char key[64];
    Str old = world->projects[0].jwe;
    world->projects[0].secret_version = 2;
    world->projects[0].provider_key = "sk-a-2";
    world_change(world, 0, "model-1");
    world_publish(world);
    assert_ok(puller_step(world->puller));
    assert_int_equal(REEVE_OK, open_key(world, 0, ORIGIN, key, sizeof key));
    assert_string_equal("sk-a-2", key);
    serve_secret(world, old); /* version 1's bytes as version 2 */
    assert_refused(world, "secret-misplaced");
    assert_int_equal(REEVE_OK, open_key(world, 0, ORIGIN, key, sizeof key));
    assert_string_equal("sk-a-2", key);
}

/* The first project's JWE with one more or another header member; it can never be opened, and must not be prepared. */
static Str jwe_with(World *world, const char *from, const char *to)
{
    Arena *a = world->arena;
    Str head, rest;
    Bytes header;
    SecretPlace place = world_place(world, &world->projects[0]);
    str_cut(world_seal(world, &place, "sk-a"), '.', &head, &rest);
    assert_ok(base64url_decode(a, head, &header));
    Str edited = replaced(world, arena_str(a, bytes_str(header)), from, to);
    return arena_fmt(a, STR_FMT "." STR_FMT, STR_ARG(base64url_encode(a, str_bytes(edited))), STR_ARG(rest));
}

ATTACK(test_attack_40_zip_p2c_and_low_order_epk)
{
    World *world = *state;
    serve_secret(world, jwe_with(world, "\"alg\":\"dir\"", "\"alg\":\"dir\",\"zip\":\"DEF\""));
    assert_refused(world, "jose-malformed");
    serve_secret(world, jwe_with(world, "\"alg\":\"dir\"", "\"alg\":\"dir\",\"p2c\":1000000"));
    assert_refused(world, "jose-malformed");
    /* A keyring whose ephemeral key is of low order. */
    next_generation(world);
    world->answer = (Str){ 0 };
    Str good = world_keyring_for(world, world->data_plane, &world->encrypt, 2), payload;
    Keyring keyring;
    assert_ok(jws_peek(world->arena, good, &payload));
    assert_ok(keyring_parse(world->arena, payload, &keyring));
    Str head, rest;
    Bytes header;
    str_cut(keyring.jwe, '.', &head, &rest);
    assert_ok(base64url_decode(world->arena, head, &header));
    json_t *value = NULL;
    assert_ok(json_parse(bytes_str(header), JSON_LIMITS_ADMIN, &value));
    json_object_set_new(json_object_get(value, "epk"), "x", json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    Str edited = json_write(world->arena, value);
    json_decref(value);
    keyring.jwe = arena_fmt(
        world->arena, STR_FMT "." STR_FMT, STR_ARG(base64url_encode(world->arena, str_bytes(edited))), STR_ARG(rest));
    world->keyring =
        jws_sign(world->arena, &world->manifest_key, STR(KEYRING_TYP), keyring_build(world->arena, &keyring));
    assert_int_not_equal(ERR_NONE, puller_step(world->puller).kind);
    assert_int_equal(1, world_seq(world));
}

ATTACK(test_attack_41_algorithms_outside_the_closed_list)
{
    World *world = *state;
    static const char *const edits[][2] = {
        { "\"alg\":\"dir\"", "\"alg\":\"A256KW\"" },
        { "\"alg\":\"dir\"", "\"alg\":\"ECDH-ES\"" },
        { "\"alg\":\"dir\"", "\"alg\":\"none\"" },
        { "\"enc\":\"A256GCM\"", "\"enc\":\"A128GCM\"" },
        { "\"enc\":\"A256GCM\"", "\"enc\":\"A256CBC-HS512\"" },
    };
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        serve_secret(world, jwe_with(world, edits[i][0], edits[i][1]));
        assert_refused(world, "jose-algorithm");
    }
    serve_secret(world, jwe_with(world, "\"typ\":\"" SECRET_TYP "\"", "\"typ\":\"" FLEET_KEY_TYP "\""));
    assert_refused(world, "jose-type");
}

/* --- transport and crashes --- */

ATTACK(test_attack_42_not_modified_and_partial_answers)
{
    World *world = *state;
    static const int statuses[] = { 304, 206, 203 };
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        char code[32];
        snprintf(code, sizeof code, "status-%d", statuses[i]);
        world->status = statuses[i];
        assert_refused(world, code);
    }
    assert_recovers(world);
}

ATTACK(test_attack_43_redirect)
{
    World *world = *state;
    world->status = 302;
    assert_refused(world, "status-302");
    world->status = 308;
    assert_refused(world, "status-308");
    assert_recovers(world);
}

ATTACK(test_attack_44_refusals_failures_and_captive_portals)
{
    World *world = *state;
    static const int statuses[] = { 400, 401, 403, 404, 410, 429, 500, 502, 503, 511 };
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        char code[32];
        snprintf(code, sizeof code, "status-%d", statuses[i]);
        world->status = statuses[i];
        assert_refused(world, code);
    }
    world->status = 0;
    world->media_type = "text/html";
    assert_offer_refused(world, STR("<html>Please log in</html>"), "content-type");
    world->media_type = NULL;
    assert_offer_refused(world, STR("<html>Please log in</html>"), "jose-malformed");
    assert_offer_refused(world, STR(""), "jose-malformed");
    assert_recovers(world);
}

/* Kills the process at the n-th write. */
static void die_at(void *arg)
{
    World *world = arg;
    if (--world->writes_left == 0)
        kill(getpid(), SIGKILL);
}

/* A child takes snapshot 2 and is killed at its n-th write; false when it lived to the end. */
static bool child_dies(World *world, int n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        PullTransport transport = { .call = world_call, .arg = world };
        Puller *puller = NULL;
        PullerOptions options = { .state_dir = str_from_c(world->dir),
            .builder = view_builder(),
            .transport = &transport,
            .wait_s = 1,
            .arg = world,
            .on_write = die_at };
        if (puller_open(world->arena, &options, &puller).kind != ERR_NONE)
            _exit(2);
        world->writes_left = n;
        Err err = puller_step(puller);
        _exit(err.kind == ERR_NONE ? 0 : 3);
    }
    int status = 0;
    assert_int_equal(pid, waitpid(pid, &status, 0));
    if (WIFEXITED(status))
        assert_int_equal(0, WEXITSTATUS(status));
    return WIFSIGNALED(status);
}

ATTACK(test_attack_45_kill_at_every_write_while_persisting)
{
    World *world = *state;
    char saved[] = "/tmp/reeve-saved-XXXXXX";
    assert_non_null(mkdtemp(saved));
    puller_close(&world->puller);
    copy_dir(world->dir, saved);
    world_change(world, 0, "model-2");
    world_publish(world);
    bool died = true;
    int n = 1;
    for (; died && n < 200; n++) {
        nftw(world->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        copy_dir(saved, world->dir);
        died = child_dies(world, n);
        world_open(world);
        int64_t seq = world_seq(world);
        const char *model = world_model(world, 0);
        if (!(seq == 1 && strcmp(model, "model-1") == 0) && !(seq == 2 && strcmp(model, "model-2") == 0))
            fail_msg("killed at write %d: seq %lld with %s", n, (long long)seq, model);
        assert_string_equal("model-1", world_model(world, 1));
        assert_ok(puller_step(world->puller));
        assert_int_equal(2, world_seq(world));
        puller_close(&world->puller);
    }
    assert_true(n > 12); /* shard, two objects, manifest, mark: three writes and a rename each */
    nftw(saved, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void damage(World *world, const char *name, long at, bool truncate_it)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", world->dir, name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    if (truncate_it) {
        assert_int_equal(0, ftruncate(fileno(file), at));
    } else {
        assert_int_equal(0, fseek(file, at, SEEK_SET));
        int c = fgetc(file);
        assert_int_equal(0, fseek(file, at, SEEK_SET));
        fputc(c == 'A' ? 'B' : 'A', file);
    }
    fclose(file);
}

ATTACK(test_attack_46_truncated_or_corrupt_state_at_start)
{
    World *world = *state;
    advance_to(world, 3);
    damage(world, "manifests/0000000000000003.jws", 500, /* truncate_it= */ true);
    world_restart(world);
    assert_int_equal(2, world_seq(world));
    assert_ok(puller_step(world->puller));
    assert_int_equal(3, world_seq(world));
    damage(world, "manifests/0000000000000003.jws", 4000, /* truncate_it= */ false);
    world_restart(world);
    assert_int_equal(2, world_seq(world));
    assert_ok(puller_step(world->puller));
    /* A damaged object is fetched again. */
    Digest shard = world->manifest.shards[shard_of_project(world->projects[0].id)];
    Str name = arena_fmt(world->arena, "objects/" STR_FMT, STR_ARG(digest_text(world->arena, shard)));
    damage(world, name.ptr, 10, /* truncate_it= */ false);
    world_restart(world);
    assert_int_equal(2, world_seq(world));
    assert_ok(puller_step(world->puller));
    assert_int_equal(3, world_seq(world));
    /* Everything damaged: empty, and whole again after one poll. */
    damage(world, "manifests/0000000000000003.jws", 1, /* truncate_it= */ true);
    damage(world, "manifests/0000000000000002.jws", 1, /* truncate_it= */ true);
    damage(world, "mark", 3, /* truncate_it= */ true);
    world_restart(world);
    assert_int_equal(0, world_seq(world));
    assert_ok(puller_step(world->puller));
    assert_int_equal(3, world_seq(world));
}

ATTACK(test_attack_47_two_pullers_on_one_directory)
{
    World *world = *state;
    Puller *second = NULL;
    assert_err("state-locked", world_try_open(world, world->arena, &second));
    assert_null(second);
    assert_string_equal("model-1", world_model(world, 0));
}

ATTACK(test_attack_48_status_endpoint_down_and_nack_storm)
{
    World *world = *state;
    /* Down: activation does not wait for it. */
    world_change(world, 0, "model-2");
    world_publish(world);
    assert_ok(puller_step(world->puller));
    assert_string_equal("model-2", world_model(world, 0));
    world->transport = FAIL(ERR_TIMEOUT, "first-byte-timeout", "slow");
    assert_err("report-failed", puller_report(world->puller));
    world->transport = OK;
    assert_recovers(world);
    /* A storm of refusals: the same one is told once, all together at most so many a minute. */
    world->acks = 0;
    for (int i = 0; i < 200; i++) {
        offer(world, STR("storm"));
        assert_refused(world, "jose-malformed");
        assert_ok(puller_report(world->puller));
    }
    assert_in_range(world->acks, 1, 3);
    for (int i = 0; i < 200; i++) {
        Manifest next = world->manifest;
        next.seq += i;
        if (i % 2 == 0)
            next.fleet = uuid_v7(time_now());
        else
            next.installation = uuid_v7(time_now());
        offer(world, world_sign(world, &next));
        (void)puller_step(world->puller).kind;
        assert_ok(puller_report(world->puller));
    }
    assert_in_range(world->acks, 2, PULL_REPORTS_PER_MINUTE_MAX);
}

#define ATTACK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- the audit log, to which every data plane is a witness --- */

static Str own_log(World *world)
{
    return arena_fmt(
        world->arena, "reeve/" STR_FMT, STR_ARG(typeid_format(world->arena, STR("ins"), world->installation)));
}

static Manifest with_checkpoint(World *world, int64_t size, const char *leaves)
{
    Manifest next = next_manifest(world);
    next.checkpoint = (ManifestCheckpoint){
        .origin = own_log(world), .size = size, .root = digest_of(str_bytes(str_from_c(leaves)))
    };
    return next;
}

static void refuse_rewritten_logs(World *world)
{
    Manifest next = with_checkpoint(world, 6, "history of six");
    assert_offer_refused(world, world_sign(world, &next), "checkpoint-rolled-back");
    next = with_checkpoint(world, 7, "another history of seven");
    assert_offer_refused(world, world_sign(world, &next), "checkpoint-equivocation");
    next.checkpoint = (ManifestCheckpoint){ 0 };
    assert_offer_refused(world, world_sign(world, &next), "checkpoint-rolled-back");
    next = with_checkpoint(world, 8, "history of eight");
    next.checkpoint.origin = STR("reeve/ins_00000000000000000000000001");
    assert_offer_refused(world, world_sign(world, &next), "checkpoint-other-log");
    world->answer = (Str){ 0 };
}

ATTACK(test_an_audit_log_that_was_rewritten_is_refused_and_the_memory_of_it_outlives_a_restart)
{
    World *world = *state;
    Manifest next = with_checkpoint(world, 7, "history of seven");
    world_serve(world, &next);
    assert_ok(puller_step(world->puller));
    refuse_rewritten_logs(world);
    world_restart(world);
    refuse_rewritten_logs(world);
    assert_ok(puller_step(world->puller)); /* the report's turn */
    assert_ok(puller_report(world->puller));
    next = with_checkpoint(world, 7, "history of seven");
    world_serve(world, &next);
    assert_ok(puller_step(world->puller));
    next = with_checkpoint(world, 9, "history of nine");
    world_serve(world, &next);
    assert_ok(puller_step(world->puller));
    assert_recovers(world);
}

/* A mark that was written before manifests stated checkpoints. */
ATTACK(test_a_mark_without_a_checkpoint_still_binds)
{
    World *world = *state;
    Str old = world->manifest_jws;
    advance_to(world, 3);
    Str mark = arena_fmt(world->arena, "1 3 " STR_FMT " 1 %s %lld\n",
        STR_ARG(digest_text(world->arena, digest_of(str_bytes(world->manifest_jws)))),
        world->manifest_key.public_key.kid, (long long)time_now().us);
    char path[256];
    snprintf(path, sizeof path, "%s/mark", world->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(mark.len, fwrite(mark.ptr, 1, mark.len, file));
    assert_int_equal(0, fclose(file));
    remove_file(world, "manifests/0000000000000003.jws");
    world_restart(world);
    assert_offer_refused(world, old, "manifest-rolled-back");
    assert_recovers(world);
}

int main(void)
{
    crypto_start();
    json_start();
    const struct CMUnitTest tests[] = {
        ATTACK_TEST(test_attack_01_no_signature),
        ATTACK_TEST(test_attack_02_signature_stripped),
        ATTACK_TEST(test_attack_03_every_other_algorithm),
        ATTACK_TEST(test_attack_04_wrong_typ),
        ATTACK_TEST(test_attack_05_unknown_kid_and_kid_of_another_role),
        ATTACK_TEST(test_attack_06_keys_in_the_header),
        ATTACK_TEST(test_attack_07_unknown_crit),
        ATTACK_TEST(test_attack_08_base64url_that_is_not_canonical),
        ATTACK_TEST(test_attack_09_malleable_signature_and_small_order_key),
        ATTACK_TEST(test_attack_10_one_key_counted_twice),
        ATTACK_TEST(test_attack_11_one_byte_flipped),
        ATTACK_TEST(test_attack_12_wrong_length_and_compression),
        ATTACK_TEST(test_attack_13_json_that_readers_read_differently),
        ATTACK_TEST(test_attack_14_listed_but_absent),
        ATTACK_TEST(test_attack_15_path_traversal_in_ids),
        ATTACK_TEST(test_attack_16_manifest_of_another_fleet_or_installation),
        ATTACK_TEST(test_attack_17_object_under_another_projects_entry),
        ATTACK_TEST(test_attack_18_unknown_schema_version_and_client_too_old),
        ATTACK_TEST(test_attack_19_lower_seq),
        ATTACK_TEST(test_attack_20_same_seq_other_digest),
        ATTACK_TEST(test_attack_21_same_seq_same_digest_is_accepted),
        ATTACK_TEST(test_attack_22_broken_prev),
        ATTACK_TEST(test_attack_23_object_version_going_down),
        ATTACK_TEST(test_attack_24_project_vanishing_without_a_tombstone),
        ATTACK_TEST(test_attack_25_fast_forward_and_recovery_by_root_rotation),
        ATTACK_TEST(test_attack_26_heartbeats_expired_old_and_from_the_future),
        ATTACK_TEST(test_attack_27_clock_set_back_and_forward),
        ATTACK_TEST(test_attack_28_restart_with_the_mark_deleted_or_the_state_rolled_back),
        ATTACK_TEST(test_attack_29_hard_expiry_reached_while_cut_off),
        ATTACK_TEST(test_attack_30_root_n_plus_2_without_n_plus_1),
        ATTACK_TEST(test_attack_31_root_signed_only_by_the_new_or_only_by_the_old_keys),
        ATTACK_TEST(test_attack_32_manifest_by_a_key_just_removed),
        ATTACK_TEST(test_attack_33_expired_root),
        ATTACK_TEST(test_attack_34_threshold_raised_with_the_old_number_of_signatures),
        ATTACK_TEST(test_attack_35_a_heartbeat_key_signing_a_manifest),
        ATTACK_TEST(test_attack_36_keyring_of_another_data_plane),
        ATTACK_TEST(test_attack_37_protected_header_edited),
        ATTACK_TEST(test_attack_38_secret_of_another_project),
        ATTACK_TEST(test_attack_39_old_secret_version_replayed_after_rotation),
        ATTACK_TEST(test_attack_40_zip_p2c_and_low_order_epk),
        ATTACK_TEST(test_attack_41_algorithms_outside_the_closed_list),
        ATTACK_TEST(test_attack_42_not_modified_and_partial_answers),
        ATTACK_TEST(test_attack_43_redirect),
        ATTACK_TEST(test_attack_44_refusals_failures_and_captive_portals),
        ATTACK_TEST(test_attack_45_kill_at_every_write_while_persisting),
        ATTACK_TEST(test_attack_46_truncated_or_corrupt_state_at_start),
        ATTACK_TEST(test_attack_47_two_pullers_on_one_directory),
        ATTACK_TEST(test_attack_48_status_endpoint_down_and_nack_storm),
        ATTACK_TEST(test_an_audit_log_that_was_rewritten_is_refused_and_the_memory_of_it_outlives_a_restart),
        ATTACK_TEST(test_a_mark_without_a_checkpoint_still_binds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
