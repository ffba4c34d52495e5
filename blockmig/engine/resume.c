// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Resuming after a crash: the same machine, started from the journaled state,
 * because the work of every state looks at what is really there. Here is
 * only chosen where it starts.
 */
#include "blockmig/step/orphan-overlay.h"
#include "blockmig/guard/guard-files.h"
#include "blockmig/engine/engine-private.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/quiesce.h"
#include "blockmig/run/space-watch.h"
#include "blockmig/step/pivot-window.h"
#include "nbd/base/cleanup.h"
#include "blockmig/engine/engine.h"

#include <errno.h>

#define GUARD_WAIT_MS 20000

/* The process that went back before wrote down why. */
static void recall_reason(struct bm_run *run)
{
    if ((run->job->state != BM_STATE_UNDOING &&
         run->job->state != BM_STATE_ROLLING_BACK) ||
        !run->job->result.error || run->job->result.exit_status == BM_EXIT_HELD)
        return;
    bm_fail(&run->reason, ECANCELED, "%s", run->job->result.error);
    run->reason.status = (enum bm_exit)run->job->result.exit_status;
}

/* What was proven may have changed since. Later the flags stay: the images
 * have been merged; and a cold switch proves again what it has to. */
static void forget_proofs(struct bm_job *job)
{
    if ((bm_state_traits_of(job->state)->past_switch &&
         job->state != BM_STATE_PROVING_REST) ||
        (job->plan.strategy == BM_STRATEGY_COLD &&
         job->state == BM_STATE_SWITCHING))
        return;
    for (size_t i = 0; i < job->n_disks; i++)
        job->disks[i].proof.proven = false;
}

/* Where the machine starts again. */
static void choose_start(struct bm_job *job, bool back)
{
    if (job->state == BM_STATE_NEEDS_RECOVERY || job->state == BM_STATE_HELD)
        bm_job_set_state(job, job->from);
    /* a lock died with the old process: copy again */
    if (job->plan.strategy == BM_STRATEGY_COLD &&
        job->state == BM_STATE_PROVING)
        bm_job_set_state(job, BM_STATE_COPYING);
    forget_proofs(job);
    /* nobody has watched the room of its saved blocks */
    if (bm_strategy_traits_of(job->plan.strategy)->ends_with_process &&
        job->state == BM_STATE_SETTLED)
        bm_job_set_state(job, BM_STATE_RELEASING);
    /* nothing was touched yet, and preflight was not passed */
    if (bm_state_traits_of(job->state)->planning)
        bm_job_set_state(job, BM_STATE_ROLLING_BACK);
    if (!back)
        return;
    if (bm_strategy_traits_of(job->plan.strategy)->ends_with_process) {
        bm_job_set_state(job, BM_STATE_ROLLING_BACK);
        return;
    }
    if (bm_job_before_switch(job) || job->state == BM_STATE_SWITCHING)
        bm_job_set_state(job, BM_STATE_ROLLING_BACK);
    else if (job->state == BM_STATE_PROVING_REST ||
             job->state == BM_STATE_SETTLED)
        bm_job_set_state(job, BM_STATE_UNDOING);
}

static bool acceptable(const struct bm_job *job)
{
    return job->request.proof && !job->snapshot &&
           (job->state == BM_STATE_HELD ||
            job->state == BM_STATE_NEEDS_RECOVERY) &&
           (job->from == BM_STATE_SWITCHING ||
            job->from == BM_STATE_PROVING_REST ||
            job->from == BM_STATE_ROLLING_BACK);
}

static int cannot_accept(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot go on with job %s without a proof", job->id);
    bm_cause(err, "it is %s, and its proof can still be made or is made",
             bm_state_name(job->state));
    bm_remedy(err, "resume it without --accept");
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

static void accept_unproven(struct bm_run *run)
{
    struct bm_job_request *request = bm_job_fill_request(run->job);

    request->proof = request->source_delete = false;
    run->job->guest.unclean = false;
    bm_unclean_forget(bm_job_store_dir(run->jobs), run->job->id);
    if (run->job->state == BM_STATE_PROVING_REST)
        bm_job_set_state(run->job, BM_STATE_SETTLED);
    /* the way back was shut because the new image is the newer one */
    if (run->job->state == BM_STATE_ROLLING_BACK)
        bm_job_set_state(run->job, BM_STATE_SWITCHING);
}

static int cannot_go_back(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot go back with job %s", job->id);
    bm_cause(err, "it is %s: the guest's newest writes are in the new image",
             bm_state_name(job->state));
    bm_remedy(err, "resume it without --back, then move the disk back");
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

/* Nothing was touched: the job is as it was found, and its own exit status is
 * not that of this command. */
static int refused(struct bm_job *job, enum bm_state found, int rc,
                   struct bm_error *err)
{
    bm_job_set_state(job, found);
    job->result.exit_status = BM_EXIT_REFUSED;
    free(BM_STEAL(job->result.error));
    return bm_status(err, BM_EXIT_REFUSED), rc;
}

/* A pause that a dead run and a dead guard left: in the switch its window
 * can still be brought to its end, elsewhere the guest just runs again. */
static int end_old_pause(struct bm_run *run, struct bm_error *err)
{
    int rc;

    if (!run->job->guest.window_paused || run->job->state == BM_STATE_SWITCHING)
        return 0;
    rc = bm_run_refresh(run, err);
    return rc ? rc : bm_pivot_window_abandon(run, err);
}

int bm_engine_resume(const struct bm_engine *engine, enum bm_resume how,
                     struct bm_error *err)
{
    struct bm_run run = bm_engine_context(engine);
    struct bm_job *job = engine->job;
    enum bm_state found = job->state;
    int rc;

    if (bm_state_final(job->state)) {
        bm_fail(err, EINVAL, "cannot resume job %s", job->id);
        bm_cause(err, "it has ended: %s", bm_state_name(job->state));
        return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
    }
    rc = bm_unclean_wait(bm_job_store_dir(engine->jobs), job->id, GUARD_WAIT_MS,
                         err);
    if (rc)
        return rc;
    if (how == BM_RESUME_ACCEPT && !acceptable(job))
        return refused(job, job->state, cannot_accept(job, err), err);
    /* while that is open no proof need be given up */
    rc = how == BM_RESUME_ACCEPT ? bm_orphan_check(&run, err) : 0;
    if (rc) {
        bm_domain_free(run.domain);
        return refused(job, job->state, rc, err);
    }
    choose_start(job, how == BM_RESUME_BACK);
    if (how == BM_RESUME_ACCEPT)
        accept_unproven(&run);
    if (how == BM_RESUME_BACK && job->state != BM_STATE_ROLLING_BACK &&
        job->state != BM_STATE_UNDOING)
        return refused(job, found, cannot_go_back(job, err), err);
    rc = how == BM_RESUME_BACK ? bm_space_way_back(job, err) : 0;
    if (rc)
        return refused(job, found, rc, err);
    recall_reason(&run);
    rc = end_old_pause(&run, err);
    if (!rc)
        rc = bm_quiesce_recover(&run, err);
    if (rc)
        return rc;
    job->cancel = job->paused = false;
    rc = bm_run_note(&run, err, "resumed in state %s%s",
                     bm_state_name(job->state),
                     how == BM_RESUME_BACK     ? ", going back"
                     : how == BM_RESUME_ACCEPT ? ", without a proof"
                                               : "");
    if (rc)
        return rc;
    bm_failpoint(bm_state_name(job->state));
    return bm_engine_machine(&run, err);
}
