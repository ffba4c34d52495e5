// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the outcome of a step leads to: every cell of the table. */
#include "blockmig/engine/outcome.h"

#include "blockmig/job/job.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* A cell as eight letters: the action when all answers are no, and then when
 * only one is yes, in this order. */
static const enum bm_question questions[] = {
    BM_ALWAYS,
    BM_IF_HELD,
    BM_IF_RETRIES_LEFT,
    BM_IF_CANCEL_ASKED,
    BM_IF_NOTHING_SWITCHED,
    BM_IF_OLD_SIDE_FAILS,
    BM_IF_SPACE_CAME,
    BM_IF_SPACE_SHORT,
};
#define QUESTIONS (sizeof questions / sizeof questions[0])

static const char letters[] = {
    [BM_ACTION_GO_ON] = 'g',         [BM_ACTION_RETRY] = 'r',
    [BM_ACTION_RETRY_QUIETLY] = 'q', [BM_ACTION_ROLL_BACK] = 'b',
    [BM_ACTION_UNDO] = 'u',          [BM_ACTION_HOLD] = 'h',
    [BM_ACTION_RECOVER] = 'n',       [BM_ACTION_RECOVER_BACK] = 'c',
};

static bool answer(void *opaque, enum bm_question question)
{
    return (1U << question) & *(unsigned *)opaque;
}

static void check_cell(enum bm_state_class state, enum bm_outcome outcome,
                       const char *want)
{
    cr_assert_eq(strlen(want), QUESTIONS);
    for (size_t i = 0; i < QUESTIONS; i++) {
        unsigned yes = 1U << questions[i];
        char got = letters[bm_outcome_decide(state, outcome, answer, &yes)];

        cr_expect_eq(got, want[i],
                     "class %d, outcome %d, question %zu: %c, should be %c",
                     (int)state, (int)outcome, i, got, want[i]);
    }
}

static void check_class(enum bm_state_class state,
                        const char *const want[BM_OUTCOME_COUNT])
{
    for (int i = 0; i < BM_OUTCOME_COUNT; i++)
        check_cell(state, (enum bm_outcome)i, want[i]);
}

TestSuite(outcome);

Test(outcome, before_the_switch_all_goes_back)
{
    static const char *const want[BM_OUTCOME_COUNT] = {
        [BM_OUTCOME_ENTERED] = "gggggggg",
        [BM_OUTCOME_NO_ANSWER] = "nnncnnnn",
        [BM_OUTCOME_NEEDS_OPERATOR] = "hhhhhhhh",
        [BM_OUTCOME_LOST] = "bbqbbbbb",
        [BM_OUTCOME_PROOF_FAILED] = "bbbbbbbb",
        [BM_OUTCOME_CHANGED] = "bbbbbbbb",
        [BM_OUTCOME_MISPLACED] = "hhhhbhhh",
        [BM_OUTCOME_STOPPED] = "bbbbbbbb",
        [BM_OUTCOME_IO] = "bbbbbbbb",
        [BM_OUTCOME_NO_SPACE] = "bbbbbbbb",
        [BM_OUTCOME_INVALID] = "bbbbbbbb",
        [BM_OUTCOME_OTHER] = "bbbbbbbb",
    };

    check_class(BM_CLASS_BEFORE_SWITCH, want);
}

Test(outcome, the_switch_goes_back_only_if_nothing_was_switched)
{
    static const char *const want[BM_OUTCOME_COUNT] = {
        [BM_OUTCOME_ENTERED] = "gggggggg",
        [BM_OUTCOME_NO_ANSWER] = "nnnnnnnn",
        [BM_OUTCOME_NEEDS_OPERATOR] = "hhhhhhhh",
        [BM_OUTCOME_LOST] = "nnrnbnnn",
        [BM_OUTCOME_PROOF_FAILED] = "bbbbbbbb",
        [BM_OUTCOME_CHANGED] = "nnnnbnnn",
        [BM_OUTCOME_MISPLACED] = "nnnnnnnn",
        [BM_OUTCOME_STOPPED] = "nnnnbnnn",
        [BM_OUTCOME_IO] = "nnrnbnnn",
        [BM_OUTCOME_NO_SPACE] = "nnnnbnnn",
        [BM_OUTCOME_INVALID] = "nnrnbnnn",
        [BM_OUTCOME_OTHER] = "nnnnbnnn",
    };

    check_class(BM_CLASS_SWITCHING, want);
}

Test(outcome, a_failed_proof_after_the_switch_undoes_the_move)
{
    static const char *const want[BM_OUTCOME_COUNT] = {
        [BM_OUTCOME_ENTERED] = "gggggggg",
        [BM_OUTCOME_NO_ANSWER] = "nnnnnnnn",
        [BM_OUTCOME_NEEDS_OPERATOR] = "hhhhhhhh",
        [BM_OUTCOME_LOST] = "nnrnnnnn",
        [BM_OUTCOME_PROOF_FAILED] = "uuuuuhuu",
        [BM_OUTCOME_CHANGED] = "nnnnnnnn",
        [BM_OUTCOME_MISPLACED] = "nnnnnnnn",
        [BM_OUTCOME_STOPPED] = "nnnnnnnn",
        [BM_OUTCOME_IO] = "nnrnnngh",
        [BM_OUTCOME_NO_SPACE] = "nnnnnngh",
        [BM_OUTCOME_INVALID] = "nnrnnnnn",
        [BM_OUTCOME_OTHER] = "nnnnnnnn",
    };

    check_class(BM_CLASS_PROVING_REST, want);
}

Test(outcome, a_failed_proof_of_the_merge_undoes_the_move)
{
    static const char *const want[BM_OUTCOME_COUNT] = {
        [BM_OUTCOME_ENTERED] = "gggggggg",
        [BM_OUTCOME_NO_ANSWER] = "nnnnnnnn",
        [BM_OUTCOME_NEEDS_OPERATOR] = "hhhhhhhh",
        [BM_OUTCOME_LOST] = "nnrnnnnn",
        [BM_OUTCOME_PROOF_FAILED] = "uuuuuuuu",
        [BM_OUTCOME_CHANGED] = "nnnnnnnn",
        [BM_OUTCOME_MISPLACED] = "nnnnnnnn",
        [BM_OUTCOME_STOPPED] = "nnnnnnnn",
        [BM_OUTCOME_IO] = "nnrnnngh",
        [BM_OUTCOME_NO_SPACE] = "nnnnnngh",
        [BM_OUTCOME_INVALID] = "nnrnnnnn",
        [BM_OUTCOME_OTHER] = "nnnnnnnn",
    };

    check_class(BM_CLASS_CONSOLIDATING, want);
}

Test(outcome, later_nothing_goes_back_by_itself)
{
    static const char *const want[BM_OUTCOME_COUNT] = {
        [BM_OUTCOME_ENTERED] = "gggggggg",
        [BM_OUTCOME_NO_ANSWER] = "nnnnnnnn",
        [BM_OUTCOME_NEEDS_OPERATOR] = "hhhhhhhh",
        [BM_OUTCOME_LOST] = "nnrnnnnn",
        [BM_OUTCOME_PROOF_FAILED] = "nnnnnnnn",
        [BM_OUTCOME_CHANGED] = "nnnnnnnn",
        [BM_OUTCOME_MISPLACED] = "nnnnnnnn",
        [BM_OUTCOME_STOPPED] = "nnnnnnnn",
        [BM_OUTCOME_IO] = "nnrnnngh",
        [BM_OUTCOME_NO_SPACE] = "nnnnnngh",
        [BM_OUTCOME_INVALID] = "nnrnnnnn",
        [BM_OUTCOME_OTHER] = "nnnnnnnn",
    };

    check_class(BM_CLASS_LATER, want);
}

/* Two answers at once: the earlier rule counts. */
static enum bm_action decide(enum bm_state_class state, enum bm_outcome outcome,
                             enum bm_question one, enum bm_question two)
{
    unsigned yes = 1U << one | 1U << two;

    return bm_outcome_decide(state, outcome, answer, &yes);
}

Test(outcome, what_a_person_must_see_is_not_tried_again)
{
    cr_expect_eq(decide(BM_CLASS_SWITCHING, BM_OUTCOME_IO, BM_IF_HELD,
                        BM_IF_RETRIES_LEFT),
                 BM_ACTION_RECOVER);
    cr_expect_eq(decide(BM_CLASS_SWITCHING, BM_OUTCOME_STOPPED, BM_IF_HELD,
                        BM_IF_NOTHING_SWITCHED),
                 BM_ACTION_RECOVER);
    cr_expect_eq(
        decide(BM_CLASS_LATER, BM_OUTCOME_IO, BM_IF_HELD, BM_IF_RETRIES_LEFT),
        BM_ACTION_RECOVER);
}

Test(outcome, the_switch_is_tried_again_before_it_goes_back)
{
    cr_expect_eq(decide(BM_CLASS_SWITCHING, BM_OUTCOME_IO, BM_IF_RETRIES_LEFT,
                        BM_IF_NOTHING_SWITCHED),
                 BM_ACTION_RETRY);
    cr_expect_eq(decide(BM_CLASS_SWITCHING, BM_OUTCOME_OTHER,
                        BM_IF_RETRIES_LEFT, BM_IF_NOTHING_SWITCHED),
                 BM_ACTION_RECOVER);
}

Test(outcome, space_is_waited_for_first)
{
    cr_expect_eq(
        decide(BM_CLASS_LATER, BM_OUTCOME_IO, BM_IF_HELD, BM_IF_SPACE_CAME),
        BM_ACTION_GO_ON);
    cr_expect_eq(decide(BM_CLASS_LATER, BM_OUTCOME_IO, BM_IF_RETRIES_LEFT,
                        BM_IF_SPACE_SHORT),
                 BM_ACTION_HOLD);
}

Test(outcome, every_list_of_rules_ends)
{
    for (int state = 0; state < BM_CLASS_COUNT; state++)
        for (int i = 0; i < BM_OUTCOME_COUNT; i++) {
            const struct bm_rule *rule = bm_outcome_rules(
                (enum bm_state_class)state, (enum bm_outcome)i);
            int n = 1;

            cr_assert_not_null(rule);
            for (; rule->when != BM_ALWAYS; rule++)
                cr_assert_leq(++n, 8);
        }
}

Test(outcome, an_error_number_is_one_outcome)
{
    static const struct {
        int code;
        bool held;
        enum bm_outcome want;
    } all[] = {
        {EAGAIN, false, BM_OUTCOME_ENTERED},
        {ETIMEDOUT, false, BM_OUTCOME_NO_ANSWER},
        {ETIMEDOUT, true, BM_OUTCOME_NO_ANSWER},
        {BM_NEEDS_OPERATOR, true, BM_OUTCOME_NEEDS_OPERATOR},
        {ENOSPC, true, BM_OUTCOME_NEEDS_OPERATOR},
        {EROFS, true, BM_OUTCOME_NEEDS_OPERATOR},
        {ENOSPC, false, BM_OUTCOME_NO_SPACE},
        {EROFS, false, BM_OUTCOME_OTHER},
        {ECONNRESET, false, BM_OUTCOME_LOST},
        {EBADMSG, false, BM_OUTCOME_PROOF_FAILED},
        {ESTALE, false, BM_OUTCOME_CHANGED},
        {ESTALE, true, BM_OUTCOME_MISPLACED},
        {ECANCELED, false, BM_OUTCOME_STOPPED},
        {ESRCH, false, BM_OUTCOME_STOPPED},
        {EBUSY, false, BM_OUTCOME_STOPPED},
        {EIO, false, BM_OUTCOME_IO},
        {EINVAL, false, BM_OUTCOME_INVALID},
        {ENOMEM, false, BM_OUTCOME_OTHER},
        {ENOENT, true, BM_OUTCOME_OTHER},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        cr_expect_eq(bm_outcome_of(-all[i].code, all[i].held), all[i].want,
                     "%s", strerror(all[i].code));
}

Test(outcome, every_state_has_its_class)
{
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        enum bm_state state = (enum bm_state)i;
        enum bm_state_class want = BM_CLASS_LATER;

        if (state < BM_STATE_SWITCHING)
            want = BM_CLASS_BEFORE_SWITCH;
        else if (state == BM_STATE_SWITCHING)
            want = BM_CLASS_SWITCHING;
        else if (state == BM_STATE_PROVING_REST)
            want = BM_CLASS_PROVING_REST;
        else if (state == BM_STATE_CONSOLIDATING)
            want = BM_CLASS_CONSOLIDATING;
        cr_expect_eq(bm_state_class_of(state), want, "%s",
                     bm_state_name(state));
    }
}
