/*
 * A hostile control plane against the real keeper: what it may ask, it gets; what would give a secret away, it does
 * not.
 */
#include "support/expect.h"
#include "support/child.h"
#include "support/keeper.h"

#include "base/config.h"
#include "base/json.h"
#include "crypto/merkle.h"
#include "keeper/receipt.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM REEVE_BINARY_DIR "/bin/reeve-keeper"
#define CANARY STR("sk-canary-4b1d93c7-reeve-0001")

static Arena *arena;
static KeeperFixture *keeper;
static KeeperClient *client;
static Uuid org_a = { { 0xa0 } }, org_b = { { 0xb0 } }, project_a = { { 0xa1 } }, project_b = { { 0xb1 } },
            secret_a = { { 0xa2 } }, secret_b = { { 0xb2 } };
static uint8_t next_fleet = 1;
static Digest shards[MANIFEST_SHARDS];

static Uuid new_fleet(void)
{
    return (Uuid){ { 0xf0, next_fleet++ } };
}

static ProjectKeyRef new_project_key(Uuid org, Uuid project, int64_t version)
{
    ProjectKeyRef key = { .version = version, .kms_uri = keeper->kms_uri };
    expect_ok(keeper_project_key_new(client, arena,
        &(ProjectKeyNew){ .org = org, .project = project, .version = version, .kms_uri = key.kms_uri }, &key.wrapped));
    return key;
}

static FleetKeyRef new_fleet_key(Uuid fleet, int64_t generation, Str statement)
{
    FleetKeyRef key = { .generation = generation, .kms_uri = keeper->kms_uri };
    FleetKeyNew ask = { .fleet = fleet, .generation = generation, .kms_uri = key.kms_uri, .statement = statement };
    expect_ok(keeper_fleet_key_new(client, arena, &ask, &key.wrapped));
    return key;
}

static SecretRef ref_a(void)
{
    return (SecretRef){
        .org = org_a, .project = project_a, .secret = secret_a, .version = 1, .origin = STR("https://api.openai.com")
    };
}

static Bytes intake(const SecretRef *ref, const ProjectKeyRef *key)
{
    SecretTaken taken = { 0 };
    SecretIntake ask = { .ref = *ref, .key = *key, .jwe = keeper_fixture_sealed(keeper, ref, CANARY) };
    expect_ok(keeper_secret_intake(client, arena, &ask, &taken));
    expect_str(taken.hint, STR("0001"));
    return taken.envelope;
}

/* A data plane with its keys, its certificate and its request. */
typedef struct Gateway {
    KeyPair one_time, sign, encrypt;
    Uuid fleet;
    Str cert, request;
} Gateway;

static void gateway_release(Gateway *g)
{
    keypair_release(&g->one_time);
    keypair_release(&g->sign);
    keypair_release(&g->encrypt);
}

static Gateway new_gateway(Uuid fleet)
{
    Gateway g = { .one_time = ed25519_new(), .sign = ed25519_new(), .encrypt = x25519_new(), .fleet = fleet };
    g.cert = keeper_fixture_cert(keeper, &keeper->enrol_key, fleet, &g.one_time, 3600);
    g.request = keeper_fixture_request(keeper, fleet, &g.one_time, &g.sign, &g.encrypt);
    return g;
}

static Err ask_keyring(const Gateway *g, Uuid fleet, const FleetKeyRef *key, KeyringGiven *ret_given)
{
    KeyringAsk ask = { .fleet = fleet, .fleet_key = *key, .cert = g->cert, .request = g->request };
    return keeper_keyring(client, arena, &ask, ret_given);
}

/* What a gateway does with its keyring and a delivered secret. */
static Secret open_keyring(const Gateway *g, Str text)
{
    Keyring keyring;
    Secret fleet = { 0 };
    expect_ok(keyring_verify(arena, text, root_keys(&keeper->root, "manifest"), &keyring));
    assert_true(uuid_eq(keyring.data_plane, data_plane_id(keeper->installation, &g->sign.public_key)));
    expect_ok(jwe_open_from(arena, &g->encrypt, STR(FLEET_KEY_TYP), NULL, keyring.jwe, &fleet));
    return fleet;
}

static Err open_delivered(const Secret *fleet_key, const SecretPlace *place, Str jwe, Str *ret_plain)
{
    _cleanup_(secret_release) Secret delivery = delivery_key(fleet_key, place->org, place->project);
    _cleanup_(json_release) json_t *header = secret_header(arena, place);
    uint8_t *out = arena_alloc(arena, 4096, 1);
    size_t len;
    TRY(jwe_open_dir(arena, &delivery, STR(SECRET_TYP), header, jwe, out, 4096, &len));
    *ret_plain = str_n((char *)out, len);
    return OK;
}

/* --- what works --- */

TEST(secret_travels_from_the_cli_to_an_enrolled_gateway)
{
    Uuid fleet = new_fleet();
    SecretRef ref = ref_a();
    ProjectKeyRef key = new_project_key(org_a, project_a, 1);
    FleetKeyRef fleet_key = new_fleet_key(fleet, 1, STR(""));
    Bytes envelope = intake(&ref, &key);
    SecretSealFleet seal = { .ref = ref, .envelope = envelope, .key = key, .fleet = fleet, .fleet_key = fleet_key };
    Str jwe = STR(""), plain = STR("");
    expect_ok(keeper_secret_seal_fleet(client, arena, &seal, &jwe));
    assert_false(str_contains(bytes_str(envelope), CANARY));
    assert_false(str_contains(jwe, CANARY));

    _cleanup_(gateway_release) Gateway g = new_gateway(fleet);
    KeyringGiven given = { 0 };
    expect_ok(ask_keyring(&g, fleet, &fleet_key, &given));
    _cleanup_(secret_release) Secret opened = open_keyring(&g, given.keyring);
    SecretPlace place = { .org = ref.org,
        .project = ref.project,
        .secret = ref.secret,
        .version = 1,
        .origin = ref.origin,
        .fleet = fleet,
        .generation = 1 };
    expect_ok(open_delivered(&opened, &place, jwe, &plain));
    expect_str(plain, CANARY);
    place.origin = STR("https://evil.example");
    expect_err(open_delivered(&opened, &place, jwe, &plain), "cannot-open");
    place.origin = ref.origin;
    place.project = project_b;
    expect_err(open_delivered(&opened, &place, jwe, &plain), "cannot-open");
}

TEST(project_key_is_rotated_by_resealing)
{
    SecretRef ref = ref_a();
    ProjectKeyRef one = new_project_key(org_a, project_a, 1), two = new_project_key(org_a, project_a, 2);
    Bytes envelope = intake(&ref, &one), resealed = { 0 }, back;
    SecretReseal ask = { .ref = ref, .envelope = envelope, .from = one, .to = two };
    expect_ok(keeper_secret_reseal(client, arena, &ask, &resealed));
    ask = (SecretReseal){ .ref = ref, .envelope = resealed, .from = two, .to = one };
    expect_ok(keeper_secret_reseal(client, arena, &ask, &back));
    ask.from = one;
    expect_err(keeper_secret_reseal(client, arena, &ask, &back), "cannot-open");
}

TEST(plaintext_is_taken_in_where_the_caller_may_send_it)
{
    SecretRef ref = ref_a();
    SecretTaken taken;
    SecretIntake ask = { .ref = ref, .key = new_project_key(org_a, project_a, 1), .plain = str_bytes(STR("short")) };
    expect_ok(keeper_secret_intake(client, arena, &ask, &taken));
    expect_str(taken.hint, STR(""));
    ask.jwe = keeper_fixture_sealed(keeper, &ref, CANARY);
    expect_err(keeper_secret_intake(client, arena, &ask, &taken), "keeper-request");
    ask.jwe = STR("");
    ask.plain = (Bytes){ 0 };
    expect_err(keeper_secret_intake(client, arena, &ask, &taken), "keeper-request");
}

/* --- another's secret --- */

TEST(swapped_ids_keys_and_envelopes_do_not_open)
{
    Uuid fleet = new_fleet();
    FleetKeyRef fleet_key = new_fleet_key(fleet, 1, STR(""));
    SecretRef a = ref_a(),
              b = { .org = org_b, .project = project_b, .secret = secret_b, .version = 1, .origin = a.origin };
    ProjectKeyRef key_a = new_project_key(org_a, project_a, 1), key_b = new_project_key(org_b, project_b, 1);
    Bytes envelope_a = intake(&a, &key_a), envelope_b = intake(&b, &key_b);
    const SecretSealFleet good = {
        .ref = a, .envelope = envelope_a, .key = key_a, .fleet = fleet, .fleet_key = fleet_key
    };
    Str jwe;
    SecretSealFleet ask = good;
    expect_ok(keeper_secret_seal_fleet(client, arena, &ask, &jwe));

    ask.ref.org = org_b; /* another organization's id over our rows */
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.ref.project = project_b;
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.key = key_b; /* another's wrapped key */
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.envelope = envelope_b; /* another's envelope under our key */
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-open");
    ask = good;
    ask.ref.secret = secret_b;
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-open");
    ask = good;
    ask.ref.version = 2;
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-open");
    ask = good;
    ask.key.version = 2;
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.fleet = new_fleet(); /* a fleet key of another fleet */
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.fleet_key.wrapped = key_a.wrapped; /* a project key for a fleet key */
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
    ask = good;
    ask.key.wrapped = fleet_key.wrapped;
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-unwrap");
}

TEST(edited_origin_does_not_open)
{
    Uuid fleet = new_fleet();
    SecretRef ref = ref_a();
    ProjectKeyRef key = new_project_key(org_a, project_a, 1);
    SecretSealFleet ask = { .ref = ref,
        .envelope = intake(&ref, &key),
        .key = key,
        .fleet = fleet,
        .fleet_key = new_fleet_key(fleet, 1, STR("")) };
    Str jwe;
    ask.ref.origin = STR("https://evil.example");
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-open");
    ask.ref.origin = STR("http://api.openai.com");
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "cannot-open");
    ask.ref.origin = STR("https://API.openai.com:443/v1");
    expect_err(keeper_secret_seal_fleet(client, arena, &ask, &jwe), "keeper-request");
}

TEST(client_sealed_secret_is_taken_in_at_its_place_only)
{
    SecretRef ref = ref_a(), edited = ref;
    ProjectKeyRef key = new_project_key(org_a, project_a, 1), key_b = new_project_key(org_b, project_b, 1);
    SecretTaken taken;
    SecretIntake ask = { .ref = ref, .key = key, .jwe = keeper_fixture_sealed(keeper, &ref, CANARY) };
    edited.origin = STR("https://evil.example");
    ask.ref = edited;
    expect_err(keeper_secret_intake(client, arena, &ask, &taken), "cannot-open");
    ask.ref = ref;
    ask.ref.secret = secret_b;
    expect_err(keeper_secret_intake(client, arena, &ask, &taken), "cannot-open");
    ask.ref = (SecretRef){ .org = org_b, .project = project_b, .secret = secret_a, .version = 1, .origin = ref.origin };
    ask.key = key_b;
    expect_err(keeper_secret_intake(client, arena, &ask, &taken), "cannot-open");
}

/* --- enrolment --- */

TEST(control_plane_cannot_enrol_itself)
{
    Uuid fleet = new_fleet(), other = new_fleet();
    FleetKeyRef key = new_fleet_key(fleet, 1, STR("")), other_key = new_fleet_key(other, 1, STR(""));
    _cleanup_(keypair_release) KeyPair forger = ed25519_new();
    _cleanup_(gateway_release) Gateway g = new_gateway(fleet);
    KeyringGiven given;
    Str good = g.cert;

    g.cert = keeper_fixture_cert(keeper, &forger, fleet, &g.one_time, 3600); /* by a key of its own */
    expect_err(ask_keyring(&g, fleet, &key, &given), "jose-key-unknown");
    g.cert = keeper_fixture_cert(keeper, &keeper->root_key, fleet, &g.one_time, 3600); /* by a key of another role */
    expect_err(ask_keyring(&g, fleet, &key, &given), "jose-key-unknown");
    g.cert = keeper_fixture_cert(keeper, &keeper->enrol_key, other, &g.one_time, 3600); /* of another fleet */
    expect_err(ask_keyring(&g, fleet, &key, &given), "enrol-fleet");
    g.cert = keeper_fixture_cert(keeper, &keeper->enrol_key, fleet, &g.one_time, -60); /* expired */
    expect_err(ask_keyring(&g, fleet, &key, &given), "join-expired");
    Uuid own = keeper->installation;
    keeper->installation = (Uuid){ { 1 } };
    g.cert = keeper_fixture_cert(keeper, &keeper->enrol_key, fleet, &g.one_time, 3600); /* of another installation */
    keeper->installation = own;
    expect_err(ask_keyring(&g, fleet, &key, &given), "join-installation");
    g.cert = good;
    Str request = g.request;
    g.request = keeper_fixture_request(keeper, fleet, &forger, &g.sign, &g.encrypt); /* not by the one-time key */
    expect_err(ask_keyring(&g, fleet, &key, &given), "jose-key-unknown");
    g.request = request;
    expect_err(ask_keyring(&g, other, &other_key, &given), "enrol-fleet");
    expect_ok(ask_keyring(&g, fleet, &key, &given));
}

TEST(join_certificate_serves_one_data_plane)
{
    Uuid fleet = new_fleet();
    FleetKeyRef key = new_fleet_key(fleet, 1, STR(""));
    _cleanup_(gateway_release) Gateway g = new_gateway(fleet);
    _cleanup_(keypair_release) KeyPair thief_sign = ed25519_new(), thief_encrypt = x25519_new();
    KeyringGiven given, again;
    expect_ok(ask_keyring(&g, fleet, &key, &given));
    expect_ok(ask_keyring(&g, fleet, &key, &again)); /* the same data plane, again */
    assert_true(uuid_eq(given.data_plane, again.data_plane));
    g.request = keeper_fixture_request(keeper, fleet, &g.one_time, &thief_sign, &thief_encrypt);
    expect_err(ask_keyring(&g, fleet, &key, &given), "join-used");
    g.request = keeper_fixture_request(keeper, fleet, &g.one_time, &g.sign, &thief_encrypt);
    expect_err(ask_keyring(&g, fleet, &key, &given), "join-used");
}

static Str generation_statement(const KeyPair *by, Uuid fleet, int64_t generation, Uuid *revoked, size_t count)
{
    GenerationStatement statement = { .installation = keeper->installation,
        .fleet = fleet,
        .generation = generation,
        .revoked = { revoked, count },
        .at = time_now() };
    return generation_sign(arena, by, &statement);
}

TEST(new_generation_closes_the_old_one_and_leaves_the_revoked_out)
{
    Uuid fleet = new_fleet(), other = new_fleet();
    SecretRef ref = ref_a();
    ProjectKeyRef project_key = new_project_key(org_a, project_a, 1);
    FleetKeyRef one = new_fleet_key(fleet, 1, STR(""));
    _cleanup_(gateway_release) Gateway stays = new_gateway(fleet), leaves = new_gateway(fleet);
    KeyringGiven given;
    expect_ok(ask_keyring(&stays, fleet, &one, &given));
    expect_ok(ask_keyring(&leaves, fleet, &one, &given));
    Uuid revoked = given.data_plane;
    Bytes wrapped;
    FleetKeyNew ask = { .fleet = fleet, .generation = 2, .kms_uri = keeper->kms_uri };
    expect_err(keeper_fleet_key_new(client, arena, &ask, &wrapped), "jose-malformed"); /* without a word */
    ask.statement = generation_statement(&keeper->root_key, fleet, 2, &revoked, 1);
    expect_err(keeper_fleet_key_new(client, arena, &ask, &wrapped), "jose-key-unknown");
    ask.statement = generation_statement(&keeper->enrol_key, other, 2, &revoked, 1);
    expect_err(keeper_fleet_key_new(client, arena, &ask, &wrapped), "generation-statement");
    ask.statement = generation_statement(&keeper->enrol_key, fleet, 3, &revoked, 1);
    expect_err(keeper_fleet_key_new(client, arena, &ask, &wrapped), "generation-statement");

    FleetKeyRef two = new_fleet_key(fleet, 2, generation_statement(&keeper->enrol_key, fleet, 2, &revoked, 1));
    Str jwe;
    SecretSealFleet seal = {
        .ref = ref, .envelope = intake(&ref, &project_key), .key = project_key, .fleet = fleet, .fleet_key = one
    };
    expect_err(keeper_secret_seal_fleet(client, arena, &seal, &jwe), "generation-old");
    expect_err(ask_keyring(&stays, fleet, &one, &given), "generation-old");
    ask = (FleetKeyNew){ .fleet = fleet, .generation = 1, .kms_uri = keeper->kms_uri };
    expect_err(keeper_fleet_key_new(client, arena, &ask, &wrapped), "generation-old");
    expect_ok(ask_keyring(&stays, fleet, &two, &given));
    expect_err(ask_keyring(&leaves, fleet, &two, &given), "data-plane-revoked");
    seal.fleet_key = two;
    expect_ok(keeper_secret_seal_fleet(client, arena, &seal, &jwe));

    /* All of it holds after a crash. */
    keeper_fixture_stop(keeper, SIGKILL);
    keeper_fixture_start(keeper);
    expect_err(ask_keyring(&stays, fleet, &one, &given), "generation-old");
    expect_err(ask_keyring(&leaves, fleet, &two, &given), "data-plane-revoked");
    expect_ok(ask_keyring(&stays, fleet, &two, &given));
}

TEST(wrapped_keys_go_to_allowed_kms_keys_only)
{
    ProjectKeyRef key = new_project_key(org_a, project_a, 1);
    Rewrap ask = { .org = org_a,
        .project = project_a,
        .version = 1,
        .kms_uri = key.kms_uri,
        .wrapped = key.wrapped,
        .to_kms_uri = keeper->other_uri };
    Bytes wrapped;
    expect_ok(keeper_rewrap(client, arena, &ask, &wrapped));
    SecretRef ref = ref_a();
    Bytes envelope = intake(&ref, &key), ignored;
    ProjectKeyRef moved = { .version = 1, .kms_uri = keeper->other_uri, .wrapped = wrapped };
    SecretReseal reseal = { .ref = ref, .envelope = envelope, .from = moved, .to = key };
    expect_ok(keeper_secret_reseal(client, arena, &reseal, &ignored));
    ask.to_kms_uri = STR("local:evil");
    expect_err(keeper_rewrap(client, arena, &ask, &wrapped), "kms-not-allowed");
    ask.to_kms_uri = STR("aws-kms:arn:aws:kms:eu-west-1:1:key/evil");
    expect_err(keeper_rewrap(client, arena, &ask, &wrapped), "kms-not-allowed");
    ask.to_kms_uri = keeper->other_uri;
    ask.org = org_b;
    expect_err(keeper_rewrap(client, arena, &ask, &wrapped), "cannot-unwrap");
    ask.org = org_a;
    ask.fleet = new_fleet();
    expect_err(keeper_rewrap(client, arena, &ask, &wrapped), "keeper-request");
    expect_err(keeper_project_key_new(client, arena,
                   &(ProjectKeyNew){ .org = org_a, .project = project_a, .version = 1, .kms_uri = STR("local:evil") },
                   &wrapped),
        "kms-not-allowed");
}

/* --- signatures --- */

static Manifest a_manifest(Uuid fleet)
{
    return (Manifest){ .fleet = fleet,
        .seq = 1,
        .generation = 1,
        .max_stale_s = 600,
        .hard_expiry = time_add_s(time_now(), 86400),
        .shards = shards };
}

TEST(manifest_carries_the_keepers_own_facts)
{
    Uuid fleet = new_fleet();
    Manifest in = a_manifest(fleet), out;
    in.installation = (Uuid){ { 9 } };
    in.issued_at = (Time){ 1 };
    in.receipts = (ManifestReceipts){ .boot = STR("forged"), .count = 99 };
    Str jws = STR("");
    expect_ok(keeper_sign_manifest(client, arena, &in, &jws));
    expect_ok(manifest_verify(arena, jws, root_keys(&keeper->root, "manifest"), &out));
    assert_true(uuid_eq(out.installation, keeper->installation));
    assert_true(out.issued_at.us > time_now().us - 60 * US_PER_S);
    Receipts page;
    expect_ok(keeper_receipts(client, arena, 0, &page));
    expect_str(out.receipts.boot, uuid_format(arena, page.boot));
    assert_true(out.receipts.count <= page.count);
    assert_null(out.checkpoint.origin.ptr);
}

TEST(manifest_names_the_revoked_even_when_the_control_plane_does_not)
{
    Uuid fleet = new_fleet(), gone = { { 0xdd } };
    new_fleet_key(fleet, 1, STR(""));
    new_fleet_key(fleet, 2, generation_statement(&keeper->enrol_key, fleet, 2, &gone, 1));
    Manifest in = a_manifest(fleet), out;
    Str jws = STR("");
    expect_err(keeper_sign_manifest(client, arena, &in, &jws), "generation-old");
    in.generation = 2;
    expect_ok(keeper_sign_manifest(client, arena, &in, &jws));
    expect_ok(manifest_verify(arena, jws, root_keys(&keeper->root, "manifest"), &out));
    assert_true(manifest_revokes(&out, gone));
    in.revoked = (Uuids){ &gone, 1 };
    expect_ok(keeper_sign_manifest(client, arena, &in, &jws));
    expect_ok(manifest_verify(arena, jws, root_keys(&keeper->root, "manifest"), &out));
    assert_int_equal(out.revoked.count, 1);
}

TEST(values_out_of_their_range_are_refused_not_signed)
{
    Manifest in = a_manifest(new_fleet());
    Str jws;
    in.seq = 0;
    expect_err(keeper_sign_manifest(client, arena, &in, &jws), "keeper-request");
    in.seq = WIRE_INT_MAX + 1;
    expect_err(keeper_sign_manifest(client, arena, &in, &jws), "keeper-request");
    in = a_manifest(new_fleet());
    in.hard_expiry = time_add_s(time_now(), -1);
    expect_err(keeper_sign_manifest(client, arena, &in, &jws), "keeper-request");
    in.hard_expiry = (Time){ INT64_MAX };
    assert_int_not_equal(keeper_sign_manifest(client, arena, &in, &jws).kind, ERR_NONE);
    Heartbeat h = { .fleet = in.fleet, .seq = 1, .now = time_add_s(time_now(), -3600), .expires = time_now() };
    expect_err(keeper_sign_heartbeat(client, arena, &h, &jws), "keeper-clock");
    h.now = time_now();
    h.expires = time_add_s(h.now, HEARTBEAT_TTL_S_MAX + 10);
    expect_err(keeper_sign_heartbeat(client, arena, &h, &jws), "keeper-request");
    h.expires = h.now;
    expect_err(keeper_sign_heartbeat(client, arena, &h, &jws), "keeper-request");
    h.now = (Time){ INT64_MIN };
    h.expires = (Time){ INT64_MAX };
    assert_int_not_equal(keeper_sign_heartbeat(client, arena, &h, &jws).kind, ERR_NONE);
}

TEST(heartbeat_and_checkpoint_are_what_they_say)
{
    Heartbeat h = { .fleet = new_fleet(), .seq = 3, .now = time_now(), .expires = time_add_s(time_now(), 60) }, out;
    Str jws = STR(""), note = STR("");
    expect_ok(keeper_sign_heartbeat(client, arena, &h, &jws));
    expect_ok(heartbeat_verify(arena, jws, root_keys(&keeper->root, "manifest"), &out));
    assert_int_equal(out.seq, 3);
    Str origin = arena_fmt(arena, "reeve/" STR_FMT, STR_ARG(typeid_format(arena, STR("ins"), keeper->installation)));
    CheckpointAsk ask = { .origin = arena_fmt(arena, STR_FMT "/org_1", STR_ARG(origin)), .size = 5 };
    Checkpoint checkpoint;
    expect_ok(keeper_sign_checkpoint(client, arena, &ask, &note));
    expect_ok(checkpoint_verify(arena, note, ask.origin, root_keys(&keeper->root, "checkpoint"), &checkpoint));
    assert_int_equal(checkpoint.size, 5);
    static const char *const bad[] = { "", "reeve/ins_other", "evil", "reeve" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        ask.origin = str_from_c(bad[i]);
        expect_err(keeper_sign_checkpoint(client, arena, &ask, &note), "keeper-request");
    }
    ask.origin = arena_fmt(arena, STR_FMT "/x\n9\nAAAA", STR_ARG(origin));
    expect_err(keeper_sign_checkpoint(client, arena, &ask, &note), "keeper-request");
    ask.origin = arena_fmt(arena, STR_FMT "evil", STR_ARG(origin));
    expect_err(keeper_sign_checkpoint(client, arena, &ask, &note), "keeper-request");
}

TEST(hello_says_what_is_not_for_production)
{
    Hello hello = { 0 };
    expect_ok(keeper_hello(client, arena, &hello));
    assert_true(uuid_eq(hello.installation, keeper->installation));
    assert_true(digest_eq(hello.root_hash, keeper->root.hash));
    assert_int_equal(hello.kms_uris.count, 2);
    assert_int_equal(hello.warnings.count, 4); /* two local KMSs, a root of one key that ends tomorrow */
    assert_true(str_contains(hello.intake_jwk, STR("X25519")));
}

/* --- packets --- */

static int raw_connection(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, keeper->socket.ptr, keeper->socket.len);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), size = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    struct timeval limit = { .tv_sec = 10 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* The keeper says "message-malformed" at most, and hangs up. */
static void expect_hang_up(Bytes packet)
{
    int fd = raw_connection();
    static uint8_t reply[MESSAGE_BYTES_MAX];
    assert_true(send(fd, packet.ptr, packet.len, MSG_NOSIGNAL) >= 0);
    ssize_t len = recv(fd, reply, sizeof(reply), 0);
    if (len > 0) {
        MessageHeader header;
        Bytes body;
        reply[5] = MESSAGE_HELLO; /* its type may be one that does not exist */
        reply[4] = 0;
        expect_ok(message_parse((Bytes){ reply, (size_t)len }, &header, &body));
        assert_true(err_is(message_error(arena, header, body), "message-malformed"));
        len = recv(fd, reply, sizeof(reply), 0);
    }
    assert_int_equal(len, 0);
    close(fd);
}

static Bytes good_packet(void)
{
    Buf out = buf_new(MESSAGE_BYTES_MAX);
    ProjectKeyNew ask = { .org = org_a, .project = project_a, .version = 1, .kms_uri = keeper->kms_uri };
    expect_ok(message_write((MessageHeader){ .type = MESSAGE_PROJECT_KEY_NEW, .id = 7 },
        message_kind(MESSAGE_PROJECT_KEY_NEW)->request, &ask, &out));
    Bytes packet = arena_bytes(arena, str_bytes(buf_str(&out)));
    buf_release(&out);
    return packet;
}

TEST(packets_that_are_not_messages_end_the_connection)
{
    Bytes good = good_packet();
    uint8_t *copy = arena_alloc(arena, good.len + 1, 1);
    static const size_t cuts[] = { 1, 4, 19, 20, 21, 40 };
    for (size_t i = 0; i < COUNT_OF(cuts); i++)
        expect_hang_up((Bytes){ good.ptr, cuts[i] });
    memcpy(copy, good.ptr, good.len);
    expect_hang_up((Bytes){ copy, good.len + 1 }); /* a byte more than it says */
    copy[19]++;
    expect_hang_up((Bytes){ copy, good.len + 1 }); /* a byte more, and it says so */
    static const struct {
        size_t at;
        uint8_t value;
    } edits[] = { { 0, 0 }, { 4, 0xff }, { 5, MESSAGE_TYPE_COUNT }, { 5, 0 }, { 7, 1 }, { 16, 0xff }, { 60, 0xff } };
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        memcpy(copy, good.ptr, good.len);
        copy[edits[i].at] = edits[i].value;
        expect_hang_up((Bytes){ copy, good.len });
    }
    uint8_t *giant = arena_alloc(arena, MESSAGE_BYTES_MAX + 1000, 1);
    memcpy(giant, good.ptr, good.len);
    expect_hang_up((Bytes){ giant, MESSAGE_BYTES_MAX + 1000 });
    Hello hello;
    expect_ok(keeper_hello(client, arena, &hello)); /* others were not disturbed */
}

/* A slot must not go to another connection while a request or a packet of the former is still in somebody's hands. */
TEST(callers_that_hang_up_over_their_requests_leave_the_others_their_answers)
{
    Bytes packet = good_packet();
    for (int round = 0; round < 100; round++) {
        uint8_t answer[4096];
        int leaving = raw_connection(), staying = raw_connection();
        for (int i = 0; i < 8; i++)
            assert_true(send(leaving, packet.ptr, packet.len, MSG_NOSIGNAL) > 0);
        close(leaving);
        int next = raw_connection();
        assert_true(send(staying, packet.ptr, packet.len, MSG_NOSIGNAL) > 0);
        assert_true(recv(staying, answer, sizeof(answer), 0) > 0);
        assert_int_equal(recv(staying, answer, sizeof(answer), MSG_DONTWAIT), -1); /* one question, one answer */
        assert_int_equal(recv(next, answer, sizeof(answer), MSG_DONTWAIT), -1);    /* it asked for nothing */
        close(staying);
        close(next);
    }
    Receipts now = { 0 }, then = { .count = -1 };
    for (; now.count != then.count; usleep(100000)) { /* until what was left behind is done */
        then = now;
        expect_ok(keeper_receipts(client, arena, INT64_MAX - 1, &now));
    }
}

TEST(replayed_packet_gives_a_fresh_key_and_a_receipt_of_its_own)
{
    Bytes packet = good_packet();
    Receipts before, after;
    expect_ok(keeper_receipts(client, arena, INT64_MAX - 1, &before));
    int fd = raw_connection();
    static uint8_t one[4096], two[4096];
    assert_true(send(fd, packet.ptr, packet.len, MSG_NOSIGNAL) > 0);
    ssize_t one_len = recv(fd, one, sizeof(one), 0);
    assert_true(send(fd, packet.ptr, packet.len, MSG_NOSIGNAL) > 0);
    ssize_t two_len = recv(fd, two, sizeof(two), 0);
    close(fd);
    assert_int_equal(one_len, two_len);
    assert_memory_not_equal(one, two, (size_t)one_len);
    expect_ok(keeper_receipts(client, arena, INT64_MAX - 1, &after));
    assert_int_equal(after.count, before.count + 2);
}

TEST(many_requests_at_once_are_all_answered)
{
    Bytes packet = good_packet();
    int fd = raw_connection();
    static uint8_t reply[4096];
    for (int i = 0; i < 200; i++)
        assert_true(send(fd, packet.ptr, packet.len, MSG_NOSIGNAL) > 0);
    for (int i = 0; i < 200; i++)
        assert_true(recv(fd, reply, sizeof(reply), 0) > MESSAGE_HEADER_BYTES);
    close(fd);
}

/* --- receipts and restarts --- */

/* Every receipt from `after` on, its chain checked; the last position. */
static int64_t check_receipts(int64_t after, Uuid *io_boot, Digest *io_head)
{
    for (;;) {
        Receipts page;
        expect_ok(keeper_receipts(client, arena, after, &page));
        for (size_t i = 0; i < page.items.count; i++) {
            Receipt receipt;
            expect_ok(receipt_parse(arena, page.items.items[i], &receipt));
            if (after > 0)
                assert_int_equal(receipt.position, after + 1);
            if (uuid_eq(receipt.boot, *io_boot) && receipt.number > 1)
                assert_true(digest_eq(receipt.prev, *io_head));
            *io_boot = receipt.boot;
            *io_head = receipt_head(page.items.items[i]);
            after = receipt.position;
        }
        if (page.items.count == 0) {
            Str payload = STR("");
            expect_ok(jws_verify(
                arena, page.signed_head, root_keys(&keeper->root, "checkpoint"), STR(RECEIPTS_TYP), &payload, NULL));
            if (page.count > 0) {
                assert_true(str_contains(payload, digest_text(arena, page.head)));
                assert_true(digest_eq(page.head, *io_head));
            }
            return after;
        }
    }
}

TEST(receipts_are_chained_and_signed_across_kill_9)
{
    Uuid boot = { { 0 } };
    Digest head = { { 0 } };
    new_project_key(org_a, project_a, 1);
    int64_t last = check_receipts(0, &boot, &head);
    Uuid first_boot = boot;
    assert_true(last > 0);
    keeper_fixture_stop(keeper, SIGKILL);
    keeper_fixture_start(keeper);
    new_project_key(org_a, project_a, 1);
    int64_t more = check_receipts(last, &boot, &head);
    assert_int_equal(more, last + 1);
    assert_false(uuid_eq(boot, first_boot));
}

TEST(denied_requests_have_receipts_too)
{
    Receipts page;
    Bytes wrapped;
    Uuid boot = { { 0 } };
    Digest head = { { 0 } };
    int64_t last = check_receipts(0, &boot, &head);
    expect_err(keeper_project_key_new(client, arena,
                   &(ProjectKeyNew){ .org = org_a, .project = project_a, .version = 1, .kms_uri = STR("local:evil") },
                   &wrapped),
        "kms-not-allowed");
    expect_ok(keeper_receipts(client, arena, last, &page));
    Receipt receipt;
    expect_ok(receipt_parse(arena, page.items.items[0], &receipt));
    assert_int_equal(receipt.outcome, ERR_FORBIDDEN);
    assert_int_equal(receipt.operation, MESSAGE_PROJECT_KEY_NEW);
    assert_int_equal(receipt.peer_uid, geteuid());
    assert_true(uuid_eq(receipt.org, org_a));
}

static void append_to_journal(const void *bytes, size_t len)
{
    int fd = open(keeper_fixture_path(keeper, "state/journal").ptr, O_WRONLY | O_APPEND);
    assert_true(write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

TEST(torn_tail_of_the_journal_is_dropped_and_nothing_else)
{
    Uuid boot = { { 0 } };
    Digest head = { { 0 } };
    new_project_key(org_a, project_a, 1);
    int64_t last = check_receipts(0, &boot, &head);
    static const uint8_t torn[] = { 0, 0, 1, 0, 0xde, 0xad, 0xbe, 0xef, 2, 1, 2, 3 }, zeros[100];
    keeper_fixture_stop(keeper, SIGKILL);
    append_to_journal(torn, sizeof(torn));
    keeper_fixture_start(keeper);
    assert_int_equal(check_receipts(last, &boot, &head), last);
    keeper_fixture_stop(keeper, SIGKILL);
    append_to_journal(zeros, sizeof(zeros));
    keeper_fixture_start(keeper);
    new_project_key(org_a, project_a, 1);
    assert_int_equal(check_receipts(last, &boot, &head), last + 1);
}

TEST(journal_that_was_changed_in_the_middle_stops_the_keeper)
{
    Str path = keeper_fixture_path(keeper, "state/journal"), text = STR("");
    keeper_fixture_stop(keeper, SIGTERM);
    expect_ok(file_read(arena, path, 64 << 20, &text));
    assert_true(text.len > 400);
    static const size_t places[] = { 200, 3, 1, 0 }; /* the last three are the first frame's length */
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, text).ptr;
        copy[places[i]] ^= 1;
        expect_ok(file_write_atomic(path, str_n(copy, text.len), 0600));
        assert_int_not_equal(keeper_fixture_run(keeper, NULL), 0);
        Str after = STR("");
        expect_ok(file_read(arena, path, 64 << 20, &after));
        assert_int_equal(after.len, text.len); /* nothing written */
    }
    expect_ok(file_write_atomic(path, text, 0600));
    keeper_fixture_start(keeper);
}

TEST(journal_that_cannot_be_written_stops_every_operation)
{
    struct stat info;
    Uuid boot = { { 0 } };
    Digest head = { { 0 } };
    int64_t last = check_receipts(0, &boot, &head);
    keeper_fixture_stop(keeper, SIGTERM);
    assert_int_equal(stat(keeper_fixture_path(keeper, "state/journal").ptr, &info), 0);
    keeper->file_bytes_max = info.st_size + 5000;
    keeper_fixture_start(keeper);
    keeper->file_bytes_max = 0;
    ProjectKeyNew ask = { .org = org_a, .project = project_a, .version = 1, .kms_uri = keeper->kms_uri };
    int64_t done = 0;
    Bytes wrapped;
    Err err;
    while ((err = keeper_project_key_new(client, arena, &ask, &wrapped)).kind == ERR_NONE)
        assert_true(++done < 100);
    assert_true(err_is(err, "journal-unavailable"));
    assert_true(done > 0);
    Str jws;
    Manifest manifest = { .fleet = new_fleet(),
        .seq = 1,
        .generation = 1,
        .max_stale_s = 60,
        .hard_expiry = time_add_s(time_now(), 60),
        .shards = shards };
    expect_err(keeper_sign_manifest(client, arena, &manifest, &jws), "journal-unavailable");
    Hello hello;
    expect_ok(keeper_hello(client, arena, &hello)); /* it still says who it is */
    keeper_fixture_stop(keeper, SIGKILL);
    keeper_fixture_start(keeper);
    /* All that was answered; and it may be the one whose receipt just fitted, but not its signature. */
    int64_t kept = check_receipts(last, &boot, &head) - last;
    assert_true(kept == done || kept == done + 1);
}

TEST(sigterm_ends_the_keeper_in_good_order)
{
    int status = keeper_fixture_stop(keeper, SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    keeper_fixture_start(keeper);
}

TEST(second_keeper_on_one_state_directory_is_refused)
{
    int status = keeper_fixture_run(keeper, NULL);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), 0);
    Hello hello;
    expect_ok(keeper_hello(client, arena, &hello)); /* the first is not disturbed */
}

/* --- starting --- */

static Str folder_listing(void)
{
    struct stat state, journal, keys;
    assert_int_equal(stat(keeper_fixture_path(keeper, "state/keeper-state.json").ptr, &state), 0);
    assert_int_equal(stat(keeper_fixture_path(keeper, "state/journal").ptr, &journal), 0);
    assert_int_equal(stat(keeper_fixture_path(keeper, "state/keeper-keys.json").ptr, &keys), 0);
    return arena_fmt(arena, "%lld %lld.%ld %lld %lld.%ld %lld.%ld", (long long)state.st_size,
        (long long)state.st_mtim.tv_sec, state.st_mtim.tv_nsec, (long long)journal.st_size,
        (long long)journal.st_mtim.tv_sec, journal.st_mtim.tv_nsec, (long long)keys.st_mtim.tv_sec,
        keys.st_mtim.tv_nsec);
}

TEST(wrong_root_key_is_refused_and_nothing_is_written)
{
    Str path = keeper_fixture_path(keeper, "root-key"), other = keeper_fixture_path(keeper, "other-key"), key, wrong;
    keeper_fixture_stop(keeper, SIGTERM);
    expect_ok(file_read(arena, path, 100, &key));
    expect_ok(file_read(arena, other, 100, &wrong));
    Str before = folder_listing();
    expect_ok(file_write_atomic(path, wrong, 0600));
    int status = keeper_fixture_run(keeper, NULL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 64);
    status = keeper_fixture_run(keeper, "init");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 64);
    expect_str(folder_listing(), before);
    Str log;
    expect_ok(file_read(arena, keeper_fixture_path(keeper, "log"), 16 << 20, &log));
    assert_true(str_contains(log, STR("not the one that this keeper was initialised with")));
    expect_ok(file_write_atomic(path, key, 0600));
    keeper_fixture_start(keeper);
}

TEST(next_root_is_followed_from_the_pinned_one)
{
    Root root = keeper->root;
    const KeyPair *signers[] = { &keeper->root_key };
    Str jws, path = keeper_fixture_path(keeper, "root.jws"), before = keeper_fixture_path(keeper, "root.jws.1");
    Hello hello;
    root.version = 2;
    expect_ok(root_build(arena, &root, signers, 1, &jws));
    keeper_fixture_stop(keeper, SIGTERM);
    expect_ok(file_write_atomic(path, jws, 0644));
    assert_int_not_equal(keeper_fixture_run(keeper, NULL), 0); /* the link between is missing */
    expect_ok(file_write_atomic(before, keeper->root.jws, 0644));
    keeper_fixture_start(keeper);
    expect_ok(keeper_hello(client, arena, &hello));
    assert_int_equal(hello.root_version, 2);
    keeper_fixture_stop(keeper, SIGTERM);
    expect_ok(file_write_atomic(path, keeper->root.jws, 0644));
    unlink(before.ptr);
    keeper_fixture_start(keeper);
}

TEST(root_of_another_hash_or_without_the_keepers_keys_is_refused)
{
    Root root = keeper->root, kept = keeper->root;
    Str jws;
    _cleanup_(keypair_release) KeyPair stranger = ed25519_new();
    const KeyPair *signers[] = { &keeper->root_key };
    keeper_fixture_stop(keeper, SIGTERM);
    root.roles[ROLE_MANIFEST] = (RoleKeys){ .threshold = 1, .keys = { &stranger.public_key, 1 } };
    expect_ok(root_build(arena, &root, signers, 1, &jws));
    Str path = keeper_fixture_path(keeper, "root.jws");
    expect_ok(file_write_atomic(path, jws, 0644));
    assert_int_not_equal(keeper_fixture_run(keeper, NULL), 0); /* the hash in the configuration is another */
    keeper->root.hash = digest_of(str_bytes(jws));
    expect_ok(file_write_atomic(keeper->config,
        arena_fmt(arena,
            "socket: " STR_FMT "\nstate_dir: " STR_FMT "/state\ninstallation: " STR_FMT "\nroot_file: " STR_FMT
            "\nroot_hash: " STR_FMT "\nkms: [\"local:default\"]\nlocal_kms: { default: { root_key_file: " STR_FMT
            "/root-key } }\n",
            STR_ARG(keeper->socket), STR_ARG(keeper->folder),
            STR_ARG(typeid_format(arena, STR("ins"), keeper->installation)), STR_ARG(path),
            STR_ARG(digest_text(arena, keeper->root.hash)), STR_ARG(keeper->folder)),
        0600));
    assert_int_not_equal(keeper_fixture_run(keeper, NULL), 0); /* the keeper's keys do not stand in it */
    keeper->root = kept;
    expect_ok(file_write_atomic(path, kept.jws, 0644));
    keeper_fixture_start(keeper);
}

TEST(user_that_is_not_allowed_is_turned_away)
{
    keeper_fixture_stop(keeper, SIGTERM);
    keeper->extra = STR("allowed_uids: [4242]\n");
    Str kept = keeper->config;
    pid_t pid;
    /* keeper_fixture_start waits for an answer that will not come: started by hand. */
    Str text;
    expect_ok(file_read(arena, kept, 65536, &text));
    expect_ok(file_write_atomic(kept, arena_fmt(arena, STR_FMT STR_FMT, STR_ARG(text), STR_ARG(keeper->extra)), 0600));
    pid = child_fork();
    if (pid == 0) {
        int fd = open(keeper_fixture_path(keeper, "log").ptr, O_WRONLY | O_APPEND);
        dup2(fd, STDERR_FILENO);
        execl(PROGRAM, PROGRAM, "--config", kept.ptr, (char *)NULL);
        _exit(127);
    }
    Str log = STR("");
    for (int i = 0; i < 400 && !str_contains(log, STR("turned away")); i++) {
        Hello hello;
        assert_int_not_equal(keeper_hello(client, arena, &hello).kind, ERR_NONE);
        usleep(20000);
        expect_ok(file_read(arena, keeper_fixture_path(keeper, "log"), 16 << 20, &log));
    }
    assert_true(str_contains(log, STR("turned away")));
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    keeper->extra = STR("");
    keeper_fixture_start(keeper);
}

TEST(log_and_state_never_hold_the_provider_key)
{
    static const char *const files[] = { "log", "state/journal", "state/keeper-state.json" };
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        Str text = STR("");
        expect_ok(file_read(arena, keeper_fixture_path(keeper, files[i]), 64 << 20, &text));
        assert_false(str_contains(text, CANARY));
    }
}

#define REGION_BYTES_MAX (256L << 20) /* larger ones are a sanitizer's shadow */

static bool region_holds(int memory, unsigned long from, unsigned long to, Str needle)
{
    static char chunk[(1 << 20) + 64];
    for (unsigned long at = from; at < to; at += 1 << 20) {
        size_t want = to - at < sizeof(chunk) ? to - at : sizeof(chunk);
        ssize_t got = pread(memory, chunk, want, (off_t)at);
        if (got > 0 && memmem(chunk, (size_t)got, needle.ptr, needle.len) != NULL)
            return true;
    }
    return false;
}

/* Whether the keeper's memory holds the needle anywhere; skips the test where it cannot be looked at. */
static bool keeper_memory_holds(Str needle)
{
    char line[512];
    int memory = open(arena_fmt(arena, "/proc/%d/mem", (int)keeper->pid).ptr, O_RDONLY);
    FILE *maps = fopen(arena_fmt(arena, "/proc/%d/maps", (int)keeper->pid).ptr, "r");
    bool found = false;
    if (memory < 0 || maps == NULL) {
        print_message("skipped: the keeper's memory cannot be read by this user (as it should be)\n");
        skip();
    }
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[0] == 'r' && to - from < REGION_BYTES_MAX)
            found = region_holds(memory, from, to, needle);
    }
    fclose(maps);
    close(memory);
    return found;
}

TEST(no_operation_leaves_the_provider_key_in_memory)
{
    Uuid fleet = new_fleet();
    SecretRef ref = ref_a();
    ProjectKeyRef key = new_project_key(org_a, project_a, 1);
    SecretSealFleet seal = { .ref = ref,
        .envelope = intake(&ref, &key),
        .key = key,
        .fleet = fleet,
        .fleet_key = new_fleet_key(fleet, 1, STR("")) };
    SecretIntake plain = { .ref = ref, .key = key, .plain = str_bytes(CANARY) };
    SecretTaken taken;
    Str jwe;
    expect_ok(keeper_secret_seal_fleet(client, arena, &seal, &jwe));
    expect_ok(keeper_secret_intake(client, arena, &plain, &taken));
    usleep(50000); /* the last request's memory goes after its answer */
    assert_true(keeper_memory_holds(typeid_format(arena, STR("ins"), keeper->installation))); /* we can find things */
    assert_false(keeper_memory_holds(CANARY));
}

int main(void)
{
    json_start();
    crypto_start();
    signal(SIGPIPE, SIG_IGN);
    arena = arena_new();
    keeper = keeper_fixture_new(PROGRAM);
    keeper_fixture_start(keeper);
    client = keeper_client_open(keeper->socket);
    const struct CMUnitTest tests[] = {
        RUN(secret_travels_from_the_cli_to_an_enrolled_gateway),
        RUN(project_key_is_rotated_by_resealing),
        RUN(plaintext_is_taken_in_where_the_caller_may_send_it),
        RUN(swapped_ids_keys_and_envelopes_do_not_open),
        RUN(edited_origin_does_not_open),
        RUN(client_sealed_secret_is_taken_in_at_its_place_only),
        RUN(control_plane_cannot_enrol_itself),
        RUN(join_certificate_serves_one_data_plane),
        RUN(new_generation_closes_the_old_one_and_leaves_the_revoked_out),
        RUN(wrapped_keys_go_to_allowed_kms_keys_only),
        RUN(manifest_carries_the_keepers_own_facts),
        RUN(manifest_names_the_revoked_even_when_the_control_plane_does_not),
        RUN(values_out_of_their_range_are_refused_not_signed),
        RUN(heartbeat_and_checkpoint_are_what_they_say),
        RUN(hello_says_what_is_not_for_production),
        RUN(packets_that_are_not_messages_end_the_connection),
        RUN(callers_that_hang_up_over_their_requests_leave_the_others_their_answers),
        RUN(replayed_packet_gives_a_fresh_key_and_a_receipt_of_its_own),
        RUN(many_requests_at_once_are_all_answered),
        RUN(receipts_are_chained_and_signed_across_kill_9),
        RUN(denied_requests_have_receipts_too),
        RUN(torn_tail_of_the_journal_is_dropped_and_nothing_else),
        RUN(journal_that_was_changed_in_the_middle_stops_the_keeper),
        RUN(journal_that_cannot_be_written_stops_every_operation),
        RUN(sigterm_ends_the_keeper_in_good_order),
        RUN(second_keeper_on_one_state_directory_is_refused),
        RUN(wrong_root_key_is_refused_and_nothing_is_written),
        RUN(next_root_is_followed_from_the_pinned_one),
        RUN(root_of_another_hash_or_without_the_keepers_keys_is_refused),
        RUN(user_that_is_not_allowed_is_turned_away),
        RUN(no_operation_leaves_the_provider_key_in_memory),
        RUN(log_and_state_never_hold_the_provider_key),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    keeper_client_free(&client);
    keeper_fixture_free(&keeper);
    arena_free(&arena);
    return failed;
}
