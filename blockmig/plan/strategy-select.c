// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/strategy-select.h"

#include "blockmig/plan/overlay-placement.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int choose(struct bm_job *job, enum bm_strategy strategy,
                  struct bm_error *err, const char *why, ...)
    __attribute__((format(printf, 4, 5)));

static int choose(struct bm_job *job, enum bm_strategy strategy,
                  struct bm_error *err, const char *why, ...)
{
    struct bm_job_plan *plan = bm_job_fill_plan(job);
    va_list ap;
    int n;

    va_start(ap, why);
    n = vasprintf(&plan->why, why, ap);
    va_end(ap);
    plan->strategy = strategy;
    plan->on_target &= strategy == BM_STRATEGY_STAGED;
    if (n >= 0)
        return 0;
    plan->why = NULL;
    return bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* A disk whose image is a device stays on it until the switch: QEMU's own copy
 * needs no overlay elsewhere. */
static const char *on_device(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].source.n &&
            job->disks[i].source.layers[0].type != BM_SOURCE_FILE)
            return job->disks[i].target;
    return NULL;
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
static int check_rescue(const struct bm_domain *domain,
                        const struct bm_move_options *options,
                        struct bm_error *err)
{
    if (!domain->active)
        return cannot_rescue(options, err, "it is shut off",
                             "start it, or use 'blockmig copy'");
    if (!options->proof)
        return cannot_rescue(options, err,
                             "what is rescued is proven, but for what cannot "
                             "be read",
                             "leave --proof none out");
    if (strcmp(options->strategy, "auto") != 0 &&
        strcmp(options->strategy, "staged") != 0)
        return cannot_rescue(options, err, "only --strategy staged can",
                             "leave --strategy out");
    return 0;
}

/* obstacle: to an overlay on the old side; "" for none. */
static int choose_by_itself(struct bm_job *job,
                            const struct bm_move_options *options,
                            const char *obstacle, struct bm_error *err)
{
    const char *device = on_device(job);

    if (!options->proof)
        return choose(job, BM_STRATEGY_BLOCKCOPY, err, "no proof is asked for");
    if (obstacle[0])
        return choose(job, BM_STRATEGY_BLOCKCOPY, err, "%s", obstacle);
    if (device && !options->overlay_dir &&
        strcmp(options->overlay_on, "target") != 0)
        return choose(job, BM_STRATEGY_BLOCKCOPY, err,
                      "%s stands in no folder that could hold an overlay",
                      device);
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

static int not_by_pull(const char *option, const char *cause,
                       struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot move by pull with %s", option);
    bm_cause(err, "%s", cause);
    bm_remedy(err, "use --strategy staged, or leave %s out", option);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

/* Never by itself: what can be pulled, blockcopy can copy; and that can be
 * proven, and needs the source no longer than to its switch. */
static int choose_pull(struct bm_job *job,
                       const struct bm_move_options *options,
                       struct bm_error *err)
{
    if (options->proof_asked)
        return not_by_pull("--proof full",
                           "a disk is pulled while the guest writes to it, and "
                           "nothing remains to compare it with",
                           err);
    if (options->source_delete)
        return not_by_pull("--source delete",
                           "what is pulled is not proven, and a source is "
                           "deleted only after a proof",
                           err);
    if (options->settle_ms)
        return not_by_pull("--settle", "without a proof there is no way back",
                           err);
    if (!strcmp(options->format, "raw"))
        return not_by_pull("--format raw",
                           "the new image begins as an overlay, which only a "
                           "qcow2 can be",
                           err);
    bm_job_fill_request(job)->proof = false;
    return choose(job, BM_STRATEGY_PULL, err, "it was asked for");
}

int bm_choose_strategy(struct bm_job *job, const struct bm_domain *domain,
                       const struct bm_datastore *store,
                       const struct bm_move_options *options,
                       struct bm_error *err)
{
    char obstacle[512];

    if (options->settle_ms && (!domain->active || !options->proof))
        return nothing_to_settle(options, err);
    if (options->rescue && check_rescue(domain, options, err) != 0)
        return -err->code;
    if (!domain->active)
        return choose(job, BM_STRATEGY_COLD, err, "the domain is shut off");
    if (!strcmp(options->strategy, "pull"))
        return choose_pull(job, options, err);
    if (!strcmp(options->strategy, "blockcopy"))
        return choose(job, BM_STRATEGY_BLOCKCOPY, err, "it was asked for");
    if (!strcmp(options->strategy, "staged") && !options->proof)
        return without_proof(err);
    if (bm_place_choose(job, store, options, obstacle, sizeof obstacle, err))
        return -err->code;
    if (options->rescue && obstacle[0])
        return cannot_rescue(options, err, obstacle,
                             "give a folder for the overlays with "
                             "--overlay-dir");
    if (options->rescue)
        return choose(job, BM_STRATEGY_STAGED, err,
                      "it reads around bad sectors");
    if (!strcmp(options->strategy, "staged"))
        return choose(job, BM_STRATEGY_STAGED, err, "it was asked for");
    return choose_by_itself(job, options, obstacle, err);
}
