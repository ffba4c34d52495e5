// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libvirt's own copy job on every disk of the job, until all are ready: of the
 * whole disk, or of its uppermost layer only.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/step/step.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

/* Less room than this on a target whose copy failed: that is why. */
#define FULL_BYTES (2U << 20)

static int not_ours(struct bm_run *run, const struct bm_job_disk *plan,
                    const struct bm_disk *disk, struct bm_error *err)
{
    char found[400];

    bm_fail(err, ESTALE, "cannot copy disk %s of %s", plan->target,
            run->job->domain);
    if (!disk)
        bm_cause(err, "the disk is gone");
    else
        bm_cause(err, "its chain is not the one the job began with but %s",
                 bm_chain_text(&disk->chain, found, sizeof found));
    bm_remedy(err, "undo what was changed (a snapshot that was made "
                   "meanwhile: commit it)");
    return -ESTALE;
}

static int vanished(struct bm_run *run, const struct bm_job_disk *plan,
                    struct bm_error *err)
{
    bm_fail(err, EIO, "the copy of disk %s of %s has vanished", plan->target,
            run->job->domain);
    return bm_cause(err, "the block job is not there any more, and nobody "
                         "saw it end well"),
           -EIO;
}

static int start_copy(struct bm_run *run, size_t i, bool shallow,
                      struct bm_blockjob *job, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    struct bm_copy_request request = {
        .target = plan->target,
        .dest = &plan->dest,
        .shallow = shallow,
        .reuse = !shallow && plan->fixed.dest_block &&
                 !strcmp(plan->dest.layers[0].format, "raw"),
        .bandwidth = run->job->limits.bandwidth,
    };
    int rc;

    if (!disk || !bm_chain_equal(&disk->chain, &plan->source)) {
        rc = not_ours(run, plan, disk, err);
        if (shallow) /* what is on our overlays is in the way back too */
            bm_status(err, BM_EXIT_HELD);
        return rc;
    }
    if (bm_disk_copies_to(disk, plan->dest.layers[0].path)) {
        bm_blockjob_adopt(run->conn, run->domain, plan->target, job);
        /* the process that died may have been paused */
        job->speed = run->job->limits.bandwidth;
        return bm_blockjob_speed(run->domain, plan->target, job->speed, err);
    }
    if (plan->image.copy_sent && !shallow)
        return vanished(run, plan, err);
    rc = bm_target_check(plan, err);
    if (!rc && shallow) /* what a dead run left there: ours, by its name */
        rc = bm_file_remove(plan->fixed.mirror_overlay, err);
    if (rc)
        return rc;
    plan->image.copy_sent = true;
    rc = bm_run_save(run, NULL, err);
    if (!rc)
        rc = bm_blockjob_copy(run->conn, run->domain, &request, job, err);
    job->speed = request.bandwidth;
    return rc;
}

/* libvirt does not pass QEMU's reason on. The most common one we can see. */
static void say_if_full(const struct bm_job *job, struct bm_error *err)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        const char *path = bm_job_new_image(&job->disks[i])->path;
        struct statvfs fs;

        if (job->disks[i].fixed.dest_block || statvfs(path, &fs) < 0 ||
            (uint64_t)fs.f_bavail * fs.f_frsize > FULL_BYTES)
            continue;
        bm_cause(err, "the file system of %s is full", path);
        bm_remedy(err, "make room, or choose another store");
        return;
    }
}

int bm_step_mirror(struct bm_run *run, bool shallow, struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    int rc = jobs ? bm_run_refresh(run, err)
                  : bm_fail_errno(err, ENOMEM, "cannot start the copy");

    if (!rc && (!run->domain || !run->domain->active))
        return bm_fail_errno(err, ESRCH, "the guest %s is off",
                             run->job->domain);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = start_copy(run, i, shallow, &jobs[i], err);
    if (!rc) {
        if (shallow)
            bm_failpoint("converging.started");
        else
            bm_failpoint("copying.started");
        rc = bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_READY, true, err);
    }
    if (rc == -EIO)
        say_if_full(run->job, err);
    return rc;
}
