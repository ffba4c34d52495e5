// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A settled job: how long it waits, and what ends that. */
#include "blockmig/engine/engine-private.h"
#include "tests/unit/run-fixture.h"

/* Its new image is there, and was made by it. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
    make_new_image(0);
    bm_job_set_state(job, BM_STATE_SETTLED);
    job->limits.settle_ms = 60000;
}

TestSuite(settle, .init = begin, .fini = run_end, .timeout = 30);

Test(settle, no_time_is_no_wait)
{
    job->limits.settle_ms = 0;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_eq(n_progress, 0);
    cr_expect_str_empty(told);
}

Test(settle, it_waits_as_long_as_was_asked)
{
    int64_t from = bm_now_ms();

    job->limits.settle_ms = 150;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_geq(bm_now_ms() - from, 150);
    has(told, "waiting for 0 s: `blockmig job undo ");
}

/* A process that comes after another waits for what is left only. */
Test(settle, its_time_began_when_it_was_settled)
{
    job->settled_ms = bm_wall_ms() - 60000;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_eq(n_progress, 0);
}

Test(settle, when_it_began_is_kept)
{
    job->limits.settle_ms = 0;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_lt(bm_wall_ms() - job->settled_ms, 10000);
}

Test(settle, accept_ends_it)
{
    until_decision = 1;
    decision_wanted = BM_DECISION_ACCEPT;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_eq(n_progress, 1);
    cr_expect_eq(job->state, BM_STATE_SETTLED);
}

Test(settle, undo_goes_back)
{
    decision_wanted = BM_DECISION_UNDO;
    cr_expect_eq(bm_engine_settle(&run, &err), -EAGAIN);
    cr_expect_eq(stored_state(), BM_STATE_UNDOING);
    has(job->result.error, "the move of vm1 was undone, as was asked");
}

Test(settle, undo_needs_a_source_that_takes_writes)
{
    add_source_overlay(0);
    bm_job_fill_plan(job)->on_target = true;
    sh("rm old/vda");
    decision_wanted = BM_DECISION_UNDO;
    cr_expect_eq(bm_engine_settle(&run, &err), -EROFS);
    cr_expect_eq(job->state, BM_STATE_SETTLED);
}

Test(settle, who_cancels_does_not_wait)
{
    wants_cancel = true;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_eq(job->state, BM_STATE_SETTLED);
}

static void end_pause(void *opaque, const struct bm_job *of,
                      const struct bm_progress *it)
{
    on_progress(opaque, of, it);
    wants_pause = n_progress < 3;
}

Test(settle, a_pause_stops_the_clock)
{
    struct bm_run_hooks hooks = run_hooks;

    hooks.progress = end_pause;
    run.hooks = &hooks;
    wants_pause = true;
    job->settled_ms = bm_wall_ms() - 60000;
    ok(bm_engine_settle(&run, &err), err);
    cr_expect_eq(n_progress, 3);
}

Test(settle, its_time_can_be_set_while_it_waits)
{
    wants_limits = true;
    limits_wanted =
        (struct bm_limits){.parts = BM_LIMIT_SETTLE, .settle_ms = 0};
    ok(bm_engine_settle(&run, &err), err);
}

Test(settle, a_new_image_that_is_gone_is_found)
{
    sh("mv new/vda new/x && touch new/vda");
    decision_wanted = BM_DECISION_ACCEPT;
    cr_expect_eq(bm_engine_settle(&run, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.remedy, "put that file back");
}
