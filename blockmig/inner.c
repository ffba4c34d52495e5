// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/inner.h"

#include "blockmig/strategy.h"
#include "nbd/cleanup.h"
#include "nbd/image.h"

#include <errno.h>
#include <unistd.h>

static int check(const struct bm_job *job, const char *path,
                 struct bm_error *err)
{
    struct bm_image_info info;
    unsigned snapshots;
    int rc;

    /* what is not there yet, or any more, holds nothing */
    if (!path || access(path, F_OK) != 0)
        return 0;
    rc = bm_image_info(path, "qcow2", &info, err);
    if (rc)
        return rc;
    snapshots = info.snapshots;
    bm_image_info_clear(&info);
    if (!snapshots)
        return 0;
    bm_fail(err, BM_STUCK, "cannot go on with the move of %s", job->domain);
    bm_cause(err,
             "someone has made %u internal snapshots meanwhile, which would go "
             "with our overlay %s",
             snapshots, path);
    bm_remedy(err, "delete them (virsh snapshot-list --internal, virsh "
                   "snapshot-delete)");
    return bm_status(err, BM_EXIT_HELD), -BM_STUCK;
}

static int check_fronts(const struct bm_job *job,
                        const struct bm_job_disk *disk, struct bm_error *err)
{
    int rc = 0;

    for (int n = 1; !rc && n <= job->fronts_sent; n++) {
        BM_FREE char *path = bm_job_front(job, disk, n);

        rc = path ? check(job, path, err)
                  : bm_fail_errno(err, ENOMEM, "cannot look at the overlays");
    }
    return rc;
}

/* On its way back a pull leaves the new image itself behind. */
static const char *pulled(const struct bm_job *job,
                          const struct bm_job_disk *disk)
{
    bool pull = bm_strategy_of(job) == &bm_strategy_pull;

    return pull && disk->dest_ino && job->state == BM_STATE_ROLLING_BACK
               ? bm_job_image(disk)->path
               : NULL;
}

static bool merges(enum bm_state state)
{
    return state == BM_STATE_CONVERGING || state == BM_STATE_CONSOLIDATING ||
           state == BM_STATE_UNDOING || state == BM_STATE_ROLLING_BACK;
}

int bm_inner_check(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    if (!merges(job->state))
        return 0;
    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];
        const char *paths[] = {disk->bridge, disk->overlay, disk->back,
                               pulled(job, disk)};

        rc = check_fronts(job, disk, err);
        for (size_t k = 0; !rc && k < sizeof paths / sizeof *paths; k++)
            rc = check(job, paths[k], err);
    }
    return rc;
}
