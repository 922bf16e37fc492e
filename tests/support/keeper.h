/*
 * keeper.h: a real reeve-keeper with a root of its own, in a folder of its own.
 *
 *     KeeperFixture *keeper = keeper_fixture_new(REEVE_BINARY_DIR "/bin/reeve-keeper");
 *     keeper_fixture_start(keeper);
 *     KeeperClient *client = keeper_client_open(keeper->socket);
 *     ...
 *     keeper_fixture_free(&keeper);      // stops it and removes the folder
 */
#ifndef SUPPORT_KEEPER_H
#define SUPPORT_KEEPER_H

#include "keeper/client.h"
#include "snapshot/statement.h"

#include <sys/types.h>

typedef struct KeeperFixture {
    Arena *arena;
    Str program;
    Str folder;
    Str socket;
    Str config;
    Uuid installation;
    KeyPair root_key;
    KeyPair enrol_key;
    Root root;              /* as verified */
    Str extra;              /* more YAML lines for the configuration */
    Str kms_uri;            /* "local:default" */
    Str other_uri;          /* "local:other", allowed as well */
    pid_t pid;              /* 0: not running */
    int64_t file_bytes_max; /* how large a file the next keeper may write; 0: any (a full disk, in small) */
} KeeperFixture;

/* init, root ceremony; not started. */
KeeperFixture *keeper_fixture_new(const char *program);
void keeper_fixture_free(KeeperFixture **fixture);
/* Returns when the keeper answers; dies when it does not. */
void keeper_fixture_start(KeeperFixture *fixture);
/* Sends the signal and returns the status of waitpid. */
int keeper_fixture_stop(KeeperFixture *fixture, int signal_number);
/* Runs the program to its end with one argument more (or NULL); its status. */
int keeper_fixture_run(KeeperFixture *fixture, const char *argument);
Str keeper_fixture_path(KeeperFixture *fixture, const char *name);

/* A join certificate for a fresh one-time key, and what a data plane does with it. */
Str keeper_fixture_cert(
    KeeperFixture *fixture, const KeyPair *enrol, Uuid fleet, const KeyPair *one_time, int64_t ttl_s);
Str keeper_fixture_request(
    KeeperFixture *fixture, Uuid fleet, const KeyPair *one_time, const KeyPair *sign, const KeyPair *encrypt);
/* Seals as the CLI does: to the intake key of the root, bound to its place. */
Str keeper_fixture_sealed(KeeperFixture *fixture, const SecretRef *ref, Str plain);

#endif
