// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The way back before the switch: what we made goes, and nothing that may hold
 * what the guest wrote. */
#include "blockmig/guard/guard-files.h"
#include "blockmig/step/step.h"
#include "tests/unit/run-fixture.h"

/* Its overlay on the new side has a name, and there is a new image. */
static void begin(void)
{
    run_begin(BM_STRATEGY_STAGED, 1);
    bm_job_fill_disk(job->disks)->switch_overlay = strdup(at("new/o1"));
    bm_job_fill_disk(job->disks)->rollback_overlay = strdup(at("old/o2"));
    make_new_image(0);
    bm_job_set_state(job, BM_STATE_ROLLING_BACK);
}

TestSuite(roll_back, .init = begin, .fini = run_end);

static void make_switch_overlay(void)
{
    sh("qemu-img create -q -f qcow2 -F raw -b $PWD/new/vda new/o1");
}

static void write_to(const char *overlay)
{
    sh("qemu-io -f qcow2 -c 'write -P 7 0 64k' %s >/dev/null", overlay);
}

static void held(int rc, int code, const char *part)
{
    cr_expect_eq(rc, -code);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.cause, part);
    cr_expect(exists("new/vda"));
}

/* --- a guest that stands where it stood --- */

Test(roll_back, what_we_made_goes)
{
    make_host_at_source(true);
    make_switch_overlay();
    sh("touch old/o2");
    ok(bm_step_roll_back(&run, &err), err);
    cr_expect_not(exists("new/vda"));
    cr_expect_not(exists("new/o1"));
    cr_expect_not(exists("old/o2"));
    cr_expect(exists("old/vda"));
}

Test(roll_back, somebodys_file_stays)
{
    make_host_at_source(true);
    sh("mv new/vda new/x && echo precious >new/vda");
    ok(bm_step_roll_back(&run, &err), err);
    sh("grep -q precious new/vda");
}

Test(roll_back, a_device_stays)
{
    make_host_at_source(true);
    bm_job_fill_disk(job->disks)->dest_block = true;
    ok(bm_step_roll_back(&run, &err), err);
    cr_expect(exists("new/vda"));
}

Test(roll_back, the_stamp_goes)
{
    make_host_at_source(true);
    ok(bm_step_stamp(&run, &err), err);
    ok(bm_step_roll_back(&run, &err), err);
    ok(bm_run_refresh(&run, &err), err);
    cr_expect_null(run.domain->stamp);
}

Test(roll_back, it_can_be_done_again)
{
    make_host_at_source(false);
    ok(bm_step_roll_back(&run, &err), err);
    ok(bm_step_roll_back(&run, &err), err);
}

/* --- one that does not --- */

Test(roll_back, what_its_xml_names_stays)
{
    struct bm_chain chain = {0};
    const struct bm_chain *const chains[] = {&chain};

    sh("qemu-img create -q -f qcow2 -F raw -b $PWD/new/vda new/theirs");
    cr_assert_eq(bm_chain_on_top(at("new/theirs"), &job->disks[0].dest, &chain),
                 0);
    make_host(true, chains);
    bm_chain_clear(&chain);
    held(bm_step_roll_back(&run, &err), ESTALE, "its XML still names ");
}

/* The proof is not lost: the switch goes on, and then it can be undone. */
Test(roll_back, a_guest_on_the_frozen_new_side_proves_first)
{
    struct bm_chain chain = {0};
    const struct bm_chain *const chains[] = {&chain};

    make_switch_overlay();
    cr_assert_eq(bm_chain_overlay(job->disks, &chain), 0);
    make_host(true, chains);
    bm_chain_clear(&chain);
    held(bm_step_roll_back(&run, &err), BM_NEEDS_OPERATOR,
         "its disks were switched");
    cr_expect(run.stops_elsewhere);
    cr_expect_eq(run.stop_at, BM_STATE_SWITCHING);
}

Test(roll_back, without_a_proof_it_stays_there)
{
    struct bm_chain chain = {0};
    const struct bm_chain *const chains[] = {&chain};

    bm_job_fill_request(job)->proof = false;
    make_switch_overlay();
    cr_assert_eq(bm_chain_overlay(job->disks, &chain), 0);
    make_host(true, chains);
    bm_chain_clear(&chain);
    held(bm_step_roll_back(&run, &err), ESTALE,
         "the guest ran on the new image");
}

Test(roll_back, one_that_wrote_to_a_new_image_is_held)
{
    make_host_at_dest(false);
    sh("echo x | dd of=new/vda conv=notrunc 2>/dev/null");
    held(bm_step_roll_back(&run, &err), ESTALE,
         "the guest ran on the new image");
    has(err.remedy, "--accept` stays on the new image");
}

Test(roll_back, one_that_may_have_is_held_without_a_look)
{
    make_host_at_dest(false);
    job->guest.unclean = true;
    held(bm_step_roll_back(&run, &err), ESTALE,
         "the guest ran on the new image");
    cr_expect_not(job->disks[0].proof.proven);
}

/* The test driver lets nobody change a disk of the saved XML. */
Test(roll_back, of_two_equal_sides_the_saved_xml_names_the_old_one_again)
{
    make_host_at_dest(false);
    cr_expect_lt(bm_step_roll_back(&run, &err), 0);
    cr_expect(job->disks[0].proof.proven);
    has(err.what, "into the saved XML of vm1");
}

/* --- no domain any more --- */

Test(roll_back, without_a_domain_what_we_made_goes)
{
    make_host_without();
    make_switch_overlay();
    ok(bm_step_roll_back(&run, &err), err);
    cr_expect_not(exists("new/vda"));
    cr_expect_not(exists("new/o1"));
}

Test(roll_back, but_no_source_overlay)
{
    make_host_without();
    add_source_overlay(0);
    held(bm_step_roll_back(&run, &err), ENOENT,
         "what the guest wrote last may be in ");
    has(err.cause, job->disks[0].source.layers[0].path);
}

/* A freeze whose end the journal does not know. */
Test(roll_back, nor_one_that_was_only_asked_for)
{
    make_host_without();
    job->staged.overlays_sent = 1;
    sh("touch old/.blockmig-%s-vda-11.qcow2", job->id);
    held(bm_step_roll_back(&run, &err), ENOENT, "-vda-11.qcow2");
}

Test(roll_back, nor_a_new_side_that_was_written_to)
{
    make_host_without();
    make_switch_overlay();
    write_to("new/o1");
    job->guest.pivot_asked = true;
    held(bm_step_roll_back(&run, &err), ENOENT, "new/o1");
}

Test(roll_back, a_new_side_that_nobody_wrote_to_goes)
{
    make_host_without();
    make_switch_overlay();
    job->guest.pivot_asked = true;
    ok(bm_step_roll_back(&run, &err), err);
    cr_expect_not(exists("new/vda"));
}

Test(roll_back, without_a_proof_nobody_can_tell)
{
    make_host_without();
    job->guest.pivot_asked = true;
    bm_job_fill_request(job)->proof = false;
    held(bm_step_roll_back(&run, &err), ENOENT, "new/vda");
}

Test(roll_back, nor_after_a_window_that_was_not_clean)
{
    make_host_without();
    job->guest.pivot_asked = true;
    job->guest.unclean = true;
    held(bm_step_roll_back(&run, &err), ENOENT, "new/vda");
}

/* --- what a strategy does before --- */

static int refuse_first(struct bm_run *of, struct bm_error *why)
{
    (void)of;
    return bm_fail_errno(why, EBUSY, "not yet");
}

Test(roll_back, nothing_goes_before_the_strategy_allows_it)
{
    make_host_at_source(true);
    cr_expect_eq(bm_step_roll_back_after(&run, refuse_first, &err), -EBUSY);
    cr_expect(exists("new/vda"));
}
