// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/copy.h"

#include "tests/unit/file-fixture.h"

TestSuite(copy, .init = fixture_setup, .fini = fixture_teardown);

#define SIZE (UINT64_C(4) << 20)

/* ./from to ./to, by 4 KiB where parts are given, the blocks of them. */
static void copy(const struct bm_bitmap *parts, bool as_it_is, bool direct)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_bitmap *only = bm_bitmap_new(SIZE, BM_DIGEST_BLOCK);
    struct bm_copy_result result;
    struct bm_device *from =
        must_open("from", &(struct bm_open){.format = "raw", .queues = 2});
    struct bm_device *to = must_open("to", &(struct bm_open){.format = "raw",
                                                             .queues = 2,
                                                             .write = true,
                                                             .direct = direct});
    uint64_t at = 0, length;

    for (; parts && bm_bitmap_next(parts, false, at, SIZE, &at, &length);
         at += length)
        bm_bitmap_set(only, at, length);
    ok(bm_copy_run(&(struct bm_copy){.source = from,
                                     .target = to,
                                     .only = parts ? only : NULL,
                                     .parts = parts,
                                     .as_it_is = as_it_is},
                   &result, &err),
       err);
    bm_device_close(from);
    bm_device_close(to);
    bm_bitmap_free(only);
}

static void parts_only(bool direct)
{
    struct bm_bitmap *parts = bm_bitmap_new(SIZE, BM_SPARSE);

    sh("head -c 4M /dev/urandom >from; head -c 4M /dev/urandom >to");
    /* one is zeroes, and a hole of the source that is not read */
    sh("fallocate -z -o 1M -l 64k from; fallocate -p -o 3M -l 64k from");
    sh("cp to wanted");
    for (unsigned at = 0; at < 4096; at += 356) {
        bm_bitmap_set(parts, at * UINT64_C(1024), 4096);
        sh("dd if=from of=wanted bs=1k skip=%u seek=%u count=4 conv=notrunc "
           "status=none",
           at / 4 * 4, at / 4 * 4);
    }
    bm_bitmap_set(parts, 1 << 20, 8192);
    bm_bitmap_set(parts, 3 << 20, 8192);
    sh("for at in 1024 3072; do dd if=from of=wanted bs=1k skip=$at seek=$at "
       "count=8 conv=notrunc status=none; done");
    copy(parts, true, direct);
    sh("cmp to wanted");
    bm_bitmap_free(parts);
}

Test(copy, writes_the_parts_only)
{
    parts_only(false);
}

Test(copy, writes_the_parts_only_past_the_cache)
{
    parts_only(true);
}

/* A file that was given its room keeps it. */
Test(copy, zeroes_are_data_where_that_is_asked)
{
    sh("head -c 4M /dev/zero >from; head -c 4M /dev/urandom >to");
    copy(NULL, true, false);
    sh("cmp from to");
    cr_expect_str_eq(fixture_word("stat -c %%b to"), "8192");
    copy(NULL, false, false);
    sh("cmp from to");
    cr_expect_str_eq(fixture_word("stat -c %%b to"), "0");
}
