// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/overlay-journal.h"
#include "nbd/base/cleanup.h"

#include <string.h>

int bm_overlay_journal_begin(struct bm_run *run, enum bm_overlay_side which,
                             struct bm_error *err)
{
    struct bm_job *job = run->job;

    if (which == BM_OVERLAY_SWITCH)
        job->guest.top_asked = false;
    else
        job->staged.overlays_asked =
            bm_job_source_overlay_number(&job->disks[0]);
    for (size_t i = 0; i < job->n_disks; i++) {
        job->disks[i].overlays.below_ns = 0;
        if (which == BM_OVERLAY_SWITCH)
            job->disks[i].overlays.freeze_seen = false;
        else
            job->disks[i].overlays.source_seen =
                bm_job_source_overlay_number(&job->disks[i]);
    }
    return bm_run_save(run, NULL, err);
}

int bm_overlay_journal_expect(struct bm_run *run, enum bm_overlay_side which,
                              struct bm_error *err)
{
    if (which == BM_OVERLAY_SWITCH)
        run->job->guest.top_asked = true;
    else
        run->job->staged.overlays_asked = run->job->staged.overlays_sent;
    return bm_run_save(run, NULL, err);
}

bool bm_overlay_journal_is_seen(const struct bm_job *job, size_t i,
                                enum bm_overlay_side which)
{
    const struct bm_job_disk *plan = &job->disks[i];

    return which == BM_OVERLAY_SWITCH
               ? !job->guest.top_asked || plan->overlays.freeze_seen
               : plan->overlays.source_seen >= job->staged.overlays_asked;
}

size_t bm_overlay_journal_count_unseen(const struct bm_job *job,
                                       enum bm_overlay_side which)
{
    size_t n = 0;

    for (size_t i = 0; i < job->n_disks; i++)
        n += !bm_overlay_journal_is_seen(job, i, which);
    return n;
}

char *bm_overlay_journal_asked_for(const struct bm_job *job, size_t i,
                                   enum bm_overlay_side which)
{
    const struct bm_job_disk *plan = &job->disks[i];

    return which == BM_OVERLAY_SWITCH
               ? strdup(bm_job_freeze_overlay(job, plan))
               : bm_job_source_overlay(job, plan, job->staged.overlays_asked);
}

static void see(struct bm_run *run, enum bm_overlay_side which)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);
        BM_FREE char *path =
            disk && !bm_overlay_journal_is_seen(run->job, i, which)
                ? bm_overlay_journal_asked_for(run->job, i, which)
                : NULL;

        if (!path || !bm_disk_names(disk, path))
            continue;
        if (which == BM_OVERLAY_SWITCH)
            run->job->disks[i].overlays.freeze_seen = true;
        else
            run->job->disks[i].overlays.source_seen =
                run->job->staged.overlays_asked;
    }
}

void bm_overlay_journal_see(struct bm_run *run)
{
    see(run, BM_OVERLAY_SOURCE);
    see(run, BM_OVERLAY_SWITCH);
}
