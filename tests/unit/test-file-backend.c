// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/file-fixture.h"

#include <pthread.h>
#include <sys/stat.h>

TestSuite(device_file, .init = fixture_setup, .fini = file_teardown);

#define MODEL ((1u << 20) + 777)

Test(device_file, reads_what_the_file_holds)
{
    struct bm_device *dev;
    char *ours = malloc(5 << 20), *theirs;

    sh("head -c 6000001 /dev/urandom >disk");
    theirs = slurp("disk", 6000001);
    dev = must_open("disk", &(struct bm_open){.format = "raw", .queues = 3});
    must_read(dev, 2, ours, 5 << 20, 757121);
    cr_expect_eq(memcmp(ours, theirs + 757121, 5 << 20), 0);
    bm_device_close(dev);
    free(ours);
    free(theirs);
}

Test(device_file, says_what_it_is)
{
    struct bm_device *dev;

    sh("truncate -s 1000001 disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw", .queues = 99});
    cr_expect(dev->size == 1000001 && dev->queues == BM_QUEUES_MAX);
    cr_expect(dev->sector == 512 && dev->chunk == 256 << 10);
    cr_expect(dev->local && !dev->writable && !dev->zeroed);
    cr_expect_str_eq(dev->medium, "cache");
    cr_expect_str_eq(dev->name, "disk");
    bm_device_close(dev);
}

Test(device_file, what_was_cut_off_is_no_data)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char buf[8192];

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    sh("truncate -s 516K disk");
    cr_expect_eq(bm_device_pread(dev, 0, buf, 8192, 512 << 10, &err), -EIO);
    cr_expect(strstr(err.cause, "truncated"), "%s", err.cause);
    cr_expect_eq(bm_device_intact(dev, NULL), -EIO);
    bm_device_close(dev);
}

/* By the request itself, before anybody asks whether it is intact. */
static void read_cut_off(const struct bm_open *how)
{
    char *buf = aligned_alloc(BM_BUFFER_ALIGN, 8192);
    struct bm_request req = {.buf = buf, .len = 8192, .offset = 512 << 10};
    struct bm_request unaligned = {.buf = buf, .len = 8191, .offset = 524289};
    struct bm_device *dev;

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open("disk", how);
    sh("truncate -s 516K disk");
    cr_assert_eq(bm_device_submit(dev, 0, &req, NULL), 0);
    cr_expect(req.done && req.error == EIO);
    cr_assert_eq(bm_device_submit(dev, 0, &unaligned, NULL), 0);
    cr_expect(unaligned.done && unaligned.error == EIO);
    bm_device_close(dev);
    free(buf);
}

Test(device_file, a_short_read_is_an_error)
{
    read_cut_off(&(struct bm_open){.format = "raw"});
}

Test(device_file, a_short_read_past_the_cache_is_an_error)
{
    read_cut_off(&(struct bm_open){.format = "raw", .direct = true});
}

Test(device_file, what_was_cut_off_is_no_hole)
{
    struct bm_extent runs[4];
    struct bm_device *dev;
    size_t n;

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    sh("truncate -s 512K disk");
    cr_expect_eq(
        bm_device_extents(dev, 0, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, NULL),
        -EIO);
    bm_device_close(dev);
}

Test(device_file, extents_are_holes_and_data)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_extent r[8];
    struct bm_device *dev;
    size_t n;

    sh("truncate -s 8M disk");
    sh("for at in 1 3; do dd if=/dev/urandom of=disk bs=1M count=1 seek=$at "
       "conv=notrunc status=none; done");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 0, 8 << 20, r, 8, &n, &err), err);
    cr_assert_eq(n, 5);
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(r[i].zero, i % 2 == 0);
    cr_expect(r[1].offset == 1 << 20 && r[1].length == 1 << 20);
    cr_expect(r[4].offset == 4 << 20 && r[4].length == 4 << 20);
    bm_device_close(dev);
}

Test(device_file, extents_are_clamped_and_go_on)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_extent r[1];
    struct bm_device *dev;
    size_t n;

    sh("truncate -s 8M disk");
    sh("dd if=/dev/urandom of=disk bs=1M count=2 seek=1 conv=notrunc "
       "status=none");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 999, 2 << 20, r, 1, &n, &err),
       err);
    cr_expect(n == 1 && r[0].zero && r[0].offset == 999);
    cr_expect_eq(r[0].length, (1 << 20) - 999);
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 2 << 20, 4097, r, 1, &n, &err),
       err);
    cr_expect(n == 1 && !r[0].zero && r[0].length == 4097);
    bm_device_close(dev);
}

Test(device_file, all_of_it_may_be_dirty)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_extent r[2];
    struct bm_device *dev;
    size_t n;

    sh("truncate -s 8M disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    ok(bm_device_extents(dev, 0, BM_MAP_DIRTY, 5, 1 << 20, r, 2, &n, &err),
       err);
    cr_expect(n == 1 && !r[0].zero && r[0].offset == 5 &&
              r[0].length == 1 << 20);
    bm_device_close(dev);
}

Test(device_file, the_largest_file_there_can_be)
{
    const uint64_t size = INT64_MAX - 4095; /* whole pages: 8 EiB less one */
    struct bm_error err = BM_ERROR_INIT;
    struct bm_request zero = {.op = BM_ZERO, .len = size - 4096};
    struct bm_extent r[4];
    struct bm_device *dev;
    size_t n;
    char byte = 0;

    need_mount("tmpfs", "size=1M");
    sh("truncate -s %llu m/disk", (unsigned long long)size);
    dev =
        must_open("m/disk", &(struct bm_open){.format = "raw", .write = true});
    cr_expect_eq(dev->size, size);
    must_write(dev, 0, "x", 1, size - 1);
    must_read(dev, 0, &byte, 1, size - 1);
    cr_expect_eq(byte, 'x');
    ok(bm_device_submit(dev, 0, &zero, &err), err);
    cr_expect(zero.done && zero.error == 0);
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 0, size, r, 4, &n, &err), err);
    cr_assert_eq(n, 2);
    cr_expect_eq(r[1].offset + r[1].length, size);
    bm_device_close(dev);
}

Test(device_file, nonsense_is_refused)
{
    struct bm_device *dev;
    struct bm_extent run;
    char buf[512];
    size_t n;

    sh("truncate -s 1M disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    cr_expect_eq(bm_device_extents(dev, 0, BM_MAP_ZERO, UINT64_MAX - 1, 512,
                                   &run, 1, &n, NULL),
                 -EINVAL);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 1 << 20, NULL), -EINVAL);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, UINT64_MAX - 1, NULL),
                 -EINVAL);
    cr_expect_eq(bm_device_pread(dev, 1, buf, 512, 0, NULL), -EINVAL);
    cr_expect_eq(bm_device_pwrite(dev, 0, buf, 512, 0, NULL), -EROFS);
    ok(bm_device_pread(dev, 0, buf, 0, 1 << 20, NULL),
       (struct bm_error)BM_ERROR_INIT);
    bm_device_close(dev);
}

Test(device_file, a_request_that_is_refused_is_done)
{
    struct bm_request req = {.op = BM_ZERO, .len = 512};
    struct bm_request huge = {.len = BM_REQUEST_MAX + 1};
    struct bm_device *dev;

    sh("truncate -s 64M disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    cr_expect_eq(bm_device_submit(dev, 0, &req, NULL), -EROFS);
    cr_expect(req.done && req.error == EROFS);
    cr_expect_eq(bm_device_submit(dev, 0, &huge, NULL), -EINVAL);
    cr_expect(huge.done && huge.error == EINVAL);
    bm_device_close(dev);
}

/* Random reads, writes and zeroes of any alignment, against a copy in memory.
 * The buffers of every other one are aligned. */
static void compare_with_model(const char *path, struct bm_device *dev)
{
    char *model = slurp(path, (size_t)dev->size);
    char *buf = aligned_alloc(BM_BUFFER_ALIGN, 2 << 20);
    const uint64_t size = dev->size;
    struct bm_error err = BM_ERROR_INIT;

    srand(7);
    for (int i = 0; i < 400; i++) {
        uint64_t align = (uint64_t[]){1, 512, 4096}[rand() % 3];
        uint64_t offset = (uint64_t)rand() % size / align * align;
        uint64_t len = 1 + (uint64_t)rand() % (i % 4 ? 9000 : 700000);
        char *mine = buf + (i % 2 ? 1 : 0);
        struct bm_request zero = {.op = BM_ZERO};

        len = (len + align - 1) / align * align;
        if (len > size - offset)
            len = size - offset;
        switch (rand() % 3) {
        case 0:
            must_read(dev, 0, mine, len, offset);
            cr_assert_eq(memcmp(mine, model + offset, len), 0, "%d", i);
            break;
        case 1:
            memset(mine, i, len);
            memset(model + offset, i, len);
            must_write(dev, 0, mine, len, offset);
            break;
        default:
            memset(model + offset, 0, len);
            zero.len = len;
            zero.offset = offset;
            ok(bm_device_submit(dev, 0, &zero, &err), err);
            cr_assert_eq(zero.error, 0, "%d", i);
        }
    }
    ok(bm_device_flush(dev, &err), err);
    ok(bm_device_drop_cache(dev, &err), err);
    free(buf);
    buf = slurp(path, (size_t)size);
    cr_expect_eq(memcmp(buf, model, size), 0);
    free(buf);
    free(model);
}

Test(device_file, is_as_a_model_of_it)
{
    struct bm_device *dev;

    sh("head -c %u /dev/urandom >disk", MODEL);
    dev = must_open("disk", &(struct bm_open){.format = "raw", .write = true});
    compare_with_model("disk", dev);
    bm_device_close(dev);
    sh("test $(stat -c %%s disk) = %u", MODEL);
}

Test(device_file, is_as_a_model_of_it_past_the_cache)
{
    const struct bm_open how = {.format = "raw", .write = true, .direct = true};
    struct bm_device *dev;

    sh("head -c %u /dev/urandom >disk", MODEL);
    dev = must_open("disk", &how);
    cr_expect_str_eq(dev->medium, "medium");
    compare_with_model("disk", dev);
    bm_device_close(dev);
    sh("test $(stat -c %%s disk) = %u", MODEL);
}

Test(device_file, is_as_a_model_of_it_without_holes)
{
    struct bm_device *dev;

    need_mount("ramfs", "defaults"); /* it can neither punch nor zero */
    sh("head -c %u /dev/urandom >m/disk", MODEL);
    dev =
        must_open("m/disk", &(struct bm_open){.format = "raw", .write = true});
    compare_with_model("m/disk", dev);
    bm_device_close(dev);
}

struct half {
    struct bm_device *dev;
    unsigned queue;
};

/* The odd or the even bytes of the first sectors, one by one. */
static void *write_half(void *opaque)
{
    const struct half *half = opaque;
    char c = (char)('a' + half->queue);

    for (uint64_t at = half->queue; at < 1024; at += 2)
        must_write(half->dev, half->queue, &c, 1, at);
    return NULL;
}

Test(device_file, lanes_share_a_sector_past_the_cache)
{
    const struct bm_open how = {
        .format = "raw", .queues = 2, .write = true, .direct = true};
    struct half halves[2];
    pthread_t threads[2];
    char *got;

    sh("head -c 64K /dev/zero >disk");
    halves[0] = (struct half){must_open("disk", &how), 0};
    halves[1] = (struct half){halves[0].dev, 1};
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, write_half, &halves[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    bm_device_close(halves[0].dev);
    got = slurp("disk", 1024);
    for (int i = 0; i < 1024; i++)
        cr_assert_eq(got[i], 'a' + i % 2, "%d", i);
    free(got);
}

Test(device_file, zeroes_give_their_space_back)
{
    struct bm_request zero = {.op = BM_ZERO, .len = 3 << 20, .offset = 4096};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    struct stat st;

    sh("head -c 4M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw", .write = true});
    cr_expect(dev->can_zero);
    ok(bm_device_submit(dev, 0, &zero, &err), err);
    cr_assert(zero.done && zero.error == 0);
    ok(bm_device_flush(dev, &err), err);
    cr_assert_eq(stat("disk", &st), 0);
    cr_expect(st.st_size == 4 << 20 && st.st_blocks < 2 << 11);
    bm_device_close(dev);
}

Test(device_file, a_full_file_system_is_enospc)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char *buf = calloc(1, 2 << 20);

    need_mount("tmpfs", "size=1M");
    sh("truncate -s 4M m/disk");
    dev =
        must_open("m/disk", &(struct bm_open){.format = "raw", .write = true});
    cr_expect_eq(bm_device_pwrite(dev, 0, buf, 2 << 20, 0, &err), -ENOSPC);
    cr_expect(strstr(err.cause, "No space"), "%s", err.cause);
    bm_device_close(dev);
    free(buf);
}

Test(device_file, a_dropped_cache_is_empty)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;

    sh("head -c 4M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    sh("test $(fincore -nbo pages disk) != 0");
    ok(bm_device_drop_cache(dev, &err), err);
    sh("test $(fincore -nbo pages disk) = 0");
    bm_device_close(dev);
}

Test(device_file, o_direct_where_there_is_none)
{
    const struct bm_open how = {.format = "raw", .direct = true};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;

    need_mount("ramfs", "defaults");
    sh("truncate -s 1M m/disk");
    cr_expect_eq(bm_device_open("m/disk", &how, &dev, &err), -EINVAL);
    cr_expect(strstr(err.cause, "O_DIRECT"), "%s", err.cause);
}
