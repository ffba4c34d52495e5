// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/staged.h"

#include "blockmig/heed.h"
#include "blockmig/move-machine.h"
#include "blockmig/pacer.h"
#include "blockmig/point.h"
#include "blockmig/situation.h"
#include "blockmig/strategy.h"
#include "nbd/cleanup.h"
#include "nbd/gently.h"
#include "nbd/imagelock.h"
#include "nbd/units.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_staged *s = opaque;

    (void)total;
    if (s->m->job->state == BM_STATE_COPYING)
        bm_point("copying.started");
    bm_heed(s->m);
    if (s->m->pacer)
        bm_pacer_tick(s->m->pacer, s->m, s->before + done);
    bm_mover_progress(s->m, s->before + done, s->total);
    return bm_move_before_switch(s->m->job) && bm_mover_cancelled(s->m);
}

static int open_stage(struct bm_staged *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->m->job->disks[i];
    int rc = bm_target_check(disk, err);

    if (rc)
        return rc;
    s->hows[i] = (struct bm_stage_how){.dir = bm_job_store_dir(s->m->store),
                                       .id = s->m->job->id,
                                       .disk = disk->target,
                                       .image = bm_job_image(disk),
                                       .size = disk->capacity,
                                       .throttle = s->throttle,
                                       .progress = on_progress,
                                       .opaque = s};
    s->total += disk->capacity;
    return bm_stage_open(&s->hows[i], &s->stages[i], err);
}

/* For bm_gently. */
static int work_on_all(void *opaque)
{
    struct bm_staged *s = opaque;
    size_t n = s->m->job->n_disks;
    int rc = 0;

    for (size_t i = 0; !rc && i < n; i++)
        rc = open_stage(s, i, s->err);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = s->work(s, i, s->err);
        s->before += s->m->job->disks[i].capacity;
    }
    for (size_t i = 0; i < n; i++)
        bm_stage_close(s->stages[i]);
    return rc;
}

/* A resumed job measures what it finds. */
static int take_pace(struct bm_staged *s, struct bm_error *err)
{
    struct bm_mover *m = s->m;

    if (!m->pacer)
        m->pacer = bm_pacer_new(m);
    if (!m->pacer)
        return bm_fail_errno(err, ENOMEM, "cannot move %s", m->job->domain);
    bm_pacer_take(m->pacer, s->throttle);
    return 0;
}

int bm_staged_each(struct bm_mover *m, bm_staged_work work,
                   struct bm_error *err)
{
    size_t n = m->job->n_disks;
    BM_FREE struct bm_stage_how *hows = calloc(n, sizeof *hows);
    BM_FREE struct bm_stage **stages = calloc(n, sizeof *stages);
    struct bm_staged s = {.m = m,
                          .stages = stages,
                          .hows = hows,
                          .throttle = bm_throttle_new(m->job->bandwidth),
                          .work = work,
                          .err = err};
    int rc;

    if (bm_move_before_switch(m->job))
        bm_heed_pause(m);
    rc = hows && stages && s.throttle
             ? take_pace(&s, err)
             : bm_fail_errno(err, ENOMEM, "cannot move %s", m->job->domain);

    if (!rc)
        rc = bm_gently(work_on_all, &s, err);
    if (m->pacer)
        bm_pacer_take(m->pacer, NULL);
    bm_throttle_free(s.throttle);
    return rc;
}

/* --- who else writes there --- */

static int64_t written_at(const struct bm_job_disk *disk)
{
    struct stat st;

    if (stat(bm_job_image(disk)->path, &st) != 0)
        return 0;
    return st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
}

void bm_staged_keep_time(struct bm_job_disk *disk)
{
    disk->image_ns = written_at(disk);
}

bool bm_staged_touched(const struct bm_job_disk *disk)
{
    return written_at(disk) != disk->image_ns;
}

/* --- the guest is off --- */

int bm_staged_hold(struct bm_mover *m, struct bm_error *err)
{
    bm_mover_unlock(m);
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

int bm_staged_bridge(struct bm_mover *m, bool there, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        struct bm_job_disk *disk = &m->job->disks[i];
        struct bm_chain image = bm_staged_image(disk), wanted = {0};

        if (there == (disk->dest.n > 1))
            continue;
        rc = there ? bm_chain_on_top(disk->bridge, &image, &wanted)
                   : bm_chain_copy(&image, &wanted);
        if (rc)
            return bm_fail_errno(err, ENOMEM, "cannot move %s", m->job->domain);
        bm_chain_clear(&disk->dest);
        disk->dest = wanted;
    }
    return bm_mover_save(m, NULL, err);
}

struct bm_chain bm_staged_image(const struct bm_job_disk *disk)
{
    return (struct bm_chain){.layers = (struct bm_layer *)bm_job_image(disk),
                             .n = 1,
                             .complete = true};
}

int bm_staged_again(struct bm_mover *m, struct bm_error *err)
{
    int rc;

    m->job->off = false;
    bm_mover_unlock(m);
    rc = bm_staged_bridge(m, true, err);
    if (!rc)
        rc = bm_mover_enter(m, BM_STATE_ITERATING, err);
    return rc ? rc : -EAGAIN;
}

/* unproven: the lock was let go since this disk was copied. */
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
    if (rc == -EBADMSG) /* it ran with one disk here and one there */
        bm_status(err, BM_EXIT_HELD);
    return rc ? rc
              : bm_domain_set_config(m->domain, plan->target, &plan->dest, err);
}

static int count_at_source(struct bm_mover *m, size_t *n, struct bm_error *err)
{
    *n = 0;
    for (size_t i = 0; i < m->job->n_disks; i++) {
        int at = bm_situation(m->domain, bm_mover_disk(m, i), &m->job->disks[i],
                              err);

        if (at < 0)
            return at;
        *n += at == BM_AT_SOURCE;
    }
    return 0;
}

int bm_staged_switch_off(struct bm_mover *m, struct bm_error *err)
{
    bool held = m->locks;
    size_t at_source;
    int rc = count_at_source(m, &at_source, err);

    /* it runs, or may have run: what it wrote is copied again */
    if (!rc && at_source == m->job->n_disks && (m->domain->active || !held))
        return bm_staged_again(m, err);
    if (!rc && m->domain->active) {
        bm_fail(err, EBUSY, "cannot switch the disks of %s", m->job->domain);
        bm_cause(err, "it was started, with one disk here and one there");
        return bm_status(err, BM_EXIT_HELD), -EBUSY;
    }
    if (!rc)
        rc = bm_staged_bridge(m, false, err);
    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        rc = switch_disk(m, i, !held, err);
        bm_point("switching.redefined");
    }
    bm_mover_unlock(m);
    return rc ? rc : bm_mover_refresh(m, err);
}
