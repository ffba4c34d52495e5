// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight: what becomes of the domain's checkpoints. A bitmap that is lost
 * or broken without a word makes the next incremental backup a lie.
 */
#include "blockmig/preflight/preflight-private.h"
#include "nbd/image/image-bitmaps.h"
#include "snapshot/tree/checkpoint.h"
#include "blockmig/job/job-chain.h"

#include <string.h>

#define NAME "checkpoints"

/* Whether libvirt's next incremental backup from it would work: asked of QEMU,
 * or of the image if that is closed. */
static int is_whole(const struct bm_preflight_context *look,
                    const struct bm_checkpoint_disk *disk,
                    const struct bm_job_disk *plan, bool *whole,
                    struct bm_error *err)
{
    const struct bm_layer *top = &plan->source.layers[0];
    const struct bm_image_bitmap *bitmap;
    struct bm_image_bitmaps bitmaps;
    int rc;

    *whole = disk->whole;
    if (look->domain->active || !top->path || !top->format)
        return 0;
    rc = bm_image_bitmaps_read(top->path, top->format, &bitmaps, err);
    if (rc)
        return rc;
    bitmap = bm_image_bitmaps_find(&bitmaps, disk->bitmap);
    *whole = bitmap && bitmap->enabled && !bitmap->broken;
    bm_image_bitmaps_clear(&bitmaps);
    return 0;
}

/* --- one checkpoint, one disk --- */

static int check_disk(const struct bm_preflight_context *look,
                      const struct bm_checkpoint *checkpoint,
                      const struct bm_job_disk *plan, struct bm_error *err)
{
    const struct bm_checkpoint_disk *disk =
        bm_checkpoint_disk(checkpoint, plan->target);
    char remedy[256];
    bool whole;
    int rc;

    if (!disk)
        return 0;
    if (!strcmp(bm_job_new_image(plan)->format, "raw")) {
        if (!look->job->request.drop_checkpoints)
            return BM_REFUSED(look, NAME, plan->target,
                              "use --format qcow2, or --drop-checkpoints, "
                              "which forgets them when the move is done",
                              "checkpoint %s needs a bitmap of the disk, which "
                              "a raw image cannot hold",
                              checkpoint->name);
        return BM_WARNED(look, NAME, plan->target,
                         "make a full backup after the move",
                         "checkpoint %s is forgotten when the move is done",
                         checkpoint->name);
    }
    rc = is_whole(look, disk, plan, &whole, err);
    if (rc || whole)
        return rc;
    snprintf(remedy, sizeof remedy,
             "virsh checkpoint-delete --metadata %.80s %.80s, and make a full "
             "backup",
             look->domain->name, checkpoint->name);
    return BM_REFUSED(look, NAME, plan->target, remedy,
                      "the bitmap of checkpoint %s is missing or broken, so "
                      "that no incremental backup can stand on it",
                      checkpoint->name);
}

/* libvirt 9.0 refuses to redefine a snapshot then, which each of these does. */
int bm_preflight_no_checkpoints(const struct bm_preflight_context *look)
{
    bool revert = !strcmp(look->job->snapshot->verb, "revert");

    if (look->domain->checkpoints == 0 || (look->domain->active && !revert))
        return 0;
    return BM_REFUSED(look, NAME, "",
                      revert ? "delete them (virsh checkpoint-delete)"
                             : "start the guest, or delete them (virsh "
                               "checkpoint-delete)",
                      "libvirt changes no snapshot of a domain that is off "
                      "and has checkpoints (%d)",
                      look->domain->checkpoints);
}

int bm_preflight_checkpoints(const struct bm_preflight_context *look,
                             struct bm_error *err)
{
    struct bm_checkpoints all;
    size_t before = look->list->n;
    int rc;

    if (look->domain->checkpoints == 0)
        return BM_FINE(look, NAME, "", "no checkpoints");
    /* QEMU may not answer: what it does is told already */
    if (look->list->refused)
        return 0;
    rc = bm_checkpoints_read(look->domain, &all, err);
    for (size_t c = 0; !rc && c < all.n; c++)
        for (size_t i = 0; !rc && i < look->job->n_disks; i++)
            if (look->job->disks[i].source.n)
                rc = check_disk(look, &all.list[c], &look->job->disks[i], err);
    if (!rc && look->list->n == before)
        rc = BM_FINE(look, NAME, "",
                     "the bitmaps of %zu checkpoints are carried over", all.n);
    bm_checkpoints_clear(&all);
    return rc;
}
