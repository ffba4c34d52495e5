// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the tests of images share: a folder of one's own, made before and
 * removed after each test, and commands of real tools run by the shell.
 */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include "nbd/base/error.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char fixture_dir[] = "/tmp/blockmig-unit-XXXXXX";

/* The tests of a suite run in a folder of their own. */
static inline void fixture_setup(void)
{
    cr_assert(mkdtemp(fixture_dir) && chdir(fixture_dir) == 0);
}

/* The exit status of a shell command. */
__attribute__((format(printf, 1, 2))) static inline int
fixture_status(const char *fmt, ...)
{
    char command[4096];
    va_list ap;
    int status;

    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define sh(...) cr_assert_eq(fixture_status(__VA_ARGS__), 0, "command failed")

/* The first word that a shell command prints, in a static buffer. */
__attribute__((format(printf, 1, 2))) static inline const char *
fixture_word(const char *fmt, ...)
{
    static char word[256];
    char command[4096];
    va_list ap;
    FILE *pipe;

    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    pipe = popen(command, "r");
    cr_assert(pipe && fscanf(pipe, "%255s", word) == 1, "%s", command);
    pclose(pipe);
    return word;
}

static inline void fixture_teardown(void)
{
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(fixture_status("rm -rf %s", fixture_dir), 0);
}

/* A path in the folder, in one of a few static buffers. */
static inline const char *at(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, 256, "%s/%s", fixture_dir, name);
    return path;
}

/* Success, else the error's line is the message. */
#define ok(rc, err)                                                            \
    do {                                                                       \
        char line_[2100];                                                      \
        int rc_ = (rc);                                                        \
        bm_error_line(&(err), line_, sizeof line_);                            \
        cr_assert_eq(rc_, 0, "%d: %s", rc_, line_);                            \
    } while (0)

#endif
