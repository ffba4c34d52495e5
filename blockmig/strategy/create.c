// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A restore point: an overlay on each of its disks, all in one transaction, and
 * libvirt's metadata of it. What was asked for shows in the chain; metadata
 * that libvirt did not come to write is written by us.
 */
#include "blockmig/strategy/create.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/step/orphan-overlay.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/run/quiesce.h"
#include "blockmig/strategy/strategy.h"
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/tree/restore-point.h"
#include "snapshot/tree/create.h"
#include "snapshot/tree/metadata-xml.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/overlay-journal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MS 3600000

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,
    BM_STATE_FREEZING,
    BM_STATE_RELEASING,
};

/* --- making it --- */

static const struct bm_restore_point *
current(const struct bm_restore_points *points)
{
    for (size_t i = 0; i < points->n; i++)
        if (points->list[i].current)
            return &points->list[i];
    return NULL;
}

/* What libvirt would note, in the journal before it is asked. */
static int keep_metadata(struct bm_run *m, const struct bm_snapshot_spec *spec,
                         struct bm_error *err)
{
    const struct bm_restore_point *parent;
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(m->domain, &points, err);

    if (rc)
        return rc;
    parent = current(&points);
    free(BM_STEAL(m->job->snapshot->xml));
    rc = bm_snapshot_metadata(m->domain, spec, parent ? parent->name : NULL,
                              &m->job->snapshot->xml, err);
    return rc ? rc : bm_run_save(m, NULL, err);
}

static int make_overlays(struct bm_run *m, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < m->job->n_disks; i++) {
        const struct bm_job_disk *disk = &m->job->disks[i];

        rc = bm_target_check(disk, err);
        if (!rc)
            rc = bm_overlay_format(disk->fixed.switch_overlay,
                                   &disk->source.layers[0], err);
        if (!rc)
            bm_file_calm(disk->source.layers[0].path);
    }
    return rc;
}

/* NULL: out of memory. */
static const char **overlays_of(struct bm_run *m)
{
    const char **all = calloc(m->domain->n_disks + 1, sizeof *all);

    for (size_t i = 0; all && i < m->job->n_disks; i++)
        all[bm_run_disk(m, i) - m->domain->disks] =
            m->job->disks[i].fixed.switch_overlay;
    return all;
}

static struct bm_snapshot_spec spec_of(const struct bm_run *m,
                                       const char *const *overlays)
{
    const struct bm_job_snapshot *snapshot = m->job->snapshot;

    return (struct bm_snapshot_spec){snapshot->name, snapshot->description,
                                     snapshot->memory, overlays};
}

int bm_create_prepare(struct bm_run *m, struct bm_error *err)
{
    BM_FREE const char **overlays = overlays_of(m);
    const struct bm_snapshot_spec spec = spec_of(m, overlays);
    int rc = overlays ? bm_overlay_journal_begin(m, BM_OVERLAY_SWITCH, err)
                      : bm_fail_errno(err, ENOMEM, "cannot make a snapshot");

    if (!rc)
        rc = keep_metadata(m, &spec, err);
    if (!rc)
        rc = make_overlays(m, err);
    return rc ? rc : bm_overlay_journal_expect(m, BM_OVERLAY_SWITCH, err);
}

static int detached(const struct bm_job *job, size_t i, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot make restore point %s of %s",
            job->snapshot->name, job->domain);
    bm_cause(err, "disk %s is gone", job->disks[i].target);
    return bm_remedy(err, "try again"), -ESTALE;
}

/* Of the disks as they are now. */
static int ask(struct bm_run *m, struct bm_error *err)
{
    BM_FREE const char **overlays = overlays_of(m);
    const struct bm_snapshot_spec spec = spec_of(m, overlays);

    if (!overlays)
        return bm_fail_errno(err, ENOMEM, "cannot make a snapshot");
    return bm_snapshot_create(m->domain, &spec,
                              spec.memory ? MEMORY_MS : bm_call_ms(), err);
}

int bm_create_ask(struct bm_run *m, struct bm_error *err)
{
    int rc;

    bm_failpoint("freezing.sent");
    rc = bm_run_refresh_domain(m, err);
    if (!rc)
        rc = bm_run_check_away(m, err);
    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        if (!bm_run_disk(m, i))
            rc = detached(m->job, i, err);
    if (!rc)
        rc = ask(m, err);
    bm_failpoint("freezing.frozen");
    return rc;
}

static int ask_quiesced(struct bm_run *m, struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    struct bm_quiesce quiesce;
    int rc = bm_quiesce_begin(m, &quiesce, err), end;

    if (rc)
        return rc;
    rc = bm_create_ask(m, err);
    end = bm_quiesce_end(m, &quiesce, rc ? &second : err);
    if (rc && end == -ETIMEDOUT)
        *err = second;
    return rc && end != -ETIMEDOUT ? rc : end;
}

static int too_late(struct bm_run *m, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot make restore point %s of %s",
            m->job->snapshot->name, m->job->domain);
    bm_cause(err, "those of the other domains are of another instant");
    return bm_remedy(err, "make the group again"), -ESTALE;
}

static int make(struct bm_run *m, struct bm_error *err)
{
    int rc;

    if (m->job->snapshot->group)
        return too_late(m, err);
    rc = bm_create_prepare(m, err);
    if (rc)
        return rc;
    return m->job->request.quiesce ? ask_quiesced(m, err)
                                   : bm_create_ask(m, err);
}

/* --- metadata --- */

/* libvirtd has died between the transaction and its note: ours is the same, but
 * for a memory that was not written to its end. */
static int write_metadata(struct bm_run *m, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = m->job->snapshot;
    const struct bm_snapshot it = {snapshot->name, snapshot->xml, true};
    int rc;

    if (snapshot->memory) {
        bm_fail(err, EIO, "restore point %s of %s lacks its memory",
                snapshot->name, m->job->domain);
        bm_cause(err, "libvirt was stopped while it was written");
        bm_remedy(err, "commit the overlays (snapshot commit), and try again");
        return bm_status(err, BM_EXIT_HELD), -BM_NEEDS_OPERATOR;
    }
    rc = bm_run_note(m, err, "libvirt did not note it: we do");
    return rc ? rc : bm_snapshot_redefine(m->domain, &it, snapshot->xml, err);
}

/* What libvirt noted has our stamp in it: whoever reverts to it would have a
 * guest that seems to be at work. */
static int take_stamp_off(struct bm_run *m,
                          const struct bm_restore_point *point,
                          struct bm_error *err)
{
    const struct bm_snapshot it = {point->name, point->xml, point->current};
    const char *memory = m->job->snapshot->memory;
    BM_FREE char *xml = NULL, *plain = NULL;
    int rc = 0;

    /* the guest ended while it was asked for: libvirt has noted it all the
     * same */
    if (memory && access(memory, F_OK) != 0)
        rc = bm_snapshot_xml_forget_memory(point->xml, &plain);
    if (!rc)
        rc = bm_snapshot_xml_replace(plain ? plain : point->xml, NULL, 0, &xml);
    if (rc)
        return bm_fail_errno(err, -rc, "cannot read snapshot %s", point->name);
    if (plain) {
        free(BM_STEAL(m->job->snapshot->memory));
        rc = bm_run_note(m, err,
                         "the guest ended meanwhile: restore point %s has no "
                         "memory",
                         point->name);
    }
    if (rc || (!xml && !plain))
        return rc;
    return bm_snapshot_redefine(m->domain, &it, xml ? xml : plain, err);
}

static int check_metadata(struct bm_run *m, struct bm_error *err)
{
    const struct bm_restore_point *point;
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(m->domain, &points, err);

    if (rc)
        return rc;
    point = bm_restore_points_find(&points, m->job->snapshot->name);
    return point ? take_stamp_off(m, point, err) : write_metadata(m, err);
}

/* --- the states --- */

static int freeze(struct bm_run *m, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_refresh_domain(m, err);

    if (!rc)
        rc = bm_run_count_arrived(m, &there, err);
    if (!m->job->guest.top_asked)
        rc = bm_run_forgive_change(m, rc, err);
    if (!rc && there == 0) {
        rc = make(m, err);
        if (!rc)
            rc = bm_run_refresh_domain(m, err);
        if (!rc)
            rc = bm_run_count_arrived(m, &there, err);
    }
    if (rc)
        return rc;
    if (there < m->job->n_disks) {
        bm_fail(err, ESTALE, "only %zu of %zu disks of %s have their overlay",
                there, m->job->n_disks, m->job->domain);
        return bm_status(err, BM_EXIT_HELD), -ESTALE;
    }
    return check_metadata(m, err);
}

static int release(struct bm_run *m, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_refresh_domain(m, err);

    if (!rc)
        rc = bm_run_count_arrived(m, &there, err);
    if (!rc && m->job->request.quiesce && !m->job->guest.quiesced)
        rc = bm_run_note(m, err,
                         "whether the file systems were frozen when it was "
                         "made is not known");
    return rc ? rc : bm_domain_stamp(m->domain, NULL, err);
}

static int remove_made(struct bm_run *m, struct bm_error *err)
{
    const char *memory = m->job->snapshot->memory;
    int rc = bm_orphan_unwritten(m, err);

    for (size_t i = 0; !rc && i < m->job->n_disks; i++)
        if (bm_target_is_ours(m->job, &m->job->disks[i], 0))
            rc = bm_file_remove(m->job->disks[i].fixed.switch_overlay, err);
    return rc || !memory || !m->job->snapshot->xml
               ? rc
               : bm_file_remove(memory, err);
}

/* A transaction that has happened is not undone: the restore point is there. */
static int roll_back(struct bm_run *m, struct bm_error *err)
{
    size_t there = 0;
    bool busy = false;
    int rc = bm_run_refresh(m, err);

    if (!rc && m->domain && m->domain->active)
        rc = bm_domain_busy(m->domain, &busy, err);
    if (!rc && busy) {
        rc = bm_job_needs_operator(m->job, err);
        bm_cause(err, "libvirt is still at work on it");
        return rc;
    }
    if (!rc && m->domain)
        rc = bm_run_count_left(m, &there, err);
    if (!rc && there) {
        memset(&m->reason, 0, sizeof m->reason);
        rc = check_metadata(m, err);
        if (!rc)
            rc = bm_run_enter(m, BM_STATE_RELEASING, err);
        return rc ? rc : -EAGAIN;
    }
    if (!rc)
        rc = remove_made(m, err);
    return rc || !m->domain ? rc : bm_domain_stamp(m->domain, NULL, err);
}

const struct bm_strategy_ops bm_strategy_create = {
    .states = states,
    .freeze = freeze,
    .release = release,
    .roll_back = roll_back,
};
