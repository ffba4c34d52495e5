// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What bm_device_open makes of a name, and whom it keeps out meanwhile. */
#include "tests/unit/file-fixture.h"
#include "tests/unit/server-fixture.h"

TestSuite(device_open, .init = fixture_setup, .fini = file_teardown);

static int open_fails(const char *path, const struct bm_open *how,
                      struct bm_error *err)
{
    struct bm_device *dev = NULL;
    int rc = bm_device_open(path, how, &dev, err);

    cr_assert_lt(rc, 0);
    cr_assert_null(dev);
    return rc;
}

Test(device_open, names_of_nbd_servers)
{
    cr_expect(bm_is_nbd_uri("nbd://host/name"));
    cr_expect(bm_is_nbd_uri("nbds://host"));
    cr_expect(bm_is_nbd_uri("nbd+unix:///name?socket=s"));
    cr_expect(bm_is_nbd_uri("nbds+unix:///?socket=s"));
    cr_expect(!bm_is_nbd_uri("./nbd://host"));
    cr_expect(!bm_is_nbd_uri("nbd:host"));
}

Test(device_open, a_probed_raw_file_is_read_by_ourselves)
{
    struct bm_device *dev;

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.queues = 1});
    cr_expect_str_eq(dev->medium, "cache");
    cr_expect_eq(bm_device_server_pid(dev), 0);
    bm_device_close(dev);
}

Test(device_open, a_probed_image_is_read_by_qemu_nbd)
{
    struct bm_device *dev;

    sh("qemu-img create -q -f qcow2 disk 3M");
    dev = must_open("disk", &(struct bm_open){.queues = 1});
    cr_expect_eq(dev->size, 3 << 20);
    cr_expect_gt(bm_device_server_pid(dev), 0);
    bm_device_close(dev);
}

Test(device_open, a_format_that_is_given_is_not_probed)
{
    struct bm_device *dev;

    sh("qemu-img create -q -f qcow2 disk 3M");
    dev = must_open("disk", &(struct bm_open){.format = "raw"});
    cr_expect_lt(dev->size, 1 << 20);
    bm_device_close(dev);
}

static void expect_refused(const char *why)
{
    struct bm_error err = BM_ERROR_INIT;

    cr_expect_eq(open_fails("disk", &(struct bm_open){.queues = 1}, &err),
                 -EINVAL);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect(strstr(err.cause, why), "%s", err.cause);
    cr_expect(strstr(err.remedy, "-f"), "%s", err.remedy);
}

Test(device_open, a_probed_backing_file_is_refused)
{
    sh("qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw disk 1M");
    expect_refused("backing file");
}

Test(device_open, a_probed_data_file_is_refused)
{
    sh("qemu-img create -q -f qcow2 -o data_file=data disk 1M");
    expect_refused("data file");
}

Test(device_open, a_probed_encrypted_image_is_refused)
{
    /* LUKS would first measure for seconds how fast keys are derived here */
    sh("qemu-img create -q -f qcow2 --object secret,id=s,data=x "
       "-o encrypt.format=aes,encrypt.key-secret=s disk 1M");
    expect_refused("encrypted");
}

Test(device_open, what_is_no_disk)
{
    const struct bm_open raw = {.format = "raw"};
    struct bm_error err = BM_ERROR_INIT;

    sh("mkfifo fifo");
    cr_expect_eq(open_fails("none", &raw, &err), -ENOENT);
    cr_expect_eq(open_fails(".", &raw, &err), -EISDIR);
    cr_expect_eq(open_fails("fifo", &raw, &err), -EINVAL);
    cr_expect_eq(open_fails("/dev/zero", &raw, &err), -EINVAL);
    cr_expect(strstr(err.cause, "neither"), "%s", err.cause);
}

Test(device_open, a_raw_file_has_no_bitmaps)
{
    const struct bm_open how = {.format = "raw", .dirty = "b0"};
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    cr_expect_eq(open_fails("disk", &how, &err), -EINVAL);
    cr_expect(strstr(err.cause, "bitmap"), "%s", err.cause);
}

Test(device_open, a_read_only_file_system_is_erofs)
{
    const struct bm_open how = {.format = "raw", .write = true};
    struct bm_error err = BM_ERROR_INIT;

    need_mount("tmpfs", "size=1M");
    sh("truncate -s 64K m/disk && mount -o remount,ro m");
    cr_expect_eq(open_fails("m/disk", &how, &err), -EROFS);
    cr_expect(strstr(err.what, "writing"), "%s", err.what);
}

/* --- who else has it open --- */

Test(device_open, a_writer_keeps_every_qemu_out)
{
    const struct bm_open how = {.format = "raw", .write = true};
    struct bm_device *dev;

    sh("truncate -s 1M disk");
    dev = must_open("disk", &how);
    sh("! qemu-io -f raw -c 'write 0 512' disk >log 2>&1 && grep -q lock log");
    sh("! qemu-io -r -f raw -c 'read 0 512' disk >log 2>&1 && "
       "grep -q lock log");
    cr_expect_eq(open_fails("disk", &how, NULL), -EBUSY);
    cr_expect_eq(open_fails("disk", &(struct bm_open){.format = "raw"}, NULL),
                 -EBUSY);
    bm_device_close(dev);
    sh("qemu-io -f raw -c 'write 0 512' disk >/dev/null");
}

Test(device_open, a_reader_keeps_writers_out)
{
    const struct bm_open how = {.format = "raw"};
    struct bm_device *one, *two;

    sh("truncate -s 1M disk");
    one = must_open("disk", &how);
    two = must_open("disk", &how);
    sh("! qemu-io -f raw -c 'write 0 512' disk >log 2>&1 && grep -q lock log");
    sh("qemu-img info -f raw disk >/dev/null");
    bm_device_close(one);
    bm_device_close(two);
}

Test(device_open, whoever_shares_takes_no_lock)
{
    const struct bm_open how = {.format = "raw", .share = true};
    struct bm_process holder = BM_PROCESS_INIT;
    struct bm_device *dev;

    sh("truncate -s 1M disk");
    server_hold(&holder, "-f raw", "disk");
    dev = must_open("disk", &how);
    server_end(&holder);
    bm_device_close(dev);
}

Test(device_open, what_a_qemu_writes_is_busy)
{
    struct bm_process holder = BM_PROCESS_INIT;
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    server_hold(&holder, "-f raw", "disk");
    cr_expect_eq(open_fails("disk",
                            &(struct bm_open){.format = "raw", .write = true},
                            &err),
                 -EBUSY);
    cr_expect(strstr(err.cause, "has it open"), "%s", err.cause);
    cr_expect_eq(open_fails("disk", &(struct bm_open){.format = "raw"}, &err),
                 -EBUSY);
    server_end(&holder);
}

Test(device_open, what_a_qemu_reads_is_busy_for_writers)
{
    struct bm_process holder = BM_PROCESS_INIT;
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    server_hold(&holder, "-r -f raw", "disk");
    cr_expect_eq(open_fails("disk",
                            &(struct bm_open){.format = "raw", .write = true},
                            &err),
                 -EBUSY);
    bm_device_close(must_open("disk", &(struct bm_open){.format = "raw"}));
    server_end(&holder);
}

/* --- host devices --- */

Test(device_open, the_facts_of_a_host_device)
{
    const struct bm_open how = {.format = "raw", .write = true, .direct = true};
    struct bm_device *dev;

    sh("truncate -s 1M disk");
    dev = must_open(need_loop("-b 4096"), &how);
    cr_expect(dev->size == 1 << 20 && dev->sector == 4096);
    bm_device_close(dev);
}

Test(device_open, a_mounted_host_device_is_busy_for_writers)
{
    struct bm_error err = BM_ERROR_INIT;
    const char *loop;

    sh("truncate -s 4M disk && mkfs.ext4 -q disk && mkdir m");
    loop = need_loop("");
    sh("mount %s m", loop);
    cr_expect_eq(open_fails(loop,
                            &(struct bm_open){.format = "raw", .write = true},
                            &err),
                 -EBUSY);
    cr_expect(strstr(err.cause, "mounted"), "%s", err.cause);
    bm_device_close(must_open(loop, &(struct bm_open){.format = "raw"}));
}

/* Zeroes between odd bounds leave what is around them alone. */
static void zero_unaligned(const struct bm_open *how)
{
    struct bm_request zero = {.op = BM_ZERO, .len = 700001, .offset = 1001};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;

    sh("head -c 1M /dev/urandom >disk && cp disk want && "
       "dd if=/dev/zero of=want bs=64K oflag=seek_bytes iflag=count_bytes "
       "count=700001 seek=1001 conv=notrunc status=none");
    dev = must_open(need_loop(""), how);
    ok(bm_device_submit(dev, 0, &zero, &err), err);
    cr_expect_eq(zero.error, 0);
    ok(bm_device_flush(dev, &err), err);
    bm_device_close(dev);
    sh("losetup -d $(cat loop) && rm loop && cmp disk want");
}

Test(device_open, ragged_zeroes_of_a_host_device)
{
    zero_unaligned(&(struct bm_open){.format = "raw", .write = true});
}

Test(device_open, ragged_zeroes_of_a_host_device_past_the_cache)
{
    zero_unaligned(
        &(struct bm_open){.format = "raw", .write = true, .direct = true});
}

Test(device_open, a_sector_that_cannot_be_read_is_eio)
{
    const struct bm_open how = {.format = "raw", .direct = true};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char buf[4096];

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open(need_loop(""), &how);
    sh("truncate -s 512K disk"); /* the loop device stays as long as it was */
    must_read(dev, 0, buf, 4096, (512 << 10) - 4096);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 768 << 10, &err), -EIO);
    cr_expect(strstr(err.cause, "Input/output"), "%s", err.cause);
    bm_device_close(dev);
}

/* The kernel says so once only; who flushes again must not believe the rest. */
Test(device_open, what_was_lost_once_stays_lost)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char *buf = malloc(8 << 20);

    need_mount("tmpfs", "size=1M");
    sh("truncate -s 16M m/disk && ln -s m/disk disk");
    memset(buf, 'x', 8 << 20);
    dev = must_open(need_loop(""),
                    &(struct bm_open){.format = "raw", .write = true});
    (void)bm_device_pwrite(dev, 0, buf, 8 << 20, 0, NULL);
    cr_expect_lt(bm_device_flush(dev, &err), 0);
    cr_expect_lt(bm_device_flush(dev, &err), 0);
    cr_expect_neq(err.cause[0], '\0');
    bm_device_close(dev);
    free(buf);
}
