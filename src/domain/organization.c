/*
 * organization.c: organizations.
 */
#include "domain/organization.h"

#include "store/sql.h"

static const Field organization_fields[] = {
    FIELD(Organization, id, .prefix = "org", .read_only = true),
    FIELD(Organization, name, .required = true, .name_like = true, .doc = "Unique in the installation."),
    FIELD(Organization, display_name, .max = 200),
    FIELD(Organization, plaintext_intake, .doc = "Whether provider keys may be sent unsealed, protected by TLS alone."),
    FIELD(Organization, version, .read_only = true),
    FIELD(Organization, created_at, .read_only = true),
    FIELD(Organization, updated_at, .read_only = true),
};
const FieldTable ORGANIZATION_FIELDS = FIELD_TABLE(Organization, organization_fields);

static const char *const fixed[] = { "name", NULL };
const Noun ORGANIZATION = { .name = "organization",
    .prefix = "org",
    .fields = &ORGANIZATION_FIELDS,
    .insert = &SQL_ORGANIZATION_INSERT,
    .lock = &SQL_ORGANIZATION_LOCK,
    .update = &SQL_ORGANIZATION_UPDATE,
    .remove = &SQL_ORGANIZATION_DELETE,
    .fixed = fixed,
    .publishes = true };
