// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A strategy: its states in their order, and the work of each. The work of a
 * state looks at what is there and can be done again; it is only started
 * after its state is in the journal. Work that leads elsewhere than to the next
 * state enters that itself and returns -EAGAIN.
 */
#ifndef BM_STRATEGY_STRATEGY_H
#define BM_STRATEGY_STRATEGY_H

#include "blockmig/step/step.h"

struct bm_strategy_ops {
    /* From allocating on, up to releasing. */
    const enum bm_state *states;
    /* Whether this job leaves that one of them out; or NULL. */
    bool (*skips)(const struct bm_job *job, enum bm_state state);
    /* The work of the states; NULL where it is none of `states`. */
    int (*freeze)(struct bm_run *run, struct bm_error *err);
    int (*copy)(struct bm_run *run, struct bm_error *err);
    int (*prove)(struct bm_run *run, struct bm_error *err);
    int (*iterate)(struct bm_run *run, struct bm_error *err);
    int (*converge)(struct bm_run *run, struct bm_error *err);
    int (*switch_over)(struct bm_run *run, struct bm_error *err);
    int (*prove_rest)(struct bm_run *run, struct bm_error *err);
    int (*settle)(struct bm_run *run,
                  struct bm_error *err); /* NULL: a move's */
    int (*consolidate)(struct bm_run *run, struct bm_error *err);
    int (*undo)(struct bm_run *run, struct bm_error *err);
    /* The ends of every strategy; NULL: those of a move. */
    int (*allocate)(struct bm_run *run, struct bm_error *err);
    int (*release)(struct bm_run *run, struct bm_error *err);
    int (*roll_back)(struct bm_run *run, struct bm_error *err);
};

extern const struct bm_strategy_ops bm_strategy_blockcopy;
extern const struct bm_strategy_ops bm_strategy_staged;
extern const struct bm_strategy_ops bm_strategy_cold;
extern const struct bm_strategy_ops bm_strategy_pull;
extern const struct bm_strategy_ops bm_strategy_merge;
extern const struct bm_strategy_ops bm_strategy_create;
extern const struct bm_strategy_ops bm_strategy_revert;
extern const struct bm_strategy_ops bm_strategy_view;

const struct bm_strategy_ops *bm_strategy_of(const struct bm_job *job);
/* The state after the job's own, when its work is done. */
enum bm_state bm_strategy_next(const struct bm_strategy_ops *ops,
                               const struct bm_job *job);

#endif
