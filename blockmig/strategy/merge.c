// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Merging in place: the layers of a snapshot command go down, one run of them
 * after the other. Where the active layer is to go down too, the guest gets a
 * source overlay first: so what is merged does not change, and can be proven.
 * The source overlay itself comes last, by an active commit.
 */
#include "blockmig/run/ballast.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/step/source-overlays.h"
#include "blockmig/merge/merge.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,    BM_STATE_FREEZING,  BM_STATE_COPYING,
    BM_STATE_CONSOLIDATING, BM_STATE_RELEASING,
};

static int allocate(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    /* ends just before the freeze, if the guest is to get a source overlay */
    if (!rc)
        rc = bm_pacing_begin(run, err);
    return rc ? rc : bm_step_stamp(run, err);
}

/* --- the source overlay --- */

static bool overlaid(const struct bm_job *job)
{
    return job->n_disks && job->disks[0].overlays.n_source > 0;
}

/* The uppermost layer is the one that the guest writes to. */
static bool wants_source_overlay(struct bm_run *run,
                                 const struct bm_job_merge *merge)
{
    const struct bm_job_disk *disk =
        &run->job->disks[bm_merge_disk(run->job, merge)];

    return run->domain->active && !overlaid(run->job) && !merge->merged &&
           merge->layers.n > 1 &&
           !strcmp(disk->source.layers[0].path, merge->layers.layers[0].path);
}

static struct bm_job_merge *next_merge(const struct bm_job *job)
{
    for (size_t k = 0; k < job->snapshot->n_merges; k++)
        if (!job->snapshot->merges[k].done)
            return &job->snapshot->merges[k];
    return NULL;
}

static int freeze(struct bm_run *run, struct bm_error *err)
{
    struct bm_job_merge *merge = next_merge(run->job);
    int rc = bm_run_refresh(run, err);

    if (!rc && run->domain)
        rc = bm_source_overlays_adopt(run, err);
    if (rc || !run->domain || !merge || !wants_source_overlay(run, merge))
        return rc;
    rc = bm_pacing_begin(run, err);
    if (!rc)
        rc = bm_ballast_make(run, err);
    return rc ? rc : bm_source_overlays_freeze(run, err);
}

/* --- the merges --- */

static int merge_all(struct bm_run *run, struct bm_error *err)
{
    struct bm_job_merge *merge;
    int rc = 0;

    bm_pacing_take_jobs(run->pacing);
    while (!rc && (merge = next_merge(run->job))) {
        rc = bm_run_refresh_domain(run, err);
        if (!rc && bm_run_cancelled(run))
            rc = bm_fail_errno(err, ECANCELED, "the merge of %s stops",
                               run->job->domain);
        if (!rc && wants_source_overlay(run, merge)) {
            rc = bm_run_enter(run, BM_STATE_FREEZING, err);
            return rc ? rc : -EAGAIN;
        }
        if (!rc)
            rc = bm_merge_run(run, merge, err);
        bm_pacing_take_jobs(run->pacing); /* a proof has had the pace */
    }
    return rc;
}

/* --- what the guest wrote meanwhile --- */

/* Bytes of a source overlay that nobody feels, whose merge comes last. */
#define TINY (UINT64_C(4) << 20)
#define ROUNDS 8

/* The lowest source overlay of each disk, into what it stands on. */
static int add_overlay_merges(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const struct bm_job_disk *disk = &run->job->disks[i];
        struct bm_job_merge *merge =
            bm_job_snapshot_add_merge(run->job->snapshot);

        rc = merge && (merge->target = strdup(disk->target)) ? 0 : -ENOMEM;
        for (int l = disk->overlays.n_source - 1;
             !rc && l <= disk->overlays.n_source; l++)
            rc = bm_chain_add(&merge->layers, &disk->source.layers[l]);
    }
    return rc ? bm_fail_errno(err, ENOMEM, "cannot merge")
              : bm_run_save(run, NULL, err);
}

/* As long as it becomes less: then only little is merged while it changes. */
static int another_round(struct bm_run *run, int round, uint64_t *before,
                         bool *again, struct bm_error *err)
{
    uint64_t bytes = bm_source_overlays_bytes(run->job);
    int rc;

    *again = run->domain && run->domain->active && overlaid(run->job) &&
             run->job->request.proof && round < ROUNDS && bytes > TINY &&
             bytes < *before / 10 * 9;
    *before = bytes;
    if (!*again)
        return 0;
    rc = bm_source_overlays_freeze(run, err);
    return rc ? rc : add_overlay_merges(run, err);
}

/* What a process that died in another round has left. */
static int take_up(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_source_overlays_adopt(run, err);
    return rc || !overlaid(run->job) ||
                   run->job->disks[0].overlays.n_source < 2 ||
                   next_merge(run->job)
               ? rc
               : add_overlay_merges(run, err);
}

static int copy(struct bm_run *run, struct bm_error *err)
{
    uint64_t before = UINT64_MAX;
    int64_t start = bm_now_ms();
    bool again = true;
    int rc = take_up(run, err);

    if (!rc)
        rc = bm_pacing_need(run, err);

    for (int round = 0; !rc && again; round++) {
        rc = merge_all(run, err);
        if (!rc)
            rc = bm_run_refresh(run, err);
        if (!rc)
            rc = another_round(run, round, &before, &again, err);
    }
    run->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

/* --- the ends --- */

static int commit_source_overlays(struct bm_run *run, struct bm_error *err)
{
    uint64_t bytes = bm_source_overlays_bytes(run->job);
    bool any = overlaid(run->job);
    int rc = 0;

    /* also those of a freeze that was asked for, and did not happen */
    for (size_t i = 0;
         !rc && run->job->staged.overlays_sent && i < run->job->n_disks; i++)
        rc = bm_source_overlays_commit(run, i, err);
    return rc || !any
               ? rc
               : bm_run_note(run, err,
                             "what the guest wrote meanwhile, at most "
                             "%" PRIu64 " bytes, was merged while it ran",
                             bytes);
}

static int consolidate(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    return rc ? rc : commit_source_overlays(run, err);
}

/* Those whose images stay, as others need them, or that have none. */
static int forget_points(struct bm_run *run, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = run->job->snapshot;
    int rc = 0;

    for (size_t i = 0; !rc && i < snapshot->n_points; i++)
        if (!snapshot->points[i].gone)
            rc = bm_merge_forget(run, &snapshot->points[i], err);
    return rc;
}

static int tidy(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_ballast_remove(run, err);

    if (!rc)
        rc = bm_space_let_run(run, err);
    if (!rc && run->domain)
        rc = bm_domain_stamp(run->domain, NULL, err);
    return rc;
}

static int check_end(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);

        if (!disk ||
            (run->domain->active &&
             !bm_chain_equal(&disk->chain, &run->job->disks[i].source)))
            rc = bm_run_misplaced(run, i, "on a chain that is not as planned",
                                  NULL, err);
    }
    return rc;
}

static int release(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = check_end(run, err);
    if (!rc)
        rc = forget_points(run, err);
    return rc ? rc : tidy(run, err);
}

/* A process that comes after the one whose proof has failed finds that again.
 */
static int end_or_undo(struct bm_run *run, struct bm_job_merge *merge,
                       struct bm_error *err)
{
    bool wrong = run->reason.status == BM_EXIT_PROOF;
    int rc = wrong ? 0 : bm_merge_run(run, merge, err);

    if (rc == -EBADMSG && err->status == BM_EXIT_PROOF) {
        bm_run_keep_reason(run, err);
        *err = (struct bm_error)BM_ERROR_INIT;
        wrong = true;
        rc = 0;
    }
    return rc || !wrong ? rc : bm_merge_undo(run, merge, err);
}

/* With the domain gone: what its guest wrote last may be there alone. */
static int check_front(struct bm_run *run, const char *overlay,
                       struct bm_error *err)
{
    bool any = false;
    int rc = access(overlay, F_OK) == 0
                 ? bm_overlay_holds_data(overlay, &any, err)
                 : 0;

    if (rc || !any)
        return rc ? rc : bm_file_remove(overlay, err);
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err, "domain %s is gone, and %s holds what its guest wrote last",
             run->job->domain, overlay);
    bm_remedy(err,
              "define it again, on that image, or delete the image; then "
              "`blockmig job resume %s`",
              run->job->id);
    return rc;
}

static int end_without_domain(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        for (int k = run->job->staged.overlays_sent; !rc && k > 0; k--) {
            BM_FREE char *overlay =
                bm_job_source_overlay(run->job, &run->job->disks[i], k);

            rc = overlay ? check_front(run, overlay, err)
                         : bm_fail_errno(err, ENOMEM, "cannot end a merge");
        }
    return rc ? rc : tidy(run, err);
}

/* What is merged stays merged, and is brought to its end; the rest is left as
 * it is. */
static int roll_back(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);
    struct bm_job_merge *merge = next_merge(run->job);

    if (rc || !run->domain)
        return rc ? rc : end_without_domain(run, err);
    rc = bm_source_overlays_adopt(run, err);
    if (!rc && merge)
        rc = bm_merge_stop(run, merge, err);
    if (!rc && merge && merge->merged)
        rc = end_or_undo(run, merge, err);
    bm_failpoint("rolling-back.stopped");
    if (!rc)
        rc = bm_run_refresh(run, err);
    if (!rc)
        rc = commit_source_overlays(run, err);
    return rc ? rc : tidy(run, err);
}

const struct bm_strategy_ops bm_strategy_merge = {
    .states = states,
    .freeze = freeze,
    .copy = copy,
    .consolidate = consolidate,
    .allocate = allocate,
    .release = release,
    .roll_back = roll_back,
};
