// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Internal snapshots that somebody has made in overlays of ours. */
#include "blockmig/step/internal-snapshots.h"

#include "tests/unit/run-fixture.h"

/* Two source overlays on the disk; the new side's have names. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
    add_source_overlay(0);
    add_source_overlay(0);
    bm_job_fill_disk(job->disks)->switch_overlay = strdup(at("new/o1"));
    bm_job_fill_disk(job->disks)->mirror_overlay = strdup(at("new/o3"));
}

TestSuite(internal_snapshots, .init = begin, .fini = run_end);

static void snapshot(const char *path)
{
    if (!exists(path))
        sh("qemu-img create -q -f qcow2 %s 1M", path);
    sh("qemu-img snapshot -c s1 %s", path);
}

/* The states in which one there is found. */
static void found_in(const enum bm_state *states, size_t n)
{
    for (int i = 0; i < BM_STATE_COUNT; i++) {
        enum bm_state state = (enum bm_state)i;
        bool want = false;

        for (size_t k = 0; k < n; k++)
            want |= states[k] == state;
        bm_job_set_state(job, state);
        cr_expect_eq(bm_internal_snapshots_check(job, &err),
                     want ? -BM_NEEDS_OPERATOR : 0, "%s", bm_state_name(state));
    }
}

Test(internal_snapshots, without_any_each_state_goes_on)
{
    found_in(NULL, 0);
}

Test(internal_snapshots, one_in_a_source_overlay_stops_what_merges_or_leaves_it)
{
    static const enum bm_state states[] = {BM_STATE_CONVERGING,
                                           BM_STATE_ROLLING_BACK};

    snapshot(job->disks[0].source.layers[0].path);
    found_in(states, 2);
}

Test(internal_snapshots, of_a_guest_that_is_off_the_switch_too)
{
    static const enum bm_state states[] = {
        BM_STATE_CONVERGING, BM_STATE_ROLLING_BACK, BM_STATE_SWITCHING};

    job->staged.off = true;
    snapshot(job->disks[0].source.layers[1].path);
    found_in(states, 3);
}

Test(internal_snapshots, one_on_the_new_side_stops_what_merges_that)
{
    static const enum bm_state states[] = {BM_STATE_CONSOLIDATING,
                                           BM_STATE_UNDOING};

    snapshot("new/o1");
    found_in(states, 2);
}

Test(internal_snapshots, the_mirror_overlay_counts_too)
{
    snapshot("new/o3");
    cr_expect_eq(bm_internal_snapshots_new(job, 0, &err), -BM_NEEDS_OPERATOR);
}

/* On its way back it leaves the new image itself behind. */
Test(internal_snapshots, of_a_pull_it_is_the_new_image)
{

    bm_job_fill_plan(job)->strategy = BM_STRATEGY_PULL;
    snapshot("new/vda");
    job->disks[0].image.ino = 1;
    bm_job_set_state(job, BM_STATE_ROLLING_BACK);
    cr_expect_eq(bm_internal_snapshots_check(job, &err), -BM_NEEDS_OPERATOR);
}

Test(internal_snapshots, who_made_them_and_what_to_do_is_said)
{
    snapshot("new/o1");
    bm_job_set_state(job, BM_STATE_CONSOLIDATING);
    (void)bm_internal_snapshots_check(job, &err);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.cause, "someone has made 1 internal snapshots meanwhile");
    has(err.cause, "new/o1");
    has(err.remedy, "virsh snapshot-delete");
}

Test(internal_snapshots, before_one_more_overlay_the_uppermost_counts)
{
    snapshot(job->disks[0].source.layers[1].path);
    ok(bm_internal_snapshots_top(job, &err), err);
    snapshot(job->disks[0].source.layers[0].path);
    cr_expect_eq(bm_internal_snapshots_top(job, &err), -BM_NEEDS_OPERATOR);
}

Test(internal_snapshots, a_disk_of_the_users_is_his_own)
{
    job->disks[0].overlays.n_source = 0;
    snapshot(job->disks[0].source.layers[0].path);
    ok(bm_internal_snapshots_top(job, &err), err);
}

Test(internal_snapshots, what_is_not_made_yet_holds_none)
{
    sh("touch new/o1");
    bm_job_set_state(job, BM_STATE_CONSOLIDATING);
    ok(bm_internal_snapshots_check(job, &err), err);
}
