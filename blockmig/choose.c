// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/choose.h"

#include "blockmig/files.h"
#include "nbd/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

/* What the overlays of a guest with little to do should find at least. */
#define ROOM (UINT64_C(512) << 20)

static int choose(struct bm_job *job, enum bm_strategy strategy,
                  struct bm_error *err, const char *why, ...)
    __attribute__((format(printf, 4, 5)));

static int choose(struct bm_job *job, enum bm_strategy strategy,
                  struct bm_error *err, const char *why, ...)
{
    va_list ap;
    int n;

    va_start(ap, why);
    n = vasprintf(&job->why, why, ap);
    va_end(ap);
    job->strategy = strategy;
    if (n >= 0)
        return 0;
    job->why = NULL;
    return bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* The folder for a disk's overlays on the old side. Caller frees. */
static char *front_folder(const struct bm_job_disk *disk,
                          const struct bm_move_options *options)
{
    const struct bm_layer *top = disk->source.n ? disk->source.layers : NULL;

    if (options->overlay_dir)
        return strdup(options->overlay_dir);
    return top && top->type == BM_SOURCE_FILE && top->path
               ? bm_file_folder(top->path)
               : NULL;
}

/* Why this disk cannot be frozen under an overlay; "" if it can. */
static void obstacle(const struct bm_job_disk *disk,
                     const struct bm_move_options *options, char *why,
                     size_t size)
{
    BM_FREE char *folder = front_folder(disk, options);
    struct statvfs fs;

    why[0] = '\0';
    if (!folder)
        snprintf(why, size, "%s stands in no folder that could hold an overlay",
                 disk->target);
    else if (access(folder, W_OK | X_OK) != 0 || statvfs(folder, &fs) != 0)
        snprintf(why, size, "no overlay can be made in %s", folder);
    else if ((uint64_t)fs.f_bavail * fs.f_frsize < ROOM)
        snprintf(why, size, "%s has too little room for an overlay", folder);
}

static int cannot_rescue(const struct bm_move_options *options,
                         struct bm_error *err, const char *cause,
                         const char *remedy)
{
    bm_fail(err, EINVAL, "cannot move %s with --on-read-error rescue",
            options->domain);
    bm_cause(err, "%s", cause);
    bm_remedy(err, "%s", remedy);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

/* Only our own engine reads around a bad sector. */
static int check_rescue(const struct bm_job *job,
                        const struct bm_domain *domain,
                        const struct bm_move_options *options,
                        struct bm_error *err)
{
    char why[512];

    if (!domain->active)
        return cannot_rescue(options, err, "it is shut off",
                             "start it, or use 'blockmig copy'");
    if (!options->proof)
        return cannot_rescue(options, err,
                             "what is rescued is proven, but for what cannot "
                             "be read",
                             "leave --proof none out");
    if (strcmp(options->strategy, "auto") &&
        strcmp(options->strategy, "staged"))
        return cannot_rescue(options, err, "only --strategy staged can",
                             "leave --strategy out");
    for (size_t i = 0; i < job->n_disks; i++) {
        obstacle(&job->disks[i], options, why, sizeof why);
        if (why[0])
            return cannot_rescue(options, err, why,
                                 "give a folder for the overlays with "
                                 "--overlay-dir");
    }
    return 0;
}

static int choose_by_itself(struct bm_job *job,
                            const struct bm_move_options *options,
                            struct bm_error *err)
{
    char why[512];

    if (!options->proof)
        return choose(job, BM_STRATEGY_BLOCKCOPY, err, "no proof is asked for");
    for (size_t i = 0; i < job->n_disks; i++) {
        obstacle(&job->disks[i], options, why, sizeof why);
        if (why[0])
            return choose(job, BM_STRATEGY_BLOCKCOPY, err, "%s", why);
    }
    return choose(job, BM_STRATEGY_STAGED, err,
                  "the disks can be frozen under an overlay, copied and proven "
                  "before the switch");
}

static int without_proof(struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot move by staged with --proof none");
    bm_cause(err, "what it writes into the new images it proves");
    bm_remedy(err, "use --strategy blockcopy, or leave --proof none out");
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

/* Nothing of these can be undone, so there is nothing to wait for. */
static int nothing_to_settle(const struct bm_move_options *options,
                             struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot move %s with --settle", options->domain);
    bm_cause(err, options->proof ? "it is shut off"
                                 : "without a proof there is no way back");
    bm_remedy(err, "leave --settle out");
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

int bm_choose_strategy(struct bm_job *job, const struct bm_domain *domain,
                       const struct bm_move_options *options,
                       struct bm_error *err)
{
    if (options->settle_ms && (!domain->active || !options->proof))
        return nothing_to_settle(options, err);
    if (options->rescue && check_rescue(job, domain, options, err) != 0)
        return -err->code;
    if (options->rescue)
        return choose(job, BM_STRATEGY_STAGED, err,
                      "it reads around bad sectors");
    if (!domain->active)
        return choose(job, BM_STRATEGY_COLD, err, "the domain is shut off");
    if (!strcmp(options->strategy, "blockcopy"))
        return choose(job, BM_STRATEGY_BLOCKCOPY, err, "it was asked for");
    if (!strcmp(options->strategy, "staged") && !options->proof)
        return without_proof(err);
    if (!strcmp(options->strategy, "staged"))
        return choose(job, BM_STRATEGY_STAGED, err, "it was asked for");
    return choose_by_itself(job, options, err);
}
