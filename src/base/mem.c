/* mem.c: malloc that cannot fail to its caller. See mem.h. */
#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t count, size_t size)
{
    void *ptr = calloc(count == 0 ? 1 : count, size);
    if (ptr == NULL)
        die("out of memory (%zu x %zu bytes)", count, size);
    return ptr;
}

void *mem_grow(void *ptr, size_t count_old, size_t count, size_t size)
{
    char *grown = reallocarray(ptr, count, size);
    if (grown == NULL)
        die("out of memory (%zu x %zu bytes)", count, size);
    memset(grown + count_old * size, 0, (count - count_old) * size);
    return grown;
}

void mem_free(void *ptr)
{
    free(ptr);
}

/* --- wiping --- */

/* All that the allocator gave, not what was asked for: a library may use the rest, and its blocks get smaller. */
static void wipe(void *ptr)
{
    explicit_bzero(ptr, malloc_usable_size(ptr));
}

void *mem_wiping_malloc(size_t size)
{
    return malloc(size);
}

void *mem_wiping_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void *mem_wiping_realloc(void *ptr, size_t size)
{
    if (ptr == NULL)
        return malloc(size);
    size_t room = malloc_usable_size(ptr);
    if (size <= room && size > room / 2)
        return ptr;
    void *moved = malloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, ptr, size < room ? size : room);
    wipe(ptr);
    free(ptr);
    return moved;
}

char *mem_wiping_strdup(const char *text)
{
    return strdup(text);
}

void mem_wiping_free(void *ptr)
{
    if (ptr == NULL)
        return;
    wipe(ptr);
    free(ptr);
}
