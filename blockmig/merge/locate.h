// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where a merge stands: found by the chain of the disk, not by the journal.
 *
 * Threads: the moving thread only.
 */
#ifndef BM_MERGE_LOCATE_H
#define BM_MERGE_LOCATE_H

#include "blockmig/run/context.h"

/* Where the layers of a merge stand. */
enum bm_merge_at {
    BM_MERGE_CHAIN,  /* in the chain of the disk */
    BM_MERGE_BRANCH, /* in none that a disk stands on */
    BM_MERGE_MERGED, /* the disk's chain has what took them, not them */
};
/* After bm_run_refresh. -ESTALE with BM_EXIT_HELD: somebody has changed the
 * chain. */
int bm_merge_look(struct bm_run *run, const struct bm_job_merge *merge,
                  enum bm_merge_at *at, struct bm_error *err);
/* Where that path stands in the chain; chain->n: nowhere. */
size_t bm_merge_position(const struct bm_chain *chain, const char *path);
/* Which of the job's disks. */
size_t bm_merge_disk(const struct bm_job *job,
                     const struct bm_job_merge *merge);

#endif
