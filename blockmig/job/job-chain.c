// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-chain.h"

#include <string.h>

const struct bm_layer *bm_job_new_image(const struct bm_job_disk *disk)
{
    return &disk->dest.layers[disk->dest.n - 1 - (size_t)disk->below];
}

struct bm_chain bm_job_new_chain(const struct bm_job_disk *disk)
{
    return (struct bm_chain){.layers =
                                 (struct bm_layer *)bm_job_new_image(disk),
                             .n = (size_t)disk->below + 1,
                             .complete = true};
}

const struct bm_layer *bm_job_old(const struct bm_job_disk *disk, size_t k)
{
    return &disk->source.layers[(size_t)disk->overlays.n_source + k];
}

size_t bm_job_own(const struct bm_job_disk *disk)
{
    return disk->source.n - (size_t)disk->overlays.n_source -
           (size_t)disk->below;
}

bool bm_job_chain_kept(const struct bm_job_disk *disk)
{
    return disk->source.n ==
           (size_t)disk->overlays.n_source + (size_t)disk->below + 1;
}

bool bm_job_keeps(const struct bm_job_disk *disk)
{
    bool any = disk->kept && !disk->deleted;

    for (size_t k = 0; k < disk->n_lower; k++)
        any |= disk->lower[k].kept && !disk->lower[k].deleted;
    return any;
}

bool bm_job_has_mirror_overlay(const struct bm_job_disk *disk)
{
    return disk->dest.n > (size_t)disk->below + 1;
}

const char *bm_job_freeze_overlay(const struct bm_job *job,
                                  const struct bm_job_disk *disk)
{
    return bm_strategy_traits_of(job->plan.strategy)->freezes_new_image
               ? bm_job_new_image(disk)->path
               : disk->fixed.switch_overlay;
}

#define SOURCE_OVERLAY_FIRST 11

/* Numbers from 11 on: the overlays of the other side have one digit. The
 * suffix matters to virt-aa-helper. */
char *bm_job_source_overlay(const struct bm_job *job,
                            const struct bm_job_disk *disk, int n)
{
    char *path;

    return asprintf(&path, "%s/.blockmig-%s-%s-%d.qcow2",
                    disk->fixed.source_overlay_dir, job->id, disk->target,
                    SOURCE_OVERLAY_FIRST - 1 + n) < 0
               ? NULL
               : path;
}

int bm_job_source_overlay_number(const struct bm_job_disk *disk)
{
    const char *path =
        disk->overlays.n_source ? disk->source.layers[0].path : NULL;
    const char *dash = path ? strrchr(path, '-') : NULL;

    return dash ? atoi(dash + 1) - SOURCE_OVERLAY_FIRST + 1 : 0;
}

struct bm_chain bm_job_below(const struct bm_job_disk *disk, int skip)
{
    struct bm_chain chain = disk->source;

    chain.layers += skip;
    chain.n -= (size_t)skip;
    return chain;
}

struct bm_chain bm_job_old_view(const struct bm_job_disk *disk, int round)
{
    return bm_job_below(disk, disk->overlays.n_source - round);
}
