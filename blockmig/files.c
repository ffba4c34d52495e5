// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/files.h"

#include "nbd/cleanup.h"
#include "nbd/sync.h"
#include "nbd/units.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

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
    return bm_sync_folder_of(path, err);
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
    return bm_sync_folder_of(path, err);
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
