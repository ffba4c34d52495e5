// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of chains, and of the snapshots that libvirt has made of them.
 */
#include "blockmig/preflight/preflight-private.h"
#include "nbd/base/cleanup.h"
#include "snapshot/tree/metadata-xml.h"
#include "snapshot/tree/metadata.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>

/* --- one disk's layers --- */

static int check_flat(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan)
{
    return BM_FINE(look, "chain", plan->target,
                   "%zu layers become one image; the lower ones stay where "
                   "they are, unused by the disk",
                   plan->source.n);
}

/* Only qcow2 names its backing file in a way that we can rewrite. */
static int check_formats(const struct bm_preflight_context *look,
                         const struct bm_job_disk *plan)
{
    for (size_t l = 0; l + 1 < plan->source.n; l++)
        if (strcmp(plan->source.layers[l].format, "qcow2") != 0)
            return BM_REFUSED(
                look, "chain", plan->target, "give --chain flatten",
                "%s is %s: of a chain that is kept each layer "
                "with another below it must be qcow2",
                plan->source.layers[l].path, plan->source.layers[l].format);
    return 0;
}

static int check_kept(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan)
{
    size_t stay = (size_t)plan->below - plan->n_lower;
    int rc = check_formats(look, plan);

    if (!rc)
        rc = BM_FINE(look, "chain", plan->target, "%zu layer%s of its own",
                     plan->n_lower + 1,
                     plan->n_lower ? "s get an image, each" : " gets an image");
    if (!rc && plan->fixed.shared)
        rc = BM_FINE(look, "chain", plan->target,
                     "%zu below them stay where they are: %s", stay,
                     plan->fixed.shared);
    return rc;
}

static int check_options(const struct bm_preflight_context *look,
                         const struct bm_job_disk *plan)
{
    int rc = 0;

    for (size_t k = 0; !rc && k <= plan->n_lower; k++) {
        const char *create = k ? plan->lower[k - 1].create : plan->fixed.create;

        if (create)
            rc = BM_FINE(look, "options", plan->target, "%s is made with %s",
                         bm_job_new_image(plan)[k].path, create);
    }
    return rc;
}

int bm_preflight_chain(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan)
{
    int rc = 0;

    if (plan->below)
        rc = check_kept(look, plan);
    else if (plan->source.n > 1)
        rc = check_flat(look, plan);
    return rc ? rc : check_options(look, plan);
}

/* --- snapshots --- */

struct snapshot_look {
    const struct bm_preflight_context *look;
    const struct bm_snapshot *snapshot;
};

static const struct bm_job_disk *job_disk(const struct bm_job *job,
                                          const char *target)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!strcmp(job->disks[i].target, target))
            return &job->disks[i];
    return NULL;
}

static bool in_chain(const struct bm_chain *chain, const char *path)
{
    for (size_t l = 0; l < chain->n; l++)
        if (chain->layers[l].path && !strcmp(chain->layers[l].path, path))
            return true;
    return false;
}

static int check_disk(void *opaque, const char *disk, const char *how,
                      const char *overlay)
{
    const struct snapshot_look *s = opaque;
    const struct bm_job_disk *plan = job_disk(s->look->job, disk);

    if (plan && !strcmp(how, "internal"))
        return BM_REFUSED(s->look, "snapshots", disk,
                          "delete it first (virsh snapshot-delete)",
                          "snapshot %s is inside the image, and no copy would "
                          "carry it over",
                          s->snapshot->name);
    if (plan && overlay && !in_chain(&plan->source, overlay))
        return BM_FINE(s->look, "snapshots", disk,
                       "%s of snapshot %s is on another branch and stays where "
                       "it is",
                       overlay, s->snapshot->name);
    return 0;
}

/* The file has the domain's XML of that time in it. */
static int check_memory(const struct bm_preflight_context *look,
                        const struct bm_snapshot *snapshot)
{
    BM_FREE char *file = bm_snapshot_xml_memory(snapshot->xml);

    if (!file)
        return 0;
    return BM_WARNED(look, "snapshots", "",
                     "to restore it give virsh restore --xml the new images",
                     "%s, the guest's memory of snapshot %s, stays where it is "
                     "and names the old images",
                     file, snapshot->name);
}

static int check_each(const struct bm_preflight_context *look,
                      struct bm_error *err)
{
    struct bm_snapshots snapshots;
    int rc = bm_snapshots_read(look->domain, &snapshots, err);

    for (size_t i = 0; !rc && i < snapshots.n; i++) {
        struct snapshot_look s = {look, &snapshots.list[i]};

        rc = bm_snapshot_xml_disks(s.snapshot->xml, check_disk, &s);
        if (!rc)
            rc = check_memory(look, s.snapshot);
    }
    bm_snapshots_clear(&snapshots);
    return rc ? rc
              : BM_FINE(look, "snapshots", "",
                        "%d snapshots of the domain will name the new images",
                        look->domain->snapshots);
}

static bool carried(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!bm_job_chain_kept(&job->disks[i]))
            return false;
    return job->plan.strategy == BM_STRATEGY_STAGED;
}

int bm_preflight_snapshots(const struct bm_preflight_context *look,
                           struct bm_error *err)
{
    if (look->domain->snapshots == 0)
        return BM_FINE(look, "snapshots", "", "libvirt knows no snapshots");
    if (look->job->snapshot)
        return BM_FINE(look, "snapshots", "",
                       "the %d restore points keep their images",
                       look->domain->snapshots);
    if (carried(look->job))
        return check_each(look, err);
    return bm_preflight_add(
        look->list, look->job->request.force ? BM_WARN : BM_REFUSE, "snapshots",
        "",
        look->job->plan.strategy == BM_STRATEGY_STAGED
            ? "leave --chain flatten out, or delete the snapshots first (virsh "
              "snapshot-delete), or --force: their metadata will name the old "
              "images"
            : "move the guest while it runs by --strategy staged, or delete "
              "the snapshots first (virsh snapshot-delete), or --force: their "
              "metadata will name the old images",
        "libvirt knows %d snapshots of the domain, which the copy of the "
        "whole disk makes meaningless",
        look->domain->snapshots);
}
