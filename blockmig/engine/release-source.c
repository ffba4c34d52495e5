// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/engine/engine.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/job/job-store-ops.h"
#include "blockmig/run/context.h"
#include "blockmig/step/step.h"

#include <errno.h>

static int cannot_release(const struct bm_job *job, const char *cause,
                          struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot release the source of job %s", job->id);
    bm_cause(err, "%s", cause);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

static void no_progress(void *opaque, const struct bm_job *job,
                        const struct bm_progress *progress)
{
    (void)opaque, (void)job, (void)progress;
}

static void no_event(void *opaque, const struct bm_job *job, const char *text)
{
    (void)opaque, (void)job, (void)text;
}

static bool not_cancelled(void *opaque)
{
    (void)opaque;
    return false;
}

int bm_engine_release(struct bm_connection *conn, struct bm_job_store *store,
                      struct bm_job *job, struct bm_error *err)
{
    static const struct bm_run_hooks quiet = {
        .progress = no_progress, .event = no_event, .cancelled = not_cancelled};
    struct bm_run run = {
        .conn = conn, .jobs = store, .job = job, .hooks = &quiet};
    int rc = 0;

    if (job->state != BM_STATE_DONE)
        return cannot_release(job, "the move is not done", err);
    for (size_t i = 0; i < job->n_disks; i++)
        if (bm_job_keeps(&job->disks[i]) && !job->disks[i].proof.proven)
            return cannot_release(
                job, "it was moved without a proof; delete the image by hand",
                err);
    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].kept && job->disks[i].rescue.unproven_bytes)
            return cannot_release(job,
                                  "not all of it could be read, and proven; "
                                  "delete the image by hand",
                                  err);
    for (size_t i = 0; !rc && i < job->n_disks; i++)
        if (bm_job_keeps(&job->disks[i]))
            rc = bm_step_delete_source(&run, &job->disks[i], err);
    if (rc == -EBUSY)
        bm_status(err, BM_EXIT_REFUSED);
    return rc;
}
