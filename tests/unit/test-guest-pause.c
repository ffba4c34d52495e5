// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A pause of the guest that is ours, and the freeze of its file systems, on
 * libvirt's test driver and with a real guard. */
#include "blockmig/run/guest-pause.h"

#include "blockmig/guard/guard.h"
#include "blockmig/run/quiesce.h"
#include "tests/unit/run-fixture.h"

/* The guard has a host of its own by the same file: what it does there is not
 * seen here. */
static void begin(void)
{
    char uri[300];

    run_begin(BM_STRATEGY_BLOCKCOPY, 1);
    job->limits.max_pause_ms = 60000;
    snprintf(uri, sizeof uri, "test://%s", at("host.xml"));
    ok(bm_guard_start(uri, &run.guard, &err), err);
    make_host_at_source(true);
}

static void end(void)
{
    bm_guard_stop(run.guard);
    run_end();
}

TestSuite(guest_pause, .init = begin, .fini = end);

static int guest_state(void)
{
    ok(bm_run_refresh(&run, &err), err);
    return run.domain->state;
}

static struct bm_pause must_pause(void)
{
    struct bm_pause pause;

    ok(bm_pause_begin(&run, &pause, &err), err);
    return pause;
}

Test(guest_pause, a_pause_is_written_down_and_made)
{
    struct bm_job *stored;

    must_pause();
    cr_expect_eq(guest_state(), VIR_DOMAIN_PAUSED);
    stored = stored_job();
    cr_expect(stored->guest.window_paused);
    bm_job_free(stored);
    ok(bm_pause_resume(&run, &err), err);
}

Test(guest_pause, its_end_is_seen_and_measured)
{
    struct bm_pause pause = must_pause();

    bm_sleep_ms(20);
    ok(bm_pause_resume(&run, &err), err);
    ok(bm_pause_end(&run, &pause, &err), err);
    cr_expect_eq(guest_state(), VIR_DOMAIN_RUNNING);
    cr_expect_not(job->guest.window_paused);
    cr_expect_not(pause.acted);
    cr_expect_eq(job->result.pauses, 1);
    cr_expect(job->result.pause_ms_longest >= 20 &&
              job->result.pause_ms_longest < 5000);
}

Test(guest_pause, two_pauses_are_added_up)
{
    for (int i = 0; i < 2; i++) {
        struct bm_pause pause = must_pause();

        bm_sleep_ms(10);
        ok(bm_pause_resume(&run, &err), err);
        ok(bm_pause_end(&run, &pause, &err), err);
    }
    cr_expect_eq(job->result.pauses, 2);
    cr_expect_geq(job->result.pause_ms_total, 20.0);
    cr_expect_lt(job->result.pause_ms_longest, job->result.pause_ms_total);
}

Test(guest_pause, a_guest_that_is_paused_still_has_not_ended_it)
{
    struct bm_pause pause = must_pause();

    cr_expect_eq(bm_pause_end(&run, &pause, &err), -EIO);
    has(err.what, "vm1 is still paused");
    cr_expect(job->guest.window_paused);
}

Test(guest_pause, a_guest_that_runs_already_is_fine)
{
    ok(bm_pause_resume(&run, &err), err);
}

Test(guest_pause, a_guest_that_is_off_is_fine)
{
    struct bm_pause pause = must_pause();

    cr_assert_eq(virDomainDestroy(run.domain->dom), 0);
    ok(bm_pause_resume(&run, &err), err);
    ok(bm_pause_end(&run, &pause, &err), err);
}

Test(guest_pause, without_the_guard_nothing_is_paused)
{
    struct bm_pause pause;

    sh("echo '<node/>' >host.xml");
    cr_expect_lt(bm_pause_begin(&run, &pause, &err), 0);
    cr_expect_eq(guest_state(), VIR_DOMAIN_RUNNING);
    cr_expect_not(job->guest.window_paused);
}

Test(guest_pause, nor_is_what_cannot_be_written_down)
{
    struct bm_pause pause;

    break_store();
    cr_expect_lt(bm_pause_begin(&run, &pause, &err), 0);
    cr_expect_eq(guest_state(), VIR_DOMAIN_RUNNING);
    cr_expect_not(job->guest.window_paused);
}

Test(guest_pause, a_pause_of_a_dead_run_is_taken_up_by_the_guard)
{
    ok(bm_pause_adopt(&run, &err), err);
    ok(bm_guard_disarm(run.guard, &err), err);
}

/* --- the file systems: the test driver's guest has no agent --- */

Test(guest_pause, a_guest_without_an_agent_freezes_nothing)
{
    struct bm_quiesce quiesce;

    cr_expect_eq(bm_quiesce_begin(&run, &quiesce, &err), -EIO);
    has(err.remedy, "leave --quiesce out");
    cr_expect_eq(err.status, BM_EXIT_FAILED);
    cr_expect_not(job->guest.fs_frozen);
}

Test(guest_pause, a_freeze_that_cannot_be_written_down_is_not_asked_for)
{
    struct bm_quiesce quiesce;

    break_store();
    cr_expect_lt(bm_quiesce_begin(&run, &quiesce, &err), 0);
    has_not(err.remedy, "--quiesce");
    cr_expect_not(job->guest.fs_frozen);
}

Test(guest_pause, a_guest_that_is_off_has_nothing_frozen)
{
    job->guest.fs_frozen = true;
    cr_assert_eq(virDomainDestroy(run.domain->dom), 0);
    ok(bm_quiesce_recover(&run, &err), err);
    cr_expect_not(job->guest.fs_frozen);
}

Test(guest_pause, what_an_agent_does_not_answer_may_be_frozen)
{
    job->guest.fs_frozen = true;
    cr_expect_eq(bm_quiesce_recover(&run, &err), -ETIMEDOUT);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.what, "the file systems of vm1 may be frozen");
    cr_expect(job->guest.fs_frozen);
}

Test(guest_pause, what_was_not_frozen_is_not_thawed)
{
    ok(bm_quiesce_recover(&run, &err), err);
}
