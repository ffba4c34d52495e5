// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/imagelock.h"

#include "nbd/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* QEMU include/block/block-common.h and block/file-posix.c: whoever has a
 * permission holds a read lock at PERM_BASE + its number, whoever does not
 * share it holds one at SHARED_BASE + its number. */
#define PERM_WRITE 1
#define PERM_BASE 100
#define SHARED_BASE 200

static struct flock byte(short type, off_t start)
{
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};

    return lock;
}

static int busy(const char *path, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot hold %s still", path);
    return bm_cause(err, "someone has it open for writing"), -EBUSY;
}

int bm_frozen_lock(const char *path, struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct flock mine = byte(F_RDLCK, SHARED_BASE + PERM_WRITE);
    struct flock writer = byte(F_WRLCK, PERM_BASE + PERM_WRITE);
    int held;

    if (fd < 0)
        return bm_fail_errno(err, errno, "cannot open %s", path);
    /* First lock, then look, as QEMU does: of two who come at the same time
     * at least one sees the other. */
    if (fcntl(fd, F_OFD_SETLK, &mine) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return busy(path, err);
        return bm_fail_errno(err, errno, "cannot lock %s", path);
    }
    if (fcntl(fd, F_OFD_GETLK, &writer) != 0)
        return bm_fail_errno(err, errno, "cannot examine the locks of %s",
                             path);
    if (writer.l_type != F_UNLCK)
        return busy(path, err);
    held = fd;
    fd = -1;
    return held;
}
