// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/merge/locate.h"
#include "blockmig/job/disk-location.h"

#include <string.h>

size_t bm_merge_disk(const struct bm_job *job, const struct bm_job_merge *merge)
{
    size_t i = 0;

    while (i + 1 < job->n_disks &&
           strcmp(job->disks[i].target, merge->target) != 0)
        i++;
    return i;
}

size_t bm_merge_position(const struct bm_chain *chain, const char *path)
{
    size_t i = 0;

    while (i < chain->n &&
           !(chain->layers[i].path && !strcmp(chain->layers[i].path, path)))
        i++;
    return i;
}

static enum bm_merge_at place(const struct bm_chain *chain,
                              const struct bm_job_merge *merge, bool *foreign)
{
    const char *base = bm_merge_base(merge)->path;
    size_t goes = merge->layers.n - 1, at = bm_merge_position(chain, base),
           seen = 0;

    for (size_t l = 0; l < goes; l++)
        seen += bm_chain_names(chain, merge->layers.layers[l].path);
    *foreign = false;
    if (at == chain->n) {
        *foreign = seen > 0;
        return BM_MERGE_BRANCH;
    }
    if (seen == 0 && goes > 0)
        return BM_MERGE_MERGED;
    *foreign = seen < goes || at < goes;
    for (size_t l = 0; !*foreign && l < goes; l++)
        *foreign = strcmp(chain->layers[at - goes + l].path,
                          merge->layers.layers[l].path) != 0;
    return BM_MERGE_CHAIN;
}

int bm_merge_look(struct bm_run *run, const struct bm_job_merge *merge,
                  enum bm_merge_at *at, struct bm_error *err)
{
    size_t i = bm_merge_disk(run->job, merge);
    struct bm_disk *disk = bm_run_disk(run, i);
    struct bm_chain chain = {0};
    bool foreign = false;
    int rc;

    if (!disk)
        return bm_run_misplaced(run, i, "gone", NULL, err);
    rc = bm_disk_location_chain(run->domain, disk, &chain, err);
    if (rc)
        return rc;
    *at = place(&chain, merge, &foreign);
    /* nobody but us merges them, and only when that is in the journal */
    foreign |= *at == BM_MERGE_MERGED && !merge->begun;
    if (foreign)
        rc = bm_run_misplaced(run, i, "on a chain that is not as planned",
                              &chain, err);
    bm_chain_clear(&chain);
    return rc;
}
