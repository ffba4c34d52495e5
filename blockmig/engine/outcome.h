// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the outcome of a step leads to: one table over the class of the state
 * and the outcome. The table is pure: it asks nothing and changes nothing. What
 * must be known besides, a rule names as a question, and the engine answers it.
 *
 * Threads: any.
 */
#ifndef BM_ENGINE_OUTCOME_H
#define BM_ENGINE_OUTCOME_H

#include "blockmig/job/job-state.h"

/* The states, by what an error in them may lead to. */
enum bm_state_class {
    BM_CLASS_BEFORE_SWITCH, /* planned to ready: the guest can go back */
    BM_CLASS_SWITCHING,
    BM_CLASS_PROVING_REST,
    BM_CLASS_CONSOLIDATING,
    BM_CLASS_LATER, /* settled, releasing, and the ways back */
};
#define BM_CLASS_COUNT (BM_CLASS_LATER + 1)
enum bm_state_class bm_state_class_of(enum bm_state state);

/* What the work of a step came to. */
enum bm_outcome {
    BM_OUTCOME_ENTERED,        /* the step has entered another state itself */
    BM_OUTCOME_NO_ANSWER,      /* a call passed its deadline: nobody knows what
                                * it did */
    BM_OUTCOME_NEEDS_OPERATOR, /* only a person can judge it */
    BM_OUTCOME_LOST,           /* the connection to libvirt */
    BM_OUTCOME_PROOF_FAILED,
    BM_OUTCOME_CHANGED,   /* the disks are not as they were */
    BM_OUTCOME_MISPLACED, /* the same, and a person must look */
    BM_OUTCOME_STOPPED,   /* cancelled, or the guest went away or is busy */
    BM_OUTCOME_IO,
    BM_OUTCOME_NO_SPACE,
    BM_OUTCOME_INVALID, /* libvirt refused the request: the guest is off? */
    BM_OUTCOME_OTHER,
};
#define BM_OUTCOME_COUNT (BM_OUTCOME_OTHER + 1)
/* rc: what the step returned, never 0. held: its error has the status
 * BM_EXIT_HELD. */
enum bm_outcome bm_outcome_of(int rc, bool held);

/* What a rule wants to know. The engine may have to look at the world for it,
 * so each is asked only when the rules before it did not hold. */
enum bm_question {
    BM_ALWAYS,
    BM_IF_HELD,             /* the error has the status BM_EXIT_HELD */
    BM_IF_RETRIES_LEFT,     /* the step may be tried again */
    BM_IF_CANCEL_ASKED,     /* the user wants to go back */
    BM_IF_NOTHING_SWITCHED, /* all disks of a running guest stand on their old
                             * images */
    BM_IF_OLD_SIDE_FAILS,   /* an old image cannot be written, and may miss
                             * what the guest wrote last */
    BM_IF_SPACE_CAME,       /* space was short, and there is some now */
    BM_IF_SPACE_SHORT,      /* space is short, and none came */
};

enum bm_action {
    BM_ACTION_GO_ON,
    BM_ACTION_RETRY, /* and say so */
    BM_ACTION_RETRY_QUIETLY,
    BM_ACTION_ROLL_BACK,    /* enter rolling-back */
    BM_ACTION_UNDO,         /* enter undoing */
    BM_ACTION_HOLD,         /* stop as held */
    BM_ACTION_RECOVER,      /* stop as needs-recovery */
    BM_ACTION_RECOVER_BACK, /* the same; `job resume` will roll back */
};

struct bm_rule {
    enum bm_question when;
    enum bm_action then;
};

/* The rules of one cell, in their order; the last one is BM_ALWAYS. */
const struct bm_rule *bm_outcome_rules(enum bm_state_class state,
                                       enum bm_outcome outcome);
/* The action of the first rule that holds; answer is called for each other
 * question than BM_ALWAYS. */
enum bm_action
bm_outcome_decide(enum bm_state_class state, enum bm_outcome outcome,
                  bool (*answer)(void *opaque, enum bm_question question),
                  void *opaque);

#endif
