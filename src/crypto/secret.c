/*
 * secret.c: guarded memory (libsodium), the slab for per-call plaintext, and the process's own hardening.
 */
#include "crypto/secret.h"

#include "base/encode.h"
#include "base/id.h"
#include "base/log.h"

#include <sodium.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_PROBE_BYTES (128 * 1024)

void crypto_start(void)
{
    if (sodium_init() < 0)
        die("libsodium could not be started");
}

/* Debian's default lets an ordinary process lock 64 KiB; sodium_malloc goes on silently without the lock. */
static void warn_when_memory_cannot_be_locked(void)
{
    void *probe = sodium_malloc(LOCK_PROBE_BYTES);
    if (probe == NULL || sodium_mlock(probe, LOCK_PROBE_BYTES) != 0)
        log_warn("memory cannot be locked: keys may be written to swap (raise LimitMEMLOCK)",
            LOG_INT("bytes", LOCK_PROBE_BYTES));
    sodium_free(probe);
}

Err process_harden(void)
{
    const struct rlimit no_core = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &no_core) != 0)
        return FAIL(ERR_INTERNAL, "harden-failed", "Core files could not be turned off.");
    /* The leak checker of the sanitizers attaches by ptrace, which this forbids. */
    if (!REEVE_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return FAIL(ERR_INTERNAL, "harden-failed", "The process could not be made undumpable.");
    warn_when_memory_cannot_be_locked();
    return OK;
}

Secret secret_new(size_t len)
{
    if (len > SECRET_BYTES_MAX)
        die("a secret of %zu bytes was asked for", len);
    Secret secret = { .ptr = sodium_malloc(len == 0 ? 1 : len), .len = len };
    if (secret.ptr == NULL)
        die("no memory for a secret");
    memset(secret.ptr, 0, len == 0 ? 1 : len);
    return secret;
}

Secret secret_random(size_t len)
{
    Secret secret = secret_new(len);
    random_bytes(secret.ptr, len);
    return secret;
}

Secret secret_copy(Bytes from)
{
    Secret secret = secret_new(from.len);
    if (from.len > 0)
        memcpy(secret.ptr, from.ptr, from.len);
    return secret;
}

void secret_release(Secret *secret)
{
    sodium_free(secret->ptr); /* wipes; NULL is fine */
    *secret = (Secret){ 0 };
}

Bytes secret_bytes(const Secret *secret)
{
    return (Bytes){ .ptr = secret->ptr, .len = secret->len };
}

bool secret_eq(Bytes a, Bytes b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void secret_wipe(void *ptr, size_t len)
{
    if (len > 0)
        sodium_memzero(ptr, len);
}

/* --- files --- */

typedef struct File {
    int fd;
} File;

static void file_release(File *file)
{
    if (file->fd >= 0)
        close(file->fd);
}

/* Ours or root's, closed to others; a root-owned file may be readable by a group (systemd's credentials are). Root may
 * read anybody's: an operator who acts for a service's user. */
static Err check_file_is_private(const struct stat *info)
{
    if (!S_ISREG(info->st_mode))
        return FAIL(ERR_INVALID, "secret-file", "The secret's file is not a regular file.");
    if (info->st_uid != geteuid() && info->st_uid != 0 && geteuid() != 0)
        return FAIL(ERR_INVALID, "secret-file-owner", "The secret's file belongs to another user.");
    mode_t refused = info->st_uid == 0 && geteuid() != 0 ? S_IRWXO | S_IWGRP : S_IRWXO | S_IRWXG;
    if ((info->st_mode & refused) != 0)
        return FAIL(
            ERR_INVALID, "secret-file-mode", "The secret's file is open to group or others; its mode must be 0600.");
    return OK;
}

static Err read_whole(int fd, Secret *into)
{
    size_t len = 0;
    while (len < into->len) {
        ssize_t got = read(fd, into->ptr + len, into->len - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FAIL(ERR_INVALID, "secret-file", "The secret's file could not be read.");
        if (got == 0)
            break;
        len += (size_t)got;
    }
    into->len = len;
    return OK;
}

/* A name alone is a credential of the service, where there is one of that name; else it is a file as any other. */
static int open_secret(Str path)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder != NULL && !str_starts_with(path, STR("/"))) {
        int fd = open(arena_fmt(arena, "%s/" STR_FMT, folder, STR_ARG(path)).ptr, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0)
            return fd;
    }
    return open(arena_c(arena, path), O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

Err secret_from_file(Str path, size_t bytes_max, Secret *ret_secret)
{
    _cleanup_(file_release) File file = { .fd = open_secret(path) };
    if (file.fd < 0)
        return FAIL(ERR_INVALID, "secret-file", "The secret's file could not be opened.");
    struct stat info;
    if (fstat(file.fd, &info) != 0)
        return FAIL(ERR_INVALID, "secret-file", "The secret's file could not be examined.");
    TRY(check_file_is_private(&info));

    _cleanup_(secret_release) Secret whole = secret_new(bytes_max + 2);
    TRY(read_whole(file.fd, &whole));
    if (whole.len > 0 && whole.ptr[whole.len - 1] == '\n')
        whole.len--;
    if (whole.len > bytes_max)
        return FAIL(ERR_INVALID, "secret-file-size", "The secret's file is too long.");
    if (whole.len == 0)
        return FAIL(ERR_INVALID, "secret-file-size", "The secret's file is empty.");
    *ret_secret = secret_copy(secret_bytes(&whole));
    return OK;
}

#define PASSPHRASE_PASSES 3
#define PASSPHRASE_MEMORY_BYTES (64 * 1024 * 1024)

_Static_assert(PASSPHRASE_SALT_BYTES == crypto_pwhash_argon2id_SALTBYTES, "a salt has the size that Argon2id takes");

Secret secret_from_passphrase(Bytes passphrase, const uint8_t *salt)
{
    Secret key = secret_new(32);
    if (crypto_pwhash(key.ptr, key.len, (const char *)passphrase.ptr, passphrase.len, salt, PASSPHRASE_PASSES,
            PASSPHRASE_MEMORY_BYTES, crypto_pwhash_ALG_ARGON2ID13) != 0)
        die("no memory to derive a key from a passphrase");
    return key;
}

/* --- slab --- */

struct SecretSlab {
    uint8_t *memory;
    size_t slot_bytes;
    unsigned free_count;
    unsigned slots;
    unsigned free_slots[]; /* a stack of indexes */
};

SecretSlab *secret_slab_new(size_t slot_bytes, unsigned slots)
{
    SecretSlab *slab = sodium_malloc((sizeof(SecretSlab) + slots * sizeof(unsigned) + 15) & ~(size_t)15);
    if (slab == NULL)
        die("no memory for a slab");
    slab->memory = sodium_allocarray(slots, slot_bytes);
    if (slab->memory == NULL)
        die("no memory for a slab of %u slots", slots);
    memset(slab->memory, 0, slots * slot_bytes);
    slab->slot_bytes = slot_bytes;
    slab->slots = slots;
    slab->free_count = slots;
    for (unsigned i = 0; i < slots; i++)
        slab->free_slots[i] = slots - 1 - i;
    return slab;
}

void secret_slab_free(SecretSlab **slab)
{
    if (*slab == NULL)
        return;
    sodium_free((*slab)->memory);
    sodium_free(*slab);
    *slab = NULL;
}

uint8_t *secret_slab_take(SecretSlab *slab)
{
    if (slab->free_count == 0)
        return NULL;
    return slab->memory + slab->free_slots[--slab->free_count] * slab->slot_bytes;
}

void secret_slab_give(SecretSlab *slab, uint8_t *slot)
{
    if (slot == NULL)
        return;
    size_t offset = (size_t)(slot - slab->memory);
    if (offset % slab->slot_bytes != 0 || offset / slab->slot_bytes >= slab->slots || slab->free_count == slab->slots)
        die("a slot was given to a slab that it is not of");
    sodium_memzero(slot, slab->slot_bytes);
    slab->free_slots[slab->free_count++] = (unsigned)(offset / slab->slot_bytes);
}
