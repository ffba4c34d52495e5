// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/file-backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *bm_file_bounce(const struct bm_file *file, struct bm_file_lane *queue)
{
    size_t align =
        file->align > BM_BUFFER_ALIGN ? file->align : BM_BUFFER_ALIGN;

    if (!queue->bounce)
        queue->bounce = aligned_alloc(align, BM_FILE_BOUNCE);
    return queue->bounce;
}

ssize_t bm_file_pread(int fd, char *buf, size_t len, uint64_t offset,
                      size_t align)
{
    size_t done = 0;

    while (done < len && done % align == 0) {
        ssize_t n = pread(fd, buf + done, len - done, (off_t)(offset + done));

        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return (ssize_t)done;
}

/* The file was cut off if there is less than what was asked for, and what is
 * not there must not pass for data. */
static int read_whole(int fd, char *buf, size_t len, uint64_t offset,
                      size_t align)
{
    ssize_t n = bm_file_pread(fd, buf, len, offset, align);

    return n < 0 ? (int)-n : (size_t)n < len ? EIO : 0;
}

/* The whole blocks around what is wanted. The last one of a file may be
 * short: only what is wanted of it must be there. */
static int read_bounced(const struct bm_file *file, struct bm_file_lane *queue,
                        char *buf, size_t len, uint64_t offset)
{
    char *bounce = bm_file_bounce(file, queue);

    if (!bounce)
        return ENOMEM;
    while (len > 0) {
        size_t skip = offset % file->align, n;
        size_t want = (skip + len + file->align - 1) & ~(file->align - 1);
        ssize_t got;

        if (want > BM_FILE_BOUNCE)
            want = BM_FILE_BOUNCE;
        n = want - skip < len ? want - skip : len;
        got = bm_file_pread(file->direct, bounce, want, offset - skip,
                            file->align);
        if (got < 0 || (size_t)got < skip + n)
            return got < 0 ? (int)-got : EIO;
        memcpy(buf, bounce + skip, n);
        buf += n;
        len -= n;
        offset += n;
    }
    return 0;
}

int bm_file_read(const struct bm_file *file, struct bm_file_lane *queue,
                 char *buf, size_t len, uint64_t offset)
{
    if (file->direct < 0)
        return read_whole(file->fd, buf, len, offset, 1);
    if ((offset | len | (uintptr_t)buf) % file->align != 0)
        return read_bounced(file, queue, buf, len, offset);
    return read_whole(file->direct, buf, len, offset, file->align);
}

/* The runs found so far; a neighbour that is alike makes the last one longer.
 * False: there is no room. */
struct run_list {
    struct bm_extent *runs;
    size_t n, max;
};

static bool add_run(struct run_list *list, uint64_t offset, uint64_t end,
                    bool zero)
{
    struct bm_extent *last = list->n > 0 ? &list->runs[list->n - 1] : NULL;

    if (last && last->zero == zero) {
        last->length = end - last->offset;
        return true;
    }
    if (list->n == list->max)
        return false;
    list->runs[list->n++] = (struct bm_extent){offset, end - offset, zero};
    return true;
}

static uint64_t clamp(off_t found, uint64_t end)
{
    return (uint64_t)found < end ? (uint64_t)found : end;
}

/* What is at pos, and where it ends. 0 or an errno. */
static int find_run(int fd, uint64_t pos, uint64_t end, uint64_t *next,
                    bool *zero)
{
    off_t found = lseek(fd, (off_t)pos, SEEK_DATA);

    /* ENXIO: only a hole from pos on */
    *zero = found < 0 ? errno == ENXIO : (uint64_t)found > pos;
    *next = found < 0 ? end : clamp(found, end);
    if (*zero)
        return 0;
    if (found < 0) /* a file system that cannot tell: all of it is data */
        return errno == EINVAL || errno == EOPNOTSUPP ? 0 : errno;
    found = lseek(fd, (off_t)pos, SEEK_HOLE);
    *next = found < 0 ? end : clamp(found, end);
    return 0;
}

int bm_file_runs(int fd, uint64_t offset, uint64_t len, struct bm_extent *runs,
                 size_t max, size_t *n)
{
    struct run_list list = {runs, 0, max};
    uint64_t pos = offset, end = offset + len, next;
    bool zero;

    while (pos < end) {
        int rc = find_run(fd, pos, end, &next, &zero);

        if (rc != 0)
            return rc;
        /* next is pos where a hole was punched between the two questions:
         * then ask again. */
        if (next > pos && !add_run(&list, pos, next, zero))
            break;
        pos = next;
    }
    *n = list.n;
    return 0;
}
