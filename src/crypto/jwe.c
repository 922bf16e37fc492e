/*
 * jwe.c: encryption: `dir` and ECDH-ES (X25519), both with A256GCM, both in the compact form.
 *
 * A prepared JWE has had its header read and compared once; opening it afterwards is one AES-256-GCM and no allocation.
 */
#include "jose_parts.h"

#include "base/encode.h"
#include "base/id.h"

#include <sodium.h>

#include <string.h>

#define PLAIN_BYTES_MAX (64 * 1024)
#define AGREEMENT_INFO_MAX 256

static const char enc_name[] = "A256GCM";

static Err cannot_open(void)
{
    return FAIL(ERR_SEALED, "cannot-open", "The sealed text cannot be opened.");
}

/* --- writing --- */

static json_t *header_start(Str alg)
{
    return json_pack("{s:s#, s:s}", "alg", alg.ptr, (int)alg.len, "enc", enc_name);
}

/* typ, then the caller's members: none may replace one of ours. */
static Err header_finish(json_t *header, Str typ, const json_t *extra)
{
    const char *name;
    json_t *value;
    json_object_set_new(header, "typ", json_from_str(typ));
    json_object_foreach((json_t *)(uintptr_t)extra, name, value)
    {
        if (json_object_get(header, name) != NULL)
            return FAIL(ERR_INTERNAL, "jose-header", "A bound member has the name of a member of the format.");
        json_object_set(header, name, value);
    }
    return OK;
}

/* header..nonce.ciphertext.tag */
static Err write_compact(Arena *arena, const uint8_t *key, const json_t *header, Bytes plain, Str *ret_jwe)
{
    if (plain.len > PLAIN_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "jose-too-large", "More than 64 KiB cannot be sealed at once.");
    Str head = jose_header_write(arena, header);
    if (head.len > JOSE_HEADER_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "jose-too-large", "The members bound to the sealed text are too long.");
    uint8_t nonce[GCM_NONCE_BYTES], tag[GCM_TAG_BYTES];
    random_bytes(nonce, sizeof(nonce));
    uint8_t *ciphertext = arena_alloc(arena, plain.len + 1, 1);
    aes256gcm_seal(key, nonce, head, plain, ciphertext, tag);
    Str n = base64url_encode(arena, BYTES_OF(nonce));
    Str c = base64url_encode(arena, (Bytes){ .ptr = ciphertext, .len = plain.len });
    Str t = base64url_encode(arena, BYTES_OF(tag));
    *ret_jwe = arena_fmt(
        arena, STR_FMT ".." STR_FMT "." STR_FMT "." STR_FMT, STR_ARG(head), STR_ARG(n), STR_ARG(c), STR_ARG(t));
    return OK;
}

Err jwe_seal_dir(Arena *arena, const Secret *key, Str typ, const json_t *header_extra, Bytes plain, Str *ret_jwe)
{
    if (key->len != 32)
        die("a content key has %zu bytes", key->len);
    _cleanup_(json_release) json_t *header = header_start(STR("dir"));
    TRY(header_finish(header, typ, header_extra));
    return write_compact(arena, key->ptr, header, plain, ret_jwe);
}

/* --- reading --- */

static bool is_own_member(const char *name, const char *const *own)
{
    for (; *own != NULL; own++)
        if (strcmp(*own, name) == 0)
            return true;
    return false;
}

/* Every member of expected is there and equal, and nothing but `own` is there beside them. */
static Err check_bound(const json_t *header, const json_t *expected, const char *const *own)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expected, name, value)
    {
        if (!json_equal(json_object_get(header, name), value))
            return cannot_open();
    }
    json_object_foreach((json_t *)(uintptr_t)header, name, value)
    {
        if (!is_own_member(name, own) && json_object_get(expected, name) == NULL)
            return JOSE_MALFORMED("The protected header has a member that is not accepted here.");
    }
    return OK;
}

static Err check_algorithms(const json_t *header, Str alg, Str typ)
{
    TRY(jose_check_alg_typ(header, alg, typ));
    if (!str_eq(json_str(header, "enc"), str_from_c(enc_name)))
        return FAIL(ERR_INVALID, "jose-algorithm", "The content encryption is not the one allowed here.");
    return OK;
}

static Err prepare_parts(Arena *arena, const Str *parts, JwePrepared *ret_prepared)
{
    JwePrepared p = { .aad = arena_str(arena, parts[0]) };
    if (parts[1].len != 0)
        return JOSE_MALFORMED("A sealed text of this kind has no encrypted key.");
    if (parts[3].len > PLAIN_BYTES_MAX * 4 / 3 + 4)
        return JOSE_MALFORMED("The ciphertext is too long.");
    if (base64url_decode_into(parts[2], p.nonce, sizeof(p.nonce)).kind != ERR_NONE ||
        base64url_decode(arena, parts[3], &p.ciphertext).kind != ERR_NONE ||
        base64url_decode_into(parts[4], p.tag, sizeof(p.tag)).kind != ERR_NONE)
        return JOSE_MALFORMED("Nonce, ciphertext and tag must be canonical base64url of the right length.");
    *ret_prepared = p;
    return OK;
}

Err jwe_prepare_dir(Arena *arena, Str typ, const json_t *expected, Str jwe, JwePrepared *ret_prepared)
{
    static const char *const own[] = { "alg", "enc", "typ", NULL };
    Str parts[5];
    _cleanup_(json_release) json_t *header = NULL;
    TRY(jose_split(jwe, 5, parts));
    TRY(jose_header_parse(arena, parts[0], &header));
    TRY(check_algorithms(header, STR("dir"), typ));
    TRY(check_bound(header, expected, own));
    return prepare_parts(arena, parts, ret_prepared);
}

Err jwe_prepared_open(const JwePrepared *prepared, Bytes key, uint8_t *out, size_t out_max, size_t *ret_len)
{
    if (key.len != 32 || prepared->ciphertext.len > out_max ||
        !aes256gcm_open(key.ptr, prepared->nonce, prepared->aad, prepared->ciphertext, prepared->tag, out))
        return cannot_open();
    *ret_len = prepared->ciphertext.len;
    return OK;
}

Err jwe_open_dir(Arena *arena, const Secret *key, Str typ, const json_t *expected, Str jwe, uint8_t *out,
    size_t out_max, size_t *ret_len)
{
    JwePrepared prepared;
    TRY(jwe_prepare_dir(arena, typ, expected, jwe, &prepared));
    return jwe_prepared_open(&prepared, secret_bytes(key), out, out_max, ret_len);
}

Err jwe_header(Arena *arena, Str jwe, json_t **ret_header)
{
    Str parts[5];
    TRY(jose_split(jwe, 5, parts));
    return jose_header_parse(arena, parts[0], ret_header);
}

/* --- ECDH-ES --- */

static size_t put_prefixed(uint8_t *out, Bytes value)
{
    out[0] = (uint8_t)(value.len >> 24);
    out[1] = (uint8_t)(value.len >> 16);
    out[2] = (uint8_t)(value.len >> 8);
    out[3] = (uint8_t)value.len;
    if (value.len > 0)
        memcpy(out + 4, value.ptr, value.len);
    return 4 + value.len;
}

/*
 * RFC 7518, 4.6.2: one round of Concat KDF with SHA-256 gives the 256 bits:
 * SHA-256(1 | Z | AlgorithmID | PartyUInfo | PartyVInfo | keydatalen), the first three prefixed by their lengths.
 */
static Err agreed_key(Arena *arena, const uint8_t *shared, const json_t *header, Secret *ret_key)
{
    static const uint8_t round[4] = { 0, 0, 0, 1 }, bits[4] = { 0, 0, 1, 0 };
    Bytes apu, apv;
    if (base64url_decode(arena, json_str(header, "apu"), &apu).kind != ERR_NONE ||
        base64url_decode(arena, json_str(header, "apv"), &apv).kind != ERR_NONE ||
        apu.len + apv.len > AGREEMENT_INFO_MAX)
        return JOSE_MALFORMED("apu and apv must be canonical base64url and short.");
    uint8_t info[3 * 4 + sizeof(enc_name) + AGREEMENT_INFO_MAX];
    size_t len = put_prefixed(info, str_bytes(str_from_c(enc_name)));
    len += put_prefixed(info + len, apu);
    len += put_prefixed(info + len, apv);

    _cleanup_(secret_release) Secret key = secret_new(32);
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, round, sizeof(round));
    crypto_hash_sha256_update(&state, shared, 32);
    crypto_hash_sha256_update(&state, info, len);
    crypto_hash_sha256_update(&state, bits, sizeof(bits));
    crypto_hash_sha256_final(&state, key.ptr);
    sodium_memzero(&state, sizeof(state));
    *ret_key = TAKE(key);
    return OK;
}

static json_t *epk_json(const PublicKey *key)
{
    json_t *jwk = x25519_jwk(key);
    json_object_del(jwk, "kid");
    return jwk;
}

Err jwe_seal_to(
    Arena *arena, const PublicKey *recipient, Str typ, const json_t *header_extra, Bytes plain, Str *ret_jwe)
{
    _cleanup_(keypair_release) KeyPair ephemeral = x25519_new();
    _cleanup_(secret_release) Secret shared = secret_new(32), key = { 0 };
    if (!x25519_agree(ephemeral.secret.ptr, recipient->b, shared.ptr))
        return FAIL(ERR_INVALID, "jwk-point", "The recipient's key is a point that is not accepted.");
    _cleanup_(json_release) json_t *header = header_start(STR("ECDH-ES"));
    json_object_set_new(header, "epk", epk_json(&ephemeral.public_key));
    json_object_set_new(header, "kid", json_string(recipient->kid));
    TRY(header_finish(header, typ, header_extra));
    TRY(agreed_key(arena, shared.ptr, header, &key));
    return write_compact(arena, key.ptr, header, plain, ret_jwe);
}

static Err agree(Arena *arena, const KeyPair *recipient, const json_t *header, Secret *ret_key)
{
    PublicKey epk;
    _cleanup_(secret_release) Secret shared = secret_new(32);
    if (json_object_get(json_object_get(header, "epk"), "kid") != NULL)
        return JOSE_MALFORMED("The ephemeral key has a member that is not accepted here.");
    TRY(x25519_from_jwk(json_object_get(header, "epk"), &epk));
    if (recipient->secret.len != 32 || !x25519_agree(recipient->secret.ptr, epk.b, shared.ptr))
        return cannot_open();
    return agreed_key(arena, shared.ptr, header, ret_key);
}

Err jwe_open_from(Arena *arena, const KeyPair *recipient, Str typ, const json_t *expected, Str jwe, Secret *ret_plain)
{
    static const char *const own[] = { "alg", "enc", "epk", "kid", "typ", NULL };
    Str parts[5];
    _cleanup_(json_release) json_t *header = NULL;
    TRY(jose_split(jwe, 5, parts));
    TRY(jose_header_parse(arena, parts[0], &header));
    TRY(check_algorithms(header, STR("ECDH-ES"), typ));
    if (!str_eq(json_str(header, "kid"), str_from_c(recipient->public_key.kid)))
        return FAIL(ERR_INVALID, "jose-key-unknown", "The text is sealed to another key.");
    TRY(check_bound(header, expected, own));
    JwePrepared prepared;
    TRY(prepare_parts(arena, parts, &prepared));
    _cleanup_(secret_release) Secret key = { 0 };
    TRY(agree(arena, recipient, header, &key));
    _cleanup_(secret_release) Secret plain = secret_new(prepared.ciphertext.len);
    size_t len;
    TRY(jwe_prepared_open(&prepared, secret_bytes(&key), plain.ptr, plain.len, &len));
    *ret_plain = TAKE(plain);
    return OK;
}
