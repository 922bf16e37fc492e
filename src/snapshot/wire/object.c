/*
 * object.c: routing and secrets objects: field tables for their shape, and what the members must mean together.
 */
#include "snapshot/object.h"

#include "document.h"
#include "snapshot/manifest.h"
#include "snapshot/origin.h"

#include <stdlib.h>

static const char *const dialects[] = { "openai", "anthropic", NULL };
static const char *const routing_kinds[] = { "routing", NULL };
static const char *const secrets_kinds[] = { "secrets", NULL };
static const char *const secret_states[] = { "active", "retiring", NULL };

static const Field connection_fields[] = {
    FIELD(RoutingConnection, id, .required = true, .prefix = "con"),
    FIELD(RoutingConnection, name, .required = true, .name_like = true),
    FIELD(RoutingConnection, dialect, .required = true, .one_of = dialects),
    FIELD(RoutingConnection, base_url, .required = true, .min = 1, .max = OBJECT_URL_BYTES_MAX),
    FIELD(RoutingConnection, secret, .prefix = "sec"),
};
static const FieldTable CONNECTION_FIELDS = FIELD_TABLE(RoutingConnection, connection_fields);

static const Field timeouts_fields[] = {
    FIELD(RoutingTimeouts, connect_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingTimeouts, first_byte_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingTimeouts, idle_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingTimeouts, total_ms, .min = 0, .max = TIMEOUT_MS_MAX),
};
static const FieldTable TIMEOUTS_FIELDS = FIELD_TABLE(RoutingTimeouts, timeouts_fields);

static const Field target_fields[] = {
    FIELD(RoutingTarget, connection, .required = true, .prefix = "con"),
    FIELD(RoutingTarget, model, .required = true, .min = 1, .max = MODEL_BYTES_MAX),
    FIELD(RoutingTarget, weight, .min = 0, .max = 10000, .omit_null = true),
    FIELD_NESTED(RoutingTarget, timeouts, &TIMEOUTS_FIELDS, .required = false),
    FIELD(RoutingTarget, max_attempts, .min = 0, .max = TARGET_ATTEMPTS_MAX),
    FIELD(RoutingTarget, parameters, .omit_null = true),
};
const FieldTable ROUTING_TARGET_FIELDS = FIELD_TABLE(RoutingTarget, target_fields);

static const Field retry_fields[] = {
    FIELD(RoutingRetry, budget_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingRetry, base_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingRetry, max_ms, .min = 0, .max = TIMEOUT_MS_MAX),
    FIELD(RoutingRetry, attempts, .min = 0, .max = 100),
};
static const FieldTable RETRY_FIELDS = FIELD_TABLE(RoutingRetry, retry_fields);

static const Field revision_fields[] = {
    FIELD(RoutingRevision, id, .required = true, .prefix = "rev"),
    FIELD(RoutingRevision, number, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(RoutingRevision, targets, .required = true, .min = 1, .max = REVISION_TARGETS_MAX,
        .table = &ROUTING_TARGET_FIELDS),
    FIELD_NESTED(RoutingRevision, retry, &RETRY_FIELDS, .required = false),
};
static const FieldTable REVISION_FIELDS = FIELD_TABLE(RoutingRevision, revision_fields);

static const Field stage_fields[] = {
    FIELD(RoutingStage, revision, .required = true, .prefix = "rev"),
    FIELD(RoutingStage, percent, .required = true, .min = 0, .max = 100),
};
static const FieldTable STAGE_FIELDS = FIELD_TABLE(RoutingStage, stage_fields);

static const Field release_fields[] = {
    FIELD(RoutingRelease, salt, .required = true, .min = 0, .max = 64),
    FIELD(RoutingRelease, stages, .required = true, .max = RELEASE_STAGES_MAX, .table = &STAGE_FIELDS),
};
const FieldTable ROUTING_RELEASE_FIELDS = FIELD_TABLE(RoutingRelease, release_fields);

static const Field workflow_fields[] = {
    FIELD(RoutingWorkflow, id, .required = true, .prefix = "wfl"),
    FIELD(RoutingWorkflow, name, .required = true, .name_like = true),
    FIELD(RoutingWorkflow, dialect, .required = true, .one_of = dialects),
    FIELD(RoutingWorkflow, revisions, .required = true, .max = WORKFLOW_REVISIONS_MAX, .table = &REVISION_FIELDS),
    FIELD_NESTED(RoutingWorkflow, release, &ROUTING_RELEASE_FIELDS, .required = true),
};
static const FieldTable WORKFLOW_FIELDS = FIELD_TABLE(RoutingWorkflow, workflow_fields);

static const Field client_key_fields[] = {
    FIELD(RoutingClientKey, id, .required = true, .prefix = "cky"),
    FIELD(RoutingClientKey, digest, .required = true, .min = DIGEST_TEXT_LEN, .max = DIGEST_TEXT_LEN),
    FIELD(RoutingClientKey, not_after, .required = false),
};
static const FieldTable CLIENT_KEY_FIELDS = FIELD_TABLE(RoutingClientKey, client_key_fields);

static const Field routing_fields[] = {
    FIELD(Routing, v, .required = true, .min = 1, .max = 1),
    FIELD(Routing, kind, .required = true, .one_of = routing_kinds),
    FIELD(Routing, org, .required = true, .prefix = "org"),
    FIELD(Routing, project, .required = true, .prefix = "prj"),
    FIELD(Routing, version, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(Routing, connections, .required = true, .max = PROJECT_CONNECTIONS_MAX, .table = &CONNECTION_FIELDS),
    FIELD(Routing, workflows, .required = true, .max = PROJECT_WORKFLOWS_MAX, .table = &WORKFLOW_FIELDS),
    FIELD(Routing, client_keys, .required = true, .max = PROJECT_CLIENT_KEYS_MAX, .table = &CLIENT_KEY_FIELDS),
    FIELD(Routing, limits, .omit_null = true),
};
const FieldTable ROUTING_FIELDS = FIELD_TABLE(Routing, routing_fields);

static const Field secrets_version_fields[] = {
    FIELD(SecretsVersion, version, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(SecretsVersion, state, .required = true, .one_of = secret_states),
    FIELD(SecretsVersion, not_after, .required = false),
    FIELD(SecretsVersion, jwe, .required = true, .min = 1, .max = SECRET_JWE_BYTES_MAX),
};
static const FieldTable SECRETS_VERSION_FIELDS = FIELD_TABLE(SecretsVersion, secrets_version_fields);

static const Field secrets_entry_fields[] = {
    FIELD(SecretsEntry, id, .required = true, .prefix = "sec"),
    FIELD(SecretsEntry, versions, .required = true, .max = SECRET_VERSIONS_MAX, .table = &SECRETS_VERSION_FIELDS),
};
static const FieldTable SECRETS_ENTRY_FIELDS = FIELD_TABLE(SecretsEntry, secrets_entry_fields);

static const Field secrets_fields[] = {
    FIELD(Secrets, v, .required = true, .min = 1, .max = 1),
    FIELD(Secrets, kind, .required = true, .one_of = secrets_kinds),
    FIELD(Secrets, org, .required = true, .prefix = "org"),
    FIELD(Secrets, project, .required = true, .prefix = "prj"),
    FIELD(Secrets, version, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(Secrets, fleet, .required = true, .prefix = "flt"),
    FIELD(Secrets, generation, .required = true, .min = 1, .max = WIRE_INT_MAX),
    FIELD(Secrets, secrets, .required = true, .max = PROJECT_SECRETS_MAX, .table = &SECRETS_ENTRY_FIELDS),
};
const FieldTable SECRETS_FIELDS = FIELD_TABLE(Secrets, secrets_fields);

#define OBJECT_JSON_LIMITS                                                                                             \
    {                                                                                                                  \
        .bytes_max = OBJECT_BYTES_MAX, .depth_max = 16, .tokens_max = 400000                                           \
    }

static const DocumentKind routing_kind = {
    .table = &ROUTING_FIELDS,
    .limits = OBJECT_JSON_LIMITS,
    .version = OBJECT_VERSION,
    .malformed = STR_INIT("object-malformed"),
};
static const DocumentKind secrets_kind = {
    .table = &SECRETS_FIELDS,
    .limits = OBJECT_JSON_LIMITS,
    .version = OBJECT_VERSION,
    .malformed = STR_INIT("object-malformed"),
};

/* --- building --- */

Str routing_build(Arena *arena, Routing *routing)
{
    routing->v = OBJECT_VERSION;
    routing->kind = STR("routing");
    _cleanup_(json_release) json_t *value = fields_encode(arena, &ROUTING_FIELDS, routing);
    return json_write(arena, value);
}

Str secrets_build(Arena *arena, Secrets *secrets)
{
    secrets->v = OBJECT_VERSION;
    secrets->kind = STR("secrets");
    _cleanup_(json_release) json_t *value = fields_encode(arena, &SECRETS_FIELDS, secrets);
    return json_write(arena, value);
}

/* --- reading --- */

static Err refuse(Arena *arena, Str pointer, const char *detail)
{
    return document_refuse(arena, routing_kind.malformed, pointer, str_from_c(detail));
}

static int compare_str(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

/* The text that identifies item n of a list. */
typedef Str (*ItemText)(const List *list, size_t n);

static Err check_unique(Arena *arena, const List *list, ItemText text, const char *where)
{
    Str *texts = NEW(arena, Str, list->count + 1);
    for (size_t i = 0; i < list->count; i++)
        texts[i] = text(list, i);
    if (list->count > 1)
        qsort(texts, list->count, sizeof texts[0], compare_str);
    for (size_t i = 1; i < list->count; i++)
        if (str_eq(texts[i - 1], texts[i]))
            return refuse(arena, str_from_c(where), "names one thing twice");
    return OK;
}

static Str uuid_octets(const Uuid *id)
{
    return (Str){ .ptr = (const char *)id->b, .len = sizeof id->b };
}

static Str connection_id(const List *list, size_t n)
{
    return uuid_octets(&LIST_AT(RoutingConnection, *list, n)->id);
}
static Str workflow_id(const List *list, size_t n)
{
    return uuid_octets(&LIST_AT(RoutingWorkflow, *list, n)->id);
}
static Str workflow_name(const List *list, size_t n)
{
    return LIST_AT(RoutingWorkflow, *list, n)->name;
}
static Str revision_id(const List *list, size_t n)
{
    return uuid_octets(&LIST_AT(RoutingRevision, *list, n)->id);
}
static Str client_key_id(const List *list, size_t n)
{
    return uuid_octets(&LIST_AT(RoutingClientKey, *list, n)->id);
}
static Str client_key_digest(const List *list, size_t n)
{
    return LIST_AT(RoutingClientKey, *list, n)->digest;
}
static Str secret_id(const List *list, size_t n)
{
    return uuid_octets(&LIST_AT(SecretsEntry, *list, n)->id);
}

static bool has_connection(const Routing *routing, Uuid id)
{
    for (size_t i = 0; i < routing->connections.count; i++)
        if (uuid_eq(LIST_AT(RoutingConnection, routing->connections, i)->id, id))
            return true;
    return false;
}

static bool has_revision(const RoutingWorkflow *workflow, Uuid id)
{
    for (size_t i = 0; i < workflow->revisions.count; i++)
        if (uuid_eq(LIST_AT(RoutingRevision, workflow->revisions, i)->id, id))
            return true;
    return false;
}

static Err check_release(Arena *arena, const RoutingWorkflow *workflow, size_t n)
{
    int64_t percent = 0;
    for (size_t i = 0; i < workflow->release.stages.count; i++) {
        const RoutingStage *stage = LIST_AT(RoutingStage, workflow->release.stages, i);
        if (!has_revision(workflow, stage->revision))
            return refuse(arena, arena_fmt(arena, "/workflows/%zu/release/stages/%zu/revision", n, i),
                "is not among the workflow's revisions");
        percent += stage->percent;
    }
    if (workflow->release.stages.count > 0 && percent != 100)
        return refuse(arena, arena_fmt(arena, "/workflows/%zu/release/stages", n), "must add up to 100 percent");
    return OK;
}

static Err check_targets(Arena *arena, const Routing *routing, const RoutingRevision *revision, size_t n, size_t r)
{
    for (size_t i = 0; i < revision->targets.count; i++)
        if (!has_connection(routing, LIST_AT(RoutingTarget, revision->targets, i)->connection))
            return refuse(arena, arena_fmt(arena, "/workflows/%zu/revisions/%zu/targets/%zu/connection", n, r, i),
                "is not among the project's connections");
    return OK;
}

static Err check_workflow(Arena *arena, const Routing *routing, size_t n)
{
    const RoutingWorkflow *workflow = LIST_AT(RoutingWorkflow, routing->workflows, n);
    TRY(check_unique(arena, &workflow->revisions, revision_id, "/workflows/revisions"));
    for (size_t r = 0; r < workflow->revisions.count; r++)
        TRY(check_targets(arena, routing, LIST_AT(RoutingRevision, workflow->revisions, r), n, r));
    return check_release(arena, workflow, n);
}

static Err check_connections(Arena *arena, const Routing *routing)
{
    for (size_t i = 0; i < routing->connections.count; i++) {
        Str origin = STR("");
        Err err = origin_of_url(arena, LIST_AT(RoutingConnection, routing->connections, i)->base_url, &origin);
        if (err.kind != ERR_NONE)
            return document_refuse(
                arena, routing_kind.malformed, arena_fmt(arena, "/connections/%zu/base_url", i), STR("has no origin"));
    }
    return check_unique(arena, &routing->connections, connection_id, "/connections");
}

static Err check_client_keys(Arena *arena, const Routing *routing)
{
    for (size_t i = 0; i < routing->client_keys.count; i++) {
        Digest digest;
        Err err = digest_parse(LIST_AT(RoutingClientKey, routing->client_keys, i)->digest, &digest);
        if (err.kind != ERR_NONE)
            return refuse(
                arena, arena_fmt(arena, "/client_keys/%zu/digest", i), "must be a SHA-256 digest in base64url");
    }
    TRY(check_unique(arena, &routing->client_keys, client_key_id, "/client_keys"));
    return check_unique(arena, &routing->client_keys, client_key_digest, "/client_keys");
}

static Err routing_check(Arena *arena, const Routing *routing)
{
    TRY(check_connections(arena, routing));
    TRY(check_client_keys(arena, routing));
    TRY(check_unique(arena, &routing->workflows, workflow_id, "/workflows"));
    TRY(check_unique(arena, &routing->workflows, workflow_name, "/workflows"));
    for (size_t i = 0; i < routing->workflows.count; i++)
        TRY(check_workflow(arena, routing, i));
    return OK;
}

Err routing_parse(Arena *arena, Str text, Routing *ret_routing)
{
    _cleanup_(json_release) json_t *value = NULL;
    Routing routing = { 0 };
    TRY(document_parse(arena, &routing_kind, text, &value, &routing));
    TRY(routing_check(arena, &routing));
    json_adopt(arena, TAKE(value));
    *ret_routing = routing;
    return OK;
}

static Err check_secret(Arena *arena, const SecretsEntry *entry, size_t n)
{
    unsigned active = 0;
    for (size_t i = 0; i < entry->versions.count; i++) {
        const SecretsVersion *version = LIST_AT(SecretsVersion, entry->versions, i);
        active += str_eq(version->state, STR("active")) ? 1 : 0;
        for (size_t before = 0; before < i; before++)
            if (LIST_AT(SecretsVersion, entry->versions, before)->version == version->version)
                return refuse(arena, arena_fmt(arena, "/secrets/%zu/versions/%zu", n, i), "stands there twice");
    }
    if (active > 1)
        return refuse(arena, arena_fmt(arena, "/secrets/%zu/versions", n), "has two active versions");
    return OK;
}

Err secrets_parse(Arena *arena, Str text, Secrets *ret_secrets)
{
    _cleanup_(json_release) json_t *value = NULL;
    Secrets secrets = { 0 };
    TRY(document_parse(arena, &secrets_kind, text, &value, &secrets));
    TRY(check_unique(arena, &secrets.secrets, secret_id, "/secrets"));
    for (size_t i = 0; i < secrets.secrets.count; i++)
        TRY(check_secret(arena, LIST_AT(SecretsEntry, secrets.secrets, i), i));
    *ret_secrets = secrets;
    return OK;
}

/* --- releases --- */

const RoutingStage *release_select(const RoutingRelease *release, Uuid data_plane)
{
    Digest digest = digest_of_two(str_bytes(release->salt), BYTES_OF(data_plane.b));
    uint64_t number = 0;
    for (size_t i = 0; i < 8; i++)
        number = number << 8 | digest.b[i];
    int64_t point = (int64_t)(number % 10000), reached = 0;
    for (size_t i = 0; i < release->stages.count; i++) {
        const RoutingStage *stage = LIST_AT(RoutingStage, release->stages, i);
        reached += stage->percent * 100;
        if (point < reached)
            return stage;
    }
    return NULL;
}
