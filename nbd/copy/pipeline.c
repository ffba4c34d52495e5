// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/pipeline.h"

#include "nbd/base/cleanup.h"
#include "nbd/thread/worker-pool.h"
#include "nbd/copy/pipeline-worker.h"

#include <errno.h>
#include <string.h>

_Static_assert(BM_LANES_MAX <= BM_WORKER_POOL_MAX, "a worker for each lane");

/* One flow. */
struct task {
    const struct bm_flow *flow;
    unsigned workers;
    uint64_t total;            /* bytes to look at */
    atomic_uint_fast64_t done; /* bytes */
    struct bm_worker_pool pool;
    uint64_t next; /* offset to hand out; guarded by the worker pool's mutex */
};

/* The next span that holds something to look at. */
static bool claim(struct task *task, uint64_t *offset, uint64_t *end)
{
    uint64_t size = task->flow->source->size, length;

    BM_LOCK(&task->pool.mutex);
    *offset = task->next;
    if (*offset < size && task->flow->only) {
        if (!bm_bitmap_next(task->flow->only, false, *offset, size, offset,
                            &length))
            *offset = size;
        *offset -= *offset % BM_DIGEST_BLOCK;
    }
    *end = size - *offset > BM_SPAN ? *offset + BM_SPAN : size;
    task->next = *end;
    return *offset < size;
}

static int work(void *opaque, unsigned number, struct bm_error *err)
{
    struct task *task = opaque;
    struct bm_flow_lane *lane = bm_flow_lane_new(
        task->flow, number, task->workers, &task->pool, &task->done, err);
    uint64_t offset, end;
    int rc = lane ? 0 : -EIO; /* err says what it is */

    while (rc == 0 && !bm_worker_pool_stopped(&task->pool) &&
           claim(task, &offset, &end))
        rc = bm_flow_lane_span(lane, offset, end, err);
    bm_flow_lane_free(lane);
    return rc;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Two writers of one file through the page cache only wait for its lock. What
 * must be digested, or waited for, is worth a second one. */
static bool only_copies_cached(const struct bm_flow *flow)
{
    return flow->target && !flow->digest && flow->source->local &&
           flow->target->local && strcmp(flow->target->medium, "cache") == 0;
}

static unsigned count_workers(const struct bm_flow *flow)
{
    uint64_t spans = flow->source->size / BM_SPAN + 1;
    unsigned n = least(flow->source->lanes, BM_LANES_MAX);

    if (flow->target)
        n = least(n, flow->target->lanes);
    if (only_copies_cached(flow))
        n = 1;
    n = least(n, flow->lanes ? flow->lanes : bm_device_lanes());
    return spans < n ? (unsigned)spans : n;
}

static int tick(void *opaque, struct bm_error *err)
{
    struct task *task = opaque;
    const struct bm_flow *flow = task->flow;

    if (!flow->progress ||
        flow->progress(flow->opaque, atomic_load(&task->done), task->total) ==
            0)
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot go on with %s",
                         flow->source->name);
}

int bm_flow_run(const struct bm_flow *flow, struct bm_error *err)
{
    struct task task = {
        .flow = flow,
        .workers = count_workers(flow),
        .total = flow->only ? bm_bitmap_count(flow->only) : flow->source->size,
        .pool = {.work = work, .tick = tick, .opaque = &task},
    };
    int rc = bm_worker_pool_run(&task.pool, task.workers, err);

    if (rc != 0)
        return rc;
    if (flow->progress) /* a cancel comes too late now */
        (void)flow->progress(flow->opaque, task.total, task.total);
    return bm_device_intact(flow->source, err);
}
