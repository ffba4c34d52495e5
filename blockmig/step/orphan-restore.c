// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/orphan-private.h"
#include "blockmig/guard/guard-files.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/image-lock.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <sys/stat.h>

/* Bytes are written to a file in nanoseconds since the epoch; 0: not to be
 * told, as of a device. */
static int64_t written_ns(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 || !S_ISREG(st.st_mode)
               ? 0
               : bm_nanoseconds(&st.st_mtim);
}

void bm_orphan_note_below(struct bm_run *run, const struct suspect *all)
{
    for (size_t i = 0; i < run->job->n_disks; i++)
        if (all[i].look == LOOK_OPEN)
            run->job->disks[i].overlays.below_ns =
                written_ns(all[i].below.layers[0].path);
}

/* As far as can be told: by what was noted while QEMU had it open, or by the
 * clock of their store. */
static bool written_last(const struct suspect *s, int64_t noted_ns)
{
    const char *base = s->below.layers[0].path;
    int64_t below_ns = written_ns(base);
    struct stat it, below;

    if (!below_ns)
        return false;
    if (noted_ns)
        return below_ns == noted_ns;
    return stat(s->path, &it) == 0 && stat(base, &below) == 0 &&
           it.st_dev == below.st_dev && written_ns(s->path) >= below_ns;
}

/* The guest went off, and nobody has written below it since. */
static int can_give_back(struct bm_run *run, const struct suspect *s, bool *can,
                         struct bm_error *err)
{
    struct bm_disk *disk = bm_run_disk(run, s->disk);
    struct bm_chain found = {0};
    int rc;

    *can = false;
    if (!disk || run->domain->active || s->look == LOOK_NOTHING)
        return 0;
    rc = bm_disk_location_chain(run->domain, disk, &found, err);
    *can = !rc && bm_chain_equal(&found, &s->below) &&
           (s->look == LOOK_EMPTY ||
            written_last(s, run->job->disks[s->disk].overlays.below_ns));
    bm_chain_clear(&found);
    return rc;
}

static int name_it(struct bm_run *run, const struct suspect *s,
                   const struct bm_chain *chain, struct bm_error *err)
{
    const char *target = run->job->disks[s->disk].target;
    int rc = bm_run_note(run, err,
                         "disk %s: libvirt was stopped before it noted %s; "
                         "the saved XML names it now",
                         target, s->path);

    return rc ? rc : bm_domain_set_config(run->domain, target, chain, err);
}

int bm_orphan_save(struct bm_run *run, const struct suspect *s,
                   struct bm_error *err)
{
    struct bm_disk *disk = bm_run_disk(run, s->disk);

    return disk ? name_it(run, s, &disk->chain, err) : 0;
}

static int name_off(struct bm_run *run, const struct suspect *s,
                    struct bm_error *err)
{
    struct bm_chain wanted = {0};
    int rc = bm_chain_on_top(s->path, &s->below, &wanted);

    rc = rc ? bm_fail_errno(err, ENOMEM, "cannot go on")
            : name_it(run, s, &wanted, err);
    bm_chain_clear(&wanted);
    return rc;
}

/* The instant of the freeze was the window's, or the proof will tell. */
static int window_ended(struct bm_run *run, struct bm_error *err)
{
    run->job->guest.unclean = false;
    run->job->guest.doubt = true;
    bm_unclean_forget(bm_job_store_dir(run->jobs), run->job->id);
    return bm_run_save(run, NULL, err);
}

/* No QEMU opens what lies below for writing meanwhile: nobody starts the guest
 * without them. */
static int hold_below(struct bm_run *run, const struct suspect *all, int *locks,
                      struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        locks[i] = bm_frozen_lock(all[i].below.layers[0].path, err);
        if (locks[i] == -EBUSY)
            return bm_orphan_without(run, &all[i], err);
        if (locks[i] < 0)
            return locks[i];
    }
    return bm_run_refresh(run, err);
}

static int can_all(struct bm_run *run, const struct suspect *all,
                   struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        bool can = all[i].look == LOOK_NAMED;
        int rc = can ? 0 : can_give_back(run, &all[i], &can, err);

        if (rc || !can)
            return rc ? rc : bm_orphan_without(run, &all[i], err);
    }
    return 0;
}

static int name_all(struct bm_run *run, const struct suspect *all,
                    enum bm_overlay_side which, struct bm_error *err)
{
    int rc = can_all(run, all, err);

    if (!rc && which == BM_OVERLAY_SWITCH)
        rc = window_ended(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (all[i].look != LOOK_NAMED)
            rc = name_off(run, &all[i], err);
    return rc ? rc : bm_run_refresh(run, err);
}

int bm_orphan_give_back(struct bm_run *run, const struct suspect *all,
                        enum bm_overlay_side which, struct bm_error *err)
{
    BM_FREE int *locks = calloc(run->job->n_disks, sizeof *locks);
    int rc;

    if (!locks)
        return bm_fail_errno(err, ENOMEM, "cannot go on");
    for (size_t i = 0; i < run->job->n_disks; i++)
        locks[i] = -1;
    rc = hold_below(run, all, locks, err);
    if (!rc)
        rc = name_all(run, all, which, err);
    for (size_t i = 0; i < run->job->n_disks; i++)
        if (locks[i] >= 0)
            (void)close(locks[i]);
    return rc;
}
