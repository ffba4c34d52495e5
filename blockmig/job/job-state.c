// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-state.h"

#include <errno.h>
#include <string.h>

static const struct bm_state_traits traits[BM_STATE_COUNT] = {
    [BM_STATE_PLANNED] = {.name = "planned",
                          .planning = true,
                          .untouched = true,
                          .before_switch = true,
                          .needs_space = true,
                          .may_pause = true},
    [BM_STATE_PREFLIGHT] = {.name = "preflight",
                            .planning = true,
                            .untouched = true,
                            .before_switch = true,
                            .needs_space = true,
                            .may_pause = true},
    [BM_STATE_ALLOCATING] = {.name = "allocating",
                             .untouched = true,
                             .before_switch = true,
                             .needs_space = true,
                             .may_pause = true},
    [BM_STATE_FREEZING] = {.name = "freezing",
                           .before_switch = true,
                           .needs_space = true,
                           .may_pause = true},
    [BM_STATE_COPYING] = {.name = "copying",
                          .before_switch = true,
                          .needs_space = true,
                          .may_pause = true},
    [BM_STATE_PROVING] = {.name = "proving",
                          .before_switch = true,
                          .needs_space = true,
                          .may_pause = true},
    [BM_STATE_ITERATING] = {.name = "iterating",
                            .before_switch = true,
                            .needs_space = true,
                            .may_pause = true},
    [BM_STATE_CONVERGING] = {.name = "converging",
                             .before_switch = true,
                             .needs_space = true,
                             .may_pause = true},
    [BM_STATE_READY] = {.name = "ready",
                        .before_switch = true,
                        .needs_space = true,
                        .may_pause = true},
    [BM_STATE_SWITCHING] = {.name = "switching", .needs_space = true},
    [BM_STATE_PROVING_REST] = {.name = "proving-rest",
                               .past_switch = true,
                               .on_new_image = true,
                               .can_undo = true,
                               .overlays_on_new = true,
                               .needs_space = true},
    [BM_STATE_SETTLED] = {.name = "settled",
                          .past_switch = true,
                          .on_new_image = true,
                          .can_undo = true,
                          .overlays_on_new = true,
                          .needs_space = true,
                          .may_pause = true},
    [BM_STATE_CONSOLIDATING] = {.name = "consolidating",
                                .past_switch = true,
                                .on_new_image = true,
                                .overlays_on_new = true,
                                .needs_space = true},
    [BM_STATE_RELEASING] = {.name = "releasing",
                            .past_switch = true,
                            .on_new_image = true},
    [BM_STATE_UNDOING] = {.name = "undoing", .past_switch = true},
    [BM_STATE_ROLLING_BACK] = {.name = "rolling-back", .past_switch = true},
    [BM_STATE_HELD] = {.name = "held", .past_switch = true},
    [BM_STATE_NEEDS_RECOVERY] = {.name = "needs-recovery", .past_switch = true},
    [BM_STATE_DONE] = {.name = "done", .past_switch = true, .final = true},
    [BM_STATE_ROLLED_BACK] = {.name = "rolled-back",
                              .past_switch = true,
                              .final = true},
};

static const struct bm_state_traits unknown = {.name = "unknown",
                                               .past_switch = true};

const struct bm_state_traits *bm_state_traits_of(enum bm_state state)
{
    return (unsigned)state < BM_STATE_COUNT ? &traits[state] : &unknown;
}

const char *bm_state_name(enum bm_state state)
{
    return bm_state_traits_of(state)->name;
}

int bm_state_from_name(const char *name, enum bm_state *out)
{
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        if (strcmp(name, traits[i].name) == 0) {
            *out = (enum bm_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool bm_state_final(enum bm_state state)
{
    return bm_state_traits_of(state)->final;
}
