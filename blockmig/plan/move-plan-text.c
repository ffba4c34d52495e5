// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/move-plan.h"

#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <stdio.h>

static void disk_lines(FILE *out, const struct bm_job_disk *disk)
{
    char chain[1024], size[32];

    fprintf(out, "  %s: %s, %s\n", disk->target,
            bm_chain_text(&disk->source, chain, sizeof chain),
            bm_format_size(disk->fixed.capacity, size, sizeof size));
    fprintf(out, "    to %s (%s)\n", bm_job_new_image(disk)->path,
            bm_job_new_image(disk)->format);
    for (int k = 1; k <= disk->below; k++)
        fprintf(out, "    on %s (%s)%s\n", bm_job_new_image(disk)[k].path,
                bm_job_new_image(disk)[k].format,
                (size_t)k > disk->n_lower ? ", which stays where it is" : "");
    if (disk->fixed.shared)
        fprintf(out, "    %s\n", disk->fixed.shared);
    if (!bm_job_chain_kept(disk))
        fprintf(out, "    all %zu layers of the chain become that one image\n",
                disk->source.n);
}

static bool carries_chain(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].below)
            return true;
    return false;
}

static void blockcopy_steps(FILE *out, const struct bm_job *job)
{
    fprintf(out, "  copy each disk by libvirt's blockcopy, the guest runs\n");
    if (!job->request.proof) {
        fprintf(out, "  pivot each disk, without a proof\n");
        return;
    }
    fprintf(out,
            "  switch: pause the guest at most %d ms, pivot, put an "
            "overlay on the new image, let it run\n",
            job->limits.max_pause_ms);
    fprintf(out, "  prove: compare every byte of the old image with the "
                 "frozen new one\n");
    fprintf(out, "  a difference: go back to the old image, exit 4\n");
    fprintf(out, "  commit the overlay into the new image\n");
}

static void staged_steps(FILE *out, const struct bm_job *job)
{
    char small[32];

    if (job->request.quiesce)
        fprintf(out, "  the guest's agent freezes its file systems for the "
                     "freeze\n");
    fprintf(out, "  freeze: an overlay on each disk, in %s",
            job->n_disks ? job->disks[0].fixed.source_overlay_dir : "?");
    if (job->snapshot)
        fprintf(out, "\n");
    else
        fprintf(out, " (%s)\n", job->plan.place_why);
    if (job->plan.on_target)
        fprintf(out, "  from then to the end the guest needs both stores, and "
                     "the way out is forward\n");
    if (carries_chain(job))
        fprintf(out, "  copy the frozen disks layer by layer from the base up, "
                     "and prove each by reading it back\n");
    else
        fprintf(out, "  copy the frozen disks, and prove the copies by reading "
                     "them back\n");
    if (job->request.rescue)
        fprintf(out, "  a bad sector: rescue what can be read, list the rest, "
                     "exit 5\n");
    fprintf(out,
            "  again for what the guest writes meanwhile, until that is less "
            "than %s and shrinks no more\n",
            bm_format_size(job->limits.switch_max, small, sizeof small));
    fprintf(out,
            "  switch: pause the guest at most %d ms, pivot, put an "
            "overlay on the new image, let it run\n",
            job->limits.max_pause_ms);
    fprintf(out, "  prove the rest: what both sides wrote since\n");
    fprintf(out, "  a difference: go back to the old image, exit 4\n");
    fprintf(out, "  merge the overlays into the new image, and prove that\n");
}

static void pull_steps(FILE *out, const struct bm_job *job)
{
    fprintf(out, "  freeze: the new image is put on each disk as an overlay, "
                 "and gets all writes from then on\n");
    fprintf(out, "  pull what the source holds up into it%s\n",
            job->n_disks && job->disks[0].source.n > 1
                ? "; the chain becomes one image"
                : "");
    fprintf(out, "  until that has ended the guest needs both stores; given "
                 "up before, what was written goes back into the source\n");
    fprintf(out, "  NOT proven: nothing remains to compare the new image "
                 "with\n");
}

static void cold_steps(FILE *out, const struct bm_job *job)
{
    fprintf(out, "  the domain is shut off and cannot be started meanwhile\n");
    fprintf(out, "  copy each disk%s\n",
            job->request.proof ? ", and prove the copies by reading them back"
                               : "");
    fprintf(out, "  write the new images into the saved XML\n");
}

static void headline(FILE *out, const struct bm_job *job)
{
    if (job->snapshot) /* a flatten or pull: a move beside the old image */
        fprintf(out, "%s a disk of %s, %s in %s:\n", bm_job_noun(job),
                job->domain,
                job->plan.strategy == BM_STRATEGY_COLD ? "which is off,"
                                                       : "while it runs,",
                job->store);
    else
        fprintf(out, "move %s to %s, strategy %s (%s):\n", job->domain,
                job->store, bm_strategy_name(job->plan.strategy),
                job->plan.why);
}

static void last_line(FILE *out, const struct bm_job *job)
{
    if (job->snapshot)
        fprintf(out, "  the image that the guest has written to is deleted "
                     "when nobody uses it; those below it stay\n");
    else
        fprintf(out, "  the source is %s\n",
                job->request.source_delete ? "deleted when nobody uses it"
                                           : "kept");
}

char *bm_plan_text(const struct bm_job *job)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    headline(out, job);
    for (size_t i = 0; i < job->n_disks; i++)
        disk_lines(out, &job->disks[i]);
    if (job->plan.strategy == BM_STRATEGY_COLD)
        cold_steps(out, job);
    else if (job->plan.strategy == BM_STRATEGY_STAGED)
        staged_steps(out, job);
    else if (job->plan.strategy == BM_STRATEGY_PULL)
        pull_steps(out, job);
    else
        blockcopy_steps(out, job);
    if (job->request.drop_checkpoints)
        fprintf(out, "  forget the checkpoints that a raw image cannot hold, "
                     "in libvirt's metadata\n");
    last_line(out, job);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
