// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Overlays of ours on the old side: which there are, and their end. */
#include "blockmig/step/source-overlays.h"

#include "tests/unit/run-fixture.h"

TestSuite(source_overlays, .init = run_begin_two, .fini = run_end);

/* The chain of disk i with its overlay number 1 on top, which the journal does
 * not know of yet. */
static struct bm_chain overlaid(size_t i)
{
    struct bm_chain chain = {0};
    char *path = bm_job_source_overlay(job, &job->disks[i], 1);

    cr_assert_eq(bm_chain_on_top(path, &job->disks[i].source, &chain), 0);
    sh("qemu-img create -q -f qcow2 -F raw -b %s %s",
       job->disks[i].source.layers[0].path, path);
    free(path);
    return chain;
}

/* A freeze was asked for; this many disks stand on its overlays. */
static int adopt(size_t n)
{
    make_domain(true);
    job->staged.overlays_sent = 1;
    for (size_t i = 0; i < n; i++) {
        struct bm_chain chain = overlaid(i);

        put_disk(i, &chain);
        bm_chain_clear(&chain);
    }
    return bm_source_overlays_adopt(&run, &err);
}

Test(source_overlays, a_freeze_that_happened_is_taken_up)
{
    struct bm_job *stored;

    ok(adopt(2), err);
    stored = stored_job();
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(stored->disks[i].overlays.n_source, 1);
        cr_expect(bm_chain_equal(&stored->disks[i].source, chain_of(i)));
    }
    bm_job_free(stored);
}

Test(source_overlays, one_that_did_not_is_not)
{
    ok(adopt(0), err);
    cr_expect_eq(job->disks[0].overlays.n_source, 0);
}

Test(source_overlays, half_a_freeze_is_held)
{
    cr_expect_eq(adopt(1), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    has(err.what, "only 1 of 2 disks of vm1 are frozen");
    cr_expect_eq(job->disks[0].overlays.n_source, 1);
}

Test(source_overlays, a_disk_that_is_gone_is_not_asked)
{
    struct bm_chain chain = overlaid(0);

    make_domain(true);
    run.domain->n_disks = 1; /* vdb is detached */
    job->staged.overlays_sent = 1;
    put_disk(0, &chain);
    bm_chain_clear(&chain);
    ok(bm_source_overlays_adopt(&run, &err), err);
    run.domain->n_disks = 2;
}

Test(source_overlays, a_disk_elsewhere_is_not_frozen)
{
    make_domain(true);
    put_disk(1, &job->disks[1].dest);
    cr_expect_eq(bm_source_overlays_freeze(&run, &err), -ESTALE);
    cr_expect_eq(err.status, BM_EXIT_HELD);
    cr_expect_eq(job->staged.overlays_sent, 0);
}

/* --- what they hold --- */

Test(source_overlays, without_any_nothing_is_held)
{
    cr_expect_eq(bm_source_overlays_bytes(job), 0);
}

/* Less the tables that an overlay is made with, which qemu-img makes late. */
Test(source_overlays, what_the_guest_wrote_to_the_uppermost_counts)
{
    add_source_overlay(0);
    sh("qemu-io -f qcow2 -c 'write -P 7 0 512k' %s >/dev/null",
       job->disks[0].source.layers[0].path);
    cr_expect_geq(bm_source_overlays_bytes(job), 256 << 10);
    add_source_overlay(0);
    cr_expect_lt(bm_source_overlays_bytes(job), 256 << 10);
}

/* --- their end --- */

static bool is_there(int n)
{
    char *path = bm_job_source_overlay(job, &job->disks[0], n);
    bool there = exists(path);

    free(path);
    return there;
}

Test(source_overlays, on_the_way_forth_they_go)
{
    struct bm_job *stored;

    make_host_at_dest(false);
    add_source_overlay(0);
    add_source_overlay(0);
    ok(bm_source_overlays_remove(&run, 0, &err), err);
    cr_expect_not(is_there(1) || is_there(2));
    stored = stored_job();
    cr_expect_eq(stored->disks[0].overlays.n_source, 0);
    cr_expect_str_eq(stored->disks[0].source.layers[0].path, at("old/vda"));
    bm_job_free(stored);
}

/* Its layer was not merged after all. */
Test(source_overlays, one_that_the_disk_stands_on_below_stays)
{
    make_host_at_dest(false);
    add_source_overlay(0);
    job->disks[0].overlays.n_source = 0;
    ok(bm_source_overlays_remove(&run, 0, &err), err);
    cr_expect(is_there(1));
    has(told, "stays as a layer");
}

Test(source_overlays, on_the_way_back_a_disk_must_stand_on_them)
{
    make_host_at_dest(false);
    make_new_image(0);
    add_source_overlay(0);
    cr_expect_eq(bm_source_overlays_commit(&run, 0, &err), -ESTALE);
    cr_expect(is_there(1));
}

/* A dead process came so far. */
Test(source_overlays, what_was_merged_already_goes)
{
    make_host_at_source(false);
    add_source_overlay(0);
    ok(bm_source_overlays_commit(&run, 0, &err), err);
    cr_expect_not(is_there(1));
    cr_expect_eq(job->disks[0].overlays.n_source, 0);
}
