// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/fsync.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int sync_path(const char *path, int flags, struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

    if (fd < 0 || fsync(fd) != 0)
        return bm_fail_errno(err, errno, "cannot make %s durable", path);
    return 0;
}

int bm_fsync_file(const char *path, struct bm_error *err)
{
    return sync_path(path, O_NONBLOCK, err);
}

int bm_fsync_folder_of(const char *path, struct bm_error *err)
{
    BM_FREE char *folder = strdup(path);
    char *slash;

    if (!folder)
        return bm_fail_errno(err, ENOMEM, "cannot make %s durable", path);
    slash = strrchr(folder, '/');
    if (!slash)
        return sync_path(".", O_DIRECTORY, err);
    slash[slash == folder] = '\0'; /* "/x" is in "/" */
    return sync_path(folder, O_DIRECTORY, err);
}
