// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Images behind a qemu-nbd of ours, written, and their dirty bitmaps. */
#include "nbd/device/backends.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <signal.h>

TestSuite(device_qemu, .init = fixture_setup, .fini = fixture_teardown);

static struct bm_error err = BM_ERROR_INIT;
static char buf[1 << 20];

static struct bm_device *must_open(const struct bm_open *how)
{
    struct bm_device *dev = NULL;

    ok(bm_device_qemu_open(at("disk"), how, &dev, &err), err);
    return dev;
}

static struct bm_device *new_image(unsigned queues)
{
    const struct bm_open how = {
        .format = "qcow2", .write = true, .zeroed = true, .queues = queues};

    sh("qemu-img create -q -f qcow2 disk 64M");
    return must_open(&how);
}

static int do_at(struct bm_device *dev, unsigned queue, enum bm_op op,
                 uint64_t offset, uint64_t len)
{
    struct bm_request req = {
        .op = op, .buf = buf, .len = len, .offset = offset};
    const struct bm_queue queues[2] = {{dev, queue}};
    int rc = bm_device_submit(dev, queue, &req, &err);

    rc = rc ? rc : bm_device_wait(queues, &req, &err);
    cr_expect(req.done);
    return rc ? rc : -req.error;
}

/* By QEMU, an oracle that is not us. */
#define expect_pattern(command)                                                \
    sh("qemu-io -r -f qcow2 -c '" command "' disk | "                          \
       "grep -q '^read' && ! qemu-io -r -f qcow2 -c '" command                 \
       "' disk | grep -q 'failed'")

Test(device_qemu, what_was_written_is_in_the_image)
{
    struct bm_device *dev = new_image(1);

    cr_expect(dev->writable && dev->zeroed && dev->can_zero && !dev->local);
    cr_expect_eq(dev->size, 64 << 20);
    memset(buf, 0x5a, sizeof buf);
    ok(bm_device_pwrite(dev, 0, buf, sizeof buf, 12345, &err), err);
    ok(bm_device_flush(dev, &err), err);
    bm_device_close(dev);
    expect_pattern("read -P 0x5a 12345 1M");
    expect_pattern("read -P 0 0 12345");
    sh("qemu-img check -q -f qcow2 disk");
}

Test(device_qemu, zeroes_give_their_space_back)
{
    struct bm_device *dev = new_image(1);

    memset(buf, 0x5a, sizeof buf);
    ok(bm_device_pwrite(dev, 0, buf, sizeof buf, 0, &err), err);
    ok(do_at(dev, 0, BM_ZERO, 0, 64 << 20), err);
    ok(bm_device_flush(dev, &err), err);
    bm_device_close(dev);
    expect_pattern("read -P 0 0 64M");
    cr_expect_lt(atoi(fixture_word("du -k disk")), 1024);
}

Test(device_qemu, lanes_write_one_image)
{
    struct bm_device *dev = new_image(4);

    cr_expect_eq(dev->queues, 4);
    for (unsigned i = 0; i < 4; i++) {
        memset(buf, (int)i + 1, sizeof buf);
        ok(bm_device_pwrite(dev, i, buf, sizeof buf, (uint64_t)i << 20, &err),
           err);
    }
    ok(bm_device_pread(dev, 0, buf, sizeof buf, 3 << 20, &err), err);
    cr_expect_eq(buf[77777], 4);
    ok(bm_device_flush(dev, &err), err);
    bm_device_close(dev);
    expect_pattern("read -P 1 0 1M");
    expect_pattern("read -P 4 3M 1M");
}

Test(device_qemu, flushed_data_outlives_a_killed_server)
{
    struct bm_device *dev = new_image(2);

    memset(buf, 0x5a, sizeof buf);
    ok(bm_device_pwrite(dev, 1, buf, sizeof buf, 0, &err), err);
    ok(bm_device_flush(dev, &err), err);
    kill(bm_device_server_pid(dev), SIGKILL);
    cr_expect_lt(do_at(dev, 1, BM_WRITE, 0, 512), 0);
    cr_expect_lt(bm_device_flush(dev, &err), 0);
    bm_device_close(dev);
    expect_pattern("read -P 0x5a 0 1M");
}

Test(device_qemu, a_writer_keeps_others_out)
{
    const struct bm_open how = {.format = "qcow2"};
    struct bm_device *dev = new_image(1), *other = NULL;

    cr_expect_eq(bm_device_qemu_open(at("disk"), &how, &other, &err), -EBUSY,
                 "%s: %s", err.what, err.cause);
    bm_device_close(dev);
    other = must_open(&how);
    bm_device_close(other);
}

Test(device_qemu, a_sharer_reads_what_others_write)
{
    const struct bm_open how = {.format = "qcow2", .share = true};
    struct bm_device *dev = new_image(1), *other;

    memset(buf, 0x5a, sizeof buf);
    ok(bm_device_pwrite(dev, 0, buf, 65536, 0, &err), err);
    ok(bm_device_flush(dev, &err), err);
    other = must_open(&how);
    ok(bm_device_pread(other, 0, buf + 65536, 65536, 0, &err), err);
    cr_expect_eq(buf[131071], 0x5a);
    bm_device_close(other);
    bm_device_close(dev);
}

Test(device_qemu, direct_is_o_direct)
{
    const struct bm_open how = {
        .format = "qcow2", .direct = true, .write = true};
    struct bm_device *dev;

    sh("qemu-img create -q -f qcow2 disk 1M");
    dev = must_open(&how);
    cr_expect_str_eq(dev->medium, "medium");
    sh("grep -q '^flags:.*4....$' $(find -L /proc/%d/fd -samefile disk | "
       "head -1 | sed s,/fd/,/fdinfo/,)",
       (int)bm_device_server_pid(dev));
    ok(bm_device_pwrite(dev, 0, "abc", 3, 100, &err), err);
    ok(bm_device_flush(dev, &err), err);
    ok(bm_device_pread(dev, 0, buf, 3, 100, &err), err);
    cr_expect_eq(memcmp(buf, "abc", 3), 0);
    bm_device_close(dev);
}

Test(device_qemu, a_reader_cannot_write)
{
    const struct bm_open how = {.format = "qcow2"};
    struct bm_device *dev;

    sh("qemu-img create -q -f qcow2 disk 1M");
    dev = must_open(&how);
    cr_expect_eq(do_at(dev, 0, BM_WRITE, 0, 512), -EROFS);
    bm_device_close(dev);
}

/* A compressed cluster that cannot be unpacked: QEMU 7.2 hangs up, unless the
 * read is to be answered whole. */
Test(device_qemu, what_cannot_be_read_ends_no_connection)
{
    const struct bm_open how = {.format = "qcow2"};
    struct bm_device *dev;
    int failed = 0;

    sh("yes \"$(seq 1000)\" | head -c 1M >raw && "
       "qemu-img convert -c -f raw -O qcow2 raw disk && "
       "head -c 64 raw | dd of=disk bs=1 conv=notrunc status=none "
       "seek=$(($(stat -c %%s disk) / 2))");
    dev = must_open(&how);
    for (uint64_t at_ = 0; at_ < sizeof buf; at_ += 65536) {
        int rc = do_at(dev, 0, BM_READ, at_, 65536);

        cr_expect(rc == 0 || rc == -EIO, "at %lu: %d", at_, rc);
        failed += rc != 0;
    }
    cr_expect_eq(failed, 1);
    bm_device_close(dev);
}

Test(device_qemu, reads_through_its_own_backing_file)
{
    const struct bm_open how = {.format = "qcow2"};
    struct bm_device *dev;

    sh("head -c 1M /dev/zero | tr '\\0' B >base && "
       "qemu-img create -q -f qcow2 -b base -F raw disk");
    dev = must_open(&how);
    ok(bm_device_pread(dev, 0, buf, 512, 4096, &err), err);
    cr_expect_eq(buf[511], 'B');
    bm_device_close(dev);
}

static void make_bitmap(void)
{
    sh("qemu-img create -q -f qcow2 disk 4M && "
       "qemu-io -f qcow2 -c 'write 0 1M' disk >/dev/null && "
       "qemu-img bitmap --add -g 64k -f qcow2 disk b0 && "
       "qemu-io -f qcow2 -c 'write 2M 64k' disk >/dev/null");
}

static void expect_dirty(const char *name)
{
    const struct bm_open how = {.format = "qcow2", .dirty = name};
    struct bm_device *dev = must_open(&how);
    struct bm_extent runs[8];
    size_t n;

    ok(bm_device_extents(dev, 0, BM_MAP_DIRTY, 0, dev->size, runs, 8, &n, &err),
       err);
    cr_assert_eq(n, 3);
    cr_expect(runs[0].zero && !runs[1].zero && runs[2].zero);
    cr_expect_eq(runs[1].offset, 2 << 20);
    cr_expect_eq(runs[1].length, 64 << 10);
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 0, dev->size, runs, 8, &n, &err),
       err);
    cr_expect(n == 4 && !runs[0].zero && runs[0].length == 1 << 20);
    bm_device_close(dev);
}

Test(device_qemu, dirty_map_of_a_bitmap)
{
    make_bitmap();
    expect_dirty("b0");
}

Test(device_qemu, dirty_map_of_a_meta_context)
{
    make_bitmap();
    expect_dirty("qemu:dirty-bitmap:b0");
}

Test(device_qemu, missing_bitmap_is_enoent)
{
    const struct bm_open how = {.format = "qcow2", .dirty = "b1"};
    struct bm_device *dev = NULL;

    make_bitmap();
    cr_expect_eq(bm_device_qemu_open("disk", &how, &dev, &err), -ENOENT);
    cr_expect(strstr(err.cause, "b1"), "%s", err.cause);
}
