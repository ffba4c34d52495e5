// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/move-plan.h"

#include "blockmig/datastore/liveness.h"
#include "blockmig/plan/strategy-select.h"
#include "blockmig/image/owned-file.h"
#include "blockmig/plan/move-plan-chain.h"
#include "blockmig/job/disk-location.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int refuse(struct bm_error *err, int code, const char *remedy)
{
    bm_remedy(err, "%s", remedy);
    bm_status(err, BM_EXIT_REFUSED);
    return -code;
}

static int no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* --- which disks --- */

static bool movable(const struct bm_disk *disk)
{
    return strcmp(disk->device, "cdrom") != 0 &&
           strcmp(disk->device, "floppy") != 0 && disk->chain.n &&
           disk->chain.layers[0].type != BM_SOURCE_NONE;
}

static bool local(const struct bm_layer *layer)
{
    return layer->type == BM_SOURCE_FILE || layer->type == BM_SOURCE_BLOCK;
}

/* Its layers and its size. Nothing was touched yet: what fails is refused. */
static int examine(struct bm_domain *domain, struct bm_disk *disk,
                   struct bm_job_disk *plan, struct bm_error *err)
{
    struct stat st;
    int rc = 0;

    for (size_t i = 0; !rc && i < plan->source.n; i++)
        if (local(&plan->source.layers[i]))
            rc = bm_store_is_alive_early(plan->source.layers[i].path, err);
    if (rc)
        return rc;
    if (!domain->active)
        rc = bm_chain_complete(&plan->source, err);
    if (!rc)
        rc = bm_domain_disk_size(domain, disk, err);
    bm_job_fill_disk(plan)->capacity = disk->capacity;
    if (stat(plan->source.layers[0].path, &st) == 0) {
        bm_job_fill_disk(plan)->source_dev = st.st_dev;
        bm_job_fill_disk(plan)->source_ino = st.st_ino;
    }
    if (rc && rc != -ETIMEDOUT && rc != -ECONNRESET && rc != -ENOMEM)
        bm_status(err, BM_EXIT_REFUSED);
    return rc;
}

static int add_disk(struct bm_job *job, struct bm_domain *domain,
                    struct bm_disk *disk, struct bm_error *err)
{
    struct bm_job_disk *disks =
        realloc(job->disks, (job->n_disks + 1) * sizeof *disks);
    struct bm_job_disk *plan;

    if (!disks)
        return no_memory(err);
    job->disks = disks;
    plan = &disks[job->n_disks];
    memset(plan, 0, sizeof *plan);
    plan->target = strdup(disk->target);
    job->n_disks++;
    if (!plan->target || bm_chain_copy(&disk->chain, &plan->source) < 0)
        return no_memory(err);
    /* what cannot be examined, preflight refuses and says why */
    if (!movable(disk) || !local(&disk->chain.layers[0]))
        return 0;
    return examine(domain, disk, plan, err);
}

static int no_such_disk(const struct bm_domain *domain, const char *name,
                        struct bm_error *err)
{
    char list[300] = "";
    size_t used = 0;

    for (size_t i = 0; i < domain->n_disks && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 i ? ", " : "", domain->disks[i].target);
    bm_fail(err, ENOENT, "domain %s has no disk %s", domain->name, name);
    bm_cause(err, "its disks are: %s", list);
    return refuse(err, ENOENT, "name one of these, by target or by path");
}

static bool has_disk(const struct bm_job *job, const char *target)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!strcmp(job->disks[i].target, target))
            return true;
    return false;
}

static int named_disks(struct bm_job *job, struct bm_domain *domain,
                       const char *const *names, struct bm_error *err)
{
    int rc = 0;

    for (; !rc && *names; names++) {
        struct bm_disk *disk = bm_domain_disk(domain, *names);

        if (!disk)
            return no_such_disk(domain, *names, err);
        if (!has_disk(job, disk->target))
            rc = add_disk(job, domain, disk, err);
    }
    return rc;
}

static int choose_disks(struct bm_job *job, struct bm_domain *domain,
                        const char *const *names, struct bm_error *err)
{
    int rc = 0;

    if (names && *names)
        return named_disks(job, domain, names, err);
    for (size_t i = 0; !rc && i < domain->n_disks; i++)
        if (movable(&domain->disks[i]))
            rc = add_disk(job, domain, &domain->disks[i], err);
    if (rc || job->n_disks)
        return rc;
    bm_fail(err, ENOENT, "domain %s has no disk that can be moved",
            domain->name);
    return refuse(err, ENOENT, "see virsh domblklist");
}

/* --- where to --- */

/* An overlay of ours in that folder: N is 1 on the new side, 2 on the way
 * back, 3 the mirror overlay. The suffix matters to virt-aa-helper. */
static char *overlay_path(const struct bm_job *job, const char *target,
                          const char *folder, int n)
{
    char *path;

    return asprintf(&path, "%s/.blockmig-%s-%s-%d.qcow2", folder, job->id,
                    target, n) < 0
               ? NULL
               : path;
}

/* The folder of a layer that is a file; else the other one's. */
static char *folder_for(const struct bm_layer *layer,
                        const struct bm_layer *other,
                        const struct bm_move_options *options)
{
    if (options->overlay_dir)
        return strdup(options->overlay_dir);
    if (layer->type == BM_SOURCE_FILE && layer->path)
        return bm_file_folder(layer->path);
    if (other->type == BM_SOURCE_FILE && other->path)
        return bm_file_folder(other->path);
    return NULL;
}

/* The mirror overlay on top of the new image, and where the source overlays
 * will stand. */
static int set_staged(struct bm_job *job, struct bm_job_disk *plan,
                      const char *forth, const char *back)
{
    struct bm_job_disk_fixed *fixed = bm_job_fill_disk(plan);
    struct bm_chain on_mirror = {0};
    int rc;

    fixed->mirror_overlay = overlay_path(job, plan->target, forth, 3);
    fixed->source_overlay_dir = strdup(back);
    if (!fixed->mirror_overlay || !fixed->source_overlay_dir)
        return -ENOMEM;
    rc = bm_chain_on_top(plan->fixed.mirror_overlay, &plan->dest, &on_mirror);
    if (rc)
        return rc;
    bm_chain_clear(&plan->dest);
    plan->dest = on_mirror;
    return 0;
}

static int overlays(struct bm_job *job, struct bm_job_disk *plan,
                    const struct bm_move_options *options)
{
    const struct bm_layer *source = &plan->source.layers[0];
    const struct bm_layer *dest = bm_job_new_image(plan);
    BM_FREE char *forth = folder_for(dest, source, options);
    BM_FREE char *back = job->plan.on_target
                             ? folder_for(dest, source, options)
                             : folder_for(source, dest, options);

    if (job->plan.strategy == BM_STRATEGY_COLD || !job->request.proof)
        return 0;
    /* no folder at all: preflight asks for --overlay-dir */
    bm_job_fill_disk(plan)->switch_overlay =
        forth ? overlay_path(job, plan->target, forth, 1) : NULL;
    bm_job_fill_disk(plan)->rollback_overlay =
        back ? overlay_path(job, plan->target, back, 2) : NULL;
    if (job->plan.strategy != BM_STRATEGY_STAGED || !forth || !back)
        return 0;
    return set_staged(job, plan, forth, back);
}

static const char *format_for(const struct bm_job *job,
                              const struct bm_job_disk *plan,
                              const struct bm_move_options *options)
{
    const char *kept = plan->source.n ? plan->source.layers[0].format : NULL;

    if (job->plan.strategy == BM_STRATEGY_PULL)
        return "qcow2"; /* it begins as an overlay */
    /* of a chain that is kept only the base can be of another format */
    if (strcmp(options->format, "keep") != 0 && !plan->below)
        return options->format;
    return kept ? kept : "raw";
}

static int set_target(struct bm_job *job, size_t i,
                      const struct bm_datastore *store,
                      const struct bm_move_options *options,
                      struct bm_error *err)
{
    struct bm_job_disk *plan = &job->disks[i];
    const char *format = format_for(job, plan, options);
    bool block = store->kind == BM_DATASTORE_BLOCK;
    BM_FREE char *path = NULL;
    int rc;

    path = block ? strdup(store->path)
                 : bm_plan_name(job, i, 0, store->path, options->name, format);
    bm_job_fill_disk(plan)->dest_block = block;
    rc = path ? bm_chain_append(&plan->dest,
                                block ? BM_SOURCE_BLOCK : BM_SOURCE_FILE, path,
                                format)
              : -ENOMEM;
    plan->dest.complete = true;
    /* of a larger device the guest must not see more than it had */
    if (!rc && block && !strcmp(format, "raw") &&
        store->capacity > plan->fixed.capacity) {
        plan->dest.layers[0].slice = plan->fixed.capacity;
        plan->dest.layers[0].sliced = true;
    }
    if (!rc)
        rc = bm_plan_layers(job, i, store, options);
    plan->rescue.map = options->mapfile ? strdup(options->mapfile) : NULL;
    if (!rc && options->mapfile && !plan->rescue.map)
        rc = -ENOMEM;
    if (!rc && plan->source.n)
        rc = overlays(job, plan, options);
    return rc ? no_memory(err) : 0;
}

/* --- the whole plan --- */

static int set_words(struct bm_job *job, struct bm_connection *conn,
                     const struct bm_domain *domain,
                     const struct bm_datastore *store,
                     const struct bm_move_options *options)
{
    struct bm_job_request *request = bm_job_fill_request(job);
    char host[256] = "";

    (void)gethostname(host, sizeof host - 1);
    memcpy(job->uuid, domain->uuid, sizeof job->uuid);
    job->domain = strdup(domain->name);
    job->uri = strdup(bm_connection_uri(conn));
    job->host = strdup(host);
    job->store = strdup(store->name);
    request->format = strdup(options->format);
    job->created_ms = bm_wall_ms();
    request->proof = options->proof;
    request->source_delete = options->source_delete;
    request->force = options->force;
    request->quiesce = options->quiesce;
    request->drop_checkpoints = options->drop_checkpoints;
    job->limits.bandwidth = options->bandwidth;
    job->limits.max_pause_ms = options->max_pause_ms;
    job->limits.switch_max = options->switch_max;
    request->overlay_max = options->overlay_max;
    job->limits.settle_ms = options->settle_ms;
    job->limits.guest_latency = options->guest_latency;
    request->rescue = options->rescue;
    request->fill_from = options->fill_from ? strdup(options->fill_from) : NULL;
    bm_job_fill_plan(job)->was_active = domain->active;
    return job->domain && job->uri && job->host && job->store &&
                   request->format &&
                   (request->fill_from || !options->fill_from)
               ? 0
               : -ENOMEM;
}

static int check_count(const struct bm_job *job,
                       const struct bm_datastore *store,
                       const struct bm_move_options *options,
                       struct bm_error *err)
{
    if (job->n_disks <= 1)
        return 0;
    if (options->name || options->mapfile || options->fill_from) {
        bm_fail(err, EINVAL, "cannot give %s to %zu disks",
                options->name      ? "--name"
                : options->mapfile ? "--mapfile"
                                   : "--fill-from",
                job->n_disks);
        return refuse(err, EINVAL, "name one disk");
    }
    if (store->kind == BM_DATASTORE_BLOCK) {
        bm_fail(err, EINVAL, "cannot move %zu disks onto the one device %s",
                job->n_disks, store->path);
        return refuse(err, EINVAL, "name one disk");
    }
    return 0;
}

int bm_plan_make(struct bm_connection *conn, struct bm_domain *domain,
                 const struct bm_datastore *store,
                 const struct bm_move_options *options, struct bm_job **out,
                 struct bm_error *err)
{
    struct bm_job *job = bm_job_new();
    int rc;

    if (!job || set_words(job, conn, domain, store, options) < 0) {
        bm_job_free(job);
        return no_memory(err);
    }
    rc = choose_disks(job, domain, options->disks, err);
    if (!rc)
        rc = bm_choose_strategy(job, domain, store, options, err);
    if (!rc)
        rc = check_count(job, store, options, err);
    if (!rc)
        rc = bm_plan_chains(conn, domain, job, store, options, err);
    for (size_t i = 0; !rc && i < job->n_disks; i++)
        rc = set_target(job, i, store, options, err);
    if (rc)
        bm_job_free(job);
    else
        *out = job;
    return rc;
}
