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

static int hold_chain(struct bm_run *m, const struct bm_chain *chain,
                      struct bm_error *err)
{
    for (size_t i = 0; i < chain->n; i++) {
        int fd = bm_frozen_lock(chain->layers[i].path, err);

        if (fd < 0)
            return fd;
        m->locks[m->n_locks++] = fd;
    }
    return 0;
}

int bm_off_hold(struct bm_run *m, struct bm_error *err)
{
    size_t n = 0;
    int rc = 0;

    bm_run_unlock(m);
    for (size_t i = 0; i < m->job->n_disks; i++)
        n += m->job->disks[i].source.n;
    m->locks = calloc(n, sizeof *m->locks);
    if (!m->locks)
        return bm_fail_errno(err, ENOMEM, "cannot lock the images");
    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        rc = hold_chain(m, &m->job->disks[i].source, err);
    if (rc)
        bm_run_unlock(m);
    return rc;
}

/* --- switching --- */

int bm_off_look(struct bm_run *m, bool *again, struct bm_error *err)
{
    size_t at_source = 0;

    for (size_t i = 0; i < m->job->n_disks; i++) {
        int at = bm_disk_location(m->domain, bm_run_disk(m, i),
                                  &m->job->disks[i], err);

        if (at < 0)
            return at;
        at_source += at == BM_AT_SOURCE;
    }
    *again = at_source == m->job->n_disks && (m->domain->active || !m->locks);
    if (*again || !m->domain->active)
        return 0;
    bm_fail(err, EBUSY, "cannot switch the disks of %s", m->job->domain);
    bm_cause(err, "it was started, with one disk here and one there");
    return bm_status(err, BM_EXIT_HELD), -EBUSY;
}

static int switch_disk(struct bm_run *m, size_t i, struct bm_error *err)
{
    struct bm_job_disk *plan = &m->job->disks[i];
    int at = bm_disk_location(m->domain, bm_run_disk(m, i), plan, err);
    int rc = 0;

    if (at < 0 || at == BM_AT_DEST)
        return at < 0 ? at : 0;
    if (at != BM_AT_SOURCE)
        return bm_fail(err, ESTALE, "disk %s of %s was changed meanwhile",
                       plan->target, m->job->domain);
    if (!m->locks)
        rc = bm_prove_disk(m, plan, err);
    /* the last moment: as long as the XML names none of the new images */
    if (!rc && i == 0 && bm_run_cancelled(m))
        return bm_fail_errno(err, ECANCELED, "the move of %s stops",
                             m->job->domain);
    if (!rc)
        rc = bm_bitmaps_move(m, i, 0, err);
    return rc ? rc
              : bm_domain_set_config(m->domain, plan->target, &plan->dest, err);
}

int bm_off_switch(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        rc = switch_disk(m, i, err);
        bm_failpoint("switching.redefined");
    }
    bm_run_unlock(m);
    return rc ? rc : bm_run_refresh(m, err);
}
