// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/commit.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/step/bitmaps.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/step/internal-snapshots.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/image/image-in-use.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>

#define PIVOT_MS 5000

/* --- one active commit --- */

int bm_commit_wait(struct bm_run *run, struct bm_blockjob *job, int timeout_ms,
                   struct bm_error *err)
{
    int64_t until = bm_now_ms() + timeout_ms;
    struct bm_stall_timer stall = {0};
    int rc = 0;

    while (!rc && job->state != BM_BLOCKJOB_COMPLETED && bm_now_ms() < until) {
        bm_space_tick(run);
        rc = bm_blockjob_poll(job, 50, err);
        if (rc || (job->state != BM_BLOCKJOB_READY &&
                   job->state != BM_BLOCKJOB_RUNNING))
            break; /* an end, which asks nothing more of a store */
        /* a paused guest does not wait for a store */
        if (!run->job->guest.window_paused)
            rc = bm_stall_timer_check(&stall, run->job, job->cur, bm_call_ms(),
                                      err);
    }
    return rc;
}

/* Under load a pivot can stay pending for ever: it ends once the guest is
 * still. */
static int complete_paused(struct bm_run *run, struct bm_blockjob *job,
                           struct bm_error *err)
{
    struct bm_pause pause;
    int rc = bm_pause_begin(run, &pause, err);
    int end;

    if (rc)
        return rc;
    rc = bm_commit_wait(run, job, run->job->limits.max_pause_ms, err);
    if (rc == -ETIMEDOUT)
        return rc;
    end = bm_pause_resume(run, err);
    if (!end)
        end = bm_pause_end(run, &pause, err);
    return rc ? rc : end;
}

int bm_commit_pivot(struct bm_run *run, struct bm_blockjob *job,
                    struct bm_error *err)
{
    int rc = bm_blockjob_pivot(job, bm_call_ms(), err);

    /* a dead run may have asked already */
    if (rc && rc != -EINVAL && rc != -EBUSY)
        return rc;
    bm_failpoint("consolidating.pivot-sent");
    rc = bm_commit_wait(run, job, PIVOT_MS, err);
    for (int i = 0; !rc && job->state == BM_BLOCKJOB_READY && i < 5; i++)
        rc = complete_paused(run, job, err);
    if (rc || job->state == BM_BLOCKJOB_COMPLETED)
        return rc;
    bm_fail(err, job->state == BM_BLOCKJOB_LOST ? ECONNRESET : EIO,
            "the commit of disk %s did not end", job->target);
    return bm_cause(err, "its state is: %s",
                    bm_blockjob_state_name(job->state)),
           -err->code;
}

int bm_commit_foreign(struct bm_run *run, const char *target,
                      struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot go on with disk %s of %s", target,
            run->job->domain);
    bm_cause(err, "a block job that is not ours is on the disk");
    bm_remedy(err, "end it, then `blockmig job resume %s`", run->job->id);
    return bm_status(err, BM_EXIT_HELD), -EBUSY;
}

static int start_commit(struct bm_run *run, size_t i, size_t down,
                        struct bm_blockjob *job, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    const char *base = disk->chain.layers[down].path;
    const struct bm_commit_request request = {.target = plan->target,
                                              .base = base};
    int rc;

    if (disk->mirror) {
        bm_blockjob_adopt(run->conn, run->domain, plan->target, job);
        if (disk->mirror_job && !strcmp(disk->mirror_job, "active-commit"))
            return 0;
        return bm_commit_foreign(run, plan->target, err);
    }
    /* an image that backs more than one image is never written */
    rc = bm_users_other_domains(run->conn, run->job->uuid, base, err);
    if (!rc)
        rc = bm_space_merge(run->job, err);
    if (!rc)
        rc = bm_blockjob_commit(run->conn, run->domain, &request, job, err);
    return rc;
}

int bm_commit_running(struct bm_run *run, size_t i, size_t down,
                      struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    int rc;

    if (!jobs)
        return bm_fail_errno(err, ENOMEM, "cannot commit");
    rc = start_commit(run, i, down, &jobs[i], err);
    bm_failpoint("consolidating.started");
    if (!rc)
        rc = bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_READY, false, err);
    if (!rc && jobs[i].state != BM_BLOCKJOB_COMPLETED)
        rc = bm_commit_pivot(run, &jobs[i], err);
    return rc ? rc : bm_run_refresh(run, err);
}

/* --- forward: the overlay into the new image --- */

static int misplaced(struct bm_run *run, size_t i, int at, struct bm_error *err)
{
    return bm_run_misplaced(run, i, bm_location_name(at), NULL, err);
}

/* A slice has no path in the headers that name it: layer by layer, each into
 * the one below it. */
static int commit_files(const struct bm_chain *found,
                        const struct bm_chain *result, struct bm_error *err)
{
    int rc = 0;

    if (!result->layers[0].slice)
        return bm_image_commit(found->layers[0].path, "qcow2",
                               result->layers[0].path, err);
    for (size_t l = 0; !rc && l + result->n < found->n; l++)
        rc = bm_image_commit(found->layers[l].path, "qcow2", NULL, err);
    return rc;
}

/* qemu-img holds QEMU's locks while it writes, so a guest that starts
 * meanwhile fails to, and the XML is changed only after that. */
int bm_commit_off(struct bm_run *run, size_t i, const struct bm_chain *result,
                  struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    const char *base = result->layers[0].path;
    int rc = bm_users_other_domains(run->conn, run->job->uuid, base, err);
    struct bm_chain found = {0};

    if (!rc)
        rc = bm_disk_location_chain(run->domain, bm_run_disk(run, i), &found,
                                    err);
    if (!rc)
        rc = commit_files(&found, result, err);
    if (!rc && found.n > result->n)
        rc = bm_bitmaps_add(&found, found.n - result->n, &result->layers[0],
                            err);
    bm_chain_clear(&found);
    if (!rc)
        rc = bm_domain_set_config(run->domain, plan->target, result, err);
    return rc ? rc : bm_run_refresh(run, err);
}

static int commit_overlay(struct bm_run *run, size_t i, struct bm_error *err)
{
    int rc = bm_internal_snapshots_new(run->job, i, err); /* the last moment */

    if (rc)
        return rc;
    return run->domain->active
               ? bm_commit_running(run, i, 1, err)
               : bm_commit_off(run, i, &run->job->disks[i].dest, err);
}

static int commit_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    int at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    int rc = 0;

    if (at < 0)
        return at;
    if (at != BM_AT_OVERLAY && at != BM_AT_DEST)
        return misplaced(run, i, at, err);
    if (at == BM_AT_OVERLAY)
        rc = commit_overlay(run, i, err);
    if (rc)
        return rc;
    at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    if (at != BM_AT_DEST)
        return at < 0 ? at : misplaced(run, i, at, err);
    bm_failpoint("consolidating.committed");
    return plan->fixed.switch_overlay
               ? bm_file_remove(plan->fixed.switch_overlay, err)
               : 0;
}

int bm_commit_overlays(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = commit_disk(run, i, err);
    return rc;
}

/* --- back: the overlay onto the old image --- */

static int start_back(struct bm_run *run, size_t i, struct bm_blockjob *job,
                      struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(run, i);
    struct bm_copy_request request = {.target = plan->target, .shallow = true};
    struct bm_chain chain;
    int rc;

    if (disk->mirror) {
        bm_blockjob_adopt(run->conn, run->domain, plan->target, job);
        return bm_disk_copies_to(disk, plan->fixed.rollback_overlay)
                   ? 0
                   : bm_commit_foreign(run, plan->target, err);
    }
    /* what a dead run of ours left there; the name bears our job */
    rc = bm_file_remove(plan->fixed.rollback_overlay, err);
    if (!rc && bm_chain_back(plan, &chain) < 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot go back");
    if (rc)
        return rc;
    request.dest = &chain;
    rc = bm_blockjob_copy(run->conn, run->domain, &request, job, err);
    bm_chain_clear(&chain);
    return rc;
}

static int all_back(struct bm_run *run, struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    int rc = jobs ? 0 : bm_fail_errno(err, ENOMEM, "cannot go back");

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        int at = bm_disk_location(run->domain, bm_run_disk(run, i),
                                  &run->job->disks[i], err);

        if (at == BM_AT_OVERLAY)
            rc = start_back(run, i, &jobs[i], err);
        else if (at != BM_AT_BACK && at != BM_AT_SOURCE)
            rc = at < 0 ? at : misplaced(run, i, at, err);
    }
    if (!rc)
        rc = bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_READY, false, err);
    bm_failpoint("undoing.ready");
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (jobs[i].target[0] && jobs[i].state != BM_BLOCKJOB_COMPLETED)
            rc = bm_commit_pivot(run, &jobs[i], err);
    return rc ? rc : bm_run_refresh(run, err);
}

static int back_off(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];

    return bm_commit_rebase(plan->fixed.switch_overlay, &plan->source.layers[0],
                            err);
}

static int undo_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    int at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    int rc = 0;

    if (at == BM_AT_OVERLAY && !run->domain->active) {
        rc = back_off(run, i, err);
        at = BM_AT_BACK;
    }
    if (!rc && at == BM_AT_BACK)
        rc = run->domain->active ? bm_commit_running(run, i, 1, err)
                                 : bm_commit_off(run, i, &plan->source, err);
    if (rc || at < 0)
        return rc ? rc : at;
    at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    if (at != BM_AT_SOURCE)
        return at < 0 ? at : misplaced(run, i, at, err);
    rc = plan->fixed.switch_overlay
             ? bm_file_remove(plan->fixed.switch_overlay, err)
             : 0;
    return rc || !plan->fixed.rollback_overlay
               ? rc
               : bm_file_remove(plan->fixed.rollback_overlay, err);
}

int bm_undo(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (!rc && run->domain->active)
        rc = all_back(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = undo_disk(run, i, err);
    return rc;
}
