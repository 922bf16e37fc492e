/* wipe.c: see wipe.h. */
#include "crypto/wipe.h"

#include <openssl/crypto.h>

#include "base/mem.h"

static void *wiping_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return mem_wiping_malloc(size);
}

static void *wiping_realloc(void *ptr, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return mem_wiping_realloc(ptr, size);
}

static void wiping_free(void *ptr, const char *file, int line)
{
    (void)file, (void)line;
    mem_wiping_free(ptr);
}

void crypto_install_wiping_allocators(void)
{
    (void)CRYPTO_set_mem_functions(wiping_malloc, wiping_realloc, wiping_free);
}
