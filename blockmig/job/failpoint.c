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
    static const char *wanted;
    size_t length;

    if (!wanted)
        wanted = getenv("BLOCKMIG_STOP_AT");
    length = wanted ? strcspn(wanted, ",") : 0;
    if (!length || strlen(name) != length || strncmp(wanted, name, length) != 0)
        return;
    wanted += length + (wanted[length] == ',');
    (void)kill(getpid(), SIGSTOP);
}
