/*
 * identity.h: who this data plane is: two key pairs made at the first start, which never leave its directory, and what
 * the join token said of where it belongs.
 */
#ifndef SNAPSHOT_PULL_IDENTITY_H
#define SNAPSHOT_PULL_IDENTITY_H

#include "snapshot/statement.h"

#include "state.h"

#define IDENTITY_BYTES_MAX 16384

typedef struct Identity {
    Uuid installation;
    Uuid fleet;
    Uuid data_plane;
    Digest root; /* of the first root */
    Str url;
    Str name;
    KeyPair sign;
    KeyPair encrypt;
    bool enrolled;
    JoinToken join; /* of this start; cert empty without one */
} Identity;

/* Reads identity.json, or makes it from the join token. "join-token-needed", "join-token-malformed",
 * "identity-malformed", "join-token-other" (the directory belongs to another installation or fleet). */
CHECKED Err identity_open(State *state, Arena *arena, Str join_token, Str name, Str url, Identity *ret_identity);
CHECKED Err identity_save(State *state, const Identity *identity);
void identity_release(Identity *identity);

#endif
