/*
 * Strangers' bytes as every JOSE shape and every statement. The first byte chooses; payloads of statements are signed
 * here, so that what lies behind the signature is reached. Nothing that was not sealed or signed here may open.
 */
#include "base/json.h"
#include "snapshot/statement.h"

#include <assert.h>
#include <string.h>

static KeyPair signer, recipient;
static Secret content_key;

static const char recipient_text[] =
    "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo\","
    "\"d\":\"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo\"}";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    crypto_start();
    json_start();
    Secret seed = secret_new(32);
    memset(seed.ptr, 7, seed.len);
    signer = ed25519_from_seed(&seed);
    content_key = secret_copy(secret_bytes(&seed));
    secret_release(&seed);
    Err err = x25519_from_private_jwk(str_bytes(str_from_c(recipient_text)), &recipient);
    assert(err.kind == ERR_NONE);
    return 0;
}

static void fuzz_jws(Arena *arena, Str text)
{
    Str payload = STR(""), kid = STR("");
    KeySet keys = { &signer.public_key, 1 };
    if (jws_verify(arena, text, keys, STR("t"), &payload, &kid).kind == ERR_NONE)
        assert(str_eq(jws_sign(arena, &signer, STR("t"), payload), text)); /* one signature has one spelling */
    (void)!jws_peek(arena, text, &payload).kind;
}

static void fuzz_general(Arena *arena, Str text)
{
    Str payload, grown;
    unsigned signers = 0;
    KeySet keys = { &signer.public_key, 1 };
    if (jws_verify_general(arena, text, keys, STR("t"), &payload, &signers).kind == ERR_NONE)
        assert(signers <= 1);
    if (jws_add_signature(arena, text, &signer, STR("t"), &grown).kind == ERR_NONE) {
        Err err = jws_verify_general(arena, grown, keys, STR("t"), &payload, &signers);
        assert(err.kind == ERR_NONE && signers == 1);
    }
}

static void fuzz_jwe(Arena *arena, Str text)
{
    uint8_t out[256];
    size_t len;
    json_t *header = NULL;
    _cleanup_(secret_release) Secret plain = { 0 };
    if (jwe_header(arena, text, &header).kind == ERR_NONE)
        json_decref(header);
    (void)!jwe_open_dir(arena, &content_key, STR("t"), NULL, text, out, sizeof(out), &len).kind;
    (void)!jwe_open_from(arena, &recipient, STR("t"), NULL, text, &plain).kind;
}

static void fuzz_jwk(Arena *arena, Str text)
{
    _cleanup_(json_release) json_t *jwk = NULL;
    _cleanup_(keypair_release) KeyPair pair = { 0 }, other = { 0 };
    PublicKey key;
    (void)arena;
    (void)!ed25519_from_private_jwk(str_bytes(text), &pair).kind;
    (void)!x25519_from_private_jwk(str_bytes(text), &other).kind;
    if (json_parse(text, JSON_LIMITS_ADMIN, &jwk).kind != ERR_NONE)
        return;
    if (ed25519_from_jwk(jwk, &key).kind == ERR_NONE)
        assert(strlen(key.kid) == KID_LEN);
    if (x25519_from_jwk(jwk, &key).kind == ERR_NONE)
        assert(strlen(key.kid) == KID_LEN);
}

static void fuzz_statements(Arena *arena, Str payload)
{
    Uuid installation = { { 1 } };
    KeySet keys = { &signer.public_key, 1 };
    JoinCert cert = { .installation = installation, .key = signer.public_key };
    EnrolRequest request;
    GenerationStatement generation;
    Assertion assertion;
    Str jws = jws_sign(arena, &signer, STR(JOIN_TYP), payload);
    JoinCert parsed;
    (void)!join_cert_verify(arena, jws, keys, installation, TIME_NONE, &parsed).kind;
    jws = jws_sign(arena, &signer, STR(ENROL_TYP), payload);
    (void)!enrol_request_verify(arena, jws, &cert, &request).kind;
    jws = jws_sign(arena, &signer, STR(GENERATION_TYP), payload);
    (void)!generation_verify(arena, jws, keys, installation, &generation).kind;
    jws = jws_sign(arena, &signer, STR(ASSERTION_TYP), payload);
    (void)!assertion_verify(arena, jws, &signer.public_key, installation, (Time){ 1 }, &assertion).kind;
}

static void fuzz_root(Arena *arena, Str payload)
{
    const KeyPair *signers[] = { &signer };
    Root root, again;
    Str jws = jws_sign_general(arena, signers, 1, STR(ROOT_TYP), payload), built;
    if (root_peek(arena, jws, &root).kind != ERR_NONE)
        return;
    Err err = root_build(arena, &root, signers, 1, &built);
    assert(err.kind == ERR_NONE);
    err = root_peek(arena, built, &again);
    assert(err.kind == ERR_NONE && again.version == root.version);
}

static void fuzz_join_token(Arena *arena, Str text)
{
    _cleanup_(join_token_release) JoinToken token = { 0 };
    _cleanup_(secret_release) Secret written = { 0 };
    if (join_token_parse(arena, text, &token).kind != ERR_NONE)
        return;
    Err err = join_token_write(arena, &token, &written);
    assert(err.kind == ERR_NONE);
}

static void (*const modes[])(Arena *arena, Str text) = { fuzz_jws, fuzz_general, fuzz_jwe, fuzz_jwk, fuzz_statements,
    fuzz_root, fuzz_join_token };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 16384)
        return 0;
    _cleanup_(arena_free) Arena *arena = arena_new();
    modes[data[0] % COUNT_OF(modes)](arena, bytes_str((Bytes){ .ptr = data + 1, .len = size - 1 }));
    return 0;
}
