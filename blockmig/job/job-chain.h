// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The chains of a job's disk: the old one, the new one, and the overlays of
 * ours on either. All chains and strings are borrowed from the job.
 *
 * Threads: whoever may read the job.
 */
#ifndef BM_JOB_JOB_CHAIN_H
#define BM_JOB_JOB_CHAIN_H

#include "blockmig/job/job.h"

/* The two freezes: of the old side, with a source overlay; of the new side,
 * with bm_job_freeze_overlay. */
enum bm_overlay_side { BM_OVERLAY_SOURCE, BM_OVERLAY_SWITCH };

/* What is frozen on the new side with: the switch overlay; of a pull the new
 * image itself. Borrowed. */
const char *bm_job_freeze_overlay(const struct bm_job *job,
                                  const struct bm_job_disk *disk);
/* The new image itself, which the guest will write to; what is below it in
 * `dest` follows it in memory. */
const struct bm_layer *bm_job_new_image(const struct bm_job_disk *disk);
/* The chain that it is the top of; strings borrowed. */
struct bm_chain bm_job_new_chain(const struct bm_job_disk *disk);
/* The old layer that the new one number k (0: the image, then disk->lower)
 * is made from. */
const struct bm_layer *bm_job_old(const struct bm_job_disk *disk, size_t k);
/* How many layers of the old chain the new image takes the place of. */
size_t bm_job_own(const struct bm_job_disk *disk);
/* Whether each layer of the old chain is one of the new chain: a single image,
 * or a chain that is kept. */
bool bm_job_chain_kept(const struct bm_job_disk *disk);
/* Whether any of the old layers that have a new image is kept. */
bool bm_job_keeps(const struct bm_job_disk *disk);
/* Whether the mirror overlay is on top of the image. */
bool bm_job_has_mirror_overlay(const struct bm_job_disk *disk);
/* The name of our overlay number n on the old side, from 1. Caller frees. */
char *bm_job_source_overlay(const struct bm_job *job,
                            const struct bm_job_disk *disk, int n);
/* The number of the uppermost one that the disk stands on; 0: it stands on
 * none. (A merge takes the lower ones away, so they need not begin with 1.) */
int bm_job_source_overlay_number(const struct bm_job_disk *disk);

/* The chain of a disk without its uppermost `skip` layers; strings borrowed,
 * the layers are those of the journal. */
struct bm_chain bm_job_below(const struct bm_job_disk *disk, int skip);

/* The old view number `round`: 0 is the base, n the source overlay n on those
 * below it; borrowed. */
struct bm_chain bm_job_old_view(const struct bm_job_disk *disk, int round);

#endif
