// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One worker's part of a pipeline: its walk over the spans it is given, by
 * their extents, as fast as the rate limit lets it. For pipeline.c.
 *
 * Threads: each belongs to one thread.
 */
#ifndef BM_NBD_COPY_PIPELINE_WORKER_H
#define BM_NBD_COPY_PIPELINE_WORKER_H

#include "nbd/thread/worker-pool.h"
#include "nbd/copy/pipeline.h"

struct bm_pipeline_worker;

/* number: of so many workers. worker pool: when it stops, the work ends with
 * -ECANCELED. done: bytes are added to it. Both must outlive the queue, as
 * pipeline does. */
struct bm_pipeline_worker *
bm_pipeline_worker_new(const struct bm_pipeline *pipeline, unsigned number,
                       unsigned workers, const struct bm_worker_pool *pool,
                       atomic_uint_fast64_t *done, struct bm_error *err);
void bm_pipeline_worker_free(
    struct bm_pipeline_worker *queue); /* accepts NULL */

/* All of [offset, end), whole blocks: when it returns, nothing is in flight. */
int bm_pipeline_worker_range(struct bm_pipeline_worker *queue, uint64_t offset,
                             uint64_t end, struct bm_error *err);

#endif
