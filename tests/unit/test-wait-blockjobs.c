// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Waiting for block jobs whose ends are known, or never come. */
#include "blockmig/run/wait-blockjobs.h"

#include "tests/unit/run-fixture.h"

/* Two jobs that have ended, in a guest that runs. */
static struct bm_blockjob jobs[2];

static void begin(void)
{
    run_begin_two();
    sh("touch new/vda new/vdb");
    make_host_at_source(true);
    for (size_t i = 0; i < 2; i++) {
        bm_blockjob_adopt(run.conn, run.domain, job->disks[i].target, &jobs[i]);
        jobs[i].state = BM_BLOCKJOB_COMPLETED;
    }
}

TestSuite(wait_blockjobs, .init = begin, .fini = run_end);

static int wait_for(enum bm_blockjob_state wanted, bool can_cancel)
{
    return bm_run_wait_jobs(&run, jobs, wanted, can_cancel, &err);
}

Test(wait_blockjobs, what_has_ended_is_not_waited_for)
{
    ok(wait_for(BM_BLOCKJOB_COMPLETED, false), err);
}

/* A dead run may have asked for the pivot already. */
Test(wait_blockjobs, what_has_ended_was_ready)
{
    ok(wait_for(BM_BLOCKJOB_READY, false), err);
}

Test(wait_blockjobs, a_disk_without_a_job_is_passed_over)
{
    jobs[0].target[0] = '\0';
    jobs[0].state = BM_BLOCKJOB_FAILED;
    ok(wait_for(BM_BLOCKJOB_COMPLETED, false), err);
}

Test(wait_blockjobs, one_that_failed_fails_all)
{
    jobs[1].state = BM_BLOCKJOB_FAILED;
    cr_expect_eq(wait_for(BM_BLOCKJOB_COMPLETED, false), -EIO);
    has(err.what, "the block job of disk vdb of vm1 did not finish");
    has(err.remedy, "the log of libvirtd");
}

Test(wait_blockjobs, a_lost_connection_is_another_error)
{
    jobs[1].state = BM_BLOCKJOB_LOST;
    cr_expect_eq(wait_for(BM_BLOCKJOB_COMPLETED, false), -ECONNRESET);
    has(err.cause, "connection lost");
}

Test(wait_blockjobs, a_guest_that_goes_off_ends_the_wait)
{
    jobs[1].state = BM_BLOCKJOB_RUNNING;
    cr_assert_eq(virDomainDestroy(run.domain->dom), 0);
    cr_expect_eq(wait_for(BM_BLOCKJOB_COMPLETED, false), -EIO);
    has(err.cause, "guest gone");
}

Test(wait_blockjobs, a_wait_for_the_first_ends_too)
{
    jobs[1].target[0] = '\0';
    ok(bm_run_wait_first(&run, jobs, &err), err);
}

/* A job that cannot be asked for is no job that failed. */
Test(wait_blockjobs, libvirts_own_error_is_passed_on)
{
    jobs[1].state = BM_BLOCKJOB_READY;
    cr_expect_eq(wait_for(BM_BLOCKJOB_COMPLETED, false), -EOPNOTSUPP);
    has(err.what, "cannot read the block job of disk vdb of vm1");
}
