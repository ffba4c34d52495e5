// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/backends.h"
#include "nbd/base/units.h"
#include "tests/unit/server-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

TestSuite(device, .init = fixture_setup, .fini = fixture_teardown);

static struct bm_device *must_open(const char *name, const char *format)
{
    const struct bm_image_layer layer = {at(name), format, false, 0};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    ok(bm_device_open_image(&layer, 1, 2, &dev, &err), err);
    return dev;
}

/* An image of 1M behind a qemu-nbd that may be silent for so long. */
static struct bm_device *must_serve(int progress_ms)
{
    const struct bm_open how = {
        .format = "qcow2", .queues = 2, .progress_ms = progress_ms};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    sh("qemu-img create -q -f qcow2 disk 1M && "
       "qemu-io -f qcow2 -c 'write -P 65 0 1M' disk >/dev/null");
    ok(bm_device_qemu_open("disk", &how, &dev, &err), err);
    return dev;
}

Test(device, reads_what_the_file_holds)
{
    struct bm_error err = BM_ERROR_INIT;
    char *ours = malloc(5 << 20), *theirs = malloc(5 << 20);
    struct bm_device *dev;
    FILE *file;

    sh("head -c 8M /dev/urandom >disk");
    dev = must_open("disk", "raw");
    cr_expect_eq(dev->size, 8 << 20);
    cr_expect_eq(bm_device_server_pid(dev), 0, "raw needs no server");
    ok(bm_device_pread(dev, 1, ours, 5 << 20, 12345, &err), err);
    file = fopen("disk", "r");
    cr_assert(fseek(file, 12345, SEEK_SET) == 0 &&
              fread(theirs, 5 << 20, 1, file) == 1);
    cr_expect_eq(memcmp(ours, theirs, 5 << 20), 0);
    fclose(file);
    bm_device_close(dev);
    free(ours);
    free(theirs);
}

Test(device, reads_a_chain_without_its_headers)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;
    const struct bm_image_layer layers[] = {{at("top"), "qcow2", false, 0},
                                            {at("base"), "raw", false, 0}};
    char buf[2];

    sh("printf 'x%%.0s' $(seq 1024) >base && truncate -s 1M base");
    sh("qemu-img create -q -f qcow2 -b /nowhere -F raw -u top 1M && "
       "qemu-img rebase -u -f qcow2 -b base -F raw top && "
       "qemu-io -f qcow2 -c 'write -P 65 64k 64k' top >/dev/null && "
       "qemu-img rebase -u -f qcow2 -b /nowhere -F raw top");
    ok(bm_device_open_image(layers, 2, 1, &dev, &err), err);
    ok(bm_device_pread(dev, 0, buf, 1, 0, &err), err);
    ok(bm_device_pread(dev, 0, buf + 1, 1, 65536, &err), err);
    cr_expect(buf[0] == 'x' && buf[1] == 'A');
    bm_device_close(dev);
}

Test(device, extents_cover_the_range)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_extent runs[8];
    struct bm_device *dev;
    size_t n;

    sh("qemu-img create -q -f qcow2 disk 5G && "
       "qemu-io -f qcow2 -c 'write 1M 1M' -c 'write 4G 1M' disk >/dev/null");
    dev = must_open("disk", "qcow2");
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 0, UINT64_C(5) << 30, runs, 8, &n,
                         &err),
       err);
    cr_assert_eq(n, 5);
    cr_expect(runs[0].zero && !runs[1].zero && runs[2].zero);
    cr_expect_eq(runs[1].offset, 1 << 20);
    cr_expect_eq(runs[1].length, 1 << 20);
    cr_expect_eq(runs[3].offset, UINT64_C(4) << 30);
    cr_expect_eq(runs[4].offset + runs[4].length, UINT64_C(5) << 30);
    bm_device_close(dev);
}

Test(device, extents_are_clamped_and_go_on)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_extent runs[2];
    struct bm_device *dev;
    size_t n;

    sh("qemu-img create -q -f qcow2 disk 8M && "
       "qemu-io -f qcow2 -c 'write 1M 1M' -c 'write 3M 1M' disk >/dev/null");
    dev = must_open("disk", "qcow2");
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 1536 << 10, 6 << 20, runs, 2, &n,
                         &err),
       err);
    cr_assert_eq(n, 2);
    cr_expect_eq(runs[0].offset, 1536 << 10);
    cr_expect_eq(runs[0].length, 512 << 10);
    cr_expect_eq(runs[1].length, 1 << 20);
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 3 << 20, 1 << 20, runs, 2, &n,
                         &err),
       err);
    cr_expect(n == 1 && !runs[0].zero && runs[0].length == 1 << 20);
    bm_device_close(dev);
}

Test(device, o_direct_is_the_medium)
{
    struct bm_device *dev;

    sh("truncate -s 1M disk");
    dev = must_open("disk", "raw");
    cr_expect_str_eq(dev->medium, "medium");
    bm_device_close(dev);
}

Test(device, without_o_direct_it_is_the_cache)
{
    struct bm_device *dev;

    if (geteuid() != 0 ||
        fixture_status("mkdir r && mount -t ramfs none r 2>/dev/null") != 0)
        cr_skip("needs root to mount a ramfs, which has no O_DIRECT");
    sh("truncate -s 1M r/disk");
    dev = must_open("r/disk", "raw");
    cr_expect_str_eq(dev->medium, "cache");
    bm_device_close(dev);
    sh("umount r");
}

Test(device, out_of_range_is_refused)
{
    struct bm_device *dev;
    char buf[512];

    sh("truncate -s 1M disk");
    dev = must_open("disk", "raw");
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 1 << 20, NULL), -EINVAL);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, UINT64_MAX - 511, NULL),
                 -EINVAL);
    cr_expect_eq(bm_device_pread(dev, 2, buf, 512, 0, NULL), -EINVAL);
    bm_device_close(dev);
}

Test(device, missing_image_is_enoent)
{
    const struct bm_image_layer layer = {at("none"), "raw", false, 0};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    cr_assert_eq(bm_device_open_image(&layer, 1, 2, &dev, &err), -ENOENT);
}

Test(device, wrong_format_speaks_qemus_words)
{
    const struct bm_image_layer layer = {at("disk"), "qcow2", false, 0};
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    sh("truncate -s 1M disk");
    cr_assert_lt(bm_device_open_image(&layer, 1, 2, &dev, &err), 0);
    cr_assert(strstr(err.cause, "not in qcow2 format"), "%s", err.cause);
}

Test(device, image_open_for_writing_is_ebusy)
{
    const struct bm_image_layer layer = {at("disk"), "qcow2", false, 0};
    struct bm_process holder = BM_PROCESS_INIT;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    sh("qemu-img create -q -f qcow2 disk 1M");
    server_hold(&holder, "-f qcow2", "disk");
    cr_expect_eq(bm_device_open_image(&layer, 1, 2, &dev, &err), -EBUSY,
                 "%s: %s", err.what, err.cause);
    server_end(&holder);
}

Test(device, ragged_raw_file_is_as_its_guest_sees_it)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char buf[512], want[512] = "xyz";

    sh("truncate -s 1M disk && printf xyz >>disk");
    dev = must_open("disk", "raw");
    cr_expect_eq(dev->size, (1 << 20) + 512);
    ok(bm_device_pread(dev, 0, buf, 512, 1 << 20, &err), err);
    cr_expect_eq(memcmp(buf, want, 512), 0);
    bm_device_close(dev);
}

Test(device, dead_server_is_an_error)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = must_serve(1000);
    char buf[512];

    ok(bm_device_pread(dev, 0, buf, 512, 0, &err), err);
    cr_expect_eq(buf[511], 'A');
    kill(bm_device_server_pid(dev), SIGKILL);
    cr_expect_lt(bm_device_pread(dev, 0, buf, 512, 0, &err), 0);
    cr_expect_neq(err.cause[0], '\0');
    cr_expect_lt(bm_device_pread(dev, 0, buf, 512, 0, &err), 0);
    bm_device_close(dev);
}

Test(device, stuck_server_is_a_timeout)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = must_serve(100);
    char buf[512];

    sh("kill -STOP %d; while grep -L '^State:.T' /proc/%d/task/*/status | "
       "grep -q .; do sleep 0.01; done",
       (int)bm_device_server_pid(dev), (int)bm_device_server_pid(dev));
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 0, &err), -ETIMEDOUT);
    kill(bm_device_server_pid(dev), SIGCONT);
    /* one queue is gone, the other one works */
    ok(bm_device_pread(dev, 1, buf, 512, 0, &err), err);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 0, &err), -ENOTCONN);
    bm_device_close(dev);
}

Test(device, image_cut_off_meanwhile_is_an_error)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = must_serve(1000);
    char buf[512];

    sh("truncate -s 512K disk");
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 768 << 10, &err), -EIO);
    bm_device_close(dev);
}

Test(device, raw_file_cut_off_meanwhile_is_an_error)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev;
    char buf[512];

    sh("head -c 1M /dev/urandom >disk");
    dev = must_open("disk", "raw");
    sh("truncate -s 512K disk");
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 768 << 10, &err), -EIO);
    bm_device_close(dev);
}

static void *open_it(void *opaque)
{
    *(struct bm_device **)opaque = must_serve(1000);
    return NULL;
}

Test(device, outlives_the_thread_that_opened_it)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;
    pthread_t thread;
    char buf[512];

    cr_assert_eq(pthread_create(&thread, NULL, open_it, &dev), 0);
    pthread_join(thread, NULL);
    bm_sleep_ms(50);
    ok(bm_device_pread(dev, 0, buf, 512, 0, &err), err);
    bm_device_close(dev);
}

Test(device, leaves_nothing_behind)
{
    struct bm_device *dev = must_serve(1000);
    pid_t pid = bm_device_server_pid(dev);
    cr_expect_eq(kill(pid, 0), 0);
    bm_device_close(dev);
    cr_expect_neq(kill(pid, 0), 0);
}
