// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The rules by which a move gets its strategy: one table over what was asked
 * for and what is known. It is pure: it looks at nothing and changes nothing.
 *
 * Threads: any.
 */
#ifndef BM_PLAN_STRATEGY_RULES_H
#define BM_PLAN_STRATEGY_RULES_H

/* --strategy */
enum bm_strategy_asked {
    BM_ASKED_AUTO,
    BM_ASKED_STAGED,
    BM_ASKED_BLOCKCOPY,
    BM_ASKED_PULL,
};
#define BM_ASKED_COUNT (BM_ASKED_PULL + 1)

/* Bits. */
enum bm_strategy_fact {
    BM_FACT_OFF = 1 << 0,      /* the guest is shut off */
    BM_FACT_UNPROVEN = 1 << 1, /* --proof none */
    BM_FACT_PROOF_ASKED = 1 << 2,
    BM_FACT_RESCUE = 1 << 3,
    BM_FACT_SETTLE = 1 << 4,
    BM_FACT_DELETE = 1 << 5, /* --source delete */
    BM_FACT_RAW = 1 << 6,    /* --format raw */
    /* of the folders, which are looked at only for a staged move */
    BM_FACT_NO_PLACE = 1 << 7,  /* no source overlay can be made */
    BM_FACT_ON_DEVICE = 1 << 8, /* an image is a device, and no place for its
                                 * overlay was named */
};
#define BM_FACT_COUNT 9

enum bm_strategy_choice {
    BM_CHOICE_COLD,
    BM_CHOICE_PULL,
    BM_CHOICE_BLOCKCOPY, /* it was asked for */
    BM_CHOICE_BLOCKCOPY_UNPROVEN,
    BM_CHOICE_BLOCKCOPY_NO_PLACE,
    BM_CHOICE_BLOCKCOPY_DEVICE,
    BM_CHOICE_STAGED, /* nothing is against it */
    BM_CHOICE_STAGED_ASKED,
    BM_CHOICE_STAGED_RESCUE,
    /* refused */
    BM_CHOICE_NO_SETTLE_UNPROVEN,
    BM_CHOICE_NO_SETTLE_OFF,
    BM_CHOICE_NO_RESCUE_OFF,
    BM_CHOICE_NO_RESCUE_UNPROVEN,
    BM_CHOICE_NO_RESCUE_STRATEGY,
    BM_CHOICE_NO_RESCUE_PLACE,
    BM_CHOICE_NO_STAGED_UNPROVEN,
    BM_CHOICE_NO_PULL_PROOF,
    BM_CHOICE_NO_PULL_DELETE,
    BM_CHOICE_NO_PULL_SETTLE,
    BM_CHOICE_NO_PULL_RAW,
};
#define BM_CHOICE_COUNT (BM_CHOICE_NO_PULL_RAW + 1)

enum bm_strategy_choice bm_strategy_decide(enum bm_strategy_asked asked,
                                           unsigned facts);

#endif
