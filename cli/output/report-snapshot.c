// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/report-snapshot.h"

#include "nbd/base/units.h"
#include "cli/output/write.h"

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
