// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/point.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bm_point(const char *name)
{
    static int stopped; /* once: a point in a loop must not stop again */
    const char *wanted = getenv("BLOCKMIG_STOP_AT");

    if (wanted && !stopped && !strcmp(wanted, name)) {
        stopped = 1;
        (void)kill(getpid(), SIGSTOP);
    }
}
