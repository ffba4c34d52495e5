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

static int allocate(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(m, err);

    /* ends just before the freeze, if the guest is to get a source overlay */
    if (!rc)
        rc = bm_pacing_begin(m, err);
    return rc ? rc : bm_step_stamp(m, err);
}

/* --- the source overlay --- */

static bool fronted(const struct bm_job *job)
{
    return job->n_disks && job->disks[0].overlays.n_source > 0;
}

/* The uppermost layer is the one that the guest writes to. */
static bool wants_front(struct bm_run *m, const struct bm_job_merge *merge)
{
    const struct bm_job_disk *disk =
        &m->job->disks[bm_merge_disk(m->job, merge)];

    return m->domain->active && !fronted(m->job) && !merge->merged &&
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

static int freeze(struct bm_run *m, struct bm_error *err)
{
    struct bm_job_merge *merge = next_merge(m->job);
    int rc = bm_run_refresh(m, err);

    if (!rc && m->domain)
        rc = bm_source_overlays_adopt(m, err);
    if (rc || !m->domain || !merge || !wants_front(m, merge))
        return rc;
    rc = bm_pacing_begin(m, err);
    if (!rc)
        rc = bm_ballast_make(m, err);
    return rc ? rc : bm_source_overlays_freeze(m, err);
}

/* --- the merges --- */

static int merge_all(struct bm_run *m, struct bm_error *err)
{
    struct bm_job_merge *merge;
    int rc = 0;

    bm_pacing_take_jobs(m->pacing);
    while (!rc && (merge = next_merge(m->job))) {
        rc = bm_run_refresh_domain(m, err);
        if (!rc && bm_run_cancelled(m))
            rc = bm_fail_errno(err, ECANCELED, "the merge of %s stops",
                               m->job->domain);
        if (!rc && wants_front(m, merge)) {
            rc = bm_run_enter(m, BM_STATE_FREEZING, err);
            return rc ? rc : -EAGAIN;
        }
        if (!rc)
            rc = bm_merge_run(m, merge, err);
        bm_pacing_take_jobs(m->pacing); /* a proof has had the pace */
    }
    return rc;
}

/* --- what the guest wrote meanwhile --- */

/* Bytes of a source overlay that nobody feels, whose merge comes last. */
#define TINY (UINT64_C(4) << 20)
#define ROUNDS 8

/* The lowest source overlay of each disk, into what it stands on. */
static int add_front_merges(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        const struct bm_job_disk *disk = &m->job->disks[i];
        struct bm_job_merge *merge =
            bm_job_snapshot_add_merge(m->job->snapshot);

        rc = merge && (merge->target = strdup(disk->target)) ? 0 : -ENOMEM;
        for (int l = disk->overlays.n_source - 1;
             !rc && l <= disk->overlays.n_source; l++)
            rc = bm_chain_add(&merge->layers, &disk->source.layers[l]);
    }
    return rc ? bm_fail_errno(err, ENOMEM, "cannot merge")
              : bm_run_save(m, NULL, err);
}

/* As long as it becomes less: then only little is merged while it changes. */
static int another_round(struct bm_run *m, int round, uint64_t *before,
                         bool *again, struct bm_error *err)
{
    uint64_t bytes = bm_source_overlays_bytes(m->job);
    int rc;

    *again = m->domain && m->domain->active && fronted(m->job) &&
             m->job->request.proof && round < ROUNDS && bytes > TINY &&
             bytes < *before / 10 * 9;
    *before = bytes;
    if (!*again)
        return 0;
    rc = bm_source_overlays_freeze(m, err);
    return rc ? rc : add_front_merges(m, err);
}

/* What a process that died in another round has left. */
static int take_up(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(m, err);

    if (!rc)
        rc = bm_source_overlays_adopt(m, err);
    return rc || !fronted(m->job) || m->job->disks[0].overlays.n_source < 2 ||
                   next_merge(m->job)
               ? rc
               : add_front_merges(m, err);
}

static int copy(struct bm_run *m, struct bm_error *err)
{
    uint64_t before = UINT64_MAX;
    int64_t start = bm_now_ms();
    bool again = true;
    int rc = take_up(m, err);

    if (!rc)
        rc = bm_pacing_need(m, err);

    for (int round = 0; !rc && again; round++) {
        rc = merge_all(m, err);
        if (!rc)
            rc = bm_run_refresh(m, err);
        if (!rc)
            rc = another_round(m, round, &before, &again, err);
    }
    m->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

/* --- the ends --- */

static int commit_fronts(struct bm_run *m, struct bm_error *err)
{
    uint64_t bytes = bm_source_overlays_bytes(m->job);
    bool any = fronted(m->job);
    int rc = 0;

    /* also those of a freeze that was asked for, and did not happen */
    for (size_t i = 0;
         !rc && m->job->staged.overlays_sent && i < m->job->n_disks; i++)
        rc = bm_source_overlays_commit(m, i, err);
    return rc || !any
               ? rc
               : bm_run_note(m, err,
                             "what the guest wrote meanwhile, at most "
                             "%" PRIu64 " bytes, was merged while it ran",
                             bytes);
}

static int consolidate(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(m, err);

    return rc ? rc : commit_fronts(m, err);
}

/* Those whose images stay, as others need them, or that have none. */
static int forget_points(struct bm_run *m, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = m->job->snapshot;
    int rc = 0;

    for (size_t i = 0; !rc && i < snapshot->n_points; i++)
        if (!snapshot->points[i].gone)
            rc = bm_merge_forget(m, &snapshot->points[i], err);
    return rc;
}

static int tidy(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_ballast_remove(m, err);

    if (!rc)
        rc = bm_space_let_run(m, err);
    if (!rc && m->domain)
        rc = bm_domain_stamp(m->domain, NULL, err);
    return rc;
}

static int check_end(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(m, i);

        if (!disk || (m->domain->active &&
                      !bm_chain_equal(&disk->chain, &m->job->disks[i].source)))
            rc = bm_run_misplaced(m, i, "on a chain that is not as planned",
                                  NULL, err);
    }
    return rc;
}

static int release(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(m, err);

    if (!rc)
        rc = check_end(m, err);
    if (!rc)
        rc = forget_points(m, err);
    return rc ? rc : tidy(m, err);
}

/* A process that comes after the one whose proof has failed finds that again.
 */
static int end_or_undo(struct bm_run *m, struct bm_job_merge *merge,
                       struct bm_error *err)
{
    bool wrong = m->reason.status == BM_EXIT_PROOF;
    int rc = wrong ? 0 : bm_merge_run(m, merge, err);

    if (rc == -EBADMSG && err->status == BM_EXIT_PROOF) {
        bm_run_keep_reason(m, err);
        *err = (struct bm_error)BM_ERROR_INIT;
        wrong = true;
        rc = 0;
    }
    return rc || !wrong ? rc : bm_merge_undo(m, merge, err);
}

/* With the domain gone: what its guest wrote last may be there alone. */
static int check_front(struct bm_run *m, const char *overlay,
                       struct bm_error *err)
{
    bool any = false;
    int rc = access(overlay, F_OK) == 0
                 ? bm_overlay_holds_data(overlay, &any, err)
                 : 0;

    if (rc || !any)
        return rc ? rc : bm_file_remove(overlay, err);
    rc = bm_job_needs_operator(m->job, err);
    bm_cause(err, "domain %s is gone, and %s holds what its guest wrote last",
             m->job->domain, overlay);
    bm_remedy(err,
              "define it again, on that image, or delete the image; then "
              "`blockmig job resume %s`",
              m->job->id);
    return rc;
}

static int end_without_domain(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        for (int k = m->job->staged.overlays_sent; !rc && k > 0; k--) {
            BM_FREE char *overlay =
                bm_job_source_overlay(m->job, &m->job->disks[i], k);

            rc = overlay ? check_front(m, overlay, err)
                         : bm_fail_errno(err, ENOMEM, "cannot end a merge");
        }
    return rc ? rc : tidy(m, err);
}

/* What is merged stays merged, and is brought to its end; the rest is left as
 * it is. */
static int roll_back(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_run_refresh(m, err);
    struct bm_job_merge *merge = next_merge(m->job);

    if (rc || !m->domain)
        return rc ? rc : end_without_domain(m, err);
    rc = bm_source_overlays_adopt(m, err);
    if (!rc && merge)
        rc = bm_merge_stop(m, merge, err);
    if (!rc && merge && merge->merged)
        rc = end_or_undo(m, merge, err);
    bm_failpoint("rolling-back.stopped");
    if (!rc)
        rc = bm_run_refresh(m, err);
    if (!rc)
        rc = commit_fronts(m, err);
    return rc ? rc : tidy(m, err);
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
