// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The way back of a merge whose proof has failed. The layers that went down are
 * as they were, and hide whatever is wrong in what took them; so a running
 * guest is put on them again: by a shallow copy of its source overlay onto the
 * old chain. Where nobody stands on them nothing was changed yet.
 */
#include "blockmig/step/commit.h"
#include "blockmig/step/source-overlays.h"
#include "blockmig/merge/merge.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/wait-blockjobs.h"
#include "snapshot/blockjob/blockjob.h"

#include <errno.h>
#include <string.h>

static int no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot undo a merge");
}

/* What was below the source overlay before the merge: the layers have their
 * place above the base again. */
static int old_chain(const struct bm_job_disk *plan,
                     const struct bm_job_merge *merge, struct bm_chain *out)
{
    const char *base = bm_merge_base(merge)->path;
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t l = (size_t)plan->overlays.n_source; !rc && l < plan->source.n;
         l++) {
        const struct bm_layer *layer = &plan->source.layers[l];

        for (size_t k = 0;
             !rc && !strcmp(layer->path, base) && k + 1 < merge->layers.n; k++)
            rc = bm_chain_add(out, &merge->layers.layers[k]);
        if (!rc)
            rc = bm_chain_add(out, layer);
    }
    out->complete = true;
    return rc;
}

/* The next source overlay, on the old chain, in the journal before it is made.
 */
static int next_chain(struct bm_run *run, size_t i,
                      const struct bm_job_merge *merge, struct bm_chain *out,
                      struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    struct bm_chain old = {0};
    BM_FREE char *overlay = NULL;
    int rc = old_chain(plan, merge, &old);

    if (!rc &&
        run->job->staged.overlays_sent == bm_job_source_overlay_number(plan)) {
        /* no freeze puts it there, so that bm_orphan_check lets it be */
        run->job->staged.overlays_sent++;
        rc = bm_run_save(run, NULL, err);
    }
    overlay =
        bm_job_source_overlay(run->job, plan, run->job->staged.overlays_sent);
    if (!rc)
        rc = overlay ? bm_chain_on_top(overlay, &old, out) : -ENOMEM;
    bm_chain_clear(&old);
    return rc == -ENOMEM ? no_memory(err) : rc;
}

static int copy_back(struct bm_run *run, size_t i, const struct bm_chain *chain,
                     struct bm_error *err)
{
    BM_FREE struct bm_blockjob *jobs = calloc(run->job->n_disks, sizeof *jobs);
    struct bm_disk *disk = bm_run_disk(run, i);
    const struct bm_copy_request request = {
        .target = disk->target, .dest = chain, .shallow = true};
    int rc = 0;

    if (!jobs)
        return no_memory(err);
    if (bm_disk_copies_to(disk, chain->layers[0].path))
        bm_blockjob_adopt(run->conn, run->domain, disk->target, &jobs[i]);
    else if (disk->mirror)
        return bm_commit_foreign(run, disk->target, err);
    else
        rc = bm_blockjob_copy(run->conn, run->domain, &request, &jobs[i], err);
    if (!rc)
        rc = bm_run_wait_jobs(run, jobs, BM_BLOCKJOB_READY, false, err);
    bm_failpoint("rolling-back.ready");
    if (!rc && jobs[i].state != BM_BLOCKJOB_COMPLETED)
        rc = bm_commit_pivot(run, &jobs[i], err);
    return rc ? rc : bm_run_refresh(run, err);
}

/* Of an image between the source overlay and them QEMU has written the header
 * anew, and has it open: the XML is right, and what it says holds. */
static int note_header(struct bm_run *run, size_t i,
                       const struct bm_job_merge *merge, struct bm_error *err)
{
    const struct bm_chain *chain = &run->job->disks[i].source;
    size_t l = 0;

    while (l < chain->n &&
           strcmp(chain->layers[l].path, merge->layers.layers[0].path) != 0)
        l++;
    if (l <= (size_t)run->job->disks[i].overlays.n_source)
        return 0;
    return bm_run_note(run, err,
                       "the header of %s names %s, its XML %s, which is "
                       "right: when the guest is off, qemu-img rebase -u",
                       chain->layers[l - 1].path, bm_merge_base(merge)->path,
                       merge->layers.layers[0].path);
}

static int note_undone(struct bm_run *run, size_t i, struct bm_job_merge *merge,
                       struct bm_chain *chain, struct bm_error *err)
{
    struct bm_job_disk *plan = &run->job->disks[i];
    int rc;

    bm_chain_clear(&plan->source);
    plan->source = *chain;
    memset(chain, 0, sizeof *chain);
    plan->overlays.n_source = 1;
    merge->merged = false;
    rc = bm_run_save(run, NULL, err);
    return rc ? rc : note_header(run, i, merge, err);
}

static int undo_running(struct bm_run *run, struct bm_job_merge *merge,
                        struct bm_error *err)
{
    size_t i = bm_merge_disk(run->job, merge);
    struct bm_chain chain = {0};
    struct bm_disk *disk;
    int rc = 0;

    if (run->job->disks[i].overlays.n_source == 0)
        rc = bm_source_overlays_freeze(run, err);
    if (!rc)
        rc = next_chain(run, i, merge, &chain, err);
    if (!rc && !bm_chain_equal(&bm_run_disk(run, i)->chain, &chain))
        rc = copy_back(run, i, &chain, err);
    disk = rc ? NULL : bm_run_disk(run, i);
    if (!rc && !(disk && bm_chain_equal(&disk->chain, &chain)))
        rc = bm_run_misplaced(run, i, "not on its old layers", NULL, err);
    if (!rc)
        rc = note_undone(run, i, merge, &chain, err);
    bm_chain_clear(&chain);
    return rc;
}

int bm_merge_undo(struct bm_run *run, struct bm_job_merge *merge,
                  struct bm_error *err)
{
    enum bm_merge_at at;
    int rc = bm_merge_look(run, merge, &at, err);

    if (rc)
        return rc;
    /* in its chain, though merged under a source overlay: it was put there
     * again, and the process died */
    if (run->domain->active &&
        (at == BM_MERGE_MERGED ||
         (at == BM_MERGE_CHAIN &&
          run->job->disks[bm_merge_disk(run->job, merge)].overlays.n_source >
              0)))
        return undo_running(run, merge, err);
    if (at != BM_MERGE_MERGED)
        return 0;
    /* it went off on the base: its header is to name the old layer again */
    rc = bm_job_needs_operator(run->job, err);
    bm_cause(err, "the proof has failed, and the guest went off on %s",
             bm_merge_base(merge)->path);
    bm_remedy(err, "put its disk on %s again (qemu-img rebase -u, virsh edit)",
              merge->layers.layers[0].path);
    return rc;
}
