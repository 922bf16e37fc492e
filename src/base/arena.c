/* arena.c: chunks in a list, bump allocation, wiped on free. See arena.h. */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)(8 * 1024))
#define CHUNK_BYTES_MAX ((size_t)(1024 * 1024))
#define ALIGNMENT ((size_t)16)

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *next;
    size_t capacity;
    size_t used;
    _Alignas(16) unsigned char data[];
};

typedef struct Deferred Deferred;
struct Deferred {
    void (*fn)(void *arg);
    void *arg;
    Deferred *next;
};

struct Arena {
    Chunk *first; /* the newest */
    Deferred *deferred;
    size_t used;
    size_t next_bytes;
};

static Chunk *chunk_new(size_t capacity)
{
    Chunk *chunk = malloc(sizeof(Chunk) + capacity);
    if (chunk == NULL)
        die("out of memory (%zu bytes)", capacity);
    chunk->next = NULL;
    chunk->capacity = capacity;
    chunk->used = 0;
    return chunk;
}

Arena *arena_new(void)
{
    Arena *arena = calloc(1, sizeof(Arena));
    if (arena == NULL)
        die("out of memory (arena)");
    arena->first = chunk_new(CHUNK_BYTES);
    arena->next_bytes = CHUNK_BYTES * 2;
    return arena;
}

/* Frees all chunks but the oldest. */
static void drop_later_chunks(Arena *arena)
{
    while (arena->first->next != NULL) {
        Chunk *chunk = arena->first;
        arena->first = chunk->next;
        explicit_bzero(chunk->data, chunk->used);
        free(chunk);
    }
}

void arena_defer(Arena *arena, void (*fn)(void *arg), void *arg)
{
    Deferred *deferred = NEW(arena, Deferred, 1);
    *deferred = (Deferred){ .fn = fn, .arg = arg, .next = arena->deferred };
    arena->deferred = deferred;
}

void arena_clear(Arena *arena)
{
    for (Deferred *deferred = arena->deferred; deferred != NULL; deferred = deferred->next)
        deferred->fn(deferred->arg);
    arena->deferred = NULL;
    drop_later_chunks(arena);
    explicit_bzero(arena->first->data, arena->first->used);
    arena->first->used = 0;
    arena->used = 0;
    arena->next_bytes = CHUNK_BYTES * 2;
}

void arena_free(Arena **arena)
{
    if (*arena == NULL)
        return;
    arena_clear(*arena);
    free((*arena)->first);
    free(*arena);
    *arena = NULL;
}

size_t arena_used(const Arena *arena)
{
    return arena->used;
}

static void grow(Arena *arena, size_t size)
{
    Chunk *chunk = chunk_new(size > arena->next_bytes ? size : arena->next_bytes);
    chunk->next = arena->first;
    arena->first = chunk;
    if (arena->next_bytes < CHUNK_BYTES_MAX)
        arena->next_bytes *= 2;
}

void *arena_alloc(Arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        die("allocation of %zu x %zu bytes", count, size);
    bytes = (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (arena->first->capacity - arena->first->used < bytes)
        grow(arena, bytes);
    unsigned char *ptr = arena->first->data + arena->first->used;
    arena->first->used += bytes;
    arena->used += bytes;
    return memset(ptr, 0, bytes);
}

Str arena_str(Arena *arena, Str s)
{
    char *copy = arena_alloc(arena, s.len + 1, 1);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return str_n(copy, s.len);
}

const char *arena_c(Arena *arena, Str s)
{
    if (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)
        die("a text with an inner NUL cannot become a C string");
    return arena_str(arena, s).ptr;
}

Bytes arena_bytes(Arena *arena, Bytes b)
{
    return str_bytes(arena_str(arena, bytes_str(b)));
}

Str arena_vfmt(Arena *arena, const char *format, va_list args)
{
    if (format == NULL)
        die("a text without a format was asked for");
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    if (len < 0)
        die("bad format: %s", format);
    char *text = arena_alloc(arena, (size_t)len + 1, 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return str_n(text, (size_t)len);
}

Str arena_fmt(Arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Str text = arena_vfmt(arena, format, args);
    va_end(args);
    return text;
}
