// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/quiesce.h"

#include "blockmig/guard/guard.h"
#include "nbd/base/units.h"
#include "snapshot/domain/agent.h"

#include <errno.h>

#define TRIES 3

/* Whether they are frozen is not known, and the guard stays with it. */
static int unknown(struct bm_run *run, struct bm_error *err)
{
    char cause[sizeof err->cause];

    snprintf(cause, sizeof cause, "%s", err->cause);
    bm_fail(err, ETIMEDOUT, "the file systems of %s may be frozen",
            run->job->domain);
    bm_cause(err, "its agent does not say that they are thawed: %.800s", cause);
    bm_remedy(err, "see to the agent in the guest, or `virsh domfsthaw %s`",
              run->job->domain);
    return bm_status(err, BM_EXIT_HELD), -ETIMEDOUT;
}

/* Over a connection that was lost. A guest that is off has nothing frozen. */
static int thaw(struct bm_run *run, int *count, struct bm_error *err)
{
    int rc = -EHOSTDOWN;

    *count = 0;
    for (int i = 0; rc && rc != -ETIMEDOUT && i < TRIES; i++) {
        rc = bm_run_refresh(run, err);
        if (!rc && (!run->domain || !run->domain->active))
            return 0;
        if (!rc)
            rc = bm_agent_thaw(run->domain, count, err);
    }
    return rc ? unknown(run, err) : 0;
}

/* -ETIME: the guard has thawed. */
static int over(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_guard_disarm(run->guard, err);

    run->job->guest.fs_frozen = false;
    return rc;
}

/* The agent has said no, or nothing. */
static int not_frozen(struct bm_run *run, int rc, struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    bool silent = rc == -EHOSTDOWN || rc == -ETIMEDOUT || rc == -EBUSY ||
                  rc == -ECONNRESET;
    int count;

    if (silent && thaw(run, &count, &second)) {
        *err = second;
        return -ETIMEDOUT;
    }
    (void)over(run, &second);
    err->code = EIO; /* it is known now, and nothing was lost */
    bm_status(err, BM_EXIT_FAILED);
    bm_remedy(err, "see to the agent in the guest, or leave --quiesce out");
    return -EIO;
}

int bm_quiesce_begin(struct bm_run *run, struct bm_quiesce *quiesce,
                     struct bm_error *err)
{
    int rc =
        bm_guard_arm(run->guard, bm_job_store_dir(run->jobs), run->job, err);

    if (rc)
        return rc;
    run->job->guest.fs_frozen = true;
    rc = bm_run_save(run, NULL, err);
    quiesce->from_ms = bm_now_ms();
    if (!rc)
        rc = bm_guard_freezing(run->guard, err);
    if (rc) {
        struct bm_error ignored = BM_ERROR_INIT;

        (void)over(run, &ignored);
        return rc;
    }
    rc = bm_agent_freeze(run->domain, &quiesce->count, err);
    return rc ? not_frozen(run, rc, err) : 0;
}

static int thawed_before(struct bm_run *run, bool guard, struct bm_error *err)
{
    bm_fail(err, ESTALE, "the file systems of %s were thawed too early",
            run->job->domain);
    if (guard)
        bm_cause(err, "its disks were not frozen within %d ms", bm_agent_ms());
    else
        bm_cause(err, "somebody else did that, or the guest by itself");
    bm_remedy(err, "move again, or leave --quiesce out");
    return -ESTALE;
}

int bm_quiesce_end(struct bm_run *run, const struct bm_quiesce *quiesce,
                   struct bm_error *err)
{
    int count, rc = thaw(run, &count, err);
    bool acted;

    if (rc)
        return rc;
    rc = over(run, err);
    acted = rc == -ETIME;
    if (rc && !acted)
        return rc;
    if (acted || (quiesce->count && !count))
        return thawed_before(run, acted, err);
    run->job->guest.quiesced = true;
    return bm_run_note(run, err,
                       "%d file system%s of the guest frozen for %lld ms",
                       quiesce->count, quiesce->count == 1 ? "" : "s",
                       (long long)(bm_now_ms() - quiesce->from_ms));
}

int bm_quiesce_recover(struct bm_run *run, struct bm_error *err)
{
    int count, rc;

    if (!run->job->guest.fs_frozen)
        return 0;
    rc = thaw(run, &count, err);
    if (!rc)
        run->job->guest.fs_frozen = false;
    return rc;
}
