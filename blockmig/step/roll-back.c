// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The way back before the switch: the guest runs where it ran, and nothing
 * of ours is left.
 */
#include "blockmig/datastore/liveness.h"
#include "blockmig/run/ballast.h"
#include "blockmig/step/snapshot-metadata.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/step/source-overlays.h"
#include "blockmig/guard/guard-files.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/guard/pivot-freeze.h"
#include "blockmig/step/pivot-window.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/step/step.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/replica/replica.h"
#include "blockmig/step/replica-run.h"

#include <errno.h>
#include <string.h>

#define ABORT_MS 60000

/* Only a job that goes to our target is ours to end. */
static int end_copy(struct bm_run *run, size_t i, struct bm_error *err)
{
    const char *path = run->job->disks[i].dest.layers[0].path;
    struct bm_disk *disk = bm_run_disk(run, i);
    struct bm_blockjob job;
    int rc;

    if (!bm_disk_copies_to(disk, path))
        return 0;
    bm_blockjob_adopt(run->conn, run->domain, run->job->disks[i].target, &job);
    rc = bm_blockjob_abort(&job, ABORT_MS, err);
    return rc ? rc : bm_run_refresh(run, err);
}

/* Or may have, on the new image. */
static bool ran_unfrozen(const struct bm_run *run)
{
    return run->job->guest.unclean ||
           bm_unclean_set(bm_job_store_dir(run->jobs), run->job->id);
}

static int newer(struct bm_run *run, const struct bm_job_disk *plan,
                 struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot go back with disk %s", plan->target);
    bm_cause(err, "the guest ran on the new image, %s, and wrote to it",
             bm_job_new_image(plan)->path);
    bm_remedy(err,
              "`blockmig job resume %s --accept` stays on the new image "
              "without a proof",
              run->job->id);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

/* Shut off in the switch before the guest ran on the target: the old image
 * holds everything, so the saved XML goes back to it. Whoever started or
 * resumed the guest while nobody looked left no mark: only the images tell. */
static int config_back(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    int rc;

    if (ran_unfrozen(run))
        return newer(run, plan, err);
    rc = bm_prove_disk(run, plan, err);
    if (rc)
        return rc == -EBADMSG ? newer(run, plan, err) : rc;
    rc = bm_domain_set_config(run->domain, plan->target, &plan->source, err);
    return rc ? rc : bm_run_refresh(run, err);
}

/* Whether it names anything that is to be removed. */
static bool names_ours(const struct bm_domain *domain,
                       const struct bm_job_disk *plan)
{
    if (!domain)
        return false;
    for (size_t k = 0; k <= plan->n_lower; k++)
        if (bm_domain_names(domain, bm_job_new_image(plan)[k].path))
            return true;
    return (plan->fixed.switch_overlay &&
            bm_domain_names(domain, plan->fixed.switch_overlay)) ||
           (plan->fixed.rollback_overlay &&
            bm_domain_names(domain, plan->fixed.rollback_overlay)) ||
           (plan->fixed.mirror_overlay &&
            bm_domain_names(domain, plan->fixed.mirror_overlay));
}

static int still_named(struct bm_run *run, size_t i, int at,
                       struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot go back with disk %s of %s",
            run->job->disks[i].target, run->job->domain);
    bm_cause(err, "it is %s, and its XML still names %s", bm_location_name(at),
             run->job->disks[i].dest.layers[0].path);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

static int remove_made(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &run->job->disks[i];
    int rc = bm_store_is_alive(bm_job_new_image(disk)->path, err);

    if (!rc)
        rc = bm_file_look(bm_job_new_image(disk)->path, err);
    for (size_t k = disk->fixed.dest_block; !rc && k <= disk->n_lower; k++)
        if (bm_target_is_ours(run->job, disk, k))
            rc = bm_file_remove(bm_job_new_image(disk)[k].path, err);
    if (!rc && disk->fixed.switch_overlay)
        rc = bm_file_remove(disk->fixed.switch_overlay, err);
    if (!rc && disk->fixed.rollback_overlay)
        rc = bm_file_remove(disk->fixed.rollback_overlay, err);
    if (!rc && disk->fixed.mirror_overlay)
        rc = bm_file_remove(disk->fixed.mirror_overlay, err);
    if (!rc)
        rc = bm_replica_run_forget(run, disk, err);
    if (!rc && disk->rescue.map)
        rc = bm_replica_forget_map(disk->rescue.map, run->job->id,
                                   disk->fixed.capacity, err);
    return rc;
}

static int nobody_there(struct bm_run *run, size_t i, const char *path,
                        struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];

    bm_fail(err, ENOENT, "cannot go back with disk %s of %s", plan->target,
            run->job->domain);
    bm_cause(err,
             "the disk is gone, and what the guest wrote last may be in %s",
             path);
    bm_remedy(err, "define the domain again, or its disk, with that image");
    return bm_status(err, BM_EXIT_HELD), -ENOENT;
}

/* The overlays on the old side hold what the guest wrote last: also those of a
 * freeze that the journal does not know the end of. */
static int check_fronts(struct bm_run *run, size_t i, struct bm_error *err)
{
    for (int n = run->job->staged.overlays_sent; n > 0; n--) {
        BM_FREE char *overlay =
            bm_job_source_overlay(run->job, &run->job->disks[i], n);

        if (!overlay)
            return bm_fail_errno(err, ENOMEM, "cannot go back");
        if (access(overlay, F_OK) == 0)
            return nobody_there(run, i, overlay, err);
    }
    return 0;
}

/* Nor does an XML tell whether the guest ran on the new side. */
static int check_new_side(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    bool any = false;
    int rc;

    if (!run->job->guest.pivot_asked)
        return 0;
    if (!run->job->request.proof || ran_unfrozen(run))
        return nobody_there(run, i, bm_job_new_image(plan)->path, err);
    if (access(plan->fixed.switch_overlay, F_OK) != 0)
        return 0;
    rc = bm_overlay_holds_data(plan->fixed.switch_overlay, &any, err);
    return any ? nobody_there(run, i, plan->fixed.switch_overlay, err) : rc;
}

/* Before anything is removed: disks that are gone, or their domain. */
static int check_gone(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        if (bm_run_disk(run, i))
            continue;
        rc = check_fronts(run, i, err);
        if (!rc)
            rc = check_new_side(run, i, err);
    }
    return rc;
}

/* The guest stands on the new side, which is frozen: the proof can be made. */
static int check_switched(struct bm_run *run, struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_location_count count;

    if (!run->job->request.proof || ran_unfrozen(run) || !run->domain ||
        bm_location_count_look(run->domain, run->job, &count, &ignored) ||
        count.at_overlay < run->job->n_disks)
        return 0;
    bm_fail(err, BM_NEEDS_OPERATOR, "cannot go back with %s yet",
            run->job->domain);
    bm_cause(err, "its disks were switched, and what it writes is on the new "
                  "side");
    bm_remedy(err,
              "`blockmig job resume %s` proves the rest; then `blockmig job "
              "undo %s` goes back",
              run->job->id, run->job->id);
    bm_status(err, BM_EXIT_HELD);
    return bm_run_stop_at(run, BM_STATE_SWITCHING, -BM_NEEDS_OPERATOR);
}

static int roll_back_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    int rc = run->domain ? end_copy(run, i, err) : 0;
    int at = BM_AT_NOWHERE;

    if (!rc && run->domain)
        at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    if (rc || at < 0)
        return rc ? rc : at;
    if (at == BM_AT_DEST && !run->domain->active) {
        rc = config_back(run, i, err);
        at = BM_AT_SOURCE;
    }
    if (!rc && at == BM_AT_OVERLAY)
        return newer(run, plan, err);
    if (!rc && names_ours(run->domain, plan))
        return still_named(run, i, at, err);
    if (!rc && run->job->staged.overlays_sent && at != BM_AT_NOWHERE)
        rc = bm_source_overlays_commit(run, i, err);
    return rc ? rc : remove_made(run, i, err);
}

int bm_step_roll_back_after(struct bm_run *run,
                            int (*first)(struct bm_run *run,
                                         struct bm_error *err),
                            struct bm_error *err)
{
    struct bm_error later = BM_ERROR_INIT;
    int rc = bm_run_refresh(run, err);

    if (!rc)
        rc = bm_pivot_window_abandon(run, err);
    if (!rc)
        rc = check_switched(run, err);
    if (!rc)
        rc = bm_source_overlays_adopt(run, err);
    if (!rc) /* what is merged may need that room; it is removed below anyhow */
        (void)bm_ballast_remove(run, &later);
    if (!rc)
        rc = first(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = roll_back_disk(run, i, err);
    if (!rc)
        rc = bm_ballast_remove(run, err);
    bm_failpoint("rolling-back.removed");
    if (!rc)
        rc = bm_space_let_run(run, err);
    if (!rc)
        rc = bm_snapshot_metadata_rewrite(run, true, err);
    if (!rc && run->domain)
        rc = bm_domain_stamp(run->domain, NULL, err);
    return rc;
}

int bm_step_roll_back(struct bm_run *run, struct bm_error *err)
{
    return bm_step_roll_back_after(run, check_gone, err);
}
