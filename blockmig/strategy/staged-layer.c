// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A chain that is kept, layer by layer: the stages of the lower ones.
 */
#include "blockmig/job/failpoint.h"
#include "blockmig/strategy/staged-private.h"

int bm_staged_copy_layer(struct bm_staged *s, size_t i, struct bm_error *err)
{
    struct bm_chain view = bm_staged_old(&s->m->job->disks[i], s->layer);
    int rc = bm_stage_copy(s->stages[i], &view,
                           view.n > 1 ? BM_STAGE_OWN : BM_STAGE_ALL, err);

    if (!rc)
        bm_failpoint("copying.layer");
    return rc;
}

int bm_staged_bounds(struct bm_staged *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->m->job->disks[i];
    struct bm_chain old = bm_staged_old(disk, s->layer);
    struct bm_chain new = bm_staged_new(disk, s->layer);

    return new.n > 1 ? bm_stage_bounds(s->stages[i], &old, &new, err) : 0;
}

static int inherit(struct bm_staged *s, size_t i, size_t layer,
                   struct bm_error *err)
{
    struct bm_staged_how how;
    struct bm_stage *below = NULL;
    int rc = bm_staged_open(s, i, layer, &how, &below, err);

    if (!rc)
        rc = bm_stage_inherit(s->stages[i], below, err);
    bm_stage_close(below);
    return rc;
}

int bm_staged_fill(struct bm_staged *s, size_t i, struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->m->job->disks[i];
    struct bm_chain old = bm_staged_old(disk, 0);
    int rc = 0;

    for (size_t k = 1; !rc && k <= disk->n_lower; k++)
        rc = inherit(s, i, k, err);
    return rc || !disk->below ? rc : bm_stage_fill(s->stages[i], &old, err);
}
