// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The state machine. A state is journaled, then its work is done; what comes
 * of it decides the next one.
 */
#include "blockmig/engine/engine.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/run/requests.h"
#include "blockmig/step/internal-snapshots.h"
#include "blockmig/step/orphan-overlay.h"
#include "blockmig/engine/engine-private.h"
#include "blockmig/run/pacing.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/units.h"
#include "nbd/thread/timed-call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* --- the work of a state --- */

static int work(struct bm_run *run, struct bm_error *err)
{
    const struct bm_strategy_ops *ops = run->ops;

    if (bm_job_before_switch(run->job))
        bm_run_while_paused(run);
    else
        bm_run_take_requests(run);
    if (bm_job_before_switch(run->job) && bm_run_cancelled(run))
        return bm_fail_errno(err, ECANCELED, "the %s of %s stops",
                             bm_job_noun(run->job), run->job->domain);
    switch (run->job->state) {
    case BM_STATE_ALLOCATING:
        return ops->allocate ? ops->allocate(run, err)
                             : bm_step_allocate(run, err);
    case BM_STATE_FREEZING:
        return ops->freeze(run, err);
    case BM_STATE_COPYING:
        return ops->copy(run, err);
    case BM_STATE_PROVING:
        return ops->prove(run, err);
    case BM_STATE_ITERATING:
        return ops->iterate(run, err);
    case BM_STATE_CONVERGING:
        return ops->converge(run, err);
    case BM_STATE_SWITCHING:
        return ops->switch_over(run, err);
    case BM_STATE_PROVING_REST:
        return ops->prove_rest(run, err);
    case BM_STATE_SETTLED:
        return ops->settle ? ops->settle(run, err) : bm_engine_settle(run, err);
    case BM_STATE_CONSOLIDATING:
        return ops->consolidate(run, err);
    case BM_STATE_UNDOING:
        return ops->undo(run, err);
    default:
        return 0;
    }
}

/* --- the machine --- */

static int step(struct bm_run *run, struct bm_error *err)
{
    enum bm_state state = run->job->state;
    int rc = bm_state_traits_of(state)->planning
                 ? 0
                 : bm_liveness_all(run->job, err);

    if (!rc && state == BM_STATE_RELEASING)
        return bm_engine_released(run, err);
    if (!rc)
        rc = bm_internal_snapshots_check(run->job, err);
    if (!rc)
        rc = bm_orphan_check(run, err);
    if (!rc && state == BM_STATE_ROLLING_BACK)
        return bm_engine_rolled_back(run, err);
    if (!rc)
        rc = work(run, err);
    return rc ? rc
              : bm_run_enter(run, bm_strategy_next(run->ops, run->job), err);
}

/* A pivot cannot be withdrawn: whoever asked to stop is told, once. */
static int hear_too_late(struct bm_run *run, struct bm_error *err)
{
    enum bm_state state = run->job->state;

    if (!bm_state_traits_of(state)->on_new_image || run->job->cancel ||
        bm_strategy_traits_of(run->job->plan.strategy)->ends_with_process ||
        !bm_run_asked_to_cancel(run))
        return 0;
    return bm_run_note(run, err,
                       "too late to cancel: the guest is on its new image");
}

int bm_engine_machine(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    while (!rc && !bm_state_final(run->job->state)) {
        memset(err, 0, sizeof *err);
        err->status = BM_EXIT_FAILED;
        rc = hear_too_late(run, err);
        if (!rc)
            rc = step(run, err);
        if (rc)
            rc = bm_engine_decide(run, rc, err);
    }
    bm_run_unlock(run);
    bm_pacing_free(run->pacing);
    bm_domain_free(run->domain);
    if (rc) { /* it has not ended, whatever the reason to go back was */
        bm_engine_name_the_way(run->job, err);
        bm_status(err, BM_EXIT_HELD);
        run->job->result.exit_status = BM_EXIT_HELD;
        return rc;
    }
    if (run->job->state == BM_STATE_DONE && !run->reason.code)
        return 0;
    *err = run->reason;
    return -err->code;
}

struct bm_run bm_engine_context(const struct bm_engine *engine)
{
    return (struct bm_run){.conn = engine->conn,
                           .jobs = engine->jobs,
                           .job = engine->job,
                           .guard = engine->guard,
                           .hooks = engine->hooks,
                           .ops = engine->ops ? engine->ops
                                              : bm_strategy_of(engine->job),
                           .phase_ms = bm_now_ms(),
                           .watch.abandoned = bm_calls_abandoned()};
}

int bm_engine_run(const struct bm_engine *engine, struct bm_error *err)
{
    struct bm_run run = bm_engine_context(engine);

    return bm_engine_machine(&run, err);
}
