// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/snapshot-metadata.h"

#include "blockmig/job/failpoint.h"
#include "nbd/base/cleanup.h"
#include "snapshot/tree/metadata-xml.h"
#include "snapshot/tree/metadata.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>

/* Which image has become which (or, of a job that went back, is it again), and
 * which overlays are gone; borrows from the job, but for the names of the
 * source overlays. */
struct all_moved {
    bool back;
    struct bm_image_moved *list;
    size_t n;
    char **overlays;
    size_t n_overlays;
};

static void all_moved_clear(struct all_moved *all)
{
    for (size_t i = 0; i < all->n_overlays; i++)
        free(all->overlays[i]);
    free(all->overlays);
    free(all->list);
}

static int make_space(const struct bm_job *job, struct all_moved *all)
{
    size_t overlays = (size_t)job->staged.overlays_sent * job->n_disks;
    size_t max = overlays;

    for (size_t i = 0; i < job->n_disks; i++)
        max += job->disks[i].n_lower + 4; /* image, three overlays */
    all->list = calloc(max, sizeof *all->list);
    all->overlays = calloc(overlays + 1, sizeof *all->overlays);
    return all->list && all->overlays ? 0 : -ENOMEM;
}

/* A snapshot that was made meanwhile, of another disk, names them. */
static void add_overlay(struct all_moved *all, const struct bm_job_disk *disk,
                        const char *path)
{
    const struct bm_layer *to =
        all->back ? bm_job_old(disk, 0) : bm_job_new_image(disk);

    if (path)
        all->list[all->n++] =
            (struct bm_image_moved){.from = path, .to = to, .overlay = true};
}

static void add_layer(struct all_moved *all, const struct bm_job_disk *disk,
                      size_t k)
{
    const struct bm_layer *old = bm_job_old(disk, k),
                          *new = &bm_job_new_image(disk)[k];

    all->list[all->n++] = all->back
                              ? (struct bm_image_moved){new->path, old, false}
                              : (struct bm_image_moved){old->path, new, false};
}

static int add_fronts(struct all_moved *all, const struct bm_job *job,
                      const struct bm_job_disk *disk)
{
    for (int n = 1; n <= job->staged.overlays_sent; n++) {
        char *overlay = bm_job_source_overlay(job, disk, n);

        if (!overlay)
            return -ENOMEM;
        all->overlays[all->n_overlays++] = overlay;
        add_overlay(all, disk, overlay);
    }
    return 0;
}

/* Of a chain that became one image, no layer has become another. */
static int add_disk(struct all_moved *all, const struct bm_job *job,
                    const struct bm_job_disk *disk)
{
    for (size_t k = 0; bm_job_chain_kept(disk) && k <= disk->n_lower; k++)
        add_layer(all, disk, k);
    if (all->back && !bm_job_chain_kept(disk) && disk->source.n == 1)
        add_layer(all, disk, 0);
    add_overlay(all, disk, disk->fixed.switch_overlay);
    add_overlay(all, disk, disk->fixed.mirror_overlay);
    add_overlay(all, disk, disk->fixed.rollback_overlay);
    return add_fronts(all, job, disk);
}

/* Clear it in any case. */
static int list_moved(const struct bm_job *job, struct all_moved *all,
                      struct bm_error *err)
{
    int rc = make_space(job, all);

    for (size_t i = 0; !rc && i < job->n_disks; i++)
        rc = add_disk(all, job, &job->disks[i]);
    return rc ? bm_fail_errno(err, ENOMEM, "cannot carry snapshots over") : 0;
}

static int carry(struct bm_run *run, const struct bm_snapshot *snapshot,
                 const struct all_moved *all, struct bm_error *err)
{
    int rc = bm_snapshot_replace(run->domain, snapshot, all->list, all->n, err);

    if (rc == 0)
        return 0;
    if (rc < 0 && rc != -ETIMEDOUT)
        bm_remedy(err,
                  "the guest is well; mend that snapshot's metadata, or delete "
                  "it (virsh snapshot-delete --metadata)");
    bm_failpoint("releasing.redefined");
    return rc < 0 ? rc
                  : bm_run_note(run, err, "snapshot %s names the %s images",
                                snapshot->name, all->back ? "old" : "new");
}

int bm_snapshot_metadata_rewrite(struct bm_run *run, bool back,
                                 struct bm_error *err)
{
    struct bm_snapshots snapshots = {0};
    struct all_moved all = {.back = back};
    int rc;

    if (!run->domain || !run->domain->snapshots)
        return 0;
    rc = list_moved(run->job, &all, err);
    if (!rc)
        rc = bm_snapshots_read(run->domain, &snapshots, err);
    for (size_t i = 0; !rc && i < snapshots.n; i++)
        rc = carry(run, &snapshots.list[i], &all, err);
    bm_snapshots_clear(&snapshots);
    all_moved_clear(&all);
    return rc;
}

/* --- in place --- */

static int is_old(void *opaque, const char *disk, const char *how,
                  const char *overlay)
{
    const struct bm_job *job = opaque;

    for (size_t i = 0; overlay && i < job->n_disks; i++)
        if (!strcmp(overlay, bm_job_old(&job->disks[i], 0)->path))
            return 1;
    return 0;
}

static int hide(struct bm_run *run, const struct bm_snapshot *snapshot,
                struct bm_error *err)
{
    int named = bm_snapshot_xml_disks(snapshot->xml, is_old, run->job), rc;
    BM_FREE char *xml = NULL;

    if (named <= 0)
        return named ? bm_fail_errno(err, -named, "cannot read snapshot %s",
                                     snapshot->name)
                     : 0;
    rc = bm_snapshot_xml_hide(snapshot->xml, &xml);
    if (rc)
        return bm_fail_errno(err, -rc, "cannot read snapshot %s",
                             snapshot->name);
    return bm_snapshot_redefine(run->domain, snapshot, xml, err);
}

int bm_snapshot_metadata_hide(struct bm_run *run, struct bm_error *err)
{
    struct bm_snapshots snapshots = {0};
    int rc;

    if (!run->job->snapshot || !run->domain || !run->domain->snapshots)
        return 0;
    rc = bm_snapshots_read(run->domain, &snapshots, err);
    for (size_t i = 0; !rc && i < snapshots.n; i++)
        rc = hide(run, &snapshots.list[i], err);
    bm_snapshots_clear(&snapshots);
    return rc;
}
