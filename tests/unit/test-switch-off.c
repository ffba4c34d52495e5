// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The switch of a guest that is off: its images are held, and where its disks
 * stand. */
#include "blockmig/step/switch-off.h"

#include "tests/unit/run-fixture.h"
#include "tests/unit/server-fixture.h"

TestSuite(switch_off, .init = run_begin_two, .fini = run_end);

static void must_hold(void)
{
    ok(bm_off_hold(&run, &err), err);
}

/* --- holding --- */

Test(switch_off, each_image_is_held)
{
    must_hold();
    cr_expect_eq(run.locked.n, 2);
    cr_expect(fixture_status("qemu-io -f raw -c 'write 0 512' old/vdb "
                             ">/dev/null 2>&1") != 0);
    bm_run_unlock(&run);
    sh("qemu-io -f raw -c 'write 0 512' old/vdb >/dev/null");
}

Test(switch_off, an_image_that_is_written_to_cannot_be)
{
    struct bm_process holder;

    server_hold(&holder, "-f raw", "old/vdb");
    cr_expect_eq(bm_off_hold(&run, &err), -EBUSY);
    cr_expect_eq(run.locked.n, 0);
    server_end(&holder);
}

Test(switch_off, it_can_be_done_again)
{
    must_hold();
    must_hold();
    cr_expect_eq(run.locked.n, 2);
}

/* --- looking --- */

static bool look(int want)
{
    bool again = false;

    cr_expect_eq(bm_off_look(&run, &again, &err), want, "%s", err.what);
    return again;
}

Test(switch_off, off_and_held_it_can_be_switched)
{
    make_domain(false);
    must_hold();
    cr_expect_not(look(0));
}

/* A kill let go of the images: the guest may have run since. */
Test(switch_off, what_was_not_held_is_copied_again)
{
    make_domain(false);
    cr_expect(look(0));
}

Test(switch_off, a_guest_that_was_started_is_copied_again)
{
    make_domain(true);
    must_hold();
    cr_expect(look(0));
}

Test(switch_off, unless_it_runs_with_one_disk_here_and_one_there)
{
    make_domain(true);
    put_disk(0, &job->disks[0].dest);
    look(-EBUSY);
    cr_expect_eq(err.status, BM_EXIT_HELD);
}

Test(switch_off, what_was_switched_in_part_goes_on)
{
    make_domain(false);
    sh("truncate -s 1M new/vda");
    put_disk(0, &job->disks[0].dest);
    cr_expect_not(look(0));
}

/* --- switching --- */

Test(switch_off, what_was_switched_is_let_go)
{
    make_new_image(0);
    make_new_image(1);
    make_host_at_dest(false);
    must_hold();
    ok(bm_off_switch(&run, &err), err);
    cr_expect_eq(run.locked.n, 0);
}

Test(switch_off, a_cancel_is_heard_before_the_first_disk)
{
    make_host_at_source(false);
    must_hold();
    wants_cancel = true;
    cr_expect_eq(bm_off_switch(&run, &err), -ECANCELED);
    cr_expect_eq(run.locked.n, 0);
}

Test(switch_off, a_disk_that_was_changed_is_not_switched)
{
    struct bm_chain other = {0};
    const struct bm_chain *const chains[] = {&other, &job->disks[1].source};

    sh("touch old/x");
    cr_assert_eq(bm_chain_append(&other, BM_SOURCE_FILE, at("old/x"), "raw"),
                 0);
    make_host(false, chains);
    bm_chain_clear(&other);
    must_hold();
    cr_expect_eq(bm_off_switch(&run, &err), -ESTALE);
    has(err.what, "disk vda of vm1 was changed meanwhile");
}

Test(switch_off, what_was_not_held_is_compared_first)
{
    make_new_image(0);
    make_new_image(1);
    make_host_at_source(false);
    sh("printf x | dd of=new/vda conv=notrunc 2>/dev/null");
    cr_expect_eq(bm_off_switch(&run, &err), -EBADMSG);
}

Test(switch_off, what_was_held_need_not_be)
{
    make_new_image(0);
    make_new_image(1);
    make_host_at_source(false);
    must_hold();
    sh("printf x | dd of=new/vda conv=notrunc 2>/dev/null");
    cr_expect_lt(bm_off_switch(&run, &err), 0);
    has(err.what, "into the saved XML of vm1"); /* which the driver refuses */
}
