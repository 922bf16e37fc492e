/*
 * statement.c: enrolment statements and join tokens, each by its field table.
 */
#include "snapshot/statement.h"

#include "document.h"

#include "base/encode.h"

#include <string.h>

#define TOKEN_PREFIX "rj1."
#define SECONDS_MAX (INT64_C(253402300799)) /* the last second of year 9999 */

static Err parse(Arena *arena, const DocumentKind *kind, Str payload, json_t **ret_value, void *ret_document)
{
    TRY(document_length(payload, STATEMENT_BYTES_MAX, kind->malformed));
    return document_parse(arena, kind, payload, ret_value, ret_document);
}

static Time time_of_seconds(int64_t seconds)
{
    return (Time){ .us = seconds * US_PER_S };
}

static Str sign_document(
    Arena *arena, const FieldTable *table, const void *document, const char *typ, const KeyPair *key)
{
    _cleanup_(json_release) json_t *value = fields_encode(arena, table, document);
    return jws_sign(arena, key, str_from_c(typ), json_write(arena, value));
}

#define STATEMENT_KIND(fields, code)                                                                                   \
    {                                                                                                                  \
        .table = &(fields), .version = 1, .malformed = STR_INIT(code), .limits = {                                     \
            .bytes_max = STATEMENT_BYTES_MAX,                                                                          \
            .depth_max = 4,                                                                                            \
            .tokens_max = 4096                                                                                         \
        }                                                                                                              \
    }

/* --- join certificate --- */

typedef struct JoinDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    Json jwk;
    int64_t nbf;
    int64_t exp;
} JoinDocument;

static const Field join_fields[] = {
    FIELD(JoinDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(JoinDocument, installation, .required = true, .prefix = "ins"),
    FIELD(JoinDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(JoinDocument, jwk, .required = true),
    FIELD(JoinDocument, nbf, .required = true, .min = 1, .max = SECONDS_MAX),
    FIELD(JoinDocument, exp, .required = true, .min = 1, .max = SECONDS_MAX),
};
static const FieldTable JOIN_FIELDS = FIELD_TABLE(JoinDocument, join_fields);
static const DocumentKind join_kind = STATEMENT_KIND(JOIN_FIELDS, "join-malformed");

Str join_cert_sign(Arena *arena, const KeyPair *enrol, const JoinCert *cert)
{
    _cleanup_(json_release) json_t *jwk = ed25519_jwk(&cert->key);
    JoinDocument document = {
        .v = 1,
        .installation = cert->installation,
        .fleet = cert->fleet,
        .jwk = { .value = jwk },
        .nbf = cert->not_before.us / US_PER_S,
        .exp = cert->not_after.us / US_PER_S,
    };
    return sign_document(arena, &JOIN_FIELDS, &document, JOIN_TYP, enrol);
}

static Err check_join_time(const JoinCert *cert, Time now)
{
    if (cert->not_after.us - cert->not_before.us > JOIN_TTL_S_MAX * US_PER_S)
        return FAIL(ERR_INVALID, "join-malformed", "The join certificate is good for longer than 30 days.");
    if (time_is_none(now))
        return OK;
    if (time_before(time_add_s(now, CLOCK_SKEW_S), cert->not_before))
        return FAIL(ERR_FORBIDDEN, "join-not-yet", "The join certificate is not good yet.");
    if (!time_before(now, cert->not_after))
        return FAIL(ERR_FORBIDDEN, "join-expired", "The join certificate has expired; make a new join token.");
    return OK;
}

Err join_cert_verify(Arena *arena, Str jws, KeySet enrol, Uuid installation, Time now, JoinCert *ret_cert)
{
    Str payload = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    JoinDocument document = { 0 };
    TRY(document_length(jws, STATEMENT_BYTES_MAX, join_kind.malformed));
    TRY(jws_verify(arena, jws, enrol, STR(JOIN_TYP), &payload, /* ret_kid= */ NULL));
    TRY(parse(arena, &join_kind, payload, &value, &document));
    JoinCert cert = {
        .installation = document.installation,
        .fleet = document.fleet,
        .not_before = time_of_seconds(document.nbf),
        .not_after = time_of_seconds(document.exp),
    };
    TRY(ed25519_from_jwk(document.jwk.value, &cert.key));
    if (!uuid_eq(cert.installation, installation))
        return FAIL(ERR_INVALID, "join-installation", "The join certificate is one of another installation.");
    TRY(check_join_time(&cert, now));
    *ret_cert = cert;
    return OK;
}

/* --- enrolment request --- */

typedef struct EnrolDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    Str name;
    Json sign;
    Json encrypt;
    Time at;
} EnrolDocument;

static const Field enrol_fields[] = {
    FIELD(EnrolDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(EnrolDocument, installation, .required = true, .prefix = "ins"),
    FIELD(EnrolDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(EnrolDocument, name, .required = true, .name_like = true, .max = DATA_PLANE_NAME_MAX),
    FIELD(EnrolDocument, sign, .required = true),
    FIELD(EnrolDocument, encrypt, .required = true),
    FIELD(EnrolDocument, at, .required = true),
};
static const FieldTable ENROL_FIELDS = FIELD_TABLE(EnrolDocument, enrol_fields);
static const DocumentKind enrol_kind = STATEMENT_KIND(ENROL_FIELDS, "enrol-malformed");

Str enrol_request_sign(Arena *arena, const KeyPair *one_time, const EnrolRequest *request)
{
    _cleanup_(json_release) json_t *sign = ed25519_jwk(&request->sign), *encrypt = x25519_jwk(&request->encrypt);
    EnrolDocument document = {
        .v = 1,
        .installation = request->installation,
        .fleet = request->fleet,
        .name = request->name,
        .sign = { .value = sign },
        .encrypt = { .value = encrypt },
        .at = request->at,
    };
    return sign_document(arena, &ENROL_FIELDS, &document, ENROL_TYP, one_time);
}

Err enrol_request_verify(Arena *arena, Str jws, const JoinCert *cert, EnrolRequest *ret_request)
{
    Str payload = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    EnrolDocument document = { 0 };
    const KeySet keys = { .items = &cert->key, .count = 1 };
    TRY(document_length(jws, STATEMENT_BYTES_MAX, enrol_kind.malformed));
    TRY(jws_verify(arena, jws, keys, STR(ENROL_TYP), &payload, /* ret_kid= */ NULL));
    TRY(parse(arena, &enrol_kind, payload, &value, &document));
    EnrolRequest request = {
        .installation = document.installation, .fleet = document.fleet, .name = document.name, .at = document.at
    };
    TRY(ed25519_from_jwk(document.sign.value, &request.sign));
    TRY(x25519_from_jwk(document.encrypt.value, &request.encrypt));
    if (!uuid_eq(request.installation, cert->installation) || !uuid_eq(request.fleet, cert->fleet))
        return FAIL(ERR_INVALID, "enrol-fleet", "The request is for another fleet than its certificate.");
    *ret_request = request;
    return OK;
}

/* --- generation --- */

typedef struct GenerationDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    int64_t generation;
    Uuids revoked;
    Time at;
} GenerationDocument;

static const Field generation_fields[] = {
    FIELD(GenerationDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(GenerationDocument, installation, .required = true, .prefix = "ins"),
    FIELD(GenerationDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(GenerationDocument, generation, .required = true, .min = 2, .max = WIRE_INT_MAX),
    FIELD(GenerationDocument, revoked, .required = true, .prefix = "dpl", .max = MANIFEST_REVOKED_MAX),
    FIELD(GenerationDocument, at, .required = true),
};
static const FieldTable GENERATION_FIELDS = FIELD_TABLE(GenerationDocument, generation_fields);
static const DocumentKind generation_kind = STATEMENT_KIND(GENERATION_FIELDS, "generation-malformed");

Str generation_sign(Arena *arena, const KeyPair *enrol, const GenerationStatement *statement)
{
    GenerationDocument document = {
        .v = 1,
        .installation = statement->installation,
        .fleet = statement->fleet,
        .generation = statement->generation,
        .revoked = statement->revoked,
        .at = statement->at,
    };
    return sign_document(arena, &GENERATION_FIELDS, &document, GENERATION_TYP, enrol);
}

Err generation_verify(Arena *arena, Str jws, KeySet enrol, Uuid installation, GenerationStatement *ret_statement)
{
    Str payload = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    GenerationDocument document = { 0 };
    TRY(document_length(jws, STATEMENT_BYTES_MAX, generation_kind.malformed));
    TRY(jws_verify(arena, jws, enrol, STR(GENERATION_TYP), &payload, /* ret_kid= */ NULL));
    TRY(parse(arena, &generation_kind, payload, &value, &document));
    if (!uuid_eq(document.installation, installation))
        return FAIL(ERR_INVALID, "generation-installation", "The statement is one of another installation.");
    *ret_statement = (GenerationStatement){
        .installation = document.installation,
        .fleet = document.fleet,
        .generation = document.generation,
        .revoked = document.revoked,
        .at = document.at,
    };
    return OK;
}

/* --- assertion --- */

typedef struct AssertionDocument {
    int64_t v;
    Uuid data_plane;
    Uuid aud;
    int64_t iat;
    int64_t exp;
    Str jti;
} AssertionDocument;

static const Field assertion_fields[] = {
    FIELD(AssertionDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(AssertionDocument, data_plane, .required = true, .prefix = "dpl"),
    FIELD(AssertionDocument, aud, .required = true, .prefix = "ins"),
    FIELD(AssertionDocument, iat, .required = true, .min = 1, .max = SECONDS_MAX),
    FIELD(AssertionDocument, exp, .required = true, .min = 1, .max = SECONDS_MAX),
    FIELD(AssertionDocument, jti, .required = true, .min = 16, .max = 64),
};
static const FieldTable ASSERTION_FIELDS = FIELD_TABLE(AssertionDocument, assertion_fields);
static const DocumentKind assertion_kind = STATEMENT_KIND(ASSERTION_FIELDS, "assertion-malformed");

Str assertion_sign(Arena *arena, const KeyPair *sign, Uuid data_plane, Uuid installation, Time now)
{
    uint8_t random[16];
    random_bytes(random, sizeof(random));
    AssertionDocument document = {
        .v = 1,
        .data_plane = data_plane,
        .aud = installation,
        .iat = now.us / US_PER_S,
        .exp = now.us / US_PER_S + ASSERTION_TTL_S,
        .jti = base64url_encode(arena, BYTES_OF(random)),
    };
    return sign_document(arena, &ASSERTION_FIELDS, &document, ASSERTION_TYP, sign);
}

static Err as_unauthenticated(Err err)
{
    if (err.kind != ERR_NONE)
        err.kind = ERR_UNAUTHENTICATED;
    err.fields = (FieldErrs){ 0 };
    return err;
}

Err assertion_peek(Arena *arena, Str jws, Uuid *ret_data_plane)
{
    Str payload = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    AssertionDocument document = { 0 };
    TRY(as_unauthenticated(document_length(jws, STATEMENT_BYTES_MAX, assertion_kind.malformed)));
    TRY(as_unauthenticated(jws_peek(arena, jws, &payload)));
    TRY(as_unauthenticated(parse(arena, &assertion_kind, payload, &value, &document)));
    *ret_data_plane = document.data_plane;
    return OK;
}

static Err check_assertion_time(const AssertionDocument *document, Time now)
{
    int64_t now_s = now.us / US_PER_S;
    if (document->exp <= document->iat || document->exp - document->iat > ASSERTION_TTL_S)
        return FAIL(ERR_UNAUTHENTICATED, "assertion-malformed", "An assertion is good for at most 60 seconds.");
    if (document->iat > now_s + CLOCK_SKEW_S)
        return FAIL(ERR_UNAUTHENTICATED, "assertion-not-yet", "The assertion is from the future; check the clock.");
    if (document->exp + CLOCK_SKEW_S <= now_s)
        return FAIL(ERR_UNAUTHENTICATED, "assertion-expired", "The assertion has expired; check the clock.");
    return OK;
}

Err assertion_verify(
    Arena *arena, Str jws, const PublicKey *sign, Uuid installation, Time now, Assertion *ret_assertion)
{
    Str payload = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    AssertionDocument document = { 0 };
    const KeySet keys = { .items = sign, .count = 1 };
    TRY(as_unauthenticated(document_length(jws, STATEMENT_BYTES_MAX, assertion_kind.malformed)));
    TRY(as_unauthenticated(jws_verify(arena, jws, keys, STR(ASSERTION_TYP), &payload, /* ret_kid= */ NULL)));
    TRY(as_unauthenticated(parse(arena, &assertion_kind, payload, &value, &document)));
    if (!uuid_eq(document.aud, installation))
        return FAIL(ERR_UNAUTHENTICATED, "assertion-audience", "The assertion is for another installation.");
    TRY(check_assertion_time(&document, now));
    *ret_assertion = (Assertion){
        .data_plane = document.data_plane,
        .audience = document.aud,
        .issued = time_of_seconds(document.iat),
        .expires = time_of_seconds(document.exp),
        .jti = document.jti,
    };
    return OK;
}

/* --- join token --- */

typedef struct TokenDocument {
    Str url;
    Str root;
    Uuid installation;
    Uuid fleet;
    Str cert;
    Str key;
} TokenDocument;

static const Field token_fields[] = {
    FIELD(TokenDocument, url, .max = 2048),
    FIELD(TokenDocument, root, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(TokenDocument, installation, .required = true, .prefix = "ins"),
    FIELD(TokenDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(TokenDocument, cert, .required = true, .min = 1, .max = 8192),
    FIELD(TokenDocument, key, .required = true, .min = 43, .max = 43),
};
static const FieldTable TOKEN_FIELDS = FIELD_TABLE(TokenDocument, token_fields);

void join_token_release(JoinToken *token)
{
    keypair_release(&token->key);
    *token = (JoinToken){ 0 };
}

/* The key passes through the arena and JSON's memory: both are wiped when they are freed. */
Err join_token_write(Arena *arena, const JoinToken *token, Secret *ret_text)
{
    TokenDocument document = {
        .url = token->url,
        .root = digest_text(arena, token->root),
        .installation = token->installation,
        .fleet = token->fleet,
        .cert = token->cert,
        .key = base64url_encode(arena, (Bytes){ .ptr = token->key.secret.ptr, .len = 32 }),
    };
    _cleanup_(json_release) json_t *value = fields_encode(arena, &TOKEN_FIELDS, &document);
    Str body = base64url_encode(arena, str_bytes(json_write(arena, value)));
    if (body.len + sizeof(TOKEN_PREFIX) > JOIN_TOKEN_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "join-token-too-large", "The join token would be too long.");
    _cleanup_(secret_release) Secret text = secret_new(sizeof(TOKEN_PREFIX) - 1 + body.len);
    memcpy(text.ptr, TOKEN_PREFIX, sizeof(TOKEN_PREFIX) - 1);
    memcpy(text.ptr + sizeof(TOKEN_PREFIX) - 1, body.ptr, body.len);
    *ret_text = TAKE(text);
    return OK;
}

static Err token_malformed(void)
{
    return FAIL(ERR_INVALID, "join-token-malformed", "The text is not a join token (rj1.…).");
}

Err join_token_parse(Arena *arena, Str text, JoinToken *ret_token)
{
    const JsonLimits limits = { .bytes_max = JOIN_TOKEN_BYTES_MAX, .depth_max = 2, .tokens_max = 64 };
    Bytes body;
    _cleanup_(json_release) json_t *value = NULL;
    TokenDocument document = { 0 };
    if (text.len > JOIN_TOKEN_BYTES_MAX || !str_starts_with(text, STR(TOKEN_PREFIX)) ||
        base64url_decode(arena, str_skip(text, sizeof(TOKEN_PREFIX) - 1), &body).kind != ERR_NONE ||
        json_parse(bytes_str(body), limits, &value).kind != ERR_NONE || !json_is_object(value) ||
        fields_decode(arena, &TOKEN_FIELDS, value, DECODE_STRICT, &document).kind != ERR_NONE)
        return token_malformed();
    _cleanup_(join_token_release) JoinToken token = {
        .url = document.url, .installation = document.installation, .fleet = document.fleet, .cert = document.cert
    };
    _cleanup_(secret_release) Secret seed = secret_new(32);
    if (digest_parse(document.root, &token.root).kind != ERR_NONE ||
        base64url_decode_into(document.key, seed.ptr, seed.len).kind != ERR_NONE)
        return token_malformed();
    token.key = ed25519_from_seed(&seed);
    *ret_token = TAKE(token);
    return OK;
}
