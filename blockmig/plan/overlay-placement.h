// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where the source overlays of a staged move stand: on the source wherever that
 * takes writes and has room, since then no target can touch the guest before
 * the switch. On the target from the freeze to the end the guest needs both
 * stores, and going back needs a source that takes writes again.
 */
#ifndef BM_PLAN_OVERLAY_PLACEMENT_H
#define BM_PLAN_OVERLAY_PLACEMENT_H

#include "blockmig/plan/move-plan.h"

/* Bytes that the source overlays of a disk shall find at least: what a guest
 * writes is not known before, so this is its whole disk, and not more than 512
 * MiB. */
uint64_t bm_place_reserve(const struct bm_job_disk *disk);

/*
 * Sets job->on_target and job->place_why from the options; the job's disks are
 * chosen. obstacle (of size bytes): why no source overlays can stand there, ""
 * when they can. -ENOMEM.
 */
int bm_place_choose(struct bm_job *job, const struct bm_datastore *store,
                    const struct bm_move_options *options, char *obstacle,
                    size_t size, struct bm_error *err);

#endif
