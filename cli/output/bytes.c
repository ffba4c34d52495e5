// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/bytes.h"

#include "cli/output/output.h"
#include "nbd/base/units.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    stop = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool cli_stop_asked(void)
{
    return stop;
}

int cli_bytes_progress(const char *phase, uint64_t done, uint64_t total)
{
    static const char *last;
    static int64_t start;

    if (!last || strcmp(last, phase) != 0) {
        last = phase;
        start = bm_now_ms();
    }
    cli_phase_progress(phase, done, total, bm_now_ms() - start);
    return stop;
}
