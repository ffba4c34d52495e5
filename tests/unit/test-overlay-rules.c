// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where the source overlays stand: every cell of the table. */
#include "blockmig/plan/overlay-rules.h"

#include <criterion/criterion.h>

#define CELLS (1U << BM_PLACE_FACT_COUNT)

/* By the bits: 1 the source cannot hold them, 2 it fails, 4 the target cannot
 * hold them. */
static void check(enum bm_place_asked asked, const enum bm_place want[CELLS])
{
    for (unsigned facts = 0; facts < CELLS; facts++)
        cr_expect_eq(bm_place_decide(asked, facts), want[facts],
                     "asked %d, facts %u", (int)asked, facts);
}

static void check_always(enum bm_place_asked asked, enum bm_place want)
{
    for (unsigned facts = 0; facts < CELLS; facts++)
        cr_expect_eq(bm_place_decide(asked, facts), want, "facts %u", facts);
}

TestSuite(overlay_rules);

Test(overlay_rules, by_itself_on_the_source_unless_only_the_target_can)
{
    static const enum bm_place want[CELLS] = {
        BM_PLACE_SOURCE_CAN,   BM_PLACE_TARGET_CAN,   BM_PLACE_TARGET_BETTER,
        BM_PLACE_TARGET_CAN,   BM_PLACE_SOURCE_CAN,   BM_PLACE_SOURCE_STILL,
        BM_PLACE_SOURCE_STILL, BM_PLACE_SOURCE_STILL,
    };

    check(BM_PLACE_ASKED_AUTO, want);
}

Test(overlay_rules, the_source_when_asked_for)
{
    check_always(BM_PLACE_ASKED_SOURCE, BM_PLACE_ON_SOURCE);
}

Test(overlay_rules, the_target_when_asked_for)
{
    check_always(BM_PLACE_ASKED_TARGET, BM_PLACE_ON_TARGET);
}

Test(overlay_rules, a_folder_when_it_is_named)
{
    check_always(BM_PLACE_ASKED_FOLDER, BM_PLACE_IN_FOLDER);
}

Test(overlay_rules, a_place_is_on_one_side)
{
    cr_expect_not(bm_place_is_target(BM_PLACE_IN_FOLDER));
    cr_expect_not(bm_place_is_target(BM_PLACE_ON_SOURCE));
    cr_expect_not(bm_place_is_target(BM_PLACE_SOURCE_CAN));
    cr_expect_not(bm_place_is_target(BM_PLACE_SOURCE_STILL));
    cr_expect(bm_place_is_target(BM_PLACE_ON_TARGET));
    cr_expect(bm_place_is_target(BM_PLACE_TARGET_CAN));
    cr_expect(bm_place_is_target(BM_PLACE_TARGET_BETTER));
}
