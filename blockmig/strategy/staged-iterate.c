// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The frozen views, one after the other, into the new images: the base, then
 * a source overlay at a time, until what the last one holds is little.
 */
#include "blockmig/step/source-overlays.h"
#include "blockmig/strategy/staged-private.h"
#include "blockmig/step/switch-off.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>

/* Layers that QEMU opens for each write to what is old: enough of them. */
#define MAX_SOURCE_OVERLAYS 16
/* Bytes of a source overlay that nobody feels. One of 75 MiB cost 1.5 s of
 * mirror, proof and merge, none of them paced, in which the guest's p99
 * doubled; a round more of ours is paced, and the move became 2 s shorter. */
#define TINY (UINT64_C(4) << 20)

static int note_gaps(struct bm_run *run, const struct bm_job_disk *disk,
                     struct bm_error *err)
{
    if (!disk->rescue.unreadable_bytes && !disk->rescue.filled_bytes)
        return 0;
    return bm_run_note(
        run, err,
        "disk %s: %llu bytes cannot be read, %llu were filled "
        "from another copy; %s lists them",
        disk->target, (unsigned long long)disk->rescue.unreadable_bytes,
        (unsigned long long)disk->rescue.filled_bytes, disk->rescue.map);
}

static int copy_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->run->job->disks[i];
    int rounds = s->run->job->staged.rounds, rc;
    struct bm_chain view = bm_job_old_view(disk, rounds);
    enum bm_replica_part part = disk->below ? BM_REPLICA_OWN : BM_REPLICA_ALL;

    if (rounds > 0)
        part = BM_REPLICA_DELTA;
    rc = bm_replica_copy(s->replicas[i], &view, part, err);
    if (!rc)
        rc = bm_replica_run_keep_gaps(s, i, err);
    return rc || rounds > 0 ? rc : note_gaps(s->run, disk, err);
}

static int prove_disk(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_chain view =
        bm_job_old_view(&s->run->job->disks[i], s->run->job->staged.rounds);

    return bm_staged_prove(s, i, &view, err);
}

int bm_staged_copy(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_replica_run_name_maps(run, err);

    if (!rc)
        rc = bm_replica_run_lower(run, bm_staged_copy_layer, err);
    if (!rc)
        rc = bm_replica_run_each(run, copy_disk, err);
    run->job->result.copy_ms += bm_now_ms() - start;
    return rc;
}

static int prove_lower(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    struct bm_chain view =
        bm_replica_old_chain(&s->run->job->disks[i], s->layer);
    int rc = bm_staged_prove(s, i, &view, err);

    return rc ? rc : bm_staged_bounds(s, i, err);
}

/* The base, and on a kept chain what shines through it. */
static int prove_base(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    int rc = prove_disk(s, i, err);

    if (!rc)
        rc = bm_staged_bounds(s, i, err);
    return rc ? rc : bm_staged_fill(s, i, err);
}

int bm_staged_prove_views(struct bm_run *run, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_replica_run_lower(run, prove_lower, err);

    if (!rc)
        rc = bm_replica_run_each(run, prove_base, err);
    run->job->result.prove_ms += bm_now_ms() - start;
    if (rc)
        return rc;
    run->job->staged.rounds = 1;
    return bm_run_save(run, NULL, err);
}

/* --- iterating --- */

static int copy_and_prove(struct bm_replica_run *s, size_t i,
                          struct bm_error *err)
{
    int rc = copy_disk(s, i, err);

    return rc ? rc : prove_disk(s, i, err);
}

/* Fronts that are frozen go into the new images. */
static int catch_up(struct bm_run *run, int upto, struct bm_error *err)
{
    int rc = 0;

    while (!rc && run->job->staged.rounds < upto) {
        rc = bm_replica_run_each(run, copy_and_prove, err);
        run->job->staged.rounds += rc == 0;
        if (!rc)
            rc = bm_run_save(run, NULL, err);
    }
    return rc;
}

/* The guest is off: what it wrote last is frozen too, as long as we hold it. */
static int finish_off(struct bm_run *run, struct bm_error *err)
{
    int n_source = run->job->disks[0].overlays.n_source;
    int rc = bm_off_hold(run, err);

    /* it may have run since that source overlay was copied */
    if (!rc && run->job->staged.rounds > n_source)
        run->job->staged.rounds = n_source;
    if (!rc)
        rc = catch_up(run, n_source + 1, err);
    if (!rc)
        run->job->staged.off = true;
    if (rc == -EBUSY && bm_run_refresh(run, err) == 0 && run->domain &&
        run->domain->active)
        return -EAGAIN; /* it was started: once more, as of a guest that runs */
    return rc ? rc : bm_run_save(run, NULL, err);
}

/* Below --switch-max a round must halve a source overlay to be worth another
 * one. */
static bool is_small(const struct bm_job *job, uint64_t before, uint64_t bytes)
{
    if (bytes > job->limits.switch_max)
        return bytes > before / 10 * 9;
    return bytes <= TINY || bytes > before / 2;
}

/* Another source overlay, until the last one is small, or does not get smaller.
 */
static int shrink(struct bm_run *run, struct bm_error *err)
{
    uint64_t before = UINT64_MAX;
    int rc = 0;

    for (;;) {
        int n_source = run->job->disks[0].overlays.n_source;
        uint64_t bytes;

        if (!rc)
            rc = catch_up(run, n_source, err);
        bytes = bm_source_overlays_bytes(run->job);
        if (rc || is_small(run->job, before, bytes) ||
            n_source >= MAX_SOURCE_OVERLAYS)
            return rc;
        before = bytes;
        rc = bm_run_refresh(run, err);
        if (!rc && (!run->domain || !run->domain->active))
            return bm_fail_errno(err, ESRCH, "the guest %s went off",
                                 run->job->domain);
        if (!rc)
            rc = bm_source_overlays_freeze(run, err);
    }
}

int bm_staged_iterate(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh_domain(run, err);

    run->job->staged.off = false;
    if (!rc && run->job->staged.carried) {
        run->job->staged.carried =
            false; /* more is written into the images now */
        rc = bm_run_save(run, NULL, err);
    }
    if (!rc)
        rc = bm_source_overlays_adopt(run, err);
    if (!rc && run->domain->active) {
        if (run->job->staged.rounds > run->job->disks[0].overlays.n_source)
            run->job->staged.rounds = run->job->disks[0].overlays.n_source;
        rc = shrink(run, err);
        if (bm_staged_went_off(run, rc))
            rc = 0;
    }
    if (!rc && run->domain && !run->domain->active)
        rc = finish_off(run, err);
    return rc;
}
