// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The end of a staged move: the rest is proven, the mirror overlay and the
 * switch overlay go down into the new image, the old side's source overlays go
 * away.
 */
#include "blockmig/step/bitmaps.h"
#include "blockmig/step/commit.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/step/source-overlays.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/strategy/staged-private.h"
#include "blockmig/image/image-in-use.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/step/step.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/step/written-since.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MERGE_MS 600000

/* --- the proof of the rest --- */

static int rest_of_disk(struct bm_replica_run *s, size_t i,
                        struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    struct bm_replica_proof proof = {0};
    int rc = bm_replica_rest(s->replicas[i], &disk->source, &disk->dest, &proof,
                             err);

    if (rc)
        return rc;
    disk->proof.read += proof.bytes;
    return bm_staged_record(s, i, err);
}

/* What somebody wrote into the new image behind our back need not be where the
 * guest wrote. */
static int compare_touched(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        struct bm_job_disk *disk = &run->job->disks[i];

        if (!bm_target_any_written_since(disk, false))
            continue;
        rc = bm_run_note(run, err,
                         "someone has written to %s, or below it: all of it "
                         "is compared",
                         bm_job_new_image(disk)->path);
        if (!rc)
            rc = bm_prove_disk(run, disk, err);
    }
    return rc;
}

int bm_staged_prove_rest(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_replica_run_each(run, rest_of_disk, err);

    if (!rc)
        rc = compare_touched(run, err);
    run->job->result.prove_ms += bm_now_ms() - start;
    return rc ? rc : bm_run_save(run, NULL, err);
}

/* --- the mirror overlay --- */

/* Where a disk stands on its way from overlay, mirror overlay, image to
 * overlay, image. */
enum mirror_overlay {
    BRIDGE_THERE,
    BRIDGE_TOP, /* accepted without a proof: nothing was frozen over it */
    BRIDGE_MERGED,
    BRIDGE_GONE, /* merged from the top: the image alone */
    BRIDGE_FOREIGN
};

static int look_at_mirror_overlay(struct bm_run *run, size_t i,
                                  enum mirror_overlay *out,
                                  struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain image = bm_job_new_chain(plan), found = {0}, merged = {0};
    struct bm_disk *disk = bm_run_disk(run, i);
    int rc;

    *out = BRIDGE_FOREIGN;
    if (!disk)
        return 0;
    rc = bm_chain_on_top(plan->fixed.switch_overlay, &image, &merged);
    if (rc)
        return bm_fail_errno(err, ENOMEM, "cannot merge");
    rc = bm_disk_location_chain(run->domain, disk, &found, err);
    if (!rc && bm_chain_equal(&found, &merged))
        *out = BRIDGE_MERGED;
    else if (!rc && bm_chain_equal(&found, &image))
        *out = BRIDGE_GONE;
    else if (!rc && bm_chain_equal(&found, &plan->dest))
        *out = BRIDGE_TOP;
    else if (!rc &&
             bm_disk_location(run->domain, disk, plan, err) == BM_AT_OVERLAY)
        *out = BRIDGE_THERE;
    bm_chain_clear(&found);
    bm_chain_clear(&merged);
    return rc;
}

/* A commit that a dead process asked for may still run: then ours is refused,
 * and that one is waited for. What counts is the chain it leaves. */
static int merge_running(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    const struct bm_commit_request request = {.target = plan->target,
                                              .top = plan->fixed.mirror_overlay,
                                              .base =
                                                  bm_job_new_image(plan)->path};
    struct bm_blockjob job;
    int rc;

    if (bm_run_disk(run, i)->mirror)
        return bm_commit_foreign(run, plan->target, err);
    rc = bm_blockjob_commit(run->conn, run->domain, &request, &job, err);
    if (rc && rc != -EBUSY && rc != -EINVAL)
        return rc;
    bm_failpoint("consolidating.merging");
    rc = bm_commit_wait(run, &job, MERGE_MS, err);
    return rc;
}

/* Each can be done again. */
static int merge_off(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    const struct bm_layer *image = bm_job_new_image(plan);
    struct bm_chain merged = {0}, below = bm_job_new_chain(plan);
    int rc = bm_image_commit(plan->fixed.mirror_overlay, "qcow2", NULL, err);

    if (!rc)
        rc = bm_bitmaps_add(&plan->dest, 1, image, err);
    if (!rc)
        rc = bm_commit_rebase(plan->fixed.switch_overlay, image, err);
    if (!rc && bm_chain_on_top(plan->fixed.switch_overlay, &below, &merged) < 0)
        rc = bm_fail_errno(err, ENOMEM, "cannot merge");
    if (!rc)
        rc = bm_domain_set_config(run->domain, plan->target, &merged, err);
    bm_chain_clear(&merged);
    return rc;
}

/* The guest went off meanwhile, most likely: worth another try. */
static int not_merged(struct bm_run *run, size_t i, struct bm_error *err)
{
    bm_fail(err, EIO, "the new image of disk %s of %s is not merged",
            run->job->disks[i].target, run->job->domain);
    return bm_cause(err, "its block job did not end well"), -EIO;
}

static int merge_top(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_chain image = bm_job_new_chain(&run->job->disks[i]);

    return run->domain->active ? bm_commit_running(run, i, 1, err)
                               : bm_commit_off(run, i, &image, err);
}

static int merge_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    enum mirror_overlay is;
    int rc = look_at_mirror_overlay(run, i, &is, err);

    if (!rc && is == BRIDGE_THERE) {
        rc = bm_users_other_domains(run->conn, run->job->uuid,
                                    bm_job_new_image(plan)->path, err);
        if (!rc)
            rc = run->domain->active ? merge_running(run, i, err)
                                     : merge_off(run, i, err);
        if (!rc)
            rc = bm_run_refresh(run, err);
        if (!rc && run->domain)
            rc = look_at_mirror_overlay(run, i, &is, err);
    }
    if (!rc && is == BRIDGE_TOP) {
        rc = merge_top(run, i, err);
        if (!rc)
            rc = look_at_mirror_overlay(run, i, &is, err);
    }
    if (!rc && is == BRIDGE_FOREIGN)
        return bm_run_misplaced(run, i, "on a chain that is not ours", NULL,
                                err);
    if (!rc && is != BRIDGE_MERGED && is != BRIDGE_GONE)
        return not_merged(run, i, err);
    return rc;
}

/* Before anything of the switch overlay is merged, and only then: what the
 * guest wrote since is not what was seen. */
static int again(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &s->run->job->disks[i];
    struct bm_disk *disk = bm_run_disk(s->run, i);
    struct bm_chain image = bm_job_new_chain(plan);
    int at = bm_disk_location(s->run->domain, disk, plan, err);

    if (plan->overlays.merge_proven || at != BM_AT_OVERLAY)
        return at < 0 ? at : 0;
    if (disk->mirror)
        return bm_commit_foreign(s->run, plan->target, err);
    at = bm_replica_again(s->replicas[i], &image, err);
    plan->overlays.merge_proven = !at;
    return at;
}

static int merge_bridges(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = merge_disk(run, i, err);
    if (!rc)
        rc = bm_staged_set_mirror_overlay(run, false, err);
    bm_failpoint("consolidating.merged");
    return rc;
}

/* --- all of it --- */

/* Kept where it lists something. */
static int remove_map(struct bm_run *run, struct bm_job_disk *disk,
                      struct bm_error *err)
{
    int rc;

    if (!disk->rescue.map || disk->rescue.unreadable_bytes ||
        disk->rescue.filled_bytes)
        return 0;
    rc = bm_replica_forget_map(disk->rescue.map, run->job->id,
                               disk->fixed.capacity, err);
    if (rc)
        return rc;
    free(disk->rescue.map);
    disk->rescue.map = NULL;
    return 0;
}

static int remove_rest(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    int rc = bm_file_remove(plan->fixed.mirror_overlay, err);

    if (!rc)
        rc = bm_source_overlays_remove(run, i, err);
    return rc ? rc : remove_map(run, plan, err);
}

int bm_staged_consolidate(struct bm_run *run, struct bm_error *err)
{
    bool on_mirror = bm_job_has_mirror_overlay(&run->job->disks[0]);
    int rc = bm_run_refresh_domain(run, err);

    if (!rc && on_mirror)
        rc = merge_bridges(run, err);
    if (!rc && run->job->request.proof && !run->job->staged.off)
        rc = bm_replica_run_each(run, again, err);
    if (!rc)
        rc = bm_run_save(run, NULL, err);
    if (!rc)
        rc = bm_commit_overlays(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = remove_rest(run, i, err);
    return rc;
}
