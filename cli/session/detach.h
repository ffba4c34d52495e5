// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * --detach. The fork comes first, before the guard, a thread or a connection
 * exist; the parent waits on a pipe until the child has claimed the job and
 * preflight has passed, or has failed.
 */
#ifndef CLI_SESSION_DETACH_H
#define CLI_SESSION_DETACH_H

#include "cli/options/invocation.h"

/* Runs `run` in a session of its own. In the parent: the job's ID is printed
 * and 0 returned, or the child's error. In the child: what run returned. */
int cli_detach(struct cli *cli, cli_run run, struct bm_error *err);

/* The same, but the ID (BM_JOB_ID_LEN bytes) is given to the parent, which
 * returns 1. */
int cli_detach_id(struct cli *cli, cli_run run, char *id, struct bm_error *err);

/* In the child: the parent is told why not. Once, and then the child ends. */
void cli_detach_failed(const struct cli *cli, const struct bm_error *err)
    __attribute__((noreturn));

/* In the child: from now on output goes to DIR/ID.log and the parent is told
 * that all is well. Nothing without --detach. */
int cli_detach_ready(struct cli *cli, const char *dir, const char *id,
                     struct bm_error *err);

#endif
