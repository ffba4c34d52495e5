// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Waiting for libvirt's block jobs of all disks of a running job.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_RUN_WAIT_BLOCKJOBS_H
#define BM_RUN_WAIT_BLOCKJOBS_H

#include "blockmig/run/run.h"
#include "snapshot/blockjob/blockjob.h"

/* Waits until the job of every disk (jobs[i] with an empty target: none) is
 * `wanted`. ECANCELED when a cancel came and is allowed; EIO when one failed
 * or no byte moved for five minutes; ECONNRESET: the connection is lost;
 * ETIMEDOUT: a store does not answer. */
int bm_run_wait_jobs(struct bm_run *run, struct bm_blockjob *jobs,
                     enum bm_blockjob_state wanted, bool can_cancel,
                     struct bm_error *err);
/* The same until one of them has completed; a cancel is allowed. */
int bm_run_wait_first(struct bm_run *run, struct bm_blockjob *jobs,
                      struct bm_error *err);

#endif
