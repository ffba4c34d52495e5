// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The dirty bitmaps of images; qemu-img and nbdinfo say what is in them. */
#include "nbd/image/image-bitmaps.h"
#include "nbd/image/qemu-img.h"
#include "tests/unit/server-fixture.h"

#include <errno.h>

TestSuite(image_bitmaps, .init = fixture_setup, .fini = fixture_teardown);

/* An image whose bitmap b0 knows of 64 KiB at 1 MiB. */
static void make(void)
{
    sh("qemu-img create -q -f qcow2 disk 4M");
    sh("qemu-img create -q -f qcow2 copy 4M");
    sh("qemu-img bitmap --add -g 32k -f qcow2 disk b0");
    sh("qemu-io -c 'write 1M 64k' disk >/dev/null");
}

static struct bm_image_bitmaps bitmaps_of(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_bitmaps all;

    ok(bm_image_bitmaps_read(path, "qcow2", &all, &err), err);
    return all;
}

static void take(const char *from, bool add, int code)
{
    struct bm_image_bitmaps all = bitmaps_of(from);
    struct bm_error err = BM_ERROR_INIT;
    int rc = bm_image_bitmap_take("copy", &all.list[0], from, add, &err);

    cr_expect_eq(rc, code, "%d: %s", rc, err.cause);
    bm_image_bitmaps_clear(&all);
}

/* Its dirty runs, as "OFFSET LENGTH, ...". */
static void expect_dirty(const char *path, const char *runs)
{
    sh("test \"$(nbdinfo --map=qemu:dirty-bitmap:b0 -- "
       "[ qemu-nbd -r -f qcow2 -B b0 %s ] | "
       "awk '$3 == 1 { printf \"%%s %%s, \", $1, $2 }')\" = '%s'",
       path, runs);
}

Test(image_bitmaps, are_read)
{
    struct bm_image_bitmaps all;
    const struct bm_image_bitmap *one;

    make();
    sh("qemu-img bitmap --add --disable disk -f qcow2 'a b'");
    all = bitmaps_of("disk");
    cr_assert_eq(all.n, 2);
    one = bm_image_bitmaps_find(&all, "b0");
    cr_assert_not_null(one);
    cr_expect(one->enabled && !one->broken);
    cr_expect_eq(one->granularity, 32768);
    one = bm_image_bitmaps_find(&all, "a b");
    cr_assert_not_null(one);
    cr_expect_not(one->enabled || one->broken);
    cr_expect_null(bm_image_bitmaps_find(&all, "b"));
    bm_image_bitmaps_clear(&all);
}

Test(image_bitmaps, raw_has_none)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_bitmaps all;

    make(); /* a guest may have written a header into its raw disk */
    ok(bm_image_bitmaps_read("disk", "raw", &all, &err), err);
    cr_expect_eq(all.n, 0);
    bm_image_bitmaps_clear(&all);
}

Test(image_bitmaps, one_that_was_not_closed_is_broken)
{
    struct bm_image_bitmaps all;

    make();
    (void)fixture_status("qemu-io -c 'write 2M 64k' -c abort disk "
                         ">/dev/null 2>&1");
    all = bitmaps_of("disk");
    cr_assert_eq(all.n, 1);
    cr_expect(all.list[0].broken);
    bm_image_bitmaps_clear(&all);
}

Test(image_bitmaps, are_taken_over_and_merged)
{
    struct bm_image_bitmaps all;

    make();
    take("disk", true, 0);
    expect_dirty("copy", "1048576 65536, ");
    take("disk", true, -EIO); /* it is there */
    sh("qemu-img create -q -f qcow2 upper 4M");
    sh("qemu-img bitmap --add -g 32k -f qcow2 upper b0");
    sh("qemu-io -c 'write 3M 32k' upper >/dev/null");
    take("upper", false, 0);
    take("upper", false, 0); /* again: it is the same */
    expect_dirty("copy", "1048576 65536, 3145728 32768, ");
    all = bitmaps_of("copy");
    cr_assert_eq(all.n, 1);
    cr_expect(all.list[0].enabled && !all.list[0].broken);
    cr_expect_eq(all.list[0].granularity, 32768);
    bm_image_bitmaps_clear(&all);
}

Test(image_bitmaps, is_refused_while_the_image_is_open)
{
    struct bm_process server;

    make();
    server_listen(&server, "exec qemu-nbd -f qcow2 -k $PWD/s copy", "s");
    take("disk", true, -EBUSY);
    server_end(&server);
}

Test(image_bitmaps, are_removed_also_when_broken)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_bitmaps all;

    make();
    (void)fixture_status("qemu-io -c 'write 2M 64k' -c abort disk "
                         ">/dev/null 2>&1");
    ok(bm_image_bitmap_remove("disk", "b0", &err), err);
    all = bitmaps_of("disk");
    cr_expect_eq(all.n, 0);
    bm_image_bitmaps_clear(&all);
    cr_expect_lt(bm_image_bitmap_remove("disk", "b0", &err), 0);
}

/* What bm_bitmaps_add stands on: a commit marks what it writes. */
Test(image_bitmaps, qemu_img_commit_marks_what_it_writes)
{
    struct bm_error err = BM_ERROR_INIT;

    make();
    sh("qemu-img create -q -f qcow2 -b $PWD/disk -F qcow2 $PWD/top");
    sh("qemu-io -c 'write 3M 64k' top >/dev/null");
    ok(bm_image_commit(at("top"), "qcow2", NULL, &err), err);
    expect_dirty("disk", "1048576 65536, 3145728 65536, ");
}
