/*
 * signs.h: what /metrics tells of the work that waits in the database, and whether database and keeper answer. A thread
 * looks every few seconds; a scrape reads what it saw last and asks nobody.
 *
 *     Signs *signs = signs_new();
 *     context.signs = signs;                                         // workers_start
 *     vitals->sources[vitals->source_count++] = (MetricsSource){ signs_write, signs };
 */
#ifndef WORKER_SIGNS_H
#define WORKER_SIGNS_H

#include "base/buf.h"
#include "store/db.h"

struct KeeperClient;

#define SIGNS_EVERY_S 5

typedef struct Signs Signs;

Signs *signs_new(void);
void signs_free(Signs **signs);
void signs_look(Signs *signs, Pool *pool, struct KeeperClient *keeper); /* a pool of role worker; keeper may be NULL */
void signs_write(Buf *out, void *signs);                                /* Prometheus text */

#endif
