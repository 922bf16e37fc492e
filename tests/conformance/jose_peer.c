/*
 * jose_peer.c: our JOSE, notes and key derivation behind one question a line, for jose_conformance.py to compare with
 * another implementation. A question is a JSON object with "do"; the answer is one too, {"error": code} when refused.
 */
#include "base/encode.h"
#include "base/json.h"
#include "crypto/merkle.h"

#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX (1024 * 1024)

typedef Err (*Verb)(Arena *arena, const json_t *q, json_t *a);

static Bytes bytes_of(Arena *arena, const json_t *q, const char *name)
{
    Bytes bytes = { 0 };
    if (base64url_decode(arena, json_str(q, name), &bytes).kind != ERR_NONE)
        die("\"%s\" of a question is not base64url", name);
    return bytes;
}

static void set_text(json_t *a, const char *name, Str text)
{
    json_object_set_new(a, name, json_from_str(text));
}

static KeyPair signer_of(Arena *arena, const json_t *q)
{
    _cleanup_(secret_release) Secret seed = secret_copy(bytes_of(arena, q, "d"));
    return ed25519_from_seed(&seed);
}

static Err do_thumbprint(Arena *arena, const json_t *q, json_t *a)
{
    PublicKey key;
    const json_t *jwk = json_object_get(q, "jwk");
    if (str_eq(json_str(jwk, "crv"), STR("Ed25519")))
        TRY(ed25519_from_jwk(jwk, &key));
    else
        TRY(x25519_from_jwk(jwk, &key));
    (void)arena;
    set_text(a, "kid", str_from_c(key.kid));
    return OK;
}

static Err do_sign(Arena *arena, const json_t *q, json_t *a)
{
    _cleanup_(keypair_release) KeyPair pair = signer_of(arena, q);
    set_text(a, "jws", jws_sign(arena, &pair, json_str(q, "typ"), bytes_str(bytes_of(arena, q, "payload"))));
    return OK;
}

static Err do_verify(Arena *arena, const json_t *q, json_t *a)
{
    PublicKey key;
    Str payload = STR("");
    TRY(ed25519_from_jwk(json_object_get(q, "jwk"), &key));
    TRY(jws_verify(arena, json_str(q, "jws"), (KeySet){ &key, 1 }, json_str(q, "typ"), &payload, NULL));
    set_text(a, "payload", base64url_encode(arena, str_bytes(payload)));
    return OK;
}

static Err do_seal_dir(Arena *arena, const json_t *q, json_t *a)
{
    _cleanup_(secret_release) Secret key = secret_copy(bytes_of(arena, q, "key"));
    Str jwe = STR("");
    TRY(jwe_seal_dir(arena, &key, json_str(q, "typ"), json_object_get(q, "header"), bytes_of(arena, q, "plain"), &jwe));
    set_text(a, "jwe", jwe);
    return OK;
}

static Err do_open_dir(Arena *arena, const json_t *q, json_t *a)
{
    _cleanup_(secret_release) Secret key = secret_copy(bytes_of(arena, q, "key"));
    uint8_t *out = arena_alloc(arena, 65536, 1);
    size_t len = 0;
    TRY(jwe_open_dir(
        arena, &key, json_str(q, "typ"), json_object_get(q, "header"), json_str(q, "jwe"), out, 65536, &len));
    set_text(a, "plain", base64url_encode(arena, (Bytes){ out, len }));
    return OK;
}

static Err do_seal_to(Arena *arena, const json_t *q, json_t *a)
{
    PublicKey key;
    Str jwe = STR("");
    TRY(x25519_from_jwk(json_object_get(q, "jwk"), &key));
    TRY(jwe_seal_to(arena, &key, json_str(q, "typ"), json_object_get(q, "header"), bytes_of(arena, q, "plain"), &jwe));
    set_text(a, "jwe", jwe);
    return OK;
}

static Err do_open_from(Arena *arena, const json_t *q, json_t *a)
{
    _cleanup_(keypair_release) KeyPair pair = { 0 };
    _cleanup_(secret_release) Secret plain = { 0 };
    TRY(x25519_from_private_jwk(str_bytes(json_write(arena, json_object_get(q, "private"))), &pair));
    TRY(jwe_open_from(arena, &pair, json_str(q, "typ"), json_object_get(q, "header"), json_str(q, "jwe"), &plain));
    set_text(a, "plain", base64url_encode(arena, secret_bytes(&plain)));
    return OK;
}

static Err do_hkdf(Arena *arena, const json_t *q, json_t *a)
{
    uint8_t okm[255];
    int64_t len = 0;
    json_i64(q, "len", &len);
    if (len < 1 || len > (int64_t)sizeof(okm))
        die("a question for %lld bytes", (long long)len);
    hkdf_sha256(bytes_of(arena, q, "ikm"), bytes_of(arena, q, "salt"), bytes_of(arena, q, "info"), okm, (size_t)len);
    set_text(a, "okm", base64url_encode(arena, (Bytes){ okm, (size_t)len }));
    return OK;
}

static Err do_checkpoint(Arena *arena, const json_t *q, json_t *a)
{
    _cleanup_(keypair_release) KeyPair pair = signer_of(arena, q);
    Checkpoint checkpoint = { .origin = json_str(q, "origin") };
    int64_t size = 0;
    json_i64(q, "size", &size);
    checkpoint.size = (uint64_t)size;
    checkpoint.root = digest_of(bytes_of(arena, q, "root_of"));
    set_text(a, "note", checkpoint_sign(arena, &checkpoint, &pair));
    return OK;
}

static const struct {
    const char *name;
    Verb verb;
} verbs[] = {
    { "thumbprint", do_thumbprint },
    { "sign", do_sign },
    { "verify", do_verify },
    { "seal_dir", do_seal_dir },
    { "open_dir", do_open_dir },
    { "seal_to", do_seal_to },
    { "open_from", do_open_from },
    { "hkdf", do_hkdf },
    { "checkpoint", do_checkpoint },
};

static void answer(Str line)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(json_release) json_t *q = NULL, *a = json_object();
    if (json_parse(line, JSON_LIMITS_WIRE, &q).kind != ERR_NONE)
        die("a question is not JSON");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (!str_eq(json_str(q, "do"), str_from_c(verbs[i].name)))
            continue;
        Err err = verbs[i].verb(arena, q, a);
        if (err.kind != ERR_NONE)
            set_text(a, "error", err.code);
        printf(STR_FMT "\n", STR_ARG(json_write(arena, a)));
        fflush(stdout);
        return;
    }
    die("a question of no known kind");
}

int main(void)
{
    static char line[LINE_BYTES_MAX];
    json_start();
    crypto_start();
    while (fgets(line, sizeof(line), stdin) != NULL)
        answer(str_from_c(line));
    return 0;
}
