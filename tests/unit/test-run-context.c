// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the steps of a job share: the journal, a cancel, reasons. */
#include "tests/unit/run-fixture.h"

TestSuite(context, .init = run_begin_staged, .fini = run_end);

Test(context, a_note_is_told_and_written_down)
{
    struct bm_job *stored;

    job->cancel = true;
    ok(bm_run_note(&run, &err, "disk %s is warm", "vda"), err);
    cr_expect_str_eq(told, "disk vda is warm\n");
    stored = stored_job();
    cr_expect(stored->cancel);
    bm_job_free(stored);
}

Test(context, a_note_that_cannot_be_written_is_an_error)
{
    break_store();
    cr_expect_lt(bm_run_note(&run, &err, "warm"), 0);
    cr_expect_neq(err.code, 0);
}

Test(context, a_cancel_stays_asked_for)
{
    cr_expect_not(bm_run_asked_to_cancel(&run));
    wants_cancel = true;
    cr_expect(bm_run_asked_to_cancel(&run));
    wants_cancel = false;
    cr_expect(bm_run_asked_to_cancel(&run));
    cr_expect(job->cancel);
}

Test(context, too_little_room_stops_as_a_cancel_does)
{
    run.watch.verdict = BM_SPACE_STOP;
    cr_expect(bm_run_cancelled(&run));
    cr_expect_not(bm_run_asked_to_cancel(&run));
}

Test(context, on_the_way_forward_it_stops_only_after_the_switch)
{
    run.watch.verdict = BM_SPACE_FORWARD;
    bm_job_set_state(job, BM_STATE_COPYING);
    cr_expect_not(bm_run_cancelled(&run));
    bm_job_set_state(job, BM_STATE_SETTLED);
    cr_expect(bm_run_cancelled(&run));
}

Test(context, a_step_may_stop_in_another_state)
{
    cr_expect_eq(bm_run_stop_at(&run, BM_STATE_COPYING, -EIO), -EIO);
    cr_expect(run.stops_elsewhere);
    cr_expect_eq(run.stop_at, BM_STATE_COPYING);
}

Test(context, the_first_reason_is_kept)
{
    struct bm_error second = BM_ERROR_INIT;

    bm_fail(&err, EIO, "first");
    bm_fail(&second, ENOSPC, "second");
    bm_run_keep_reason(&run, &err);
    bm_run_keep_reason(&run, &second);
    cr_expect_eq(run.reason.code, EIO);
    cr_expect_str_eq(run.reason.what, "first");
}

Test(context, no_error_is_no_reason)
{
    bm_run_keep_reason(&run, &err);
    cr_expect_eq(run.reason.code, 0);
}

Test(context, images_that_are_held_are_let_go)
{
    run.locked.fds = calloc(1, sizeof *run.locked.fds);
    run.locked.fds[0] = open("old/vda", O_RDONLY | O_CLOEXEC);
    run.locked.n = 1;
    int fd = run.locked.fds[0];

    bm_run_unlock(&run);
    cr_expect_null(run.locked.fds);
    cr_expect_eq(run.locked.n, 0);
    cr_expect_eq(fcntl(fd, F_GETFD), -1);
}

Test(context, a_disk_of_a_domain_that_is_gone_is_none)
{
    cr_expect_null(bm_run_disk(&run, 0));
    make_domain(true);
    cr_expect_eq(bm_run_disk(&run, 0), run.domain->disks);
}

Test(context, a_misplaced_disk_is_held_with_its_chain)
{
    char line[2100];

    make_domain(true);
    cr_expect_eq(bm_run_misplaced(&run, 0, "elsewhere", NULL, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    bm_error_line(&err, line, sizeof line);
    has(line, "cannot go on with disk vda of vm1: it is elsewhere: ");
    has(line, "old/vda");
    has(line, job->id);
}

Test(context, a_disk_that_is_gone_is_misplaced_too)
{
    cr_expect_eq(bm_run_misplaced(&run, 0, "gone", NULL, &err), -ESTALE);
    has(err.cause, "not in the domain");
}
