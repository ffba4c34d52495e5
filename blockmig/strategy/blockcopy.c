// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One libvirt blockcopy a disk, all disks of the domain; then the switch
 * window, the full compare, and the commit of the switch overlay.
 */
#include "blockmig/step/commit.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/units.h"

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,    BM_STATE_COPYING,      BM_STATE_READY,
    BM_STATE_SWITCHING,     BM_STATE_PROVING_REST, BM_STATE_SETTLED,
    BM_STATE_CONSOLIDATING, BM_STATE_RELEASING,
};

static bool skips(const struct bm_job *job, enum bm_state state)
{
    return !job->request.proof &&
           (state == BM_STATE_PROVING_REST || state == BM_STATE_SETTLED);
}

static int copy(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_step_mirror(run, false, err);

    run->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

const struct bm_strategy_ops bm_strategy_blockcopy = {
    .states = states,
    .skips = skips,
    .copy = copy,
    .switch_over = bm_step_switch,
    .prove_rest = bm_step_prove,
    .consolidate = bm_commit_overlays,
    .undo = bm_undo,
};
