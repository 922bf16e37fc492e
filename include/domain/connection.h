/*
 * connection.h: how a project reaches a provider: dialect, base URL, and the secret to use there.
 *
 * A base URL has the origin of its secret, or it is refused: editing a connection cannot send a key elsewhere.
 */
#ifndef DOMAIN_CONNECTION_H
#define DOMAIN_CONNECTION_H

#include "domain/noun.h"

typedef struct Connection {
    Uuid id;
    Str name, dialect, base_url, origin;
    Uuid secret; /* none: the provider needs no key */
    int64_t version;
    Time created_at, updated_at;
} Connection;
extern const FieldTable CONNECTION_FIELDS;
extern const Noun CONNECTION;
extern const char *const DIALECTS[];

#endif
