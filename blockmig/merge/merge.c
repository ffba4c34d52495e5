// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/merge/merge.h"

#include "blockmig/step/bitmaps.h"
#include "blockmig/step/commit.h"
#include "blockmig/run/requests.h"
#include "blockmig/job/failpoint.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "blockmig/merge/layer-reader.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"

#include <errno.h>
#include <string.h>

#define ABORT_MS 60000

/* --- looking --- */

/* --- down --- */

/* In the journal the disk stands on what is left. */
static int note_merged(struct bm_run *run, struct bm_job_merge *merge,
                       struct bm_error *err)
{
    struct bm_job_disk *disk = &run->job->disks[bm_merge_disk(run->job, merge)];
    struct bm_chain left = {0};
    int rc = 0, n_source = 0;

    for (size_t l = 0; !rc && l < disk->source.n; l++) {
        const struct bm_layer *layer = &disk->source.layers[l];
        size_t at = bm_merge_position(&merge->layers, layer->path);

        if (at < merge->layers.n - 1)
            continue;
        rc = bm_chain_add(&left, layer);
        n_source += l < (size_t)disk->overlays.n_source;
    }
    if (rc) {
        bm_chain_clear(&left);
        return bm_fail_errno(err, ENOMEM, "cannot merge");
    }
    left.complete = true;
    bm_chain_clear(&disk->source);
    disk->source = left;
    disk->overlays.n_source = n_source;
    merge->merged = true;
    return bm_run_save(run, NULL, err);
}

/* libvirt's, under a guest that runs. One that a dead process asked for may
 * still be there: it is waited for. */
static int commit_running(struct bm_run *run, struct bm_job_merge *merge,
                          struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    size_t i = bm_merge_disk(run->job, merge);
    const struct bm_commit_request request = {
        .target = merge->target,
        .top = merge->layers.layers[0].path,
        .base = bm_merge_base(merge)->path,
        .bandwidth = run->job->limits.bandwidth};
    int rc, kind = 0;

    if (!jobs)
        return bm_fail_errno(err, ENOMEM, "cannot merge");
    if (bm_run_disk(run, i)->mirror)
        return bm_commit_foreign(run, merge->target, err);
    rc = bm_blockjob_kind(run->domain, merge->target, &kind, err);
    if (!rc && kind && kind != VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT)
        return bm_commit_foreign(run, merge->target, err);
    if (!rc && kind)
        bm_blockjob_adopt(run->conn, run->domain, merge->target, &jobs[i]);
    else if (!rc)
        rc =
            bm_blockjob_commit(run->conn, run->domain, &request, &jobs[i], err);
    bm_failpoint("copying.merging");
    if (!rc)
        rc = bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_COMPLETED, true, err);
    return rc;
}

struct off {
    struct bm_run *run;
    uint64_t held;
};

static int on_off_tick(void *opaque, unsigned thousandths)
{
    struct off *off = opaque;

    bm_run_take_requests(off->run);
    bm_run_progress(off->run, off->held / 1000 * thousandths, off->held);
    if (bm_run_cancelled(off->run))
        return 1;
    return off->run->job->paused ? BM_CHILD_STILL : 0;
}

/* What qemu-img opens for writing cannot be held. */
static int commit_by_qemu(struct bm_run *run, struct bm_job_merge *merge,
                          struct bm_error *err)
{
    const struct bm_layer *top = &merge->layers.layers[0];
    const struct bm_layer *base = bm_merge_base(merge);
    struct off off = {run, merge->held};

    bm_run_progress(run, 0, merge->held);
    return bm_image_commit_at(
        top->path, top->format, merge->layers.n > 2 ? base->path : NULL,
        run->job->limits.bandwidth, on_off_tick, &off, err);
}

/* One pass; what was merged by one that was killed is merged again. The layers
 * that go are not changed. */
static int commit_off(struct bm_run *run, struct bm_job_merge *merge,
                      struct bm_merge_reading **ahead, int *held,
                      struct bm_error *err)
{
    int rc = bm_merge_hold(run, merge, held, err);

    if (!rc)
        rc = *held < 0 ? -ENOTSUP : bm_merge_copy(run, merge, ahead, err);
    if (rc == -ENOTSUP) {
        bm_cleanup_fd(held);
        *held = -1;
        rc = commit_by_qemu(run, merge, err);
    }
    bm_failpoint("copying.merging");
    return rc ? rc
              : bm_bitmaps_add(&merge->layers, merge->layers.n - 1,
                               bm_merge_base(merge), err);
}

static int check_stand(struct bm_run *run, const struct bm_job_merge *merge,
                       enum bm_merge_at at, struct bm_error *err)
{
    size_t i = bm_merge_disk(run->job, merge);
    struct bm_disk *disk = bm_run_disk(run, i);

    bool live = at == BM_MERGE_CHAIN && run->domain->active;
    int rc, kind = 0;

    if (live && !bm_chain_equal(&disk->chain, &run->job->disks[i].source))
        return bm_run_misplaced(run, i, "on a chain that is not ours", NULL,
                                err);
    rc = live && merge->begun
             ? bm_blockjob_kind(run->domain, merge->target, &kind, err)
             : 0;
    if (rc || kind) /* a dead process has asked for it: it is written to */
        return rc;
    rc = bm_merge_check_stand(run, merge, live, err);
    return bm_merge_held(run, merge, rc, err);
}

static int write_down(struct bm_run *run, struct bm_job_merge *merge,
                      enum bm_merge_at at, struct bm_merge_reading **ahead,
                      int *held, struct bm_error *err)
{
    bool live = at == BM_MERGE_CHAIN && run->domain->active;
    int rc = check_stand(run, merge, at, err);

    if (!rc && !merge->begun)
        rc = bm_merge_check_kept(run, merge, err);
    if (!rc)
        rc = bm_merge_prove_before(run, merge, err);
    if (!rc)
        rc = bm_merge_forget_points(run, merge, err);
    if (!rc)
        rc = bm_merge_forget_kept(run, merge, err);
    if (rc)
        return rc;
    merge->begun = true;
    rc = bm_run_save(run, NULL, err);
    bm_failpoint("copying.begun");
    if (rc || !live)
        return rc ? rc : commit_off(run, merge, ahead, held, err);
    rc = bm_merge_prove_ahead(run, merge, ahead, err);
    return rc ? rc : commit_running(run, merge, err);
}

/* Until the base holds all of it. held: as of bm_merge_hold. */
static int down(struct bm_run *run, struct bm_job_merge *merge,
                struct bm_merge_reading **ahead, int *held,
                struct bm_error *err)
{
    enum bm_merge_at at;
    int rc = bm_merge_look(run, merge, &at, err);
    bool live;

    if (rc)
        return rc;
    live = at == BM_MERGE_CHAIN && run->domain->active;
    if (at != BM_MERGE_MERGED)
        rc = write_down(run, merge, at, ahead, held, err);
    if (!rc && live)
        rc = bm_run_refresh(run, err);
    if (!rc && live)
        rc = bm_merge_look(run, merge, &at, err);
    if (!rc && live && at != BM_MERGE_MERGED) {
        bm_fail(err, EIO, "%s was not merged", merge->layers.layers[0].path);
        return bm_cause(err, "its block job did not end well"), -EIO;
    }
    if (!rc && *held < 0)
        rc = bm_merge_hold(run, merge, held, err);
    if (!rc && *held >= 0)
        rc = bm_merge_stamp(merge, err);
    if (rc)
        return rc;
    bm_failpoint("copying.merged");
    return note_merged(run, merge, err);
}

/* By a process that is dead: a guest may have been started on the layers since,
 * and have written to them. */
static int look_again(struct bm_run *run, struct bm_job_merge *merge, int *held,
                      struct bm_error *err)
{
    int rc = bm_merge_hold(run, merge, held, err);

    if (!rc && *held >= 0)
        rc = bm_merge_stale(merge, err);
    if (rc <= 0)
        return rc;
    bm_cleanup_fd(held);
    *held = -1;
    merge->merged = merge->proven = false;
    rc = bm_merge_prove_over(run, merge, err);
    return rc ? rc
              : bm_run_note(run, err,
                            "%s was written to since it was merged: it is "
                            "merged again",
                            merge->layers.layers[0].path);
}

static int down_with_proof(struct bm_run *run, struct bm_job_merge *merge,
                           int *held, struct bm_error *err)
{
    struct bm_merge_reading *ahead = NULL;
    int rc = merge->merged ? look_again(run, merge, held, err) : 0;

    if (!rc && !merge->merged)
        rc = down(run, merge, &ahead, held, err);
    if (!rc && !merge->proven && run->job->snapshot->proof != BM_PROOF_NONE)
        rc = bm_merge_prove(run, merge, ahead, err);
    bm_merge_prove_drop(ahead);
    return rc ? rc : bm_merge_prove_over(run, merge, err);
}

int bm_merge_run(struct bm_run *run, struct bm_job_merge *merge,
                 struct bm_error *err)
{
    bool several = merge->layers.n > 1;
    BM_CLOSE int held = -1;
    int rc =
        bm_merge_held(run, merge, bm_merge_check_files(run, merge, err), err);

    if (!rc && several)
        rc = down_with_proof(run, merge, &held, err);
    if (!rc && !several)
        rc = bm_merge_forget_points(run, merge, err);
    if (!rc && several && merge->proven)
        rc = bm_merge_check_base(run, merge, err);
    if (!rc && several)
        rc = bm_merge_check_off(run, merge, err);
    if (!rc && several)
        rc = bm_merge_rename(run, merge, err);
    if (!rc)
        rc = bm_merge_delete(run, merge, err);
    if (rc)
        return rc;
    merge->done = true;
    return bm_run_save(run, NULL, err);
}

/* --- a cancel --- */

static int half_merged(struct bm_run *run, const struct bm_job_merge *merge,
                       struct bm_error *err)
{
    int rc = bm_job_needs_operator(run->job, err);

    bm_cause(err,
             "%s holds a part of what is above it, so that the %zu images "
             "between are no valid ones until all is merged; the guest's disk "
             "is",
             bm_merge_base(merge)->path, merge->layers.n - 2);
    bm_remedy(err, "`blockmig job resume %s` merges the rest", run->job->id);
    return bm_run_stop_at(run, BM_STATE_COPYING, rc);
}

int bm_merge_stop(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_error *err)
{
    struct bm_blockjob job;
    enum bm_merge_at at;
    int kind = 0, rc;

    if (!merge->begun || merge->merged || merge->layers.n < 2)
        return 0;
    rc = bm_merge_look(run, merge, &at, err);
    if (!rc && at == BM_MERGE_MERGED)
        return note_merged(run, merge, err);
    if (!rc && at == BM_MERGE_CHAIN && run->domain->active)
        rc = bm_blockjob_kind(run->domain, merge->target, &kind, err);
    if (!rc && kind == VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT) {
        bm_blockjob_adopt(run->conn, run->domain, merge->target, &job);
        rc = bm_blockjob_abort(&job, ABORT_MS, err);
        if (!rc)
            rc = bm_run_refresh(run, err);
        if (!rc)
            rc = bm_merge_look(run, merge, &at, err);
        if (!rc && at == BM_MERGE_MERGED)
            return note_merged(run, merge, err);
    }
    return rc || merge->layers.n == 2 ? rc : half_merged(run, merge, err);
}
