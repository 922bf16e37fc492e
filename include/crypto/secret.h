/*
 * secret.h: bytes that must not be seen: guarded, locked, never dumped, wiped on release (sodium_malloc).
 *
 * A type of its own: the field tables have no arm for it, so it cannot slip into a reply, a row or a log.
 *
 *     _cleanup_(secret_release) Secret key = secret_random(32);
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include "base/arena.h"

typedef struct Secret {
    uint8_t *ptr;
    size_t len;
} Secret;

#define SECRET_BYTES_MAX (64 * 1024)

void crypto_start(
    void); /* first line of every main and test program: libsodium, dump and ptrace protection is process_harden's */
CHECKED Err process_harden(void); /* no core, not dumpable; warns when memory cannot be locked */

Secret secret_new(size_t len); /* zeroed */
Secret secret_random(size_t len);
Secret secret_copy(Bytes from); /* the caller wipes the source */
void secret_release(Secret *secret);
Bytes secret_bytes(const Secret *secret);
bool secret_eq(Bytes a, Bytes b); /* constant-time; lengths are public */
void secret_wipe(void *ptr, size_t len);
CHECKED Err secret_from_file(Str path, size_t bytes_max,
    Secret *ret_secret); /* without one trailing newline; refuses group/other readable files it does not own */

/* A 256-bit key from a passphrase: Argon2id, 3 passes over 64 MiB (about a tenth of a second). */
#define PASSPHRASE_SALT_BYTES 16
Secret secret_from_passphrase(Bytes passphrase, const uint8_t *salt);

/* A slab of locked memory for per-call plaintext: one per thread, wiped on give. */
typedef struct SecretSlab SecretSlab;
SecretSlab *secret_slab_new(size_t slot_bytes, unsigned slots);
void secret_slab_free(SecretSlab **slab);
uint8_t *secret_slab_take(SecretSlab *slab); /* NULL when all are taken */
void secret_slab_give(SecretSlab *slab, uint8_t *slot);

#endif
