// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *bm_merge_proof_name(enum bm_merge_proof proof)
{
    static const char *const names[] = {"none", "touched", "full"};

    return names[proof];
}

struct bm_job_snapshot *bm_job_snapshot_new(const char *verb)
{
    struct bm_job_snapshot *snapshot = calloc(1, sizeof *snapshot);

    if (!snapshot)
        return NULL;
    snapshot->verb = strdup(verb);
    if (snapshot->verb)
        return snapshot;
    free(snapshot);
    return NULL;
}

void bm_job_snapshot_free(struct bm_job_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (size_t i = 0; i < snapshot->n_merges; i++) {
        free(snapshot->merges[i].target);
        free(snapshot->merges[i].stamp);
        bm_chain_clear(&snapshot->merges[i].layers);
        bm_chain_clear(&snapshot->merges[i].children);
    }
    for (size_t i = 0; i < snapshot->n_points; i++) {
        free(snapshot->points[i].name);
        free(snapshot->points[i].memory);
    }
    free(snapshot->merges);
    free(snapshot->points);
    free(snapshot->verb);
    free(snapshot->name);
    free(snapshot->description);
    free(snapshot->memory);
    free(snapshot->xml);
    free(snapshot->xml_after);
    free(snapshot->branch);
    free(snapshot->socket);
    free(snapshot);
}

struct bm_job_merge *bm_job_snapshot_add_merge(struct bm_job_snapshot *snapshot)
{
    struct bm_job_merge *merges =
        realloc(snapshot->merges, (snapshot->n_merges + 1) * sizeof *merges);

    if (!merges)
        return NULL;
    snapshot->merges = merges;
    memset(&merges[snapshot->n_merges], 0, sizeof *merges);
    return &merges[snapshot->n_merges++];
}

int bm_job_snapshot_add_point(struct bm_job_snapshot *snapshot,
                              const char *name, const char *memory)
{
    struct bm_job_point *points =
        realloc(snapshot->points, (snapshot->n_points + 1) * sizeof *points);
    struct bm_job_point *point;

    if (!points)
        return -ENOMEM;
    snapshot->points = points;
    point = &points[snapshot->n_points];
    *point = (struct bm_job_point){.name = strdup(name),
                                   .memory = memory ? strdup(memory) : NULL};
    snapshot->n_points++;
    return point->name && (!memory || point->memory) ? 0 : -ENOMEM;
}

bool bm_job_snapshot_has_point(const struct bm_job_snapshot *snapshot,
                               const char *name)
{
    for (size_t i = 0; i < snapshot->n_points; i++)
        if (!strcmp(snapshot->points[i].name, name))
            return true;
    return false;
}

const struct bm_layer *bm_merge_base(const struct bm_job_merge *merge)
{
    return &merge->layers.layers[merge->layers.n - 1];
}

size_t bm_merge_goes(const struct bm_job_merge *merge)
{
    return merge->layers.n > 1 ? merge->layers.n - 1 : 1;
}
