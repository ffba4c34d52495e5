// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The dirty bitmaps of a disk, carried over to its new image. */
#include "blockmig/step/bitmaps.h"

#include "nbd/image/image-bitmaps.h"
#include "tests/unit/run-fixture.h"

/* vda: base and top, and a new image, all qcow2. */
static void begin(void)
{
    struct bm_job_disk *disk;

    run_begin(BM_STRATEGY_STAGED, 1);
    disk = job->disks;
    sh("qemu-img create -q -f qcow2 old/base 1M && "
       "qemu-img create -q -f qcow2 -F qcow2 -b $PWD/old/base old/top && "
       "qemu-img create -q -f qcow2 new/vda 1M");
    bm_chain_clear(&disk->source);
    bm_chain_append(&disk->source, BM_SOURCE_FILE, at("old/top"), "qcow2");
    bm_chain_append(&disk->source, BM_SOURCE_FILE, at("old/base"), "qcow2");
    free(disk->dest.layers[0].format);
    disk->dest.layers[0].format = strdup("qcow2");
}

TestSuite(step_bitmaps, .init = begin, .fini = run_end);

static void add(const char *image, const char *name, bool enabled)
{
    sh("qemu-img bitmap --add %s -f qcow2 %s %s", enabled ? "" : "--disable",
       image, name);
}

static bool there(const char *image, const char *name)
{
    struct bm_image_bitmaps all;
    bool found;

    ok(bm_image_bitmaps_read(image, "qcow2", &all, &err), err);
    found = bm_image_bitmaps_find(&all, name) != NULL;
    bm_image_bitmaps_clear(&all);
    return found;
}

static struct bm_carried carry(size_t first, size_t n)
{
    struct bm_carried carried;

    ok(bm_bitmaps_carry(&job->disks[0].source, first, n,
                        &job->disks[0].dest.layers[0], &carried, &err),
       err);
    return carried;
}

Test(step_bitmaps, one_of_both_layers_is_one_of_the_new_image)
{
    struct bm_carried carried;

    add("old/base", "b1", false);
    add("old/top", "b1", true);
    carried = carry(0, 2);
    cr_expect_str_eq(carried.names, "b1");
    cr_expect_null(carried.lost);
    cr_expect(there("new/vda", "b1"));
    bm_carried_clear(&carried);
}

Test(step_bitmaps, several_are_named_in_one_line)
{
    struct bm_carried carried;

    add("old/top", "b1", true);
    add("old/top", "b2", true);
    carried = carry(0, 2);
    has(carried.names, ", ");
    bm_carried_clear(&carried);
}

Test(step_bitmaps, what_the_image_had_before_goes)
{
    struct bm_carried carried;

    add("new/vda", "left", true);
    carried = carry(0, 2);
    cr_expect_not(there("new/vda", "left"));
    bm_carried_clear(&carried);
}

/* The layer above does not record: what was written since is missing. */
Test(step_bitmaps, one_that_does_not_record_above_is_of_no_use)
{
    struct bm_carried carried;

    add("old/base", "b1", true);
    carried = carry(0, 2);
    cr_expect_null(carried.names);
    cr_expect_str_eq(carried.lost, "b1");
    cr_expect_not(there("new/vda", "b1"));
    bm_carried_clear(&carried);
}

Test(step_bitmaps, a_raw_image_cannot_hold_any)
{
    struct bm_carried carried;

    add("old/top", "b1", true);
    free(job->disks[0].dest.layers[0].format);
    job->disks[0].dest.layers[0].format = strdup("raw");
    carried = carry(0, 2);
    cr_expect_null(carried.names);
    cr_expect_str_eq(carried.lost, "b1");
    bm_carried_clear(&carried);
}

Test(step_bitmaps, what_was_committed_adds_only_what_is_missing)
{
    add("old/top", "b1", true);
    add("old/top", "b2", true);
    add("new/vda", "b1", true);
    ok(bm_bitmaps_add(&job->disks[0].source, 1, &job->disks[0].dest.layers[0],
                      &err),
       err);
    cr_expect(there("new/vda", "b1"));
    cr_expect(there("new/vda", "b2"));
}

Test(step_bitmaps, what_is_carried_over_is_said)
{
    add("old/top", "b1", true);
    ok(bm_bitmaps_move(&run, 0, 0, &err), err);
    has(told, "dirty bitmaps carried over to ");
    has(told, "new/vda: b1");
}

Test(step_bitmaps, what_is_not_is_said_too)
{
    add("old/base", "b1", true);
    ok(bm_bitmaps_move(&run, 0, 0, &err), err);
    has(told, "dirty bitmaps not carried over to ");
    has(told, "not whole in each layer, and of no use");
}

Test(step_bitmaps, the_new_image_has_its_time_afterwards)
{
    add("old/top", "b1", true);
    ok(bm_bitmaps_move(&run, 0, 0, &err), err);
    cr_expect_neq(job->disks[0].image.image_ns, 0);
}

Test(step_bitmaps, without_any_nothing_is_said_or_changed)
{
    ok(bm_bitmaps_move(&run, 0, 0, &err), err);
    cr_expect_str_empty(told);
    cr_expect_eq(job->disks[0].image.image_ns, 0);
}
