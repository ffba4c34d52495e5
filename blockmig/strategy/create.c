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
static int keep_metadata(struct bm_run *run,
                         const struct bm_snapshot_spec *spec,
                         struct bm_error *err)
{
    const struct bm_restore_point *parent;
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(run->domain, &points, err);

    if (rc)
        return rc;
    parent = current(&points);
    free(BM_STEAL(run->job->snapshot->xml));
    rc = bm_snapshot_metadata(run->domain, spec, parent ? parent->name : NULL,
                              &run->job->snapshot->xml, err);
    return rc ? rc : bm_run_save(run, NULL, err);
}

static int make_overlays(struct bm_run *run, struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->job->n_disks; i++) {
        const struct bm_job_disk *disk = &run->job->disks[i];

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
static const char **overlays_of(struct bm_run *run)
{
    const char **all = calloc(run->domain->n_disks + 1, sizeof *all);

    for (size_t i = 0; all && i < run->job->n_disks; i++)
        all[bm_run_disk(run, i) - run->domain->disks] =
            run->job->disks[i].fixed.switch_overlay;
    return all;
}

static struct bm_snapshot_spec spec_of(const struct bm_run *run,
                                       const char *const *overlays)
{
    const struct bm_job_snapshot *snapshot = run->job->snapshot;

    return (struct bm_snapshot_spec){snapshot->name, snapshot->description,
                                     snapshot->memory, overlays};
}

int bm_create_prepare(struct bm_run *run, struct bm_error *err)
{
    BM_FREE const char **overlays = overlays_of(run);
    const struct bm_snapshot_spec spec = spec_of(run, overlays);
    int rc = overlays ? bm_overlay_journal_begin(run, BM_OVERLAY_SWITCH, err)
                      : bm_fail_errno(err, ENOMEM, "cannot make a snapshot");

    if (!rc)
        rc = keep_metadata(run, &spec, err);
    if (!rc)
        rc = make_overlays(run, err);
    return rc ? rc : bm_overlay_journal_expect(run, BM_OVERLAY_SWITCH, err);
}

static int detached(const struct bm_job *job, size_t i, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot make restore point %s of %s",
            job->snapshot->name, job->domain);
    bm_cause(err, "disk %s is gone", job->disks[i].target);
    return bm_remedy(err, "try again"), -ESTALE;
}

/* Of the disks as they are now. */
static int ask(struct bm_run *run, struct bm_error *err)
{
    BM_FREE const char **overlays = overlays_of(run);
    const struct bm_snapshot_spec spec = spec_of(run, overlays);

    if (!overlays)
        return bm_fail_errno(err, ENOMEM, "cannot make a snapshot");
    return bm_snapshot_create(run->domain, &spec,
                              spec.memory ? MEMORY_MS : bm_call_ms(), err);
}

int bm_create_ask(struct bm_run *run, struct bm_error *err)
{
    int rc;

    bm_failpoint("freezing.sent");
    rc = bm_run_refresh_domain(run, err);
    if (!rc)
        rc = bm_run_check_away(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (!bm_run_disk(run, i))
            rc = detached(run->job, i, err);
    if (!rc)
        rc = ask(run, err);
    bm_failpoint("freezing.frozen");
    return rc;
}

static int ask_quiesced(struct bm_run *run, struct bm_error *err)
{
    struct bm_error second = BM_ERROR_INIT;
    struct bm_quiesce quiesce;
    int rc = bm_quiesce_begin(run, &quiesce, err), end;

    if (rc)
        return rc;
    rc = bm_create_ask(run, err);
    end = bm_quiesce_end(run, &quiesce, rc ? &second : err);
    if (rc && end == -ETIMEDOUT)
        *err = second;
    return rc && end != -ETIMEDOUT ? rc : end;
}

static int too_late(struct bm_run *run, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot make restore point %s of %s",
            run->job->snapshot->name, run->job->domain);
    bm_cause(err, "those of the other domains are of another instant");
    return bm_remedy(err, "make the group again"), -ESTALE;
}

static int make(struct bm_run *run, struct bm_error *err)
{
    int rc;

    if (run->job->snapshot->group)
        return too_late(run, err);
    rc = bm_create_prepare(run, err);
    if (rc)
        return rc;
    return run->job->request.quiesce ? ask_quiesced(run, err)
                                     : bm_create_ask(run, err);
}

/* --- metadata --- */

/* libvirtd has died between the transaction and its note: ours is the same, but
 * for a memory that was not written to its end. */
static int write_metadata(struct bm_run *run, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = run->job->snapshot;
    const struct bm_snapshot it = {snapshot->name, snapshot->xml, true};
    int rc;

    if (snapshot->memory) {
        bm_fail(err, EIO, "restore point %s of %s lacks its memory",
                snapshot->name, run->job->domain);
        bm_cause(err, "libvirt was stopped while it was written");
        bm_remedy(err, "commit the overlays (snapshot commit), and try again");
        return bm_status(err, BM_EXIT_HELD), -BM_NEEDS_OPERATOR;
    }
    rc = bm_run_note(run, err, "libvirt did not note it: we do");
    return rc ? rc : bm_snapshot_redefine(run->domain, &it, snapshot->xml, err);
}

/* What libvirt noted has our stamp in it: whoever reverts to it would have a
 * guest that seems to be at work. */
static int take_stamp_off(struct bm_run *run,
                          const struct bm_restore_point *point,
                          struct bm_error *err)
{
    const struct bm_snapshot it = {point->name, point->xml, point->current};
    const char *memory = run->job->snapshot->memory;
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
        free(BM_STEAL(run->job->snapshot->memory));
        rc = bm_run_note(run, err,
                         "the guest ended meanwhile: restore point %s has no "
                         "memory",
                         point->name);
    }
    if (rc || (!xml && !plain))
        return rc;
    return bm_snapshot_redefine(run->domain, &it, xml ? xml : plain, err);
}

static int check_metadata(struct bm_run *run, struct bm_error *err)
{
    const struct bm_restore_point *point;
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(run->domain, &points, err);

    if (rc)
        return rc;
    point = bm_restore_points_find(&points, run->job->snapshot->name);
    return point ? take_stamp_off(run, point, err) : write_metadata(run, err);
}

/* --- the states --- */

static int freeze(struct bm_run *run, struct bm_error *err)
{
    size_t there = 0;
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_run_count_arrived(run, &there, err);
    if (!run->job->guest.top_asked)
        rc = bm_run_forgive_change(run, rc, err);
    if (!rc && there == 0) {
        rc = make(run, err);
        if (!rc)
            rc = bm_run_refresh_domain(run, err);
        if (!rc)
            rc = bm_run_count_arrived(run, &there, err);
    }
    if (rc)
        return rc;
    if (there < run->job->n_disks) {
        bm_fail(err, ESTALE, "only %zu of %zu disks of %s have their overlay",
                there, run->job->n_disks, run->job->domain);
        return bm_status(err, BM_EXIT_HELD), -ESTALE;
    }
    return check_metadata(run, err);
}

static int release(struct bm_run *run, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_run_count_arrived(run, &there, err);
    if (!rc && run->job->request.quiesce && !run->job->guest.quiesced)
        rc = bm_run_note(run, err,
                         "whether the file systems were frozen when it was "
                         "made is not known");
    return rc ? rc : bm_domain_stamp(run->domain, NULL, err);
}

static int remove_made(struct bm_run *run, struct bm_error *err)
{
    const char *memory = run->job->snapshot->memory;
    int rc = bm_orphan_unwritten(run, err);

    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (bm_target_is_ours(run->job, &run->job->disks[i], 0))
            rc = bm_file_remove(run->job->disks[i].fixed.switch_overlay, err);
    return rc || !memory || !run->job->snapshot->xml
               ? rc
               : bm_file_remove(memory, err);
}

/* A transaction that has happened is not undone: the restore point is there. */
static int roll_back(struct bm_run *run, struct bm_error *err)
{
    size_t there = 0;
    bool busy = false;
    int rc = bm_run_refresh(run, err);

    if (!rc && run->domain && run->domain->active)
        rc = bm_domain_busy(run->domain, &busy, err);
    if (!rc && busy) {
        rc = bm_job_needs_operator(run->job, err);
        bm_cause(err, "libvirt is still at work on it");
        return rc;
    }
    if (!rc && run->domain)
        rc = bm_run_count_left(run, &there, err);
    if (!rc && there) {
        memset(&run->reason, 0, sizeof run->reason);
        rc = check_metadata(run, err);
        if (!rc)
            rc = bm_run_enter(run, BM_STATE_RELEASING, err);
        return rc ? rc : -EAGAIN;
    }
    if (!rc)
        rc = remove_made(run, err);
    return rc || !run->domain ? rc : bm_domain_stamp(run->domain, NULL, err);
}

const struct bm_strategy_ops bm_strategy_create = {
    .states = states,
    .freeze = freeze,
    .release = release,
    .roll_back = roll_back,
};
