// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The room of a running move: what too little of it leads to. */
#include "blockmig/run/space-watch.h"

#include "blockmig/run/ballast.h"
#include "blockmig/run/wait-space.h"
#include "tests/unit/run-fixture.h"

/* A disk under a source overlay in m, a file system of 64 MiB; copying. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
    move_to_small_store(64);
    add_source_overlay(0);
    bm_job_set_state(job, BM_STATE_COPYING);
}

TestSuite(space_watch, .init = begin, .fini = run_end);

static void fill(void)
{
    sh("dd if=/dev/zero of=m/full bs=64k 2>/dev/null || true");
}

/* --- a look --- */

Test(space_watch, enough_room_is_no_news)
{
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_WATCHED);
    cr_expect_str_empty(told);
}

Test(space_watch, too_little_lets_the_reserve_go_and_turns_back)
{
    ok(bm_ballast_make(&run, &err), err);
    fill();
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_STOP);
    cr_expect(fixture_status("test -e m/.blockmig-*-ballast") != 0);
    has(told, "has no room left");
    has(told, "the reserve is let go, going back");
    cr_expect_eq(run.watch.why.code, ENOSPC);
}

Test(space_watch, it_looks_once_a_second)
{
    bm_space_tick(&run);
    fill();
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_WATCHED);
    run.watch.looked_ms -= 1000;
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_STOP);
}

Test(space_watch, nobody_looks_in_the_pause_of_the_switch)
{
    fill();
    job->guest.window_paused = true;
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_WATCHED);
}

Test(space_watch, a_state_whose_overlays_do_not_grow_needs_none)
{
    fill();
    bm_job_set_state(job, BM_STATE_HELD);
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_WATCHED);
}

Test(space_watch, after_the_switch_nothing_waits_any_more)
{
    bm_job_fill_disk(job->disks)->switch_overlay = strdup(at("m/o"));
    sh("touch m/o new/vda");
    bm_job_set_state(job, BM_STATE_SETTLED);
    fill();
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_STOP);
    has(told, "no more waiting");
}

Test(space_watch, a_source_that_is_gone_leaves_forward_alone)
{
    sh("rm m/vda");
    bm_job_fill_plan(job)->on_target = true;
    fill();
    bm_space_tick(&run);
    cr_expect_eq(run.watch.verdict, BM_SPACE_FORWARD);
    has(told, "going forward, as the source takes no writes");
}

Test(space_watch, an_overlay_has_its_most)
{
    bm_job_fill_request(job)->overlay_max = 4096;
    bm_space_tick(&run);
    cr_expect_eq(run.watch.why.code, EDQUOT);
    has(told, "the overlays of disk vda hold more than --overlay-max 4 KiB");
}

/* --- the way back --- */

Test(space_watch, overlays_on_the_source_can_go_down)
{
    sh("rm m/vda");
    ok(bm_space_way_back(job, &err), err);
}

Test(space_watch, a_source_that_takes_no_writes_is_no_way_back)
{
    sh("rm m/vda");
    bm_job_fill_plan(job)->on_target = true;
    cr_expect_eq(bm_space_way_back(job, &err), -EROFS);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.remedy, "goes forward; with --back when");
}

Test(space_watch, nor_is_one_without_room)
{
    bm_job_fill_plan(job)->on_target = true;
    ok(bm_space_way_back(job, &err), err);
    fill();
    cr_expect_eq(bm_space_way_back(job, &err), -ENOSPC);
    cr_expect_eq(err.status, BM_EXIT_HELD);
}

/* --- a merge --- */

Test(space_watch, a_merge_into_holes_needs_their_room)
{
    ok(bm_space_merge(job, &err), err);
    fill();
    cr_expect_eq(bm_space_merge(job, &err), -ENOSPC);
}

/* The image takes no more room, and the guest's writes are no matter. */
Test(space_watch, one_into_an_image_without_holes_needs_none)
{
    sh("dd if=/dev/zero of=m/vda bs=1M count=1 2>/dev/null");
    fill();
    ok(bm_space_merge(job, &err), err);
}

/* --- waiting for some --- */

static void make_room(void *opaque, const struct bm_job *of,
                      const struct bm_progress *it)
{
    on_progress(opaque, of, it);
    if (n_progress == 2)
        sh("rm m/full");
}

Test(space_watch, a_step_that_failed_for_another_reason_does_not_wait)
{
    bm_fail(&err, EIO, "it failed");
    cr_expect_eq(bm_space_wait(&run, &err), -ENOENT);
    cr_expect_str_eq(err.what, "it failed");
    cr_expect_str_empty(told);
}

Test(space_watch, one_without_room_waits_until_there_is_some)
{
    struct bm_run_hooks hooks = run_hooks;

    hooks.progress = make_room;
    run.hooks = &hooks;
    fill();
    ok(bm_space_wait(&run, &err), err);
    cr_expect_eq(n_progress, 2);
    has(told, "waiting for some");
}

/* --- the guest --- */

Test(space_watch, a_guest_that_runs_again_is_said_to)
{
    make_host_at_source(true);
    job->guest.space_paused = true;
    ok(bm_space_let_run(&run, &err), err);
    cr_expect_not(job->guest.space_paused);
    has(told, "the guest runs again");
}

Test(space_watch, a_guest_that_is_off_is_left_alone)
{
    make_host_at_source(false);
    job->guest.space_paused = true;
    ok(bm_space_let_run(&run, &err), err);
    cr_expect(job->guest.space_paused);
}
