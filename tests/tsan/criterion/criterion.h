// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the unit tests use of Criterion, for TSAN=1 alone. Criterion's own
 * runner maps memory where ThreadSanitizer has its shadow, and cannot start.
 * Each test is a child; a failed assertion ends it, a failed expectation fails
 * it at its end.
 */
#ifndef TEST_TSAN_CRITERION_H
#define TEST_TSAN_CRITERION_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test_options {
    void (*init)(void), (*fini)(void);
    double timeout; /* seconds; 0: none */
};

struct test_entry {
    const char *suite, *name;
    void (*run)(void);
    struct test_options options;
    struct test_entry *next;
};

static struct test_entry *test_all, *test_suites;
static int test_failed;

#define TEST_REGISTER(list, id, suite_, name_, run_, ...)                      \
    static struct test_entry test_entry_##id = {.suite = suite_,               \
                                                .name = name_,                 \
                                                .run = run_,                   \
                                                .options = {__VA_ARGS__}};     \
    __attribute__((constructor)) static void test_register_##id(void)          \
    {                                                                          \
        test_entry_##id.next = list;                                           \
        list = &test_entry_##id;                                               \
    }                                                                          \
    struct test_entry

#define TestSuite(suite, ...)                                                  \
    TEST_REGISTER(test_suites, suite, #suite, "", NULL, ##__VA_ARGS__)
#define Test(suite, name_, ...)                                                \
    static void suite##_##name_##_impl(void);                                  \
    TEST_REGISTER(test_all, suite##_##name_, #suite, #name_,                   \
                  suite##_##name_##_impl, ##__VA_ARGS__);                      \
    static void suite##_##name_##_impl(void)

#define TEST_CHECK(fatal, condition, text, ...)                                \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, text);          \
            fprintf(stderr, " " __VA_ARGS__);                                  \
            fprintf(stderr, "\n");                                             \
            test_failed = 1;                                                   \
            if (fatal)                                                         \
                exit(1);                                                       \
        }                                                                      \
    } while (0)

#define TEST_OP(fatal, a, op, b, ...)                                          \
    TEST_CHECK(fatal, (a)op(b), #a " " #op " " #b, ##__VA_ARGS__)
#define TEST_STR(fatal, a, op, b, ...)                                         \
    TEST_CHECK(fatal, strcmp(a, b) op 0, "strings " #a " " #op " " #b,         \
               ##__VA_ARGS__)

#define cr_assert(c, ...) TEST_CHECK(1, c, #c, ##__VA_ARGS__)
#define cr_expect(c, ...) TEST_CHECK(0, c, #c, ##__VA_ARGS__)
#define cr_assert_not(c, ...) TEST_CHECK(1, !(c), "not " #c, ##__VA_ARGS__)
#define cr_expect_not(c, ...) TEST_CHECK(0, !(c), "not " #c, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) TEST_OP(1, a, ==, b, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...) TEST_OP(0, a, ==, b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) TEST_OP(1, a, !=, b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...) TEST_OP(0, a, !=, b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) TEST_OP(1, a, <, b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...) TEST_OP(0, a, <, b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) TEST_OP(1, a, <=, b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...) TEST_OP(0, a, <=, b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) TEST_OP(1, a, >, b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...) TEST_OP(0, a, >, b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) TEST_OP(1, a, >=, b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...) TEST_OP(0, a, >=, b, ##__VA_ARGS__)
#define cr_assert_null(p, ...) TEST_OP(1, p, ==, NULL, ##__VA_ARGS__)
#define cr_expect_null(p, ...) TEST_OP(0, p, ==, NULL, ##__VA_ARGS__)
#define cr_assert_not_null(p, ...) TEST_OP(1, p, !=, NULL, ##__VA_ARGS__)
#define cr_expect_not_null(p, ...) TEST_OP(0, p, !=, NULL, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) TEST_STR(1, a, ==, b, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) TEST_STR(0, a, ==, b, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) TEST_STR(1, a, !=, b, ##__VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) TEST_STR(0, a, !=, b, ##__VA_ARGS__)
#define cr_expect_str_empty(a, ...) TEST_STR(0, a, ==, "", ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                         \
    TEST_CHECK(1, memcmp(a, b, n) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_expect_float_eq(a, b, e, ...)                                       \
    TEST_CHECK(0, fabs((a) - (b)) <= (e), #a " is " #b, ##__VA_ARGS__)
#define cr_assert_fail(...) TEST_CHECK(1, false, "failed", ##__VA_ARGS__)
#define cr_skip(...) exit(0)
#define cr_skip_test(...) exit(0)

static inline const struct test_options *test_suite_of(const char *suite)
{
    static const struct test_options none;

    for (struct test_entry *s = test_suites; s; s = s->next)
        if (!strcmp(s->suite, suite))
            return &s->options;
    return &none;
}

/* In the child. */
static inline void test_run(const struct test_entry *test)
{
    const struct test_options *suite = test_suite_of(test->suite);
    void (*init)(void) = test->options.init ? test->options.init : suite->init;
    void (*fini)(void) = test->options.fini ? test->options.fini : suite->fini;

    if (init)
        init();
    test->run();
    if (fini)
        fini();
    exit(test_failed);
}

int main(void)
{
    int failed = 0, passed = 0;

    for (struct test_entry *test = test_all; test; test = test->next) {
        int status = 0;
        pid_t child = fork();

        if (child == 0)
            test_run(test);
        if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
            fprintf(stderr, "%s::%s failed, status %d\n", test->suite,
                    test->name, status);
            failed++;
        } else {
            passed++;
        }
    }
    printf("passed: %d, failed: %d\n", passed, failed);
    return failed ? 1 : 0;
}

#endif
