/*
 * vault_fleets.c: generations of a fleet, keyrings for enrolled data planes, and moving keys to another KMS key.
 */
#include "vault_parts.h"

static Err check_root_is_current(const Vault *v)
{
    if (!time_before(time_now(), v->root.expires))
        return FAIL(ERR_FORBIDDEN, "root-expired", "The root has expired; sign its next version.");
    return OK;
}

/* A generation behind the first needs the enrol role's word, and the word is about this fleet and number. */
static Err check_statement(Vault *v, Arena *arena, const FleetKeyNew *in, Uuids *ret_revoked, Receipt *receipt)
{
    if (in->generation == 1)
        return in->statement.len == 0 ? OK : vault_bad_request("The first generation of a fleet needs no statement.");
    GenerationStatement statement;
    TRY(check_root_is_current(v));
    TRY(generation_verify(arena, in->statement, root_keys(&v->root, "enrol"), v->installation, &statement));
    if (!uuid_eq(statement.fleet, in->fleet) || statement.generation != in->generation)
        return FAIL(ERR_FORBIDDEN, "generation-statement", "The statement is about another fleet or generation.");
    receipt->subject = digest_of(str_bytes(in->statement));
    *ret_revoked = statement.revoked;
    return OK;
}

Err vault_fleet_key_new(
    Vault *v, Arena *arena, const FleetKeyNew *in, Receipt *receipt, Uuids *ret_revoked, WrappedReply *ret_reply)
{
    Kms *kms;
    _cleanup_(secret_release) Secret key = { 0 };
    receipt->fleet = in->fleet;
    receipt->generation = in->generation;
    TRY(vault_check_generation(v, in->fleet, in->generation));
    TRY(check_statement(v, arena, in, ret_revoked, receipt));
    TRY(vault_kms(v, in->kms_uri, &kms));
    return kms_generate(
        kms, arena, vault_fleet_context(v, arena, in->fleet, in->generation), &key, &ret_reply->wrapped);
}

typedef struct Enrolment {
    JoinCert cert;
    EnrolRequest request;
    Digest certificate; /* of the one-time key */
    Digest keys;        /* of the data plane's two keys */
    Uuid data_plane;
} Enrolment;

/* Certificate, request and what the journal remembers of both. */
static Err check_enrolment(Vault *v, Arena *arena, const KeyringAsk *in, Enrolment *ret_enrolment)
{
    Enrolment e;
    Uuid known = { { 0 } };
    KeySet enrol = root_keys(&v->root, "enrol");
    TRY(check_root_is_current(v));
    TRY(join_cert_verify(arena, in->cert, enrol, v->installation, TIME_NONE, &e.cert));
    if (!uuid_eq(e.cert.fleet, in->fleet))
        return FAIL(ERR_FORBIDDEN, "enrol-fleet", "The join certificate is one of another fleet.");
    TRY(enrol_request_verify(arena, in->request, &e.cert, &e.request));
    e.certificate = digest_of(BYTES_OF(e.cert.key.b));
    e.keys = digest_of_two(BYTES_OF(e.request.sign.b), BYTES_OF(e.request.encrypt.b));
    e.data_plane = data_plane_id(v->installation, &e.request.sign);
    Digest used = journal_certificate(v->journal, in->fleet, e.certificate, &known);
    if (!digest_is_zero(used) && !digest_eq(used, e.keys))
        return FAIL(ERR_FORBIDDEN, "join-used", "The join certificate was used for another data plane.");
    if (digest_is_zero(used)) /* its time counts only until it has been used */
        TRY(join_cert_verify(arena, in->cert, enrol, v->installation, time_now(), &e.cert));
    *ret_enrolment = e;
    return OK;
}

static Err check_not_revoked(Vault *v, Arena *arena, Uuid fleet, Uuid data_plane)
{
    Uuids revoked = journal_revoked(v->journal, arena, fleet);
    for (size_t i = 0; i < revoked.count; i++)
        if (uuid_eq(revoked.items[i], data_plane))
            return FAIL(ERR_FORBIDDEN, "data-plane-revoked", "The data plane has been revoked.");
    return OK;
}

Err vault_keyring(Vault *v, Arena *arena, const KeyringAsk *in, Receipt *receipt, KeyringGiven *ret_given)
{
    Enrolment e;
    _cleanup_(secret_release) Secret fleet = { 0 };
    receipt->fleet = in->fleet;
    receipt->generation = in->fleet_key.generation;
    TRY(vault_check_generation(v, in->fleet, in->fleet_key.generation));
    TRY(check_enrolment(v, arena, in, &e));
    receipt->data_plane = e.data_plane;
    receipt->subject = e.certificate;
    receipt->keys = e.keys;
    TRY(check_not_revoked(v, arena, in->fleet, e.data_plane));
    TRY(vault_fleet_key(v, arena, in->fleet, &in->fleet_key, &fleet));
    Keyring keyring = {
        .installation = v->installation,
        .fleet = in->fleet,
        .generation = in->fleet_key.generation,
        .data_plane = e.data_plane,
    };
    TRY(jwe_seal_to(
        arena, &e.request.encrypt, STR(FLEET_KEY_TYP), /* header_extra= */ NULL, secret_bytes(&fleet), &keyring.jwe));
    ret_given->data_plane = e.data_plane;
    ret_given->keyring = jws_sign(arena, &v->keys.manifest, STR(KEYRING_TYP), keyring_build(arena, &keyring));
    return OK;
}

Err vault_rewrap(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const Rewrap *in = ask;
    Kms *from, *to;
    bool is_project = !uuid_is_zero(in->org) && !uuid_is_zero(in->project) && uuid_is_zero(in->fleet);
    bool is_fleet = uuid_is_zero(in->org) && uuid_is_zero(in->project) && !uuid_is_zero(in->fleet);
    receipt->org = in->org;
    receipt->project = in->project;
    receipt->fleet = in->fleet;
    receipt->version = is_project ? in->version : 0;
    receipt->generation = is_fleet ? in->version : 0;
    TRY(vault_check_number(in->version));
    if (!is_project && !is_fleet)
        return vault_bad_request("Either a project's key or a fleet's is rewrapped.");
    TRY(vault_kms(v, in->kms_uri, &from));
    TRY(vault_kms(v, in->to_kms_uri, &to));
    KmsContext context = is_project ? vault_project_context(v, arena, in->org, in->project, in->version)
                                    : vault_fleet_context(v, arena, in->fleet, in->version);
    return kms_rewrap(from, to, arena, context, in->wrapped, &((WrappedReply *)ret_reply)->wrapped);
}
