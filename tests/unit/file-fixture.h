// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of files and host devices share. */
#ifndef TESTS_UNIT_FILE_FIXTURE_H
#define TESTS_UNIT_FILE_FIXTURE_H

#include "nbd/device/device.h"
#include "tests/unit/fixture.h"

#include <errno.h>

static inline struct bm_device *must_open(const char *path,
                                          const struct bm_open *how)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    ok(bm_device_open(path, how, &dev, &err), err);
    return dev;
}

static inline void must_read(struct bm_device *dev, unsigned queue, void *buf,
                             size_t len, uint64_t offset)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_device_pread(dev, queue, buf, len, offset, &err), err);
}

static inline void must_write(struct bm_device *dev, unsigned queue,
                              const void *buf, size_t len, uint64_t offset)
{
    struct bm_error err = BM_ERROR_INIT;

    ok(bm_device_pwrite(dev, queue, buf, len, offset, &err), err);
}

/* The first len bytes of a file; the caller frees them. */
static inline char *slurp(const char *path, size_t len)
{
    char *buf = malloc(len);
    FILE *file = fopen(path, "r");

    cr_assert(buf && file && fread(buf, len, 1, file) == 1);
    fclose(file);
    return buf;
}

/* As fixture_teardown, also when a test that mounted something has failed. */
static inline void file_teardown(void)
{
    (void)fixture_status("! test -d m || umount -l m 2>/dev/null");
    (void)fixture_status("! test -s loop || losetup -d $(cat loop)");
    fixture_teardown();
}

/* A file system of its own on ./m, or the test is skipped. */
static inline void need_mount(const char *type, const char *options)
{
    if (geteuid() != 0 ||
        fixture_status("mkdir m && mount -t %s -o %s none m 2>/dev/null", type,
                       options) != 0)
        cr_skip("needs root to mount a %s", type);
}

/* A loop device for ./disk, or the test is skipped. */
static inline const char *need_loop(const char *options)
{
    static char loop[256];

    if (geteuid() != 0 ||
        fixture_status("losetup -f %s --show disk >loop 2>/dev/null",
                       options) != 0)
        cr_skip("needs root for a loop device");
    strcpy(loop, fixture_word("cat loop"));
    return loop;
}

#endif
