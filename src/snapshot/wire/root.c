/*
 * root.c: building, verifying and following roots.
 */
#include "snapshot/root.h"

#include "document.h"

#include <string.h>

typedef struct RoleDocument {
    int64_t threshold;
    Json keys;
} RoleDocument;

static const Field role_fields[] = {
    FIELD(RoleDocument, threshold, .required = true, .min = 1, .max = ROLE_KEYS_MAX),
    FIELD(RoleDocument, keys, .required = true),
};
static const FieldTable ROLE_FIELDS = FIELD_TABLE(RoleDocument, role_fields);

typedef struct RolesDocument {
    RoleDocument root, enrol, manifest, checkpoint, intake;
} RolesDocument;

static const Field roles_fields[] = {
    FIELD_NESTED(RolesDocument, root, &ROLE_FIELDS, .required = true),
    FIELD_NESTED(RolesDocument, enrol, &ROLE_FIELDS, .required = true),
    FIELD_NESTED(RolesDocument, manifest, &ROLE_FIELDS, .required = true),
    FIELD_NESTED(RolesDocument, checkpoint, &ROLE_FIELDS, .required = true),
    FIELD_NESTED(RolesDocument, intake, &ROLE_FIELDS, .required = true),
};
static const FieldTable ROLES_FIELDS = FIELD_TABLE(RolesDocument, roles_fields);

typedef struct RootDocument {
    int64_t v;
    Uuid installation;
    int64_t version;
    Time expires;
    RolesDocument roles;
} RootDocument;

static const Field root_fields[] = {
    FIELD(RootDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(RootDocument, installation, .required = true, .prefix = "ins"),
    FIELD(RootDocument, version, .required = true, .min = 1, .max = INT32_MAX),
    FIELD(RootDocument, expires, .required = true),
    FIELD_NESTED(RootDocument, roles, &ROLES_FIELDS, .required = true),
};
static const FieldTable ROOT_FIELDS = FIELD_TABLE(RootDocument, root_fields);

static const DocumentKind root_kind = {
    .table = &ROOT_FIELDS,
    .limits = { .bytes_max = ROOT_BYTES_MAX, .depth_max = 6, .tokens_max = 4096 },
    .version = 1,
    .malformed = STR_INIT("root-malformed"),
};

typedef struct RoleKind {
    const char *name;
    size_t offset; /* in RolesDocument */
    bool many;     /* its threshold may be more than one */
    json_t *(*to_jwk)(const PublicKey *key);
    Err (*from_jwk)(const json_t *jwk, PublicKey *ret_key);
} RoleKind;

static const RoleKind role_kinds[ROLE_COUNT] = {
    [ROLE_ROOT] = { "root", offsetof(RolesDocument, root), true, ed25519_jwk, ed25519_from_jwk },
    [ROLE_ENROL] = { "enrol", offsetof(RolesDocument, enrol), false, ed25519_jwk, ed25519_from_jwk },
    [ROLE_MANIFEST] = { "manifest", offsetof(RolesDocument, manifest), false, ed25519_jwk, ed25519_from_jwk },
    [ROLE_CHECKPOINT] = { "checkpoint", offsetof(RolesDocument, checkpoint), false, ed25519_jwk, ed25519_from_jwk },
    [ROLE_INTAKE] = { "intake", offsetof(RolesDocument, intake), false, x25519_jwk, x25519_from_jwk },
};

static RoleDocument *role_document(RolesDocument *roles, RootRole role)
{
    return (RoleDocument *)((char *)roles + role_kinds[role].offset);
}

KeySet root_keys(const Root *root, const char *role)
{
    for (size_t i = 0; i < ROLE_COUNT; i++)
        if (strcmp(role_kinds[i].name, role) == 0)
            return root->roles[i].keys;
    die("a root has no role \"%s\"", role);
}

/* --- writing --- */

static void keys_release(RolesDocument *roles)
{
    for (RootRole role = 0; role < ROLE_COUNT; role++)
        json_decref(role_document(roles, role)->keys.value);
}

static Str payload_of(Arena *arena, const Root *root)
{
    RootDocument document = {
        .v = 1, .installation = root->installation, .version = root->version, .expires = root->expires
    };
    for (RootRole role = 0; role < ROLE_COUNT; role++) {
        json_t *keys = json_array();
        for (size_t i = 0; i < root->roles[role].keys.count; i++)
            json_array_append_new(keys, role_kinds[role].to_jwk(&root->roles[role].keys.items[i]));
        *role_document(&document.roles, role) =
            (RoleDocument){ .threshold = root->roles[role].threshold, .keys = { .value = keys } };
    }
    _cleanup_(json_release) json_t *value = fields_encode(arena, &ROOT_FIELDS, &document);
    keys_release(&document.roles);
    return json_write(arena, value);
}

static CHECKED Err parse_payload(Arena *arena, Str payload, Root *ret_root);

Err root_build(Arena *arena, const Root *root, const KeyPair *const *signers, size_t count, Str *ret_jws)
{
    Str payload = payload_of(arena, root);
    Root check;
    TRY(parse_payload(arena, payload, &check)); /* what we would refuse we do not sign */
    if (count == 0)
        return FAIL(ERR_INVALID, "root-threshold", "A root is signed by at least one key.");
    *ret_jws = jws_sign_general(arena, signers, count, STR(ROOT_TYP), payload);
    return OK;
}

Err root_sign(Arena *arena, Str jws, const KeyPair *signer, Str *ret_jws)
{
    Root check;
    TRY(root_peek(arena, jws, &check));
    return jws_add_signature(arena, jws, signer, STR(ROOT_TYP), ret_jws);
}

/* --- reading --- */

static Err refuse_role(Arena *arena, const char *role, const char *member, const char *detail)
{
    return document_refuse(
        arena, root_kind.malformed, arena_fmt(arena, "/roles/%s/%s", role, member), str_from_c(detail));
}

/* Whether this key stands already in this role or in one before it. */
static bool key_has_a_role(const Root *root, RootRole last, const PublicKey *keys, size_t count, const PublicKey *key)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(keys[i].b, key->b, sizeof(key->b)) == 0)
            return true;
    for (RootRole role = 0; role < last; role++)
        for (size_t i = 0; i < root->roles[role].keys.count; i++)
            if (memcmp(root->roles[role].keys.items[i].b, key->b, sizeof(key->b)) == 0)
                return true;
    return false;
}

static Err parse_role(Arena *arena, RootRole role, const RoleDocument *document, Root *root)
{
    const RoleKind *kind = &role_kinds[role];
    const json_t *list = document->keys.value;
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0 || count > ROLE_KEYS_MAX)
        return refuse_role(arena, kind->name, "keys", "must be a list of 1 to 16 keys");
    PublicKey *keys = NEW(arena, PublicKey, count);
    for (size_t i = 0; i < count; i++) {
        Err err = kind->from_jwk(json_array_get(list, i), &keys[i]);
        if (err.kind != ERR_NONE)
            return refuse_role(arena, kind->name, "keys", "has a key that is not accepted");
        if (key_has_a_role(root, role, keys, i, &keys[i]))
            return refuse_role(arena, kind->name, "keys", "has a key that stands in the root twice");
    }
    if (document->threshold > (int64_t)count || (!kind->many && document->threshold != 1))
        return refuse_role(arena, kind->name, "threshold", "must be 1, or for root at most the number of its keys");
    root->roles[role] = (RoleKeys){ .threshold = document->threshold, .keys = { .items = keys, .count = count } };
    return OK;
}

static Err parse_payload(Arena *arena, Str payload, Root *ret_root)
{
    _cleanup_(json_release) json_t *value = NULL;
    RootDocument document = { 0 };
    TRY(document_parse(arena, &root_kind, payload, &value, &document));
    Root root = { .installation = document.installation, .version = document.version, .expires = document.expires };
    for (RootRole role = 0; role < ROLE_COUNT; role++)
        TRY(parse_role(arena, role, role_document(&document.roles, role), &root));
    *ret_root = root;
    return OK;
}

/* The payload with how many of `keys` signed it: none of it is trusted yet. */
static Err open_general(Arena *arena, Str jws, KeySet keys, Str *ret_payload, unsigned *ret_signers)
{
    TRY(document_length(jws, ROOT_BYTES_MAX, root_kind.malformed));
    return jws_verify_general(arena, jws, keys, STR(ROOT_TYP), ret_payload, ret_signers);
}

Err root_peek(Arena *arena, Str jws, Root *ret_root)
{
    Str payload = STR("");
    unsigned signers = 0;
    TRY(open_general(arena, jws, (KeySet){ 0 }, &payload, &signers));
    TRY(parse_payload(arena, payload, ret_root));
    ret_root->jws = arena_str(arena, jws);
    ret_root->hash = digest_of(str_bytes(jws));
    return OK;
}

static Err check_threshold(Arena *arena, Str jws, const RoleKeys *role, const char *detail)
{
    Str payload = STR("");
    unsigned signers = 0;
    TRY(open_general(arena, jws, role->keys, &payload, &signers));
    if (signers < role->threshold)
        return FAIL_STR(ERR_INVALID, "root-threshold", str_from_c(detail));
    return OK;
}

static Err check_expiry(const Root *root, Time now)
{
    if (!time_is_none(now) && !time_before(now, root->expires))
        return FAIL(ERR_INVALID, "root-expired", "The root has expired; sign its next version.");
    return OK;
}

Err root_verify(Arena *arena, Str jws, Digest expected_hash, Time now, Root *ret_root)
{
    Root root;
    if (!digest_eq(digest_of(str_bytes(jws)), expected_hash))
        return FAIL(ERR_INVALID, "root-hash", "The root is not the one whose hash is trusted.");
    TRY(root_peek(arena, jws, &root));
    TRY(check_threshold(
        arena, jws, &root.roles[ROLE_ROOT], "The root is not signed by as many of its own keys as it asks for."));
    TRY(check_expiry(&root, now));
    *ret_root = root;
    return OK;
}

Err root_verify_next(Arena *arena, Str jws, const Root *previous, Time now, Root *ret_root)
{
    Root root;
    TRY(check_threshold(arena, jws, &previous->roles[ROLE_ROOT],
        "The root is not signed by as many keys of the version before as that one asks for."));
    TRY(root_peek(arena, jws, &root));
    if (!uuid_eq(root.installation, previous->installation))
        return FAIL(ERR_INVALID, "root-installation", "The root is one of another installation.");
    if (root.version != previous->version + 1)
        return FAIL(ERR_INVALID, "root-version", "The root is not the version after the trusted one.");
    TRY(check_threshold(
        arena, jws, &root.roles[ROLE_ROOT], "The root is not signed by as many of its own keys as it asks for."));
    TRY(check_expiry(&root, now));
    *ret_root = root;
    return OK;
}

Err root_follow(Arena *arena, const Root *trusted, const Str *chain, size_t count, Time now, Root *ret_root)
{
    if (count > ROOT_CHAIN_MAX)
        return FAIL(ERR_INVALID, "root-version", "The chain of roots is too long.");
    Root root = *trusted, next;
    for (size_t i = 0; i < count; i++) {
        TRY(root_verify_next(arena, chain[i], &root, TIME_NONE, &next));
        root = next;
    }
    TRY(check_expiry(&root, now));
    *ret_root = root;
    return OK;
}

Err root_verify_from(
    Arena *arena, Str newest, Digest pinned, RootOlder older, const void *arg, Time now, Root *ret_root)
{
    Root shown, first;
    if (digest_eq(digest_of(str_bytes(newest)), pinned))
        return root_verify(arena, newest, pinned, now, ret_root);
    TRY(root_peek(arena, newest, &shown));
    if (shown.version > ROOT_CHAIN_MAX)
        return FAIL(ERR_INVALID, "root-version", "The chain of roots is too long.");
    size_t last = (size_t)shown.version, at = last;
    Str *chain = NEW(arena, Str, last + 1); /* by version */
    chain[last] = newest;
    do {
        if (--at == 0)
            return FAIL(ERR_INVALID, "root-hash", "The root is not the one whose hash is trusted, nor follows it.");
        TRY(older(arena, arg, (int64_t)at, &chain[at]));
    } while (!digest_eq(digest_of(str_bytes(chain[at])), pinned));
    TRY(root_verify(arena, chain[at], pinned, TIME_NONE, &first));
    return root_follow(arena, &first, &chain[at + 1], last - at, now, ret_root);
}
