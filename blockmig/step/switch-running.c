// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The switch of a running guest's disks, whatever state an earlier process has
 * left it in.
 */
#include "blockmig/guard/guard.h"
#include "blockmig/guard/guard-files.h"
#include "blockmig/run/guest-pause.h"
#include "blockmig/job/disk-location.h"
#include "blockmig/guard/pivot-freeze.h"
#include "blockmig/step/pivot-window.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/overlay-journal.h"
#include "blockmig/step/step.h"

#include <errno.h>
#include <string.h>

/* A pivot of a running guest ends at an instant with nothing dirty; under
 * load that may never come (docs/pitfalls.md P5), then the guest is paused for
 * it. */
#define RUNNING_PIVOT_MS 5000

int bm_switch_unclean(struct bm_run *run, struct bm_error *err)
{
    bm_fail(err, BM_NEEDS_OPERATOR, "cannot prove the move of %s any more",
            run->job->domain);
    bm_cause(err, "the guest ran on the new image before it was frozen, so "
                  "the old and the new one are of different instants; "
                  "nothing was deleted");
    bm_remedy(err,
              "`blockmig job resume %s --accept` goes on without a proof "
              "and keeps the source",
              run->job->id);
    bm_status(err, BM_EXIT_HELD);
    return -BM_NEEDS_OPERATOR;
}

struct count {
    size_t source, dest, overlay, other;
};

static int count_disks(struct bm_run *run, struct count *c,
                       struct bm_error *err)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < run->job->n_disks; i++) {
        int at = bm_disk_location(run->domain, bm_run_disk(run, i),
                                  &run->job->disks[i], err);

        if (at < 0)
            return at;
        c->source += at == BM_AT_SOURCE;
        c->dest += at == BM_AT_DEST;
        c->overlay += at == BM_AT_OVERLAY;
        c->other +=
            at != BM_AT_SOURCE && at != BM_AT_DEST && at != BM_AT_OVERLAY;
    }
    return 0;
}

static int strange(struct bm_run *run, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot go on with the switch of %s",
            run->job->domain);
    for (size_t i = 0; i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);
        char found[400];
        int at = bm_disk_location(run->domain, disk, &run->job->disks[i], err);

        if (at == BM_AT_FOREIGN)
            bm_cause(err, "disk %s stands on a chain that is not ours: %s",
                     run->job->disks[i].target,
                     bm_chain_text(&disk->chain, found, sizeof found));
        else if (at == BM_AT_NOWHERE)
            bm_cause(err, "disk %s is gone", run->job->disks[i].target);
    }
    bm_status(err, BM_EXIT_HELD);
    return -ESTALE;
}

/* The guest went off in the window. It has not run since the pivot unless
 * there is a mark, so the old images still hold everything. */
static int switch_off(struct bm_run *run, const struct count *c,
                      struct bm_error *err)
{
    if (c->overlay == run->job->n_disks)
        return 0;
    if (!run->job->request.proof && c->dest == run->job->n_disks)
        return 0;
    if (run->job->request.proof) {
        bm_fail(err, ESRCH, "the guest %s went off in the switch",
                run->job->domain);
        return -ESRCH;
    }
    bm_fail(err, ESTALE, "cannot tell which image of %s is the newer one",
            run->job->domain);
    bm_cause(err, "the guest went off while its disks were switched without "
                  "a pause");
    bm_remedy(err,
              "compare the images; `blockmig job resume %s --back` "
              "keeps the source",
              run->job->id);
    return bm_status(err, BM_EXIT_HELD), -ESTALE;
}

static int prepare(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_overlay_journal_begin(run, BM_OVERLAY_SWITCH, err);

    if (!rc)
        rc = bm_pivot_freeze_prepare(run->job, err);
    run->job->guest.pivot_asked |= !rc;
    return rc ? rc : bm_overlay_journal_expect(run, BM_OVERLAY_SWITCH, err);
}

static int pivot_running(struct bm_run *run, struct bm_error *err)
{
    int rc;

    run->job->guest.pivot_asked = true;
    rc = bm_run_save(run, NULL, err);
    if (!rc)
        rc = bm_pivot_freeze_finish(run->conn, run->domain, run->job,
                                    RUNNING_PIVOT_MS, err);
    return rc == -ETIME ? bm_pivot_window_switch(run, err) : rc;
}

/* A dead run and a dead guard left the guest paused: end the window now. */
static int end_window(struct bm_run *run, struct bm_error *err)
{
    bool guarded = bm_pause_adopt(run, err) == 0;
    int rc, end = 0;

    /* nobody watched since: a proof that fails may be the guest's own writes */
    run->job->guest.doubt = true;
    rc = bm_pivot_window_end(run,
                             err);   /* without a guard too: the guest waits */
    if (guarded && rc != -ETIMEDOUT) /* else the guard stays armed after us */
        end = bm_guard_disarm(run->guard, rc ? NULL : err);
    if (!rc && end != -ETIME) /* that it acted is as good */
        rc = end;
    if (run->ran || bm_unclean_set(bm_job_store_dir(run->jobs), run->job->id))
        run->job->guest.unclean = true;
    return rc;
}

static int switch_running(struct bm_run *run, const struct count *c,
                          struct bm_error *err)
{
    size_t n = run->job->n_disks;
    int rc;

    if (run->job->guest.window_paused && bm_domain_paused(run->domain))
        return end_window(run, err);
    if (c->overlay == n)
        return 0;
    if (run->job->request.proof && c->dest)
        return bm_switch_unclean(run, err);
    if (run->job->request.proof) {
        rc = c->overlay ? 0 : prepare(run, err);
        return rc ? rc : bm_pivot_window_switch(run, err);
    }
    return pivot_running(run, err);
}

int bm_step_switch(struct bm_run *run, struct bm_error *err)
{
    struct count c;
    int rc = bm_run_refresh(run, err);

    if (!rc && bm_unclean_set(bm_job_store_dir(run->jobs), run->job->id))
        run->job->guest.unclean = true;
    if (!rc)
        rc = count_disks(run, &c, err);
    if (rc)
        return rc;
    if (c.other)
        return strange(run, err);
    if (run->job->guest.unclean && run->job->request.proof)
        return bm_switch_unclean(run, err);
    rc = run->domain->active ? switch_running(run, &c, err)
                             : switch_off(run, &c, err);
    return !rc && run->job->guest.unclean && run->job->request.proof
               ? bm_switch_unclean(run, err)
               : rc;
}
