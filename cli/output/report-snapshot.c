// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/report-snapshot.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "cli/output/report.h"
#include "cli/output/write.h"

bool cli_is_no_move(const struct bm_job *job)
{
    return !bm_strategy_traits_of(job->plan.strategy)->moves;
}

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
    cli_add_text(o, "disk", merge->target);
    json_object_object_add(o, "layers",
                           paths_json(&merge->layers, bm_merge_goes(merge)));
    cli_add_text(o, "into", drop ? NULL : bm_merge_base(merge)->path);
    json_object_object_add(o, "held", json_object_new_uint64(merge->held));
    cli_add_bool(o, "done", merge->done);
    cli_add_bool(o, "proven", merge->proven);
    json_object_object_add(o, "proof_bytes",
                           json_object_new_uint64(merge->proof_bytes));
    cli_add_text(o, "proof_medium", merge->proof_medium);
    cli_add_text(o, "digest", merge->digest);
    return o;
}

/* Of a restore point that was made, or reverted to. */
static void add_disks(json_object *o, const struct bm_job *job)
{
    json_object *disks = json_object_new_array();

    cli_add_text(o, "verb", job->snapshot->verb);
    cli_add_text(o, "name", job->snapshot->name);
    cli_add_text(o, "memory", job->snapshot->memory);
    cli_add_text(o, "branch", job->snapshot->branch);
    for (size_t i = 0; disks && i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];
        json_object *one = json_object_new_object();

        if (!one)
            break;
        cli_add_text(one, "target", disk->target);
        if (job->plan.strategy == BM_STRATEGY_VIEW) {
            BM_FREE char *uri = cli_view_uri(job, disk->target);

            cli_add_text(one, "uri", uri);
        } else {
            cli_add_text(one, "overlay", disk->fixed.switch_overlay);
            cli_add_text(one, "image", disk->dest.layers[1].path);
        }
        json_object_array_add(disks, one);
    }
    json_object_object_add(o, "disks", disks);
}

static void disks_text(const struct bm_job *job)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;

    if (job->state != BM_STATE_DONE || job->plan.strategy == BM_STRATEGY_VIEW)
        return;
    for (size_t i = 0; i < job->n_disks; i++)
        cli_print("%s: %s, on %s\n", job->disks[i].target,
                  job->disks[i].fixed.switch_overlay,
                  job->disks[i].dest.layers[1].path);
    if (snapshot->memory && job->plan.strategy == BM_STRATEGY_CREATE)
        cli_print("memory: %s\n", snapshot->memory);
    if (snapshot->branch)
        cli_print("what it stood on is kept, as restore point %s\n",
                  snapshot->branch);
}

void cli_add_snapshot(json_object *o, const struct bm_job *job)
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
    cli_add_text(o, "verb", snapshot->verb);
    cli_add_text(o, "proof", bm_merge_proof_name(snapshot->proof));
    for (size_t i = 0; merges && i < snapshot->n_merges; i++)
        json_object_array_add(merges, merge_json(&snapshot->merges[i]));
    for (size_t i = 0; points && i < snapshot->n_points; i++)
        if (snapshot->points[i].gone)
            json_object_array_add(
                points, json_object_new_string(snapshot->points[i].name));
    json_object_object_add(o, "merges", merges);
    json_object_object_add(o, "points_gone", points);
}

static void merge_text(const struct bm_job_merge *merge)
{
    char size[32];

    if (merge->layers.n == 1) {
        cli_print("%s: %s %s\n", merge->target, merge->layers.layers[0].path,
                  merge->done ? "is gone" : "is still there");
        return;
    }
    cli_print("%s: %zu layer%s %s %s\n", merge->target, bm_merge_goes(merge),
              bm_merge_goes(merge) > 1 ? "s" : "",
              merge->done     ? "merged into"
              : merge->merged ? "merged, but not to the end, into"
                              : "not merged into",
              bm_merge_base(merge)->path);
    if (merge->proven)
        cli_print("  proven: %s compared, 0 different (read from %s), sha256 "
                  "%s\n",
                  bm_format_size(merge->proof_bytes, size, sizeof size),
                  merge->proof_medium, merge->digest);
    else if (merge->done)
        cli_print("  not proven: --proof none was given, so the layers are "
                  "kept\n");
}

void cli_snapshot_text(const struct bm_job *job)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;

    if (job->plan.strategy != BM_STRATEGY_MERGE)
        disks_text(job);
    for (size_t i = 0; i < snapshot->n_points; i++)
        cli_print("restore point %s %s\n", snapshot->points[i].name,
                  snapshot->points[i].gone ? "is gone" : "is still there");
    for (size_t i = 0; i < snapshot->n_merges; i++)
        merge_text(&snapshot->merges[i]);
}

char *cli_view_uri(const struct bm_job *view, const char *target)
{
    char *uri;

    return asprintf(&uri, "nbd+unix:///%s?socket=%s", target,
                    view->snapshot->socket) < 0
               ? NULL
               : uri;
}
