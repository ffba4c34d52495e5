// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/engine/engine-private.h"
#include "blockmig/run/space-watch.h"

#include <errno.h>
#include <string.h>

void bm_engine_name_the_way(const struct bm_job *job, struct bm_error *err)
{
    char first[sizeof err->remedy];

    if (strstr(err->remedy, "job resume"))
        return;
    snprintf(first, sizeof first, "%s", err->remedy);
    if (first[0])
        bm_remedy(err, "%.200s, then `blockmig job resume %s`", first, job->id);
    else
        bm_remedy(err,
                  "`blockmig job resume %s` when that is mended, or "
                  "with --back to go back",
                  job->id);
}

int bm_engine_stop(struct bm_run *run, enum bm_state state,
                   struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    struct bm_job *job = run->job;
    char line[2048];

    bm_engine_name_the_way(job, err);
    bm_status(err, BM_EXIT_HELD);
    job->from = run->stops_elsewhere ? run->stop_at : job->state;
    bm_job_set_state(job, state);
    job->paused = false;
    job->result.exit_status = BM_EXIT_HELD;
    free(job->result.error);
    bm_error_line(err, line, sizeof line);
    job->result.error = strdup(line);
    if (bm_run_save(run, bm_state_name(state), &second) == 0)
        run->hooks->event(run->hooks->opaque, job, NULL);
    return -err->code;
}

/* In the journal too: a process that resumes must end with the same words and
 * exit status. */
static void keep_reason(struct bm_run *run)
{
    char line[2048];

    bm_error_line(&run->reason, line, sizeof line);
    free(run->job->result.error);
    run->job->result.error = strdup(line);
    run->job->result.exit_status = run->reason.status;
}

int bm_engine_back(struct bm_run *run, enum bm_state state,
                   struct bm_error *err)
{
    struct bm_error shut = BM_ERROR_INIT;

    if (run->watch.verdict == BM_SPACE_STOP &&
        !bm_state_traits_of(run->job->state)->past_switch &&
        !run->job->cancel && err->status != BM_EXIT_PROOF)
        *err = run->watch.why;
    else if (err->code ==
             ECANCELED) /* in one wording, whichever tool stopped */
        bm_fail_errno(err, ECANCELED, "the %s of %s stops",
                      bm_job_noun(run->job), run->job->domain);
    if (bm_space_way_back(run->job, &shut)) {
        bm_cause(err, "%.500s: %.200s", shut.what, shut.cause);
        bm_remedy(err, "%s", shut.remedy);
        return bm_engine_stop(run, BM_STATE_HELD, err);
    }
    bm_run_keep_reason(run, err);
    /* on the way back nothing waits for a person any more */
    if (run->reason.code == ECANCELED || run->reason.status == BM_EXIT_HELD)
        run->reason.status = BM_EXIT_FAILED;
    bm_run_unlock(run);
    keep_reason(run);
    return bm_run_enter(run, state, err);
}
