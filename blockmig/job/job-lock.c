// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The right to run a job. An OFD lock belongs to the open file, not to the
 * process: another descriptor of ours that is closed does not drop it, and
 * the kernel drops it when the holder dies, however it dies.
 */
#include "blockmig/job/job-store.h"

#include "nbd/base/cleanup.h"
#include "blockmig/job/job-store-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char *lock_path(const struct bm_job_store *store, const char *id)
{
    char *path = NULL;

    if (!bm_job_id_valid(id) ||
        asprintf(&path, "%s/%s.lock", store->dir, id) < 0)
        return NULL;
    return path;
}

/* The file of that name is still the one that is open: the last holder may
 * have removed it between our open and our lock. */
static bool same_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* A descriptor with the lock, -EAGAIN when held, -ESTALE to try again. */
static int try_lock(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int code = 0;

    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        code = errno == EACCES ? EAGAIN : errno;
    else if (!same_file(fd, path))
        code = ESTALE;
    if (code == 0)
        return fd;
    (void)close(fd);
    return -code;
}

int bm_job_run_lock(const struct bm_job_store *store, const char *id,
                    struct bm_error *err)
{
    BM_FREE char *path = lock_path(store, id);
    int fd;

    if (!path)
        return bm_fail_errno(err, EINVAL, "cannot lock job %s", id);
    do {
        fd = try_lock(path);
    } while (fd == -ESTALE);
    if (fd >= 0)
        return fd;
    if (fd != -EAGAIN)
        return bm_fail_errno(err, -fd, "cannot lock job %s with %s", id, path);
    bm_fail(err, EBUSY, "cannot run job %s", id);
    bm_cause(err, "it is running already");
    bm_remedy(err, "see it with 'blockmig job watch %s'", id);
    bm_status(err, BM_EXIT_REFUSED);
    return -EBUSY;
}

void bm_job_run_unlock(const struct bm_job_store *store, const char *id, int fd)
{
    BM_FREE char *path = lock_path(store, id);

    if (fd < 0)
        return;
    /* while it is still held, so that nobody else's file is removed */
    if (path && same_file(fd, path))
        (void)unlink(path);
    (void)close(fd);
}

bool bm_job_running(const struct bm_job_store *store, const char *id)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    BM_FREE char *path = lock_path(store, id);
    BM_CLOSE int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return false;
    return lock.l_type != F_UNLCK;
}
