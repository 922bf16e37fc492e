/* check.h: assertions of the snapshot tests. */
#ifndef TESTS_SNAPSHOT_CHECK_H
#define TESTS_SNAPSHOT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static inline void check_ok_(Err err, const char *file, int line)
{
    if (err.kind != ERR_NONE) {
        print_error("%s:%d: expected success, got " STR_FMT ": " STR_FMT "\n", file, line, STR_ARG(err.code),
            STR_ARG(err.detail));
        _fail(file, line);
    }
}

static inline void check_err_(const char *code, Err err, const char *file, int line)
{
    if (!err_is(err, code)) {
        print_error("%s:%d: expected %s, got " STR_FMT ": " STR_FMT "\n", file, line, code,
            STR_ARG(err.kind == ERR_NONE ? STR("success") : err.code), STR_ARG(err.detail));
        _fail(file, line);
    }
}

static inline void check_str_(const char *expected, Str actual, const char *file, int line)
{
    if (!str_eq(str_from_c(expected), actual)) {
        print_error("%s:%d: expected \"%s\", got \"" STR_FMT "\"\n", file, line, expected, STR_ARG(actual));
        _fail(file, line);
    }
}

#define assert_ok(expression) check_ok_((expression), __FILE__, __LINE__)
#define assert_err(code, expression) check_err_((code), (expression), __FILE__, __LINE__)
#define assert_str_is(expected, actual) check_str_((expected), (actual), __FILE__, __LINE__)

#endif
