// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The plan of a revert: each disk of the restore point gets a fresh overlay on
 * the image that is its state; what the disk stands on now stays, and becomes a
 * restore point itself, unless it holds nothing.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/plan/snapshot-plan-private.h"
#include "nbd/base/cleanup.h"
#include "snapshot/tree/revert-xml.h"
#include "snapshot/tree/image-tree-index.h"
#include "blockmig/image/overlay-image.h"

#include <errno.h>
#include <string.h>

#define TRIES 1000

static int refuse(int code, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED), -code;
}

static int cannot(const struct bm_domain *domain,
                  const struct bm_restore_point *point, const char *why,
                  const char *remedy, struct bm_error *err)
{
    bm_fail(err, ENOTSUP, "cannot revert %s to %s", domain->name, point->name);
    bm_cause(err, "%s", why);
    if (remedy)
        bm_remedy(err, "%s", remedy);
    return refuse(ENOTSUP, err);
}

static int check(const struct bm_domain *domain,
                 const struct bm_restore_point *point,
                 const struct bm_snapshot_options *options,
                 struct bm_error *err)
{
    if (bm_restore_point_internal(point))
        return cannot(domain, point, "it is an internal snapshot",
                      "virsh snapshot-revert can", err);
    if (!domain->persistent)
        return cannot(domain, point, "the domain is transient",
                      "virsh define it first", err);
    if (domain->active && !options->force)
        return cannot(domain, point,
                      "the guest runs, and what it has in memory would be lost",
                      "shut it off, or give --force", err);
    return 0;
}

/* --- disks --- */

/* What is left behind is worth nothing: an overlay that holds nothing, and that
 * nobody else needs. Of a guest that runs nobody knows. */
static int is_empty(const struct bm_domain *domain,
                    const struct bm_image_tree *tree, int top, bool *empty,
                    struct bm_error *err)
{
    const struct bm_tree_image *image = &tree->list[top];
    bool holds = true;
    int rc = 0;

    *empty = false;
    if (domain->active || image->below < 0 || image->other ||
        bm_tree_children(tree, top) || image->layer.type != BM_SOURCE_FILE ||
        strcmp(image->layer.format, "qcow2") != 0)
        return 0;
    rc = bm_overlay_holds_data(image->layer.path, &holds, err);
    *empty = !holds;
    return rc;
}

static int add_disk(struct bm_domain *domain,
                    const struct bm_restore_points *points,
                    const struct bm_image_tree *tree,
                    const struct bm_restore_point *point,
                    const struct bm_restore_point_disk *from,
                    const struct bm_snapshot_options *options,
                    struct bm_job *job, struct bm_error *err)
{
    struct bm_disk *disk = bm_domain_disk(domain, from->target);
    struct bm_chain source = {0}, below = {0};
    BM_FREE char *folder = NULL;
    int image, top, rc;

    if (!disk)
        return cannot(domain, point, "the domain has lost a disk of it", NULL,
                      err);
    image =
        from->image.n ? bm_tree_index(tree, from->image.layers[0].path) : -1;
    top = bm_tree_top(tree, domain, (size_t)(disk - domain->disks));
    if (image < 0 || top < 0 || !tree->list[image].there)
        return cannot(domain, point, "an image of it is missing",
                      "see 'blockmig snapshot doctor'", err);
    if (tree->list[image].broken)
        return cannot(domain, point, tree->list[image].broken,
                      "see 'blockmig snapshot doctor'", err);
    rc = bm_domain_disk_size(domain, disk, err);
    if (rc)
        return rc;
    folder = options->overlay_dir
                 ? strdup(options->overlay_dir)
                 : bm_file_folder(tree->list[image].layer.path);
    rc = folder && bm_tree_chain(tree, top, &source) == 0 &&
                 bm_tree_chain(tree, image, &below) == 0
             ? bm_snapshot_add_disk(
                   job, disk, &source, &below,
                   bm_snapshot_overlay_name(tree->list[image].layer.path,
                                            folder, points, job, point->name),
                   err)
             : bm_snapshot_no_memory(err);
    bm_chain_clear(&source);
    bm_chain_clear(&below);
    return rc;
}

/* --- what is left behind --- */

static char *branch_name(const struct bm_restore_points *points,
                         const char *name)
{
    char number[16] = "";

    for (int n = 1; n < TRIES; n++) {
        char *branch;

        if (n > 1)
            snprintf(number, sizeof number, "-%d", n);
        if (asprintf(&branch, "before-%s%s", name, number) < 0)
            return NULL;
        if (!bm_restore_points_find(points, branch))
            return branch;
        free(branch);
    }
    return NULL;
}

static int add_branch(struct bm_domain *domain,
                      const struct bm_restore_points *points,
                      const struct bm_image_tree *tree, struct bm_job *job,
                      struct bm_error *err)
{
    bool all_empty = true;
    int rc = 0;

    for (size_t i = 0; !rc && all_empty && i < job->n_disks; i++) {
        const struct bm_disk *disk =
            bm_domain_disk(domain, job->disks[i].target);

        rc = is_empty(domain, tree,
                      bm_tree_top(tree, domain, (size_t)(disk - domain->disks)),
                      &all_empty, err);
    }
    if (rc || all_empty)
        return rc;
    job->snapshot->branch = branch_name(points, job->snapshot->name);
    return job->snapshot->branch ? 0 : bm_snapshot_no_memory(err);
}

/* The guest that goes on from its memory would have it, or lack it. */
static int check_disks(struct bm_domain *domain,
                       const struct bm_restore_point *point,
                       struct bm_error *err)
{
    BM_FREE char *now = NULL, *target = NULL;
    char why[200];
    int rc = bm_domain_xml(domain, true, &now, err);

    if (rc)
        return rc;
    rc = bm_revert_changed(point->xml, now, &target);
    if (rc)
        return bm_fail_errno(err, -rc, "cannot read the XML of snapshot %s",
                             point->name);
    if (!target)
        return 0;
    snprintf(why, sizeof why,
             "disk %s was attached or detached since, and the guest goes on "
             "from its memory of then",
             target);
    return cannot(domain, point, why,
                  "detach it, or attach it again (virsh attach-disk --config)",
                  err);
}

static int fill(struct bm_domain *domain,
                const struct bm_restore_points *points,
                const struct bm_image_tree *tree,
                const struct bm_restore_point *point,
                const struct bm_snapshot_options *options, struct bm_job *job,
                struct bm_error *err)
{
    int rc = 0;

    job->snapshot->name = strdup(point->name);
    job->snapshot->memory = point->memory ? strdup(point->memory) : NULL;
    if (!job->snapshot->name || (point->memory && !job->snapshot->memory))
        return bm_snapshot_no_memory(err);
    job->snapshot->start = domain->active || point->memory;
    if (point->memory)
        rc = check_disks(domain, point, err);
    for (size_t i = 0; !rc && i < point->n_disks; i++)
        if (point->disks[i].external)
            rc = add_disk(domain, points, tree, point, &point->disks[i],
                          options, job, err);
    if (!rc && !job->n_disks)
        rc = cannot(domain, point, "it holds no disk", NULL, err);
    return rc ? rc : add_branch(domain, points, tree, job, err);
}

int bm_snapshot_plan_revert(struct bm_connection *conn,
                            struct bm_domain *domain,
                            const struct bm_restore_points *points,
                            const struct bm_image_tree *tree,
                            const struct bm_snapshot_options *options,
                            struct bm_job **out, struct bm_error *err)
{
    const struct bm_restore_point *point =
        bm_restore_points_find(points, options->name);
    struct bm_job *job = NULL;
    int rc;

    if (!point) {
        bm_fail(err, ENOENT, "domain %s has no snapshot %s", domain->name,
                options->name);
        bm_remedy(err, "see 'blockmig snapshot list %s'", domain->name);
        return refuse(ENOENT, err);
    }
    rc = check(domain, point, options, err);
    if (!rc)
        rc = bm_snapshot_new_job(conn, domain, "revert", BM_STRATEGY_REVERT,
                                 &job, err);
    if (!rc)
        rc = fill(domain, points, tree, point, options, job, err);
    if (rc) {
        bm_job_free(job);
        return rc;
    }
    bm_job_fill_request(job)->force = options->force;
    bm_job_fill_request(job)->proof =
        true; /* nothing that could need one is left unproven */
    job->limits.max_pause_ms = options->max_pause_ms;
    job->store = bm_file_folder(job->disks[0].fixed.switch_overlay);
    *out = job;
    return 0;
}
