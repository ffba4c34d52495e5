// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The strategies of a job, and what each of them means to the rest of the
 * program. A strategy is asked for its traits and never compared by its number.
 * What it does, state by state, is in blockmig/strategy/.
 *
 * Threads: any.
 */
#ifndef BM_JOB_JOB_STRATEGY_H
#define BM_JOB_JOB_STRATEGY_H

#include <stdbool.h>

enum bm_strategy {
    BM_STRATEGY_BLOCKCOPY,
    BM_STRATEGY_STAGED,
    BM_STRATEGY_COLD,
    BM_STRATEGY_PULL,
    /* no moves, but snapshot commands */
    BM_STRATEGY_MERGE,  /* layers go down, in place */
    BM_STRATEGY_CREATE, /* a restore point is made */
    BM_STRATEGY_REVERT, /* the disks are again what they were then */
    BM_STRATEGY_VIEW,   /* a view of the disks, while the job lives */
};
#define BM_STRATEGY_COUNT (BM_STRATEGY_VIEW + 1)

struct bm_strategy_traits {
    const char *name; /* in the journal, and behind --strategy */
    const char *noun; /* for messages; NULL: "move", or the snapshot's verb */
    bool moves;       /* disks go to new images; else a snapshot command */
    bool freezes_new_image; /* the new image itself is the overlay that the
                             * guest is frozen with */
    bool freezes_source;    /* that overlay stands on the old images */
    bool ends_with_process; /* nothing goes on when the process is gone */
};

const struct bm_strategy_traits *
bm_strategy_traits_of(enum bm_strategy strategy);
const char *bm_strategy_name(enum bm_strategy strategy);

#endif
