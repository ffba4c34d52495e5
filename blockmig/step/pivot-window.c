// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/pivot-window.h"

#include "blockmig/image/owned-file.h"
#include "blockmig/guard/guard.h"
#include "blockmig/run/run.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/guard/pivot-freeze.h"
#include "blockmig/guard/guard-files.h"
#include "nbd/base/units.h"
#include "snapshot/blockjob/blockjob.h"
#include "blockmig/step/step.h"

#include <errno.h>
#include <string.h>

#define TRIES 5
#define FINISH_MS 10000

static void calm(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++) {
        bm_file_calm(job->disks[i].dest.layers[0].path);
        bm_file_calm(job->disks[i].source.layers[0].path);
    }
}

static int not_as_left(struct bm_run *run, const struct bm_job_disk *plan,
                       const char *cause, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot switch disk %s of %s", plan->target,
            run->job->domain);
    return bm_cause(err, "%s", cause), -ESTALE;
}

/* Never trust what was true a moment ago. */
static int check_before(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (!rc && (!run->domain || !run->domain->active))
        return bm_fail_errno(err, ESRCH, "the guest %s went off",
                             run->job->domain);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const struct bm_job_disk *plan = &run->job->disks[i];
        struct bm_disk *disk = bm_run_disk(run, i);

        /* without a proof a disk may have pivoted while the guest ran */
        if (disk && !run->job->request.proof &&
            bm_chain_equal(&disk->chain, &plan->dest))
            continue;
        if (!disk || !bm_chain_equal(&disk->chain, &plan->source))
            return not_as_left(run, plan, "the disk is not as we left it", err);
        if (!bm_disk_copies_to(disk, plan->dest.layers[0].path))
            return not_as_left(run, plan,
                               "its copy has ended: the target gave an error, "
                               "or someone ended it",
                               err);
        /* QEMU may not have met the error yet, and the freeze would */
        rc = bm_target_check(plan, err);
    }
    return rc;
}

static int lift_limits(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);

        if (disk && disk->mirror)
            rc = bm_blockjob_speed(run->domain, disk->target, 0, err);
    }
    return rc;
}

/* The mark goes first: a guest that runs unfrozen makes the proof void. It may
 * fail where the store is full: no reason to leave the guest paused, we know
 * it, and later the images tell. */
static int resume(struct bm_run *run, bool clean, struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    int rc;

    if (!clean) {
        run->job->guest.unclean = true;
        (void)bm_unclean_leave(bm_job_store_dir(run->jobs), run->job->id, NULL);
    }
    rc = bm_pause_resume(run, &second);
    if (rc && err && !err->code)
        *err = second;
    return rc;
}

static bool nothing_pivoted(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_location_count count;

    /* unknown counts as pivoted: the safe side */
    if (bm_run_refresh(run, &ignored) || !run->domain ||
        bm_location_count_look(run->domain, run->job, &count, &ignored))
        return false;
    for (size_t i = 0; i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);

        if (!disk || !disk->mirror || !disk->mirror_ready)
            return false;
    }
    return count.at_source == run->job->n_disks;
}

/* libvirtd may be started anew in the middle: the guest is still paused, so
 * the window can still be brought to its end. */
static int finish_surely(struct bm_run *run, struct bm_error *err)
{
    int rc = -ECONNRESET;

    for (int i = 0; rc && i < TRIES; i++) {
        rc = bm_pivot_freeze_finish(run->conn, run->domain, run->job, FINISH_MS,
                                    err);
        if (!rc || rc == -ETIMEDOUT ||
            (rc != -ECONNRESET && !bm_connection_lost(run->conn)))
            return rc;
        if (bm_run_refresh(run, err) || !run->domain || !run->domain->active)
            return rc;
    }
    return rc;
}

int bm_pivot_window_end(struct bm_run *run, struct bm_error *err)
{
    int rc = finish_surely(run, err);
    bool clean;
    int back;

    /* A pivot that was abandoned in libvirt may still happen, and a resume
     * asked for now would follow it at once: before the freeze. The guard
     * waits until it can look. */
    if (rc == -ETIMEDOUT)
        return rc;
    clean = !rc || nothing_pivoted(run);
    /* as the last look found it: after a freeze it may run */
    run->ran |= !rc && run->domain->active && !bm_domain_paused(run->domain);
    if (!rc)
        bm_failpoint("switching.frozen");
    back = resume(run, clean, err);
    return rc ? rc : back;
}

/* A suspend that took half the bound leaves too little for the rest: the
 * guest runs again and we try later. After this a pivot may be asked for. */
static int soon_enough(struct bm_run *run, const struct bm_pause *pause,
                       struct bm_error *err)
{
    int rc;

    bm_failpoint("switching.suspended");
    if (bm_now_ms() - pause->asked_ms <= run->job->limits.max_pause_ms / 2 &&
        bm_guard_pivoting(run->guard, err) == 0)
        return 0;
    rc = bm_pause_resume(run, err);
    return rc ? rc : -EAGAIN;
}

static void judge(struct bm_run *run, const struct bm_pause *pause)
{
    /* someone else resumed the guest in the window: not one instant */
    if (run->job->request.proof && (pause->resumes > 1 || run->ran) &&
        !pause->acted)
        run->job->guest.unclean = true;
    if (bm_unclean_set(bm_job_store_dir(run->jobs), run->job->id))
        run->job->guest.unclean = true;
}

static int attempt(struct bm_run *run, struct bm_error *err)
{
    struct bm_pause pause;
    int rc, end;

    calm(run->job);
    rc = check_before(run, err);
    /* for whatever reason: our resume would end that pause too */
    if (!rc && run->domain->state == VIR_DOMAIN_PAUSED) {
        bm_fail(err, EAGAIN, "%s is paused by someone", run->job->domain);
        return -EAGAIN;
    }
    if (!rc)
        rc = lift_limits(run, err);
    if (!rc)
        rc = bm_pause_begin(run, &pause, err);
    if (rc)
        return rc;
    rc = soon_enough(run, &pause, err);
    if (!rc)
        rc = bm_pivot_window_end(run, err);
    if (rc == -ETIMEDOUT)
        return rc; /* abandoned: the guard stays armed after us */
    end = bm_pause_end(run, &pause, rc ? NULL : err);
    bm_failpoint("switching.resumed");
    judge(run, &pause);
    return rc ? rc : end;
}

int bm_pivot_window_switch(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (int i = 0; i < TRIES; i++) {
        /* without a proof the pivots were requested before the pause */
        if (run->job->request.proof && bm_run_cancelled(run))
            return bm_fail_errno(err, ECANCELED, "the move of %s stops",
                                 run->job->domain);
        rc = attempt(run, err);
        if (rc != -EAGAIN)
            return rc;
        rc = bm_run_note(run, err,
                         "the guest could not be paused in time, trying "
                         "again");
        if (rc)
            return rc;
        bm_sleep_ms(1000 << i);
        bm_space_tick(run);
    }
    if (run->domain && run->domain->state == VIR_DOMAIN_PAUSED) {
        bm_fail(err, EBUSY, "cannot switch %s", run->job->domain);
        bm_cause(err, "it is paused by someone");
        return bm_remedy(err, "resume it (virsh resume), then move again"),
               -EBUSY;
    }
    bm_fail(err, EBUSY, "cannot pause %s within --max-pause %d ms",
            run->job->domain, run->job->limits.max_pause_ms);
    bm_cause(err, "%d tries were too slow", TRIES);
    bm_remedy(err, "try when the storage is less busy, or allow more");
    return -EBUSY;
}

/* Unknown counts as switched. */
static bool any_switched(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_location_count count;

    return bm_location_count_look(run->domain, run->job, &count, &ignored) ||
           count.at_source < run->job->n_disks;
}

int bm_pivot_window_abandon(struct bm_run *run, struct bm_error *err)
{
    bool switching = run->job->state == BM_STATE_SWITCHING ||
                     run->job->state == BM_STATE_ROLLING_BACK;
    int rc = 0;

    if (!run->job->guest.window_paused)
        return 0;
    if (run->domain && bm_domain_paused(run->domain))
        rc = resume(run,
                    !switching || !run->job->guest.pivot_asked ||
                        !any_switched(run),
                    err);
    run->job->guest.window_paused &= rc != 0;
    return rc;
}
