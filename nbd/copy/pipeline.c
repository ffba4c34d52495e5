// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/pipeline.h"

#include "nbd/base/cleanup.h"
#include "nbd/thread/worker-pool.h"
#include "nbd/copy/pipeline-worker.h"

#include <errno.h>
#include <string.h>

_Static_assert(BM_QUEUES_MAX <= BM_WORKER_POOL_MAX, "a worker for each lane");

/* One pipeline. */
struct task {
    const struct bm_pipeline *pipeline;
    unsigned workers;
    uint64_t total;            /* bytes to look at */
    atomic_uint_fast64_t done; /* bytes */
    struct bm_worker_pool pool;
    uint64_t next; /* offset to hand out; guarded by the worker pool's mutex */
};

/* The next span that holds something to look at. */
static bool claim(struct task *task, uint64_t *offset, uint64_t *end)
{
    uint64_t size = task->pipeline->source->size, length;

    BM_LOCK(&task->pool.mutex);
    *offset = task->next;
    if (*offset < size && task->pipeline->only) {
        if (!bm_bitmap_next(task->pipeline->only, false, *offset, size, offset,
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
    struct bm_pipeline_worker *queue = bm_pipeline_worker_new(
        task->pipeline, number, task->workers, &task->pool, &task->done, err);
    uint64_t offset, end;
    int rc = queue ? 0 : -EIO; /* err says what it is */

    while (rc == 0 && !bm_worker_pool_stopped(&task->pool) &&
           claim(task, &offset, &end))
        rc = bm_pipeline_worker_range(queue, offset, end, err);
    bm_pipeline_worker_free(queue);
    return rc;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Two writers of one file through the page cache only wait for its lock. What
 * must be digested, or waited for, is worth a second one. */
static bool only_copies_cached(const struct bm_pipeline *pipeline)
{
    return pipeline->target && !pipeline->digest && pipeline->source->local &&
           pipeline->target->local &&
           strcmp(pipeline->target->medium, "cache") == 0;
}

static unsigned count_workers(const struct bm_pipeline *pipeline)
{
    uint64_t spans = pipeline->source->size / BM_SPAN + 1;
    unsigned n = least(pipeline->source->queues, BM_QUEUES_MAX);

    if (pipeline->target)
        n = least(n, pipeline->target->queues);
    if (only_copies_cached(pipeline))
        n = 1;
    n = least(n, pipeline->queues ? pipeline->queues : bm_device_lanes());
    return spans < n ? (unsigned)spans : n;
}

static int tick(void *opaque, struct bm_error *err)
{
    struct task *task = opaque;
    const struct bm_pipeline *pipeline = task->pipeline;

    if (!pipeline->progress ||
        pipeline->progress(pipeline->opaque, atomic_load(&task->done),
                           task->total) == 0)
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot go on with %s",
                         pipeline->source->name);
}

int bm_pipeline_run(const struct bm_pipeline *pipeline, struct bm_error *err)
{
    struct task task = {
        .pipeline = pipeline,
        .workers = count_workers(pipeline),
        .total = pipeline->only ? bm_bitmap_count(pipeline->only)
                                : pipeline->source->size,
        .pool = {.work = work, .tick = tick, .opaque = &task},
    };
    int rc = bm_worker_pool_run(&task.pool, task.workers, err);

    if (rc != 0)
        return rc;
    if (pipeline->progress) /* a cancel comes too late now */
        (void)pipeline->progress(pipeline->opaque, task.total, task.total);
    return bm_device_intact(pipeline->source, err);
}
