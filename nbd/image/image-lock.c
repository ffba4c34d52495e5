// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/image-lock.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* QEMU include/block/block-common.h and block/file-posix.c: whoever has a
 * permission holds a read lock at PERM_BASE + its number, whoever does not
 * share it holds one at SHARED_BASE + its number. */
#define PERM_READ 0
#define PERM_WRITE 1
#define PERM_BASE 100
#define SHARED_BASE 200

static struct flock byte(short type, off_t start)
{
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};

    return lock;
}

/* 0, or 1 when a writer by some other lock (not QEMU's way) is in between. */
static int hold(int fd, off_t start, const char *path, struct bm_error *err)
{
    struct flock mine = byte(F_RDLCK, start);

    if (fcntl(fd, F_OFD_SETLK, &mine) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return 1;
    return bm_fail_errno(err, errno, "cannot lock %s", path);
}

/* 1 when another one holds it; our own locks on fd do not count. */
static int held(int fd, off_t start, const char *path, struct bm_error *err)
{
    struct flock theirs = byte(F_WRLCK, start);

    if (fcntl(fd, F_OFD_GETLK, &theirs) == 0)
        return theirs.l_type != F_UNLCK;
    return bm_fail_errno(err, errno, "cannot examine the locks of %s", path);
}

static int busy_reader(const char *path, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot hold %s still", path);
    return bm_cause(err, "someone has it open for writing"), -EBUSY;
}

int bm_reader_lock(int fd, const char *path, struct bm_error *err)
{
    /* First lock, then look, as QEMU does: of two who come at the same time
     * at least one sees the other. */
    int rc = hold(fd, SHARED_BASE + PERM_WRITE, path, err);

    if (rc == 0)
        rc = held(fd, PERM_BASE + PERM_WRITE, path, err);
    return rc > 0 ? busy_reader(path, err) : rc;
}

int bm_image_written(const char *path, bool *out, struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    if (fd < 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    rc = held(fd, PERM_BASE + PERM_WRITE, path, err);
    *out = rc > 0;
    return rc < 0 ? rc : 0;
}

int bm_frozen_lock(const char *path, struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    if (fd < 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    rc = bm_reader_lock(fd, path, err);
    if (rc != 0)
        return rc;
    rc = fd;
    fd = -1;
    return rc;
}

static int busy_writer(const char *path, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot write %s", path);
    bm_cause(err, "someone has it open");
    bm_remedy(err, "end the guest or the program that uses it");
    return -EBUSY;
}

int bm_writer_lock(int fd, const char *path, struct bm_error *err)
{
    /* What a QEMU holds that has it open, be it to read or to write, and that
     * does not let others write; our own are the same without "reads". */
    static const off_t mine[] = {PERM_BASE + PERM_WRITE,
                                 SHARED_BASE + PERM_READ,
                                 SHARED_BASE + PERM_WRITE};
    static const off_t theirs[] = {PERM_BASE + PERM_READ,
                                   PERM_BASE + PERM_WRITE,
                                   SHARED_BASE + PERM_WRITE};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof mine / sizeof *mine; i++)
        rc = hold(fd, mine[i], path, err);
    for (size_t i = 0; rc == 0 && i < sizeof theirs / sizeof *theirs; i++)
        rc = held(fd, theirs[i], path, err);
    return rc > 0 ? busy_writer(path, err) : rc;
}
