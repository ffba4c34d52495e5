// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/orphan-private.h"

#include "blockmig/step/pivot-window.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/overlay-journal.h"

#include <errno.h>
#include <string.h>

/* --- the journal --- */

/* --- what is held --- */

/* Nobody can shut off a guest that waits for the end of a window. */
static int held_open(struct bm_run *run, const struct suspect *s,
                     struct bm_error *err)
{
    int rc = bm_pivot_window_abandon(run, err);

    if (rc)
        return rc;
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err,
             "QEMU has %s open, of which libvirt does not know: it died while "
             "it put that on disk %s",
             s->path, run->job->disks[s->disk].target);
    bm_remedy(err,
              "shut the guest off, and before it is started again `blockmig "
              "job resume %s`: else it may start without its last writes",
              run->job->id);
    return rc;
}

/* --- all of one freeze --- */

static struct bm_chain put_on(const struct bm_job *job, size_t i,
                              enum bm_overlay_side which)
{
    const struct bm_job_disk *plan = &job->disks[i];
    int over =
        bm_job_source_overlay_number(plan) - job->staged.overlays_asked + 1;

    if (which == BM_OVERLAY_SWITCH)
        return bm_strategy_traits_of(job->plan.strategy)->freezes_source
                   ? plan->source
                   : plan->dest;
    return over > 0 ? bm_job_below(plan, over) : plan->source;
}

static int prepare(struct bm_run *run, struct suspect *all,
                   enum bm_overlay_side which, struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        all[i].disk = i;
        all[i].seen = bm_overlay_journal_is_seen(run->job, i, which);
        all[i].path = bm_overlay_journal_asked_for(run->job, i, which);
        if (!all[i].path)
            return bm_fail_errno(err, ENOMEM, "cannot go on");
        all[i].below = put_on(run->job, i, which);
    }
    return 0;
}

/* The first one that looks so, or NULL. */
static const struct suspect *
find(const struct bm_run *run, const struct suspect *all, enum look_result look)
{
    for (size_t i = 0; i < run->job->n_disks; i++)
        if (all[i].look == look)
            return &all[i];
    return NULL;
}

static int decide(struct bm_run *run, struct suspect *all,
                  enum bm_overlay_side which, struct bm_error *err)
{
    const struct suspect *open = find(run, all, LOOK_OPEN);
    const struct suspect *holds = find(run, all, LOOK_HOLDS);
    bool off = run->domain && !run->domain->active;
    int rc = 0;

    if (open)
        return held_open(run, open, err);
    if (holds && !off)
        return bm_orphan_without(run, holds, err);
    /* the same if an earlier run died while it gave them back */
    if (holds ||
        (off && find(run, all, LOOK_NAMED) && find(run, all, LOOK_EMPTY)))
        return bm_orphan_give_back(run, all, which, err);
    if (!find(run, all, LOOK_UNSAVED))
        return 0;
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (all[i].look == LOOK_UNSAVED)
            rc = bm_orphan_save(run, &all[i], err);
    return rc ? rc : bm_run_refresh(run, err);
}

static int check(struct bm_run *run, enum bm_overlay_side which,
                 struct bm_error *err)
{
    BM_FREE struct suspect *all = NULL;
    size_t unseen = bm_overlay_journal_count_unseen(run->job, which);
    int rc;

    if (!unseen)
        return 0;
    all = calloc(run->job->n_disks, sizeof *all);
    rc = all ? bm_run_refresh(run, err)
             : bm_fail_errno(err, ENOMEM, "cannot go on");
    if (!rc)
        rc = prepare(run, all, which, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = bm_orphan_look(run, &all[i], err);
    if (!rc) {
        bm_orphan_note_below(run, all);
        rc = decide(run, all, which, err);
    }
    for (size_t i = 0; all && i < run->job->n_disks; i++)
        free(all[i].path);
    /* before anything is merged that was seen only now */
    return !rc && bm_overlay_journal_count_unseen(run->job, which) != unseen
               ? bm_run_save(run, NULL, err)
               : rc;
}

int bm_orphan_check(struct bm_run *run, struct bm_error *err)
{
    int rc = check(run, BM_OVERLAY_SOURCE, err);

    return rc ? rc : check(run, BM_OVERLAY_SWITCH, err);
}
