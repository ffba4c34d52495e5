// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/file-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define ZEROES ((size_t)256 << 10)

/* Never written, so no room in the program file. */
static char zeroes[ZEROES] __attribute__((aligned(BM_BUFFER_ALIGN)));

/* 0 or an errno. */
static int punch_hole(const struct bm_file *file, uint64_t len, uint64_t offset)
{
    return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)offset, (off_t)len) == 0
               ? 0
               : errno;
}

static int zero_range(const struct bm_file *file, uint64_t len, uint64_t offset)
{
    return fallocate(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                     (off_t)offset, (off_t)len) == 0
               ? 0
               : errno;
}

static int zero_out(const struct bm_file *file, uint64_t len, uint64_t offset)
{
    uint64_t range[2] = {offset, len};

    if (!file->block)
        return ENOTTY;
    return ioctl(file->fd, BLKZEROOUT, range) == 0 ? 0 : errno;
}

/* The cheapest first. */
static int (*const ways[])(const struct bm_file *, uint64_t len,
                           uint64_t offset) = {punch_hole, zero_range,
                                               zero_out};
#define N_WAYS (sizeof ways / sizeof *ways)

static bool is_unable(int error)
{
    return error == EOPNOTSUPP || error == ENOTTY || error == ENODEV ||
           error == ENOSYS;
}

static int write_zeroes(struct bm_file *file, struct bm_file_lane *queue,
                        uint64_t len, uint64_t offset)
{
    int rc = 0;

    while (rc == 0 && len > 0) {
        uint64_t n = len < ZEROES ? len : ZEROES;

        rc = bm_file_write(file, queue, zeroes, n, offset);
        len -= n;
        offset += n;
    }
    return rc;
}

/* What a device cannot do is tried only once. */
static int zero_whole(struct bm_file *file, struct bm_file_lane *queue,
                      uint64_t len, uint64_t offset)
{
    for (unsigned i = 0; i < N_WAYS; i++) {
        int rc;

        if (atomic_load(&file->unable) & (1u << i))
            continue;
        do
            rc = ways[i](file, len, offset);
        while (rc == EINTR);
        if (!is_unable(rc))
            return rc;
        atomic_fetch_or(&file->unable, 1u << i);
    }
    return write_zeroes(file, queue, len, offset);
}

int bm_file_zero_out(struct bm_file *file, struct bm_file_lane *queue,
                     uint64_t len, uint64_t offset)
{
    /* A file system sees to unaligned edges itself, a block device does not. */
    uint64_t mask = file->block ? file->align - 1 : 0;
    uint64_t head = -offset & mask, tail;
    int rc;

    if (head >= len)
        return write_zeroes(file, queue, len, offset);
    tail = (offset + len) & mask;
    if (head + tail >= len)
        return write_zeroes(file, queue, len, offset);
    rc = write_zeroes(file, queue, head, offset);
    if (rc == 0)
        rc = zero_whole(file, queue, len - head - tail, offset + head);
    return rc == 0 ? write_zeroes(file, queue, tail, offset + len - tail) : rc;
}
