// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/strategy/staged-private.h"

#include "blockmig/job/disk-location.h"
#include "blockmig/step/switch-off.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>

/* --- layers --- */

/* --- a failing source --- */

/* --- the mirror overlay --- */

int bm_staged_set_mirror_overlay(struct bm_run *run, bool there,
                                 struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        struct bm_job_disk *disk = &run->job->disks[i];
        struct bm_chain image = bm_job_new_chain(disk), wanted = {0};

        if (there == bm_job_has_mirror_overlay(disk))
            continue;
        rc = there
                 ? bm_chain_on_top(disk->fixed.mirror_overlay, &image, &wanted)
                 : bm_chain_copy(&image, &wanted);
        if (rc)
            return bm_fail_errno(err, ENOMEM, "cannot move %s",
                                 run->job->domain);
        bm_chain_clear(&disk->dest);
        disk->dest = wanted;
    }
    return bm_run_save(run, NULL, err);
}

int bm_staged_again(struct bm_run *run, struct bm_error *err)
{
    int rc;

    run->job->staged.off = false;
    bm_run_unlock(run);
    rc = bm_staged_set_mirror_overlay(run, true, err);
    if (!rc)
        rc = bm_run_enter(run, BM_STATE_ITERATING, err);
    return rc ? rc : -EAGAIN;
}

int bm_staged_switch_off(struct bm_run *run, struct bm_error *err)
{
    bool again;
    int rc = bm_off_look(run, &again, err);

    /* it runs, or may have run: what it wrote is copied again */
    if (!rc && again)
        return bm_staged_again(run, err);
    if (!rc)
        rc = bm_staged_set_mirror_overlay(run, false, err);
    return rc ? rc : bm_off_switch(run, err);
}
