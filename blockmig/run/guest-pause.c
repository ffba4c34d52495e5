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

int bm_pause_resume(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_domain_resume(m->domain, bm_call_ms(), err);

    for (int i = 0; rc && rc != -ETIMEDOUT && i < TRIES; i++) {
        rc = bm_run_refresh(m, err);
        if (!rc && (!m->domain || !m->domain->active))
            return 0;
        if (!rc)
            rc = bm_domain_resume(m->domain, bm_call_ms(), err);
    }
    return rc;
}

/* The guest's pause by libvirt's events, up to the resume that ended it. */
static void measure(struct bm_run *m, struct bm_pause *pause)
{
    int64_t suspended = pause->asked_ms, until = bm_now_ms() + EVENT_MS;
    double longest = 0;
    struct bm_event event;

    while (bm_now_ms() < until &&
           bm_connection_next(m->conn, m->job->uuid, &pause->seq,
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
    m->job->result.pauses++;
    m->job->result.pause_ms_total += longest;
    if (longest > m->job->result.pause_ms_longest)
        m->job->result.pause_ms_longest = longest;
}

static bool is_over(struct bm_run *m)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc = bm_run_refresh(m, &ignored);

    if (rc == -BM_NEEDS_OPERATOR)
        return true; /* it is off, and elsewhere */
    if (rc)
        return false;
    return !m->domain || !m->domain->active || !bm_domain_paused(m->domain);
}

int bm_pause_end(struct bm_run *m, struct bm_pause *pause, struct bm_error *err)
{
    int rc;

    if (!is_over(m))
        return bm_fail(err, EIO, "%s is still paused", m->job->domain);
    m->job->guest.window_paused = false;
    rc = bm_guard_disarm(m->guard, err);
    pause->acted = rc == -ETIME;
    measure(m, pause);
    return pause->acted ? 0 : rc;
}

static int suspend(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_guard_suspending(m->guard, err);

    return rc ? rc : bm_domain_suspend(m->domain, bm_call_ms(), err);
}

int bm_pause_adopt(struct bm_run *m, struct bm_error *err)
{
    int rc = bm_guard_arm(m->guard, bm_job_store_dir(m->jobs), m->job, err);

    if (!rc)
        rc = bm_guard_suspending(m->guard, err);
    return rc ? rc : bm_guard_pivoting(m->guard, err);
}

int bm_pause_begin(struct bm_run *m, struct bm_pause *pause,
                   struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc = bm_guard_arm(m->guard, bm_job_store_dir(m->jobs), m->job, err);

    if (rc)
        return rc;
    m->job->guest.window_paused = true;
    rc = bm_run_save(m, NULL, err);
    pause->resumes = 0;
    pause->acted = false;
    pause->seq = bm_connection_mark(m->conn);
    pause->asked_ms = bm_now_ms();
    if (!rc)
        rc = suspend(m, err);
    if (rc && rc != -ETIMEDOUT && bm_pause_resume(m, &ignored) == 0)
        (void)bm_pause_end(m, pause, &ignored);
    return rc;
}
