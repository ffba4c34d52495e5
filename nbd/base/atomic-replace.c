// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/atomic-replace.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int bm_atomic_replace_begin(const char *path, struct bm_atomic_replace *r,
                            struct bm_error *err)
{
    BM_FREE char *name = NULL;

    *r = (struct bm_atomic_replace)BM_ATOMIC_REPLACE_INIT;
    if (asprintf(&name, "%s.XXXXXX", path) < 0)
        return bm_fail_errno(err, ENOMEM, "cannot write %s", path);
    r->path = strdup(path);
    r->fd = r->path ? mkostemp(name, O_CLOEXEC) : -1;
    if (r->fd < 0)
        return bm_fail_errno(err, errno, "cannot write %s", path);
    r->temporary = BM_STEAL(name);
    return 0;
}

int bm_atomic_replace_commit(struct bm_atomic_replace *r, struct bm_error *err)
{
    int rc = 0;

    if (fsync(r->fd) != 0 || rename(r->temporary, r->path) != 0)
        return bm_fail_errno(err, errno, "cannot write %s", r->path);
    free(BM_STEAL(r->temporary)); /* there is none any more */
    rc = bm_fsync_folder_of(r->path, err);
    bm_atomic_replace_abandon(r);
    return rc;
}

void bm_atomic_replace_abandon(struct bm_atomic_replace *r)
{
    if (r->temporary)
        (void)unlink(r->temporary);
    if (r->fd >= 0)
        (void)close(r->fd);
    free(r->temporary);
    free(r->path);
    *r = (struct bm_atomic_replace)BM_ATOMIC_REPLACE_INIT;
}
