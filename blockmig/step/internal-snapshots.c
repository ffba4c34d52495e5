// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/internal-snapshots.h"

#include "blockmig/datastore/liveness.h"
#include "nbd/image/qemu-img.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <sys/stat.h>

static int found(const struct bm_job *job, const char *path, unsigned n,
                 struct bm_error *err)
{
    int rc = bm_job_needs_operator(job, err);

    bm_cause(err,
             "someone has made %u internal snapshots meanwhile, which would go "
             "with our overlay %s",
             n, path);
    bm_remedy(err, "delete them (virsh snapshot-delete; of a guest that is "
                   "off, qemu-img snapshot -d)");
    return rc;
}

static int check(const struct bm_job *job, const char *path,
                 struct bm_error *err)
{
    struct bm_image_info info;
    struct stat st;
    unsigned snapshots;
    int rc = path ? bm_store_is_alive(path, err) : 0;

    /* what is not there yet, or any more, or is not made, holds nothing */
    if (rc || !path || (stat(path, &st) < 0 ? errno == ENOENT : !st.st_size))
        return rc;
    rc = bm_image_read_info(path, "qcow2", &info, err);
    if (rc)
        return rc;
    snapshots = info.snapshots;
    bm_image_info_clear(&info);
    return snapshots ? found(job, path, snapshots, err) : 0;
}

int bm_internal_snapshots_top(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        if (job->disks[i].overlays.n_source)
            rc = check(job, job->disks[i].source.layers[0].path, err);
    return rc;
}

static int all_source_overlays(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        for (int k = 0; !rc && k < job->disks[i].overlays.n_source; k++)
            rc = check(job, job->disks[i].source.layers[k].path, err);
    return rc;
}

int bm_internal_snapshots_new(const struct bm_job *job, size_t i,
                              struct bm_error *err)
{
    const struct bm_job_disk *disk = &job->disks[i];
    const char *paths[] = {disk->fixed.mirror_overlay,
                           disk->fixed.switch_overlay,
                           disk->fixed.rollback_overlay};
    int rc = 0;

    for (size_t k = 0; !rc && k < sizeof paths / sizeof *paths; k++)
        rc = check(job, paths[k], err);
    return rc;
}

static int new_side(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        rc = bm_internal_snapshots_new(job, i, err);
    return rc;
}

/* On its way back a pull leaves the new image itself behind. */
static int pulled(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        if (job->disks[i].image.ino)
            rc = check(job, bm_job_new_image(&job->disks[i])->path, err);
    return rc;
}

int bm_internal_snapshots_check(const struct bm_job *job, struct bm_error *err)
{
    switch (job->state) {
    case BM_STATE_SWITCHING: /* of a guest that is off nothing converges */
        return job->staged.off ? all_source_overlays(job, err) : 0;
    case BM_STATE_CONVERGING:
        return all_source_overlays(job, err);
    case BM_STATE_ROLLING_BACK:
        return job->plan.strategy == BM_STRATEGY_PULL
                   ? pulled(job, err)
                   : all_source_overlays(job, err);
    case BM_STATE_CONSOLIDATING:
    case BM_STATE_UNDOING:
        return new_side(job, err);
    default:
        return 0;
    }
}
