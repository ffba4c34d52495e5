// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The last step of a move, either way, and what is written down of it.
 */
#include "blockmig/guard/guard-files.h"
#include "blockmig/engine/engine-private.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <string.h>

static int finish(struct bm_run *run, enum bm_state state, int exit_status,
                  struct bm_error *err)
{
    struct bm_job *job = run->job;
    enum bm_state before = job->state;
    char line[2048];
    int rc;

    bm_job_set_state(job, state);
    job->result.ended_ms = bm_wall_ms();
    job->result.total_ms = job->result.ended_ms - job->created_ms;
    job->result.exit_status = exit_status;
    free(job->result.error);
    bm_error_line(&run->reason, line, sizeof line);
    job->result.error = run->reason.code ? strdup(line) : NULL;
    rc = bm_job_store_finish(run->jobs, job, bm_state_name(state), err);
    if (rc) {
        bm_job_set_state(job,
                         before); /* not ended until that is written down */
        return rc;
    }
    bm_unclean_forget(bm_job_store_dir(run->jobs), job->id);
    run->hooks->event(run->hooks->opaque, job, NULL);
    return 0;
}

int bm_engine_rolled_back(struct bm_run *run, struct bm_error *err)
{
    const struct bm_strategy_ops *ops = run->ops;
    int rc =
        ops->roll_back ? ops->roll_back(run, err) : bm_step_roll_back(run, err);

    if (rc)
        return rc;
    if (!run->reason.code)
        bm_fail_errno(&run->reason, ECANCELED, "the %s of %s was rolled back",
                      bm_job_noun(run->job), run->job->domain);
    return finish(run, BM_STATE_ROLLED_BACK, run->reason.status, err);
}

/* What could not be read is the reason for another exit status. */
static void say_unreadable(struct bm_run *run)
{
    const struct bm_job *job = run->job;
    unsigned long long bytes = 0;

    for (size_t i = 0; i < job->n_disks; i++)
        bytes += job->disks[i].rescue.unreadable_bytes;
    if (!bytes)
        return;
    bm_fail(&run->reason, EIO, "%s was moved but for %llu bytes", job->domain,
            bytes);
    bm_cause(&run->reason,
             "they cannot be read, and are zeroes on the new image");
    bm_remedy(&run->reason, "'blockmig job show %s' lists them", job->id);
    bm_status(&run->reason, BM_EXIT_UNREADABLE);
}

int bm_engine_released(struct bm_run *run, struct bm_error *err)
{
    const struct bm_strategy_ops *ops = run->ops;
    int rc = ops->release ? ops->release(run, err) : bm_step_release(run, err);

    if (rc)
        return rc;
    say_unreadable(run);
    return finish(run, BM_STATE_DONE,
                  run->reason.code ? BM_EXIT_UNREADABLE : BM_EXIT_DONE, err);
}
