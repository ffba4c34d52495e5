// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/liveness.h"
#include "blockmig/run/requests.h"
#include "blockmig/engine/engine-private.h"
#include "blockmig/run/pacing.h"
#include "blockmig/run/space-watch.h"
#include "nbd/base/units.h"
#include "blockmig/step/step.h"

#include <errno.h>

#define SETTLE_LOOK_MS 100

static enum bm_settle_decision decision(struct bm_run *run)
{
    return run->hooks->decision ? run->hooks->decision(run->hooks->opaque)
                                : BM_DECISION_NONE;
}

/* From here on there is no way back: are the new ones still there? */
static int check_targets(const struct bm_job *job, struct bm_error *err)
{
    int rc = bm_liveness_all(job, err);

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        rc = bm_target_check(&job->disks[i], err);
    return rc;
}

static int begin_waiting(struct bm_run *run, struct bm_error *err)
{
    const char *id = run->job->id;

    bm_pacing_rest(run->pacing);
    return bm_run_note(run, err,
                       "waiting for %lld s: `blockmig job undo %s` goes "
                       "back, `blockmig job accept %s` goes on",
                       (long long)run->job->limits.settle_ms / 1000, id, id);
}

/* The old images, with what is written since, are the whole disk still: until
 * the time is over, or the user has decided. */
int bm_engine_settle(struct bm_run *run, struct bm_error *err)
{
    struct bm_job *job = run->job;
    int64_t left;
    int rc = 0;

    if (!job->settled_ms)
        job->settled_ms = bm_wall_ms();
    if (job->limits.settle_ms)
        rc = begin_waiting(run, err);
    for (;;) {
        enum bm_settle_decision wanted = decision(run);

        bm_run_take_requests(run);
        if (wanted == BM_DECISION_UNDO && bm_space_way_back(job, err))
            return -err->code;
        if (wanted == BM_DECISION_UNDO) {
            bm_fail(err, EINTR, "the move of %s was undone, as was asked",
                    job->domain);
            return bm_engine_back(run, BM_STATE_UNDOING, err) ? -err->code
                                                              : -EAGAIN;
        }
        left = job->settled_ms + job->limits.settle_ms - bm_wall_ms();
        /* who cancels does not want to wait: but the switch is done */
        if (rc || wanted == BM_DECISION_ACCEPT || (left <= 0 && !job->paused) ||
            bm_run_cancelled(run))
            return rc ? rc : check_targets(job, err);
        bm_run_progress(run, 0, 0);
        bm_sleep_ms(left > 0 && left < SETTLE_LOOK_MS ? (int)left
                                                      : SETTLE_LOOK_MS);
    }
}
