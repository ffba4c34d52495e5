// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * --drop-checkpoints: what a raw image cannot hold is forgotten, after the
 * move and not before, so that a move that goes back has lost none.
 */
#include "blockmig/job/failpoint.h"
#include "snapshot/tree/checkpoint.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/context.h"
#include "blockmig/step/step.h"

#include <string.h>

/* A checkpoint that records no disk that is raw now is as good as before. */
static bool dangles(const struct bm_checkpoint *checkpoint,
                    const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!strcmp(bm_job_new_image(&job->disks[i])->format, "raw") &&
            bm_checkpoint_disk(checkpoint, job->disks[i].target))
            return true;
    return false;
}

static int forget_one(struct bm_run *run, const struct bm_checkpoint *one,
                      struct bm_error *err)
{
    int rc = bm_checkpoint_forget(run->domain, one->name, err);

    bm_failpoint("releasing.forgotten");
    return rc ? rc
              : bm_run_note(run, err,
                            "checkpoint %s is forgotten: the next backup of "
                            "%s must be a full one",
                            one->name, run->job->domain);
}

int bm_step_drop_checkpoints(struct bm_run *run, struct bm_error *err)
{
    struct bm_checkpoints all;
    int rc;

    if (!run->job->request.drop_checkpoints || run->domain->checkpoints == 0)
        return 0;
    rc = bm_checkpoints_read(run->domain, &all, err);
    for (size_t i = all.n; !rc && i-- > 0;)
        if (dangles(&all.list[i], run->job))
            rc = forget_one(run, &all.list[i], err);
    bm_checkpoints_clear(&all);
    return rc;
}
