// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Starting a program that cannot outlive us. Children are forked by one
 * thread that never exits, because PR_SET_PDEATHSIG fires when the *thread*
 * that forked ends, not the process.
 *
 * Threads: may be called from any thread.
 */
#ifndef BM_NBD_EXEC_SPAWN_H
#define BM_NBD_EXEC_SPAWN_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct bm_spawn {
    const char *const *argv; /* argv[0] is looked up in PATH */
    int out, errs;           /* descriptors for 1 and 2; -1: /dev/null */
    int listener;            /* handed on as systemd does it, or -1 */
};

/* A running child; pid 0: none. */
struct bm_process {
    pid_t pid;
    int pidfd; /* readable once it has ended */
};
#define BM_PROCESS_INIT                                                        \
    {                                                                          \
        0, -1                                                                  \
    }

/*
 * Standard input is /dev/null, the locale C, signals are as in a new
 * process, no other descriptor is open, the child is in a process group of
 * its own (a Ctrl-C at our terminal is ours to judge). A program that cannot
 * be executed is an error here, not an exit status later.
 */
int bm_spawn_program(const struct bm_spawn *how, struct bm_process *out,
                     struct bm_error *err);

/* Whether it ends within timeout_ms; it is not reaped yet. */
bool bm_process_ended(const struct bm_process *process, int timeout_ms);

/* Reaps an ended child: the wait status, as waitpid(2) gives it. */
int bm_process_reap(struct bm_process *process);

/* SIGTERM, grace_ms later SIGKILL, to its whole group, and reaps it. With
 * grace_ms 0 SIGKILL at once. No process: nothing is done. */
void bm_process_end(struct bm_process *process, int grace_ms);

#endif
