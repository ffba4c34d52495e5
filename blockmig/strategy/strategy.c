// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/strategy/strategy.h"

#include <errno.h>

const struct bm_strategy_ops *bm_strategy_of(const struct bm_job *job)
{
    static const struct bm_strategy_ops *const all[] = {
        [BM_STRATEGY_BLOCKCOPY] = &bm_strategy_blockcopy,
        [BM_STRATEGY_STAGED] = &bm_strategy_staged,
        [BM_STRATEGY_COLD] = &bm_strategy_cold,
        [BM_STRATEGY_PULL] = &bm_strategy_pull,
        [BM_STRATEGY_MERGE] = &bm_strategy_merge,
        [BM_STRATEGY_CREATE] = &bm_strategy_create,
        [BM_STRATEGY_REVERT] = &bm_strategy_revert,
        [BM_STRATEGY_VIEW] = &bm_strategy_view,
    };

    return all[job->plan.strategy];
}

enum bm_state bm_strategy_next(const struct bm_strategy_ops *ops,
                               const struct bm_job *job)
{
    const enum bm_state *state = ops->states;

    if (bm_state_traits_of(job->state)->planning)
        return BM_STATE_ALLOCATING;
    if (job->state == BM_STATE_UNDOING)
        return BM_STATE_ROLLING_BACK;
    while (*state != job->state && *state != BM_STATE_RELEASING)
        state++;
    while (*state != BM_STATE_RELEASING) {
        state++;
        if (!ops->skips || !ops->skips(job, *state))
            break;
    }
    return *state;
}
