/*
 * client.h: calling the keeper. Blocking calls from many threads share one connection; answers find their callers by
 * id. A keeper that is gone is ERR_UNAVAILABLE "keeper-unavailable" at once; the next call connects again. A call that
 * takes longer than the deadline is ERR_TIMEOUT "keeper-timeout": it may still have been done (receipts tell).
 *
 *     KeeperClient *keeper = keeper_client_open(config.keeper_socket);
 *     TRY(keeper_project_key_new(keeper, arena, &(ProjectKeyNew){ .org = org, ... }, &wrapped));
 *
 * What a call returns lies in the arena. Errors of the keeper come through with their own kind, code and sentence.
 */
#ifndef KEEPER_CLIENT_H
#define KEEPER_CLIENT_H

#include "keeper/message.h"

#define KEEPER_DEADLINE_MS 10000
#define KEEPER_CALLS_MAX 256 /* at the same time; more wait */

typedef struct KeeperClient KeeperClient;

KeeperClient *keeper_client_open(Str path); /* connects at the first call */
void keeper_client_free(KeeperClient **client);
void keeper_client_deadline(KeeperClient *client, int64_t milliseconds); /* before the first call */

CHECKED Err keeper_hello(KeeperClient *client, Arena *arena, Hello *ret_hello);
CHECKED Err keeper_project_key_new(KeeperClient *client, Arena *arena, const ProjectKeyNew *ask, Bytes *ret_wrapped);
CHECKED Err keeper_fleet_key_new(KeeperClient *client, Arena *arena, const FleetKeyNew *ask, Bytes *ret_wrapped);
CHECKED Err keeper_secret_intake(KeeperClient *client, Arena *arena, const SecretIntake *ask, SecretTaken *ret_taken);
CHECKED Err keeper_secret_reseal(KeeperClient *client, Arena *arena, const SecretReseal *ask, Bytes *ret_envelope);
CHECKED Err keeper_secret_seal_fleet(KeeperClient *client, Arena *arena, const SecretSealFleet *ask, Str *ret_jwe);
CHECKED Err keeper_keyring(KeeperClient *client, Arena *arena, const KeyringAsk *ask, KeyringGiven *ret_given);
CHECKED Err keeper_rewrap(KeeperClient *client, Arena *arena, const Rewrap *ask, Bytes *ret_wrapped);
/* installation, issued_at and receipts are the keeper's: what stands in the struct is not sent. The keeper adds every
 * data plane that it knows to be revoked. */
CHECKED Err keeper_sign_manifest(KeeperClient *client, Arena *arena, const Manifest *manifest, Str *ret_jws);
/* installation is the keeper's; now must be within a minute of the keeper's clock. */
CHECKED Err keeper_sign_heartbeat(KeeperClient *client, Arena *arena, const Heartbeat *heartbeat, Str *ret_jws);
CHECKED Err keeper_sign_checkpoint(KeeperClient *client, Arena *arena, const CheckpointAsk *ask, Str *ret_note);
CHECKED Err keeper_receipts(KeeperClient *client, Arena *arena, int64_t after, Receipts *ret_receipts);

#endif
