/*
 * vault_secrets.c: taking provider keys in, moving them to a new project key, sealing them for a fleet.
 */
#include "vault_parts.h"

#include "base/json.h"
#include "snapshot/origin.h"

#include <string.h>

#define HINT_LEN 4
#define HINT_FROM_LEN 16
#define PRINTABLE_MIN 0x21
#define PRINTABLE_MAX 0x7e
#define INTAKE_TYP "reeve-intake+jwe"

static Err check_ref(const SecretRef *ref)
{
    TRY(vault_check_number(ref->version));
    if (uuid_is_zero(ref->org) || uuid_is_zero(ref->project) || uuid_is_zero(ref->secret))
        return vault_bad_request("A secret belongs to an organization and a project and has an id.");
    if (!origin_is_canonical(ref->origin))
        return vault_bad_request("The origin is not in its one spelling.");
    return OK;
}

#define SECRET_ITEMS 6

/* What a sealed secret is bound to; version is eight octets that the caller keeps. */
static Context secret_context(const SecretRef *ref, uint8_t *version, Bytes *items)
{
    for (int i = 0; i < 8; i++)
        version[i] = (uint8_t)((uint64_t)ref->version >> (56 - 8 * i));
    items[0] = str_bytes(STR("reeve-secret-1"));
    items[1] = BYTES_OF(ref->org.b);
    items[2] = BYTES_OF(ref->project.b);
    items[3] = BYTES_OF(ref->secret.b);
    items[4] = (Bytes){ .ptr = version, .len = 8 };
    items[5] = str_bytes(ref->origin);
    return (Context){ .items = items, .count = SECRET_ITEMS };
}

/* Names the project key: no secret, only a hint for whoever looks at rows. */
static Uuid project_key_id(const SecretRef *ref, int64_t version)
{
    uint8_t text[24];
    memcpy(text, ref->project.b, 16);
    for (int i = 0; i < 8; i++)
        text[16 + i] = (uint8_t)((uint64_t)version >> (56 - 8 * i));
    Digest digest = digest_of(BYTES_OF(text));
    Uuid id;
    memcpy(id.b, digest.b, sizeof(id.b));
    return id;
}

static Err seal_secret(Arena *arena, const SecretRef *ref, const Secret *key, int64_t key_version, const Secret *plain,
    Bytes *ret_envelope)
{
    uint8_t version[8];
    Bytes items[SECRET_ITEMS], envelope;
    Context context = secret_context(ref, version, items);
    TRY(envelope_seal(arena, key, project_key_id(ref, key_version), context, secret_bytes(plain), &envelope));
    _cleanup_(secret_release) Secret again = { 0 };
    TRY(envelope_open(key, context, envelope, &again)); /* what is stored has been opened once */
    if (!secret_eq(secret_bytes(&again), secret_bytes(plain)))
        die("an envelope did not open to what was sealed");
    *ret_envelope = envelope;
    return OK;
}

static Err open_secret(const SecretRef *ref, const Secret *key, Bytes envelope, Secret *ret_plain)
{
    uint8_t version[8];
    Bytes items[SECRET_ITEMS];
    return envelope_open(key, secret_context(ref, version, items), envelope, ret_plain);
}

/* --- operations --- */

static void note_secret(Receipt *receipt, const SecretRef *ref)
{
    receipt->org = ref->org;
    receipt->project = ref->project;
    receipt->secret = ref->secret;
    receipt->version = ref->version;
}

Err vault_project_key_new(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const ProjectKeyNew *in = ask;
    Kms *kms;
    _cleanup_(secret_release) Secret key = { 0 };
    receipt->org = in->org;
    receipt->project = in->project;
    receipt->version = in->version;
    TRY(vault_check_number(in->version));
    if (uuid_is_zero(in->org) || uuid_is_zero(in->project))
        return vault_bad_request("A project key belongs to an organization and a project.");
    TRY(vault_kms(v, in->kms_uri, &kms));
    return kms_generate(kms, arena, vault_project_context(v, arena, in->org, in->project, in->version), &key,
        &((WrappedReply *)ret_reply)->wrapped);
}

/* Opens the sealed plaintext of the client, or copies the one that came in the clear. */
static Err take_plain(Vault *v, Arena *arena, const SecretIntake *in, Secret *ret_plain)
{
    if ((in->jwe.len > 0) == (in->plain.len > 0))
        return vault_bad_request("A secret comes either sealed or in the clear.");
    if (in->plain.len > 0) {
        *ret_plain = secret_copy(in->plain);
        return OK;
    }
    _cleanup_(json_release) json_t *expected = json_object();
    json_object_set_new(expected, "installation", json_from_str(v->installation_text));
    json_object_set_new(expected, "org", json_from_str(typeid_format(arena, STR("org"), in->ref.org)));
    json_object_set_new(expected, "project", json_from_str(typeid_format(arena, STR("prj"), in->ref.project)));
    json_object_set_new(expected, "secret", json_from_str(typeid_format(arena, STR("sec"), in->ref.secret)));
    json_object_set_new(expected, "origin", json_from_str(in->ref.origin));
    TRY(jwe_open_from(arena, &v->keys.intake, STR(INTAKE_TYP), expected, in->jwe, ret_plain));
    if (ret_plain->len == 0 || ret_plain->len > PROVIDER_KEY_BYTES_MAX) {
        secret_release(ret_plain);
        return vault_bad_request("A provider key has from 1 to 4096 bytes.");
    }
    return OK;
}

/* The last four characters help a person to tell keys apart; of a short key they would be too much of it. */
static Str hint_of(Arena *arena, const Secret *plain)
{
    if (plain->len < HINT_FROM_LEN)
        return STR("");
    for (size_t i = plain->len - HINT_LEN; i < plain->len; i++)
        if (plain->ptr[i] < PRINTABLE_MIN || plain->ptr[i] > PRINTABLE_MAX)
            return STR("");
    return arena_str(arena, str_n((const char *)plain->ptr + plain->len - HINT_LEN, HINT_LEN));
}

Err vault_secret_intake(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretIntake *in = ask;
    _cleanup_(secret_release) Secret key = { 0 }, plain = { 0 };
    SecretTaken taken = { 0 };
    note_secret(receipt, &in->ref);
    TRY(check_ref(&in->ref));
    TRY(vault_project_key(v, arena, &in->ref, &in->key, &key));
    TRY(take_plain(v, arena, in, &plain));
    TRY(seal_secret(arena, &in->ref, &key, in->key.version, &plain, &taken.envelope));
    taken.hint = hint_of(arena, &plain);
    receipt->subject = digest_of(taken.envelope);
    *(SecretTaken *)ret_reply = taken;
    return OK;
}

Err vault_secret_reseal(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretReseal *in = ask;
    _cleanup_(secret_release) Secret from = { 0 }, to = { 0 }, plain = { 0 };
    EnvelopeReply reply;
    note_secret(receipt, &in->ref);
    TRY(check_ref(&in->ref));
    TRY(vault_project_key(v, arena, &in->ref, &in->from, &from));
    TRY(vault_project_key(v, arena, &in->ref, &in->to, &to));
    TRY(open_secret(&in->ref, &from, in->envelope, &plain));
    TRY(seal_secret(arena, &in->ref, &to, in->to.version, &plain, &reply.envelope));
    receipt->subject = digest_of(reply.envelope);
    *(EnvelopeReply *)ret_reply = reply;
    return OK;
}

Err vault_secret_seal_fleet(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretSealFleet *in = ask;
    _cleanup_(secret_release) Secret project = { 0 }, fleet = { 0 }, plain = { 0 }, delivery = { 0 };
    TextReply reply;
    note_secret(receipt, &in->ref);
    receipt->fleet = in->fleet;
    receipt->generation = in->fleet_key.generation;
    TRY(check_ref(&in->ref));
    TRY(vault_check_generation(v, in->fleet, in->fleet_key.generation));
    TRY(vault_project_key(v, arena, &in->ref, &in->key, &project));
    TRY(vault_fleet_key(v, arena, in->fleet, &in->fleet_key, &fleet));
    TRY(open_secret(&in->ref, &project, in->envelope, &plain));
    delivery = delivery_key(&fleet, in->ref.org, in->ref.project);
    const SecretPlace place = {
        .org = in->ref.org,
        .project = in->ref.project,
        .secret = in->ref.secret,
        .version = in->ref.version,
        .origin = in->ref.origin,
        .fleet = in->fleet,
        .generation = in->fleet_key.generation,
        .not_after = in->not_after,
    };
    _cleanup_(json_release) json_t *header = secret_header(arena, &place);
    TRY(jwe_seal_dir(arena, &delivery, STR(SECRET_TYP), header, secret_bytes(&plain), &reply.text));
    receipt->subject = digest_of(str_bytes(reply.text));
    *(TextReply *)ret_reply = reply;
    return OK;
}
