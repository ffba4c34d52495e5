// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/report/job-names.h"
#include "blockmig/job/job-chain.h"

static const char *path_of(const struct bm_chain *chain, size_t i)
{
    return i < chain->n && chain->layers[i].path ? chain->layers[i].path : "-";
}

const char *bm_report_source_name(const struct bm_job_disk *disk)
{
    return path_of(&disk->source, (size_t)disk->overlays.n_source);
}

const char *bm_report_dest_name(const struct bm_job_disk *disk)
{
    const struct bm_layer *image = bm_job_new_image(disk);

    return image->path ? image->path : "-";
}

const char *bm_report_layer_name(const struct bm_job_disk *disk, size_t k)
{
    return path_of(&disk->source, (size_t)disk->overlays.n_source + k);
}

bool bm_report_keeps(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (bm_job_keeps(&job->disks[i]))
            return true;
    return false;
}

bool bm_report_has_gaps(const struct bm_job_disk *disk)
{
    return disk->rescue.map &&
           (disk->rescue.unreadable_bytes || disk->rescue.filled_bytes);
}

bool bm_report_is_no_move(const struct bm_job *job)
{
    return !bm_strategy_traits_of(job->plan.strategy)->moves;
}

char *bm_report_view_uri(const struct bm_job *view, const char *target)
{
    char *uri;

    return asprintf(&uri, "nbd+unix:///%s?socket=%s", target,
                    view->snapshot->socket) < 0
               ? NULL
               : uri;
}
