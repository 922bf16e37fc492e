/*
 * jws.c: signatures: compact with one EdDSA signature, and general JSON with several.
 */
#include "jose_parts.h"

#include "base/buf.h"
#include "base/encode.h"

#include <string.h>

#define SIGNATURES_MAX 64

static Str header_for(Arena *arena, const KeyPair *pair, Str typ)
{
    _cleanup_(json_release) json_t *header =
        json_pack("{s:s, s:s, s:s#}", "alg", "EdDSA", "kid", pair->public_key.kid, "typ", typ.ptr, (int)typ.len);
    return jose_header_write(arena, header);
}

/* The signature, base64url, over ASCII(header) '.' ASCII(payload). */
static Str sign_parts(Arena *arena, const KeyPair *pair, Str header, Str payload)
{
    uint8_t signature[ED25519_SIGNATURE_BYTES];
    Str input = arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(header), STR_ARG(payload));
    ed25519_sign(pair, input, signature);
    return base64url_encode(arena, BYTES_OF(signature));
}

Str jws_sign(Arena *arena, const KeyPair *pair, Str typ, Str payload)
{
    Str header = header_for(arena, pair, typ);
    Str body = base64url_encode(arena, str_bytes(payload));
    Str signature = sign_parts(arena, pair, header, body);
    return arena_fmt(arena, STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(header), STR_ARG(body), STR_ARG(signature));
}

/* A protected header of exactly alg, kid and typ: what else a header may say (crit, b64, jwk, jku, x5c) is refused. */
static Err check_header(Arena *arena, Str part, Str typ, Str *ret_kid)
{
    _cleanup_(json_release) json_t *header = NULL;
    TRY(jose_header_parse(arena, part, &header));
    TRY(jose_check_alg_typ(header, STR("EdDSA"), typ));
    Str kid = json_str(header, "kid");
    if (json_object_size(header) != 3 || kid.len == 0)
        return JOSE_MALFORMED("The protected header must have alg, kid and typ and nothing else.");
    *ret_kid = arena_str(arena, kid);
    return OK;
}

static Err check_signature(const PublicKey *key, Str input, Str signature)
{
    uint8_t raw[ED25519_SIGNATURE_BYTES];
    if (base64url_decode_into(signature, raw, sizeof(raw)).kind != ERR_NONE)
        return JOSE_MALFORMED("The signature is not 64 bytes of canonical base64url.");
    if (!ed25519_verify(key->b, input, raw))
        return FAIL(ERR_INVALID, "jose-signature", "The signature is not one of the key that it names.");
    return OK;
}

static Err decode_payload(Arena *arena, Str part, Str *ret_payload)
{
    Bytes payload;
    if (base64url_decode(arena, part, &payload).kind != ERR_NONE)
        return JOSE_MALFORMED("The payload is not canonical base64url.");
    *ret_payload = bytes_str(payload);
    return OK;
}

Err jws_verify(Arena *arena, Str jws, KeySet keys, Str typ, Str *ret_payload, Str *ret_kid)
{
    Str parts[3], kid, payload;
    TRY(jose_split(jws, 3, parts));
    TRY(check_header(arena, parts[0], typ, &kid));
    const PublicKey *key = jose_key_find(keys, kid);
    if (key == NULL)
        return FAIL(ERR_INVALID, "jose-key-unknown", "The signature names a key that has no say here.");
    TRY(check_signature(key, str_first(jws, parts[0].len + 1 + parts[1].len), parts[2]));
    TRY(decode_payload(arena, parts[1], &payload));
    *ret_payload = payload;
    if (ret_kid != NULL)
        *ret_kid = kid;
    return OK;
}

Err jws_peek(Arena *arena, Str jws, Str *ret_payload)
{
    Str parts[3];
    TRY(jose_split(jws, 3, parts));
    return decode_payload(arena, parts[1], ret_payload);
}

/* --- general JSON serialisation --- */

static void append_signature(Arena *arena, json_t *signatures, const KeyPair *pair, Str typ, Str payload)
{
    Str header = header_for(arena, pair, typ);
    Str signature = sign_parts(arena, pair, header, payload);
    json_array_append_new(signatures, json_pack("{s:s#, s:s#}", "protected", header.ptr, (int)header.len, "signature",
                                          signature.ptr, (int)signature.len));
}

Str jws_sign_general(Arena *arena, const KeyPair *const *pairs, size_t count, Str typ, Str payload)
{
    Str body = base64url_encode(arena, str_bytes(payload));
    json_t *signatures = json_array();
    for (size_t i = 0; i < count; i++)
        append_signature(arena, signatures, pairs[i], typ, body);
    _cleanup_(json_release) json_t *jws = json_object();
    json_object_set_new(jws, "payload", json_from_str(body));
    json_object_set_new(jws, "signatures", signatures);
    return json_write(arena, jws);
}

/* {"payload": text, "signatures": [1 to SIGNATURES_MAX items]} */
static Err parse_general(Str text, json_t **ret_jws)
{
    const JsonLimits limits = { .bytes_max = JWS_BYTES_MAX, .depth_max = 4, .tokens_max = 1024 };
    _cleanup_(json_release) json_t *jws = NULL;
    if (json_parse(text, limits, &jws).kind != ERR_NONE || !json_is_object(jws))
        return JOSE_MALFORMED("The text is not a JWS in the general JSON form.");
    const json_t *signatures = json_object_get(jws, "signatures");
    if (json_object_size(jws) != 2 || !json_is_string(json_object_get(jws, "payload")) || !json_is_array(signatures))
        return JOSE_MALFORMED("A JWS in the general form has payload and signatures and nothing else.");
    if (json_array_size(signatures) == 0 || json_array_size(signatures) > SIGNATURES_MAX)
        return JOSE_MALFORMED("A JWS has from 1 to 64 signatures.");
    *ret_jws = TAKE(jws);
    return OK;
}

typedef struct Signature {
    Str header, kid, signature;
} Signature;

static Err parse_signature(Arena *arena, const json_t *item, Str typ, Signature *ret_signature)
{
    Signature s = { .header = json_str(item, "protected"), .signature = json_str(item, "signature") };
    if (json_object_size(item) != 2 || s.header.len == 0 || s.signature.len == 0)
        return JOSE_MALFORMED("A signature has protected and signature and nothing else.");
    TRY(check_header(arena, s.header, typ, &s.kid));
    *ret_signature = s;
    return OK;
}

static Err parse_signatures(Arena *arena, const json_t *items, Str typ, Signature *ret_all)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        TRY(parse_signature(arena, json_array_get(items, i), typ, &ret_all[i]));
        for (size_t j = 0; j < i; j++)
            if (str_eq(ret_all[j].kid, ret_all[i].kid))
                return JOSE_MALFORMED("One key has signed twice.");
    }
    return OK;
}

Err jws_add_signature(Arena *arena, Str jws_general, const KeyPair *pair, Str typ, Str *ret_jws)
{
    _cleanup_(json_release) json_t *jws = NULL;
    TRY(parse_general(jws_general, &jws));
    json_t *items = json_object_get(jws, "signatures");
    if (json_array_size(items) == SIGNATURES_MAX)
        return JOSE_MALFORMED("A JWS has from 1 to 64 signatures.");
    Signature all[SIGNATURES_MAX];
    Str payload;
    TRY(parse_signatures(arena, items, typ, all));
    TRY(decode_payload(arena, json_str(jws, "payload"), &payload)); /* what nobody could verify is not signed */
    for (size_t i = 0; i < json_array_size(items); i++)
        if (str_eq(all[i].kid, str_from_c(pair->public_key.kid)))
            return FAIL(ERR_CONFLICT, "jose-signed-already", "This key has signed already.");
    append_signature(arena, items, pair, typ, json_str(jws, "payload"));
    *ret_jws = json_write(arena, jws);
    return OK;
}

/* Different by their bytes: a caller's key set that lists one key twice cannot make it count twice. */
static bool key_was_counted(const PublicKey *const *seen, unsigned count, const PublicKey *key)
{
    for (unsigned i = 0; i < count; i++)
        /* allow memcmp: both are public keys */
        if (memcmp(seen[i]->b, key->b, sizeof(key->b)) == 0)
            return true;
    return false;
}

Err jws_verify_general(Arena *arena, Str jws, KeySet keys, Str typ, Str *ret_payload, unsigned *ret_signers)
{
    _cleanup_(json_release) json_t *object = NULL;
    TRY(parse_general(jws, &object));
    const json_t *items = json_object_get(object, "signatures");
    Signature all[SIGNATURES_MAX];
    TRY(parse_signatures(arena, items, typ, all));
    Str body = json_str(object, "payload"), payload;
    TRY(decode_payload(arena, body, &payload));

    const PublicKey *seen[SIGNATURES_MAX];
    unsigned signers = 0;
    for (size_t i = 0; i < json_array_size(items); i++) {
        const PublicKey *key = jose_key_find(keys, all[i].kid);
        if (key == NULL)
            continue;
        Str input = arena_fmt(arena, STR_FMT "." STR_FMT, STR_ARG(all[i].header), STR_ARG(body));
        TRY(check_signature(key, input, all[i].signature));
        if (!key_was_counted(seen, signers, key))
            seen[signers++] = key;
    }
    *ret_payload = payload;
    *ret_signers = signers;
    return OK;
}
