// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* How a job turns back, or stops: what it says, and what a later process finds
 * of that. */
#include "blockmig/engine/engine-private.h"
#include "tests/unit/run-fixture.h"

static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
    bm_job_set_state(job, BM_STATE_COPYING);
    bm_fail(&err, ENOSPC, "cannot copy");
    bm_cause(&err, "it is full");
}

TestSuite(going_back, .init = begin, .fini = run_end);

/* --- the way that is named --- */

Test(going_back, a_remedy_leads_to_job_resume)
{
    char want[128];

    bm_remedy(&err, "make room");
    bm_engine_name_the_way(job, &err);
    snprintf(want, sizeof want, "make room, then `blockmig job resume %s`",
             job->id);
    cr_expect_str_eq(err.remedy, want);
}

Test(going_back, without_a_remedy_it_is_the_remedy)
{
    bm_engine_name_the_way(job, &err);
    has(err.remedy, "` when that is mended, or with --back to go back");
}

Test(going_back, it_is_named_once)
{
    bm_remedy(&err, "`blockmig job resume x --accept`");
    bm_engine_name_the_way(job, &err);
    cr_expect_str_eq(err.remedy, "`blockmig job resume x --accept`");
}

/* --- stopping --- */

Test(going_back, a_job_that_stops_is_found_as_it_was)
{
    struct bm_job *stored;

    job->paused = true;
    cr_expect_eq(bm_engine_stop(&run, BM_STATE_HELD, &err), -ENOSPC);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    stored = stored_job();
    cr_expect_eq(stored->state, BM_STATE_HELD);
    cr_expect_eq(stored->from, BM_STATE_COPYING);
    cr_expect_eq(stored->result.exit_status, BM_EXIT_HELD);
    cr_expect_not(stored->paused);
    has(stored->result.error, "cannot copy: it is full");
    bm_job_free(stored);
    cr_expect_str_eq(told, "held\n");
}

Test(going_back, it_goes_on_where_the_step_said)
{
    (void)bm_run_stop_at(&run, BM_STATE_ROLLING_BACK, 0);
    (void)bm_engine_stop(&run, BM_STATE_NEEDS_RECOVERY, &err);
    cr_expect_eq(job->from, BM_STATE_ROLLING_BACK);
}

Test(going_back, a_stop_that_cannot_be_written_is_not_told)
{
    break_store();
    cr_expect_eq(bm_engine_stop(&run, BM_STATE_HELD, &err), -ENOSPC);
    cr_expect_str_empty(told);
}

/* --- turning back --- */

Test(going_back, the_reason_is_in_the_journal)
{
    struct bm_job *stored;

    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    stored = stored_job();
    cr_expect_eq(stored->state, BM_STATE_ROLLING_BACK);
    has(stored->result.error, "cannot copy: it is full");
    bm_job_free(stored);
    cr_expect_eq(run.reason.code, ENOSPC);
}

Test(going_back, a_failed_proof_stays_its_exit_status)
{
    bm_status(&err, BM_EXIT_PROOF);
    ok(bm_engine_back(&run, BM_STATE_UNDOING, &err), err);
    cr_expect_eq(run.reason.status, BM_EXIT_PROOF);
    cr_expect_eq(job->result.exit_status, BM_EXIT_PROOF);
}

Test(going_back, nothing_waits_for_a_person_any_more)
{
    bm_status(&err, BM_EXIT_HELD);
    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    cr_expect_eq(run.reason.status, BM_EXIT_FAILED);
}

Test(going_back, a_cancel_has_one_wording)
{
    err = (struct bm_error)BM_ERROR_INIT;
    bm_fail(&err, ECANCELED, "qemu-img was stopped");
    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    cr_expect_str_eq(run.reason.what, "the move of vm1 stops");
}

static void room_is_short(void)
{
    run.watch.verdict = BM_SPACE_STOP;
    bm_fail(&run.watch.why, ENOSPC, "no room");
}

Test(going_back, want_of_room_is_the_reason)
{
    room_is_short();
    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    cr_expect_str_eq(run.reason.what, "no room");
}

Test(going_back, unless_the_user_cancelled)
{
    room_is_short();
    job->cancel = true;
    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    cr_expect_str_eq(run.reason.what, "cannot copy");
}

Test(going_back, or_a_proof_failed)
{
    room_is_short();
    bm_status(&err, BM_EXIT_PROOF);
    ok(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), err);
    cr_expect_str_eq(run.reason.what, "cannot copy");
}

Test(going_back, or_it_was_switched)
{
    room_is_short();
    bm_job_set_state(job, BM_STATE_PROVING_REST);
    ok(bm_engine_back(&run, BM_STATE_UNDOING, &err), err);
    cr_expect_str_eq(run.reason.what, "cannot copy");
}

Test(going_back, a_source_that_takes_no_writes_holds_it)
{
    add_source_overlay(0);
    bm_job_fill_plan(job)->on_target = true;
    sh("rm old/vda");
    cr_expect_eq(bm_engine_back(&run, BM_STATE_ROLLING_BACK, &err), -ENOSPC);
    cr_expect_eq(stored_state(), BM_STATE_HELD);
    has(err.cause, "cannot go back to ");
}
