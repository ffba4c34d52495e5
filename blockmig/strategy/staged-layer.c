// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A chain that is kept, layer by layer: the replicas of the lower ones.
 */
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/staged-private.h"

int bm_staged_copy_layer(struct bm_replica_run *s, size_t i,
                         struct bm_error *err)
{
    struct bm_chain view =
        bm_replica_old_chain(&s->run->job->disks[i], s->layer);
    int rc = bm_replica_copy(s->replicas[i], &view,
                             view.n > 1 ? BM_REPLICA_OWN : BM_REPLICA_ALL, err);

    if (!rc)
        bm_failpoint("copying.layer");
    return rc;
}

int bm_staged_bounds(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->run->job->disks[i];
    struct bm_chain old = bm_replica_old_chain(disk, s->layer);
    struct bm_chain new = bm_replica_new_chain(disk, s->layer);

    return new.n > 1 ? bm_replica_bounds(s->replicas[i], &old, &new, err) : 0;
}

static int inherit(struct bm_replica_run *s, size_t i, size_t layer,
                   struct bm_error *err)
{
    struct bm_replica_run_how how;
    struct bm_replica *below = NULL;
    int rc = bm_replica_run_open(s, i, layer, &how, &below, err);

    if (!rc)
        rc = bm_replica_inherit(s->replicas[i], below, err);
    bm_replica_close(below);
    return rc;
}

int bm_staged_fill(struct bm_replica_run *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->run->job->disks[i];
    struct bm_chain old = bm_replica_old_chain(disk, 0);
    int rc = 0;

    for (size_t k = 1; !rc && k <= disk->n_lower; k++)
        rc = inherit(s, i, k, err);
    return rc || !disk->below ? rc : bm_replica_fill(s->replicas[i], &old, err);
}
