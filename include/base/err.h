/*
 * err.h: the one way a function says that it could not do its work.
 *
 * A function that can fail returns Err and is CHECKED; ERR_NONE, which is zero, is success. Nobody ignores one, nobody
 * logs and returns one: only the dispatcher and a program's main log errors. `code` is stable and becomes the last
 * segment of a problem document's type; `detail` is one sentence for a person and never holds a secret.
 *
 *     TRY(project_get(tx, id, &project));
 *     if (project.archived) return FAIL(ERR_CONFLICT, "project-archived", "The project is archived.");
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/str.h"

#define CHECKED __attribute__((warn_unused_result))
#define PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))

typedef enum ErrKind {
    ERR_NONE = 0,
    ERR_INVALID,         /* 422 (400 for framing): the caller's input is wrong */
    ERR_UNAUTHENTICATED, /* 401 */
    ERR_FORBIDDEN,       /* 403 */
    ERR_NOT_FOUND,       /* 404: absent, or another's */
    ERR_METHOD,          /* 405 */
    ERR_CONFLICT,        /* 409 */
    ERR_PRECONDITION,    /* 412: If-Match does not match; 428 when it is missing (code "precondition-required") */
    ERR_TOO_LARGE,       /* 413 */
    ERR_LIMITED,         /* 429 */
    ERR_SEALED,          /* 422: "cannot open": forged, moved, edited or another's ciphertext */
    ERR_UNAVAILABLE,     /* 503: something we depend on; never the caller's fault */
    ERR_TIMEOUT,         /* 504 */
    ERR_INTERNAL,        /* 500 */
    ERR_KIND_COUNT,
} ErrKind;

/* One bad member of a body: where (JSON pointer) and what (a phrase that follows the member's name). */
typedef struct FieldErr {
    Str pointer;
    Str detail;
} FieldErr;

typedef struct FieldErrs {
    FieldErr *items;
    size_t count;
} FieldErrs;

typedef struct Err {
    ErrKind kind;
    Str code;          /* "key-name-taken" */
    Str detail;        /* "A key with this name already exists in the project." */
    FieldErrs fields;  /* only with ERR_INVALID */
    int retry_after_s; /* hint with ERR_LIMITED and ERR_UNAVAILABLE; 0 is none */
} Err;

#define OK ((Err){ .kind = ERR_NONE })
/* code and detail are string literals. */
#define FAIL(err_kind, err_code, err_detail)                                                                           \
    ((Err){ .kind = (err_kind), .code = STR(err_code), .detail = STR(err_detail) })
/* code is a literal; detail is a Str that outlives the error (arena or static). */
#define FAIL_STR(err_kind, err_code, err_detail)                                                                       \
    ((Err){ .kind = (err_kind), .code = STR(err_code), .detail = (err_detail) })

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        Err try_err_ = (expression);                                                                                   \
        if (try_err_.kind != ERR_NONE)                                                                                 \
            return try_err_;                                                                                           \
    } while (0)

static inline bool err_is(Err err, const char *code)
{
    return err.kind != ERR_NONE && str_eq(err.code, str_from_c(code));
}

const char *err_kind_name(ErrKind kind); /* "not-found" */

/* Ends the program with a message on stderr: broken invariants and no memory, never a stranger's input. */
_Noreturn void die(const char *format, ...) PRINTF(1, 2);

/* Cleanup attribute: _cleanup_(secret_release) Secret key = {0}; the function takes a pointer to the variable. */
#define _cleanup_(function) __attribute__((cleanup(function)))
/* Moves a value out of a variable that a cleanup attribute watches, leaving zero behind. */
#define TAKE(variable)                                                                                                 \
    __extension__({                                                                                                    \
        __typeof__(variable) take_ = (variable);                                                                       \
        __builtin_memset(&(variable), 0, sizeof(variable));                                                            \
        take_;                                                                                                         \
    })

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
