// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Internal snapshots that somebody has made while the guest stood on an
 * overlay of ours: they are in that file, RAM and all, and go with it.
 */
#ifndef BM_STEP_INTERNAL_SNAPSHOTS_H
#define BM_STEP_INTERNAL_SNAPSHOTS_H

#include "blockmig/job/job.h"

/* In the states that merge overlays or leave them behind. -BM_NEEDS_OPERATOR
 * with BM_EXIT_HELD: one holds a snapshot. */
int bm_internal_snapshots_check(const struct bm_job *job, struct bm_error *err);
/* The overlays on the new side of disk i alone. */
int bm_internal_snapshots_new(const struct bm_job *job, size_t i,
                              struct bm_error *err);
/* The uppermost source overlays alone; virsh finds a snapshot only there, so it
 * is looked for before another one is put on top. */
int bm_internal_snapshots_top(const struct bm_job *job, struct bm_error *err);

#endif
