// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of the room: what images and overlays may take, file system by
 * file system, and where the overlays of the old side stand.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/datastore/space-required.h"
#include "blockmig/plan/overlay-placement.h"
#include "blockmig/preflight/preflight-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <string.h>
#include <sys/stat.h>

/* For the switch overlay while the proof runs, each disk. */
#define OVERLAY_ROOM (64ULL << 20)

/* A frozen layer takes what it takes now; the base may be compressed, which
 * its copy is not. */
static uint64_t lower_room(const struct bm_job_disk *plan, size_t k)
{
    uint64_t bytes = plan->lower[k - 1].size;
    struct stat st;

    if (k + 1 < plan->source.n && stat(bm_job_old(plan, k)->path, &st) == 0 &&
        S_ISREG(st.st_mode))
        bytes = (uint64_t)st.st_blocks * 512;
    return bytes + bytes / 6553 + (1 << 20);
}

/* The most that one target can grow to: a full image, and for qcow2 its
 * tables (8 bytes of L2 and 2 of refcounts a cluster of 64 KiB). */
static uint64_t image_room(const struct bm_job_disk *plan)
{
    uint64_t bytes = plan->fixed.capacity;

    if (!strcmp(bm_job_new_image(plan)->format, "qcow2"))
        bytes += plan->fixed.capacity / 6553 + (1 << 20);
    for (size_t k = 1; k <= plan->n_lower; k++)
        bytes += lower_room(plan, k);
    return bytes;
}

static uint64_t bridge_room(const struct bm_preflight_context *look,
                            const struct bm_job_disk *plan)
{
    return look->job->limits.switch_max < plan->fixed.capacity
               ? look->job->limits.switch_max
               : plan->fixed.capacity;
}

static int add_in(struct bm_space_required *required, const char *overlay,
                  uint64_t bytes, bool written)
{
    BM_FREE char *folder = overlay ? bm_file_folder(overlay) : NULL;

    return bm_space_required_add(required, folder, bytes, written);
}

static int add_disk(const struct bm_preflight_context *look,
                    const struct bm_job_disk *plan,
                    struct bm_space_required *required)
{
    const struct bm_job *job = look->job;
    int rc = 0;

    if (look->store->kind != BM_DATASTORE_BLOCK)
        rc = bm_space_required_add(required, look->store->path,
                                   image_room(plan), false);
    if (!rc && job->request.proof && job->plan.strategy != BM_STRATEGY_COLD)
        rc = add_in(required, plan->fixed.switch_overlay, OVERLAY_ROOM, true);
    if (rc || job->plan.strategy != BM_STRATEGY_STAGED)
        return rc;
    rc = add_in(required, plan->fixed.mirror_overlay, bridge_room(look, plan),
                false);
    return rc ? rc
              : bm_space_required_add(required, plan->fixed.source_overlay_dir,
                                      bm_place_reserve(plan), true);
}

/* The ballast, and what is left when it is let go. */
static uint64_t reserve(const struct bm_job *job,
                        const struct bm_space_need *need)
{
    if (!need->written)
        return 0;
    return bm_ballast_size(need->path) *
           (job->plan.strategy == BM_STRATEGY_STAGED ? 2 : 1);
}

int bm_preflight_need(const struct bm_preflight_context *look,
                      const struct bm_space_need *it, uint64_t spare,
                      const char *remedy)
{
    uint64_t need = it->bytes + spare;
    char required[32], has[32];

    bm_format_size(need, required, sizeof required);
    bm_format_size(it->available, has, sizeof has);
    if (need > it->available)
        return BM_REFUSED(look, "room", "", remedy,
                          "%s needs up to %s and has %s free", it->path,
                          required, has);
    return BM_FINE(look, "room", "", "%s: up to %s of %s free", it->path,
                   required, has);
}

static int check_place(const struct bm_preflight_context *look)
{
    if (look->job->plan.strategy != BM_STRATEGY_STAGED ||
        !look->job->plan.on_target)
        return 0;
    if (look->store->kind == BM_DATASTORE_BLOCK)
        return BM_REFUSED(look, "overlay-place", "",
                          "give --overlay-dir DIR, or --overlay-on source",
                          "the overlays cannot stand on the target: %s is a "
                          "device",
                          look->store->path);
    return BM_WARNED(look, "overlay-place", "",
                     "see to it that both stay up; going back needs a source "
                     "that takes writes, else the way out is forward",
                     "from the freeze to the end the guest needs both stores: "
                     "the overlays stand on the target (%s)",
                     look->job->plan.place_why);
}

int bm_preflight_space(const struct bm_preflight_context *look,
                       struct bm_error *err)
{
    struct bm_space_required required = BM_SPACE_REQUIRED_INIT;
    int rc = check_place(look);

    for (size_t i = 0; !rc && i < look->job->n_disks; i++)
        rc = add_disk(look, &look->job->disks[i], &required);
    for (size_t i = 0; !rc && i < required.n; i++)
        rc = bm_preflight_need(look, &required.all[i],
                               reserve(look->job, &required.all[i]),
                               "make room, choose another store, or another "
                               "place for the overlays with --overlay-dir");
    bm_space_required_clear(&required);
    return rc ? bm_fail_errno(err, -rc, "cannot check the room") : 0;
}
