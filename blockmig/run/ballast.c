// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/ballast.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/datastore/space-required.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* Folder number n of the job: two a disk. Caller frees; NULL: none there. */
static char *folder_of(const struct bm_job *job, size_t n)
{
    const struct bm_job_disk *disk = &job->disks[n / 2];

    if (n % 2)
        return disk->fixed.switch_overlay
                   ? bm_file_folder(disk->fixed.switch_overlay)
                   : NULL;
    return disk->fixed.source_overlay_dir
               ? strdup(disk->fixed.source_overlay_dir)
               : NULL;
}

/* Whether a folder before number n is on the same file system. */
static bool has_one(const struct bm_job *job, size_t n, const char *folder)
{
    struct stat st, other;

    if (stat(folder, &st) != 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        BM_FREE char *before = folder_of(job, i);

        if (before && stat(before, &other) == 0 && other.st_dev == st.st_dev)
            return true;
    }
    return false;
}

static char *name_in(const struct bm_job *job, const char *folder)
{
    char *path;

    return asprintf(&path, "%s/.blockmig-%s-ballast", folder, job->id) < 0
               ? NULL
               : path;
}

static int no_memory(const struct bm_job *job, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot move %s", job->domain);
}

static int make_in(const struct bm_job *job, const char *folder,
                   struct bm_error *err)
{
    BM_FREE char *path = name_in(job, folder);
    uint64_t size = bm_ballast_size(folder);
    BM_CLOSE int fd = -1;
    char text[32];
    int rc;

    if (!path)
        return no_memory(job, err);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    rc = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)size);
    if (!rc)
        return 0;
    bm_fail_errno(err, rc, "cannot hold %s of room for the guest in %s",
                  bm_format_size(size, text, sizeof text), folder);
    return bm_remedy(err, "make room there, or give --overlay-dir"), -rc;
}

int bm_ballast_make(struct bm_run *run, struct bm_error *err)
{
    int rc;

    run->job->guest.ballast = true;
    rc = bm_run_save(run, NULL, err);
    for (size_t n = 0; !rc && n < 2 * run->job->n_disks; n++) {
        BM_FREE char *folder = folder_of(run->job, n);

        if (folder && !has_one(run->job, n, folder))
            rc = make_in(run->job, folder, err);
    }
    bm_failpoint("freezing.ballast");
    return rc;
}

int bm_ballast_remove(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t n = 0;
         !rc && run->job->guest.ballast && n < 2 * run->job->n_disks; n++) {
        BM_FREE char *folder = folder_of(run->job, n);
        BM_FREE char *path = folder ? name_in(run->job, folder) : NULL;

        if (folder && !path)
            rc = no_memory(run->job, err);
        if (!rc && path)
            rc = bm_store_is_alive(folder, err);
        /* where there is none the folder may take no writes */
        if (!rc && path && access(path, F_OK) == 0)
            rc = bm_file_remove(path, err);
    }
    return rc;
}
