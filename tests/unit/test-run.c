// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* One running job: its states, its progress, and where its disks stand. */
#include "blockmig/job/disk-location.h"
#include "tests/unit/run-fixture.h"

TestSuite(run, .init = run_begin_two, .fini = run_end);

/* --- states --- */

Test(run, a_state_is_written_down_and_told)
{
    ok(bm_run_enter(&run, BM_STATE_COPYING, &err), err);
    cr_expect_eq(job->state, BM_STATE_COPYING);
    cr_expect_eq(stored_state(), BM_STATE_COPYING);
    cr_expect_str_eq(told, "copying\n");
}

Test(run, a_state_that_cannot_be_written_is_not_entered)
{
    bm_job_set_state(job, BM_STATE_ALLOCATING);
    break_store();
    cr_expect_lt(bm_run_enter(&run, BM_STATE_COPYING, &err), 0);
    cr_expect_eq(job->state, BM_STATE_ALLOCATING);
    cr_expect_str_empty(told);
}

Test(run, a_state_that_cannot_stand_still_ends_the_pause)
{
    job->paused = true;
    ok(bm_run_enter(&run, BM_STATE_PROVING, &err), err);
    cr_expect(job->paused);
    ok(bm_run_enter(&run, BM_STATE_SWITCHING, &err), err);
    cr_expect_not(job->paused);
}

Test(run, a_state_begins_its_time_anew)
{
    run.phase_ms = 0;
    ok(bm_run_enter(&run, BM_STATE_COPYING, &err), err);
    cr_expect_lt(bm_now_ms() - run.phase_ms, 5000);
}

/* --- progress --- */

Test(run, progress_has_a_rate)
{
    bm_job_set_state(job, BM_STATE_COPYING);
    run.phase_ms = bm_now_ms() - 2000;
    bm_run_progress(&run, 4000, 8000);
    cr_expect_eq(progress.state, BM_STATE_COPYING);
    cr_expect_eq(progress.bytes_done, 4000);
    cr_expect_eq(progress.bytes_total, 8000);
    cr_expect(progress.rate > 1500 && progress.rate <= 2000);
    cr_expect_geq(progress.elapsed_ms, 2000);
}

Test(run, progress_tells_a_pause)
{
    job->paused = true;
    bm_run_progress(&run, 0, 0);
    cr_expect(progress.paused);
}

/* --- the domain --- */

Test(run, a_domain_is_read_again)
{
    make_host_at_source(true);
    cr_assert(run.domain);
    cr_expect(run.domain->active);
    cr_expect_eq(run.domain->n_disks, 2);
    ok(bm_run_refresh_domain(&run, &err), err);
}

Test(run, a_domain_that_is_gone_is_none)
{
    make_host_without();
    cr_expect_null(run.domain);
    cr_expect_eq(bm_run_refresh_domain(&run, &err), -ENOENT);
    has(err.what, "domain vm1 is gone");
}

/* It goes on with our overlays, so nobody may change them. */
static int refresh_saved(enum bm_state state)
{
    make_host_at_source(false);
    bm_job_set_state(job, state);
    cr_assert_eq(virDomainCreate(run.domain->dom), 0);
    cr_assert_eq(virDomainManagedSave(run.domain->dom, 0), 0);
    return bm_run_refresh(&run, &err);
}

Test(run, a_guest_that_is_saved_needs_a_person_once_it_stands_on_ours)
{
    cr_expect_eq(refresh_saved(BM_STATE_SWITCHING), -BM_NEEDS_OPERATOR);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.remedy, "bring the guest back");
}

Test(run, before_that_it_may_go)
{
    cr_expect_eq(refresh_saved(BM_STATE_COPYING), 0);
}

Test(run, but_no_disk_of_it_is_changed)
{
    cr_assert_eq(refresh_saved(BM_STATE_COPYING), 0);
    cr_expect_eq(bm_run_check_away(&run, &err), -ESTALE);
    has(err.what, "cannot change the disks of vm1");
}

Test(run, a_guest_that_is_here_may_be_changed)
{
    make_domain(true);
    cr_expect_eq(bm_run_check_away(&run, &err), 0);
}

/* --- where the disks stand --- */

Test(run, the_disks_that_arrived_are_counted)
{
    size_t n = 9;

    make_domain(true);
    ok(bm_run_count_arrived(&run, &n, &err), err);
    cr_expect_eq(n, 0);
    put_disk(1, &job->disks[1].dest);
    ok(bm_run_count_arrived(&run, &n, &err), err);
    cr_expect_eq(n, 1);
}

Test(run, a_disk_elsewhere_is_misplaced)
{
    struct bm_chain other = {0};
    size_t n;

    make_domain(true);
    cr_assert_eq(bm_chain_append(&other, BM_SOURCE_FILE, "/x", "raw"), 0);
    put_disk(0, &other);
    bm_chain_clear(&other);
    cr_expect_eq(bm_run_count_arrived(&run, &n, &err), -ESTALE);
    has(err.cause, "on a chain that is not ours");
}

Test(run, on_the_way_back_a_changed_chain_without_ours_is_fine)
{
    struct bm_chain other = {0};
    size_t n = 9;

    make_domain(true);
    cr_assert_eq(bm_chain_append(&other, BM_SOURCE_FILE, "/x", "raw"), 0);
    put_disk(0, &other);
    bm_chain_clear(&other);
    ok(bm_run_count_left(&run, &n, &err), err);
    cr_expect_eq(n, 0);
}

Test(run, on_the_way_back_one_with_ours_is_not)
{
    struct bm_chain other = {0};
    size_t n;

    make_domain(true);
    cr_assert_eq(bm_chain_on_top("/x", &job->disks[0].dest, &other), 0);
    put_disk(0, &other);
    bm_chain_clear(&other);
    cr_expect_eq(bm_run_count_left(&run, &n, &err), -ESTALE);
}

Test(run, a_change_before_anything_was_touched_just_fails)
{
    bm_fail(&err, ESTALE, "changed");
    bm_status(&err, BM_EXIT_HELD);
    cr_expect_eq(bm_run_forgive_change(&run, -ESTALE, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_FAILED);
    has(err.remedy, "try again");
    bm_status(&err, BM_EXIT_HELD);
    cr_expect_eq(bm_run_forgive_change(&run, -EIO, &err), -EIO);
    cr_expect_eq(err.status, BM_EXIT_HELD);
}

Test(run, too_late_goes_on_and_forgets_the_reason)
{
    bm_fail(&run.reason, ECANCELED, "stop");
    cr_expect_eq(bm_run_too_late(&run, &err), -EAGAIN);
    cr_expect_eq(run.reason.code, 0);
    cr_expect_eq(stored_state(), BM_STATE_CONSOLIDATING);
    has(told, "too late to go back");
}

/* --- the user's pause --- */

static void end_pause(void *opaque, const struct bm_job *of,
                      const struct bm_progress *it)
{
    on_progress(opaque, of, it);
    wants_pause = n_progress < 2;
}

Test(run, a_pause_lasts_until_the_user_ends_it)
{
    struct bm_run_hooks hooks = run_hooks;

    hooks.progress = end_pause;
    run.hooks = &hooks;
    bm_job_set_state(job, BM_STATE_COPYING);
    wants_pause = true;
    bm_run_while_paused(&run);
    cr_expect_eq(n_progress, 2);
    cr_expect_not(job->paused);
    cr_expect_str_eq(told, "paused\ngoes on\n");
}
