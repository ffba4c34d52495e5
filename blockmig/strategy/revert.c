// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A revert: fresh overlays on the images of the restore point, the saved XML of
 * then on these, and the guest as it was. What the disks stood on is kept as a
 * restore point. No image is written.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/step/orphan-overlay.h"
#include "blockmig/image/overlay-image.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/strategy.h"
#include "blockmig/image/image-in-use.h"
#include "nbd/base/cleanup.h"
#include "snapshot/tree/restore-point.h"
#include "snapshot/tree/revert-xml.h"
#include "snapshot/tree/create.h"
#include "snapshot/tree/metadata-xml.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define RESTORE_MS 3600000

static const enum bm_state states[] = {
    BM_STATE_ALLOCATING,
    BM_STATE_SWITCHING,
    BM_STATE_RELEASING,
};

static int no_memory(const struct bm_run *run, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot revert %s", run->job->domain);
}

/* --- allocating --- */

static int allocate(struct bm_run *run, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_run_forgive_change(run, bm_run_count_arrived(run, &there, err),
                                   err);
    if (!rc)
        rc = bm_step_allocate(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = bm_overlay_format(run->job->disks[i].fixed.switch_overlay,
                               &run->job->disks[i].dest.layers[1], err);
    return rc;
}

/* --- what is left behind --- */

/* In libvirt's metadata a restore point puts overlays on its images; this one
 * does not, so they are names that nothing has. */
static int branch_overlays(struct bm_run *run, char **names, const char **all,
                           struct bm_error *err)
{
    for (size_t i = 0; i < run->job->n_disks; i++) {
        const struct bm_disk *disk = bm_run_disk(run, i);

        if (asprintf(&names[i], "%s.none",
                     run->job->disks[i].source.layers[0].path) < 0) {
            names[i] = NULL;
            return no_memory(run, err);
        }
        all[disk - run->domain->disks] = names[i];
    }
    return 0;
}

static int define_branch(struct bm_run *run, const char *const *overlays,
                         const char *parent, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = run->job->snapshot;
    char description[300];
    const struct bm_snapshot_spec spec = {snapshot->branch, description, NULL,
                                          overlays};
    struct bm_snapshot it = {snapshot->branch, NULL, false};
    BM_FREE char *xml = NULL;
    int rc;

    snprintf(description, sizeof description, "left behind by the revert to %s",
             snapshot->name);
    rc = bm_snapshot_metadata(run->domain, &spec, parent, &xml, err);
    if (rc)
        return rc;
    it.xml = xml;
    rc = bm_snapshot_redefine(run->domain, &it, xml, err);
    bm_failpoint("switching.branched");
    return rc;
}

/* The chain is still the old one: so the domain's XML is its own. */
static int keep_branch(struct bm_run *run, struct bm_error *err)
{
    BM_FREE char **names = calloc(run->job->n_disks + 1, sizeof *names);
    BM_FREE const char **all = calloc(run->domain->n_disks + 1, sizeof *all);
    const char *parent = NULL;
    BM_RESTORE_POINTS points = {0};
    int rc = names && all ? bm_restore_points_read(run->domain, &points, err)
                          : no_memory(run, err);

    if (!rc && (!run->job->snapshot->branch ||
                bm_restore_points_find(&points, run->job->snapshot->branch)))
        return 0;
    for (size_t i = 0; !rc && i < points.n; i++)
        if (points.list[i].current)
            parent = points.list[i].name;
    if (!rc)
        rc = branch_overlays(run, names, all, err);
    if (!rc)
        rc = define_branch(run, all, parent, err);
    for (size_t i = 0; names && i < run->job->n_disks; i++)
        free(names[i]);
    return rc;
}

/* --- the XML --- */

static int make_xml(struct bm_run *run, const struct bm_restore_point *point,
                    const char *now, struct bm_error *err)
{
    BM_FREE struct bm_new_disk *disks =
        calloc(run->job->n_disks, sizeof *disks);
    struct bm_job_snapshot *snapshot = run->job->snapshot;
    int rc;

    if (!disks)
        return no_memory(run, err);
    for (size_t i = 0; i < run->job->n_disks; i++)
        disks[i] = (struct bm_new_disk){run->job->disks[i].target,
                                        &run->job->disks[i].dest};
    free(BM_STEAL(snapshot->xml_after));
    rc = bm_revert_xml(point->xml, true, now, disks, run->job->n_disks,
                       &snapshot->xml_after);
    return rc ? bm_fail_errno(err, -rc, "cannot read the XML of snapshot %s",
                              point->name)
              : 0;
}

/* Both XMLs are in the journal before anything is changed. */
static int keep_xml(struct bm_run *run, struct bm_error *err)
{
    struct bm_job_snapshot *snapshot = run->job->snapshot;
    const struct bm_restore_point *point;
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(run->domain, &points, err);

    if (rc)
        return rc;
    point = bm_restore_points_find(&points, snapshot->name);
    if (!point)
        return bm_fail_errno(err, ENOENT, "snapshot %s of %s is gone",
                             snapshot->name, run->job->domain);
    free(BM_STEAL(snapshot->xml));
    rc = bm_domain_xml(run->domain, true, &snapshot->xml, err);
    if (!rc)
        rc = make_xml(run, point, snapshot->xml, err);
    return rc ? rc : bm_run_save(run, NULL, err);
}

static int put_on(struct bm_run *run, struct bm_error *err)
{
    int rc = keep_xml(run, err);

    if (!rc)
        rc = keep_branch(run, err);
    if (!rc)
        rc = bm_domain_define(run->conn, run->job->snapshot->xml_after, err);
    bm_failpoint("switching.defined");
    return rc ? rc : bm_run_refresh_domain(run, err);
}

/* --- the metadata of the point --- */

/* An overlay that held nothing is gone: the new one has its place. */
static int replace_overlays(struct bm_run *run,
                            const struct bm_restore_point *point, char **xml,
                            struct bm_error *err)
{
    BM_FREE struct bm_image_moved *moved =
        calloc(run->job->n_disks, sizeof *moved);
    int rc;

    if (!moved)
        return no_memory(run, err);
    for (size_t i = 0; i < run->job->n_disks; i++)
        moved[i] =
            (struct bm_image_moved){run->job->disks[i].source.layers[0].path,
                                    &run->job->disks[i].dest.layers[0], false};
    rc = bm_snapshot_xml_replace(
        point->xml, moved, run->job->snapshot->branch ? 0 : run->job->n_disks,
        xml);
    return rc ? bm_fail_errno(err, -rc, "cannot read snapshot %s", point->name)
              : 0;
}

static int make_current(struct bm_run *run, struct bm_error *err)
{
    const struct bm_restore_point *point;
    BM_FREE char *xml = NULL;
    BM_RESTORE_POINTS points = {0};
    struct bm_snapshot it;
    int rc = bm_restore_points_read(run->domain, &points, err);

    if (rc)
        return rc;
    point = bm_restore_points_find(&points, run->job->snapshot->name);
    if (!point)
        return 0; /* somebody has deleted its metadata: the disks are right */
    it = (struct bm_snapshot){point->name, point->xml, true};
    rc = replace_overlays(run, point, &xml, err);
    if (rc || (point->current && !xml))
        return rc;
    return bm_snapshot_redefine(run->domain, &it, xml ? xml : point->xml, err);
}

/* --- the guest --- */

static int restore(struct bm_run *run, struct bm_error *err)
{
    BM_FREE struct bm_new_disk *disks =
        calloc(run->job->n_disks, sizeof *disks);
    const struct bm_restore_point *point;
    BM_FREE char *xml = NULL;
    BM_RESTORE_POINTS points = {0};
    int rc = disks ? bm_restore_points_read(run->domain, &points, err)
                   : no_memory(run, err);

    point =
        rc ? NULL : bm_restore_points_find(&points, run->job->snapshot->name);
    if (rc || !point)
        return rc ? rc
                  : bm_fail_errno(err, ENOENT, "snapshot %s of %s is gone",
                                  run->job->snapshot->name, run->job->domain);
    for (size_t i = 0; i < run->job->n_disks; i++)
        disks[i] = (struct bm_new_disk){run->job->disks[i].target,
                                        &run->job->disks[i].dest};
    rc = bm_revert_xml(point->xml, false, run->job->snapshot->xml, disks,
                       run->job->n_disks, &xml);
    if (rc)
        return bm_fail_errno(err, -rc, "cannot read the XML of snapshot %s",
                             point->name);
    return bm_domain_restore(run->conn, run->job->snapshot->memory, xml,
                             RESTORE_MS, err);
}

static int let_run(struct bm_run *run, struct bm_error *err)
{
    int rc;

    if (!run->job->snapshot->start || run->domain->active)
        return 0;
    rc = run->job->snapshot->memory ? restore(run, err)
                                    : bm_domain_start(run->domain, err);
    bm_failpoint("switching.started");
    return rc ? rc : bm_run_refresh_domain(run, err);
}

/* --- the states --- */

static int stop_guest(struct bm_run *run, struct bm_error *err)
{
    int rc;

    if (!run->domain->active)
        return 0;
    if (!run->job->request.force) {
        bm_fail(err, EBUSY, "cannot revert %s", run->job->domain);
        return bm_cause(err, "the guest was started meanwhile"), -EBUSY;
    }
    rc = bm_domain_destroy(run->domain, err);
    return rc ? rc : bm_run_refresh_domain(run, err);
}

static int switch_over(struct bm_run *run, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_refresh_domain(run, err);

    if (!rc)
        rc = bm_run_count_arrived(run, &there, err);
    if (!rc && there < run->job->n_disks) {
        rc = bm_run_check_away(run, err);
        if (!rc)
            rc = stop_guest(run, err);
        if (!rc)
            rc = put_on(run, err);
        if (!rc)
            rc = bm_run_count_arrived(run, &there, err);
        if (!rc && there < run->job->n_disks) {
            bm_fail(err, EIO, "cannot revert %s", run->job->domain);
            bm_cause(err, "its saved XML does not name the new overlays");
            rc = -EIO;
        }
    }
    if (!rc)
        rc = make_current(run, err);
    return rc ? rc : let_run(run, err);
}

/* One that held nothing, if it is no restore point, and nobody needs it. */
static int drop_empty(struct bm_run *run, const struct bm_job_disk *disk,
                      struct bm_error *err)
{
    const char *path = disk->source.layers[0].path;
    struct bm_error why = BM_ERROR_INIT;
    bool holds = false;
    char line[1024];

    if (run->job->snapshot->branch || access(path, F_OK) != 0)
        return 0;
    if (bm_users_none(run->conn, run->job->uuid, path, &why) == 0 &&
        bm_overlay_holds_data(path, &holds, &why) == 0 && !holds &&
        bm_file_remove(path, &why) == 0)
        return bm_run_note(run, err, "%s, which held nothing, deleted", path);
    if (holds)
        return bm_run_note(run, err, "%s is kept: it was written to meanwhile",
                           path);
    bm_error_line(&why, line, sizeof line);
    return bm_run_note(run, err, "%s is kept: %s", path, line);
}

static int release(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_run_refresh(run, err);

    if (!rc && !run->domain)
        return bm_run_note(run, err, "the domain is gone meanwhile");
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        rc = drop_empty(run, &run->job->disks[i], err);
    return rc ? rc : bm_domain_stamp(run->domain, NULL, err);
}

static int too_late(struct bm_run *run, struct bm_error *err)
{
    int rc = bm_job_needs_operator(run->job, err);

    bm_cause(err, "the guest runs on the new overlays already");
    bm_remedy(err, "`blockmig job resume %s` ends it; then revert to %s",
              run->job->id,
              run->job->snapshot->branch ? run->job->snapshot->branch
                                         : "another restore point");
    return bm_run_stop_at(run, BM_STATE_SWITCHING, rc);
}

static int xml_back(struct bm_run *run, struct bm_error *err)
{
    size_t there;
    int rc = bm_run_count_left(run, &there, err);

    if (rc || !there)
        return rc;
    if (run->domain->active)
        return too_late(run, err);
    rc = bm_orphan_unwritten(run, err);
    if (rc) /* the way on is open */
        return bm_run_stop_at(run, BM_STATE_SWITCHING, rc);
    rc = bm_domain_define(run->conn, run->job->snapshot->xml, err);
    return rc ? rc : bm_run_refresh_domain(run, err);
}

/* Before the guest runs on the new overlays: they go, and it is as it was. */
static int roll_back(struct bm_run *run, struct bm_error *err)
{
    const char *branch = run->job->snapshot->branch;
    int rc = bm_run_refresh(run, err);

    if (!rc && run->domain)
        rc = xml_back(run, err);
    if (!rc && run->domain && branch)
        rc = bm_snapshot_forget(run->domain, branch, err);
    if (!rc)
        rc = bm_orphan_unwritten(run, err);
    for (size_t i = 0; !rc && i < run->job->n_disks; i++)
        if (bm_target_is_ours(run->job, &run->job->disks[i], 0))
            rc = bm_file_remove(run->job->disks[i].fixed.switch_overlay, err);
    if (!rc && run->domain && run->job->plan.was_active && !run->domain->active)
        rc = bm_domain_start(run->domain, err);
    if (!rc && run->domain)
        rc = bm_run_refresh_domain(run, err);
    return rc || !run->domain ? rc : bm_domain_stamp(run->domain, NULL, err);
}

const struct bm_strategy_ops bm_strategy_revert = {
    .states = states,
    .switch_over = switch_over,
    .allocate = allocate,
    .release = release,
    .roll_back = roll_back,
};
