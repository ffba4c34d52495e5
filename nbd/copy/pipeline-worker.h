// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One worker's part of a flow: its walk over the spans it is given, by their
 * extents, as fast as the throttle lets it. For pipeline.c.
 *
 * Threads: each belongs to one thread.
 */
#ifndef BM_NBD_COPY_PIPELINE_WORKER_H
#define BM_NBD_COPY_PIPELINE_WORKER_H

#include "nbd/thread/worker-pool.h"
#include "nbd/copy/pipeline.h"

struct bm_flow_lane;

/* number: of so many workers. worker pool: when it stops, the work ends with
 * -ECANCELED. done: bytes are added to it. Both must outlive the lane, as flow
 * does. */
struct bm_flow_lane *bm_flow_lane_new(const struct bm_flow *flow,
                                      unsigned number, unsigned workers,
                                      const struct bm_worker_pool *pool,
                                      atomic_uint_fast64_t *done,
                                      struct bm_error *err);
void bm_flow_lane_free(struct bm_flow_lane *lane); /* accepts NULL */

/* All of [offset, end), whole blocks: when it returns, nothing is in flight. */
int bm_flow_lane_span(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                      struct bm_error *err);

#endif
