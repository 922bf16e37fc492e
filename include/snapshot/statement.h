/*
 * statement.h: the small signed statements around enrolment, and the join token that carries a gateway's first trust.
 *
 *   join certificate   JWS reeve-join+jws by an enrol key: this one-time key may enrol one data plane in this fleet
 *   enrolment request  JWS reeve-enrol+jws by that one-time key: these are my public keys
 *   generation         JWS reeve-generation+jws by an enrol key: this fleet's next key, and who no longer gets it
 *   assertion          JWS reeve-dpl+jws by a data plane's key: give me an access token
 *   join token         "rj1." and base64url of JSON: url, root hash, installation, fleet, certificate, one-time key
 *
 * Whoever verifies passes the keys of the role; no statement says by which key it wants to be checked.
 */
#ifndef SNAPSHOT_STATEMENT_H
#define SNAPSHOT_STATEMENT_H

#include "snapshot/keyring.h"
#include "snapshot/root.h"

#define JOIN_TYP "reeve-join+jws"
#define ENROL_TYP "reeve-enrol+jws"
#define GENERATION_TYP "reeve-generation+jws"
#define ASSERTION_TYP "reeve-dpl+jws"
#define STATEMENT_BYTES_MAX (64 * 1024)
#define JOIN_TTL_S_MAX (30 * 86400)
#define ASSERTION_TTL_S 60
#define CLOCK_SKEW_S 60
#define JOIN_TOKEN_BYTES_MAX (32 * 1024)
#define DATA_PLANE_NAME_MAX 64

typedef struct JoinCert {
    Uuid installation;
    Uuid fleet;
    PublicKey key; /* Ed25519, one time */
    Time not_before;
    Time not_after;
} JoinCert;
Str join_cert_sign(Arena *arena, const KeyPair *enrol, const JoinCert *cert);
/* enrol: root_keys(&root, "enrol"). ERR_INVALID "join-malformed", "join-installation"; ERR_FORBIDDEN "join-expired",
 * "join-not-yet". With `now` none its time is not looked at (a data plane that the caller knows already). */
CHECKED Err join_cert_verify(Arena *arena, Str jws, KeySet enrol, Uuid installation, Time now, JoinCert *ret_cert);

typedef struct EnrolRequest {
    Uuid installation;
    Uuid fleet;
    Str name;
    PublicKey sign;    /* Ed25519 */
    PublicKey encrypt; /* X25519 */
    Time at;
} EnrolRequest;
Str enrol_request_sign(Arena *arena, const KeyPair *one_time, const EnrolRequest *request);
/* Signed by the key that cert names, for its installation and fleet; else ERR_INVALID "enrol-...". */
CHECKED Err enrol_request_verify(Arena *arena, Str jws, const JoinCert *cert, EnrolRequest *ret_request);
/* The id that the two together give a data plane: data_plane_id(installation, &request.sign). */

typedef struct GenerationStatement {
    Uuid installation;
    Uuid fleet;
    int64_t generation; /* 2 or more */
    Uuids revoked;      /* data planes: all that are revoked in this fleet */
    Time at;
} GenerationStatement;
Str generation_sign(Arena *arena, const KeyPair *enrol, const GenerationStatement *statement);
CHECKED Err generation_verify(
    Arena *arena, Str jws, KeySet enrol, Uuid installation, GenerationStatement *ret_statement);

typedef struct Assertion {
    Uuid data_plane;
    Uuid audience; /* the installation */
    Time issued;
    Time expires;
    Str jti;
} Assertion;
Str assertion_sign(Arena *arena, const KeyPair *sign, Uuid data_plane, Uuid installation, Time now);
/* Whose key to look up; unverified. */
CHECKED Err assertion_peek(Arena *arena, Str jws, Uuid *ret_data_plane);
/* ERR_UNAUTHENTICATED "assertion-..." */
CHECKED Err assertion_verify(
    Arena *arena, Str jws, const PublicKey *sign, Uuid installation, Time now, Assertion *ret_assertion);

typedef struct JoinToken {
    Str url;     /* of the control plane; may be empty */
    Digest root; /* hash of the root that the gateway starts from */
    Uuid installation;
    Uuid fleet;
    Str cert;
    KeyPair key; /* the one-time key */
} JoinToken;
void join_token_release(JoinToken *token);
CHECKED Err join_token_write(Arena *arena, const JoinToken *token, Secret *ret_text);
/* ERR_INVALID "join-token-malformed". The certificate is only as good as the root that the hash leads to. */
CHECKED Err join_token_parse(Arena *arena, Str text, JoinToken *ret_token);

#endif
