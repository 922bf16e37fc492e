/*
 * vault.c: the operations of the keeper.
 */
#include "vault.h"

#include "base/json.h"
#include "base/log.h"
#include "snapshot/origin.h"

#include <pthread.h>
#include <string.h>

#define HINT_LEN 4
#define HINT_FROM_LEN 16
#define INTAKE_TYP "reeve-intake+jwe"
#define CLOCK_NEAR_S 60
#define PRINTABLE_MIN 0x21
#define PRINTABLE_MAX 0x7e

struct Vault {
    Arena *arena;
    Uuid installation;
    Str installation_text;
    Root root;
    KmsList kms;
    KeeperKeys keys;
    KeyCache *cache;
    Journal *journal;
    pthread_mutex_t enrolment; /* what the journal says of a fleet or certificate does not change while we decide */
};

/* --- opening -------------------------------------------------------------------------------------------------------
 */

static Err read_root(Vault *v, const KeeperConfig *config)
{
    Str text;
    Digest hash;
    if (config->root_file.len == 0 || config->root_hash.len == 0)
        return FAIL(
            ERR_INVALID, "bad-config", "root_file and root_hash are needed: make the root (reeve root init) first.");
    TRY(digest_parse(config->root_hash, &hash));
    TRY(file_read(v->arena, config->root_file, ROOT_BYTES_MAX, &text));
    TRY(root_verify(v->arena, text, hash, time_now(), &v->root));
    if (!uuid_eq(v->root.installation, v->installation))
        return FAIL(ERR_INVALID, "root-installation", "The root is one of another installation.");
    return OK;
}

static bool stands_in(KeySet keys, const PublicKey *key)
{
    for (size_t i = 0; i < keys.count; i++)
        if (bytes_eq(BYTES_OF(keys.items[i].b), BYTES_OF(key->b)))
            return true;
    return false;
}

static Err check_own_keys(const Vault *v)
{
    if (!stands_in(root_keys(&v->root, "manifest"), &v->keys.manifest.public_key) ||
        !stands_in(root_keys(&v->root, "checkpoint"), &v->keys.checkpoint.public_key) ||
        !stands_in(root_keys(&v->root, "intake"), &v->keys.intake.public_key))
        return FAIL(ERR_INVALID, "keys-not-in-root",
            "The keeper's keys (keeper-keys.json) do not stand in the root; nobody would believe them.");
    return OK;
}

static Err open_into(Vault *v, const KeeperConfig *config)
{
    v->installation = config->installation;
    v->installation_text = typeid_format(v->arena, STR("ins"), config->installation);
    TRY(keeper_state_open(v->arena, config, &v->kms, &v->keys));
    TRY(read_root(v, config));
    TRY(check_own_keys(v));
    v->cache = key_cache_new((size_t)config->cache.entries, config->cache.seconds.value, config->cache.uses.value);
    return journal_open(keeper_path(v->arena, config, "journal"), v->installation, &v->keys.checkpoint, &v->journal);
}

#define ROOT_WARN_S (30 * INT64_C(86400))

/* What is allowed and still not right for production. */
static Strs warnings_of(const Vault *v, Arena *arena)
{
    Strs all = { .items = NEW(arena, Str, v->kms.count + 2) };
    for (size_t i = 0; i < v->kms.count; i++) {
        KmsDescription description;
        kms_describe(v->kms.items[i], &description);
        if (description.warning.len > 0)
            all.items[all.count++] =
                arena_fmt(arena, STR_FMT ": " STR_FMT, STR_ARG(kms_uri(v->kms.items[i])), STR_ARG(description.warning));
    }
    if (v->root.roles[ROLE_ROOT].threshold == 1)
        all.items[all.count++] =
            STR("the root is signed by one key alone: whoever holds it speaks for the installation");
    if (!time_before(time_add_s(time_now(), ROOT_WARN_S), v->root.expires))
        all.items[all.count++] = arena_fmt(arena, "the root expires at " STR_FMT ": sign its next version",
            STR_ARG(time_format(arena, v->root.expires)));
    return all;
}

/* The error's texts move to the caller's arena: the vault's own goes. */
static Err kept_in(Arena *arena, Err err)
{
    err.code = arena_str(arena, err.code);
    err.detail = arena_str(arena, err.detail);
    err.fields = (FieldErrs){ 0 };
    return err;
}

Err vault_open(Arena *arena, const KeeperConfig *config, Vault **ret_vault)
{
    Arena *own = arena_new();
    Vault *v = NEW(own, Vault, 1);
    v->arena = own;
    pthread_mutex_init(&v->enrolment, NULL);
    Err err = open_into(v, config);
    if (err.kind != ERR_NONE) {
        err = kept_in(arena, err);
        vault_free(&v);
        return err;
    }
    Strs warnings = warnings_of(v, arena);
    for (size_t i = 0; i < warnings.count; i++)
        log_warn("not for production", LOG_STR("warning", warnings.items[i]));
    *ret_vault = v;
    return OK;
}

void vault_free(Vault **vault)
{
    Vault *v = *vault;
    if (v == NULL)
        return;
    journal_free(&v->journal);
    key_cache_free(&v->cache);
    keeper_keys_release(&v->keys);
    kms_list_release(&v->kms);
    pthread_mutex_destroy(&v->enrolment);
    Arena *arena = v->arena;
    arena_free(&arena);
    *vault = NULL;
}

/* --- wrapped keys --------------------------------------------------------------------------------------------------
 */

static Kms *find_kms(const Vault *v, Str uri)
{
    for (size_t i = 0; i < v->kms.count; i++)
        if (str_eq(kms_uri(v->kms.items[i]), uri))
            return v->kms.items[i];
    return NULL;
}

static Err need_kms(const Vault *v, Str uri, Kms **ret_kms)
{
    *ret_kms = find_kms(v, uri);
    if (*ret_kms == NULL)
        return FAIL(ERR_FORBIDDEN, "kms-not-allowed", "That KMS key is not one that the keeper is allowed to use.");
    return OK;
}

/* What a key is wrapped for, from ids alone: the strings lie in the arena. */
static KmsContext project_context(const Vault *v, Arena *arena, Uuid org, Uuid project, int64_t version)
{
    KmsPair *pairs = NEW(arena, KmsPair, 4);
    pairs[0] = (KmsPair){ STR("installation"), v->installation_text };
    pairs[1] = (KmsPair){ STR("org"), typeid_format(arena, STR("org"), org) };
    pairs[2] = (KmsPair){ STR("project"), typeid_format(arena, STR("prj"), project) };
    pairs[3] = (KmsPair){ STR("version"), arena_fmt(arena, "%lld", (long long)version) };
    return (KmsContext){ .items = pairs, .count = 4 };
}

static KmsContext fleet_context(const Vault *v, Arena *arena, Uuid fleet, int64_t generation)
{
    KmsPair *pairs = NEW(arena, KmsPair, 3);
    pairs[0] = (KmsPair){ STR("installation"), v->installation_text };
    pairs[1] = (KmsPair){ STR("fleet"), typeid_format(arena, STR("flt"), fleet) };
    pairs[2] = (KmsPair){ STR("generation"), arena_fmt(arena, "%lld", (long long)generation) };
    return (KmsContext){ .items = pairs, .count = 3 };
}

/* The cache's name of a wrapped key: each part with its length, so that no two requests share one. */
static Digest cache_name(Arena *arena, KmsContext context, Str uri, Bytes wrapped)
{
    Buf out = buf_new(2 * MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < context.count; i++) {
        buf_u32(&out, (uint32_t)context.items[i].name.len);
        buf_add(&out, context.items[i].name);
        buf_u32(&out, (uint32_t)context.items[i].value.len);
        buf_add(&out, context.items[i].value);
    }
    buf_u32(&out, (uint32_t)uri.len);
    buf_add(&out, uri);
    buf_add_bytes(&out, wrapped.ptr, wrapped.len);
    Digest name = digest_of(str_bytes(arena_str(arena, buf_str(&out))));
    buf_release(&out);
    return name;
}

static Err unwrap(Vault *v, Arena *arena, KmsContext context, Str uri, Bytes wrapped, Secret *ret_key)
{
    Kms *kms;
    TRY(need_kms(v, uri, &kms));
    Digest name = cache_name(arena, context, uri, wrapped);
    if (key_cache_get(v->cache, name, monotonic_us(), ret_key))
        return OK;
    TRY(kms_unwrap(kms, context, wrapped, ret_key));
    key_cache_put(v->cache, name, monotonic_us(), ret_key);
    return OK;
}

static Err unwrap_project(Vault *v, Arena *arena, const SecretRef *ref, const ProjectKeyRef *key, Secret *ret_key)
{
    KmsContext context = project_context(v, arena, ref->org, ref->project, key->version);
    return unwrap(v, arena, context, key->kms_uri, key->wrapped, ret_key);
}

static Err unwrap_fleet(Vault *v, Arena *arena, Uuid fleet, const FleetKeyRef *key, Secret *ret_key)
{
    KmsContext context = fleet_context(v, arena, fleet, key->generation);
    return unwrap(v, arena, context, key->kms_uri, key->wrapped, ret_key);
}

/* --- envelopes of secrets ------------------------------------------------------------------------------------------
 */

static Err bad_request(const char *detail)
{
    return FAIL_STR(ERR_INVALID, "keeper-request", str_from_c(detail));
}

static Err check_number(int64_t number)
{
    return number >= 1 && number <= WIRE_INT_MAX ? OK : bad_request("Versions and generations count from 1.");
}

static Err check_ref(const SecretRef *ref)
{
    TRY(check_number(ref->version));
    if (uuid_is_zero(ref->org) || uuid_is_zero(ref->project) || uuid_is_zero(ref->secret))
        return bad_request("A secret belongs to an organization and a project and has an id.");
    if (!origin_is_canonical(ref->origin))
        return bad_request("The origin is not in its one spelling.");
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

/* --- operations ----------------------------------------------------------------------------------------------------
 */

static void note_secret(Receipt *receipt, const SecretRef *ref)
{
    receipt->org = ref->org;
    receipt->project = ref->project;
    receipt->secret = ref->secret;
    receipt->version = ref->version;
}

static Err do_hello(Vault *v, Arena *arena, const void *ask __attribute__((unused)),
    Receipt *receipt __attribute__((unused)), void *ret_reply)
{
    _cleanup_(json_release) json_t *jwk = x25519_jwk(&v->keys.intake.public_key);
    Strs uris = { .items = NEW(arena, Str, v->kms.count), .count = v->kms.count };
    for (size_t i = 0; i < v->kms.count; i++)
        uris.items[i] = kms_uri(v->kms.items[i]);
    *(Hello *)ret_reply = (Hello){
        .installation = v->installation,
        .boot = journal_head(v->journal).boot,
        .root_version = v->root.version,
        .root_hash = v->root.hash,
        .kms_uris = uris,
        .intake_jwk = json_write(arena, jwk),
        .clock = time_now(),
        .warnings = warnings_of(v, arena),
    };
    return OK;
}

static Err do_project_key_new(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const ProjectKeyNew *in = ask;
    Kms *kms;
    _cleanup_(secret_release) Secret key = { 0 };
    receipt->org = in->org;
    receipt->project = in->project;
    receipt->version = in->version;
    TRY(check_number(in->version));
    if (uuid_is_zero(in->org) || uuid_is_zero(in->project))
        return bad_request("A project key belongs to an organization and a project.");
    TRY(need_kms(v, in->kms_uri, &kms));
    return kms_generate(kms, arena, project_context(v, arena, in->org, in->project, in->version), &key,
        &((WrappedReply *)ret_reply)->wrapped);
}

/* Opens the sealed plaintext of the client, or copies the one that came in the clear. */
static Err take_plain(Vault *v, Arena *arena, const SecretIntake *in, Secret *ret_plain)
{
    if ((in->jwe.len > 0) == (in->plain.len > 0))
        return bad_request("A secret comes either sealed or in the clear.");
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
        return bad_request("A provider key has from 1 to 4096 bytes.");
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

static Err do_secret_intake(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretIntake *in = ask;
    _cleanup_(secret_release) Secret key = { 0 }, plain = { 0 };
    SecretTaken taken = { 0 };
    note_secret(receipt, &in->ref);
    TRY(check_ref(&in->ref));
    TRY(unwrap_project(v, arena, &in->ref, &in->key, &key));
    TRY(take_plain(v, arena, in, &plain));
    TRY(seal_secret(arena, &in->ref, &key, in->key.version, &plain, &taken.envelope));
    taken.hint = hint_of(arena, &plain);
    receipt->subject = digest_of(taken.envelope);
    *(SecretTaken *)ret_reply = taken;
    return OK;
}

static Err do_secret_reseal(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretReseal *in = ask;
    _cleanup_(secret_release) Secret from = { 0 }, to = { 0 }, plain = { 0 };
    EnvelopeReply reply;
    note_secret(receipt, &in->ref);
    TRY(check_ref(&in->ref));
    TRY(unwrap_project(v, arena, &in->ref, &in->from, &from));
    TRY(unwrap_project(v, arena, &in->ref, &in->to, &to));
    TRY(open_secret(&in->ref, &from, in->envelope, &plain));
    TRY(seal_secret(arena, &in->ref, &to, in->to.version, &plain, &reply.envelope));
    receipt->subject = digest_of(reply.envelope);
    *(EnvelopeReply *)ret_reply = reply;
    return OK;
}

static Err check_generation(Vault *v, Uuid fleet, int64_t generation)
{
    TRY(check_number(generation));
    if (uuid_is_zero(fleet))
        return bad_request("A fleet key belongs to a fleet.");
    if (generation < journal_generation(v->journal, fleet))
        return FAIL(ERR_FORBIDDEN, "generation-old", "The fleet has a newer generation; the older one is closed.");
    return OK;
}

static Err do_secret_seal_fleet(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const SecretSealFleet *in = ask;
    _cleanup_(secret_release) Secret project = { 0 }, fleet = { 0 }, plain = { 0 }, delivery = { 0 };
    TextReply reply;
    note_secret(receipt, &in->ref);
    receipt->fleet = in->fleet;
    receipt->generation = in->fleet_key.generation;
    TRY(check_ref(&in->ref));
    TRY(check_generation(v, in->fleet, in->fleet_key.generation));
    TRY(unwrap_project(v, arena, &in->ref, &in->key, &project));
    TRY(unwrap_fleet(v, arena, in->fleet, &in->fleet_key, &fleet));
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

/* --- fleets and enrolment ------------------------------------------------------------------------------------------
 */

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
        return in->statement.len == 0 ? OK : bad_request("The first generation of a fleet needs no statement.");
    GenerationStatement statement;
    TRY(check_root_is_current(v));
    TRY(generation_verify(arena, in->statement, root_keys(&v->root, "enrol"), v->installation, &statement));
    if (!uuid_eq(statement.fleet, in->fleet) || statement.generation != in->generation)
        return FAIL(ERR_FORBIDDEN, "generation-statement", "The statement is about another fleet or generation.");
    receipt->subject = digest_of(str_bytes(in->statement));
    *ret_revoked = statement.revoked;
    return OK;
}

static Err do_fleet_key_new(
    Vault *v, Arena *arena, const FleetKeyNew *in, Receipt *receipt, Uuids *ret_revoked, WrappedReply *ret_reply)
{
    Kms *kms;
    _cleanup_(secret_release) Secret key = { 0 };
    receipt->fleet = in->fleet;
    receipt->generation = in->generation;
    TRY(check_generation(v, in->fleet, in->generation));
    TRY(check_statement(v, arena, in, ret_revoked, receipt));
    TRY(need_kms(v, in->kms_uri, &kms));
    return kms_generate(kms, arena, fleet_context(v, arena, in->fleet, in->generation), &key, &ret_reply->wrapped);
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

static Err do_keyring(Vault *v, Arena *arena, const KeyringAsk *in, Receipt *receipt, KeyringGiven *ret_given)
{
    Enrolment e;
    _cleanup_(secret_release) Secret fleet = { 0 };
    receipt->fleet = in->fleet;
    receipt->generation = in->fleet_key.generation;
    TRY(check_generation(v, in->fleet, in->fleet_key.generation));
    TRY(check_enrolment(v, arena, in, &e));
    receipt->data_plane = e.data_plane;
    receipt->subject = e.certificate;
    receipt->keys = e.keys;
    TRY(check_not_revoked(v, arena, in->fleet, e.data_plane));
    TRY(unwrap_fleet(v, arena, in->fleet, &in->fleet_key, &fleet));
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

static Err do_rewrap(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
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
    TRY(check_number(in->version));
    if (!is_project && !is_fleet)
        return bad_request("Either a project's key or a fleet's is rewrapped.");
    TRY(need_kms(v, in->kms_uri, &from));
    TRY(need_kms(v, in->to_kms_uri, &to));
    KmsContext context = is_project ? project_context(v, arena, in->org, in->project, in->version)
                                    : fleet_context(v, arena, in->fleet, in->version);
    return kms_rewrap(from, to, arena, context, in->wrapped, &((WrappedReply *)ret_reply)->wrapped);
}

/* --- signatures ----------------------------------------------------------------------------------------------------
 */

/* Those that the caller names and those that the journal knows. */
static Err join_revoked(Vault *v, Arena *arena, Uuid fleet, Uuids named, Uuids *ret_all)
{
    Uuids known = journal_revoked(v->journal, arena, fleet);
    Uuids all = { .items = NEW(arena, Uuid, named.count + known.count), .count = named.count };
    if (named.count > 0)
        memcpy(all.items, named.items, named.count * sizeof(Uuid));
    for (size_t i = 0; i < known.count; i++) {
        bool there = false;
        for (size_t n = 0; n < named.count; n++)
            there = there || uuid_eq(named.items[n], known.items[i]);
        if (!there)
            all.items[all.count++] = known.items[i];
    }
    if (all.count > MANIFEST_REVOKED_MAX)
        return bad_request("Too many data planes are revoked; start a new fleet.");
    *ret_all = all;
    return OK;
}

/* What manifest_build takes for granted. */
static Err check_manifest(const Manifest *in, Time now)
{
    TRY(check_number(in->seq));
    TRY(check_number(in->max_stale_s));
    if (!time_before(now, in->hard_expiry))
        return bad_request("The manifest has expired before it is signed.");
    if (in->checkpoint.size < 0 || in->min_client < 0 || in->min_client > WIRE_INT_MAX)
        return bad_request("A number of the manifest is out of its range.");
    return OK;
}

static Err do_sign_manifest(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    Manifest m = *(const Manifest *)ask, check;
    JournalHead head = journal_head(v->journal);
    Time now = time_now();
    receipt->fleet = m.fleet;
    receipt->generation = m.generation;
    receipt->version = m.seq;
    TRY(check_generation(v, m.fleet, m.generation));
    TRY(check_manifest(&m, now));
    TRY(join_revoked(v, arena, m.fleet, m.revoked, &m.revoked));
    m.installation = v->installation;
    m.issued_at = now;
    if (m.checkpoint.origin.len == 0)
        m.checkpoint.origin = (Str){ .ptr = NULL, .len = 0 };
    m.receipts = (ManifestReceipts){ .boot = uuid_format(arena, head.boot), .count = head.count, .head = head.head };
    Str payload = manifest_build(arena, &m);
    TRY(manifest_parse(arena, payload, &check)); /* what a gateway would refuse is not signed */
    Str jws = jws_sign(arena, &v->keys.manifest, STR(MANIFEST_TYP), payload);
    receipt->subject = digest_of(str_bytes(jws));
    ((TextReply *)ret_reply)->text = jws;
    return OK;
}

static Err check_near_clock(Time time, Time now)
{
    if (time_before(time, time_add_s(now, -CLOCK_NEAR_S)) || time_before(time_add_s(now, CLOCK_NEAR_S), time))
        return FAIL(ERR_INVALID, "keeper-clock", "The time in the request is not the keeper's; check both clocks.");
    return OK;
}

static Err do_sign_heartbeat(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    Heartbeat h = *(const Heartbeat *)ask, check;
    receipt->fleet = h.fleet;
    receipt->version = h.seq;
    receipt->subject = h.manifest;
    TRY(check_number(h.seq));
    TRY(check_near_clock(h.now, time_now()));
    if (!time_before(h.now, h.expires) || time_before(time_add_s(h.now, HEARTBEAT_TTL_S_MAX), h.expires))
        return bad_request("A heartbeat is good for at most an hour.");
    h.installation = v->installation;
    Str payload = heartbeat_build(arena, &h);
    TRY(heartbeat_parse(arena, payload, &check));
    ((TextReply *)ret_reply)->text = jws_sign(arena, &v->keys.manifest, STR(HEARTBEAT_TYP), payload);
    return OK;
}

/* "reeve/<installation>" or below it, of characters that stay on one line of a note. */
static Err check_origin(const Vault *v, Arena *arena, Str origin)
{
    Str own = arena_fmt(arena, "reeve/" STR_FMT, STR_ARG(v->installation_text));
    Str rest = str_skip(origin, own.len);
    if (!str_starts_with(origin, own) || (rest.len > 0 && rest.ptr[0] != '/'))
        return bad_request("A checkpoint's origin begins with this installation's name.");
    for (size_t i = 0; i < origin.len; i++)
        if (origin.ptr[i] < PRINTABLE_MIN || origin.ptr[i] > PRINTABLE_MAX || origin.ptr[i] == '+')
            return bad_request("A checkpoint's origin has a character that is not accepted.");
    return OK;
}

static Err do_sign_checkpoint(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply)
{
    const CheckpointAsk *in = ask;
    receipt->version = in->size;
    receipt->subject = in->root;
    if (in->size < 0)
        return bad_request("A log has no negative size.");
    TRY(check_origin(v, arena, in->origin));
    const Checkpoint checkpoint = { .origin = in->origin, .size = (uint64_t)in->size, .root = in->root };
    ((TextReply *)ret_reply)->text = checkpoint_sign(arena, &checkpoint, &v->keys.checkpoint);
    return OK;
}

static Err do_receipts(
    Vault *v, Arena *arena, const void *ask, Receipt *receipt __attribute__((unused)), void *ret_reply)
{
    journal_page(v->journal, arena, ((const ReceiptsAsk *)ask)->after, ret_reply);
    return OK;
}

/* --- doing ---------------------------------------------------------------------------------------------------------
 */

typedef Err (*Operation)(Vault *v, Arena *arena, const void *ask, Receipt *receipt, void *ret_reply);

#define NO_KMS SIZE_MAX

typedef struct OperationRow {
    Operation run;  /* NULL: its own function below, for it changes what the journal knows */
    size_t kms_uri; /* where the request names the KMS key that it may wait for */
    bool without_receipt;
} OperationRow;

static const OperationRow operations[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_HELLO] = { do_hello, NO_KMS, true },
    [MESSAGE_PROJECT_KEY_NEW] = { do_project_key_new, offsetof(ProjectKeyNew, kms_uri), false },
    [MESSAGE_FLEET_KEY_NEW] = { NULL, offsetof(FleetKeyNew, kms_uri), false },
    [MESSAGE_SECRET_INTAKE] = { do_secret_intake, offsetof(SecretIntake, key.kms_uri), false },
    [MESSAGE_SECRET_RESEAL] = { do_secret_reseal, offsetof(SecretReseal, from.kms_uri), false },
    [MESSAGE_SECRET_SEAL_FLEET] = { do_secret_seal_fleet, offsetof(SecretSealFleet, key.kms_uri), false },
    [MESSAGE_KEYRING] = { NULL, offsetof(KeyringAsk, fleet_key.kms_uri), false },
    [MESSAGE_REWRAP] = { do_rewrap, offsetof(Rewrap, kms_uri), false },
    [MESSAGE_SIGN_MANIFEST] = { do_sign_manifest, NO_KMS, false },
    [MESSAGE_SIGN_HEARTBEAT] = { do_sign_heartbeat, NO_KMS, false },
    [MESSAGE_SIGN_CHECKPOINT] = { do_sign_checkpoint, NO_KMS, false },
    [MESSAGE_RECEIPTS] = { do_receipts, NO_KMS, true },
};

int vault_kms_of(const Vault *vault, unsigned type, const void *ask)
{
    if (operations[type].kms_uri == NO_KMS)
        return -1;
    const Str *uri = (const Str *)(const void *)((const char *)ask + operations[type].kms_uri);
    for (size_t i = 0; i < vault->kms.count; i++)
        if (str_eq(kms_uri(vault->kms.items[i]), *uri))
            return (int)i;
    return -1;
}

size_t vault_kms_count(const Vault *vault)
{
    return vault->kms.count;
}

/* A receipt for what was done and for what was refused; what cannot be journalled is not answered. */
static Err journalled(Vault *v, Err err, Receipt *receipt, Uuids revoked)
{
    receipt->outcome = err.kind;
    TRY(journal_append(v->journal, receipt, revoked));
    return err;
}

static Err enrolment_locked(Vault *v, Arena *arena, unsigned type, const void *ask, Receipt *receipt, void *ret_reply)
{
    Uuids revoked = { 0 };
    Err err = type == MESSAGE_KEYRING ? do_keyring(v, arena, ask, receipt, ret_reply)
                                      : do_fleet_key_new(v, arena, ask, receipt, &revoked, ret_reply);
    return journalled(v, err, receipt, revoked);
}

Err vault_do(Vault *vault, Arena *arena, unsigned type, const void *ask, int64_t peer_uid, void *ret_reply)
{
    const OperationRow *row = &operations[type];
    Receipt receipt = { .operation = type, .peer_uid = peer_uid };
    if (row->run == NULL) {
        pthread_mutex_lock(&vault->enrolment);
        Err err = enrolment_locked(vault, arena, type, ask, &receipt, ret_reply);
        pthread_mutex_unlock(&vault->enrolment);
        return err;
    }
    Err err = row->run(vault, arena, ask, &receipt, ret_reply);
    return row->without_receipt ? err : journalled(vault, err, &receipt, (Uuids){ 0 });
}
