/*
 * arena.h: memory that belongs to one request, command or exchange.
 *
 * Allocation is zeroed and cannot fail to the caller: no memory ends the process, and what a stranger can make us
 * allocate is bounded at the edge. Freeing wipes what was used.
 *
 *     _cleanup_(arena_free) Arena *arena = arena_new();
 *     Row *rows = NEW(arena, Row, 10);
 *     Str path = arena_fmt(arena, "/v1/projects/" STR_FMT, STR_ARG(id));
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"

#include <stdarg.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena **arena); /* wipes and frees; sets NULL; NULL inside is fine */
void arena_clear(Arena *arena); /* wipes; keeps its first chunk for the next request */
size_t arena_used(const Arena *arena);

/* count zeroed objects of size bytes, aligned for any type; dies on overflow. */
void *arena_alloc(Arena *arena, size_t count, size_t size);
#define NEW(arena, Type, count) ((Type *)arena_alloc((arena), (count), sizeof(Type)))

Str arena_str(Arena *arena, Str s);       /* a copy, NUL-terminated behind its end */
const char *arena_c(Arena *arena, Str s); /* the same as a C string; dies on an inner NUL */
Bytes arena_bytes(Arena *arena, Bytes b);
Str arena_fmt(Arena *arena, const char *format, ...) PRINTF(2, 3);
Str arena_vfmt(Arena *arena, const char *format, va_list args) PRINTF(2, 0);

/* fn(arg) when the arena is cleared or freed, last added first: for what is not the arena's own memory. */
void arena_defer(Arena *arena, void (*fn)(void *arg), void *arg);

/* An error whose detail is made in the arena; code is a literal. */
#define FAIL_FMT(arena, err_kind, err_code, ...) FAIL_STR(err_kind, err_code, arena_fmt((arena), __VA_ARGS__))

#endif
