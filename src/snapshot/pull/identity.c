/*
 * identity.c: identity.json.
 */
#include "identity.h"

#include "base/field.h"
#include "base/json.h"

#include <unistd.h>

#define IDENTITY_FILE STR("identity.json")

typedef struct IdentityDocument {
    int64_t v;
    Uuid installation;
    Uuid fleet;
    Str root;
    Str url;
    Str name;
    bool enrolled;
    Json sign;
    Json encrypt;
} IdentityDocument;

static const Field identity_fields[] = {
    FIELD(IdentityDocument, v, .required = true, .min = 1, .max = 1),
    FIELD(IdentityDocument, installation, .required = true, .prefix = "ins"),
    FIELD(IdentityDocument, fleet, .required = true, .prefix = "flt"),
    FIELD(IdentityDocument, root, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(IdentityDocument, url, .required = true, .min = 0, .max = 2048),
    FIELD(IdentityDocument, name, .required = true, .name_like = true),
    FIELD(IdentityDocument, enrolled, .required = true),
    FIELD(IdentityDocument, sign, .required = true),
    FIELD(IdentityDocument, encrypt, .required = true),
};
static const FieldTable IDENTITY_FIELDS = FIELD_TABLE(IdentityDocument, identity_fields);

void identity_release(Identity *identity)
{
    keypair_release(&identity->sign);
    keypair_release(&identity->encrypt);
    join_token_release(&identity->join);
}

/* The private JWK as JSON; jansson's memory is wiped when it is freed. */
static Err private_json(Err (*write)(const KeyPair *, Secret *), const KeyPair *pair, json_t **ret_value)
{
    _cleanup_(secret_release) Secret text = { 0 };
    TRY(write(pair, &text));
    return json_parse(bytes_str(secret_bytes(&text)), JSON_LIMITS_ADMIN, ret_value);
}

static Err read_private(Arena *arena, Err (*read)(Bytes, KeyPair *), const json_t *value, KeyPair *ret_pair)
{
    return read(str_bytes(json_write(arena, value)), ret_pair);
}

Err identity_save(State *state, const Identity *identity)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    _cleanup_(json_release) json_t *sign = NULL, *encrypt = NULL, *value = NULL;
    TRY(private_json(ed25519_private_jwk, &identity->sign, &sign));
    TRY(private_json(x25519_private_jwk, &identity->encrypt, &encrypt));
    IdentityDocument document = {
        .v = 1,
        .installation = identity->installation,
        .fleet = identity->fleet,
        .root = digest_text(arena, identity->root),
        .url = identity->url,
        .name = identity->name,
        .enrolled = identity->enrolled,
        .sign = { .value = sign },
        .encrypt = { .value = encrypt },
    };
    value = fields_encode(arena, &IDENTITY_FIELDS, &document);
    return state_write(state, IDENTITY_FILE, json_write(arena, value));
}

static Err malformed(void)
{
    return FAIL(ERR_INTERNAL, "identity-malformed", "The state directory's identity.json is not what was written.");
}

static Err read_identity(State *state, Arena *arena, Identity *identity)
{
    Str text = STR("");
    _cleanup_(json_release) json_t *value = NULL;
    IdentityDocument document = { 0 };
    TRY(state_read(state, arena, IDENTITY_FILE, IDENTITY_BYTES_MAX, &text));
    if (json_parse(text, JSON_LIMITS_ADMIN, &value).kind != ERR_NONE ||
        fields_decode(arena, &IDENTITY_FIELDS, value, DECODE_STRICT, &document).kind != ERR_NONE ||
        digest_parse(document.root, &identity->root).kind != ERR_NONE ||
        read_private(arena, ed25519_from_private_jwk, document.sign.value, &identity->sign).kind != ERR_NONE ||
        read_private(arena, x25519_from_private_jwk, document.encrypt.value, &identity->encrypt).kind != ERR_NONE)
        return malformed();
    identity->installation = document.installation;
    identity->fleet = document.fleet;
    identity->url = document.url;
    identity->name = document.name;
    identity->enrolled = document.enrolled;
    return OK;
}

/* A name people can read in the fleet's list: the host's, in the letters a name may have. */
static Str name_of_host(Arena *arena)
{
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == 0)
        return STR("data-plane");
    for (char *c = host; *c != 0; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
        else if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_'))
            *c = '-';
    }
    Str name = arena_str(arena, str_first(str_from_c(host), 64));
    return str_is_name(name) ? name : STR("data-plane");
}

static Err make_identity(State *state, Arena *arena, Str name, Identity *identity)
{
    if (str_is_empty(identity->join.cert))
        return FAIL(ERR_INVALID, "join-token-needed", "The first start of a data plane needs a join token.");
    identity->installation = identity->join.installation;
    identity->fleet = identity->join.fleet;
    identity->root = identity->join.root;
    identity->url = identity->join.url;
    identity->name = str_is_empty(name) ? name_of_host(arena) : name;
    if (!str_is_name(identity->name))
        return FAIL(ERR_INVALID, "data-plane-name", "A data plane's name is 1 to 64 of a-z, 0-9, - and _.");
    identity->sign = ed25519_new();
    identity->encrypt = x25519_new();
    return identity_save(state, identity);
}

static Err read_join_token(Arena *arena, Str text, JoinToken *ret_token)
{
    if (str_is_empty(text))
        return OK;
    return join_token_parse(arena, text, ret_token);
}

static Err open_identity(State *state, Arena *arena, Str join_token, Str name, Identity *identity)
{
    TRY(read_join_token(arena, join_token, &identity->join));
    Err err = read_identity(state, arena, identity);
    if (err_is(err, "state-absent"))
        return make_identity(state, arena, name, identity);
    TRY(err);
    bool joined = !str_is_empty(identity->join.cert);
    if (joined && (!uuid_eq(identity->join.installation, identity->installation) ||
                      !uuid_eq(identity->join.fleet, identity->fleet)))
        return FAIL(ERR_CONFLICT, "join-token-other",
            "The state directory belongs to another installation or fleet than the join token.");
    if (!identity->enrolled && !joined)
        return FAIL(
            ERR_INVALID, "join-token-needed", "This data plane has not been enrolled yet and needs a join token.");
    return OK;
}

Err identity_open(State *state, Arena *arena, Str join_token, Str name, Str url, Identity *ret_identity)
{
    Identity identity = { 0 };
    Err err = open_identity(state, arena, join_token, name, &identity);
    if (err.kind != ERR_NONE) {
        identity_release(&identity);
        return err;
    }
    identity.data_plane = data_plane_id(identity.installation, &identity.sign.public_key);
    if (!str_is_empty(url))
        identity.url = url;
    *ret_identity = identity;
    return OK;
}
