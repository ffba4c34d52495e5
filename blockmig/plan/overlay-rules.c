// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/overlay-rules.h"

/* The place, if all these facts are there. */
struct rule {
    unsigned when; /* 0: in any case */
    enum bm_place then;
};

/* Who names a place gets it, or is told what stands in its way. A source that
 * fails is left to itself, unless the target is no way out either. */
static const struct rule table[BM_PLACE_ASKED_COUNT][5] = {
    [BM_PLACE_ASKED_AUTO] =
        {
            {BM_PLACE_SOURCE_CANNOT | BM_PLACE_TARGET_CANNOT,
             BM_PLACE_SOURCE_STILL},
            {BM_PLACE_SOURCE_FAILS | BM_PLACE_TARGET_CANNOT,
             BM_PLACE_SOURCE_STILL},
            {BM_PLACE_SOURCE_CANNOT, BM_PLACE_TARGET_CAN},
            {BM_PLACE_SOURCE_FAILS, BM_PLACE_TARGET_BETTER},
            {0, BM_PLACE_SOURCE_CAN},
        },
    [BM_PLACE_ASKED_SOURCE] = {{0, BM_PLACE_ON_SOURCE}},
    [BM_PLACE_ASKED_TARGET] = {{0, BM_PLACE_ON_TARGET}},
    [BM_PLACE_ASKED_FOLDER] = {{0, BM_PLACE_IN_FOLDER}},
};

enum bm_place bm_place_decide(enum bm_place_asked asked, unsigned facts)
{
    const struct rule *rule = table[asked];

    while ((facts & rule->when) != rule->when)
        rule++;
    return rule->then;
}

bool bm_place_is_target(enum bm_place place)
{
    return place == BM_PLACE_ON_TARGET || place == BM_PLACE_TARGET_CAN ||
           place == BM_PLACE_TARGET_BETTER;
}
