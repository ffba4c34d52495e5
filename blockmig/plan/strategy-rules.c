// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/strategy-rules.h"

/* The choice, if all these facts are there. */
struct rule {
    unsigned when; /* 0: in any case */
    enum bm_strategy_choice then;
};

/* Of all strategies, before their own. Without a proof, and of a guest that is
 * off, nothing can be undone: so there is nothing to wait for. Only our own
 * engine reads around a bad sector, and it proves the rest. */
static const struct rule first[] = {
    {BM_FACT_SETTLE | BM_FACT_UNPROVEN, BM_CHOICE_NO_SETTLE_UNPROVEN},
    {BM_FACT_SETTLE | BM_FACT_OFF, BM_CHOICE_NO_SETTLE_OFF},
    {BM_FACT_RESCUE | BM_FACT_OFF, BM_CHOICE_NO_RESCUE_OFF},
    {BM_FACT_RESCUE | BM_FACT_UNPROVEN, BM_CHOICE_NO_RESCUE_UNPROVEN},
    {BM_FACT_OFF, BM_CHOICE_COLD},
};
#define N_FIRST (sizeof first / sizeof first[0])

/* The pull is never chosen by itself: what can be pulled, blockcopy can copy;
 * and that can be proven, and needs the source no longer than to its switch. A
 * disk whose image is a device stays on it until the switch: QEMU's own copy
 * needs no overlay elsewhere. */
static const struct rule table[BM_ASKED_COUNT][6] = {
    [BM_ASKED_AUTO] =
        {
            {BM_FACT_RESCUE | BM_FACT_NO_PLACE, BM_CHOICE_NO_RESCUE_PLACE},
            {BM_FACT_RESCUE, BM_CHOICE_STAGED_RESCUE},
            {BM_FACT_UNPROVEN, BM_CHOICE_BLOCKCOPY_UNPROVEN},
            {BM_FACT_NO_PLACE, BM_CHOICE_BLOCKCOPY_NO_PLACE},
            {BM_FACT_ON_DEVICE, BM_CHOICE_BLOCKCOPY_DEVICE},
            {0, BM_CHOICE_STAGED},
        },
    [BM_ASKED_STAGED] =
        {
            {BM_FACT_UNPROVEN, BM_CHOICE_NO_STAGED_UNPROVEN},
            {BM_FACT_RESCUE | BM_FACT_NO_PLACE, BM_CHOICE_NO_RESCUE_PLACE},
            {BM_FACT_RESCUE, BM_CHOICE_STAGED_RESCUE},
            {0, BM_CHOICE_STAGED_ASKED},
        },
    [BM_ASKED_BLOCKCOPY] =
        {
            {BM_FACT_RESCUE, BM_CHOICE_NO_RESCUE_STRATEGY},
            {0, BM_CHOICE_BLOCKCOPY},
        },
    [BM_ASKED_PULL] =
        {
            {BM_FACT_RESCUE, BM_CHOICE_NO_RESCUE_STRATEGY},
            {BM_FACT_PROOF_ASKED, BM_CHOICE_NO_PULL_PROOF},
            {BM_FACT_DELETE, BM_CHOICE_NO_PULL_DELETE},
            {BM_FACT_SETTLE, BM_CHOICE_NO_PULL_SETTLE},
            {BM_FACT_RAW, BM_CHOICE_NO_PULL_RAW},
            {0, BM_CHOICE_PULL},
        },
};

enum bm_strategy_choice bm_strategy_decide(enum bm_strategy_asked asked,
                                           unsigned facts)
{
    const struct rule *rule = table[asked];

    for (unsigned i = 0; i < N_FIRST; i++)
        if ((facts & first[i].when) == first[i].when)
            return first[i].then;
    while ((facts & rule->when) != rule->when)
        rule++;
    return rule->then;
}
