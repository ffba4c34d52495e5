// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/file-backend.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/backends.h"
#include "nbd/image/image-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define SECTOR 512u
#define CACHED_CHUNK (UINT32_C(256) << 10) /* stays in the CPU's cache */
#define DIRECT_CHUNK (UINT32_C(1) << 20)   /* the medium likes them large */

static struct bm_file *of(struct bm_device *dev)
{
    return (struct bm_file *)dev;
}

static int file_submit(struct bm_device *dev, unsigned queue,
                       struct bm_request *req, struct bm_error *err)
{
    struct bm_file *file = of(dev);
    struct bm_file_lane *l = &file->queues[queue];

    if (req->op == BM_WRITE)
        req->error = bm_file_write(file, l, req->buf, req->len, req->offset);
    else if (req->op == BM_ZERO)
        req->error = bm_file_zero_out(file, l, req->len, req->offset);
    else
        req->error = bm_file_read(file, l, req->buf, req->len, req->offset);
    req->done = true;
    return 0;
}

static int get_size(int fd, uint64_t *size, bool *block)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -errno;
    *block = S_ISBLK(st.st_mode);
    *size = (uint64_t)st.st_size;
    if (S_ISREG(st.st_mode))
        return 0;
    if (!*block)
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    return ioctl(fd, BLKGETSIZE64, size) == 0 ? 0 : -errno;
}

static int file_intact(const struct bm_device *dev, struct bm_error *err)
{
    const struct bm_file *file = (const struct bm_file *)dev;
    uint64_t size = 0;
    bool block;
    int rc = get_size(file->fd, &size, &block);

    if (rc != 0)
        return bm_fail_errno(err, -rc, "cannot read %s", dev->name);
    if (size >= dev->size)
        return 0;
    bm_fail(err, EIO, "cannot read %s", dev->name);
    return bm_cause(err, "it was truncated meanwhile"), -EIO;
}

static int file_extents(struct bm_device *dev, unsigned queue, enum bm_map map,
                        uint64_t offset, uint64_t len, struct bm_extent *runs,
                        size_t max, size_t *n, struct bm_error *err)
{
    int rc;

    /* A block device has no holes to tell of, nor a file clean parts. */
    if (of(dev)->block || map != BM_MAP_ZERO) {
        runs[0] = (struct bm_extent){offset, len, false};
        return *n = 1, 0;
    }
    rc = bm_file_runs(of(dev)->fd, offset, len, runs, max, n);
    if (rc != 0)
        return bm_fail_errno(err, rc, "cannot read the extents of %s",
                             dev->name);
    return file_intact(dev, err); /* what was cut off is no hole */
}

static int file_flush(struct bm_device *dev, unsigned queue,
                      struct bm_error *err)
{
    /* any queue may ask, for what all of them wrote */
    int rc = bm_file_sync(of(dev));

    return rc == 0 ? 0 : bm_fail_errno(err, rc, "cannot flush %s", dev->name);
}

static int file_drop_cache(struct bm_device *dev, struct bm_error *err)
{
    /* What is dirty cannot be dropped, whoever wrote it. */
    int rc = bm_file_sync(of(dev));

    if (rc == 0)
        rc = posix_fadvise(of(dev)->fd, 0, 0, POSIX_FADV_DONTNEED);
    return rc == 0
               ? 0
               : bm_fail_errno(err, rc, "cannot drop %s from the page cache",
                               dev->name);
}

static void file_close(struct bm_device *dev)
{
    struct bm_file *file = of(dev);

    for (unsigned i = 0; i < dev->queues; i++)
        free(file->queues[i].bounce);
    if (file->direct >= 0)
        (void)close(file->direct);
    if (file->fd >= 0)
        (void)close(file->fd);
    pthread_mutex_destroy(&file->unaligned);
    free(dev->name);
    free(file);
}

static const struct bm_device_ops file_ops = {
    .submit = file_submit,
    .extents = file_extents,
    .flush = file_flush,
    .intact = file_intact,
    .drop_cache = file_drop_cache,
    .close = file_close,
};

static void close_file(struct bm_file **file)
{
    if (*file)
        file_close(&(*file)->dev);
}

static unsigned count_lanes(const struct bm_open *how)
{
    if (how->queues == 0)
        return 1;
    return how->queues > BM_QUEUES_MAX ? BM_QUEUES_MAX : how->queues;
}

static struct bm_file *new_file(const char *path, const struct bm_open *how)
{
    BM_FREE char *name = strdup(path);
    unsigned queues = count_lanes(how);
    struct bm_file *file =
        calloc(1, sizeof *file + queues * sizeof file->queues[0]);

    if (!file || !name)
        return free(file), NULL;
    file->fd = file->direct = -1;
    file->align = SECTOR;
    file->keep = how->keep;
    pthread_mutex_init(&file->unaligned, NULL);
    file->dev = (struct bm_device){
        .ops = &file_ops,
        .name = BM_STEAL(name),
        .queues = queues,
        .chunk = how->direct ? DIRECT_CHUNK : CACHED_CHUNK,
        .sector = SECTOR,
        .writable = how->write,
        .zeroed = how->zeroed,
        .local = true,
        .can_zero = how->write,
        .medium = how->direct ? "medium" : "cache",
    };
    return file;
}

static int open_flags(const struct bm_open *how)
{
    return (how->write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY;
}

static int fail_open(const struct bm_file *file, int code, struct bm_error *err)
{
    return bm_fail_errno(err, code, "cannot open %s%s", file->dev.name,
                         file->dev.writable ? " for writing" : "");
}

static int no_direct(const struct bm_file *file, struct bm_error *err)
{
    fail_open(file, EINVAL, err);
    bm_cause(err, "its file system has no O_DIRECT");
    bm_remedy(err, "use the page cache (--cache writeback)");
    return -EINVAL;
}

/* A file's alignment, as statx tells it: no more than its medium needs, or a
 * bad sector would take its neighbours with it. */
static int ask_align(struct bm_file *file, struct bm_error *err)
{
    struct statx stx = {.stx_mask = 0};

    file->align = BM_BUFFER_ALIGN;
    if (statx(file->direct, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) != 0 ||
        !(stx.stx_mask & STATX_DIOALIGN))
        return 0;
    /* open(2) takes O_DIRECT, but what is read is the page cache: say an
     * encrypted file, or one whose data is in the journal. */
    if (stx.stx_dio_offset_align == 0)
        return no_direct(file, err);
    file->align = stx.stx_dio_offset_align > stx.stx_dio_mem_align
                      ? stx.stx_dio_offset_align
                      : stx.stx_dio_mem_align;
    return 0;
}

static int open_direct(struct bm_file *file, const struct bm_open *how,
                       struct bm_error *err)
{
    char self[64];

    /* The same file, even if another one has got its name meanwhile. */
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    file->direct = open(self, open_flags(how) | O_DIRECT);
    if (file->direct < 0)
        return errno == EINVAL ? no_direct(file, err)
                               : fail_open(file, errno, err);
    return file->block ? 0 : ask_align(file, err);
}

static int ask_sector(struct bm_file *file, struct bm_error *err)
{
    int sector = 0;

    if (ioctl(file->fd, BLKSSZGET, &sector) != 0)
        return fail_open(file, errno, err);
    if (sector > (int)SECTOR)
        file->dev.sector = (uint32_t)sector;
    file->align = file->dev.sector;
    return 0;
}

/* A block device that is mounted, or part of another one, must not be
 * written: O_EXCL says so. (On a file it means nothing without O_CREAT.) */
static int open_cached(struct bm_file *file, const struct bm_open *how,
                       struct bm_error *err)
{
    const char *path = file->dev.name;
    struct stat st;
    bool alone = how->write && stat(path, &st) == 0 && S_ISBLK(st.st_mode);

    file->fd = open(path, open_flags(how) | (alone ? O_EXCL : 0));
    if (file->fd >= 0)
        return 0;
    if (errno != EBUSY)
        return fail_open(file, errno, err);
    fail_open(file, EBUSY, err);
    bm_cause(err, "it is mounted, or the kernel uses it in another way");
    return -EBUSY;
}

static int lock_file(const struct bm_file *file, const struct bm_open *how,
                     struct bm_error *err)
{
    if (how->share)
        return 0;
    return how->write ? bm_writer_lock(file->fd, file->dev.name, err)
                      : bm_reader_lock(file->fd, file->dev.name, err);
}

/* Under the lock: until then a QEMU may change the size. */
static int learn(struct bm_file *file, const struct bm_open *how,
                 struct bm_error *err)
{
    int rc = get_size(file->fd, &file->dev.size, &file->block);

    if (rc != 0)
        return fail_open(file, -rc, err);
    if (file->block)
        rc = ask_sector(file, err);
    if (rc == 0 && how->direct)
        rc = open_direct(file, how, err);
    if (how->direct && file->align > file->dev.sector)
        file->dev.sector = (uint32_t)file->align;
    file->cut = file->dev.size & ~((uint64_t)file->align - 1);
    return rc;
}

static int no_bitmap(const char *path, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot open %s", path);
    bm_cause(err, "a raw file has no bitmaps");
    bm_remedy(err, "name a qcow2 image or an NBD export that has one");
    return -EINVAL;
}

int bm_device_file_open(const char *path, const struct bm_open *how,
                        struct bm_device **out, struct bm_error *err)
{
    __attribute__((cleanup(close_file))) struct bm_file *file = NULL;
    int rc;

    if (how->dirty)
        return no_bitmap(path, err);
    file = new_file(path, how);
    if (!file)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", path);
    rc = open_cached(file, how, err);
    if (rc == 0)
        rc = lock_file(file, how, err);
    if (rc == 0)
        rc = learn(file, how, err);
    if (rc == 0)
        *out = &BM_STEAL(file)->dev;
    return rc;
}
