// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-strategy.h"

static const struct bm_strategy_traits traits[BM_STRATEGY_COUNT] = {
    [BM_STRATEGY_BLOCKCOPY] = {.name = "blockcopy", .moves = true},
    [BM_STRATEGY_STAGED] = {.name = "staged", .moves = true},
    [BM_STRATEGY_COLD] = {.name = "cold", .moves = true},
    [BM_STRATEGY_PULL] = {.name = "pull",
                          .moves = true,
                          .freezes_new_image = true,
                          .freezes_source = true},
    [BM_STRATEGY_MERGE] = {.name = "merge", .noun = "merge"},
    [BM_STRATEGY_CREATE] = {.name = "create",
                            .noun = "snapshot",
                            .freezes_source = true},
    [BM_STRATEGY_REVERT] = {.name = "revert", .noun = "revert"},
    [BM_STRATEGY_VIEW] = {.name = "view",
                          .noun = "view",
                          .ends_with_process = true},
};

const struct bm_strategy_traits *
bm_strategy_traits_of(enum bm_strategy strategy)
{
    return &traits[strategy];
}

const char *bm_strategy_name(enum bm_strategy strategy)
{
    return traits[strategy].name;
}
