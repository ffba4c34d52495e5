// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/engine/outcome.h"

#include "blockmig/job/job.h"

#include <errno.h>

enum bm_state_class bm_state_class_of(enum bm_state state)
{
    switch (state) {
    case BM_STATE_PLANNED:
    case BM_STATE_PREFLIGHT:
    case BM_STATE_ALLOCATING:
    case BM_STATE_FREEZING:
    case BM_STATE_COPYING:
    case BM_STATE_PROVING:
    case BM_STATE_ITERATING:
    case BM_STATE_CONVERGING:
    case BM_STATE_READY:
        return BM_CLASS_BEFORE_SWITCH;
    case BM_STATE_SWITCHING:
        return BM_CLASS_SWITCHING;
    case BM_STATE_PROVING_REST:
        return BM_CLASS_PROVING_REST;
    case BM_STATE_CONSOLIDATING:
        return BM_CLASS_CONSOLIDATING;
    case BM_STATE_SETTLED:
    case BM_STATE_RELEASING:
    case BM_STATE_UNDOING:
    case BM_STATE_ROLLING_BACK:
    case BM_STATE_HELD:
    case BM_STATE_NEEDS_RECOVERY:
    case BM_STATE_DONE:
    case BM_STATE_ROLLED_BACK:
        break;
    }
    return BM_CLASS_LATER;
}

enum bm_outcome bm_outcome_of(int rc, bool held)
{
    switch (-rc) {
    case EAGAIN:
        return BM_OUTCOME_ENTERED;
    case ETIMEDOUT:
        return BM_OUTCOME_NO_ANSWER;
    case BM_NEEDS_OPERATOR:
        return BM_OUTCOME_NEEDS_OPERATOR;
    case ENOSPC:
        return held ? BM_OUTCOME_NEEDS_OPERATOR : BM_OUTCOME_NO_SPACE;
    case EROFS:
        return held ? BM_OUTCOME_NEEDS_OPERATOR : BM_OUTCOME_OTHER;
    case ECONNRESET:
        return BM_OUTCOME_LOST;
    case EBADMSG:
        return BM_OUTCOME_PROOF_FAILED;
    case ESTALE:
        return held ? BM_OUTCOME_MISPLACED : BM_OUTCOME_CHANGED;
    case ECANCELED:
    case ESRCH:
    case EBUSY:
        return BM_OUTCOME_STOPPED;
    case EIO:
        return BM_OUTCOME_IO;
    case EINVAL:
        return BM_OUTCOME_INVALID;
    default:
        return BM_OUTCOME_OTHER;
    }
}

static const struct bm_rule go_on[] = {{BM_ALWAYS, BM_ACTION_GO_ON}};
static const struct bm_rule roll_back[] = {{BM_ALWAYS, BM_ACTION_ROLL_BACK}};
static const struct bm_rule undo[] = {{BM_ALWAYS, BM_ACTION_UNDO}};
static const struct bm_rule hold[] = {{BM_ALWAYS, BM_ACTION_HOLD}};
static const struct bm_rule recover[] = {{BM_ALWAYS, BM_ACTION_RECOVER}};

/* Whoever cancelled wants to go back as soon as that is possible. */
static const struct bm_rule recover_backwards[] = {
    {BM_IF_CANCEL_ASKED, BM_ACTION_RECOVER_BACK},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* The connection is opened again, and the step looks again. */
static const struct bm_rule retry_or_roll_back[] = {
    {BM_IF_RETRIES_LEFT, BM_ACTION_RETRY_QUIETLY},
    {BM_ALWAYS, BM_ACTION_ROLL_BACK},
};

/* A snapshot that somebody made is in the way back too. */
static const struct bm_rule roll_back_or_hold[] = {
    {BM_IF_NOTHING_SWITCHED, BM_ACTION_ROLL_BACK},
    {BM_ALWAYS, BM_ACTION_HOLD},
};

/* The pivot was not asked for, or did not happen. */
static const struct bm_rule roll_back_if_not_switched[] = {
    {BM_IF_HELD, BM_ACTION_RECOVER},
    {BM_IF_NOTHING_SWITCHED, BM_ACTION_ROLL_BACK},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* The world changed under the step (the guest went off, libvirtd was started
 * anew): the step looks again and takes the other way. */
static const struct bm_rule retry_the_switch[] = {
    {BM_IF_HELD, BM_ACTION_RECOVER},
    {BM_IF_RETRIES_LEFT, BM_ACTION_RETRY},
    {BM_IF_NOTHING_SWITCHED, BM_ACTION_ROLL_BACK},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* Looking again does not help against these. */
static const struct bm_rule recover_the_switch[] = {
    {BM_IF_HELD, BM_ACTION_RECOVER},
    {BM_IF_RETRIES_LEFT, BM_ACTION_RECOVER},
    {BM_IF_NOTHING_SWITCHED, BM_ACTION_ROLL_BACK},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

static const struct bm_rule retry_or_recover[] = {
    {BM_IF_HELD, BM_ACTION_RECOVER},
    {BM_IF_RETRIES_LEFT, BM_ACTION_RETRY},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* After the switch nothing goes back for want of space: it is waited for. */
static const struct bm_rule wait_for_space[] = {
    {BM_IF_SPACE_CAME, BM_ACTION_GO_ON},
    {BM_IF_SPACE_SHORT, BM_ACTION_HOLD},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* QEMU may say EIO where there was no space. */
static const struct bm_rule wait_or_retry[] = {
    {BM_IF_SPACE_CAME, BM_ACTION_GO_ON}, {BM_IF_SPACE_SHORT, BM_ACTION_HOLD},
    {BM_IF_HELD, BM_ACTION_RECOVER},     {BM_IF_RETRIES_LEFT, BM_ACTION_RETRY},
    {BM_ALWAYS, BM_ACTION_RECOVER},
};

/* Going back would lose what the guest wrote last, if the old side failed. */
static const struct bm_rule undo_unless_old_side_fails[] = {
    {BM_IF_OLD_SIDE_FAILS, BM_ACTION_HOLD},
    {BM_ALWAYS, BM_ACTION_UNDO},
};

static const struct bm_rule *const table[BM_CLASS_COUNT][BM_OUTCOME_COUNT] = {
    [BM_CLASS_BEFORE_SWITCH] =
        {
            [BM_OUTCOME_ENTERED] = go_on,
            [BM_OUTCOME_NO_ANSWER] = recover_backwards,
            [BM_OUTCOME_NEEDS_OPERATOR] = hold,
            [BM_OUTCOME_LOST] = retry_or_roll_back,
            [BM_OUTCOME_PROOF_FAILED] = roll_back,
            [BM_OUTCOME_CHANGED] = roll_back,
            [BM_OUTCOME_MISPLACED] = roll_back_or_hold,
            [BM_OUTCOME_STOPPED] = roll_back,
            [BM_OUTCOME_IO] = roll_back,
            [BM_OUTCOME_NO_SPACE] = roll_back,
            [BM_OUTCOME_INVALID] = roll_back,
            [BM_OUTCOME_OTHER] = roll_back,
        },
    [BM_CLASS_SWITCHING] =
        {
            [BM_OUTCOME_ENTERED] = go_on,
            [BM_OUTCOME_NO_ANSWER] = recover,
            [BM_OUTCOME_NEEDS_OPERATOR] = hold,
            [BM_OUTCOME_LOST] = retry_the_switch,
            /* a cold move that proved again after a kill */
            [BM_OUTCOME_PROOF_FAILED] = roll_back,
            [BM_OUTCOME_CHANGED] = roll_back_if_not_switched,
            [BM_OUTCOME_MISPLACED] = recover,
            [BM_OUTCOME_STOPPED] = roll_back_if_not_switched,
            [BM_OUTCOME_IO] = retry_the_switch,
            [BM_OUTCOME_NO_SPACE] = recover_the_switch,
            [BM_OUTCOME_INVALID] = retry_the_switch,
            [BM_OUTCOME_OTHER] = recover_the_switch,
        },
    [BM_CLASS_PROVING_REST] =
        {
            [BM_OUTCOME_ENTERED] = go_on,
            [BM_OUTCOME_NO_ANSWER] = recover,
            [BM_OUTCOME_NEEDS_OPERATOR] = hold,
            [BM_OUTCOME_LOST] = retry_or_recover,
            [BM_OUTCOME_PROOF_FAILED] = undo_unless_old_side_fails,
            [BM_OUTCOME_CHANGED] = recover,
            [BM_OUTCOME_MISPLACED] = recover,
            [BM_OUTCOME_STOPPED] = recover,
            [BM_OUTCOME_IO] = wait_or_retry,
            [BM_OUTCOME_NO_SPACE] = wait_for_space,
            [BM_OUTCOME_INVALID] = retry_or_recover,
            [BM_OUTCOME_OTHER] = recover,
        },
    [BM_CLASS_CONSOLIDATING] =
        {
            [BM_OUTCOME_ENTERED] = go_on,
            [BM_OUTCOME_NO_ANSWER] = recover,
            [BM_OUTCOME_NEEDS_OPERATOR] = hold,
            [BM_OUTCOME_LOST] = retry_or_recover,
            [BM_OUTCOME_PROOF_FAILED] = undo,
            [BM_OUTCOME_CHANGED] = recover,
            [BM_OUTCOME_MISPLACED] = recover,
            [BM_OUTCOME_STOPPED] = recover,
            [BM_OUTCOME_IO] = wait_or_retry,
            [BM_OUTCOME_NO_SPACE] = wait_for_space,
            [BM_OUTCOME_INVALID] = retry_or_recover,
            [BM_OUTCOME_OTHER] = recover,
        },
    [BM_CLASS_LATER] =
        {
            [BM_OUTCOME_ENTERED] = go_on,
            [BM_OUTCOME_NO_ANSWER] = recover,
            [BM_OUTCOME_NEEDS_OPERATOR] = hold,
            [BM_OUTCOME_LOST] = retry_or_recover,
            [BM_OUTCOME_PROOF_FAILED] = recover,
            [BM_OUTCOME_CHANGED] = recover,
            [BM_OUTCOME_MISPLACED] = recover,
            [BM_OUTCOME_STOPPED] = recover,
            [BM_OUTCOME_IO] = wait_or_retry,
            [BM_OUTCOME_NO_SPACE] = wait_for_space,
            [BM_OUTCOME_INVALID] = retry_or_recover,
            [BM_OUTCOME_OTHER] = recover,
        },
};

const struct bm_rule *bm_outcome_rules(enum bm_state_class state,
                                       enum bm_outcome outcome)
{
    return table[state][outcome];
}

enum bm_action
bm_outcome_decide(enum bm_state_class state, enum bm_outcome outcome,
                  bool (*answer)(void *opaque, enum bm_question question),
                  void *opaque)
{
    const struct bm_rule *rule = bm_outcome_rules(state, outcome);

    while (rule->when != BM_ALWAYS && !answer(opaque, rule->when))
        rule++;
    return rule->then;
}
