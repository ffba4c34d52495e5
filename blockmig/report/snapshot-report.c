// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/report/job-report.h"
#include "blockmig/report/job-names.h"
#include "blockmig/report/json.h"
#include "nbd/base/cleanup.h"

static json_object *paths_json(const struct bm_chain *chain, size_t n)
{
    json_object *array = json_object_new_array();

    for (size_t l = 0; array && l < n; l++)
        json_object_array_add(array,
                              json_object_new_string(chain->layers[l].path));
    return array;
}

static json_object *merge_json(const struct bm_job_merge *merge)
{
    json_object *o = json_object_new_object();
    bool drop = merge->layers.n == 1;

    if (!o)
        return NULL;
    bm_report_add_text(o, "disk", merge->target);
    json_object_object_add(o, "layers",
                           paths_json(&merge->layers, bm_merge_goes(merge)));
    bm_report_add_text(o, "into", drop ? NULL : bm_merge_base(merge)->path);
    json_object_object_add(o, "held", json_object_new_uint64(merge->held));
    bm_report_add_bool(o, "done", merge->done);
    bm_report_add_bool(o, "proven", merge->proven);
    json_object_object_add(o, "proof_bytes",
                           json_object_new_uint64(merge->proof_bytes));
    bm_report_add_text(o, "proof_medium", merge->proof_medium);
    bm_report_add_text(o, "digest", merge->digest);
    return o;
}

/* Of a restore point that was made, or reverted to. */
static void add_disks(json_object *o, const struct bm_job *job)
{
    json_object *disks = json_object_new_array();

    bm_report_add_text(o, "verb", job->snapshot->verb);
    bm_report_add_text(o, "name", job->snapshot->name);
    bm_report_add_text(o, "memory", job->snapshot->memory);
    bm_report_add_text(o, "branch", job->snapshot->branch);
    for (size_t i = 0; disks && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];
        json_object *one = json_object_new_object();

        if (!one)
            break;
        bm_report_add_text(one, "target", disk->target);
        if (job->plan.strategy == BM_STRATEGY_VIEW) {
            BM_FREE char *uri = bm_report_view_uri(job, disk->target);

            bm_report_add_text(one, "uri", uri);
        } else {
            bm_report_add_text(one, "overlay", disk->fixed.switch_overlay);
            bm_report_add_text(one, "image", disk->dest.layers[1].path);
        }
        json_object_array_add(disks, one);
    }
    json_object_object_add(o, "disks", disks);
}

void bm_report_add_snapshot(json_object *o, const struct bm_job *job)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;
    json_object *merges = json_object_new_array();
    json_object *points = json_object_new_array();

    if (job->plan.strategy != BM_STRATEGY_MERGE) {
        json_object_put(merges);
        json_object_put(points);
        add_disks(o, job);
        return;
    }
    bm_report_add_text(o, "verb", snapshot->verb);
    bm_report_add_text(o, "proof", bm_merge_proof_name(snapshot->proof));
    for (size_t i = 0; merges && i < snapshot->n_merges; i++)
        json_object_array_add(merges, merge_json(&snapshot->merges[i]));
    for (size_t i = 0; points && i < snapshot->n_points; i++)
        if (snapshot->points[i].gone)
            json_object_array_add(
                points, json_object_new_string(snapshot->points[i].name));
    json_object_object_add(o, "merges", merges);
    json_object_object_add(o, "points_gone", points);
}
