// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/strategy/pull-steps.h"

#include "blockmig/step/commit.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/run/pacing.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/step/step.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>

static int at_of(struct bm_run *run, size_t i, struct bm_error *err)
{
    return bm_disk_location(run->domain, bm_run_disk(run, i),
                            &run->job->disks[i], err);
}

int bm_pull_look(struct bm_run *run, struct bm_pull_count *count,
                 struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    memset(count, 0, sizeof *count);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        int at = at_of(run, i, err);

        count->at_source += at == BM_AT_SOURCE;
        count->pulling += at == BM_AT_PULL;
        count->at_dest += at == BM_AT_DEST;
        if (at < 0)
            rc = at;
        else if (at != BM_AT_SOURCE && at != BM_AT_PULL && at != BM_AT_DEST)
            rc = bm_run_misplaced(run, i, bm_location_name(at), NULL, err);
    }
    return rc;
}

/* --- the guest runs --- */

/* Asks for the job of each disk before its chain is looked at, so that one that
 * ends in between shows by the chain. */
static int find_jobs(struct bm_run *run, int *kinds, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (bm_run_disk(run, i))
            rc = bm_blockjob_kind(run->domain, run->job->disks[i].target,
                                  &kinds[i], err);
    return rc;
}

static int start_pull(struct bm_run *run, size_t i, int kind,
                      struct bm_blockjob *job, struct bm_error *err)
{
    const struct bm_job_disk *plan = &run->job->disks[i];
    uint64_t speed = 0;
    int rc;

    if (kind == VIR_DOMAIN_BLOCK_JOB_TYPE_PULL) {
        bm_blockjob_adopt(run->conn, run->domain, plan->target, job);
        job->speed = UINT64_MAX; /* not known */
        return 0;
    }
    if (kind)
        return bm_commit_foreign(run, plan->target, err);
    bm_pacing_share(run->pacing, run->job->n_disks, &speed);
    rc = bm_target_check(plan, err);
    if (!rc)
        rc = bm_blockjob_pull(run->conn, run->domain, plan->target, speed, job,
                              err);
    job->speed = speed;
    return rc;
}

static int start_all(struct bm_run *run, struct bm_blockjob *jobs, bool to_end,
                     bool *more, struct bm_error *err)
{
    BM_FREE int *kinds = calloc(run->job->n_disks, sizeof *kinds);
    struct bm_pull_count count;
    int rc = kinds ? find_jobs(run, kinds, err)
                   : bm_fail_errno(err, ENOMEM, "cannot pull");

    if (!rc)
        rc = bm_pull_look(run, &count, err);
    *more = !rc && count.pulling > 0 && (to_end || count.at_dest == 0);
    for (size_t i = 0; !rc && *more && i < run->job->n_disks; i++) {
        int at = at_of(run, i, err);

        if (at < 0)
            rc = at;
        else if (at == BM_AT_PULL)
            rc = start_pull(run, i, kinds[i], &jobs[i], err);
    }
    return rc;
}

static int pull_running(struct bm_run *run, bool to_end, struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    bool more = false;
    int rc = jobs ? bm_pacing_need(run, err)
                  : bm_fail_errno(err, ENOMEM, "cannot pull");

    if (!rc)
        bm_pacing_take_jobs(run->pacing);
    if (!rc)
        rc = start_all(run, jobs, to_end, &more, err);
    if (!rc && more) {
        bm_failpoint("copying.started");
        rc = to_end ? bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_COMPLETED, false,
                                       err)
                    : bm_run_wait_first(run, jobs, err);
    }
    if (run->pacing)
        bm_pacing_take(run->pacing, NULL);
    return rc;
}

/* --- the guest is off --- */

struct ear {
    struct bm_run *run;
    uint64_t before, capacity, total;
    bool can_cancel;
};

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct ear *ear = opaque;
    double part = (double)done / (double)total;

    bm_run_progress(ear->run,
                    ear->before + (uint64_t)((double)ear->capacity * part),
                    ear->total);
    return ear->can_cancel && bm_run_cancelled(ear->run);
}

/* qemu-img holds QEMU's lock, so no guest starts meanwhile; and it flushes. */
static int flatten(struct ear *ear, struct bm_job_disk *plan,
                   struct bm_error *err)
{
    struct bm_run *run = ear->run;
    int rc =
        bm_image_flatten(bm_job_new_image(plan)->path, on_progress, ear, err);

    if (!rc)
        rc = bm_domain_set_config(run->domain, plan->target, &plan->dest, err);
    plan->flushed |= !rc;
    return rc ? rc : bm_run_save(run, NULL, err);
}

static int pull_off_disk(struct ear *ear, size_t i, struct bm_error *err)
{
    struct bm_run *run = ear->run;
    const struct bm_job_disk *plan = &run->job->disks[i];
    int at = at_of(run, i, err);
    int rc = at < 0 ? at : 0;

    ear->capacity = plan->fixed.capacity;
    if (at == BM_AT_DEST && !plan->flushed) {
        rc = bm_commit_rebase(bm_job_new_image(plan)->path,
                              &plan->source.layers[0], err);
        at = BM_AT_PULL;
    }
    if (!rc && at == BM_AT_PULL)
        rc = flatten(ear, &run->job->disks[i], err);
    ear->before += plan->fixed.capacity;
    return rc;
}

static int pull_off(struct bm_run *run, bool to_end, struct bm_error *err)
{
    struct ear ear = {.run = run, .can_cancel = !to_end};
    int rc = 0;

    for (size_t i = 0; i < run->job->n_disks; i++)
        ear.total += run->job->disks[i].fixed.capacity;
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        rc = pull_off_disk(&ear, i, err);
        ear.can_cancel = false;
    }
    return rc;
}

/* --- either --- */

bool bm_pull_went_off(struct bm_run *run)
{
    return bm_run_refresh(run, NULL) == 0 && run->domain &&
           !run->domain->active;
}

int bm_pull_run(struct bm_run *run, bool to_end, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    struct bm_pull_count count;
    int rc = bm_pull_look(run, &count, err);

    if (!rc && count.at_source) {
        bm_fail(err, ESTALE, "cannot pull the disks of %s", run->job->domain);
        bm_cause(err, "%zu of them are on the source again", count.at_source);
        rc = -ESTALE;
    }
    if (!rc && run->domain->active) {
        rc = pull_running(run, to_end, err);
        if (rc && rc != -ETIMEDOUT && bm_pull_went_off(run))
            rc = pull_off(run, to_end, err);
    } else if (!rc) {
        rc = pull_off(run, to_end, err);
    }
    run->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

/* --- durable --- */

static bool all_flushed(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!job->disks[i].flushed)
            return false;
    return true;
}

static int paused_by_others(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, EBUSY, "cannot make the new images of %s durable",
            job->domain);
    bm_cause(err, "someone has paused the guest");
    bm_remedy(err, "resume it, then `blockmig job resume %s`", job->id);
    return bm_status(err, BM_EXIT_HELD), -EBUSY;
}

/* No pull runs any more: to stop a guest in which a block job ends is what QEMU
 * 7.2 cannot stand (bm_space_merge). */
static int flush_running(struct bm_run *run, struct bm_error *err)
{
    struct bm_pause pause;
    int rc = 0, end;

    /* of a process that died in here */
    if (run->job->guest.window_paused)
        rc = bm_pause_resume(run, err);
    if (!rc)
        rc = bm_run_refresh(run, err);
    if (!rc && run->domain && bm_domain_paused(run->domain))
        return paused_by_others(run->job, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        bm_file_calm(bm_job_new_image(&run->job->disks[i])->path);
    if (!rc)
        rc = bm_pause_begin(run, &pause, err);
    if (rc)
        return rc;
    bm_failpoint("consolidating.flushed");
    end = bm_pause_resume(run, err);
    return end ? end : bm_pause_end(run, &pause, err);
}

int bm_pull_flush(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    if (all_flushed(run->job))
        return 0;
    if (run->domain->active)
        rc = flush_running(run, err);
    /* one that went off in between may not have flushed */
    if (rc != -ETIMEDOUT && bm_pull_went_off(run))
        return pull_off(run, true, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        run->job->disks[i].flushed = true;
    return rc ? rc : bm_run_save(run, NULL, err);
}
