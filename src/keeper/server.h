/*
 * server.h: the keeper's socket: who may connect, what is taken in, and which thread does it.
 *
 *   one thread reads packets and sorts them into a queue; workers do them. A KMS key has at most `kms_concurrency`
 *   operations at once: a request beyond that waits in the queue and the ones behind it pass by, so that a KMS that
 *   hangs holds up nobody but those who need it.
 *
 * A packet that is not a message ends its connection. SIGTERM and SIGINT stop the intake, finish what was taken in
 * (for at most DRAIN_S) and end the server.
 */
#ifndef KEEPER_SERVER_H
#define KEEPER_SERVER_H

#include "vault.h"

#define KEEPER_CONNECTIONS_MAX 64
#define KEEPER_QUEUE_MAX 1024
#define DRAIN_S 10

typedef struct KeeperServer KeeperServer;

/* Listens; blocks SIGTERM and SIGINT in this thread and those it will start. */
CHECKED Err keeper_server_open(const KeeperConfig *config, Vault *vault, KeeperServer **ret_server);
/* Starts the workers and serves until told to stop. */
CHECKED Err keeper_server_run(KeeperServer *server);
void keeper_server_free(KeeperServer **server);

#endif
