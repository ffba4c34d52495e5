// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/imagecopy/destination.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

static int refused(struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED);
}

/* Of a loop device the file behind it. */
static void look_behind(const char *path, struct stat *st)
{
    BM_CLOSE int fd = -1;
    struct loop_info64 info;

    if (!S_ISBLK(st->st_mode) || major(st->st_rdev) != LOOP_MAJOR)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0)
        return;
    st->st_mode = S_IFREG;
    st->st_dev = info.lo_device;
    st->st_ino = info.lo_inode;
}

static int examine(const char *path, struct stat *st)
{
    if (stat(path, st) != 0)
        return -errno;
    look_behind(path, st);
    return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
        return a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int is_source(const struct bm_destination *l, const char *layer,
                     struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot copy to %s", l->name);
    bm_cause(err, "%s is what would be read", layer);
    return refused(err);
}

struct apart {
    const struct bm_destination *destination;
    struct stat mine;
};

static int check_layer(void *opaque, unsigned depth, const char *layer,
                       struct bm_error *err)
{
    const struct apart *apart = opaque;
    struct stat st;

    return examine(layer, &st) == 0 && same_file(&st, &apart->mine)
               ? is_source(apart->destination, layer, err)
               : 0;
}

int bm_destination_apart(const struct bm_destination *l, const char *source,
                         const char *format, struct bm_error *err)
{
    struct apart apart = {.destination = l};

    if (strcmp(l->name, source) == 0)
        return is_source(l, source, err);
    if (bm_is_nbd_uri(source) || bm_is_nbd_uri(l->name) ||
        examine(l->name, &apart.mine) != 0)
        return 0;
    return bm_image_walk(source, format, check_layer, &apart, err);
}

/* Of a lease on these, only the server knows; it says no without a reason. */
static bool is_remote(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) != 0 || fs.f_type == NFS_SUPER_MAGIC ||
           fs.f_type == SMB_SUPER_MAGIC || fs.f_type == CIFS_SUPER_MAGIC ||
           fs.f_type == SMB2_SUPER_MAGIC;
}

/* fcntl(2): a read lease is refused with EAGAIN on a file that is open for
 * writing. It is given back at once; a writer who comes in between waits for
 * that, and the signal it causes must not be SIGIO, which kills. */
static bool has_writer(const char *path)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || is_remote(fd) || fcntl(fd, F_SETSIG, SIGURG) != 0)
        return false;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
        return errno == EAGAIN;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

static int check_writer(void *opaque, unsigned depth, const char *layer,
                        struct bm_error *err)
{
    const struct bm_destination *l = opaque;

    if (!has_writer(layer))
        return 0;
    bm_fail(err, EBUSY, "cannot copy to %s", l->name);
    bm_cause(err, "someone has %s open for writing: maybe this server", layer);
    bm_remedy(err, "-U says that it is not the server");
    return refused(err);
}

int bm_destination_unwritten(const struct bm_destination *l, const char *source,
                             const char *format, struct bm_error *err)
{
    if (l->kind != BM_DESTINATION_SERVER || bm_is_nbd_uri(source))
        return 0;
    return bm_image_walk(source, format, check_writer, (void *)l, err);
}
