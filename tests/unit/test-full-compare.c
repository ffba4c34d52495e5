// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The proof of whole disks, and what is written down of it. */
#include "blockmig/step/step.h"
#include "tests/unit/run-fixture.h"

/* Two disks that were copied. */
static void begin(void)
{
    run_begin_two();
    sh("printf data | dd of=old/vda bs=1 seek=70000 conv=notrunc 2>/dev/null");
    make_new_image(0);
    make_new_image(1);
    sh("cp old/vda new/vda.copy && cat new/vda.copy >new/vda");
}

TestSuite(full_compare, .init = begin, .fini = run_end);

Test(full_compare, equal_disks_are_proven)
{
    struct bm_job *stored;

    ok(bm_step_prove(&run, &err), err);
    stored = stored_job();
    for (size_t i = 0; i < 2; i++) {
        cr_expect(stored->disks[i].proof.proven);
        cr_expect_eq(stored->disks[i].proof.bytes, RUN_SIZE);
    }
    bm_job_free(stored);
}

Test(full_compare, their_digests_are_written_down)
{
    ok(bm_step_prove(&run, &err), err);
    cr_expect_eq(strlen(job->disks[0].proof.digest_source), 64);
    cr_expect_str_eq(job->disks[0].proof.digest_source,
                     job->disks[0].proof.digest_dest);
    cr_expect_str_neq(job->disks[0].proof.digest_source,
                      job->disks[1].proof.digest_source);
}

Test(full_compare, a_difference_is_told_with_its_place)
{
    sh("printf DATA | dd of=new/vda bs=1 seek=70000 conv=notrunc 2>/dev/null");
    cr_expect_eq(bm_step_prove(&run, &err), -EBADMSG);
    cr_expect_eq(err.status, BM_EXIT_PROOF);
    has(err.what, "the proof of disk vda failed");
    has(err.cause, "differ from ");
    cr_expect_not(job->disks[0].proof.proven);
    cr_expect_gt(job->disks[0].proof.different, 0);
}

Test(full_compare, the_first_difference_ends_it)
{
    sh("printf DATA | dd of=new/vda bs=1 seek=70000 conv=notrunc 2>/dev/null");
    (void)bm_step_prove(&run, &err);
    cr_expect_eq(job->disks[1].proof.bytes, 0);
}

Test(full_compare, another_file_of_that_name_is_no_proof)
{
    sh("mv new/vda new/x && cp old/vda new/vda");
    cr_expect_eq(bm_step_prove(&run, &err), -ESTALE);
    cr_expect_not(job->disks[0].proof.proven);
}

Test(full_compare, one_disk_can_be_proven_alone)
{
    ok(bm_prove_disk(&run, &job->disks[1], &err), err);
    cr_expect_not(job->disks[0].proof.proven);
    cr_expect(job->disks[1].proof.proven);
}
