/* JOSE: what our shapes carry, and the attacks on envelopes and keys that must be refused. */
#include "support/expect.h"

#include "base/encode.h"
#include "base/json.h"
#include "crypto/jose.h"

#include "../../../src/crypto/aead.h"

static Arena *arena;
static KeyPair signer, other_signer, recipient, other_recipient;

static KeySet only(const KeyPair *pair)
{
    return (KeySet){ .items = &pair->public_key, .count = 1 };
}

static Str b64(const char *text)
{
    return base64url_encode(arena, str_bytes(str_from_c(text)));
}

/* header.payload.signature with the header replaced, the signature kept. */
static Str with_header(Str compact, const char *header)
{
    Str old, rest;
    assert_true(str_cut(compact, '.', &old, &rest));
    return arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(b64(header)), STR_ARG(rest));
}

static const char *header_of(const char *alg, const char *more)
{
    return arena_fmt(
        arena, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"reeve-test+jws\"%s}", alg, signer.public_key.kid, more)
        .ptr;
}

static Err verify(Str jws)
{
    Str payload;
    return jws_verify(arena, jws, only(&signer), STR("reeve-test+jws"), &payload, NULL);
}

static Str signed_text(void)
{
    return jws_sign(arena, &signer, STR("reeve-test+jws"), STR("{\"v\":1}"));
}

/* --- keys --- */

/* The key of RFC 8037, A.1, its thumbprint of A.3 and the signature of A.4. */
static const char rfc8037_key[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                                  "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","
                                  "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";

TEST(key_and_signature_are_those_of_rfc_8037)
{
    _cleanup_(keypair_release) KeyPair pair = { 0 };
    expect_ok(ed25519_from_private_jwk(str_bytes(str_from_c(rfc8037_key)), &pair));
    assert_string_equal(pair.public_key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    Str input = STR("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"), payload;
    uint8_t signature[64];
    ed25519_sign(&pair, input, signature);
    Str text = base64url_encode(arena, BYTES_OF(signature));
    expect_str(text, STR("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"));
    /* The example names no key and no type: well signed, and still not one of our shapes. */
    Str jws = arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(input), STR_ARG(text));
    expect_err(jws_verify(arena, jws, only(&pair), STR("reeve-test+jws"), &payload, NULL), "jose-type");
}

TEST(private_jwk_reads_back)
{
    _cleanup_(secret_release) Secret text = { 0 }, x_text = { 0 };
    _cleanup_(keypair_release) KeyPair back = { 0 }, x_back = { 0 };
    expect_ok(ed25519_private_jwk(&signer, &text));
    expect_ok(ed25519_from_private_jwk(secret_bytes(&text), &back));
    assert_string_equal(back.public_key.kid, signer.public_key.kid);
    assert_true(secret_eq(secret_bytes(&back.secret), secret_bytes(&signer.secret)));
    expect_ok(x25519_private_jwk(&recipient, &x_text));
    expect_ok(x25519_from_private_jwk(secret_bytes(&x_text), &x_back));
    assert_true(secret_eq(secret_bytes(&x_back.secret), secret_bytes(&recipient.secret)));
    expect_err(x25519_from_private_jwk(secret_bytes(&text), &x_back), "jwk-malformed");
    text.ptr[text.len / 2] ^= 1;
    _cleanup_(keypair_release) KeyPair broken = { 0 };
    assert_int_not_equal(ed25519_from_private_jwk(secret_bytes(&text), &broken).kind, ERR_NONE);
}

TEST(public_jwk_reads_back_and_nothing_beside_it)
{
    PublicKey key;
    _cleanup_(json_release) json_t *jwk = ed25519_jwk(&signer.public_key);
    expect_ok(ed25519_from_jwk(jwk, &key));
    assert_string_equal(key.kid, signer.public_key.kid);
    expect_err(x25519_from_jwk(jwk, &key), "jwk-malformed");
    json_object_set_new(jwk, "d", json_string("AAAA"));
    expect_err(ed25519_from_jwk(jwk, &key), "jwk-malformed");
    json_object_del(jwk, "d");
    json_object_set_new(jwk, "kid", json_string(other_signer.public_key.kid));
    expect_err(ed25519_from_jwk(jwk, &key), "jwk-kid");
    expect_err(ed25519_from_jwk(NULL, &key), "jwk-malformed");
}

static Err ed25519_point(const char *hex)
{
    Bytes raw;
    PublicKey key;
    expect_ok(hex_decode(arena, str_from_c(hex), &raw));
    _cleanup_(json_release) json_t *jwk =
        json_pack("{s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519", "x", base64url_encode(arena, raw).ptr);
    return ed25519_from_jwk(jwk, &key);
}

static Err x25519_point(const char *hex)
{
    Bytes raw;
    PublicKey key;
    expect_ok(hex_decode(arena, str_from_c(hex), &raw));
    _cleanup_(json_release) json_t *jwk =
        json_pack("{s:s, s:s, s:s}", "kty", "OKP", "crv", "X25519", "x", base64url_encode(arena, raw).ptr);
    return x25519_from_jwk(jwk, &key);
}

TEST(points_of_small_order_are_not_keys)
{
    static const char *const ed[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "0100000000000000000000000000000000000000000000000000000000000080",
    };
    static const char *const x[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < COUNT_OF(ed); i++)
        expect_err(ed25519_point(ed[i]), "jwk-point");
    for (size_t i = 0; i < COUNT_OF(x); i++)
        expect_err(x25519_point(x[i]), "jwk-point");
}

TEST(one_point_has_one_spelling)
{
    /* 9 + p, and 9 with the unused bit set, are the base point again. */
    expect_ok(x25519_point("0900000000000000000000000000000000000000000000000000000000000000"));
    expect_err(x25519_point("f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "jwk-point");
    expect_err(x25519_point("0900000000000000000000000000000000000000000000000000000000000080"), "jwk-point");
    expect_err(ed25519_point("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "jwk-point");
}

/* --- JWS --- */

TEST(jws_gives_back_what_was_signed)
{
    Str payload, kid;
    expect_ok(jws_verify(arena, signed_text(), only(&signer), STR("reeve-test+jws"), &payload, &kid));
    expect_str(payload, STR("{\"v\":1}"));
    expect_str(kid, str_from_c(signer.public_key.kid));
    expect_ok(jws_peek(arena, signed_text(), &payload));
    expect_str(payload, STR("{\"v\":1}"));
}

TEST(jws_without_a_signature_is_refused)
{
    Str jws = signed_text(), head, rest, payload, signature;
    str_cut(jws, '.', &head, &rest);
    str_cut(rest, '.', &payload, &signature);
    expect_err(verify(arena_fmt(arena, STR_FMT "." STR_FMT ".", STR_ARG(head), STR_ARG(payload))), "jose-malformed");
    expect_err(verify(arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(payload))), "jose-malformed");
    expect_err(verify((Str){ 0 }), "jose-malformed");
    expect_err(verify(STR("..")), "jose-malformed");
    expect_err(verify(arena_fmt(arena, STR_FMT ".AA", STR_ARG(jws))), "jose-malformed");
}

TEST(jws_of_any_other_algorithm_is_refused)
{
    static const char *const algs[] = { "none", "None", "NONE", "", "HS256", "ES256", "RS256", "EdDSA ", "eddsa",
        "Ed25519", "ES256K", "PS512" };
    for (size_t i = 0; i < COUNT_OF(algs); i++)
        expect_err(verify(with_header(signed_text(), header_of(algs[i], ""))), "jose-algorithm");
}

TEST(jws_hmacd_with_the_public_key_is_refused)
{
    Str head = b64(header_of("HS256", "")), payload = b64("{\"v\":1}");
    Str input = arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(payload));
    Digest mac = hmac_sha256(BYTES_OF(signer.public_key.b), str_bytes(input));
    Str forged =
        arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(input), STR_ARG(base64url_encode(arena, digest_bytes(&mac))));
    expect_err(verify(forged), "jose-algorithm");
}

TEST(jws_of_another_typ_is_refused)
{
    Str payload, jws = jws_sign(arena, &signer, STR("reeve-heartbeat+jws"), STR("{}"));
    expect_err(jws_verify(arena, jws, only(&signer), STR("reeve-manifest+jws"), &payload, NULL), "jose-type");
    _cleanup_(secret_release) Secret key = secret_random(32);
    Str jwe;
    expect_ok(jwe_seal_dir(arena, &key, STR("reeve-test+jws"), NULL, str_bytes(STR("x")), &jwe));
    expect_err(verify(jwe), "jose-malformed");
}

TEST(jws_by_a_key_without_a_say_is_refused)
{
    Str payload, jws = jws_sign(arena, &other_signer, STR("reeve-test+jws"), STR("{}"));
    expect_err(verify(jws), "jose-key-unknown");
    expect_err(jws_verify(arena, jws, (KeySet){ 0 }, STR("reeve-test+jws"), &payload, NULL), "jose-key-unknown");
    /* The right kid over another's signature. */
    Str parts = with_header(jws, header_of("EdDSA", ""));
    expect_err(verify(parts), "jose-signature");
}

TEST(jws_that_brings_its_own_key_or_more_is_refused)
{
    static const char *const more[] = { ",\"jwk\":{\"kty\":\"OKP\"}", ",\"jku\":\"https://evil.example/keys\"",
        ",\"x5c\":[\"AA\"]", ",\"crit\":[\"exp\"]", ",\"b64\":false", ",\"cty\":\"JWT\"", ",\"zip\":\"DEF\"",
        ",\"crit\":[]" };
    for (size_t i = 0; i < COUNT_OF(more); i++)
        expect_err(verify(with_header(signed_text(), header_of("EdDSA", more[i]))), "jose-malformed");
    expect_err(verify(with_header(signed_text(), "{\"alg\":\"EdDSA\",\"typ\":\"reeve-test+jws\"}")), "jose-malformed");
    expect_err(verify(with_header(signed_text(), "[]")), "jose-malformed");
    expect_err(verify(with_header(signed_text(), header_of("none\",\"alg\":\"EdDSA", ""))), "jose-malformed");
    expect_err(verify(with_header(signed_text(), "{\"alg\":\"EdDSA\",\"kid\":[],\"typ\":\"reeve-test+jws\"}")),
        "jose-malformed");
}

TEST(jws_in_another_spelling_is_refused)
{
    Str jws = signed_text();
    expect_err(verify(arena_fmt(arena, STR_FMT "=", STR_ARG(jws))), "jose-malformed");
    expect_err(verify(arena_fmt(arena, STR_FMT "==", STR_ARG(jws))), "jose-malformed");
    expect_err(verify(arena_fmt(arena, " " STR_FMT, STR_ARG(jws))), "jose-malformed");
    expect_err(verify(arena_fmt(arena, STR_FMT "\n", STR_ARG(jws))), "jose-malformed");
    expect_err(verify(arena_fmt(arena, STR_FMT "A", STR_ARG(jws))), "jose-malformed");
    /* The last character carries four unused bits: any but zero is another spelling of the same signature. */
    char *copy = (char *)(uintptr_t)arena_str(arena, jws).ptr;
    copy[jws.len - 1] = (char)(copy[jws.len - 1] + 1);
    expect_err(verify(str_n(copy, jws.len)), "jose-malformed");
}

TEST(jws_with_any_byte_changed_is_refused)
{
    Str jws = signed_text();
    for (size_t i = 0; i < jws.len; i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, jws).ptr;
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        if (verify(str_n(copy, jws.len)).kind == ERR_NONE)
            fail_msg("a JWS with byte %zu changed was accepted", i);
    }
}

TEST(jws_with_s_beyond_the_order_is_refused)
{
    static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde,
        0xf9, 0xde, 0x14, [31] = 0x10 };
    Str jws = signed_text(), head, rest, payload, signature;
    str_cut(jws, '.', &head, &rest);
    str_cut(rest, '.', &payload, &signature);
    Bytes raw;
    expect_ok(base64url_decode(arena, signature, &raw));
    uint8_t copy[64];
    memcpy(copy, raw.ptr, sizeof(copy));
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += copy[32 + i] + order[i];
        copy[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    expect_err(verify(arena_fmt(arena, STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(payload),
                   STR_ARG(base64url_encode(arena, BYTES_OF(copy))))),
        "jose-signature");
}

/* --- general JWS --- */

static Str general(const KeyPair *a, const KeyPair *b)
{
    const KeyPair *pairs[] = { a, b };
    return jws_sign_general(arena, pairs, b == NULL ? 1 : 2, STR("reeve-root+jws"), STR("{\"v\":1}"));
}

static unsigned signers_of(Str jws, KeySet keys)
{
    Str payload;
    unsigned signers = 99;
    expect_ok(jws_verify_general(arena, jws, keys, STR("reeve-root+jws"), &payload, &signers));
    return signers;
}

TEST(general_jws_counts_the_different_keys_that_signed)
{
    const PublicKey both[] = { signer.public_key, other_signer.public_key };
    assert_int_equal(signers_of(general(&signer, &other_signer), (KeySet){ both, 2 }), 2);
    assert_int_equal(signers_of(general(&signer, &other_signer), (KeySet){ both, 1 }), 1);
    assert_int_equal(signers_of(general(&signer, NULL), (KeySet){ both, 2 }), 1);
    assert_int_equal(signers_of(general(&signer, NULL), (KeySet){ 0 }), 0);
    Str grown;
    expect_ok(jws_add_signature(arena, general(&signer, NULL), &other_signer, STR("reeve-root+jws"), &grown));
    assert_int_equal(signers_of(grown, (KeySet){ both, 2 }), 2);
    expect_err(jws_add_signature(arena, grown, &signer, STR("reeve-root+jws"), &grown), "jose-signed-already");
}

TEST(general_jws_with_one_signature_twice_is_refused)
{
    Str payload;
    unsigned signers;
    Str twice = general(&signer, &signer);
    expect_err(
        jws_verify_general(arena, twice, only(&signer), STR("reeve-root+jws"), &payload, &signers), "jose-malformed");
}

TEST(one_key_under_two_ids_counts_once)
{
    /* A key set that lists one key under a second, false id; and a signature that names it. */
    PublicKey keys[] = { signer.public_key, signer.public_key };
    memset(keys[1].kid, 'x', KID_LEN);
    KeyPair alias = { .public_key = keys[1], .secret = secret_copy(secret_bytes(&signer.secret)) };
    assert_int_equal(signers_of(general(&signer, &alias), (KeySet){ keys, 2 }), 1);
    keypair_release(&alias);
}

TEST(general_jws_in_any_other_shape_is_refused)
{
    static const char *const shapes[] = { "", "{}", "[]", "{\"payload\":\"\",\"signatures\":[]}",
        "{\"payload\":\"e30\",\"signatures\":[{}]}", "{\"payload\":1,\"signatures\":[1]}",
        "{\"payload\":\"e30\",\"signature\":\"AA\",\"protected\":\"e30\"}",
        "{\"payload\":\"e30\",\"signatures\":[{\"header\":{\"alg\":\"none\"},\"signature\":\"AA\"}]}" };
    Str payload;
    unsigned signers;
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        expect_err(
            jws_verify_general(arena, str_from_c(shapes[i]), only(&signer), STR("reeve-root+jws"), &payload, &signers),
            "jose-malformed");
}

TEST(general_jws_with_a_bad_signature_of_a_known_key_is_refused_whole)
{
    Str jws = general(&signer, &other_signer), payload;
    unsigned signers;
    _cleanup_(json_release) json_t *object = NULL;
    expect_ok(json_parse(jws, JSON_LIMITS_ADMIN, &object));
    json_object_set_new(object, "payload", json_from_str(b64("{\"v\":2}")));
    expect_err(
        jws_verify_general(arena, json_write(arena, object), only(&signer), STR("reeve-root+jws"), &payload, &signers),
        "jose-signature");
}

/* --- JWE --- */

static json_t *bound(const char *project, int version)
{
    return json_pack("{s:s, s:i}", "project", project, "version", version);
}

TEST(jwe_dir_opens_under_its_key_and_place_only)
{
    _cleanup_(secret_release) Secret key = secret_random(32), other = secret_random(32);
    _cleanup_(json_release) json_t *place = bound("prj_a", 1), *project = bound("prj_b", 1),
                                   *version = bound("prj_a", 2), *none = json_object(),
                                   *text = json_pack("{s:s, s:s}", "project", "prj_a", "version", "1");
    Str jwe, typ = STR("reeve-secret+jwe");
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, typ, place, str_bytes(STR("sk-live")), &jwe));
    expect_ok(jwe_open_dir(arena, &key, typ, place, jwe, out, sizeof(out), &len));
    expect_str(str_n((char *)out, len), STR("sk-live"));
    expect_err(jwe_open_dir(arena, &other, typ, place, jwe, out, sizeof(out), &len), "cannot-open");
    expect_err(jwe_open_dir(arena, &key, typ, project, jwe, out, sizeof(out), &len), "cannot-open");
    expect_err(jwe_open_dir(arena, &key, typ, version, jwe, out, sizeof(out), &len), "cannot-open");
    expect_err(jwe_open_dir(arena, &key, typ, text, jwe, out, sizeof(out), &len), "cannot-open");
    expect_err(jwe_open_dir(arena, &key, typ, none, jwe, out, sizeof(out), &len), "jose-malformed");
    expect_err(jwe_open_dir(arena, &key, STR("reeve-other+jwe"), place, jwe, out, sizeof(out), &len), "jose-type");
    expect_err(jwe_open_dir(arena, &key, typ, place, jwe, out, 6, &len), "cannot-open");
}

TEST(jwe_dir_with_its_header_edited_is_refused)
{
    _cleanup_(secret_release) Secret key = secret_random(32);
    _cleanup_(json_release) json_t *place = bound("prj_a", 1), *other = bound("prj_b", 1);
    Str jwe, typ = STR("reeve-secret+jwe");
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, typ, place, str_bytes(STR("sk-live")), &jwe));
    Str edited = with_header(
        jwe, "{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"typ\":\"reeve-secret+jwe\",\"project\":\"prj_b\",\"version\":1}");
    expect_err(jwe_open_dir(arena, &key, typ, other, edited, out, sizeof(out), &len), "cannot-open");
}

typedef struct HeaderCase {
    const char *header;
    const char *code;
} HeaderCase;

TEST(jwe_of_any_other_algorithm_or_with_more_members_is_refused)
{
#define DIR_REST "\"enc\":\"A256GCM\",\"typ\":\"t\""
    static const HeaderCase cases[] = {
        { "{\"alg\":\"none\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"ECDH-ES\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"A256KW\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"A256GCMKW\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"PBES2-HS256+A128KW\",\"p2c\":2000000000,\"p2s\":\"AA\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"RSA1_5\"," DIR_REST "}", "jose-algorithm" },
        { "{\"alg\":\"dir\",\"enc\":\"A128GCM\",\"typ\":\"t\"}", "jose-algorithm" },
        { "{\"alg\":\"dir\",\"enc\":\"A256CBC-HS512\",\"typ\":\"t\"}", "jose-algorithm" },
        { "{\"alg\":\"dir\",\"typ\":\"t\"}", "jose-algorithm" },
        { "{\"alg\":\"dir\",\"zip\":\"DEF\"," DIR_REST "}", "jose-malformed" },
        { "{\"alg\":\"dir\",\"p2c\":2000000000," DIR_REST "}", "jose-malformed" },
        { "{\"alg\":\"dir\",\"crit\":[\"zip\"]," DIR_REST "}", "jose-malformed" },
        { "{\"alg\":\"dir\",\"jwk\":{}," DIR_REST "}", "jose-malformed" },
        { "{\"alg\":\"dir\",\"epk\":{}," DIR_REST "}", "jose-malformed" },
    };
    _cleanup_(secret_release) Secret key = secret_random(32);
    Str jwe;
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, STR("t"), NULL, str_bytes(STR("x")), &jwe));
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect_err(jwe_open_dir(arena, &key, STR("t"), NULL, with_header(jwe, cases[i].header), out, sizeof(out), &len),
            cases[i].code);
}

TEST(jwe_with_any_byte_changed_is_refused)
{
    _cleanup_(secret_release) Secret key = secret_random(32);
    Str jwe;
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, STR("t"), NULL, str_bytes(STR("sk-live")), &jwe));
    for (size_t i = 0; i < jwe.len; i++) {
        char *copy = (char *)(uintptr_t)arena_str(arena, jwe).ptr;
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        if (jwe_open_dir(arena, &key, STR("t"), NULL, str_n(copy, jwe.len), out, sizeof(out), &len).kind == ERR_NONE)
            fail_msg("a JWE with byte %zu changed was opened", i);
    }
}

TEST(jwe_with_a_cut_tag_or_an_encrypted_key_is_refused)
{
    _cleanup_(secret_release) Secret key = secret_random(32);
    Str jwe, parts[5], rest;
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, STR("t"), NULL, str_bytes(STR("sk-live")), &jwe));
    rest = jwe;
    for (int i = 0; i < 4; i++)
        str_cut(rest, '.', &parts[i], &rest);
    parts[4] = rest;
    Str short_tag = arena_fmt(arena, STR_FMT ".." STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(parts[0]), STR_ARG(parts[2]),
        STR_ARG(parts[3]), STR_ARG(str_first(parts[4], 16)));
    Str with_key = arena_fmt(arena, STR_FMT ".AAAA." STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(parts[0]),
        STR_ARG(parts[2]), STR_ARG(parts[3]), STR_ARG(parts[4]));
    expect_err(jwe_open_dir(arena, &key, STR("t"), NULL, short_tag, out, sizeof(out), &len), "jose-malformed");
    expect_err(jwe_open_dir(arena, &key, STR("t"), NULL, with_key, out, sizeof(out), &len), "jose-malformed");
}

TEST(prepared_jwe_opens_again_and_again)
{
    _cleanup_(secret_release) Secret key = secret_random(32), other = secret_random(32);
    _cleanup_(json_release) json_t *place = bound("prj_a", 1);
    JwePrepared prepared;
    Str jwe;
    uint8_t out[16];
    size_t len;
    expect_ok(jwe_seal_dir(arena, &key, STR("t"), place, str_bytes(STR("sk-live")), &jwe));
    expect_ok(jwe_prepare_dir(arena, STR("t"), place, jwe, &prepared));
    for (int i = 0; i < 3; i++) {
        memset(out, 0, sizeof(out));
        expect_ok(jwe_prepared_open(&prepared, secret_bytes(&key), out, sizeof(out), &len));
        expect_str(str_n((char *)out, len), STR("sk-live"));
    }
    memset(out, 0xaa, sizeof(out));
    expect_err(jwe_prepared_open(&prepared, secret_bytes(&other), out, sizeof(out), &len), "cannot-open");
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(out[i], 0); /* nothing of a plaintext that is not proven */
    expect_err(jwe_prepared_open(&prepared, (Bytes){ key.ptr, 31 }, out, sizeof(out), &len), "cannot-open");
}

TEST(jwe_to_a_key_opens_with_that_key_only)
{
    _cleanup_(json_release) json_t *place = bound("prj_a", 1), *elsewhere = bound("prj_b", 1);
    _cleanup_(secret_release) Secret plain = { 0 };
    Str jwe, typ = STR("reeve-intake+jwe");
    expect_ok(jwe_seal_to(arena, &recipient.public_key, typ, place, str_bytes(STR("sk-live")), &jwe));
    expect_ok(jwe_open_from(arena, &recipient, typ, place, jwe, &plain));
    expect_str(bytes_str(secret_bytes(&plain)), STR("sk-live"));
    secret_release(&plain);
    expect_err(jwe_open_from(arena, &other_recipient, typ, place, jwe, &plain), "jose-key-unknown");
    expect_err(jwe_open_from(arena, &recipient, typ, elsewhere, jwe, &plain), "cannot-open");
    expect_err(jwe_open_from(arena, &recipient, STR("reeve-other+jwe"), place, jwe, &plain), "jose-type");
    assert_null(plain.ptr);
}

static Str with_epk(Str jwe, const char *epk, const char *more)
{
    return with_header(
        jwe, arena_fmt(arena, "{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"epk\":%s,\"kid\":\"%s\",\"typ\":\"t\"%s}",
                 epk, recipient.public_key.kid, more)
                 .ptr);
}

TEST(jwe_with_a_bad_ephemeral_key_is_refused)
{
#define EPK(x) "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" x "\"}"
    static const HeaderCase cases[] = {
        { EPK("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "jwk-point" },
        { EPK("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "jwk-point" },
        { EPK("X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc"), "jwk-point" },
        { EPK("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "jwk-malformed" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "jwk-malformed" },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
            "jwk-malformed" },
        { "null", "jwk-malformed" },
        { "{}", "jwk-malformed" },
        { EPK("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "cannot-open" },
    };
    _cleanup_(secret_release) Secret plain = { 0 };
    Str jwe;
    expect_ok(jwe_seal_to(arena, &recipient.public_key, STR("t"), NULL, str_bytes(STR("x")), &jwe));
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect_err(jwe_open_from(arena, &recipient, STR("t"), NULL, with_epk(jwe, cases[i].header, ""), &plain),
            cases[i].code);
    expect_err(jwe_open_from(arena, &recipient, STR("t"), NULL,
                   with_epk(jwe, EPK("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ",\"zip\":\"DEF\""), &plain),
        "jose-malformed");
    expect_err(jwe_open_from(arena, &recipient, STR("t"), NULL,
                   with_epk(jwe, EPK("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ",\"apu\":\"AA\""), &plain),
        "jose-malformed");
}

TEST(party_info_takes_part_in_the_agreement)
{
    _cleanup_(json_release) json_t *info = json_pack("{s:s, s:s}", "apu", "QWxpY2U", "apv", "Qm9i");
    _cleanup_(secret_release) Secret plain = { 0 };
    Str jwe;
    expect_ok(jwe_seal_to(arena, &recipient.public_key, STR("t"), info, str_bytes(STR("x")), &jwe));
    expect_ok(jwe_open_from(arena, &recipient, STR("t"), info, jwe, &plain));
}

int main(void)
{
    json_start();
    crypto_start();
    arena = arena_new();
    signer = ed25519_new();
    other_signer = ed25519_new();
    recipient = x25519_new();
    other_recipient = x25519_new();
    const struct CMUnitTest tests[] = {
        RUN(key_and_signature_are_those_of_rfc_8037),
        RUN(private_jwk_reads_back),
        RUN(public_jwk_reads_back_and_nothing_beside_it),
        RUN(points_of_small_order_are_not_keys),
        RUN(one_point_has_one_spelling),
        RUN(jws_gives_back_what_was_signed),
        RUN(jws_without_a_signature_is_refused),
        RUN(jws_of_any_other_algorithm_is_refused),
        RUN(jws_hmacd_with_the_public_key_is_refused),
        RUN(jws_of_another_typ_is_refused),
        RUN(jws_by_a_key_without_a_say_is_refused),
        RUN(jws_that_brings_its_own_key_or_more_is_refused),
        RUN(jws_in_another_spelling_is_refused),
        RUN(jws_with_any_byte_changed_is_refused),
        RUN(jws_with_s_beyond_the_order_is_refused),
        RUN(general_jws_counts_the_different_keys_that_signed),
        RUN(general_jws_with_one_signature_twice_is_refused),
        RUN(one_key_under_two_ids_counts_once),
        RUN(general_jws_in_any_other_shape_is_refused),
        RUN(general_jws_with_a_bad_signature_of_a_known_key_is_refused_whole),
        RUN(jwe_dir_opens_under_its_key_and_place_only),
        RUN(jwe_dir_with_its_header_edited_is_refused),
        RUN(jwe_of_any_other_algorithm_or_with_more_members_is_refused),
        RUN(jwe_with_any_byte_changed_is_refused),
        RUN(jwe_with_a_cut_tag_or_an_encrypted_key_is_refused),
        RUN(prepared_jwe_opens_again_and_again),
        RUN(jwe_to_a_key_opens_with_that_key_only),
        RUN(jwe_with_a_bad_ephemeral_key_is_refused),
        RUN(party_info_takes_part_in_the_agreement),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    keypair_release(&signer);
    keypair_release(&other_signer);
    keypair_release(&recipient);
    keypair_release(&other_recipient);
    arena_free(&arena);
    return failed;
}
