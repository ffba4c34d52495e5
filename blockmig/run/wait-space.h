// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Waiting for room on a file system that has too little.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_RUN_WAIT_SPACE_H
#define BM_RUN_WAIT_SPACE_H

#include "blockmig/run/run.h"

/* A step has failed: for want of room? Then waits for some, a while. 0: try
 * again; -ENOSPC with BM_EXIT_HELD: there is none; else -ENOENT: that was not
 * the reason, err is as it was. */
int bm_space_wait(struct bm_run *run, struct bm_error *err);

#endif
