/*
 * migrate.h: the embedded migrations, applied under an advisory lock, one transaction each, checksummed.
 */
#ifndef STORE_MIGRATE_H
#define STORE_MIGRATE_H

#include "store/db.h"

typedef struct Migration {
    int number;
    const char *name;
    const char *sql;
} Migration;
extern const Migration MIGRATIONS[]; /* generated; ends with number 0 */

typedef struct MigrationState {
    int database, program;
    bool edited; /* an applied migration's checksum differs */
} MigrationState;
CHECKED Err migrate_state(Str conninfo, MigrationState *ret_state);
CHECKED Err migrate_apply(Str conninfo, int *ret_applied);
/* What the daemon asks at start: refuses a schema it does not know ("schema-too-old", "schema-too-new",
 * "schema-edited"). */
CHECKED Err migrate_check(Pool *pool);

#endif
