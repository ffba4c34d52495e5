// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/failpoint.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bm_failpoint(const char *name)
{
    /* at each once: a point in a loop must not stop again */
    static const char *match;
    size_t length;

    if (!match)
        match = getenv("BLOCKMIG_STOP_AT");
    length = match ? strcspn(match, ",") : 0;
    if (!length || strlen(name) != length || strncmp(match, name, length) != 0)
        return;
    match += length + (match[length] == ',');
    (void)kill(getpid(), SIGSTOP);
}
