// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What proofs of merges share: the layers, or what took them, read in a thread
 * of a low priority, at the pace of the job.
 */
#ifndef BM_MERGE_LAYER_READER_H
#define BM_MERGE_LAYER_READER_H

#include "blockmig/datastore/liveness.h"
#include "blockmig/merge/merge.h"
#include "blockmig/image/frozen-chain.h"
#include "nbd/thread/background.h"
#include "nbd/copy/scan.h"

#include <stdatomic.h>

struct bm_merge_reading {
    struct bm_run *run;
    struct bm_job_merge *merge;
    int (*work)(struct bm_merge_reading *r);
    char
        *before; /* BM_PROOF_FULL: the file of the digests of the view before */
    struct bm_rate_limit *rate_limit;
    struct bm_stall_timer stall; /* of the moving thread */
    atomic_uint_fast64_t moved;  /* bytes */
    unsigned queues;
    bool beside;      /* no locks: the base is written to meanwhile */
    bool ahead;       /* the moving thread does other things meanwhile */
    atomic_bool stop; /* of what runs ahead */
    struct bm_background_task *gentle; /* between begin and end */
    struct bm_error error;             /* of the work */
    /* What the layers hold; owned. */
    struct bm_manifest *manifest;
    struct bm_bitmap *only;
    struct bm_bitmap *parts; /* of those, what they hold exactly; or NULL */
};

/* NULL: out of memory. */
struct bm_merge_reading *
bm_merge_reading_new(struct bm_run *run, struct bm_job_merge *merge,
                     int (*work)(struct bm_merge_reading *r),
                     struct bm_error *err);
/* Accepts NULL. Not when bm_background_left. */
void bm_merge_reading_free(struct bm_merge_reading *r);
int bm_merge_reading_no_memory(const struct bm_merge_reading *r,
                               struct bm_error *err);

/* Moving thread: the work, until it has ended. */
int bm_merge_reading_run(struct bm_merge_reading *r, struct bm_error *err);
/* The same in two halves, between which the moving thread does other things. */
int bm_merge_reading_begin(struct bm_merge_reading *r, struct bm_error *err);
int bm_merge_reading_end(struct bm_merge_reading *r, struct bm_error *err);

/* The file of `before`, beside the journal. Caller frees; NULL: out of memory.
 */
char *bm_merge_reading_before(const struct bm_run *run,
                              const struct bm_job_merge *merge);

/* In the thread of the work: the chain without its `skip` uppermost layers, of
 * which `depth` are shown, 0: all of it. */
int bm_merge_reading_open(const struct bm_merge_reading *r, size_t skip,
                          unsigned depth, struct bm_frozen_chain *view,
                          struct bm_error *err);
/* The progress of what r->work reads, as of struct bm_pipeline. */
int bm_merge_reading_progress(void *opaque, uint64_t done, uint64_t total);
struct bm_scan bm_merge_reading_scan(struct bm_merge_reading *r,
                                     const struct bm_frozen_chain *view,
                                     const struct bm_bitmap *only);

#endif
