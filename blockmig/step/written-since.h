// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whether somebody has written to a new image since we did.
 */
#ifndef BM_STEP_WRITTEN_SINCE_H
#define BM_STEP_WRITTEN_SINCE_H

#include "blockmig/job/job.h"

/* The new layer is as we want it now; and whether somebody has written to one
 * since, or to any. A block device is never touched. ours: nobody but us knows
 * of it yet, so not even a time that was set back goes unseen; later libvirt
 * changes owners and labels. */
void bm_target_keep_time(struct bm_job_disk *disk, size_t layer);
bool bm_target_written_since(const struct bm_job_disk *disk, size_t layer,
                             bool ours);
bool bm_target_any_written_since(const struct bm_job_disk *disk, bool ours);

#endif
