// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Waiting for the block jobs of all disks.
 */
#include "blockmig/datastore/liveness.h"
#include "blockmig/run/requests.h"
#include "blockmig/run/run.h"
#include "blockmig/run/pacing.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"

#include <errno.h>

#define STALL_MS 300000 /* a copy that moves no byte for so long has failed */
#define PAUSED_RATE 1   /* bytes a second; 0 would be no limit */
/* From when a pull is about to end nobody asks for statistics: libvirt lists
 * all nodes for them, and QEMU 7.2 dies of that while it takes the pull's
 * filter out of the graph (seen: a segfault, once in some hundred pulls). */
#define LAST_BYTES (UINT64_C(256) << 20)

static int job_failed(struct bm_run *run, const struct bm_blockjob *job,
                      struct bm_error *err)
{
    int code = job->state == BM_BLOCKJOB_LOST ? ECONNRESET : EIO;

    bm_fail(err, code, "the block job of disk %s of %s did not finish",
            job->target, run->job->domain);
    bm_cause(err, "its state is: %s", bm_blockjob_state_name(job->state));
    if (job->state == BM_BLOCKJOB_FAILED)
        bm_remedy(err, "see the log of libvirtd for QEMU's reason");
    return -code;
}

/* libvirt's jobs know no pause: one that is on its way is held to a crawl, one
 * that is ready stays in step, and gets little to do. What cannot be asked now
 * is asked at the next look. */
static void hold_speed(struct bm_run *run, struct bm_blockjob *job,
                       bool on_its_way)
{
    struct bm_error ignored = BM_ERROR_INIT;
    uint64_t speed = run->job->limits.bandwidth;

    if (run->pacing)
        bm_pacing_share(run->pacing, run->job->n_disks, &speed);
    if (run->job->paused && on_its_way)
        speed = PAUSED_RATE;
    if (job->speed != speed &&
        bm_blockjob_speed(run->domain, job->target, speed, &ignored) == 0)
        job->speed = speed;
}

static bool reached(const struct bm_blockjob *job,
                    enum bm_blockjob_state wanted)
{
    return job->state == wanted ||
           (wanted == BM_BLOCKJOB_READY && job->state == BM_BLOCKJOB_COMPLETED);
}

static bool one_ends_soon(struct bm_run *run, const struct bm_blockjob *jobs)
{
    for (size_t i = 0; i < run->job->n_disks; i++)
        if (jobs[i].target[0] && jobs[i].state == BM_BLOCKJOB_RUNNING &&
            jobs[i].cur + LAST_BYTES > jobs[i].end)
            return true;
    return false;
}

/* One look at every job. */
static int poll_all(struct bm_run *run, struct bm_blockjob *jobs,
                    enum bm_blockjob_state wanted, bool *all, bool *any,
                    uint64_t *sum, uint64_t *end, struct bm_error *err)
{
    *all = true;
    *any = false;
    *sum = *end = 0;
    for (size_t i = 0; i < run->job->n_disks; i++) {
        struct bm_blockjob *job = &jobs[i];
        int rc = 0;

        if (!job->target[0])
            continue;
        if (!reached(job, wanted))
            rc = bm_blockjob_poll(job, 200 / (int)run->job->n_disks + 1, err);
        if (rc)
            return rc;
        if (job->state != BM_BLOCKJOB_RUNNING &&
            job->state != BM_BLOCKJOB_READY && !reached(job, wanted))
            return job_failed(run, job, err);
        *all &= reached(job, wanted);
        *any |= reached(job, wanted);
        *sum += job->cur;
        *end += job->end;
    }
    return 0;
}

static int wait_jobs(struct bm_run *run, struct bm_blockjob *jobs,
                     enum bm_blockjob_state wanted, bool first, bool can_cancel,
                     struct bm_error *err)
{
    int64_t moved_ms = bm_now_ms();
    struct bm_stall_timer stall = {0};
    uint64_t sum, end, before = 0;
    bool all, any, held = can_cancel || wanted == BM_BLOCKJOB_COMPLETED;

    for (;;) {
        int rc;

        bm_run_take_requests(run);
        rc = poll_all(run, jobs, wanted, &all, &any, &sum, &end, err);
        for (size_t i = 0; !rc && held && i < run->job->n_disks; i++)
            if (jobs[i].target[0])
                hold_speed(run, &jobs[i], !reached(&jobs[i], wanted));
        if (rc || all || (first && any))
            return rc;
        if (can_cancel && bm_run_cancelled(run))
            return bm_fail_errno(err, ECANCELED, "the %s of %s stops",
                                 bm_job_noun(run->job), run->job->domain);
        if (sum != before || run->job->paused)
            moved_ms = bm_now_ms();
        before = sum;
        rc = bm_stall_timer_check(&stall, run->job, sum, bm_call_ms(), err);
        if (rc)
            return rc;
        if (run->pacing && !one_ends_soon(run, jobs))
            bm_pacing_tick(run->pacing, run, sum);
        bm_run_progress(run, sum, end);
        if (bm_now_ms() - moved_ms > STALL_MS) {
            bm_fail(err, ETIMEDOUT, "the block jobs of %s stand still",
                    run->job->domain);
            return bm_cause(err, "no byte moved for %d s", STALL_MS / 1000),
                   -EIO;
        }
    }
}

int bm_run_wait_jobs(struct bm_run *run, struct bm_blockjob *jobs,
                     enum bm_blockjob_state wanted, bool can_cancel,
                     struct bm_error *err)
{
    return wait_jobs(run, jobs, wanted, false, can_cancel, err);
}

int bm_run_wait_first(struct bm_run *run, struct bm_blockjob *jobs,
                      struct bm_error *err)
{
    return wait_jobs(run, jobs, BM_BLOCKJOB_COMPLETED, true, true, err);
}
