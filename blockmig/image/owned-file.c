// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/owned-file.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/fsync.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define STEP ((off_t)32 << 20)
#define STEPS_MAX 4096
#define STEP_MS 10

int bm_file_make(const char *path, uint64_t *dev, uint64_t *ino,
                 struct bm_error *err)
{
    struct stat st;
    BM_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc;

    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = errno;
        bm_fail_errno(err, rc, "cannot make the image %s", path);
        if (rc == EEXIST)
            bm_remedy(err, "move that file away, or give --name");
        return -rc;
    }
    *dev = st.st_dev;
    *ino = st.st_ino;
    return bm_fsync_folder_of(path, err);
}

bool bm_file_is(const char *path, uint64_t dev, uint64_t ino)
{
    struct stat st;

    return ino && lstat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

int bm_file_look(const char *path, struct bm_error *err)
{
    struct stat st;

    if (lstat(path, &st) == 0 || errno == ENOENT)
        return 0;
    bm_fail_errno(err, errno, "cannot look at %s", path);
    bm_status(err, BM_EXIT_HELD);
    return -err->code;
}

int bm_file_remove(const char *path, struct bm_error *err)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return bm_fail_errno(err, errno, "cannot remove %s", path);
    return bm_fsync_folder_of(path, err);
}

/* Whether nobody else can see what is in the file: it has no name, and no other
 * open file is of it (fcntl(2), "Leases"). */
static bool alone(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0 &&
           fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
}

static void shrink(int fd)
{
    struct stat st;
    off_t step;

    if (fstat(fd, &st) < 0)
        return;
    step = st.st_size / STEPS_MAX > STEP ? st.st_size / STEPS_MAX : STEP;
    while (st.st_size > 0) {
        st.st_size = st.st_size > step ? st.st_size - step : 0;
        if (ftruncate(fd, st.st_size) < 0)
            return;
        bm_sleep_ms(STEP_MS);
    }
}

/* The name goes first: from then on it is removed, whatever becomes of us. */
int bm_file_remove_slowly(const char *path, struct bm_error *err)
{
    BM_CLOSE int fd =
        open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int rc = bm_file_remove(path, err);

    if (rc == 0 && fd >= 0 && alone(fd))
        shrink(fd);
    return rc;
}

char *bm_file_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

void bm_file_calm(const char *path)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    for (int i = 0; fd >= 0 && i < 3; i++) {
        int64_t start = bm_now_ms();

        if (fdatasync(fd) < 0 || bm_now_ms() - start < 20)
            return;
    }
}
