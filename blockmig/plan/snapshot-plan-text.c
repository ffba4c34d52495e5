// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/snapshot-plan.h"

#include <errno.h>
#include <stdio.h>

static void create_lines(FILE *out, const struct bm_job *job)
{
    fprintf(out, "make restore point %s of %s, which %s\n", job->snapshot->name,
            job->domain, job->plan.was_active ? "runs" : "is off");
    if (job->request.quiesce)
        fprintf(out, "  the guest's agent freezes its file systems\n");
    for (size_t i = 0; i < job->n_disks; i++)
        fprintf(out, "  %s: %s on %s\n", job->disks[i].target,
                job->disks[i].fixed.switch_overlay,
                job->disks[i].source.layers[0].path);
    if (job->snapshot->memory)
        fprintf(out, "  the guest's memory into %s\n", job->snapshot->memory);
}

static void view_lines(FILE *out, const struct bm_job *job)
{
    fprintf(out, "hold a read-only view %s of %s\n", job->snapshot->name,
            job->domain);
    for (size_t i = 0; i < job->n_disks; i++)
        fprintf(out, "  %s: what the guest overwrites is saved in %s\n",
                job->disks[i].target, job->disks[i].fixed.switch_overlay);
    fprintf(out, "  served at %s, until it is deleted or the guest ends\n",
            job->snapshot->socket);
}

static void revert_lines(FILE *out, const struct bm_job *job)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;

    fprintf(out, "revert %s, which %s to %s\n", job->domain,
            job->plan.was_active ? "runs, and is ended," : "is off,",
            snapshot->name);
    for (size_t i = 0; i < job->n_disks; i++) {
        const struct bm_job_disk *disk = &job->disks[i];

        fprintf(out, "  %s: %s on %s\n", disk->target,
                disk->fixed.switch_overlay, disk->dest.layers[1].path);
        if (snapshot->branch)
            fprintf(out, "    %s stays, as restore point %s\n",
                    disk->source.layers[0].path, snapshot->branch);
        else
            fprintf(out, "    %s goes: it holds nothing\n",
                    disk->source.layers[0].path);
    }
    fprintf(out, "  the saved XML is that of then, on these disks\n");
    if (snapshot->memory)
        fprintf(out, "  the guest goes on from its memory in %s\n",
                snapshot->memory);
    else
        fprintf(out, "  the guest %s\n",
                snapshot->start ? "is started" : "stays off");
}

char *bm_snapshot_plan_text(const struct bm_job *job)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    if (job->plan.strategy == BM_STRATEGY_CREATE)
        create_lines(out, job);
    else if (job->plan.strategy == BM_STRATEGY_VIEW)
        view_lines(out, job);
    else
        revert_lines(out, job);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
