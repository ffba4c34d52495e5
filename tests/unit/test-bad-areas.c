// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a rescue could not read: listed, filled, zeroed. */
#include "blockmig/image/bad-areas.h"
#include "tests/unit/faulty-device.h"
#include "tests/unit/mapfile-fixture.h"

static struct bm_error err = BM_ERROR_INIT;

/* All is finished but for these two. */
static struct bm_mapfile *two_gaps(void)
{
    struct bm_mapfile *map = bm_mapfile_new(SIZE);

    must_set(map, 0, SIZE, BM_AREA_FINISHED);
    must_set(map, 65536, 512, BM_AREA_BAD);
    must_set(map, 131072, 4096, BM_AREA_BAD);
    return map;
}

static void expect_range(const struct bm_bad_areas *bad, size_t i,
                         uint64_t offset, uint64_t length, bool filled)
{
    cr_assert_lt(i, bad->n);
    cr_expect_eq(bad->ranges[i].offset, offset);
    cr_expect_eq(bad->ranges[i].length, length);
    cr_expect_eq(bad->filled[i], filled);
}

Test(mapfile, bad_lists_all_that_is_not_finished)
{
    BM_MAPFILE *map = two_gaps();
    BM_BAD_AREAS bad = {0};

    /* one range, bad in four ways */
    must_set(map, 135168, 512, BM_AREA_UNTRIED);
    must_set(map, 135680, 512, BM_AREA_UNTRIMMED);
    must_set(map, 136192, 512, BM_AREA_UNSCRAPED);
    cr_assert_eq(bm_bad_areas_list(map, &bad), 0);
    cr_expect_eq(bad.n, 2);
    expect_range(&bad, 0, 65536, 512, false);
    expect_range(&bad, 1, 131072, 4096 + 3 * 512, false);
    cr_expect_eq(bad.unreadable, 512 + 4096 + 3 * 512);
    cr_expect_eq(bad.filled_bytes, 0);
}

Test(mapfile, bad_of_a_map_that_is_whole)
{
    BM_MAPFILE *map = bm_mapfile_new(SIZE);
    BM_BAD_AREAS bad = {0};

    must_set(map, 0, SIZE, BM_AREA_FINISHED);
    cr_assert_eq(bm_bad_areas_list(map, &bad), 0);
    cr_expect_eq(bad.n, 0);
    cr_expect_eq(bad.unreadable, 0);
}

/* Over a save too; and what is left of a range that was filled. */
Test(mapfile, bad_knows_what_was_filled)
{
    BM_MAPFILE *map = two_gaps();
    struct faulty *target = faulty_new(SIZE, 0xee);
    BM_BAD_AREAS bad = {0};

    sh("head -c 1M /dev/zero | tr '\\0' a >other");
    ok(bm_bad_areas_fill(map, &target->dev, at("other"), false, &err), err);
    cr_expect_eq(target->data[65535], 0xee);
    cr_expect_eq(target->data[65536], 'a');
    cr_expect_eq(target->data[65536 + 511], 'a');
    cr_expect_eq(target->data[65536 + 512], 0xee);
    must_set(map, 131072, 1024, BM_AREA_FINISHED);
    must_save(map, "m");
    ok(bm_bad_areas_load("m", SIZE, &bad, &err), err);
    expect_range(&bad, 0, 65536, 512, true);
    expect_range(&bad, 1, 131072 + 1024, 3072, true);
    cr_expect_eq(bad.unreadable, 0);
    cr_expect_eq(bad.filled_bytes, 512 + 3072);
    bm_device_close(&target->dev);
}

/* A damaged cluster of the other copy: its range stays unreadable, zeroed. */
Test(mapfile, bad_is_filled_only_with_what_can_be_read)
{
    BM_MAPFILE *map = two_gaps();
    struct faulty *target = faulty_new(SIZE, 0xee);
    BM_BAD_AREAS bad = {0};

    must_set(map, 0, SIZE, BM_AREA_FINISHED);
    for (uint64_t i = 0; i < SIZE; i += 65536)
        must_set(map, i, 512, BM_AREA_BAD);
    sh("yes \"$(seq 1000)\" | head -c 1M >raw && "
       "qemu-img convert -c -f raw -O qcow2 raw other && "
       "head -c 64 raw | dd of=other bs=1 conv=notrunc status=none "
       "seek=$(($(stat -c %%s other) / 2))");
    ok(bm_bad_areas_fill(map, &target->dev, at("other"), false, &err), err);
    cr_assert_eq(bm_bad_areas_list(map, &bad), 0);
    cr_expect_eq(bad.n, 16);
    cr_expect_eq(bad.unreadable, 512);
    cr_expect_eq(bad.filled_bytes, 15 * 512);
    for (size_t i = 0; i < bad.n; i++)
        cr_expect_eq(target->data[bad.ranges[i].offset] != 0, bad.filled[i]);
    bm_device_close(&target->dev);
}

Test(mapfile, bad_that_is_not_filled_is_zeroed)
{
    BM_MAPFILE *map = two_gaps();
    struct faulty *target = faulty_new(SIZE, 0xee);

    cr_assert_eq(bm_mapfile_note(map, "filled 0x10000 0x200", "other"), 0);
    ok(bm_bad_areas_zero(map, &target->dev, &err), err);
    cr_expect_eq(target->data[65536], 0xee);
    cr_expect_eq(target->data[131071], 0xee);
    cr_expect_eq(target->data[131072], 0);
    cr_expect_eq(target->data[131072 + 4095], 0);
    cr_expect_eq(target->data[131072 + 4096], 0xee);
    bm_device_close(&target->dev);
}

Test(mapfile, bad_is_not_filled_from_what_is_shorter)
{
    BM_MAPFILE *map = two_gaps();
    struct faulty *target = faulty_new(SIZE, 0xee);

    sh("head -c 512K /dev/zero >other");
    cr_expect_eq(bm_bad_areas_fill(map, &target->dev, at("other"), false, &err),
                 -EINVAL);
    cr_expect_eq(target->data[65536], 0xee);
    bm_device_close(&target->dev);
}
