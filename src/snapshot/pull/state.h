/*
 * state.h: a data plane's directory: what survives a restart.
 *
 *   lock              held (flock) by the one puller of this directory
 *   identity.json     0600: who we are, our two private keys, the hash of the first root
 *   roots/N.jws       the chain of roots, from the first
 *   keyrings/G.jws    the keyring of fleet key generation G (only we can open it)
 *   manifests/SEQ.jws the last two activated manifests; the highest that verifies whole is the current one
 *   objects/DIGEST    shards and objects, by content
 *   mark              the highest (seq, digest) ever activated, who signed it, the latest signed time
 *
 * Every file is written under a temporary name and renamed, so a crash leaves the old or the new, never a mixture. The
 * kernel is asked to make everything durable by state_sync, off the activation path; what a power cut tears is found by
 * its digest or signature at the next start, and the generation before is taken.
 */
#ifndef SNAPSHOT_PULL_STATE_H
#define SNAPSHOT_PULL_STATE_H

#include "base/clock.h"
#include "crypto/digest.h"

typedef struct State State;

/* "state-locked" (ERR_CONFLICT) when another puller has it; "state-unusable" when it cannot be used. Made 0700. */
CHECKED Err state_open(Str path, State **ret_state);
void state_close(State **state);
/* Before each write and rename; tests crash here. */
void state_on_write(State *state, void (*fn)(void *arg), void *arg);

CHECKED Err state_write(State *state, Str name, Str text);
/* ERR_NOT_FOUND "state-absent" when there is none. */
CHECKED Err state_read(State *state, Arena *arena, Str name, size_t bytes_max, Str *ret_text);
bool state_has(State *state, Str name);
void state_remove(State *state, Str name);
/* Names in a sub-directory, sorted, without temporaries. */
CHECKED Err state_list(State *state, Arena *arena, Str folder, Strs *ret_names);
/* Until the kernel has everything on its disk. */
CHECKED Err state_sync(State *state);

/* Objects by content: put checks nothing (the caller did), get reads and checks the digest and the exact length
 * (length < 0: any up to bytes_max). A file that fails is removed: ERR_NOT_FOUND "state-corrupt". */
Str state_object_name(Arena *arena, Digest digest);
CHECKED Err state_object_put(State *state, Arena *arena, Digest digest, Str bytes);
CHECKED Err state_object_get(
    State *state, Arena *arena, Digest digest, int64_t length, size_t bytes_max, Str *ret_bytes);

#endif
