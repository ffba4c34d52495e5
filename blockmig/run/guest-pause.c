// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/guest-pause.h"

#include "blockmig/guard/guard.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>

#define TRIES 5
/* How long the event of our own resume may be on its way. */
#define EVENT_MS 1000

int bm_pause_resume(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_domain_resume(run->domain, bm_call_ms(), err);

    for (int i = 0; rc && rc != -ETIMEDOUT && i < TRIES; i++) {
        rc = bm_run_refresh(run, err);
        if (!rc && (!run->domain || !run->domain->active))
            return 0;
        if (!rc)
            rc = bm_domain_resume(run->domain, bm_call_ms(), err);
    }
    return rc;
}

/* The guest's pause by libvirt's events, up to the resume that ended it. */
static void measure(struct bm_run *run, struct bm_pause *pause)
{
    int64_t suspended = pause->asked_ms, until = bm_now_ms() + EVENT_MS;
    double longest = 0;
    struct bm_event event;

    while (bm_now_ms() < until &&
           bm_connection_next(run->conn, run->job->uuid, &pause->seq,
                              pause->resumes ? 0 : 200, &event)) {
        if (event.kind != BM_EVENT_LIFECYCLE)
            continue;
        if (event.code == VIR_DOMAIN_EVENT_SUSPENDED)
            suspended = event.time_ms;
        if (event.code == VIR_DOMAIN_EVENT_RESUMED) {
            pause->resumes++;
            longest = (double)(event.time_ms - suspended);
        }
    }
    if (!pause->resumes)
        return;
    run->job->result.pauses++;
    run->job->result.pause_ms_total += longest;
    if (longest > run->job->result.pause_ms_longest)
        run->job->result.pause_ms_longest = longest;
}

static bool is_over(struct bm_run *run)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc = bm_run_refresh(run, &ignored);

    if (rc == -BM_NEEDS_OPERATOR)
        return true; /* it is off, and elsewhere */
    if (rc)
        return false;
    return !run->domain || !run->domain->active ||
           !bm_domain_paused(run->domain);
}

int bm_pause_end(struct bm_run *run, struct bm_pause *pause,
                 struct bm_error *err)
{
    int rc;

    if (!is_over(run))
        return bm_fail(err, EIO, "%s is still paused", run->job->domain);
    run->job->guest.window_paused = false;
    rc = bm_guard_disarm(run->guard, err);
    pause->acted = rc == -ETIME;
    measure(run, pause);
    return pause->acted ? 0 : rc;
}

static int suspend(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_guard_suspending(run->guard, err);

    return rc ? rc : bm_domain_suspend(run->domain, bm_call_ms(), err);
}

int bm_pause_adopt(struct bm_run *run, struct bm_error *err)
{
    int rc =
        bm_guard_arm(run->guard, bm_job_store_dir(run->jobs), run->job, err);

    if (!rc)
        rc = bm_guard_suspending(run->guard, err);
    return rc ? rc : bm_guard_pivoting(run->guard, err);
}

int bm_pause_begin(struct bm_run *run, struct bm_pause *pause,
                   struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc =
        bm_guard_arm(run->guard, bm_job_store_dir(run->jobs), run->job, err);

    if (rc)
        return rc;
    run->job->guest.window_paused = true;
    rc = bm_run_save(run, NULL, err);
    pause->resumes = 0;
    pause->acted = false;
    pause->seq = bm_connection_mark(run->conn);
    pause->asked_ms = bm_now_ms();
    if (!rc)
        rc = suspend(run, err);
    if (rc && rc != -ETIMEDOUT && bm_pause_resume(run, &ignored) == 0)
        (void)bm_pause_end(run, pause, &ignored);
    return rc;
}
