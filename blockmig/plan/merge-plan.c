// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/image/owned-file.h"
#include "blockmig/plan/merge-plan-private.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

static int no_memory(struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* --- the merges --- */

static int add_children(const struct bm_merging *m, int top,
                        struct bm_job_merge *merge)
{
    int rc = 0;

    for (int k = bm_tree_child(m->tree, top, -1); !rc && k >= 0;
         k = bm_tree_child(m->tree, top, k))
        if (!m->dropped[k])
            rc = bm_chain_add(&merge->children, &m->tree->list[k].layer);
    return rc;
}

/* All from `top` down to `base`; the children are those of the uppermost. */
static int add_merge(const struct bm_merging *m, struct bm_job *job, int top,
                     int base)
{
    struct bm_job_merge *merge = bm_job_snapshot_add_merge(job->snapshot);
    int rc = merge ? 0 : -ENOMEM;

    if (!rc) {
        merge->target =
            strdup(m->domain->disks[m->tree->list[top].disk].target);
        rc = merge->target ? add_children(m, top, merge) : -ENOMEM;
    }
    for (int i = top; !rc; i = m->tree->list[i].below) {
        rc = bm_chain_add(&merge->layers, &m->tree->list[i].layer);
        if (i != base || top == base)
            merge->held += m->tree->list[i].held;
        if (i == base)
            break;
    }
    return rc;
}

/* Nobody else may need the uppermost, which goes too. */
static int check_top(const struct bm_merging *m, int top, struct bm_error *err)
{
    const struct bm_tree_image *image = &m->tree->list[top];
    const char *why = image->other;

    for (int k = bm_tree_child(m->tree, top, -1); !why && k >= 0;
         k = bm_tree_child(m->tree, top, k))
        why = m->tree->list[k].other;
    if (!why)
        return 0;
    bm_fail(err, EBUSY, "cannot merge %s into the image below it",
            image->layer.path);
    bm_cause(err, "%s needs it", why);
    return bm_status(err, BM_EXIT_REFUSED), -EBUSY;
}

/* Those in the middle first: the active layer's writes wait for nobody. */
static int add_merges(const struct bm_merging *m, struct bm_job *job,
                      bool active, struct bm_error *err)
{
    for (size_t i = 0; i < m->tree->n; i++) {
        int top = bm_merging_run(m, (int)i);
        int rc;

        if (top < 0 || m->tree->list[top].top != active)
            continue;
        rc = check_top(m, top, err);
        if (rc)
            return rc;
        if (add_merge(m, job, top, (int)i) < 0)
            return no_memory(err);
    }
    return 0;
}

/* From the top: each is used by the one above it. */
static int add_drops(const struct bm_merging *m, struct bm_job *job,
                     struct bm_error *err)
{
    for (size_t depth = m->tree->n; depth > 0; depth--)
        for (size_t i = 0; i < m->tree->n; i++)
            if (m->dropped[i] && bm_tree_depth(m->tree, (int)i) == depth &&
                add_merge(m, job, (int)i, (int)i) < 0)
                return no_memory(err);
    return 0;
}

static int add_points(const struct bm_merging *m, struct bm_job *job,
                      struct bm_error *err)
{
    for (size_t p = 0; p < m->points->n; p++)
        if (m->points_go[p] &&
            bm_job_snapshot_add_point(job->snapshot, m->points->list[p].name,
                                      m->points->list[p].memory))
            return no_memory(err);
    return 0;
}

/* --- the disks --- */

static struct bm_job_disk *disk_of(const struct bm_job *job, const char *target)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (!strcmp(job->disks[i].target, target))
            return &job->disks[i];
    return NULL;
}

/* As it is, and as it will be: what goes down into the one below it is not
 * there any more. */
static int fill_chains(const struct bm_merging *m, int top,
                       struct bm_job_disk *disk)
{
    int rc = bm_tree_chain(m->tree, top, &disk->source);

    for (int i = top; !rc && i >= 0; i = m->tree->list[i].below) {
        int below = m->tree->list[i].below;

        if (below < 0 || !m->may_go[below])
            rc = bm_chain_add(&disk->dest, &m->tree->list[i].layer);
    }
    disk->dest.complete = true;
    disk->below = rc ? 0 : (int)disk->dest.n - 1;
    return rc;
}

static int add_disk(const struct bm_merging *m, struct bm_job *job, size_t d,
                    struct bm_error *err)
{
    struct bm_disk *from = &((struct bm_domain *)m->domain)->disks[d];
    struct bm_job_disk *disks =
        realloc(job->disks, (job->n_disks + 1) * sizeof *disks);
    int top = bm_tree_top(m->tree, m->domain, d);
    struct bm_job_disk_fixed *fixed;
    struct bm_job_disk *disk;

    if (!disks)
        return no_memory(err);
    job->disks = disks;
    disk = &disks[job->n_disks++];
    memset(disk, 0, sizeof *disk);
    disk->target = strdup(from->target);
    if (!disk->target || fill_chains(m, top, disk) < 0)
        return no_memory(err);
    fixed = bm_job_fill_disk(disk);
    fixed->source_dev = m->tree->list[top].dev;
    fixed->source_ino = m->tree->list[top].ino;
    fixed->source_overlay_dir = bm_file_folder(disk->source.layers[0].path);
    if (!fixed->source_overlay_dir)
        return no_memory(err);
    if (bm_domain_disk_size((struct bm_domain *)m->domain, from, err))
        return -err->code;
    fixed->capacity = from->capacity;
    return 0;
}

/* Those whose images are merged; those of the points that go, if none is. */
static int add_disks(const struct bm_merging *m, struct bm_job *job,
                     struct bm_error *err)
{
    int rc = 0;

    for (size_t d = 0; !rc && d < m->domain->n_disks; d++) {
        const char *target = m->domain->disks[d].target;
        bool wanted = false;

        for (size_t k = 0; k < job->snapshot->n_merges; k++)
            wanted |= !strcmp(job->snapshot->merges[k].target, target);
        if (wanted && !disk_of(job, target))
            rc = add_disk(m, job, d, err);
    }
    return rc;
}

/* --- all of it --- */

static int fill_job(const struct bm_merging *m, struct bm_connection *conn,
                    struct bm_job *job, struct bm_error *err)
{
    const struct bm_merge_options *o = m->options;
    char host[256] = "";

    (void)gethostname(host, sizeof host - 1);
    memcpy(job->uuid, m->domain->uuid, sizeof job->uuid);
    job->domain = strdup(m->domain->name);
    job->uri = strdup(bm_connection_uri(conn));
    job->host = strdup(host);
    bm_job_fill_plan(job)->why = strdup("layers are merged in place");
    job->snapshot = bm_job_snapshot_new(o->verb);
    if (!job->domain || !job->uri || !job->host || !job->plan.why ||
        !job->snapshot)
        return no_memory(err);
    bm_job_fill_plan(job)->strategy = BM_STRATEGY_MERGE;
    job->snapshot->proof = o->proof;
    bm_job_fill_request(job)->proof = o->proof != BM_PROOF_NONE;
    job->limits.bandwidth = o->bandwidth;
    job->limits.guest_latency = o->guest_latency;
    job->limits.max_pause_ms = o->max_pause_ms;
    bm_job_fill_request(job)->force = o->force;
    bm_job_fill_plan(job)->was_active = m->domain->active;
    return 0;
}

/* A chain that cannot be read to its end is no place for a merge. */
static int check_whole(const struct bm_merging *m, struct bm_error *err)
{
    for (size_t i = 0; i < m->tree->n; i++) {
        const struct bm_tree_image *image = &m->tree->list[i];
        bool ours =
            image->disk >= 0 && !image->other &&
            (!m->options->disk ||
             !strcmp(m->domain->disks[image->disk].target, m->options->disk));

        if (!ours || (image->there && !image->broken))
            continue;
        bm_fail(err, ENOENT, "cannot merge layers of %s", m->domain->name);
        bm_cause(err, "%s: %s", image->layer.path,
                 image->broken ? image->broken : "it is not there");
        bm_remedy(err, "see 'blockmig snapshot doctor %s'", m->domain->name);
        return bm_status(err, BM_EXIT_REFUSED), -ENOENT;
    }
    return 0;
}

/* Who stands on what is written to must be known. */
static int check_read(const struct bm_merging *m, const struct bm_job *job,
                      struct bm_error *err)
{
    bool writes = false;

    for (size_t k = 0; k < job->snapshot->n_merges; k++)
        writes |= job->snapshot->merges[k].layers.n > 1;
    if (!writes || !m->tree->unread)
        return 0;
    bm_fail(err, EBUSY, "cannot merge layers of %s", m->domain->name);
    bm_cause(err, "nobody knows whether this stands on them: %s",
             m->tree->unread);
    bm_remedy(err, "make it readable, or move it out of the folder");
    return bm_status(err, BM_EXIT_REFUSED), -EBUSY;
}

static int make(struct bm_merging *m, struct bm_connection *conn,
                struct bm_job *job, struct bm_error *err)
{
    int rc = check_whole(m, err);

    if (!rc)
        rc = bm_merging_choose(m, err);
    if (!rc)
        rc = fill_job(m, conn, job, err);
    if (!rc)
        rc = add_drops(m, job, err);
    if (!rc)
        rc = add_merges(m, job, false, err);
    if (!rc)
        rc = add_merges(m, job, true, err);
    if (!rc)
        rc = check_read(m, job, err);
    if (!rc)
        rc = add_points(m, job, err);
    if (!rc)
        rc = add_disks(m, job, err);
    if (!rc && job->n_disks)
        job->store = strdup(job->disks[0].fixed.source_overlay_dir);
    return rc;
}

int bm_merge_plan(struct bm_connection *conn, struct bm_domain *domain,
                  const struct bm_restore_points *points,
                  const struct bm_image_tree *tree,
                  const struct bm_merge_options *options, struct bm_job **out,
                  struct bm_error *err)
{
    BM_FREE bool *points_go = calloc(points->n + 1, sizeof *points_go);
    BM_FREE bool *may_go = calloc(tree->n + 1, sizeof *may_go);
    BM_FREE bool *dropped = calloc(tree->n + 1, sizeof *dropped);
    struct bm_merging m = {domain,    points, tree,   options,
                           points_go, may_go, dropped};
    struct bm_job *job = bm_job_new();
    int rc = job && points_go && may_go && dropped ? 0 : no_memory(err);

    if (!rc)
        rc = make(&m, conn, job, err);
    if (rc)
        bm_job_free(job);
    else
        *out = job;
    return rc;
}
