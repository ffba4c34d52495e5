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
#include "blockmig/job/job-store-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* --- the work of a state --- */

static int work(struct bm_run *m, struct bm_error *err)
{
    const struct bm_strategy_ops *ops = bm_strategy_of(m->job);

    if (bm_job_before_switch(m->job))
        bm_run_while_paused(m);
    else
        bm_run_take_requests(m);
    if (bm_job_before_switch(m->job) && bm_run_cancelled(m))
        return bm_fail_errno(err, ECANCELED, "the %s of %s stops",
                             bm_job_noun(m->job), m->job->domain);
    switch (m->job->state) {
    case BM_STATE_ALLOCATING:
        return ops->allocate ? ops->allocate(m, err) : bm_step_allocate(m, err);
    case BM_STATE_FREEZING:
        return ops->freeze(m, err);
    case BM_STATE_COPYING:
        return ops->copy(m, err);
    case BM_STATE_PROVING:
        return ops->prove(m, err);
    case BM_STATE_ITERATING:
        return ops->iterate(m, err);
    case BM_STATE_CONVERGING:
        return ops->converge(m, err);
    case BM_STATE_SWITCHING:
        return ops->switch_over(m, err);
    case BM_STATE_PROVING_REST:
        return ops->prove_rest(m, err);
    case BM_STATE_SETTLED:
        return ops->settle ? ops->settle(m, err) : bm_engine_settle(m, err);
    case BM_STATE_CONSOLIDATING:
        return ops->consolidate(m, err);
    case BM_STATE_UNDOING:
        return ops->undo(m, err);
    default:
        return 0;
    }
}

/* --- the machine --- */

static int step(struct bm_run *m, struct bm_error *err)
{
    enum bm_state state = m->job->state;
    int rc =
        bm_state_traits(state)->planning ? 0 : bm_liveness_all(m->job, err);

    if (!rc && state == BM_STATE_RELEASING)
        return bm_engine_released(m, err);
    if (!rc)
        rc = bm_internal_snapshots_check(m->job, err);
    if (!rc)
        rc = bm_orphan_check(m, err);
    if (!rc && state == BM_STATE_ROLLING_BACK)
        return bm_engine_rolled_back(m, err);
    if (!rc)
        rc = work(m, err);
    return rc ? rc : bm_run_enter(m, bm_strategy_next(m->job), err);
}

/* A pivot cannot be withdrawn: whoever asked to stop is told, once. */
static int hear_too_late(struct bm_run *m, struct bm_error *err)
{
    enum bm_state state = m->job->state;

    if (!bm_state_traits(state)->on_new_image || m->job->cancel ||
        bm_strategy_traits(m->job->plan.strategy)->ends_with_process ||
        !bm_run_asked_to_cancel(m))
        return 0;
    return bm_run_note(m, err,
                       "too late to cancel: the guest is on its new image");
}

int bm_engine_machine(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    while (!rc && !bm_state_final(m->job->state)) {
        memset(err, 0, sizeof *err);
        err->status = BM_EXIT_FAILED;
        rc = hear_too_late(m, err);
        if (!rc)
            rc = step(m, err);
        if (rc)
            rc = bm_engine_decide(m, rc, err);
    }
    bm_run_unlock(m);
    bm_pacing_free(m->pacing);
    bm_domain_free(m->domain);
    if (rc) { /* it has not ended, whatever the reason to go back was */
        bm_engine_name_the_way(m->job, err);
        bm_status(err, BM_EXIT_HELD);
        m->job->result.exit_status = BM_EXIT_HELD;
        return rc;
    }
    if (m->job->state == BM_STATE_DONE && !m->reason.code)
        return 0;
    *err = m->reason;
    return -err->code;
}

int bm_engine_run(struct bm_connection *conn, struct bm_job_store *store,
                  struct bm_job *job, struct bm_guard *guard,
                  const struct bm_run_hooks *hooks, struct bm_error *err)
{
    struct bm_run m = {.conn = conn,
                       .jobs = store,
                       .job = job,
                       .guard = guard,
                       .hooks = hooks,
                       .phase_ms = bm_now_ms(),
                       .abandoned = bm_calls_abandoned()};

    return bm_engine_machine(&m, err);
}
