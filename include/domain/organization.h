/*
 * organization.h: the tenant. All customer data belongs to exactly one. The installation is itself an organization, the
 * one that operators belong to.
 */
#ifndef DOMAIN_ORGANIZATION_H
#define DOMAIN_ORGANIZATION_H

#include "domain/noun.h"

typedef struct Organization {
    Uuid id;
    Str name, display_name;
    bool plaintext_intake; /* whether a provider key may arrive unsealed over TLS */
    int64_t version;
    Time created_at, updated_at;
} Organization;
extern const FieldTable ORGANIZATION_FIELDS;
extern const Noun ORGANIZATION;

#endif
