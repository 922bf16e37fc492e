/*
 * check.h: cmocka with sentences for tests and checks for our own types.
 *
 *     TEST(str_cut_splits_at_the_first_separator) { ... CHECK_STR(head, "a"); }
 *     int main(void) { return RUN(UNIT(str_cut_splits_at_the_first_separator)); }
 */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

#define TEST(sentence) static void test_##sentence(void **state __attribute__((unused)))
#define UNIT(sentence) cmocka_unit_test(test_##sentence)
#define RUN(...)                                                                                                       \
    check_run((const struct CMUnitTest[]){ __VA_ARGS__ },                                                              \
        sizeof((const struct CMUnitTest[]){ __VA_ARGS__ }) / sizeof(struct CMUnitTest))

static inline int check_run(const struct CMUnitTest *tests, size_t count)
{
    return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}

#define CHECK(condition) assert_true(condition)
#define CHECK_INT(actual, expected) assert_int_equal((actual), (expected))

static inline void check_str(Str actual, const char *expected, const char *file, int line)
{
    if (str_eq(actual, str_from_c(expected)))
        return;
    print_error("expected \"%s\", got \"" STR_FMT "\"\n", expected, STR_ARG(actual));
    _fail(file, line);
}
#define CHECK_STR(actual, expected) check_str((actual), (expected), __FILE__, __LINE__)

static inline void check_ok(Err err, const char *file, int line)
{
    if (err.kind == ERR_NONE)
        return;
    print_error("unexpected error " STR_FMT ": " STR_FMT "\n", STR_ARG(err.code), STR_ARG(err.detail));
    for (size_t i = 0; i < err.fields.count; i++)
        print_error(
            "  " STR_FMT ": " STR_FMT "\n", STR_ARG(err.fields.items[i].pointer), STR_ARG(err.fields.items[i].detail));
    _fail(file, line);
}
#define CHECK_OK(err) check_ok((err), __FILE__, __LINE__)

static inline void check_err(Err err, const char *code, const char *file, int line)
{
    if (err_is(err, code))
        return;
    print_error("expected error %s, got %s\n", code, err.kind == ERR_NONE ? "success" : "another one");
    if (err.kind != ERR_NONE)
        print_error("  " STR_FMT ": " STR_FMT "\n", STR_ARG(err.code), STR_ARG(err.detail));
    _fail(file, line);
}
#define CHECK_ERR(err, code) check_err((err), (code), __FILE__, __LINE__)

/* The folder of shared input: $REEVE_SHARED, or ../shared beside the repository. */
static inline const char *shared_folder(void)
{
    const char *folder = getenv("REEVE_SHARED");
    return folder != NULL ? folder : "../shared";
}

#endif
