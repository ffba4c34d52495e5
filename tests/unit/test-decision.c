// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* How the engine answers the questions of the rules, and what it does then. The
 * rules themselves: test-outcome.c. */
#include "blockmig/engine/engine-private.h"
#include "tests/unit/run-fixture.h"

static void begin(void)
{
    run_begin(BM_STRATEGY_BLOCKCOPY, 2);
    make_host_at_source(true);
}

TestSuite(decision, .init = begin, .fini = run_end);

static int decide(enum bm_state state, int code)
{
    bm_job_set_state(job, state);
    bm_fail(&err, code, "it failed");
    return bm_engine_decide(&run, -code, &err);
}

/* The host's domain stands on these chains now. */
static void stand_on(const struct bm_chain *vda, const struct bm_chain *vdb)
{
    const struct bm_chain *const chains[] = {vda, vdb};

    bm_domain_free(run.domain);
    run.domain = NULL;
    bm_connection_close(run.conn);
    make_host(true, chains);
}

/* --- what is done --- */

Test(decision, a_state_that_was_entered_goes_on)
{
    ok(decide(BM_STATE_COPYING, EAGAIN), err);
    cr_expect_eq(job->state, BM_STATE_COPYING);
    cr_expect_str_empty(told);
}

Test(decision, before_the_switch_it_rolls_back)
{
    ok(decide(BM_STATE_COPYING, EIO), err);
    cr_expect_eq(stored_state(), BM_STATE_ROLLING_BACK);
}

Test(decision, a_failed_proof_after_it_undoes)
{
    ok(decide(BM_STATE_PROVING_REST, EBADMSG), err);
    cr_expect_eq(stored_state(), BM_STATE_UNDOING);
}

Test(decision, a_call_without_an_answer_needs_recovery)
{
    cr_expect_eq(decide(BM_STATE_COPYING, ETIMEDOUT), -ETIMEDOUT);
    cr_expect_eq(stored_state(), BM_STATE_NEEDS_RECOVERY);
    cr_expect_eq(job->from, BM_STATE_COPYING);
}

Test(decision, and_rolls_back_then_if_a_cancel_was_asked)
{
    wants_cancel = true;
    cr_expect_eq(decide(BM_STATE_COPYING, ETIMEDOUT), -ETIMEDOUT);
    cr_expect_eq(job->from, BM_STATE_ROLLING_BACK);
}

Test(decision, what_a_person_must_judge_is_held)
{
    cr_expect_eq(decide(BM_STATE_COPYING, BM_NEEDS_OPERATOR),
                 -BM_NEEDS_OPERATOR);
    cr_expect_eq(stored_state(), BM_STATE_HELD);
}

/* --- retries --- */

Test(decision, a_retry_is_said)
{
    ok(decide(BM_STATE_RELEASING, EINVAL), err);
    cr_expect_eq(job->state, BM_STATE_RELEASING);
    cr_expect_eq(run.retries, 1);
    cr_expect_str_eq(told, "trying again: it failed\n");
}

Test(decision, a_lost_connection_before_the_switch_is_not_worth_a_line)
{
    ok(decide(BM_STATE_COPYING, ECONNRESET), err);
    cr_expect_eq(run.retries, 1);
    cr_expect_str_empty(told);
}

Test(decision, three_are_enough)
{
    for (int i = 0; i < 3; i++)
        ok(decide(BM_STATE_RELEASING, EINVAL), err);
    cr_expect_eq(decide(BM_STATE_RELEASING, EINVAL), -EINVAL);
    cr_expect_eq(job->state, BM_STATE_NEEDS_RECOVERY);
}

/* --- where the disks stand --- */

Test(decision, a_switch_that_switched_nothing_goes_back)
{
    ok(decide(BM_STATE_SWITCHING, ECANCELED), err);
    cr_expect_eq(job->state, BM_STATE_ROLLING_BACK);
}

Test(decision, one_that_switched_a_disk_does_not)
{
    stand_on(&job->disks[0].source, &job->disks[1].dest);
    cr_expect_eq(decide(BM_STATE_SWITCHING, ECANCELED), -ECANCELED);
    cr_expect_eq(job->state, BM_STATE_NEEDS_RECOVERY);
}

/* What a guest that is off needs the way back finds out. */
Test(decision, a_guest_that_is_off_goes_back)
{
    stand_on(&job->disks[0].source, &job->disks[1].dest);
    cr_assert_eq(virDomainDestroy(run.domain->dom), 0);
    ok(decide(BM_STATE_SWITCHING, ECANCELED), err);
    cr_expect_eq(job->state, BM_STATE_ROLLING_BACK);
}

Test(decision, a_guest_that_was_taken_away_is_for_a_person)
{
    cr_assert_eq(virDomainManagedSave(run.domain->dom, 0), 0);
    cr_expect_eq(decide(BM_STATE_SWITCHING, EIO), -BM_NEEDS_OPERATOR);
    cr_expect_eq(job->state, BM_STATE_HELD);
    has(err.remedy, "bring the guest back");
}

/* --- the old side --- */

Test(decision, an_old_image_that_cannot_be_written_holds_a_failed_proof)
{
    sh("rm old/vdb");
    cr_expect_eq(decide(BM_STATE_PROVING_REST, EBADMSG), -EBADMSG);
    cr_expect_eq(job->state, BM_STATE_HELD);
    cr_expect(job->guest.doubt);
    has(err.cause, "and may miss what the guest wrote last");
    has(err.remedy, "--accept` stays on the new image");
}

Test(decision, one_in_doubt_holds_it_for_good)
{
    job->guest.doubt = true;
    cr_expect_eq(decide(BM_STATE_PROVING_REST, EBADMSG), -EBADMSG);
    cr_expect_eq(job->state, BM_STATE_HELD);
}

/* --- room --- */

static void make_room(void *opaque, const struct bm_job *of,
                      const struct bm_progress *it)
{
    on_progress(opaque, of, it);
    (void)fixture_status("rm -f m/full");
}

Test(decision, a_step_that_lacked_room_is_tried_again_when_there_is_some)
{
    struct bm_run_hooks hooks = run_hooks;

    need_mount("tmpfs", "size=64M");
    bm_job_fill_disk(job->disks)->switch_overlay = strdup(at("m/o"));
    sh("touch m/o && dd if=/dev/zero of=m/full bs=64k 2>/dev/null || true");
    hooks.progress = make_room;
    run.hooks = &hooks;
    ok(decide(BM_STATE_CONSOLIDATING, ENOSPC), err);
    cr_expect_eq(job->state, BM_STATE_CONSOLIDATING);
    has(told, "waiting for some");
}

Test(decision, one_that_failed_for_another_reason_needs_recovery)
{
    cr_expect_eq(decide(BM_STATE_CONSOLIDATING, ENOSPC), -ENOSPC);
    cr_expect_eq(job->state, BM_STATE_NEEDS_RECOVERY);
}
