// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * After a merge: whatever named a layer that went names what took it. First the
 * restore points that go, before anything is written: from then on their state
 * is not what it was.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/merge/merge.h"
#include "blockmig/run/pacing.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/image/image-in-use.h"
#include "blockmig/image/manifest-store.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/paths.h"
#include "snapshot/tree/restore-point.h"
#include "snapshot/tree/metadata-xml.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- restore points --- */

/* Whether the state of it is a layer that loses its view: all but the uppermost
 * do; one that goes as it is does too. */
static bool is_hit(const struct bm_restore_point *point,
                   const struct bm_job_merge *merge)
{
    const struct bm_restore_point_disk *disk =
        bm_restore_point_disk(point, merge->target);
    size_t from = merge->layers.n > 1 ? 1 : 0;

    for (size_t l = from; disk && disk->image.n && l < merge->layers.n; l++)
        if (bm_same_file(disk->image.layers[0].path,
                         merge->layers.layers[l].path))
            return true;
    return false;
}

int bm_merge_forget(struct bm_run *run, struct bm_job_point *point,
                    struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    int rc = bm_snapshot_forget(run->domain, point->name, err);

    if (!rc && point->memory && bm_file_remove(point->memory, &why) != 0)
        rc = bm_run_note(run, err, "%s is kept: %s", point->memory, why.cause);
    if (rc)
        return rc;
    point->gone = true;
    bm_failpoint("copying.forgotten");
    return bm_run_note(run, err, "restore point %s is gone", point->name);
}

/* Somebody has made one meanwhile, or it was planned to stay. */
static int unplanned(struct bm_run *run, const char *name, struct bm_error *err)
{
    bm_fail(err, ESTALE, "cannot merge layers of %s", run->job->domain);
    bm_cause(err, "restore point %s needs one of them", name);
    bm_remedy(err, "delete it too, or leave it");
    return -ESTALE;
}

static struct bm_job_point *planned(const struct bm_run *run, const char *name)
{
    struct bm_job_snapshot *snapshot = run->job->snapshot;

    for (size_t i = 0; i < snapshot->n_points; i++)
        if (!strcmp(snapshot->points[i].name, name))
            return &snapshot->points[i];
    return NULL;
}

int bm_merge_forget_points(struct bm_run *run, const struct bm_job_merge *merge,
                           struct bm_error *err)
{
    BM_RESTORE_POINTS points = {0};
    int rc = bm_restore_points_read(run->domain, &points, err);

    for (size_t i = 0; !rc && i < points.n; i++) {
        struct bm_job_point *point = planned(run, points.list[i].name);

        if (!is_hit(&points.list[i], merge))
            continue;
        rc = point ? bm_merge_forget(run, point, err)
                   : unplanned(run, points.list[i].name, err);
    }
    return rc;
}

/* --- names --- */

static int rewrite_snapshot(struct bm_run *run,
                            const struct bm_snapshot *snapshot,
                            const struct bm_job_merge *merge,
                            struct bm_error *err)
{
    size_t n = bm_merge_goes(merge);
    BM_FREE struct bm_image_moved *moved = calloc(n, sizeof *moved);
    int rc;

    if (!moved)
        return bm_fail_errno(err, ENOMEM, "cannot rewrite a snapshot");
    for (size_t l = 0; l < n; l++)
        moved[l] = (struct bm_image_moved){merge->layers.layers[l].path,
                                           bm_merge_base(merge), true};
    rc = bm_snapshot_replace(run->domain, snapshot, moved, n, err);
    if (rc > 0)
        bm_failpoint("copying.redefined");
    return rc < 0 ? rc : 0;
}

static int rewrite_snapshots(struct bm_run *run,
                             const struct bm_job_merge *merge,
                             struct bm_error *err)
{
    struct bm_snapshots snapshots = {0};
    int rc = bm_snapshots_read(run->domain, &snapshots, err);

    for (size_t i = 0; !rc && i < snapshots.n; i++)
        rc = rewrite_snapshot(run, &snapshots.list[i], merge, err);
    bm_snapshots_clear(&snapshots);
    return rc;
}

/* QEMU has rewritten the header of one that it has open itself. */
static int rebase_child(const struct bm_layer *child,
                        const struct bm_job_merge *merge, struct bm_error *err)
{
    const struct bm_layer *base = bm_merge_base(merge);
    struct bm_image_info info;
    bool there;
    int rc;

    if (access(child->path, F_OK) != 0)
        return bm_fail_errno(err, errno, "cannot put %s on %s", child->path,
                             base->path);
    rc = bm_image_read_info(child->path, child->format, &info, err);
    if (rc)
        return rc;
    there = info.backing && bm_same_file(info.backing, base->path);
    bm_image_info_clear(&info);
    return there ? 0 : bm_commit_rebase(child->path, base, err);
}

/* Of a guest that is off: what its saved XML names, and what that is on. */
static int rewrite_saved(struct bm_run *run, const struct bm_job_merge *merge,
                         struct bm_error *err)
{
    struct bm_disk *disk = bm_run_disk(run, bm_merge_disk(run->job, merge));
    struct bm_chain left = {0};
    bool named = false;
    int rc = 0;

    for (size_t l = 0; !rc && disk && l < disk->inactive.n; l++) {
        const struct bm_layer *layer = &disk->inactive.layers[l];
        bool goes = false;

        for (size_t k = 0; layer->path && k + 1 < merge->layers.n; k++)
            goes |= bm_same_file(layer->path, merge->layers.layers[k].path);
        named |= goes;
        if (!goes)
            rc = bm_chain_add(&left, layer);
    }
    /* libvirt may have named the top alone: then the base is what is left */
    if (!rc && named && left.n == 0)
        rc = bm_chain_add(&left, bm_merge_base(merge));
    if (rc)
        rc = bm_fail_errno(err, ENOMEM, "cannot rewrite the saved XML");
    if (!rc && named)
        rc = bm_chain_complete(&left, err);
    if (!rc && named)
        rc = bm_domain_set_config(run->domain, merge->target, &left, err);
    bm_chain_clear(&left);
    return rc || !named ? rc : bm_run_refresh(run, err);
}

/* --- manifests --- */

int bm_merge_forget_kept(struct bm_run *run, const struct bm_job_merge *merge,
                         struct bm_error *err)
{
    const struct bm_manifest_store manifests = {bm_job_store_dir(run->jobs),
                                                run->job->uuid};
    int rc = 0;

    for (size_t l = 1; !rc && l < merge->layers.n; l++)
        rc = bm_manifest_store_forget(&manifests, merge->layers.layers[l].path,
                                      err);
    return rc;
}

/* The base is what the uppermost was. Of what stands on it the header has been
 * written, by QEMU or by us: before that it was as noted (bm_merge_check_kept).
 */
static int hand_on(struct bm_run *run, const struct bm_job_merge *merge,
                   struct bm_error *err)
{
    const struct bm_manifest_store manifests = {bm_job_store_dir(run->jobs),
                                                run->job->uuid};
    int rc = 0;

    if (access(merge->layers.layers[0].path, F_OK) == 0)
        rc = bm_manifest_store_hand(&manifests, merge->layers.layers[0].path,
                                    bm_merge_base(merge)->path, err);
    for (size_t i = 0; !rc && i < merge->children.n; i++)
        rc = bm_manifest_store_stamp(&manifests, merge->children.layers[i].path,
                                     false, err);
    return rc;
}

int bm_merge_rename(struct bm_run *run, const struct bm_job_merge *merge,
                    struct bm_error *err)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < merge->children.n; i++)
        rc = rebase_child(&merge->children.layers[i], merge, err);
    bm_failpoint("copying.rebased");
    if (!rc)
        rc = rewrite_saved(run, merge, err);
    if (!rc)
        rc = rewrite_snapshots(run, merge, err);
    return rc ? rc : hand_on(run, merge, err);
}

/* --- the end of a layer --- */

static int delete_layer(struct bm_run *run, const struct bm_layer *layer,
                        struct bm_error *err)
{
    int rc;

    if (layer->type != BM_SOURCE_FILE || access(layer->path, F_OK) != 0)
        return 0;
    rc = bm_users_none(run->conn, run->job->uuid, layer->path, err);
    if (!rc)
        rc = bm_pacing_spares(run->pacing)
                 ? bm_file_remove_slowly(layer->path, err)
                 : bm_file_remove(layer->path, err);
    bm_failpoint("copying.deleted");
    return rc ? rc : bm_run_note(run, err, "%s deleted", layer->path);
}

/* One that cannot be deleted stays, and that is said: the merge is done. */
int bm_merge_delete(struct bm_run *run, struct bm_job_merge *merge,
                    struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    char line[1024];
    int rc;

    if (merge->layers.n > 1 && !merge->proven)
        return bm_run_note(run, err,
                           "%s and what is below it are kept, as nothing is "
                           "proven: delete them by hand",
                           merge->layers.layers[0].path);
    if (merge->layers.n > 1 && (rc = bm_merge_check_base(run, merge, err)))
        return rc;
    for (size_t l = 0; l < bm_merge_goes(merge); l++) {
        const struct bm_layer *layer = &merge->layers.layers[l];

        rc = delete_layer(run, layer, &why);
        if (rc == -ETIMEDOUT || rc == -ECONNRESET)
            return *err = why, rc;
        if (!rc)
            continue;
        bm_error_line(&why, line, sizeof line);
        rc = bm_run_note(run, err, "%s is kept: %s", layer->path, line);
        if (rc)
            return rc;
    }
    return 0;
}
