// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A domain that is shut off: copy by qemu-img, prove, redefine. QEMU's own
 * lock is held on the source all the while, so the guest cannot start on it;
 * and that it is off is checked again before the XML is changed.
 */
#include "blockmig/bitmaps.h"
#include "blockmig/point.h"
#include "blockmig/situation.h"
#include "blockmig/strategy.h"
#include "nbd/cleanup.h"
#include "nbd/imagelock.h"
#include "nbd/units.h"

#include <errno.h>

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING, BM_STATE_COPYING,   BM_STATE_PROVING,
    BM_STATE_SWITCHING,  BM_STATE_RELEASING,
};

static bool skips(const struct bm_job *job, enum bm_state state)
{
    return !job->proof && state == BM_STATE_PROVING;
}

/* Off, and each disk where the job found it. */
static int check_off(struct bm_mover *m, struct bm_error *err)
{
    int rc = bm_mover_refresh(m, err);

    if (rc)
        return rc;
    if (!m->domain || m->domain->active) {
        bm_fail(err, EBUSY, "cannot go on with the cold move of %s",
                m->job->domain);
        return bm_cause(err, m->domain ? "the guest was started"
                                       : "the domain is gone"),
               -EBUSY;
    }
    return 0;
}

/* From before the copy until the XML is changed nobody may write the old
 * image: held by the process, so a kill lets go, and then what was copied or
 * proven before counts for nothing. */
static int hold_sources(struct bm_mover *m, struct bm_error *err)
{
    if (m->locks)
        return 0;
    m->locks = calloc(m->job->n_disks, sizeof *m->locks);
    if (!m->locks)
        return bm_fail_errno(err, ENOMEM, "cannot lock the images");
    for (size_t i = 0; i < m->job->n_disks; i++) {
        int fd = bm_frozen_lock(m->job->disks[i].source.layers[0].path, err);

        if (fd < 0) {
            bm_mover_unlock(m);
            return fd;
        }
        m->locks[m->n_locks++] = fd;
    }
    return 0;
}

struct ear {
    struct bm_mover *m;
    uint64_t before, total;
};

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct ear *ear = opaque;

    (void)total;
    bm_mover_progress(ear->m, ear->before + done, ear->total);
    return bm_mover_cancelled(ear->m);
}

static int copy_disk(struct ear *ear, const struct bm_job_disk *disk,
                     struct bm_error *err)
{
    BM_FREE struct bm_image_layer *images = NULL;
    int at =
        bm_situation(ear->m->domain,
                     bm_domain_disk(ear->m->domain, disk->target), disk, err);
    int rc;

    if (at < 0)
        return at;
    if (at != BM_AT_SOURCE)
        return bm_fail(err, ESTALE, "disk %s of %s was changed meanwhile",
                       disk->target, ear->m->job->domain);
    rc = bm_target_check(disk, err);
    if (!rc)
        rc = bm_chain_images(&disk->source, &images, err);
    if (!rc)
        rc = bm_image_convert(images, disk->source.n, bm_job_image(disk)->path,
                              bm_job_image(disk)->format, disk->dest_block,
                              ear->m->job->bandwidth, on_progress, ear, err);
    ear->before += disk->capacity;
    return rc;
}

static int copy(struct bm_mover *m, struct bm_error *err)
{
    struct ear ear = {.m = m};
    int64_t start = bm_now_ms();
    int rc = check_off(m, err);

    for (size_t i = 0; i < m->job->n_disks; i++)
        ear.total += m->job->disks[i].capacity;
    if (!rc)
        rc = hold_sources(m, err);
    if (!rc)
        bm_point("copying.started");
    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        rc = copy_disk(&ear, &m->job->disks[i], err);
    m->job->copy_ms += bm_now_ms() - start;
    return rc;
}

/* unproven: the lock was let go by a kill since this disk was proven. */
static int switch_disk(struct bm_mover *m, size_t i, bool unproven,
                       struct bm_error *err)
{
    struct bm_job_disk *plan = &m->job->disks[i];
    int at = bm_situation(m->domain, bm_mover_disk(m, i), plan, err);
    int rc = 0;

    if (at < 0 || at == BM_AT_DEST)
        return at < 0 ? at : 0;
    if (at != BM_AT_SOURCE)
        return bm_fail(err, ESTALE, "disk %s of %s was changed meanwhile",
                       plan->target, m->job->domain);
    if (unproven)
        rc = bm_prove_disk(m, plan, err);
    if (rc)
        return rc;
    /* the last moment: as long as the XML names none of the new images */
    if (i == 0 && bm_mover_cancelled(m))
        return bm_fail_errno(err, ECANCELED, "the move of %s stops",
                             m->job->domain);
    rc = bm_bitmaps_move(m, i, 0, err);
    return rc ? rc
              : bm_domain_set_config(m->domain, plan->target, &plan->dest, err);
}

static int switch_over(struct bm_mover *m, struct bm_error *err)
{
    bool unproven = !m->locks;
    int rc = check_off(m, err);

    if (!rc)
        rc = hold_sources(m, err);
    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        rc = switch_disk(m, i, unproven, err);
        bm_point("switching.redefined");
    }
    bm_mover_unlock(m);
    return rc ? rc : bm_mover_refresh(m, err);
}

const struct bm_strategy_ops bm_strategy_cold = {
    .states = states,
    .skips = skips,
    .copy = copy,
    .prove = bm_step_prove,
    .switch_over = switch_over,
};
