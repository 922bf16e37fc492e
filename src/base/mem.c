/* mem.c: malloc that cannot fail to its caller. See mem.h. */
#include "base/mem.h"

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
