// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Internal snapshots that somebody has made while the guest stood on an
 * overlay of ours: they are in that file, RAM and all, and go with it.
 */
#ifndef BM_INNER_H
#define BM_INNER_H

#include "blockmig/job.h"

/* In the states that merge overlays or leave them behind. -BM_STUCK with
 * BM_EXIT_HELD: one holds a snapshot. */
int bm_inner_check(const struct bm_job *job, struct bm_error *err);
/* The fronts alone; virsh finds a snapshot only in the uppermost, so it is
 * looked for before another one is put on top. */
int bm_inner_fronts(const struct bm_job *job, struct bm_error *err);

#endif
