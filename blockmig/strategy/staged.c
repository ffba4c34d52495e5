// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The staged move (docs/internals.md): freeze, copy the frozen view with our
 * own engine and prove it, again for what the guest wrote meanwhile until that
 * is little; only then does QEMU copy, the last source overlay, and the disks
 * switch.
 */
#include "blockmig/run/ballast.h"
#include "blockmig/step/bitmaps.h"
#include "blockmig/step/commit.h"
#include "blockmig/step/source-overlays.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/quiesce.h"
#include "blockmig/strategy/staged-private.h"
#include "blockmig/strategy/strategy.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/step/written-since.h"

#include <errno.h>
#include <inttypes.h>

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING, BM_STATE_FREEZING,      BM_STATE_COPYING,
    BM_STATE_PROVING,    BM_STATE_ITERATING,     BM_STATE_CONVERGING,
    BM_STATE_READY,      BM_STATE_SWITCHING,     BM_STATE_PROVING_REST,
    BM_STATE_SETTLED,    BM_STATE_CONSOLIDATING, BM_STATE_RELEASING,
};

/* The guest went off: all it wrote is in the new images. Accepted without a
 * proof: so is the rest. */
static bool skips(const struct bm_job *job, enum bm_state state)
{
    bool live = state == BM_STATE_CONVERGING || state == BM_STATE_READY;
    bool rest = state == BM_STATE_PROVING_REST || state == BM_STATE_SETTLED;

    return (job->staged.off && (live || rest)) || (!job->request.proof && rest);
}

/* --- the guest goes off --- */

/* --- the states --- */

/* The first freeze. Whatever comes of it, the file systems are thawed. */
static int freeze_quiesced(struct bm_run *run, struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    struct bm_quiesce quiesce;
    int rc = bm_quiesce_begin(run, &quiesce, err), end;

    if (rc)
        return rc;
    rc = bm_source_overlays_freeze(run, err);
    end = bm_quiesce_end(run, &quiesce, rc ? &second : err);
    if (rc && end == -ETIMEDOUT)
        *err = second;
    return rc && end != -ETIMEDOUT ? rc : end;
}

/* A process that died in between cannot say any more how it was. */
static int check_quiesced(struct bm_run *run, struct bm_error *err)
{
    if (!run->job->request.quiesce || run->job->guest.quiesced)
        return 0;
    bm_fail(err, ESTALE, "cannot go on with the move of %s", run->job->domain);
    bm_cause(err, "whether its file systems were frozen when its disks were is "
                  "not known");
    return bm_remedy(err, "move again, or leave --quiesce out"), -ESTALE;
}

static int freeze(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (!rc && run->domain)
        rc = bm_source_overlays_adopt(run, err);
    /* if it went off since: what is frozen is moved */
    if (!rc && run->domain && run->job->disks[0].overlays.n_source)
        return check_quiesced(run, err);
    if (!rc && (!run->domain || !run->domain->active))
        return bm_fail_errno(err, ESRCH, "the guest %s is off",
                             run->job->domain);
    /* what the guest's I/O takes before we do anything to it */
    if (!rc)
        rc = bm_pacing_need(run, err);
    if (!rc)
        rc = bm_ballast_make(run, err);
    if (rc)
        return rc;
    return run->job->request.quiesce ? freeze_quiesced(run, err)
                                     : bm_source_overlays_freeze(run, err);
}

/* --- converging --- */

static int doubt_lower(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_chain view =
        bm_replica_old_chain(&s->run->job->disks[i], s->layer);
    int rc = bm_staged_doubt(s, i, &view, err);

    return rc ? rc : bm_staged_bounds(s, i, err);
}

static int doubt_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_chain view =
        bm_job_old_view(&s->run->job->disks[i], s->run->job->staged.rounds - 1);

    return bm_staged_doubt(s, i, &view, err);
}

static int check_untouched(struct bm_run *run, struct bm_error *err)
{
    bool any = false;
    int rc;

    for (size_t i = 0; i < run->job->n_disks; i++)
        any |= bm_target_any_written_since(&run->job->disks[i], true);
    if (!any)
        return 0;
    rc = bm_replica_run_lower(run, doubt_lower, err);
    return rc ? rc : bm_replica_run_each(run, doubt_disk, err);
}

/* Of what is in the new images, so that none of our writes is in them too; and
 * before QEMU opens the images. */
static int carry(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    if (run->job->staged.carried)
        return 0;
    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        int n_source = run->job->disks[i].overlays.n_source;

        rc = bm_bitmaps_move(run, i, n_source - run->job->staged.rounds + 1,
                             err);
    }
    bm_failpoint("converging.carried");
    run->job->staged.carried = rc == 0;
    return rc ? rc : bm_run_save(run, NULL, err);
}

/* What a disk grew by since its last copy would be mirrored, and not proven. */
static int check_size(const struct bm_job *job, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];
        uint64_t size;

        rc = bm_overlay_below(&disk->source.layers[0], &size, err);
        if (rc || size == disk->fixed.capacity)
            continue;
        bm_fail(err, ESTALE, "cannot move disk %s of %s", disk->target,
                job->domain);
        bm_cause(err, "it was resized meanwhile, to %" PRIu64 " bytes", size);
        return bm_remedy(err, "move again"), -ESTALE;
    }
    return rc;
}

static int converge(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = check_size(run->job, err);
    if (!rc)
        rc = check_untouched(run, err);
    if (!rc)
        rc = carry(run, err);
    if (!rc && run->domain->active)
        rc = bm_step_mirror(run, true, err);
    if (bm_staged_went_off(run, rc))
        rc = 0;
    return !rc && !run->domain->active ? bm_staged_again(run, err) : rc;
}

/* The new image alone, with nothing of ours on it. */
static bool on_image(struct bm_run *run, size_t i)
{
    struct bm_chain image = bm_job_new_chain(&run->job->disks[i]);
    struct bm_disk *disk = bm_run_disk(run, i);

    return disk && bm_chain_equal(&disk->chain, &image);
}

/* Somebody has committed the mirror overlay with what lay over it, and nothing
 * was frozen: it cannot be proven any more. */
static bool all_merged(struct bm_run *run)
{
    for (size_t i = 0; i < run->job->n_disks; i++)
        if (!on_image(run, i))
            return false;
    return run->domain->active;
}

/* Nobody could write to the images since they were copied and proven, as they
 * are held. (If a kill has let go of them, they are copied again, or the guest
 * has had the new ones already.) */
static int prove_off(struct bm_run *run, struct bm_error *err)
{
    int rc = check_untouched(run, err);

    if (!rc)
        rc = bm_replica_run_each(run, bm_staged_record, err);
    return rc ? rc : bm_run_save(run, NULL, err);
}

static int switch_over(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    if (rc)
        return rc;
    if (run->job->staged.off && run->locked.fds)
        rc = prove_off(run, err);
    if (run->job->staged.off)
        return rc ? rc : bm_staged_switch_off(run, err);
    if (all_merged(run))
        rc = bm_staged_set_mirror_overlay(run, false, err);
    if (rc)
        return rc;
    if (!bm_staged_off_at_source(run)) {
        rc = bm_step_switch(run, err);
        if (!bm_staged_went_off(run, rc))
            return rc;
    }
    return bm_staged_again(run, err);
}

static bool any_merged(struct bm_run *run)
{
    for (size_t i = 0; run->domain->active && i < run->job->n_disks; i++) {
        struct bm_disk *disk = bm_run_disk(run, i);

        if (on_image(run, i) ||
            (disk && bm_chain_equal(&disk->chain, &run->job->disks[i].dest)))
            return true;
    }
    return false;
}

/* Somebody has merged what could be proven, or gone back: -BM_NEEDS_OPERATOR,
 * until it is accepted. */
static int check_merged(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (rc || !run->domain || !any_merged(run))
        return rc;
    if (!run->job->request.proof)
        return bm_run_too_late(run, err);
    /* from where --accept goes on */
    rc =
        bm_run_stop_at(run, BM_STATE_PROVING_REST, bm_switch_unclean(run, err));
    if (run->reason.status == BM_EXIT_PROOF)
        bm_cause(err,
                 "the proof has failed (%.300s), and someone has merged "
                 "the overlays since",
                 run->reason.cause);
    return rc;
}

static int prove_rest(struct bm_run *run, struct bm_error *err)
{
    int rc = check_merged(run, err);

    return rc ? rc : bm_staged_prove_rest(run, err);
}

static int undo(struct bm_run *run, struct bm_error *err)
{
    int rc = check_merged(run, err);

    return rc ? rc : bm_undo(run, err);
}

const struct bm_strategy_ops bm_strategy_staged = {
    .states = states,
    .skips = skips,
    .freeze = freeze,
    .copy = bm_staged_copy,
    .prove = bm_staged_prove_views,
    .iterate = bm_staged_iterate,
    .converge = converge,
    .switch_over = switch_over,
    .prove_rest = prove_rest,
    .consolidate = bm_staged_consolidate,
    .undo = undo,
};
