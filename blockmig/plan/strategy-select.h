// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which strategy a move gets, and why.
 */
#ifndef BM_PLAN_STRATEGY_SELECT_H
#define BM_PLAN_STRATEGY_SELECT_H

#include "blockmig/plan/move-plan.h"

/* Sets job->strategy and job->why, and for staged where the source overlays
 * stand; the job's disks are chosen. -ENOMEM; what was asked for and cannot be
 * had is refused: -EINVAL with BM_EXIT_REFUSED. */
int bm_choose_strategy(struct bm_job *job, const struct bm_domain *domain,
                       const struct bm_datastore *store,
                       const struct bm_move_options *options,
                       struct bm_error *err);

#endif
