// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of a snapshot that is made, and of a revert.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/datastore/space-required.h"
#include "blockmig/preflight/preflight-private.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Each layer costs a read that finds nothing above; libvirt takes 200. */
static int check_depth(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan, int64_t max)
{
    int64_t depth = (int64_t)plan->dest.n;

    if (depth > max)
        return BM_REFUSED(look, "depth", plan->target,
                          "merge some first (snapshot consolidate), or raise "
                          "--max-depth",
                          "the chain would have %lld images, and %lld are "
                          "allowed",
                          (long long)depth, (long long)max);
    if (4 * depth >= 3 * max)
        return BM_WARNED(look, "depth", plan->target,
                         "merge some: snapshot consolidate",
                         "the chain will have %lld images of %lld allowed",
                         (long long)depth, (long long)max);
    return BM_FINE(look, "depth", plan->target, "%lld images of %lld",
                   (long long)depth, (long long)max);
}

static int check_folder(const struct bm_preflight_context *look,
                        const struct bm_job_disk *plan)
{
    BM_FREE char *folder = bm_file_folder(plan->fixed.switch_overlay);

    if (!folder)
        return -ENOMEM;
    if (strlen(plan->fixed.switch_overlay) - strlen(folder) - 1 > NAME_MAX)
        return BM_REFUSED(look, "overlay-name", plan->target,
                          "give the restore point a shorter one",
                          "no file can have so long a name: %.100s...",
                          plan->fixed.switch_overlay + strlen(folder) + 1);
    if (access(folder, W_OK | X_OK) != 0)
        return BM_REFUSED(look, "overlay-folder", plan->target,
                          "make it writable, or give --overlay-dir",
                          "no file can be made in %s: %s", folder,
                          strerror(errno));
    return BM_FINE(look, "overlay-folder", plan->target, "%s",
                   plan->fixed.switch_overlay);
}

/* What a guest will write is not known: at least the reserve must be there, and
 * that an overlay may grow to the size of its disk is said. */
static int check_space(const struct bm_preflight_context *look)
{
    struct bm_space_required required = BM_SPACE_REQUIRED_INIT;
    int rc = 0;

    for (size_t i = 0; !rc && i < look->job->n_disks; i++) {
        const struct bm_job_disk *plan = &look->job->disks[i];
        BM_FREE char *folder = bm_file_folder(plan->fixed.switch_overlay);

        rc = folder ? bm_space_required_add(&required, folder,
                                            plan->fixed.capacity, true)
                    : -ENOMEM;
    }
    for (size_t i = 0; !rc && i < required.n; i++) {
        const struct bm_space_need *it = &required.all[i];
        char wants[32], has[32];

        bm_format_size(it->bytes, wants, sizeof wants);
        bm_format_size(it->available, has, sizeof has);
        if (it->available < bm_ballast_size(it->path))
            rc = BM_REFUSED(look, "room", "", "make room there",
                            "%s has %s free only", it->path, has);
        else if (it->available < it->bytes)
            rc = BM_WARNED(look, "room", "",
                           "watch it: a guest whose overlay finds no room is "
                           "paused",
                           "%s has %s free, and the overlays may grow to %s",
                           it->path, has, wants);
        else
            rc = BM_FINE(look, "room", "", "%s: up to %s of %s free", it->path,
                         wants, has);
    }
    bm_space_required_clear(&required);
    return rc;
}

/* One that is not there, or not as the guest left it, is worse than none. */
static int check_memory(const struct bm_preflight_context *look)
{
    const char *memory = look->job->snapshot->memory;

    if (look->job->plan.strategy != BM_STRATEGY_REVERT || !memory)
        return 0;
    if (access(memory, R_OK) != 0)
        return BM_REFUSED(look, "memory", "", "bring that file back",
                          "cannot read %s: %s", memory, strerror(errno));
    return BM_FINE(look, "memory", "", "%s", memory);
}

int bm_preflight_snapshot(struct bm_connection *conn, struct bm_domain *domain,
                          const struct bm_job *job, int64_t max_depth,
                          struct bm_preflight *preflight, struct bm_error *err)
{
    const struct bm_preflight_context look = {conn, domain, NULL, job,
                                              preflight};
    int rc = bm_preflight_domain(&look, err);

    if (!rc)
        rc = bm_preflight_no_checkpoints(&look);
    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *plan = &job->disks[i];
        struct bm_disk *disk = bm_domain_disk(domain, plan->target);

        rc = disk ? bm_preflight_disk(&look, plan, disk, err)
                  : BM_REFUSED(&look, "disk", plan->target, NULL,
                               "the disk is gone");
        if (!rc)
            rc = check_depth(&look, plan, max_depth);
        if (!rc)
            rc = check_folder(&look, plan);
    }
    if (!rc)
        rc = check_space(&look);
    if (!rc)
        rc = job->request.quiesce ? bm_preflight_agent(&look) : 0;
    if (!rc)
        rc = check_memory(&look);
    return rc == -ENOMEM ? bm_fail_errno(err, ENOMEM, "cannot check") : rc;
}
