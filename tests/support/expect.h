/*
 * expect.h: cmocka with what it includes, and assertions about Err. For unit tests: needs no library of fixtures.
 */
#ifndef SUPPORT_EXPECT_H
#define SUPPORT_EXPECT_H

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void test_##name(void **state __attribute__((unused)))
#define RUN(name) cmocka_unit_test(test_##name)

#define expect_ok(expression)                                                                                          \
    do {                                                                                                               \
        Err expect_err_ = (expression);                                                                                \
        if (expect_err_.kind != ERR_NONE)                                                                              \
            fail_msg(                                                                                                  \
                "%s: " STR_FMT ": " STR_FMT, #expression, STR_ARG(expect_err_.code), STR_ARG(expect_err_.detail));     \
    } while (0)

#define expect_err(expression, expected_code)                                                                          \
    do {                                                                                                               \
        Err expect_err_ = (expression);                                                                                \
        if (expect_err_.kind == ERR_NONE)                                                                              \
            fail_msg("%s: expected %s, it went well", #expression, expected_code);                                     \
        if (!err_is(expect_err_, expected_code))                                                                       \
            fail_msg("%s: expected %s, got " STR_FMT ": " STR_FMT, #expression, expected_code,                         \
                STR_ARG(expect_err_.code), STR_ARG(expect_err_.detail));                                               \
    } while (0)

#define expect_str(actual, expected)                                                                                   \
    do {                                                                                                               \
        Str expect_actual_ = (actual), expect_expected_ = (expected);                                                  \
        if (!str_eq(expect_actual_, expect_expected_))                                                                 \
            fail_msg("%s: expected \"" STR_FMT "\", got \"" STR_FMT "\"", #actual, STR_ARG(expect_expected_),          \
                STR_ARG(expect_actual_));                                                                              \
    } while (0)

/* Where the shared material lies: $REEVE_SHARED, else ../shared. */
static inline const char *shared_folder(void)
{
    const char *folder = getenv("REEVE_SHARED");
    return folder != NULL ? folder : "../shared";
}

#endif
