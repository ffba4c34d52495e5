// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/rescue/rescue-private.h"

/* What is asked for at a time: not the whole device, which would take long
 * and would make the map large. */
#define WINDOW (UINT64_C(128) << 20)
#define RUNS 256
/* A smaller run is read with its neighbours. */
#define WORTH_IT BM_RESCUE_CLUSTER

static int zero_target(struct bm_rescue_state *run, uint64_t offset,
                       uint64_t length, struct bm_error *err)
{
    struct bm_device *target = run->how->target;
    struct bm_request req = {.op = BM_ZERO, .offset = offset, .len = length};
    int rc;

    if (target->zeroed)
        return 0;
    rc = bm_device_submit(target, 0, &req, err);
    if (rc == 0)
        rc = bm_device_wait(run->queues, &req, err);
    if (rc == 0 && req.error != 0)
        rc = bm_request_failed(target, &req, err);
    return rc;
}

/* Whole sectors of the run, where nothing was tried. */
static int finish_run(struct bm_rescue_state *run,
                      const struct bm_extent *zeroes, struct bm_error *err)
{
    uint64_t unit = run->sector, end = zeroes->offset + zeroes->length;
    uint64_t at = (zeroes->offset + unit - 1) / unit * unit, length;
    int rc = 0;

    if (end < run->map->size)
        end = end / unit * unit;
    if (end < at || end - at < WORTH_IT)
        return 0;
    for (; rc == 0 &&
           bm_mapfile_next(run->map, BM_AREA_UNTRIED, at, end, &at, &length);
         at += length) {
        rc = zero_target(run, at, length, err);
        if (rc == 0 && run->how->took)
            rc = run->how->took(run->how->opaque, at, length, NULL, err);
        if (rc == 0)
            rc = bm_rescue_mark(run, at, length, BM_AREA_FINISHED, err);
    }
    return rc;
}

static int finish_runs(struct bm_rescue_state *run,
                       const struct bm_extent *runs, size_t n,
                       struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        if (runs[i].zero)
            rc = finish_run(run, &runs[i], err);
    return rc;
}

/* That the source cannot tell is no reason to stop: then all is read, and if
 * its connection was lost, the next read says so. */
int bm_rescue_zeroes(struct bm_rescue_state *run, uint64_t offset,
                     struct bm_error *err)
{
    uint64_t size = run->map->size, at = offset / WINDOW * WINDOW;
    struct bm_extent runs[RUNS];
    size_t n = 0;
    int rc = 0;

    run->window = at;
    run->window_end = size - at < WINDOW ? size : at + WINDOW;
    while (rc == 0 && !run->no_extents && at < run->window_end) {
        run->no_extents =
            bm_device_extents(run->how->source, 0, BM_MAP_ZERO, at,
                              run->window_end - at, runs, RUNS, &n, NULL) != 0;
        if (run->no_extents || n == 0)
            return 0;
        rc = finish_runs(run, runs, n, err);
        at = runs[n - 1].offset + runs[n - 1].length;
    }
    return rc;
}
