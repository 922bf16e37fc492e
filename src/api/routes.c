/*
 * routes.c: every table of routes there is. A new resource is one more line here and one file beside it.
 */
#include "api/route.h"

/* clang-format off */
#define EVERY_TABLE(X)       \
    X(SYSTEM_ROUTES)         \
    X(ORGANIZATION_ROUTES)   \
    X(SERVICE_ACCOUNT_ROUTES)\
    X(PROJECT_ROUTES)        \
    X(SECRET_ROUTES)         \
    X(CONNECTION_ROUTES)     \
    X(WORKFLOW_ROUTES)       \
    X(CLIENT_KEY_ROUTES)     \
    X(FLEET_ROUTES)          \
    X(AUDIT_ROUTES)          \
    X(SNAPSHOT_ROUTES)       \
    X(USAGE_ROUTES)          \
    X(PRICE_ROUTES)
/* clang-format on */

#define DECLARE(table) extern const Route table[];
EVERY_TABLE(DECLARE)

#define NAME(table) table,
const Route *const ROUTE_TABLES[] = { EVERY_TABLE(NAME) NULL };
