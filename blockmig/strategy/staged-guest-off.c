// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/strategy/staged-private.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/step/orphan-overlay.h"
#include "blockmig/step/source-overlays.h"

#include <errno.h>

/* A guest that went off before any disk was switched: the old side is frozen
 * then, and all of it can be copied. */
bool bm_staged_off_at_source(struct bm_run *run)
{
    bool off = run->domain && !run->domain->active;

    for (size_t i = 0; off && i < run->job->n_disks; i++)
        off = bm_disk_location(run->domain, bm_run_disk(run, i),
                               &run->job->disks[i], NULL) == BM_AT_SOURCE;
    return off;
}

bool bm_staged_went_off(struct bm_run *run, int rc)
{
    struct bm_error ignored = BM_ERROR_INIT;

    return rc && rc != -ETIMEDOUT && rc != -ECANCELED && rc != -EAGAIN &&
           rc != -BM_NEEDS_OPERATOR && bm_run_refresh(run, &ignored) == 0 &&
           bm_orphan_check(run, &ignored) == 0 &&
           bm_source_overlays_adopt(run, &ignored) == 0 &&
           bm_staged_off_at_source(run);
}
