// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/switch-off.h"

#include "blockmig/step/bitmaps.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "nbd/image/image-lock.h"
#include "blockmig/step/step.h"

#include <errno.h>

/* --- holding --- */

static int hold_chain(struct bm_run *run, const struct bm_chain *chain,
                      struct bm_error *err)
{
    for (size_t i = 0; i < chain->n; i++) {
        int fd = bm_frozen_lock(chain->layers[i].path, err);

        if (fd < 0)
            return fd;
        run->locked.fds[run->locked.n++] = fd;
    }
    return 0;
}

int bm_off_hold(struct bm_run *run, struct bm_error *err)
{
    size_t n = 0;
    int rc = 0;

    bm_run_unlock(run);
    for (size_t i = 0; i < run->job->n_disks; i++)
        n += run->job->disks[i].source.n;
    run->locked.fds = calloc(n, sizeof *run->locked.fds);
    if (!run->locked.fds)
        return bm_fail_errno(err, ENOMEM, "cannot lock the images");
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = hold_chain(run, &run->job->disks[i].source, err);
    if (rc)
        bm_run_unlock(run);
    return rc;
}

/* --- switching --- */

int bm_off_look(struct bm_run *run, bool *again, struct bm_error *err)
{
    size_t at_source = 0;

    for (size_t i = 0; i < run->job->n_disks; i++) {
        int at = bm_disk_location(run->domain, bm_run_disk(run, i),
                                  &run->job->disks[i], err);

        if (at < 0)
            return at;
        at_source += at == BM_AT_SOURCE;
    }
    *again = at_source == run->job->n_disks &&
             (run->domain->active || !run->locked.fds);
    if (*again || !run->domain->active)
        return 0;
    bm_fail(err, EBUSY, "cannot switch the disks of %s", run->job->domain);
    bm_cause(err, "it was started, with one disk here and one there");
    return bm_status(err, BM_EXIT_HELD), -EBUSY;
}

static int switch_disk(struct bm_run *run, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    int at = bm_disk_location(run->domain, bm_run_disk(run, i), plan, err);
    int rc = 0;

    if (at < 0 || at == BM_AT_DEST)
        return at < 0 ? at : 0;
    if (at != BM_AT_SOURCE)
        return bm_fail(err, ESTALE, "disk %s of %s was changed meanwhile",
                       plan->target, run->job->domain);
    if (!run->locked.fds)
        rc = bm_prove_disk(run, plan, err);
    /* the last moment: as long as the XML names none of the new images */
    if (!rc && i == 0 && bm_run_cancelled(run))
        return bm_fail_errno(err, ECANCELED, "the move of %s stops",
                             run->job->domain);
    if (!rc)
        rc = bm_bitmaps_move(run, i, 0, err);
    return rc ? rc
              : bm_domain_set_config(run->domain, plan->target, &plan->dest,
                                     err);
}

int bm_off_switch(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        rc = switch_disk(run, i, err);
        bm_failpoint("switching.redefined");
    }
    bm_run_unlock(run);
    return rc ? rc : bm_run_refresh(run, err);
}
