// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Post-copy: the new image is put on the source as an overlay, so that the
 * guest writes there at once, and then QEMU pulls all the rest up into it.
 * Until that has ended the guest needs both stores; and nobody can say of a
 * block that changes whether it was pulled right, so nothing is proven.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/guard/overlay-transaction.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/pull-steps.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/image-lock.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/overlay-journal.h"

#include <errno.h>
#include <sys/stat.h>

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,    BM_STATE_FREEZING,  BM_STATE_COPYING,
    BM_STATE_CONSOLIDATING, BM_STATE_RELEASING,
};

/* libvirt takes an empty file. What a freeze that failed has left in ours is
 * nobody's, unless a QEMU has it open that libvirt lost sight of. */
static int empty(const struct bm_job_disk *plan, struct bm_error *err)
{
    const char *path = bm_job_new_image(plan)->path;
    int rc = bm_target_check(plan, err), fd;
    struct stat st;

    if (rc || (stat(path, &st) == 0 && st.st_size == 0))
        return rc;
    fd = bm_frozen_lock(path, err);
    if (fd < 0)
        return fd;
    (void)close(fd);
    return truncate(path, 0) == 0
               ? 0
               : bm_fail_errno(err, errno, "cannot empty %s", path);
}

static int put_on(struct bm_run *run, struct bm_error *err)
{
    BM_FREE const char **paths = calloc(run->job->n_disks, sizeof *paths);
    int rc = paths ? bm_overlay_journal_begin(run, BM_OVERLAY_SWITCH, err)
                   : bm_fail_errno(err, ENOMEM, "cannot freeze %s",
                                   run->job->domain);

    /* a failed freeze may have taken the files away */
    if (!rc)
        rc = bm_step_allocate(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        paths[i] = bm_job_new_image(&run->job->disks[i])->path;
        rc = empty(&run->job->disks[i], err);
        bm_file_calm(run->job->disks[i].source.layers[0].path);
    }
    if (!rc)
        rc = bm_overlay_journal_expect(run, BM_OVERLAY_SWITCH, err);
    if (rc)
        return rc;
    bm_failpoint("freezing.sent");
    rc = bm_overlays_put(run->domain, run->job, paths, false, err);
    bm_failpoint("freezing.frozen");
    return rc;
}

static int freeze(struct bm_run *run, struct bm_error *err)
{
    struct bm_pull_count count;
    int rc = bm_pull_look(run, &count, err);

    if (rc || count.at_source == 0)
        return rc;
    if (!run->domain->active)
        return bm_fail_errno(err, ESRCH, "the guest %s is off",
                             run->job->domain);
    if (count.at_source < run->job->n_disks) {
        bm_fail(err, ESTALE, "cannot freeze %s", run->job->domain);
        return bm_cause(err, "only some of its disks are on their source"),
               -ESTALE;
    }
    /* what the guest's I/O takes before we do anything to it */
    rc = bm_pacing_need(run, err);
    return rc ? rc : put_on(run, err);
}

static int copy(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_pull_run(run, false, err);

    bm_failpoint("copying.pulled");
    return rc;
}

static int consolidate(struct bm_run *run, struct bm_error *err)
{
    struct bm_pull_count count;
    int rc = bm_pull_run(run, true, err);

    if (!rc)
        rc = bm_pull_look(run, &count, err);
    if (rc)
        return rc;
    if (count.at_dest == run->job->n_disks)
        return bm_pull_flush(run, err);
    bm_fail(err, EIO, "the disks of %s are not pulled to the end",
            run->job->domain);
    return bm_cause(err, "%zu of them still stand on the source",
                    run->job->n_disks - count.at_dest),
           -EIO;
}

static int roll_back(struct bm_run *run, struct bm_error *err)
{
    return bm_step_roll_back_after(run, bm_pull_back, err);
}

const struct bm_strategy_ops bm_strategy_pull = {
    .states = states,
    .freeze = freeze,
    .copy = copy,
    .consolidate = consolidate,
    .roll_back = roll_back,
};
