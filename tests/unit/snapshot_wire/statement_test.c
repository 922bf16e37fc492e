/* Enrolment statements and join tokens: what they carry, and what must not pass. */
#include "support/expect.h"

#include "base/encode.h"
#include "base/json.h"
#include "snapshot/statement.h"

static Arena *arena;
static Uuid installation = { { 1 } }, other_installation = { { 2 } }, fleet = { { 3 } }, other_fleet = { { 4 } };
static KeyPair enrol, stranger, one_time, sign, encrypt;
static Time now;

static KeySet only(const KeyPair *pair)
{
    return (KeySet){ .items = &pair->public_key, .count = 1 };
}

static JoinCert a_cert(void)
{
    return (JoinCert){ .installation = installation,
        .fleet = fleet,
        .key = one_time.public_key,
        .not_before = now,
        .not_after = time_add_s(now, 3600) };
}

static EnrolRequest a_request(void)
{
    return (EnrolRequest){ .installation = installation,
        .fleet = fleet,
        .name = STR("eu-1"),
        .sign = sign.public_key,
        .encrypt = encrypt.public_key,
        .at = now };
}

TEST(join_certificate_names_fleet_key_and_time)
{
    JoinCert cert = a_cert(), out;
    Str jws = join_cert_sign(arena, &enrol, &cert);
    expect_ok(join_cert_verify(arena, jws, only(&enrol), installation, now, &out));
    assert_true(uuid_eq(out.fleet, fleet));
    assert_string_equal(out.key.kid, one_time.public_key.kid);
}

TEST(join_certificate_of_a_stranger_time_or_place_is_refused)
{
    JoinCert cert = a_cert(), out;
    Str jws = join_cert_sign(arena, &enrol, &cert);
    expect_err(join_cert_verify(arena, jws, only(&stranger), installation, now, &out), "jose-key-unknown");
    expect_err(join_cert_verify(arena, jws, only(&enrol), other_installation, now, &out), "join-installation");
    expect_err(join_cert_verify(arena, jws, only(&enrol), installation, time_add_s(now, 3600), &out), "join-expired");
    expect_err(join_cert_verify(arena, jws, only(&enrol), installation, time_add_s(now, -3600), &out), "join-not-yet");
    expect_ok(join_cert_verify(arena, jws, only(&enrol), installation, TIME_NONE, &out));
    cert.not_after = time_add_s(now, JOIN_TTL_S_MAX + 1);
    expect_err(join_cert_verify(arena, join_cert_sign(arena, &enrol, &cert), only(&enrol), installation, now, &out),
        "join-malformed");
}

TEST(enrolment_request_is_bound_to_its_certificate)
{
    JoinCert cert = a_cert(), another = a_cert();
    EnrolRequest request = a_request(), out;
    Str jws = enrol_request_sign(arena, &one_time, &request);
    expect_ok(enrol_request_verify(arena, jws, &cert, &out));
    expect_str(out.name, STR("eu-1"));
    assert_string_equal(out.sign.kid, sign.public_key.kid);
    assert_string_equal(out.encrypt.kid, encrypt.public_key.kid);
    another.key = stranger.public_key;
    expect_err(enrol_request_verify(arena, jws, &another, &out), "jose-key-unknown");
    expect_err(
        enrol_request_verify(arena, enrol_request_sign(arena, &stranger, &request), &cert, &out), "jose-key-unknown");
    request.fleet = other_fleet;
    expect_err(enrol_request_verify(arena, enrol_request_sign(arena, &one_time, &request), &cert, &out), "enrol-fleet");
}

TEST(certificate_and_request_cannot_stand_for_each_other)
{
    JoinCert cert = a_cert(), out;
    EnrolRequest request = a_request(), out_request;
    Str cert_jws = join_cert_sign(arena, &one_time, &cert), request_jws = enrol_request_sign(arena, &enrol, &request);
    expect_err(enrol_request_verify(arena, cert_jws, &cert, &out_request), "jose-type");
    expect_err(join_cert_verify(arena, request_jws, only(&enrol), installation, now, &out), "jose-type");
}

TEST(generation_statement_names_the_revoked)
{
    Uuid revoked[] = { { { 9 } }, { { 10 } } };
    GenerationStatement statement = { .installation = installation,
        .fleet = fleet,
        .generation = 2,
        .revoked = { revoked, 2 },
        .at = now },
                        out;
    Str jws = generation_sign(arena, &enrol, &statement);
    expect_ok(generation_verify(arena, jws, only(&enrol), installation, &out));
    assert_int_equal(out.generation, 2);
    assert_int_equal(out.revoked.count, 2);
    assert_true(uuid_eq(out.revoked.items[1], revoked[1]));
    expect_err(generation_verify(arena, jws, only(&stranger), installation, &out), "jose-key-unknown");
    expect_err(generation_verify(arena, jws, only(&enrol), other_installation, &out), "generation-installation");
    statement.generation = 1;
    expect_err(generation_verify(arena, generation_sign(arena, &enrol, &statement), only(&enrol), installation, &out),
        "generation-malformed");
}

TEST(assertion_is_good_for_a_minute_at_one_installation)
{
    Uuid id = data_plane_id(installation, &sign.public_key), peeked;
    Assertion out;
    Str jws = assertion_sign(arena, &sign, id, installation, now);
    expect_ok(assertion_peek(arena, jws, &peeked));
    assert_true(uuid_eq(peeked, id));
    expect_ok(assertion_verify(arena, jws, &sign.public_key, installation, now, &out));
    assert_true(uuid_eq(out.data_plane, id));
    expect_err(assertion_verify(arena, jws, &stranger.public_key, installation, now, &out), "jose-key-unknown");
    expect_err(assertion_verify(arena, jws, &sign.public_key, other_installation, now, &out), "assertion-audience");
    expect_err(
        assertion_verify(arena, jws, &sign.public_key, installation, time_add_s(now, 300), &out), "assertion-expired");
    expect_err(
        assertion_verify(arena, jws, &sign.public_key, installation, time_add_s(now, -300), &out), "assertion-not-yet");
    assert_int_equal(
        assertion_verify(arena, STR("x"), &sign.public_key, installation, now, &out).kind, ERR_UNAUTHENTICATED);
}

TEST(join_token_reads_back)
{
    JoinCert cert = a_cert();
    JoinToken token = { .url = STR("https://reeve.example"),
        .root = digest_of(str_bytes(STR("root"))),
        .installation = installation,
        .fleet = fleet,
        .cert = join_cert_sign(arena, &enrol, &cert),
        .key = one_time };
    _cleanup_(secret_release) Secret text = { 0 };
    _cleanup_(join_token_release) JoinToken out = { 0 };
    expect_ok(join_token_write(arena, &token, &text));
    assert_true(str_starts_with(bytes_str(secret_bytes(&text)), STR("rj1.")));
    expect_ok(join_token_parse(arena, bytes_str(secret_bytes(&text)), &out));
    expect_str(out.url, token.url);
    expect_str(out.cert, token.cert);
    assert_true(digest_eq(out.root, token.root));
    assert_string_equal(out.key.public_key.kid, one_time.public_key.kid);
    assert_true(secret_eq(secret_bytes(&out.key.secret), secret_bytes(&one_time.secret)));
}

TEST(join_token_in_any_other_form_is_refused)
{
    static const char *const texts[] = { "", "rj1.", "rj2.e30", "rj1.e30", "rj1.!!!", "rj1.W10", "e30" };
    JoinToken out;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        expect_err(join_token_parse(arena, str_from_c(texts[i]), &out), "join-token-malformed");
}

int main(void)
{
    json_start();
    crypto_start();
    arena = arena_new();
    now = time_now();
    enrol = ed25519_new();
    stranger = ed25519_new();
    one_time = ed25519_new();
    sign = ed25519_new();
    encrypt = x25519_new();
    const struct CMUnitTest tests[] = {
        RUN(join_certificate_names_fleet_key_and_time),
        RUN(join_certificate_of_a_stranger_time_or_place_is_refused),
        RUN(enrolment_request_is_bound_to_its_certificate),
        RUN(certificate_and_request_cannot_stand_for_each_other),
        RUN(generation_statement_names_the_revoked),
        RUN(assertion_is_good_for_a_minute_at_one_installation),
        RUN(join_token_reads_back),
        RUN(join_token_in_any_other_form_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    keypair_release(&enrol);
    keypair_release(&stranger);
    keypair_release(&one_time);
    keypair_release(&sign);
    keypair_release(&encrypt);
    arena_free(&arena);
    return failed;
}
