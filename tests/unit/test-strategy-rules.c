// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which strategy a move gets: every cell of the table. */
#include "blockmig/plan/strategy-rules.h"

#include <criterion/criterion.h>
#include <string.h>

static const char letters[] = {
    [BM_CHOICE_COLD] = 'c',
    [BM_CHOICE_PULL] = 'p',
    [BM_CHOICE_BLOCKCOPY] = 'b',
    [BM_CHOICE_BLOCKCOPY_UNPROVEN] = 'u',
    [BM_CHOICE_BLOCKCOPY_NO_PLACE] = 'n',
    [BM_CHOICE_BLOCKCOPY_DEVICE] = 'd',
    [BM_CHOICE_STAGED] = 's',
    [BM_CHOICE_STAGED_ASKED] = 'a',
    [BM_CHOICE_STAGED_RESCUE] = 'r',
    [BM_CHOICE_NO_SETTLE_UNPROVEN] = 'V',
    [BM_CHOICE_NO_SETTLE_OFF] = 'W',
    [BM_CHOICE_NO_RESCUE_OFF] = 'O',
    [BM_CHOICE_NO_RESCUE_UNPROVEN] = 'U',
    [BM_CHOICE_NO_RESCUE_STRATEGY] = 'S',
    [BM_CHOICE_NO_RESCUE_PLACE] = 'N',
    [BM_CHOICE_NO_STAGED_UNPROVEN] = 'P',
    [BM_CHOICE_NO_PULL_PROOF] = 'F',
    [BM_CHOICE_NO_PULL_DELETE] = 'D',
    [BM_CHOICE_NO_PULL_SETTLE] = 'T',
    [BM_CHOICE_NO_PULL_RAW] = 'R',
};

/* Row i, column k: the choice when the facts i and k are there, and no other;
 * on the diagonal one alone. The facts: off, unproven, proof asked, rescue,
 * settle, delete, raw, no place, on a device. */
static void check(enum bm_strategy_asked asked, char none,
                  const char *const want[BM_FACT_COUNT])
{
    cr_expect_eq(letters[bm_strategy_decide(asked, 0)], none);
    for (int i = 0; i < BM_FACT_COUNT; i++) {
        cr_assert_eq(strlen(want[i]), BM_FACT_COUNT);
        for (int k = 0; k < BM_FACT_COUNT; k++) {
            unsigned facts = 1U << i | 1U << k;
            char got = letters[bm_strategy_decide(asked, facts)];

            cr_expect_eq(got, want[i][k],
                         "asked %d, facts %d and %d: %c, should be %c",
                         (int)asked, i, k, got, want[i][k]);
        }
    }
}

TestSuite(strategy_rules);

Test(strategy_rules, by_itself_staged_unless_that_cannot_be)
{
    static const char *const want[BM_FACT_COUNT] = {
        "cccOWcccc", /* off */
        "cuuUVuuuu", /* unproven */
        "cusrsssnd", /* proof asked */
        "OUrrrrrNr", /* rescue */
        "WVsrsssnd", /* settle */
        "cusrsssnd", /* delete */
        "cusrsssnd", /* raw */
        "cunNnnnnn", /* no place */
        "cudrdddnd", /* on a device */
    };

    check(BM_ASKED_AUTO, 's', want);
}

Test(strategy_rules, staged_when_asked_for_needs_its_proof)
{
    static const char *const want[BM_FACT_COUNT] = {
        "cccOWcccc", "cPPUVPPPP", "cParaaaaa", "OUrrrrrNr", "WVaraaaaa",
        "cParaaaaa", "cParaaaaa", "cPaNaaaaa", "cParaaaaa",
    };

    check(BM_ASKED_STAGED, 'a', want);
}

Test(strategy_rules, blockcopy_when_asked_for_cannot_rescue)
{
    static const char *const want[BM_FACT_COUNT] = {
        "cccOWcccc", "cbbUVbbbb", "cbbSbbbbb", "OUSSSSSSS", "WVbSbbbbb",
        "cbbSbbbbb", "cbbSbbbbb", "cbbSbbbbb", "cbbSbbbbb",
    };

    check(BM_ASKED_BLOCKCOPY, 'b', want);
}

Test(strategy_rules, a_pull_has_no_proof_and_no_way_back)
{
    static const char *const want[BM_FACT_COUNT] = {
        "cccOWcccc", "cpFUVDRpp", "cFFSFFFFF", "OUSSSSSSS", "WVFSTDTTT",
        "cDFSDDDDD", "cRFSTDRRR", "cpFSTDRpp", "cpFSTDRpp",
    };

    check(BM_ASKED_PULL, 'p', want);
}

/* A settle without a proof is no less in vain since the guest is off. */
Test(strategy_rules, of_three_facts_the_first_rule_counts)
{
    cr_expect_eq(bm_strategy_decide(BM_ASKED_AUTO, BM_FACT_SETTLE |
                                                       BM_FACT_UNPROVEN |
                                                       BM_FACT_OFF),
                 BM_CHOICE_NO_SETTLE_UNPROVEN);
    cr_expect_eq(bm_strategy_decide(BM_ASKED_AUTO, BM_FACT_SETTLE |
                                                       BM_FACT_RESCUE |
                                                       BM_FACT_OFF),
                 BM_CHOICE_NO_SETTLE_OFF);
    cr_expect_eq(bm_strategy_decide(BM_ASKED_STAGED, BM_FACT_RESCUE |
                                                         BM_FACT_UNPROVEN |
                                                         BM_FACT_OFF),
                 BM_CHOICE_NO_RESCUE_OFF);
}

/* Whatever is known, the answer is a choice: no list of rules runs over. */
Test(strategy_rules, every_list_of_rules_ends)
{
    for (int asked = 0; asked < BM_ASKED_COUNT; asked++)
        for (unsigned facts = 0; facts < 1U << BM_FACT_COUNT; facts++)
            cr_assert_lt(
                (int)bm_strategy_decide((enum bm_strategy_asked)asked, facts),
                (int)BM_CHOICE_COUNT);
}
