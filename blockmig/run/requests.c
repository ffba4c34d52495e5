// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/requests.h"

#include "blockmig/run/pacing.h"
#include "nbd/base/units.h"

/* --- limits --- */

static void set_limits(struct bm_run *m, const struct bm_limits *asked)
{
    struct bm_job *job = m->job;
    const struct bm_limits before = {.parts = asked->parts,
                                     .bandwidth = job->limits.bandwidth,
                                     .guest_latency = job->limits.guest_latency,
                                     .switch_max = job->limits.switch_max,
                                     .settle_ms = job->limits.settle_ms,
                                     .max_pause_ms = job->limits.max_pause_ms};
    struct bm_error err = BM_ERROR_INIT;
    char now[200], old[200];

    bm_limits_job(asked, job);
    if (bm_run_note(m, &err, "set to %s (it was %s)",
                    bm_limits_text(asked, now, sizeof now),
                    bm_limits_text(&before, old, sizeof old))) {
        /* what is not written down does not hold */
        bm_limits_job(&before, job);
        m->hooks->event(m->hooks->opaque, job, err.cause);
        return;
    }
    if (m->pacing)
        bm_pacing_set(m->pacing, job->limits.guest_latency,
                      job->limits.bandwidth);
}

/* --- the pause --- */

static bool pause_wanted(struct bm_run *m)
{
    return m->hooks->paused && bm_state_traits(m->job->state)->may_pause &&
           m->hooks->paused(m->hooks->opaque) && !bm_run_cancelled(m);
}

static void set_pause(struct bm_run *m, bool paused)
{
    m->job->paused = paused;
    /* it is a comfort for who looks at the journal: no reason to fail */
    (void)bm_run_note(m, NULL, paused ? "paused" : "goes on");
    if (m->pacing)
        bm_pacing_hold(m->pacing, paused);
    if (paused)
        m->paused_ms = bm_now_ms();
    else
        m->phase_ms += bm_now_ms() - m->paused_ms;
}

void bm_run_end_user_pause(struct bm_run *m)
{
    m->job->paused = false;
    if (m->pacing)
        bm_pacing_hold(m->pacing, false);
}

void bm_run_take_requests(struct bm_run *m)
{
    struct bm_limits asked;
    bool paused;

    if (m->hooks->limits && m->hooks->limits(m->hooks->opaque, &asked))
        set_limits(m, &asked);
    paused = pause_wanted(m);
    if (paused != m->job->paused)
        set_pause(m, paused);
}
