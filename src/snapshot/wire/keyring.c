/*
 * keyring.c: the keyring's payload, delivery keys, and what a sealed secret's header says.
 */
#include "snapshot/keyring.h"

#include "document.h"
#include "snapshot/object.h"
#include "snapshot/origin.h"

#include <string.h>

typedef struct KeyringDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    int64_t generation;
    Uuid data_plane;
    Str jwe;
} KeyringDocument;

static const Field keyring_fields[] = {
    FIELD(KeyringDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(KeyringDocument, installation, .required = true, .prefix = "ins"),
    FIELD(KeyringDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(KeyringDocument, generation, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(KeyringDocument, data_plane, .required = true, .prefix = "dpl"),
    FIELD(KeyringDocument, jwe, .required = true, .min = 1, .max = KEYRING_BYTES_MAX),
};
static const FieldTable KEYRING_FIELDS = FIELD_TABLE(KeyringDocument, keyring_fields);

static const DocumentKind keyring_kind = {
    .table = &KEYRING_FIELDS,
    .limits = { .bytes_max = KEYRING_BYTES_MAX, .depth_max = 2, .tokens_max = 64 },
    .version = 1,
    .malformed = STR_INIT("keyring-malformed"),
};

Str keyring_build(Arena *arena, const Keyring *keyring)
{
    KeyringDocument document = {
        .v = 1,
        .installation = keyring->installation,
        .fleet = keyring->fleet,
        .generation = keyring->generation,
        .data_plane = keyring->data_plane,
        .jwe = keyring->jwe,
    };
    _cleanup_(json_release) json_t *value = fields_encode(arena, &KEYRING_FIELDS, &document);
    return json_write(arena, value);
}

Err keyring_parse(Arena *arena, Str payload, Keyring *ret_keyring)
{
    _cleanup_(json_release) json_t *value = NULL;
    KeyringDocument document = { 0 };
    TRY(document_parse(arena, &keyring_kind, payload, &value, &document));
    *ret_keyring = (Keyring){
        .installation = document.installation,
        .fleet = document.fleet,
        .generation = document.generation,
        .data_plane = document.data_plane,
        .jwe = document.jwe,
    };
    return OK;
}

Err keyring_verify(Arena *arena, Str jws, KeySet keys, Keyring *ret_keyring)
{
    Str payload = STR("");
    TRY(document_length(jws, KEYRING_BYTES_MAX, keyring_kind.malformed));
    TRY(jws_verify(arena, jws, keys, STR(KEYRING_TYP), &payload, /* ret_kid= */ NULL));
    return keyring_parse(arena, payload, ret_keyring);
}

#define DELIVERY_INFO "reeve-delivery-1"

Secret delivery_key(const Secret *fleet_key, Uuid org, Uuid project)
{
    uint8_t info[sizeof(DELIVERY_INFO) - 1 + 32];
    memcpy(info, DELIVERY_INFO, sizeof(DELIVERY_INFO) - 1);
    memcpy(info + sizeof(DELIVERY_INFO) - 1, org.b, 16);
    memcpy(info + sizeof(DELIVERY_INFO) - 1 + 16, project.b, 16);
    Secret key = secret_new(FLEET_KEY_BYTES);
    hkdf_sha256(secret_bytes(fleet_key), str_bytes(STR("")), BYTES_OF(info), key.ptr, key.len);
    return key;
}

static void set_id(Arena *arena, json_t *object, const char *name, const char *prefix, Uuid id)
{
    json_object_set_new(object, name, json_from_str(typeid_format(arena, str_from_c(prefix), id)));
}

json_t *secret_header(Arena *arena, const SecretPlace *place)
{
    json_t *header = json_object();
    set_id(arena, header, "org", "org", place->org);
    set_id(arena, header, "project", "prj", place->project);
    set_id(arena, header, "secret", "sec", place->secret);
    json_object_set_new(header, "version", json_integer(place->version));
    json_object_set_new(header, "origin", json_from_str(place->origin));
    set_id(arena, header, "fleet", "flt", place->fleet);
    json_object_set_new(header, "generation", json_integer(place->generation));
    if (!time_is_none(place->not_after))
        json_object_set_new(header, "not_after", json_from_str(time_format(arena, place->not_after)));
    return header;
}

Uuid data_plane_id(Uuid installation, const PublicKey *sign)
{
    static const char label[] = "reeve-dpl";
    uint8_t text[sizeof(label) - 1 + 16 + 32];
    memcpy(text, label, sizeof(label) - 1);
    memcpy(text + sizeof(label) - 1, installation.b, 16);
    memcpy(text + sizeof(label) - 1 + 16, sign->b, 32);
    Digest digest = digest_of(BYTES_OF(text));
    Uuid id;
    memcpy(id.b, digest.b, sizeof id.b);
    id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x80); /* RFC 9562: version 8 */
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return id;
}
