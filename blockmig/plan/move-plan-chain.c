// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/move-plan-chain.h"

#include "blockmig/image/shared-layers.h"
#include "blockmig/replica/replica.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* --- keep, flatten or all --- */

static int refuse(struct bm_error *err, const char *remedy)
{
    bm_remedy(err, "%s", remedy);
    bm_status(err, BM_EXIT_REFUSED);
    return -EINVAL;
}

static bool any_chain(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].source.n > 1)
            return true;
    return false;
}

static int cannot_keep(const struct bm_job *job, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot keep the chain of the disks of %s",
            job->domain);
    bm_cause(err, "strategy %s (%s) makes one image of each disk",
             bm_strategy_name(job->plan.strategy), job->plan.why);
    return refuse(err, job->plan.strategy == BM_STRATEGY_COLD
                           ? "start the guest and move it running, or give "
                             "--chain flatten"
                           : "use --strategy staged, or --chain flatten");
}

static int decide(struct bm_job *job, const struct bm_move_options *options,
                  struct bm_error *err)
{
    const char *asked = options->chain ? options->chain : "keep";
    bool keeps = strcmp(asked, "flatten") != 0;

    if (options->in_place) {
        asked = "flatten";
        keeps = false;
    }
    if (keeps && job->plan.strategy != BM_STRATEGY_STAGED) {
        if (options->chain && any_chain(job))
            return cannot_keep(job, err);
        asked = "flatten";
    }
    bm_job_fill_plan(job)->chain = strdup(asked);
    return job->plan.chain ? 0
                           : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* --- which layers --- */

/* Preflight refuses what we could not read. */
static bool readable(const struct bm_chain *chain)
{
    for (size_t l = 0; l < chain->n; l++)
        if ((chain->layers[l].type != BM_SOURCE_FILE &&
             chain->layers[l].type != BM_SOURCE_BLOCK) ||
            !chain->layers[l].path || !chain->layers[l].format)
            return false;
    return true;
}

static int one_device(const struct bm_job_disk *plan,
                      const struct bm_datastore *store, struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot keep the chain of disk %s", plan->target);
    bm_cause(err, "%s takes one image only, and the chain has %zu layers",
             store->path, plan->source.n);
    return refuse(err, "choose a directory, or give --chain flatten");
}

static int no_other_format(const struct bm_job_disk *plan,
                           const struct bm_move_options *options,
                           struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot make disk %s %s", plan->target,
            options->format);
    bm_cause(err,
             "only the base of a chain that is kept can be of another format, "
             "and it stays where it is: %s",
             plan->fixed.shared);
    return refuse(err, "leave --format out, or give --chain all or flatten");
}

static int choose_layers(struct bm_connection *conn, struct bm_domain *domain,
                         struct bm_job *job, struct bm_job_disk *plan,
                         const struct bm_datastore *store,
                         const struct bm_move_options *options,
                         struct bm_error *err)
{
    bool folder = store->kind != BM_DATASTORE_BLOCK;
    size_t from = plan->source.n;
    int rc = 0;

    if (strcmp(job->plan.chain, "all") != 0)
        rc = bm_sharing_find(conn, domain, plan->target, &plan->source,
                             folder ? store->path : NULL, &from,
                             &bm_job_fill_disk(plan)->shared, err);
    if (rc)
        return rc;
    if (!folder && from > 1 && options->chain)
        return one_device(plan, store, err);
    if (!folder && from > 1) {
        free(BM_STEAL(bm_job_fill_disk(plan)->shared));
        return 0;
    }
    if (from < plan->source.n && strcmp(options->format, "keep") != 0 &&
        strcmp(options->format, plan->source.layers[0].format) != 0)
        return no_other_format(plan, options, err);
    plan->below = (int)plan->source.n - 1;
    plan->n_lower = from - 1;
    plan->lower = calloc(from, sizeof *plan->lower);
    return plan->lower ? 0 : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* What is at and below the base stays, and the new image stands on it. */
static int keep_base(struct bm_job_disk *plan, const char *base,
                     struct bm_error *err)
{
    size_t at = 1;

    while (at < plan->source.n &&
           !(plan->source.layers[at].path &&
             !strcmp(plan->source.layers[at].path, base)))
        at++;
    if (at == plan->source.n) {
        bm_fail(err, ENOENT, "disk %s has no layer %s below its active one",
                plan->target, base);
        bm_status(err, BM_EXIT_REFUSED);
        return -ENOENT;
    }
    plan->below = (int)(plan->source.n - at);
    bm_job_fill_disk(plan)->shared = strdup("as was asked for");
    return plan->fixed.shared
               ? 0
               : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

int bm_plan_chains(struct bm_connection *conn, struct bm_domain *domain,
                   struct bm_job *job, const struct bm_datastore *store,
                   const struct bm_move_options *options, struct bm_error *err)
{
    int rc = decide(job, options, err);

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        struct bm_job_disk *plan = &job->disks[i];

        if (options->base)
            rc = keep_base(plan, options->base, err);
        else if (strcmp(job->plan.chain, "flatten") != 0 &&
                 plan->source.n > 1 && readable(&plan->source))
            rc = choose_layers(conn, domain, job, plan, store, options, err);
    }
    return rc;
}

/* --- how they are made --- */

static bool is(const char *format, const char *other)
{
    return format && !strcmp(format, other);
}

/* A new image of the same format is made as the old one was. */
static char *how_to_make(const struct bm_image_info *info,
                         const struct bm_layer *new, bool device, bool backed)
{
    bool thick = info->thick && !device && !backed;
    char *text;

    if (is(new->format, "raw") && is(info->format, "raw") && thick)
        return strdup(BM_REPLICA_PREALLOCATED);
    if (!is(new->format, "qcow2") || !info->options)
        return NULL;
    return asprintf(&text, "%s%s", info->options,
                    thick ? "," BM_REPLICA_PREALLOCATED : "") < 0
               ? NULL
               : text;
}

/* Of the new layer k, which is in `dest` with what is below it. What cannot be
 * examined, preflight refuses and says why. */
static void examine(struct bm_job_disk *plan, size_t k)
{
    const struct bm_layer *old = bm_job_old(plan, k);
    struct bm_job_layer *lower = k ? &plan->lower[k - 1] : NULL;
    struct bm_job_disk_fixed *fixed = bm_job_fill_disk(plan);
    struct bm_error ignored = BM_ERROR_INIT;
    struct bm_image_info info;
    struct stat st;

    if (lower && stat(old->path, &st) == 0) {
        lower->source_dev = st.st_dev;
        lower->source_ino = st.st_ino;
    }
    if (bm_image_read_info(old->path, old->format, &info, &ignored) < 0)
        return;
    *(lower ? &lower->create : &fixed->create) =
        how_to_make(&info, &plan->dest.layers[k], !k && plan->fixed.dest_block,
                    k < (size_t)plan->below);
    /* in one folder only */
    *(lower ? &lower->relative : &fixed->relative) =
        info.relative && k < plan->n_lower;
    if (lower)
        lower->size = old->slice ? old->slice : info.virtual_size;
    bm_image_info_clear(&info);
}

static int add_lower(struct bm_job *job, size_t i, size_t k,
                     const struct bm_datastore *store,
                     const struct bm_move_options *options)
{
    struct bm_job_disk *plan = &job->disks[i];
    const struct bm_layer *old = bm_job_old(plan, k);
    bool base = k + 1 == plan->source.n;
    const char *format = base && strcmp(options->format, "keep") != 0
                             ? options->format
                             : old->format;
    BM_FREE char *path = bm_plan_name(job, i, k, store->path, NULL, format);

    return path ? bm_chain_append(&plan->dest, BM_SOURCE_FILE, path, format)
                : -ENOMEM;
}

int bm_plan_layers(struct bm_job *job, size_t i,
                   const struct bm_datastore *store,
                   const struct bm_move_options *options)
{
    struct bm_job_disk *plan = &job->disks[i];
    int rc = 0;

    for (size_t k = 1; !rc && k <= plan->n_lower; k++)
        rc = add_lower(job, i, k, store, options);
    for (size_t k = plan->n_lower + 1; !rc && k <= (size_t)plan->below; k++)
        rc = bm_chain_add(
            &plan->dest,
            &plan->source.layers[plan->source.n - 1 - (size_t)plan->below + k]);
    for (size_t k = 0;
         !rc &&
         (job->plan.strategy == BM_STRATEGY_STAGED || options->in_place) &&
         readable(&plan->source) && k <= plan->n_lower;
         k++)
        examine(plan, k);
    return rc;
}
