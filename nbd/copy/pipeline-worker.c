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

struct bm_flow_lane {
    const struct bm_flow *flow;
    unsigned number, workers;
    const struct bm_worker_pool *pool;
    atomic_uint_fast64_t *done;
    struct bm_flow_ring *ring;
    int64_t since; /* bm_now_ns, when it began or had last waited */
};

struct bm_flow_lane *bm_flow_lane_new(const struct bm_flow *flow,
                                      unsigned number, unsigned workers,
                                      const struct bm_worker_pool *pool,
                                      atomic_uint_fast64_t *done,
                                      struct bm_error *err)
{
    struct bm_flow_lane *lane = calloc(1, sizeof *lane);

    if (!lane) {
        bm_fail_errno(err, ENOMEM, "cannot read %s", flow->source->name);
        return NULL;
    }
    lane->flow = flow;
    lane->number = number;
    lane->workers = workers;
    lane->pool = pool;
    lane->done = done;
    lane->ring = bm_flow_ring_new(flow, number, done, err);
    if (lane->ring)
        return lane;
    bm_flow_lane_free(lane);
    return NULL;
}

void bm_flow_lane_free(struct bm_flow_lane *lane)
{
    if (!lane)
        return;
    bm_flow_ring_free(lane->ring);
    free(lane);
}

static int stopped(const struct bm_flow_lane *lane, struct bm_error *err)
{
    if (!bm_worker_pool_stopped(lane->pool))
        return 0;
    return bm_fail_errno(err, ECANCELED, "cannot read %s",
                         lane->flow->source->name);
}

/* Waits for its turn; a cancel or a new rate is seen soon. */
static int wait_turn(struct bm_flow_lane *lane, size_t len,
                     struct bm_error *err)
{
    struct bm_throttle *throttle = lane->flow->throttle;
    int rc = 0, ms = bm_throttle_take(throttle, len);

    while (rc == 0 && ms > 0) {
        bm_sleep_ms(ms < WAIT_MS ? ms : WAIT_MS);
        rc = stopped(lane, err);
        ms = bm_throttle_take(throttle, 0);
    }
    return rc;
}

/* To wait for one's turn is rest as well. */
static int pace(struct bm_flow_lane *lane, size_t len, struct bm_error *err)
{
    struct bm_throttle *throttle = lane->flow->throttle;
    int64_t now, until;
    int rc;

    if (!throttle)
        return 0;
    now = bm_now_ns();
    until = now + bm_throttle_rest(throttle, now - lane->since, lane->workers);
    rc = wait_turn(lane, len, err);
    bm_sleep_ns(until - bm_now_ns());
    lane->since = bm_now_ns();
    return rc;
}

/* Between two steps: is it to stop, has the owner something to do? */
static int breathe(struct bm_flow_lane *lane, struct bm_error *err)
{
    const struct bm_flow *flow = lane->flow;
    int rc = stopped(lane, err);

    return rc || !flow->pause ? rc
                              : flow->pause(flow->opaque, lane->number, err);
}

/* What is asked for at a time may become less while it runs. */
static size_t step(const struct bm_flow_lane *lane)
{
    struct bm_throttle *throttle = lane->flow->throttle;
    size_t chunk = bm_flow_ring_chunk(lane->ring);
    size_t most = throttle ? bm_throttle_request(throttle) : 0;

    if (!most || most >= chunk)
        return chunk;
    return most < BLOCK ? BLOCK : most - most % BLOCK;
}

static int read_run(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                    struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && offset < end) {
        size_t chunk = step(lane);
        uint64_t len = chunk - offset % chunk; /* chunks stay aligned */

        if (len > end - offset)
            len = end - offset;
        rc = breathe(lane, err);
        if (rc == 0 && bm_flow_ring_full(lane->ring)) {
            rc = bm_flow_ring_turn(lane->ring, err);
            continue;
        }
        if (rc == 0)
            rc = pace(lane, (size_t)len, err);
        if (rc == 0)
            rc = bm_flow_ring_ask(lane->ring, offset, (size_t)len, err);
        offset += len;
    }
    return rc;
}

static int zero_run(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                    struct bm_error *err)
{
    int rc = breathe(lane, err);

    if (rc == 0 && end > offset) {
        rc = lane->flow->zeroes(lane->flow->opaque, lane->number, offset,
                                end - offset, err);
        atomic_fetch_add_explicit(lane->done, end - offset,
                                  memory_order_relaxed);
    }
    return rc;
}

/* Cuts an extent to whole blocks: a block is zero only if all of it is. *at is
 * where the work stands, which may be within the extent. */
static int add_extent(struct bm_flow_lane *lane, uint64_t *at,
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
    rc = zero_run(lane, *at, from, err);
    if (rc == 0)
        rc = read_run(lane, from, to, err);
    *at = to > *at ? to : *at;
    return rc;
}

static int by_extents(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                      struct bm_error *err)
{
    struct bm_extent runs[RUNS];
    uint64_t at = offset;
    size_t n;
    int rc = 0;

    while (rc == 0 && offset < end) {
        rc = bm_device_extents(lane->flow->source, lane->number, BM_MAP_ZERO,
                               offset, end - offset, runs, RUNS, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = add_extent(lane, &at, &runs[i], end, err);
            offset = runs[i].offset + runs[i].length;
        }
    }
    return rc ? rc : zero_run(lane, at, end, err);
}

int bm_flow_lane_span(struct bm_flow_lane *lane, uint64_t offset, uint64_t end,
                      struct bm_error *err)
{
    const struct bm_bitmap *only = lane->flow->only;
    uint64_t length;
    int rc = 0;

    lane->since = bm_now_ns();
    if (!only)
        rc = by_extents(lane, offset, end, err);
    while (rc == 0 && only &&
           bm_bitmap_next(only, false, offset, end, &offset, &length)) {
        rc = by_extents(lane, offset, offset + length, err);
        offset += length;
    }
    if (rc == 0)
        rc = bm_flow_ring_drain(lane->ring, err);
    if (rc != 0)
        bm_flow_ring_settle(lane->ring);
    return rc;
}
