// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One libvirt blockcopy a disk, all disks of the domain; then the switch
 * window, the full compare, and the commit of the tiny overlay.
 */
#include "blockmig/commit.h"
#include "blockmig/strategy.h"
#include "nbd/units.h"

static enum bm_state next(const struct bm_job *job)
{
    switch (job->state) {
    case BM_STATE_PLANNED:
    case BM_STATE_PREFLIGHT:
        return BM_STATE_ALLOCATING;
    case BM_STATE_ALLOCATING:
        return BM_STATE_COPYING;
    case BM_STATE_COPYING:
        return BM_STATE_READY;
    case BM_STATE_READY:
        return BM_STATE_SWITCHING;
    case BM_STATE_SWITCHING:
        return job->proof ? BM_STATE_PROVING_REST : BM_STATE_CONSOLIDATING;
    case BM_STATE_PROVING_REST:
        return BM_STATE_SETTLED;
    case BM_STATE_SETTLED:
        return BM_STATE_CONSOLIDATING;
    case BM_STATE_CONSOLIDATING:
        return BM_STATE_RELEASING;
    case BM_STATE_UNDOING:
        return BM_STATE_ROLLING_BACK;
    default:
        return job->state;
    }
}

static int copy(struct bm_mover *m, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_step_mirror(m, false, err);

    m->job->copy_ms += bm_now_ms() - start;
    return rc;
}

const struct bm_strategy_ops bm_strategy_blockcopy = {
    .next = next,
    .copy = copy,
    .switch_over = bm_step_switch,
    .prove_rest = bm_step_prove,
    .consolidate = bm_commit_overlays,
    .undo = bm_undo,
};
