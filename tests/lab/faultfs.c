// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A datastore that goes wrong when a test says so: a file system that hands
 * all on to another folder.
 *
 *   faultfs FOLDER WORD MOUNT [FUSE-OPTION...]
 *
 * The file WORD holds one word, which is read before each operation:
 *
 *   ok        all works
 *   dead      every operation fails (EIO), those on open files too
 *   hang      no operation returns until the word changes; as on NFS, a
 *             process that waits can be killed
 *   full      writes fail (ENOSPC), and there is no room
 *   readonly  writes fail (EROFS), as when the kernel remounts after an error
 *   slow      each write takes 0.1 s
 *   wrong     what is read at byte 2 MiB of a file is not what was written
 *
 * Locks, leases and caching are the kernel's. Needs /dev/fuse.
 */
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK_US 20000
#define SLOW_US 100000
#define WRONG_AT (2 << 20)

static int folder;
static const char *word_file;

enum kind { READS, WRITES };

/* A word that cannot be read is one that is just being written. */
static char first_letter(void)
{
    int fd = open(word_file, O_RDONLY | O_CLOEXEC);
    char letter = 'o';

    if (fd >= 0 && read(fd, &letter, 1) != 1)
        letter = 'o';
    if (fd >= 0)
        (void)close(fd);
    return letter;
}

/* 0, or the negative errno that the operation ends with. */
static int fault(enum kind kind)
{
    char letter = first_letter();

    for (; letter == 'h'; letter = first_letter()) {
        if (fuse_interrupted())
            return -EINTR;
        usleep(LOOK_US);
    }
    if (letter == 'd')
        return -EIO;
    if (kind == WRITES && letter == 'f')
        return -ENOSPC;
    if (kind == WRITES && letter == 'r')
        return -EROFS;
    if (kind == WRITES && letter == 's')
        usleep(SLOW_US);
    return 0;
}

/* Paths come with a slash in front; the folder itself is then "". */
static const char *under(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int done(int rc)
{
    return rc < 0 ? -errno : rc;
}

/* --- names --- */

static int get_attributes(const char *path, struct stat *st,
                          struct fuse_file_info *fi)
{
    int rc = fault(READS);

    if (rc)
        return rc;
    return done(fi ? fstat((int)fi->fh, st)
                   : fstatat(folder, under(path), st, AT_SYMLINK_NOFOLLOW));
}

static int read_folder(const char *path, void *buf, fuse_fill_dir_t fill,
                       off_t offset, struct fuse_file_info *fi,
                       enum fuse_readdir_flags flags)
{
    int rc = fault(READS), fd;
    struct dirent *entry;
    DIR *dir;

    (void)offset, (void)fi, (void)flags;
    if (rc)
        return rc;
    fd = openat(folder, under(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        (void)fill(buf, entry->d_name, NULL, 0, 0);
    (void)closedir(dir);
    return 0;
}

/* As root this makes things for others. */
static int give(const char *path, int rc)
{
    const struct fuse_context *who = fuse_get_context();

    if (!rc && geteuid() == 0)
        rc = fchownat(folder, under(path), who->uid, who->gid, 0);
    return done(rc);
}

static int make_folder(const char *path, mode_t mode)
{
    int rc = fault(WRITES);

    return rc ? rc : give(path, mkdirat(folder, under(path), mode));
}

static int make_node(const char *path, mode_t mode, dev_t dev)
{
    int rc = fault(WRITES);

    return rc ? rc : give(path, mknodat(folder, under(path), mode, dev));
}

static int remove_file(const char *path)
{
    int rc = fault(WRITES);

    /* a full store gives room back */
    return rc && rc != -ENOSPC ? rc : done(unlinkat(folder, under(path), 0));
}

static int remove_folder(const char *path)
{
    int rc = fault(WRITES);

    return rc ? rc : done(unlinkat(folder, under(path), AT_REMOVEDIR));
}

static int give_name(const char *from, const char *to, unsigned flags)
{
    int rc = fault(WRITES);

    return rc ? rc
              : done(renameat2(folder, under(from), folder, under(to), flags));
}

static int set_mode(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    (void)fi;
    return rc ? rc : done(fchmodat(folder, under(path), mode, 0));
}

static int set_owner(const char *path, uid_t uid, gid_t gid,
                     struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    (void)fi;
    return rc ? rc
              : done(fchownat(folder, under(path), uid, gid,
                              AT_SYMLINK_NOFOLLOW));
}

static int set_times(const char *path, const struct timespec times[2],
                     struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    (void)fi;
    return rc ? rc
              : done(
                    utimensat(folder, under(path), times, AT_SYMLINK_NOFOLLOW));
}

static int get_room(const char *path, struct statvfs *room)
{
    int rc = fault(READS);

    (void)path;
    rc = rc ? rc : done(fstatvfs(folder, room));
    if (!rc && first_letter() == 'f')
        room->f_bavail = room->f_bfree = 0;
    return rc;
}

/* --- files --- */

static enum kind wants(int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY ? READS : WRITES;
}

static int keep(struct fuse_file_info *fi, int fd)
{
    fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}

/* The buffers here are not aligned. A full store lets files be opened. */
static int open_file(const char *path, struct fuse_file_info *fi)
{
    int rc = fault(wants(fi->flags));

    if (rc && rc != -ENOSPC)
        return rc;
    return keep(
        fi, openat(folder, under(path), (fi->flags & ~O_DIRECT) | O_CLOEXEC));
}

static int make_file(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    if (rc)
        return rc;
    rc = keep(fi, openat(folder, under(path),
                         (fi->flags & ~O_DIRECT) | O_CREAT | O_CLOEXEC, mode));
    return rc ? rc : give(path, 0);
}

static int read_file(const char *path, char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    int rc = fault(READS);

    (void)path;
    if (!rc)
        rc = done((int)pread((int)fi->fh, buf, size, offset));
    if (first_letter() == 'w' && offset <= WRONG_AT && WRONG_AT - offset < rc)
        buf[WRONG_AT - offset] ^= 1;
    return rc;
}

static int write_file(const char *path, const char *buf, size_t size,
                      off_t offset, struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    (void)path;
    return rc ? rc : done((int)pwrite((int)fi->fh, buf, size, offset));
}

static int sync_file(const char *path, int data, struct fuse_file_info *fi)
{
    int rc = fault(READS), fd = (int)fi->fh;

    (void)path;
    return rc ? rc : done(data ? fdatasync(fd) : fsync(fd));
}

/* Of a folder: what it holds is on the disk when it is made. */
static int sync_folder(const char *path, int data, struct fuse_file_info *fi)
{
    (void)path, (void)data, (void)fi;
    return fault(READS);
}

static int close_file(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return done(close((int)fi->fh));
}

static int set_size(const char *path, off_t size, struct fuse_file_info *fi)
{
    int rc = fault(WRITES), fd;

    if (rc)
        return rc;
    if (fi)
        return done(ftruncate((int)fi->fh, size));
    fd = openat(folder, under(path), O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rc = done(ftruncate(fd, size));
    (void)close(fd);
    return rc;
}

static int allocate(const char *path, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi)
{
    int rc = fault(WRITES);

    (void)path;
    return rc ? rc : done(fallocate((int)fi->fh, mode, offset, length));
}

static off_t seek_data(const char *path, off_t offset, int whence,
                       struct fuse_file_info *fi)
{
    int rc = fault(READS);
    off_t at;

    (void)path;
    if (rc)
        return rc;
    at = lseek((int)fi->fh, offset, whence);
    return at < 0 ? -errno : at;
}

/* What is remembered would be answered while nothing should answer. And who
 * waits for an asynchronous write cannot be killed. */
static void *begin(struct fuse_conn_info *conn, struct fuse_config *config)
{
    conn->want &= ~FUSE_CAP_ASYNC_DIO;
    config->use_ino = 1;
    config->hard_remove = 1;
    config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = begin,
    .getattr = get_attributes,
    .readdir = read_folder,
    .mkdir = make_folder,
    .mknod = make_node,
    .unlink = remove_file,
    .rmdir = remove_folder,
    .rename = give_name,
    .chmod = set_mode,
    .chown = set_owner,
    .utimens = set_times,
    .statfs = get_room,
    .open = open_file,
    .create = make_file,
    .read = read_file,
    .write = write_file,
    .fsync = sync_file,
    .fsyncdir = sync_folder,
    .release = close_file,
    .truncate = set_size,
    .fallocate = allocate,
    .lseek = seek_data,
};

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: faultfs FOLDER WORD MOUNT [FUSE-OPTION...]\n");
        return 2;
    }
    folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    word_file = argv[2];
    if (folder < 0) {
        perror(argv[1]);
        return 2;
    }
    umask(0);
    argv[2] = argv[0];
    return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
