// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Child programs (qemu-img, qemu-nbd) with deadlines. No shell is involved.
 * A child gets /dev/null as standard input, LC_ALL=C, no descriptor of ours,
 * and dies when we die (PR_SET_PDEATHSIG).
 */
#ifndef BM_NBD_EXEC_RUN_PROGRAM_H
#define BM_NBD_EXEC_RUN_PROGRAM_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Called now and then while a child runs, from the caller's thread. line is
 * the newest piece of standard output up to \r or \n, or NULL at a mere tick
 * (about every 200 ms). BM_CHILD_STILL stops the child until a later tick
 * returns 0. Any other value kills it; the run then fails with ECANCELED.
 */
#define BM_CHILD_STILL (-1)
typedef int (*bm_child_tick)(void *opaque, const char *line);

/*
 * Runs argv (argv[0] looked up in PATH) to its end, at most timeout_ms
 * (0: no limit, then tick must be given). On success *out, if out is given,
 * is its standard output (caller frees). *exit_status, if given, takes any
 * exit status as success (err then still tells the cause of a non-zero one);
 * else non-zero is an error whose cause is the last line of standard error.
 * -ETIMEDOUT: the child was killed.
 */
int bm_child_run(const char *const argv[], int timeout_ms, bm_child_tick tick,
                 void *opaque, int *exit_status, char **out,
                 struct bm_error *err);

#endif
