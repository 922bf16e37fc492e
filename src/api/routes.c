/*
 * routes.c: every table of routes there is. A new resource is one more line here and one file beside it.
 */
#include "api/route.h"

#define EVERY_TABLE(X) X(PROJECT_ROUTES) X(SNAPSHOT_ROUTES)

#define DECLARE(table) extern const Route table[];
EVERY_TABLE(DECLARE)

#define NAME(table) table,
const Route *const ROUTE_TABLES[] = { EVERY_TABLE(NAME) NULL };
