// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/file-backend.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Write-out begins when so much was written on a queue. 2 GiB from file to
 * file, two queues, flushed, median of 15 in turn: 0.98 s; with 2 MiB 1.04 s,
 * with 8 MiB 1.15 s (and on a slower disk 1.54 s with 32 MiB): what is given
 * back soon is still in the CPU's cache when it is written again. */
#define WINDOW (UINT64_C(1) << 20)

/* The first error is the one that counts; write-out failed once is failed for
 * ever, because the kernel tells of it only once and then drops the data. */
static void note_write_error(struct bm_file *file, int error)
{
    int none = 0;

    atomic_compare_exchange_strong(&file->write_error, &none, error);
}

int bm_file_sync(struct bm_file *file)
{
    int rc;

    do
        rc = fdatasync(file->fd) == 0 ? 0 : errno;
    while (rc == EINTR);
    if (rc != 0 && file->dev.writable)
        note_write_error(file, rc);
    return file->dev.writable ? atomic_load(&file->write_error) : rc;
}

/* Not being able to only means that the flush has more to do. */
static void write_out(struct bm_file *file, uint64_t start, uint64_t end)
{
    if (sync_file_range(file->fd, (off_t)start, (off_t)(end - start),
                        SYNC_FILE_RANGE_WRITE) != 0 &&
        errno != EINVAL && errno != ENOSYS && errno != ESPIPE && errno != EPERM)
        note_write_error(file, errno);
}

/* The oldest window has had time to get to the disk; its pages are given back,
 * to be written again: fresh memory costs more than the copying, most of all
 * in a virtual machine. */
static void retire(struct bm_file *file, const struct bm_file_window *w)
{
    if (sync_file_range(file->fd, (off_t)w->start, (off_t)(w->end - w->start),
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
        (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        note_write_error(file, errno);
    /* a hint: what fails costs memory only */
    (void)posix_fadvise(file->fd, (off_t)w->start, (off_t)(w->end - w->start),
                        POSIX_FADV_DONTNEED);
}

static void remember(struct bm_file *file, struct bm_file_lane *queue)
{
    if (queue->n_sent == BM_FILE_WINDOWS) {
        retire(file, &queue->sent[queue->first]);
        queue->first = (queue->first + 1) % BM_FILE_WINDOWS;
        queue->n_sent--;
    }
    queue->sent[(queue->first + queue->n_sent++) % BM_FILE_WINDOWS] =
        (struct bm_file_window){queue->start, queue->end};
}

/* The disk is to have work all the time, and the flush little. Where in the
 * file a queue writes does not matter: what lies in between is clean, or some
 * other queue's and will be written anyway. */
static void begin_write_out(struct bm_file *file, struct bm_file_lane *queue,
                            size_t len, uint64_t offset)
{
    if (queue->dirty == 0 || offset < queue->start)
        queue->start = offset;
    if (queue->dirty == 0 || offset + len > queue->end)
        queue->end = offset + len;
    queue->dirty += len;
    if (queue->dirty < WINDOW)
        return;
    write_out(file, queue->start, queue->end);
    if (!file->keep)
        remember(file, queue);
    queue->dirty = 0;
}

static int write_all(int fd, const char *buf, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, buf, len, (off_t)offset);

        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return EIO;
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
            offset += (size_t)n;
        }
    }
    return 0;
}

/* The odd tail of a file: as a whole block it would make the file longer. So
 * it goes through the page cache, and out of there at once: what stayed there
 * would be written some time, after what is written past it meanwhile. */
static int write_tail(struct bm_file *file, const char *buf, size_t len,
                      uint64_t offset)
{
    int rc = write_all(file->fd, buf, len, offset);

    return rc == 0 ? bm_file_sync(file) : rc;
}

/* Part of one block. Another queue may have the rest of it, so only one reads,
 * changes and writes it at a time. */
static int write_unaligned(struct bm_file *file, struct bm_file_lane *queue,
                           const char *buf, size_t len, uint64_t offset)
{
    BM_LOCK(&file->unaligned);
    char *block = bm_file_bounce(file, queue);
    size_t skip = offset % file->align;
    ssize_t n;

    if (offset >= file->cut)
        return write_tail(file, buf, len, offset);
    if (!block)
        return ENOMEM;
    n = bm_file_pread(file->direct, block, file->align, offset - skip,
                      file->align);
    if (n < 0 || (size_t)n < file->align)
        return n < 0 ? (int)-n : EIO;
    memcpy(block + skip, buf, len);
    return write_all(file->direct, block, file->align, offset - skip);
}

/* Whole blocks, from wherever they are in memory; how many bytes of them. */
static int write_blocks(struct bm_file *file, struct bm_file_lane *queue,
                        const char *buf, size_t len, uint64_t offset, size_t *n)
{
    char *bounce;

    *n = len & ~(file->align - 1);
    if ((uintptr_t)buf % file->align == 0)
        return write_all(file->direct, buf, *n, offset);
    bounce = bm_file_bounce(file, queue);
    if (!bounce)
        return ENOMEM;
    if (*n > BM_FILE_BOUNCE)
        *n = BM_FILE_BOUNCE;
    memcpy(bounce, buf, *n);
    return write_all(file->direct, bounce, *n, offset);
}

static int write_direct(struct bm_file *file, struct bm_file_lane *queue,
                        const char *buf, size_t len, uint64_t offset)
{
    int rc = 0;

    while (rc == 0 && len > 0) {
        size_t skip = offset % file->align, n;

        if (skip == 0 && len >= file->align) {
            rc = write_blocks(file, queue, buf, len, offset, &n);
        } else {
            n = file->align - skip < len ? file->align - skip : len;
            rc = write_unaligned(file, queue, buf, n, offset);
        }
        buf += n;
        len -= n;
        offset += n;
    }
    return rc;
}

int bm_file_write(struct bm_file *file, struct bm_file_lane *queue,
                  const char *buf, size_t len, uint64_t offset)
{
    int rc;

    if (file->direct >= 0)
        return write_direct(file, queue, buf, len, offset);
    rc = write_all(file->fd, buf, len, offset);
    if (rc == 0)
        begin_write_out(file, queue, len, offset);
    return rc;
}
