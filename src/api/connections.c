/*
 * connections.c: /v1/projects/{project}/connections.
 */
#include "api/route.h"

#include "domain/connection.h"
#include "store/sql.h"

static const char *const connection[] = { "con" };
static const Read get = { .stmt = &SQL_CONNECTION_GET, .table = &CONNECTION_FIELDS };
static const Read list = { .stmt = &SQL_CONNECTION_LIST, .table = &CONNECTION_FIELDS, .list = true };

extern const Route CONNECTION_ROUTES[];
const Route CONNECTION_ROUTES[] = {
    ROUTE(GET, "/v1/projects/{project}/connections", CONNECTION_LIST, .says = "List connections.", .read = &list,
        .reply = &CONNECTION_FIELDS),
    ROUTE(POST, "/v1/projects/{project}/connections", CONNECTION_CREATE,
        .says = "Create a connection; its base URL has its secret's origin.", .commit = noun_post, .noun = &CONNECTION,
        .body = &CONNECTION_FIELDS, .reply = &CONNECTION_FIELDS, .status = 201),
    ROUTE(GET, "/v1/projects/{project}/connections/{connection}", CONNECTION_READ, .says = "Read a connection.",
        .read = &get, .reply = &CONNECTION_FIELDS, .prefixes = connection),
    ROUTE(PATCH, "/v1/projects/{project}/connections/{connection}", CONNECTION_UPDATE,
        .says = "Change a connection (merge patch).", .commit = noun_patch, .noun = &CONNECTION,
        .body = &CONNECTION_FIELDS, .reply = &CONNECTION_FIELDS, .if_match = true, .prefixes = connection),
    ROUTE(DELETE, "/v1/projects/{project}/connections/{connection}", CONNECTION_DELETE,
        .says = "Delete a connection that no released workflow uses.", .commit = noun_delete, .noun = &CONNECTION,
        .if_match = true, .prefixes = connection),
    ROUTE_END,
};
