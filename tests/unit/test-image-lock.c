// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* QEMU itself is the other side of each lock. */
#include "nbd/image/image-lock.h"
#include "tests/unit/server-fixture.h"

#include <errno.h>
#include <fcntl.h>

TestSuite(imagelock, .init = fixture_setup, .fini = fixture_teardown);

static struct bm_process writer = BM_PROCESS_INIT;

/* A QEMU that has the image open for writing until close_writer(). */
static void open_for_writing(const char *image)
{
    server_hold(&writer, "-f raw", image);
}

static void close_writer(void)
{
    server_end(&writer);
}

Test(imagelock, no_qemu_writes_while_it_is_held)
{
    int lock;

    sh("truncate -s 1M disk");
    lock = bm_frozen_lock("disk", NULL);
    cr_assert_geq(lock, 0);
    cr_assert_neq(fixture_status("qemu-io -f raw -c 'write 0 512' disk "
                                 ">/dev/null 2>&1"),
                  0);
    sh("qemu-io -r -f raw -c 'read 0 512' disk >/dev/null");
    close(lock);
    sh("qemu-io -f raw -c 'write 0 512' disk >/dev/null");
}

Test(imagelock, an_open_writer_is_ebusy)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    open_for_writing("disk");
    cr_assert_eq(bm_frozen_lock("disk", &err), -EBUSY);
    cr_assert(strstr(err.cause, "writing"));
    close_writer();
}

Test(imagelock, two_may_hold_it)
{
    int one, two;

    sh("truncate -s 1M disk");
    one = bm_frozen_lock("disk", NULL);
    two = bm_frozen_lock("disk", NULL);
    cr_assert(one >= 0 && two >= 0);
}

/* Success leaves the lock to the end of the test. */
static int lock_writer(const char *path, struct bm_error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), rc;

    cr_assert_geq(fd, 0);
    rc = bm_writer_lock(fd, path, err);
    if (rc != 0)
        close(fd);
    return rc;
}

Test(imagelock, a_writer_lets_no_qemu_open_it)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    ok(lock_writer("disk", &err), err);
    sh("! qemu-io -f raw -c 'write 0 512' disk >log 2>&1 && grep -q lock log");
    sh("! qemu-io -r -f raw -c 'read 0 512' disk >log 2>&1 && "
       "grep -q lock log");
    sh("! qemu-img convert -f raw -O raw disk out >log 2>&1 && "
       "grep -q lock log");
}

Test(imagelock, there_is_one_writer)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    ok(lock_writer("disk", &err), err);
    cr_expect_eq(lock_writer("disk", &err), -EBUSY);
    cr_expect_neq(err.remedy[0], '\0');
}

Test(imagelock, a_writer_and_a_frozen_lock_exclude_each_other)
{
    int lock;

    sh("truncate -s 1M disk");
    lock = bm_frozen_lock("disk", NULL);
    cr_assert_geq(lock, 0);
    cr_expect_eq(lock_writer("disk", NULL), -EBUSY);
    close(lock);
    sh("truncate -s 1M other");
    cr_expect_eq(lock_writer("other", NULL), 0);
    cr_expect_eq(bm_frozen_lock("other", NULL), -EBUSY);
}

Test(imagelock, the_frozen_lock_of_a_callers_descriptor)
{
    int fd;

    sh("truncate -s 1M disk");
    fd = open("disk", O_RDONLY | O_CLOEXEC);
    cr_assert_eq(bm_reader_lock(fd, "disk", NULL), 0);
    cr_expect_eq(lock_writer("disk", NULL), -EBUSY);
    close(fd);
    cr_expect_eq(lock_writer("disk", NULL), 0);
}

Test(imagelock, an_open_writer_is_ebusy_for_another)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("truncate -s 1M disk");
    open_for_writing("disk");
    cr_expect_eq(lock_writer("disk", &err), -EBUSY);
    cr_expect(strstr(err.cause, "open"), "%s", err.cause);
    close_writer();
}

Test(imagelock, a_look_sees_a_writer_and_holds_nothing)
{
    bool written = true;

    sh("truncate -s 1M disk");
    cr_assert_eq(bm_image_written("disk", &written, NULL), 0);
    cr_expect_not(written);
    open_for_writing("disk");
    cr_assert_eq(bm_image_written("disk", &written, NULL), 0);
    cr_expect(written);
    close_writer();
    cr_expect_eq(bm_image_written("none", &written, NULL), -ENOENT);
}

Test(imagelock, missing_file)
{
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_eq(bm_frozen_lock("none", &err), -ENOENT);
}

Test(imagelock, block_device_by_the_same_node)
{
    char loop[256];
    int lock;

    if (geteuid() != 0)
        cr_skip("needs root for a loop device");
    sh("truncate -s 1M disk");
    if (fixture_status("losetup -f --show disk >loop 2>/dev/null") != 0)
        cr_skip("no loop devices here");
    strcpy(loop, fixture_word("cat loop"));
    lock = bm_frozen_lock(loop, NULL);
    cr_expect_geq(lock, 0);
    close(lock);
    open_for_writing(loop);
    cr_expect_eq(bm_frozen_lock(loop, NULL), -EBUSY);
    close_writer();
    sh("losetup -d %s", loop); /* lazily, once the writer is gone */
}
