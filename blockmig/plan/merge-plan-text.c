// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/merge-plan.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LOOK (UINT64_C(16) << 20) /* bytes that are read for the speed */
#define PIECE (1u << 20)

/* Bytes a second that the store of a merge reads from its medium, by a look at
 * the image that goes; 0: that cannot be told. */
static double reads_at(const struct bm_job_merge *merge)
{
    int fd =
        open(merge->layers.layers[0].path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    int64_t start = bm_now_ms(), ms;
    void *buf = NULL;
    uint64_t done = 0;
    ssize_t n = 1;

    if (fd < 0 || posix_memalign(&buf, 4096, PIECE) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return 0;
    }
    while (done < LOOK && (n = pread(fd, buf, PIECE, (off_t)done)) > 0)
        done += (uint64_t)n;
    ms = bm_now_ms() - start;
    (void)close(fd);
    free(buf);
    return n < 0 || done == 0 ? 0 : (double)done * 1000 / (double)(ms ? ms : 1);
}

/* Read, written, and with a proof both sides read again; or as fast as it may.
 */
static double seconds_for(const struct bm_job *job,
                          const struct bm_job_merge *merge)
{
    double passes = job->request.proof ? 4 : 2, rate = reads_at(merge);
    double held = (double)merge->held;

    if (job->limits.bandwidth &&
        (rate == 0 || (double)job->limits.bandwidth * passes < rate))
        return held / (double)job->limits.bandwidth;
    return rate > 0 ? held * passes / rate : 0;
}

static void merge_lines(FILE *out, const struct bm_job *job,
                        const struct bm_job_merge *merge)
{
    char size[32];

    bm_format_size(merge->held, size, sizeof size);
    if (merge->layers.n == 1) {
        fprintf(out, "  %s: %s goes, nothing stands on it (%s)\n",
                merge->target, merge->layers.layers[0].path, size);
        return;
    }
    fprintf(out, "  %s: down into %s\n", merge->target,
            bm_merge_base(merge)->path);
    for (size_t l = 0; l + 1 < merge->layers.n; l++)
        fprintf(out, "    %s, which goes\n", merge->layers.layers[l].path);
    fprintf(out,
            "    %s to copy at most, and as much room there; about %.0f s\n",
            size, seconds_for(job, merge) + 1);
    if (merge->children.n > 1)
        fprintf(out,
                "    %zu images that stand on the uppermost are put on "
                "it\n",
                merge->children.n);
}

static void proof_line(FILE *out, const struct bm_job *job)
{
    static const char *const lines[] = {
        ("no proof: what went wrong in a merge stays unseen, and the layers "
         "are kept"),
        "proof: what the layers hold is read from them and from what took it",
        "proof: the whole disk is read before and after"};

    fprintf(out, "  %s\n", lines[job->snapshot->proof]);
}

char *bm_merge_plan_text(const struct bm_job *job)
{
    const struct bm_job_snapshot *snapshot = job->snapshot;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    fprintf(out, "snapshot %s of %s, which %s\n", snapshot->verb, job->domain,
            job->plan.was_active ? "runs" : "is off");
    for (size_t i = 0; i < snapshot->n_points; i++)
        fprintf(out, "  restore point %s goes%s\n", snapshot->points[i].name,
                snapshot->points[i].memory ? ", with its memory" : "");
    for (size_t k = 0; k < snapshot->n_merges; k++)
        merge_lines(out, job, &snapshot->merges[k]);
    if (snapshot->n_merges)
        proof_line(out, job);
    else if (!snapshot->n_points)
        fprintf(out, "  nothing is to be done\n");
    else
        fprintf(out, "  no image is changed; one that has to stay is merged by "
                     "`snapshot consolidate` when nobody else needs it\n");
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
