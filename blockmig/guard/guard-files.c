// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/guard/guard-files.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/fsync.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>

static char *file(const char *dir, const char *id, const char *suffix)
{
    char *path;

    return asprintf(&path, "%s/%s.%s", dir, id, suffix) < 0 ? NULL : path;
}

int bm_unclean_wait(const char *dir, const char *id, int timeout_ms,
                    struct bm_error *err)
{
    BM_FREE char *path = file(dir, id, "guard");
    BM_CLOSE int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    int64_t until = bm_now_ms() + timeout_ms;

    while (fd >= 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
            return bm_fail_errno(err, errno, "cannot look at %s", path);
        if (lock.l_type == F_UNLCK)
            return 0;
        if (bm_now_ms() > until) {
            bm_fail(err, EBUSY, "cannot go on with job %s", id);
            bm_cause(err, "the guard of its last run is still at work");
            bm_remedy(err, "try again in a few seconds");
            return bm_status(err, BM_EXIT_HELD), -EBUSY;
        }
        bm_sleep_ms(50);
    }
    return 0;
}

bool bm_unclean_set(const char *dir, const char *id)
{
    BM_FREE char *path = file(dir, id, "unclean");

    /* no memory to look: assume the worse */
    return !path || access(path, F_OK) == 0;
}

int bm_unclean_leave(const char *dir, const char *id, struct bm_error *err)
{
    BM_FREE char *path = file(dir, id, "unclean");
    BM_CLOSE int fd =
        path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)
             : -1;

    if (fd < 0 || fsync(fd) < 0)
        return bm_fail_errno(err, errno, "cannot mark job %s", id);
    return bm_fsync_folder_of(path, err);
}

void bm_unclean_forget(const char *dir, const char *id)
{
    BM_FREE char *lock = file(dir, id, "guard");
    BM_FREE char *mark = file(dir, id, "unclean");

    if (lock)
        (void)unlink(lock);
    if (mark)
        (void)unlink(mark);
}
