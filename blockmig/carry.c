// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/carry.h"

#include "blockmig/point.h"
#include "nbd/cleanup.h"
#include "snapshot/snapshot-xml.h"
#include "snapshot/snapshots.h"

#include <errno.h>

/* Which image has become which; of a chain that became one image, none. Caller
 * frees; borrows from the job. */
static struct bm_image_moved *all_moved(const struct bm_job *job, size_t *n)
{
    struct bm_image_moved *moved;
    size_t max = 0;

    *n = 0;
    for (size_t i = 0; i < job->n_disks; i++)
        max += job->disks[i].n_lower + 1;
    moved = calloc(max, sizeof *moved);
    for (size_t i = 0; moved && i < job->n_disks; i++)
        for (size_t k = 0;
             bm_job_chain_kept(&job->disks[i]) && k <= job->disks[i].n_lower;
             k++)
            moved[(*n)++] =
                (struct bm_image_moved){bm_job_old(&job->disks[i], k)->path,
                                        &bm_job_image(&job->disks[i])[k]};
    return moved;
}

static int carry(struct bm_mover *m, const struct bm_snapshot *snapshot,
                 const struct bm_image_moved *moved, size_t n,
                 struct bm_error *err)
{
    BM_FREE char *xml = NULL;
    int rc = bm_snapshot_xml_replace(snapshot->xml, moved, n, &xml);

    if (rc)
        return bm_fail_errno(err, -rc, "cannot read snapshot %s of %s",
                             snapshot->name, m->job->domain);
    if (!xml)
        return 0;
    rc = bm_snapshot_redefine(m->domain, snapshot, xml, err);
    if (rc && rc != -ETIMEDOUT)
        bm_remedy(err,
                  "the guest is well; mend that snapshot's metadata, or delete "
                  "it (virsh snapshot-delete --metadata)");
    bm_point("releasing.redefined");
    return rc ? rc
              : bm_mover_note(m, err, "snapshot %s names the new images",
                              snapshot->name);
}

int bm_carry_snapshots(struct bm_mover *m, struct bm_error *err)
{
    struct bm_snapshots snapshots = {0};
    struct bm_image_moved *moved;
    size_t n;
    int rc;

    if (m->job->strategy != BM_STRATEGY_STAGED || !m->domain->snapshots)
        return 0;
    moved = all_moved(m->job, &n);
    rc = moved ? bm_snapshots_read(m->domain, &snapshots, err)
               : bm_fail_errno(err, ENOMEM, "cannot carry snapshots over");
    for (size_t i = 0; !rc && i < snapshots.n; i++)
        rc = carry(m, &snapshots.list[i], moved, n, err);
    bm_snapshots_clear(&snapshots);
    free(moved);
    return rc;
}
