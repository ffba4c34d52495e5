// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/job-json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_chain(json_object *disk, const char *disk_where,
                      const char *name, struct bm_chain *chain,
                      struct bm_error *err)
{
    json_object *object, *array = NULL;
    char where[96];
    size_t n;
    int rc =
        bm_json_member(disk, disk_where, name, json_type_object, &object, err);

    if (rc < 0)
        return rc;
    snprintf(where, sizeof where, "%s%s.", disk_where, name);
    rc = bm_json_read(object, bm_chain_fields, chain, where, err);
    if (rc == 0)
        rc = bm_json_member(object, where, "layers", json_type_array, &array,
                            err);
    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    chain->layers = calloc(n ? n : 1, sizeof *chain->layers);
    if (!chain->layers)
        return bm_json_no_memory(err);
    for (chain->n = 0; chain->n < n && rc == 0;) {
        struct bm_layer *layer = &chain->layers[chain->n];

        snprintf(where, sizeof where, "%s%s.layers[%zu].", disk_where, name,
                 chain->n);
        rc = bm_json_read(json_object_array_get_idx(array, chain->n++),
                          bm_layer_fields, layer, where, err);
    }
    return rc;
}

static int read_lower(json_object *disk, const char *disk_where,
                      struct bm_job_disk *into, struct bm_error *err)
{
    json_object *array;
    char where[64];
    size_t n;
    int rc =
        bm_json_member(disk, disk_where, "lower", json_type_array, &array, err);

    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    into->lower = calloc(n ? n : 1, sizeof *into->lower);
    if (!into->lower)
        return bm_json_no_memory(err);
    while (into->n_lower < n && rc == 0) {
        struct bm_job_layer *layer = &into->lower[into->n_lower];

        snprintf(where, sizeof where, "%slower[%zu].", disk_where,
                 into->n_lower);
        rc = bm_json_read(json_object_array_get_idx(array, into->n_lower++),
                          bm_lower_fields, layer, where, err);
    }
    return rc;
}

/* What the rest of the program counts on when it goes down the chains. */
static int check_layers(const struct bm_job_disk *disk, const char *where,
                        struct bm_error *err)
{
    if (disk->below < 0 || (size_t)disk->below >= disk->dest.n ||
        disk->n_lower > (size_t)disk->below)
        return bm_json_bad(err, where, "below", "does not fit dest and lower");
    if (disk->overlays.n_source < 0 ||
        (size_t)disk->overlays.n_source + disk->n_lower >= disk->source.n)
        return bm_json_bad(err, where, "fronts",
                           "does not fit source and lower");
    return 0;
}

static int read_disk(json_object *object, size_t i, struct bm_job_disk *disk,
                     struct bm_error *err)
{
    char where[32];
    int rc;

    snprintf(where, sizeof where, "disks[%zu].", i);
    rc = bm_json_read(object, bm_disk_fields, disk, where, err);
    if (rc == 0)
        rc = read_chain(object, where, "source", &disk->source, err);
    if (rc == 0)
        rc = read_chain(object, where, "dest", &disk->dest, err);
    if (rc == 0)
        rc = read_lower(object, where, disk, err);
    return rc || (!disk->below && !disk->n_lower)
               ? rc
               : check_layers(disk, where, err);
}

static int read_disks(json_object *root, struct bm_job *job,
                      struct bm_error *err)
{
    json_object *array;
    int rc = bm_json_member(root, "", "disks", json_type_array, &array, err);
    size_t n;

    if (rc < 0)
        return rc;
    n = json_object_array_length(array);
    job->disks = calloc(n ? n : 1, sizeof *job->disks);
    if (!job->disks)
        return bm_json_no_memory(err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        job->n_disks = i + 1;
        rc = read_disk(json_object_array_get_idx(array, i), i, &job->disks[i],
                       err);
    }
    return rc;
}

/* --- a snapshot command --- */

static int read_merge(json_object *object, size_t i, struct bm_job_merge *merge,
                      struct bm_error *err)
{
    char where[48];
    int rc;

    snprintf(where, sizeof where, "snapshot.merges[%zu].", i);
    rc = bm_json_read(object, bm_merge_fields, merge, where, err);
    if (rc == 0)
        rc = read_chain(object, where, "layers", &merge->layers, err);
    if (rc == 0)
        rc = read_chain(object, where, "children", &merge->children, err);
    return rc == 0 && merge->layers.n == 0
               ? bm_json_bad(err, where, "layers", "is empty")
               : rc;
}

static int read_merges(json_object *object, struct bm_job_snapshot *into,
                       struct bm_error *err)
{
    json_object *array;
    int rc = bm_json_member(object, "snapshot.", "merges", json_type_array,
                            &array, err);
    size_t n = rc < 0 ? 0 : json_object_array_length(array);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct bm_job_merge *merge = bm_job_snapshot_add_merge(into);

        rc = merge ? read_merge(json_object_array_get_idx(array, i), i, merge,
                                err)
                   : bm_json_no_memory(err);
    }
    return rc;
}

static int read_points(json_object *object, struct bm_job_snapshot *into,
                       struct bm_error *err)
{
    json_object *array;
    int rc = bm_json_member(object, "snapshot.", "points", json_type_array,
                            &array, err);
    size_t n = rc < 0 ? 0 : json_object_array_length(array);

    into->points = calloc(n ? n : 1, sizeof *into->points);
    if (!into->points)
        return bm_json_no_memory(err);
    while (rc == 0 && into->n_points < n) {
        size_t i = into->n_points++;

        rc = bm_json_read(json_object_array_get_idx(array, i),
                          bm_job_point_fields, &into->points[i],
                          "snapshot.points.", err);
    }
    return rc;
}

/* A move has none. */
static int read_snapshot(json_object *root, struct bm_job *job,
                         struct bm_error *err)
{
    json_object *object;
    int rc;

    if (!json_object_object_get_ex(root, "snapshot", &object))
        return 0;
    if (!json_object_is_type(object, json_type_object))
        return bm_json_bad(err, "", "snapshot", "has a wrong type");
    job->snapshot = calloc(1, sizeof *job->snapshot);
    if (!job->snapshot)
        return bm_json_no_memory(err);
    rc = bm_json_read(object, bm_snapshot_fields, job->snapshot, "snapshot.",
                      err);
    if (rc == 0)
        rc = read_merges(object, job->snapshot, err);
    return rc ? rc : read_points(object, job->snapshot, err);
}

static int read_job(json_object *root, struct bm_job *job, struct bm_error *err)
{
    int rc = bm_json_read(root, bm_job_fields, job, "", err);

    if (rc == 0 && !bm_job_id_valid(job->id))
        rc = bm_json_bad(err, "", "id", "is not eight hex digits");
    if (rc == 0)
        rc = read_disks(root, job, err);
    if (rc == 0)
        rc = read_snapshot(root, job, err);
    if (rc == 0 && !bm_strategy_traits_of(job->plan.strategy)->moves &&
        !job->snapshot)
        rc = bm_json_bad(err, "", "snapshot", "does not fit strategy");
    return rc;
}

int bm_job_from_json(const char *text, struct bm_job **out,
                     struct bm_error *err)
{
    BM_JSON json_object *root = NULL;
    struct bm_job *job;
    int rc = bm_json_parse(text, &root, err);

    if (rc < 0)
        return rc;
    job = calloc(1, sizeof *job);
    if (!job)
        return bm_json_no_memory(err);
    rc = read_job(root, job, err);
    if (rc < 0) {
        bm_job_free(job);
        return rc;
    }
    *out = job;
    return 0;
}
