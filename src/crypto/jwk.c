/*
 * jwk.c: OKP keys (RFC 8037) and their thumbprints (RFC 7638).
 *
 * A key has one spelling: an encoding that stands for the same point as another, or for a point of small order, is
 * refused, so that one key cannot have two ids.
 */
#include "jose_parts.h"

#include "base/encode.h"

#include <sodium.h>

#include <stdio.h>
#include <string.h>

#define COORDINATE_LEN 43
#define PRIVATE_TEXT_MAX 1024

_Static_assert(KID_LEN == DIGEST_TEXT_LEN, "a key id is a digest");

typedef struct Curve {
    const char *name;
    bool (*point_is_good)(const uint8_t *point);
    size_t secret_bytes;
    bool (*pair_from_d)(const uint8_t *d, uint8_t *public_key, uint8_t *secret);
} Curve;

static bool ed25519_point_is_good(const uint8_t *point)
{
    return crypto_core_ed25519_is_valid_point(point) == 1; /* canonical, on the curve, in the main subgroup */
}

/* Below 2^255 - 19, little-endian. */
static bool x25519_is_canonical(const uint8_t *point)
{
    if (point[31] < 0x7f)
        return true;
    if (point[31] > 0x7f)
        return false;
    for (int i = 1; i < 31; i++)
        if (point[i] != 0xff)
            return true;
    return point[0] < 0xed;
}

static bool x25519_point_is_good(const uint8_t *point)
{
    static const uint8_t any_scalar[32] = { 8 };
    uint8_t shared[32];
    /* Safe because every clamped scalar is a multiple of the cofactor: a small-order point gives zero, refused. */
    return x25519_is_canonical(point) && crypto_scalarmult(shared, any_scalar, point) == 0;
}

static bool ed25519_pair_from_d(const uint8_t *d, uint8_t *public_key, uint8_t *secret)
{
    return crypto_sign_seed_keypair(public_key, secret, d) == 0;
}

static bool x25519_pair_from_d(const uint8_t *d, uint8_t *public_key, uint8_t *secret)
{
    memcpy(secret, d, 32);
    return crypto_scalarmult_base(public_key, d) == 0;
}

static const Curve curve_ed25519 = { "Ed25519", ed25519_point_is_good, 64, ed25519_pair_from_d };
static const Curve curve_x25519 = { "X25519", x25519_point_is_good, 32, x25519_pair_from_d };

/* RFC 7638: SHA-256 over the required members in lexicographic order; the values hold nothing to escape. */
static void set_kid(const Curve *curve, PublicKey *key)
{
    char x[COORDINATE_LEN + 1] = { 0 }, text[128];
    base64url_write(x, BYTES_OF(key->b));
    int len = snprintf(text, sizeof(text), "{\"crv\":\"%s\",\"kty\":\"OKP\",\"x\":\"%s\"}", curve->name, x);
    Digest digest = digest_of((Bytes){ .ptr = (const uint8_t *)text, .len = (size_t)len });
    memset(key->kid, 0, sizeof(key->kid));
    base64url_write(key->kid, BYTES_OF(digest.b));
}

static KeyPair pair_of(const Curve *curve, const Secret *d)
{
    KeyPair pair = { .secret = secret_new(curve->secret_bytes) };
    if (d->len != 32 || !curve->pair_from_d(d->ptr, pair.public_key.b, pair.secret.ptr))
        die("a key pair could not be made");
    set_kid(curve, &pair.public_key);
    return pair;
}

KeyPair ed25519_new(void)
{
    _cleanup_(secret_release) Secret d = secret_random(32);
    return pair_of(&curve_ed25519, &d);
}

KeyPair x25519_new(void)
{
    _cleanup_(secret_release) Secret d = secret_random(32);
    return pair_of(&curve_x25519, &d);
}

KeyPair ed25519_from_seed(const Secret *seed)
{
    return pair_of(&curve_ed25519, seed);
}

void keypair_release(KeyPair *pair)
{
    secret_release(&pair->secret);
    *pair = (KeyPair){ 0 };
}

static json_t *jwk_of(const Curve *curve, const PublicKey *key)
{
    char x[COORDINATE_LEN + 1] = { 0 };
    base64url_write(x, BYTES_OF(key->b));
    return json_pack("{s:s, s:s, s:s, s:s}", "kty", "OKP", "crv", curve->name, "x", x, "kid", key->kid);
}

json_t *ed25519_jwk(const PublicKey *key)
{
    return jwk_of(&curve_ed25519, key);
}

json_t *x25519_jwk(const PublicKey *key)
{
    return jwk_of(&curve_x25519, key);
}

static Err check_members(const json_t *jwk, const char *const *allowed)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)jwk, name, value)
    {
        size_t i = 0;
        while (allowed[i] != NULL && strcmp(allowed[i], name) != 0)
            i++;
        if (allowed[i] == NULL || !json_is_string(value))
            return FAIL(ERR_INVALID, "jwk-malformed", "The JWK has a member that is not accepted here.");
    }
    return OK;
}

static Err key_from_jwk(const Curve *curve, const json_t *jwk, PublicKey *ret_key)
{
    PublicKey key = { 0 };
    if (!json_is_object(jwk) || !str_eq(json_str(jwk, "kty"), STR("OKP")) ||
        !str_eq(json_str(jwk, "crv"), str_from_c(curve->name)))
        return FAIL(ERR_INVALID, "jwk-malformed", "The JWK is not an OKP key of the curve expected here.");
    if (base64url_decode_into(json_str(jwk, "x"), key.b, sizeof(key.b)).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "jwk-malformed", "The JWK's \"x\" is not 32 bytes of base64url.");
    if (!curve->point_is_good(key.b))
        return FAIL(ERR_INVALID, "jwk-point", "The JWK's \"x\" is a point that is not accepted.");
    set_kid(curve, &key);
    if (json_object_get(jwk, "kid") != NULL && !str_eq(json_str(jwk, "kid"), str_from_c(key.kid)))
        return FAIL(ERR_INVALID, "jwk-kid", "The JWK's \"kid\" is not the thumbprint of the key.");
    *ret_key = key;
    return OK;
}

static Err public_from_jwk(const Curve *curve, const json_t *jwk, PublicKey *ret_key)
{
    static const char *const allowed[] = { "kty", "crv", "x", "kid", NULL };
    TRY(check_members(jwk, allowed));
    return key_from_jwk(curve, jwk, ret_key);
}

Err ed25519_from_jwk(const json_t *jwk, PublicKey *ret_key)
{
    return public_from_jwk(&curve_ed25519, jwk, ret_key);
}

Err x25519_from_jwk(const json_t *jwk, PublicKey *ret_key)
{
    return public_from_jwk(&curve_x25519, jwk, ret_key);
}

/* --- private --- */

/* Written by hand into guarded memory: a JSON library would leave copies of "d". */
static Err private_jwk(const Curve *curve, const KeyPair *pair, Secret *ret_text)
{
    if (pair->secret.len != curve->secret_bytes)
        return FAIL(ERR_INTERNAL, "jwk-curve", "The key pair is of another curve.");
    char x[COORDINATE_LEN + 1] = { 0 };
    base64url_write(x, BYTES_OF(pair->public_key.b));
    _cleanup_(secret_release) Secret d = secret_new(COORDINATE_LEN + 1);
    base64url_write((char *)d.ptr, (Bytes){ .ptr = pair->secret.ptr, .len = 32 }); /* Ed25519: the seed comes first */
    _cleanup_(secret_release) Secret text = secret_new(PRIVATE_TEXT_MAX);
    int len = snprintf((char *)text.ptr, text.len,
        "{\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"%s\",\"d\":\"%s\",\"kid\":\"%s\"}", curve->name, x,
        (const char *)d.ptr, pair->public_key.kid);
    *ret_text = secret_copy((Bytes){ .ptr = text.ptr, .len = (size_t)len });
    return OK;
}

static Err pair_from_private_jwk(const Curve *curve, Bytes text, KeyPair *ret_pair)
{
    static const char *const allowed[] = { "kty", "crv", "x", "d", "kid", NULL };
    const JsonLimits limits = { .bytes_max = PRIVATE_TEXT_MAX, .depth_max = 2, .tokens_max = 64 };
    _cleanup_(json_release) json_t *jwk = NULL; /* json_start's allocator wipes what held "d" */
    if (json_parse(bytes_str(text), limits, &jwk).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "jwk-malformed", "The private key is not a JWK.");
    TRY(check_members(jwk, allowed));
    PublicKey public_key;
    TRY(key_from_jwk(curve, jwk, &public_key));
    _cleanup_(secret_release) Secret d = secret_new(32);
    if (base64url_decode_into(json_str(jwk, "d"), d.ptr, d.len).kind != ERR_NONE)
        return FAIL(ERR_INVALID, "jwk-malformed", "The JWK's \"d\" is not 32 bytes of base64url.");
    _cleanup_(keypair_release) KeyPair pair = { .public_key = public_key, .secret = secret_new(curve->secret_bytes) };
    uint8_t computed[32];
    /* allow memcmp: both are public keys */
    if (!curve->pair_from_d(d.ptr, computed, pair.secret.ptr) || memcmp(computed, public_key.b, sizeof(computed)) != 0)
        return FAIL(ERR_INVALID, "jwk-mismatch", "The JWK's \"d\" does not belong to its \"x\".");
    *ret_pair = TAKE(pair);
    return OK;
}

Err ed25519_private_jwk(const KeyPair *pair, Secret *ret_text)
{
    return private_jwk(&curve_ed25519, pair, ret_text);
}

Err x25519_private_jwk(const KeyPair *pair, Secret *ret_text)
{
    return private_jwk(&curve_x25519, pair, ret_text);
}

Err ed25519_from_private_jwk(Bytes text, KeyPair *ret_pair)
{
    return pair_from_private_jwk(&curve_ed25519, text, ret_pair);
}

Err x25519_from_private_jwk(Bytes text, KeyPair *ret_pair)
{
    return pair_from_private_jwk(&curve_x25519, text, ret_pair);
}
