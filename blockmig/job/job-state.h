// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The states of a job, and what each of them means to the rest of the program.
 * A state is asked for its traits and never compared by its number, so that a
 * new state can be put in anywhere.
 *
 * Threads: any.
 */
#ifndef BM_JOB_JOB_STATE_H
#define BM_JOB_JOB_STATE_H

#include <stdbool.h>

/* docs/design.md shows their order; names by bm_state_name, "proving-rest". */
enum bm_state {
    BM_STATE_PLANNED,
    BM_STATE_PREFLIGHT,
    BM_STATE_ALLOCATING,
    BM_STATE_FREEZING, /* staged, pull */
    BM_STATE_COPYING,
    BM_STATE_PROVING,    /* before the switch: staged, cold */
    BM_STATE_ITERATING,  /* staged */
    BM_STATE_CONVERGING, /* staged */
    BM_STATE_READY,
    BM_STATE_SWITCHING,
    BM_STATE_PROVING_REST, /* after it: the old and the new frozen view */
    BM_STATE_SETTLED,
    BM_STATE_CONSOLIDATING,
    BM_STATE_RELEASING,
    BM_STATE_UNDOING,      /* the proof failed, or asked for: going back */
    BM_STATE_ROLLING_BACK, /* before the switch */
    BM_STATE_HELD,
    BM_STATE_NEEDS_RECOVERY,
    /* final */
    BM_STATE_DONE,
    BM_STATE_ROLLED_BACK,
};
#define BM_STATE_COUNT (BM_STATE_ROLLED_BACK + 1)

struct bm_state_traits {
    const char *name;
    bool planning;      /* no work of a strategy has begun */
    bool untouched;     /* nothing of ours is below the guest yet */
    bool before_switch; /* going back is ending our copies */
    bool past_switch;   /* the switch was made, or the job is on its way back,
                         * stopped or ended */
    bool on_new_image;  /* the switch was made, and the job goes forward */
    bool can_undo;      /* switched, and the old side is the whole disk still */
    bool overlays_on_new; /* switched, and overlays of ours are to be merged */
    bool needs_space;     /* overlays of ours may grow */
    bool may_pause;       /* it can stand still for as long as one likes */
    bool final;
};

/* Of a state out of range: those of BM_STATE_HELD, with the name "unknown". */
const struct bm_state_traits *bm_state_traits_of(enum bm_state state);
const char *bm_state_name(enum bm_state state);
/* -EINVAL: there is none of that name. */
int bm_state_from_name(const char *name, enum bm_state *out);
bool bm_state_final(enum bm_state state);

#endif
