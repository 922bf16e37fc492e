/* err.c: see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const KIND_NAMES[ERR_KIND_COUNT] = {
    [ERR_NONE] = "none",
    [ERR_INVALID] = "invalid",
    [ERR_UNAUTHENTICATED] = "unauthenticated",
    [ERR_FORBIDDEN] = "forbidden",
    [ERR_NOT_FOUND] = "not-found",
    [ERR_METHOD] = "method-not-allowed",
    [ERR_CONFLICT] = "conflict",
    [ERR_PRECONDITION] = "precondition-failed",
    [ERR_TOO_LARGE] = "too-large",
    [ERR_LIMITED] = "limited",
    [ERR_SEALED] = "sealed",
    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_TIMEOUT] = "timeout",
    [ERR_INTERNAL] = "internal",
};

const char *err_kind_name(ErrKind kind)
{
    return kind < ERR_KIND_COUNT ? KIND_NAMES[kind] : "unknown";
}

_Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("fatal: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
