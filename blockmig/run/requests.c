// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/requests.h"

#include "blockmig/run/pacing.h"
#include "nbd/base/units.h"

/* --- limits --- */

static void set_limits(struct bm_run *run, const struct bm_limits *asked)
{
    struct bm_job *job = run->job;
    const struct bm_limits before = {.parts = asked->parts,
                                     .bandwidth = job->limits.bandwidth,
                                     .guest_latency = job->limits.guest_latency,
                                     .switch_max = job->limits.switch_max,
                                     .settle_ms = job->limits.settle_ms,
                                     .max_pause_ms = job->limits.max_pause_ms};
    struct bm_error err = BM_ERROR_INIT;
    char now[200], old[200];

    bm_limits_job(asked, job);
    if (bm_run_note(run, &err, "set to %s (it was %s)",
                    bm_limits_text(asked, now, sizeof now),
                    bm_limits_text(&before, old, sizeof old))) {
        /* a limit that is not in the journal is not in force */
        bm_limits_job(&before, job);
        run->hooks->event(run->hooks->opaque, job, err.cause);
        return;
    }
    if (run->pacing)
        bm_pacing_set(run->pacing, job->limits.guest_latency,
                      job->limits.bandwidth);
}

/* --- the pause --- */

static bool pause_wanted(struct bm_run *run)
{
    return run->hooks->paused &&
           bm_state_traits_of(run->job->state)->may_pause &&
           run->hooks->paused(run->hooks->opaque) && !bm_run_cancelled(run);
}

static void set_pause(struct bm_run *run, bool paused)
{
    run->job->paused = paused;
    /* only readers of the journal need this: the run does not fail for it */
    (void)bm_run_note(run, NULL, paused ? "paused" : "goes on");
    if (run->pacing)
        bm_pacing_hold(run->pacing, paused);
    if (paused)
        run->paused_ms = bm_now_ms();
    else
        run->phase_ms += bm_now_ms() - run->paused_ms;
}

void bm_run_end_user_pause(struct bm_run *run)
{
    run->job->paused = false;
    if (run->pacing)
        bm_pacing_hold(run->pacing, false);
}

void bm_run_take_requests(struct bm_run *run)
{
    struct bm_limits asked;
    bool paused;

    if (run->hooks->limits && run->hooks->limits(run->hooks->opaque, &asked))
        set_limits(run, &asked);
    paused = pause_wanted(run);
    if (paused != run->job->paused)
        set_pause(run, paused);
}
