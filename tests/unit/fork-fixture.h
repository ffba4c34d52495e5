// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A second process of a test, of its own code. */
#ifndef TESTS_UNIT_FORK_FIXTURE_H
#define TESTS_UNIT_FORK_FIXTURE_H

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/*
 * As fork(2), but the child dies with the test, also when an assertion fails.
 * The child must not assert itself: Criterion does not know it, and what is
 * told of a failure would wait for an answer for ever.
 */
static inline pid_t fork_bound(void)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0 &&
        (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        _exit(1);
    return pid;
}

#endif
