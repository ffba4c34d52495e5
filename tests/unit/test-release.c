// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The end of a move, of a guest that is off: what is checked, and what becomes
 * of the source. */
#include "blockmig/engine/engine.h"
#include "blockmig/step/step.h"
#include "tests/unit/run-fixture.h"

/* A disk that stands on its new image. */
static void begin(void)
{
    run_begin(BM_STRATEGY_BLOCKCOPY, 1);
    make_new_image(0);
    make_host_at_dest(false);
    bm_job_set_state(job, BM_STATE_RELEASING);
    job->disks[0].proof.proven = true;
}

TestSuite(release, .init = begin, .fini = run_end);

static void must_release(void)
{
    ok(bm_step_release(&run, &err), err);
}

Test(release, the_source_is_kept)
{
    must_release();
    cr_expect(job->disks[0].kept);
    cr_expect(exists("old/vda"));
}

Test(release, or_deleted_if_that_was_asked_for)
{
    bm_job_fill_request(job)->source_delete = true;
    must_release();
    cr_expect(job->disks[0].deleted);
    cr_expect_not(job->disks[0].kept);
    cr_expect_not(exists("old/vda"));
    has(told, "old/vda deleted");
}

Test(release, but_not_without_a_proof)
{
    bm_job_fill_request(job)->source_delete = true;
    job->disks[0].proof.proven = false;
    must_release();
    cr_expect(job->disks[0].kept);
    cr_expect(exists("old/vda"));
}

Test(release, nor_if_some_of_it_could_not_be_proven)
{
    bm_job_fill_request(job)->source_delete = true;
    job->disks[0].rescue.unproven_bytes = 512;
    must_release();
    cr_expect(exists("old/vda"));
    has(told, "source of disk vda is kept: not all of it could be read");
}

Test(release, a_source_that_others_use_is_kept_and_that_is_said)
{
    bm_job_fill_request(job)->source_delete = true;
    sh("qemu-img create -q -f qcow2 -F raw -b $PWD/old/vda old/other.qcow2");
    must_release();
    cr_expect(exists("old/vda"));
    cr_expect(job->disks[0].kept);
    has(told, "source of disk vda is kept: ");
    has(told, "other.qcow2");
}

Test(release, another_file_of_its_name_is_not_deleted)
{
    bm_job_fill_request(job)->source_delete = true;
    sh("mv old/vda old/x && touch old/vda");
    must_release();
    cr_expect(exists("old/vda"));
    has(told, "not the file any more that was moved");
}

Test(release, a_source_that_is_gone_counts_as_deleted)
{
    sh("rm old/vda");
    ok(bm_step_delete_source(&run, &job->disks[0], &err), err);
    cr_expect(job->disks[0].deleted);
    cr_expect_str_empty(told);
}

Test(release, a_disk_elsewhere_is_not_released)
{
    struct bm_chain *dest = &job->disks[0].dest;

    free(dest->layers[0].path);
    dest->layers[0].path = strdup(at("new/x"));
    cr_expect_eq(bm_step_release(&run, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.what, "the move of disk vda of vm1 is not complete");
}

Test(release, a_new_image_that_was_replaced_is_not_either)
{
    sh("mv new/vda new/x && truncate -s 1M new/vda");
    cr_expect_eq(bm_step_release(&run, &err), -ESTALE);
    has(err.remedy, "put that file back");
}

/* The test driver has a size of its own for every disk. */
Test(release, a_disk_that_was_resized_is_said)
{
    must_release();
    has(told, "disk vda had 1048576 bytes when the move began and has ");
}

Test(release, one_that_was_not_is_not)
{
    ok(bm_domain_disk_size(run.domain, run.domain->disks, &err), err);
    bm_job_fill_disk(job->disks)->capacity = run.domain->disks[0].capacity;
    must_release();
    cr_expect_str_empty(told);
}

Test(release, the_stamp_goes)
{
    ok(bm_step_stamp(&run, &err), err);
    must_release();
    ok(bm_run_refresh(&run, &err), err);
    cr_expect_null(run.domain->stamp);
}

Test(release, without_a_domain_all_sources_are_kept)
{
    bm_job_fill_request(job)->source_delete = true;
    cr_assert_eq(virDomainUndefine(run.domain->dom), 0);
    must_release();
    cr_expect(exists("old/vda"));
    cr_expect(job->disks[0].kept);
    has(told, "domain vm1 is gone meanwhile");
}

/* --- job release, later --- */

static int release_later(void)
{
    return bm_engine_release(run.conn, run.jobs, job, &err);
}

static void done_and_kept(void)
{
    bm_job_set_state(job, BM_STATE_DONE);
    job->disks[0].kept = true;
}

Test(release, later_a_kept_source_is_deleted)
{
    done_and_kept();
    ok(release_later(), err);
    cr_expect_not(exists("old/vda"));
    cr_expect(job->disks[0].deleted);
}

Test(release, of_a_job_that_is_not_done_it_is_refused)
{
    done_and_kept();
    bm_job_set_state(job, BM_STATE_HELD);
    cr_expect_eq(release_later(), -EINVAL);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    has(err.cause, "the move is not done");
    cr_expect(exists("old/vda"));
}

Test(release, what_was_not_proven_is_refused)
{
    done_and_kept();
    job->disks[0].proof.proven = false;
    cr_expect_eq(release_later(), -EINVAL);
    has(err.cause, "it was moved without a proof");
    cr_expect(exists("old/vda"));
}

Test(release, what_could_not_be_read_is_refused)
{
    done_and_kept();
    job->disks[0].rescue.unproven_bytes = 512;
    cr_expect_eq(release_later(), -EINVAL);
    has(err.cause, "not all of it could be read");
    cr_expect(exists("old/vda"));
}

Test(release, what_others_use_is_refused)
{
    done_and_kept();
    sh("qemu-img create -q -f qcow2 -F raw -b $PWD/old/vda old/other.qcow2");
    cr_expect_eq(release_later(), -EBUSY);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect(exists("old/vda"));
}

Test(release, what_was_deleted_already_is_fine)
{
    done_and_kept();
    job->disks[0].deleted = true;
    job->disks[0].proof.proven = false;
    ok(release_later(), err);
    cr_expect(exists("old/vda"));
}
