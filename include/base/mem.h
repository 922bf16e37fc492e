/*
 * mem.h: long-lived memory outside an arena: zeroed, counted by its caller, and no memory ends the process.
 *
 * For objects whose life is neither a request's nor a command's (connections, timers, posts between threads). What a
 * stranger can make us allocate this way has its limit at the edge, as everywhere.
 *
 *     Timer *timer = MEM_NEW(Timer, 1);
 *     ...
 *     mem_free(timer);
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/err.h"

/* count zeroed objects of size bytes; dies on overflow and on no memory. */
void *mem_alloc(size_t count, size_t size);
#define MEM_NEW(Type, count) ((Type *)mem_alloc((count), sizeof(Type)))

/* The same block with room for count objects; what is new is zeroed. */
void *mem_grow(void *ptr, size_t count_old, size_t count, size_t size);
void mem_free(void *ptr); /* NULL is fine */

/* malloc's family for libraries that handle secrets in memory we do not see: they may return NULL, and what is freed or
 * moved away from is wiped first. */
void *mem_wiping_malloc(size_t size);
void *mem_wiping_calloc(size_t count, size_t size);
void *mem_wiping_realloc(void *ptr, size_t size);
char *mem_wiping_strdup(const char *text);
void mem_wiping_free(void *ptr);

#endif
