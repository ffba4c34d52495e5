// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the user asks of a running job: limits, and a pause. */
#include "blockmig/run/requests.h"

#include "blockmig/run/pacing.h"
#include "tests/unit/run-fixture.h"

TestSuite(requests, .init = run_begin_staged, .fini = run_end);

static void want_bandwidth(uint64_t bandwidth)
{
    limits_wanted =
        (struct bm_limits){.parts = BM_LIMIT_BANDWIDTH, .bandwidth = bandwidth};
    wants_limits = true;
}

Test(requests, a_limit_is_written_down_and_told)
{
    struct bm_job *stored;

    job->limits.settle_ms = 7;
    want_bandwidth(1 << 20);
    bm_run_take_requests(&run);
    stored = stored_job();
    cr_expect_eq(stored->limits.bandwidth, 1U << 20);
    cr_expect_eq(stored->limits.settle_ms, 7);
    has(told, "set to bandwidth 1 MiB/s (it was bandwidth ");
    bm_job_free(stored);
}

Test(requests, a_limit_that_cannot_be_written_does_not_hold)
{
    job->limits.bandwidth = 5;
    want_bandwidth(1 << 20);
    break_store();
    bm_run_take_requests(&run);
    cr_expect_eq(job->limits.bandwidth, 5);
}

Test(requests, a_limit_is_taken_once)
{
    want_bandwidth(1 << 20);
    bm_run_take_requests(&run);
    told[0] = '\0';
    bm_run_take_requests(&run);
    cr_expect_str_empty(told);
}

Test(requests, the_pace_has_a_new_limit_at_once)
{
    uint64_t share = 0;

    ok(bm_pacing_begin(&run, &err), err);
    bm_pacing_take_jobs(run.pacing);
    want_bandwidth(1 << 20);
    bm_run_take_requests(&run);
    bm_pacing_share(run.pacing, 1, &share);
    cr_expect_eq(share, 1U << 20);
    bm_pacing_free(run.pacing);
}

Test(requests, a_pause_is_heard_where_a_state_can_stand_still)
{
    wants_pause = true;
    bm_job_set_state(job, BM_STATE_COPYING);
    bm_run_take_requests(&run);
    cr_expect(job->paused);
    cr_expect_str_eq(told, "paused\n");
}

Test(requests, no_other_state_stands_still)
{
    wants_pause = true;
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        const struct bm_state_traits *traits =
            bm_state_traits_of((enum bm_state)i);

        bm_job_set_state(job, (enum bm_state)i);
        job->paused = false;
        bm_run_take_requests(&run);
        cr_expect_eq(job->paused, traits->may_pause, "%s", traits->name);
    }
}

Test(requests, a_cancel_ends_a_pause)
{
    wants_pause = true;
    bm_job_set_state(job, BM_STATE_COPYING);
    bm_run_take_requests(&run);
    wants_cancel = true;
    bm_run_take_requests(&run);
    cr_expect_not(job->paused);
    cr_expect_str_eq(told, "paused\ngoes on\n");
}

Test(requests, a_pause_is_no_time_of_the_state)
{
    wants_pause = true;
    run.phase_ms = 1000;
    bm_job_set_state(job, BM_STATE_COPYING);
    bm_run_take_requests(&run);
    run.paused_ms -= 5000;
    wants_pause = false;
    bm_run_take_requests(&run);
    cr_expect(run.phase_ms >= 6000 && run.phase_ms < 11000);
}

Test(requests, a_user_that_asks_nothing_may_have_no_hooks)
{
    struct bm_run_hooks hooks = run_hooks;

    hooks.limits = NULL;
    hooks.paused = NULL;
    run.hooks = &hooks;
    bm_job_set_state(job, BM_STATE_COPYING);
    bm_run_take_requests(&run);
    cr_expect_not(job->paused);
}
