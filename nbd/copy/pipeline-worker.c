// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/pipeline-worker.h"

#include "nbd/copy/pipeline-queue.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCK BM_DIGEST_BLOCK
#define RUNS 128 /* extents fetched at a time */
#define WAIT_MS 100

struct bm_pipeline_worker {
    const struct bm_pipeline *pipeline;
    unsigned number, workers;
    const struct bm_worker_pool *pool;
    atomic_uint_fast64_t *done;
    struct bm_pipeline_ring *ring;
    int64_t since; /* bm_now_ns, when it began or had last waited */
};

struct bm_pipeline_worker *
bm_pipeline_worker_new(const struct bm_pipeline *pipeline, unsigned number,
                       unsigned workers, const struct bm_worker_pool *pool,
                       atomic_uint_fast64_t *done, struct bm_error *err)
{
    struct bm_pipeline_worker *queue = calloc(1, sizeof *queue);

    if (!queue) {
        bm_fail_errno(err, ENOMEM, "cannot read %s", pipeline->source->name);
        return NULL;
    }
    queue->pipeline = pipeline;
    queue->number = number;
    queue->workers = workers;
    queue->pool = pool;
    queue->done = done;
    queue->ring = bm_pipeline_ring_new(pipeline, number, done, err);
    if (queue->ring)
        return queue;
    bm_pipeline_worker_free(queue);
    return NULL;
}

void bm_pipeline_worker_free(struct bm_pipeline_worker *queue)
{
    if (!queue)
        return;
    bm_pipeline_ring_free(queue->ring);
    free(queue);
}

static int stopped(const struct bm_pipeline_worker *queue, struct bm_error *err)
{
    if (!bm_worker_pool_stopped(queue->pool))
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot read %s",
                         queue->pipeline->source->name);
}

/* Waits for its turn; a cancel or a new rate is seen soon. */
static int wait_turn(struct bm_pipeline_worker *queue, size_t len,
                     struct bm_error *err)
{
    struct bm_rate_limit *rate_limit = queue->pipeline->rate_limit;
    int rc = 0, ms = bm_rate_limit_take(rate_limit, len);

    while (rc == 0 && ms > 0) {
        bm_sleep_ms(ms < WAIT_MS ? ms : WAIT_MS);
        rc = stopped(queue, err);
        ms = bm_rate_limit_take(rate_limit, 0);
    }
    return rc;
}

/* To wait for one's turn is rest as well. */
static int pace(struct bm_pipeline_worker *queue, size_t len,
                struct bm_error *err)
{
    struct bm_rate_limit *rate_limit = queue->pipeline->rate_limit;
    int64_t now, until;
    int rc;

    if (!rate_limit)
        return 0;
    now = bm_now_ns();
    until = now +
            bm_rate_limit_rest(rate_limit, now - queue->since, queue->workers);
    rc = wait_turn(queue, len, err);
    bm_sleep_ns(until - bm_now_ns());
    queue->since = bm_now_ns();
    return rc;
}

/* Between two steps: is it to stop, has the owner something to do? */
static int breathe(struct bm_pipeline_worker *queue, struct bm_error *err)
{
    const struct bm_pipeline *pipeline = queue->pipeline;
    int rc = stopped(queue, err);

    return rc || !pipeline->pause
               ? rc
               : pipeline->pause(pipeline->opaque, queue->number, err);
}

/* What is asked for at a time may become less while it runs. */
static size_t step(const struct bm_pipeline_worker *queue)
{
    struct bm_rate_limit *rate_limit = queue->pipeline->rate_limit;
    size_t chunk = bm_pipeline_ring_chunk(queue->ring);
    size_t most = rate_limit ? bm_rate_limit_request(rate_limit) : 0;

    if (!most || most >= chunk)
        return chunk;
    return most < BLOCK ? BLOCK : most - most % BLOCK;
}

static int read_run(struct bm_pipeline_worker *queue, uint64_t offset,
                    uint64_t end, struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && offset < end) {
        size_t chunk = step(queue);
        uint64_t len = chunk - offset % chunk; /* chunks stay aligned */

        if (len > end - offset)
            len = end - offset;
        rc = breathe(queue, err);
        if (rc == 0 && bm_pipeline_ring_full(queue->ring)) {
            rc = bm_pipeline_ring_step(queue->ring, err);
            continue;
        }
        if (rc == 0)
            rc = pace(queue, (size_t)len, err);
        if (rc == 0)
            rc = bm_pipeline_ring_ask(queue->ring, offset, (size_t)len, err);
        offset += len;
    }
    return rc;
}

static int zero_run(struct bm_pipeline_worker *queue, uint64_t offset,
                    uint64_t end, struct bm_error *err)
{
    int rc = breathe(queue, err);

    if (rc == 0 && end > offset) {
        rc = queue->pipeline->zeroes(queue->pipeline->opaque, queue->number,
                                     offset, end - offset, err);
        atomic_fetch_add_explicit(queue->done, end - offset,
                                  memory_order_relaxed);
    }
    return rc;
}

/* Cuts an extent to whole blocks: a block is zero only if all of it is. *at is
 * where the work stands, which may be within the extent. */
static int add_extent(struct bm_pipeline_worker *queue, uint64_t *at,
                      const struct bm_extent *run, uint64_t end,
                      struct bm_error *err)
{
    uint64_t from = run->offset - run->offset % BLOCK;
    uint64_t to = run->offset + run->length;
    int rc = 0;

    if (run->zero)
        return 0;
    to += (BLOCK - to % BLOCK) % BLOCK;
    if (to > end)
        to = end;
    if (from < *at)
        from = *at;
    rc = zero_run(queue, *at, from, err);
    if (rc == 0)
        rc = read_run(queue, from, to, err);
    *at = to > *at ? to : *at;
    return rc;
}

static int by_extents(struct bm_pipeline_worker *queue, uint64_t offset,
                      uint64_t end, struct bm_error *err)
{
    struct bm_extent runs[RUNS];
    uint64_t at = offset;
    size_t n;
    int rc = 0;

    while (rc == 0 && offset < end) {
        rc = bm_device_extents(queue->pipeline->source, queue->number,
                               BM_MAP_ZERO, offset, end - offset, runs, RUNS,
                               &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = add_extent(queue, &at, &runs[i], end, err);
            offset = runs[i].offset + runs[i].length;
        }
    }
    return rc ? rc : zero_run(queue, at, end, err);
}

int bm_pipeline_worker_range(struct bm_pipeline_worker *queue, uint64_t offset,
                             uint64_t end, struct bm_error *err)
{
    const struct bm_bitmap *only = queue->pipeline->only;
    uint64_t length;
    int rc = 0;

    queue->since = bm_now_ns();
    if (!only)
        rc = by_extents(queue, offset, end, err);
    while (rc == 0 && only &&
           bm_bitmap_next(only, false, offset, end, &offset, &length)) {
        rc = by_extents(queue, offset, offset + length, err);
        offset += length;
    }
    if (rc == 0)
        rc = bm_pipeline_ring_drain(queue->ring, err);
    if (rc != 0)
        bm_pipeline_ring_settle(queue->ring);
    return rc;
}
