// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The work that strategies share. Each step looks at what is there and can be
 * done again; it is only started after the state that it belongs to is in the
 * journal.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_STEP_STEP_H
#define BM_STEP_STEP_H

#include "blockmig/run/run.h"

/* The stamp: with it two state stores see each other, and a job is found again
 * when its store is lost. */
int bm_step_stamp(struct bm_run *run, struct bm_error *err);
/* Makes the target files and stamps the domain. */
int bm_step_allocate(struct bm_run *run, struct bm_error *err);
/* Whether the file of the new layer (0: the image) was made by this job: by its
 * identity; or, killed between making it and writing that down, an empty one
 * that is younger than the job. */
bool bm_target_is_ours(const struct bm_job *job, const struct bm_job_disk *disk,
                       size_t layer);
/* The names of the new layers still lead to the files that we made, which QEMU
 * may have open: -ESTALE with status BM_EXIT_HELD when one does not. */
int bm_target_check(const struct bm_job_disk *disk, struct bm_error *err);
/* libvirt copies each disk, or (shallow) its uppermost layer, to `dest`: until
 * all copies are ready. */
int bm_step_mirror(struct bm_run *run, bool shallow, struct bm_error *err);
/* The switch of a running guest: pivots what is ready, in the window. */
int bm_step_switch(struct bm_run *run, struct bm_error *err);
/* -BM_NEEDS_OPERATOR, with what can be done: the proof cannot be made any more.
 */
int bm_switch_unclean(struct bm_run *run, struct bm_error *err);
/* Compares each disk's source chain with its target; both must be frozen or
 * unused. -EBADMSG with status BM_EXIT_PROOF: they differ. */
int bm_step_prove(struct bm_run *run, struct bm_error *err);
/* The same for one disk. */
int bm_prove_disk(struct bm_run *run, struct bm_job_disk *disk,
                  struct bm_error *err);
/* Sees to it that live and saved XML name the target, deletes the source if
 * asked to and allowed, takes the stamp off. */
int bm_step_release(struct bm_run *run, struct bm_error *err);
/* Forgets the checkpoints that the new images cannot hold, if that was asked
 * for. */
int bm_step_drop_checkpoints(struct bm_run *run, struct bm_error *err);
/* Deletes the old images of a disk that have new ones, from the top, since each
 * is used by the one above it: the first that cannot be deleted keeps those
 * below it. -EBUSY: it is used, or not that file any more. */
int bm_step_delete_source(struct bm_run *run, struct bm_job_disk *disk,
                          struct bm_error *err);
/* Before the switch: ends our block jobs, removes what we made. */
int bm_step_roll_back(struct bm_run *run, struct bm_error *err);
/* The same; `first` is what a strategy does before a disk is touched. */
int bm_step_roll_back_after(struct bm_run *run,
                            int (*first)(struct bm_run *run,
                                         struct bm_error *err),
                            struct bm_error *err);

#endif
