// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The pace of a run whose guest tells nothing: limits, a hold, shares. */
#include "blockmig/run/pacing.h"

#include "tests/unit/run-fixture.h"

static void end(void)
{
    bm_pacing_free(run.pacing);
    run_end();
}

TestSuite(pacing, .init = run_begin_two, .fini = end);

static uint64_t share_of(size_t n)
{
    uint64_t share = 77;

    bm_pacing_share(run.pacing, n, &share);
    return share;
}

Test(pacing, there_is_one)
{
    struct bm_pacing *first;

    ok(bm_pacing_need(&run, &err), err);
    first = run.pacing;
    ok(bm_pacing_need(&run, &err), err);
    cr_expect_eq(run.pacing, first);
}

Test(pacing, nobody_is_spared_without_a_guest)
{
    cr_expect_not(bm_pacing_spares(NULL));
    ok(bm_pacing_need(&run, &err), err);
    cr_expect_not(bm_pacing_spares(run.pacing));
}

Test(pacing, the_jobs_of_the_disks_share_the_bandwidth)
{
    job->limits.bandwidth = 6000;
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take_jobs(run.pacing);
    cr_expect_eq(share_of(2), 3000);
    cr_expect_eq(share_of(3), 2000);
}

/* 0 would be no limit. */
Test(pacing, a_share_is_never_nothing)
{
    job->limits.bandwidth = 1;
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take_jobs(run.pacing);
    cr_expect_eq(share_of(2), 1);
}

Test(pacing, without_a_limit_a_share_has_none)
{
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take_jobs(run.pacing);
    cr_expect_eq(share_of(2), 0);
}

Test(pacing, in_a_step_without_jobs_there_are_no_shares)
{
    job->limits.bandwidth = 6000;
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take(run.pacing, NULL);
    cr_expect_eq(share_of(2), 77);
    bm_pacing_take_jobs_too(run.pacing);
    cr_expect_eq(share_of(2), 3000);
}

Test(pacing, a_new_limit_holds_at_once)
{
    struct bm_latency_state state;

    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take_jobs(run.pacing);
    bm_pacing_set(run.pacing, 0, 5000);
    cr_expect_eq(share_of(1), 5000);
    bm_pacing_state(run.pacing, &state);
    cr_expect_eq(state.rate, 5000);
}

static bool is_held(struct bm_rate_limit *limit)
{
    return bm_rate_limit_take(limit, 1) > 0;
}

Test(pacing, a_hold_stops_the_copy_that_comes_later_too)
{
    struct bm_rate_limit *limit = bm_rate_limit_new(0);

    cr_assert(limit);
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_hold(run.pacing, true);
    bm_pacing_take(run.pacing, limit);
    cr_expect(is_held(limit));
    bm_pacing_hold(run.pacing, false);
    cr_expect_not(is_held(limit));
    bm_pacing_take(run.pacing, NULL);
    bm_rate_limit_free(limit);
}

Test(pacing, the_copy_has_the_bandwidth)
{
    struct bm_rate_limit *limit = bm_rate_limit_new(0);

    cr_assert(limit);
    job->limits.bandwidth = 6000;
    ok(bm_pacing_need(&run, &err), err);
    bm_pacing_take(run.pacing, limit);
    cr_expect_eq(bm_rate_limit_rate(limit), 6000);
    bm_pacing_set(run.pacing, 0, 5000);
    cr_expect_eq(bm_rate_limit_rate(limit), 5000);
    bm_pacing_take(run.pacing, NULL);
    bm_rate_limit_free(limit);
}

Test(pacing, rest_and_free_accept_none)
{
    bm_pacing_rest(NULL);
    bm_pacing_free(NULL);
}
