/*
 * root.h: who may speak for an installation: the keys and thresholds of its five roles.
 *
 *   JWS in the general JSON form (typ reeve-root+jws), several signatures, over
 *   { v, installation, version, expires, roles: { root, enrol, manifest, checkpoint, intake: { threshold, keys } } }
 *
 * The first root is known by the SHA-256 of its exact bytes (a join token carries it). Each later one is version n + 1,
 * signed by the threshold of its own root keys and by the threshold of version n's. One key has one role.
 *
 *     TRY(root_verify(arena, text, expected_hash, time_now(), &root));
 *     TRY(root_verify_next(arena, newer_text, &root, time_now(), &newer));
 *     TRY(manifest_verify(arena, jws, root_keys(&newer, "manifest"), &manifest));
 */
#ifndef SNAPSHOT_ROOT_H
#define SNAPSHOT_ROOT_H

#include "base/id.h"
#include "crypto/jose.h"

#define ROOT_TYP "reeve-root+jws"
#define ROOT_BYTES_MAX (64 * 1024)
#define ROLE_KEYS_MAX 16
#define ROOT_CHAIN_MAX 1024 /* links followed at once */

typedef enum RootRole { ROLE_ROOT, ROLE_ENROL, ROLE_MANIFEST, ROLE_CHECKPOINT, ROLE_INTAKE, ROLE_COUNT } RootRole;

typedef struct RoleKeys {
    int64_t threshold; /* 1 for all but the root role: their statements carry one signature */
    KeySet keys;       /* X25519 for intake, Ed25519 for the rest */
} RoleKeys;

typedef struct Root {
    Uuid installation;
    int64_t version; /* 1, 2, 3, ... */
    Time expires;
    RoleKeys roles[ROLE_COUNT];
    Digest hash; /* of the exact bytes of jws; set by verification */
    Str jws;     /* set by verification */
} Root;

/* "root", "enrol", "manifest", "checkpoint", "intake"; another name ends the program. */
KeySet root_keys(const Root *root, const char *role);

/* The signed document. The signers need not reach the threshold: root_sign adds more. */
CHECKED Err root_build(Arena *arena, const Root *root, const KeyPair *const *signers, size_t count, Str *ret_jws);
CHECKED Err root_sign(Arena *arena, Str jws, const KeyPair *signer, Str *ret_jws);

/*
 * The first root: by its hash. ERR_INVALID: "root-malformed", "root-hash", "root-threshold", "root-expired".
 * With `now` none its expiry is not looked at (an older link of a chain).
 */
CHECKED Err root_verify(Arena *arena, Str jws, Digest expected_hash, Time now, Root *ret_root);
/* The one after previous; beside the above: "root-version", "root-installation". */
CHECKED Err root_verify_next(Arena *arena, Str jws, const Root *previous, Time now, Root *ret_root);
/* Follows a chain of later roots from a trusted one; only the last must not have expired. count 0 checks trusted. */
CHECKED Err root_follow(Arena *arena, const Root *trusted, const Str *chain, size_t count, Time now, Root *ret_root);
/*
 * The newest root, followed from the one that is pinned by its hash: that one itself, or `older` is asked for the
 * versions before it, down to the pinned one. "root-hash" when none is it.
 */
typedef Err (*RootOlder)(Arena *arena, const void *arg, int64_t version, Str *ret_jws);
CHECKED Err root_verify_from(
    Arena *arena, Str newest, Digest pinned, RootOlder older, const void *arg, Time now, Root *ret_root);
/* Who signs, without any verification: to show a ceremony's state, never to act on. */
CHECKED Err root_peek(Arena *arena, Str jws, Root *ret_root);

#endif
