// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/step/replica-run.h"
#include "blockmig/job/failpoint.h"
#include "blockmig/job/job-chain.h"
#include "blockmig/run/pacing.h"
#include "blockmig/run/requests.h"
#include "blockmig/step/step.h"
#include "nbd/base/cleanup.h"
#include "nbd/thread/background.h"
#include "snapshot/libvirt/timed-call.h"

/* Who cancels does not wait long for a store that may hang. */
#define CANCEL_MS 2000

/* In the thread of the work. */
static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_replica_run *s = opaque;

    (void)total;
    BM_LOCK(&s->lock);
    while (s->left) /* nobody is there any more for what comes of it */
        pthread_cond_wait(&s->never, &s->lock);
    s->moved = s->before + done;
    if (s->run->job->state == BM_STATE_COPYING)
        bm_failpoint("copying.started");
    bm_run_take_requests(s->run);
    if (s->run->pacing)
        bm_pacing_tick(s->run->pacing, s->run, s->moved);
    bm_run_progress(s->run, s->moved, s->total);
    return bm_job_before_switch(s->run->job) && bm_run_cancelled(s->run);
}

/* In the moving thread, beside the work. */
static int look(void *opaque, struct bm_error *err)
{
    struct bm_replica_run *s = opaque;
    const struct bm_run_hooks *hooks = s->run->hooks;
    int ms = hooks->cancelled(hooks->opaque) ? CANCEL_MS : bm_call_ms();
    int rc = bm_stall_timer_check(&s->stall, s->run->job,
                                  atomic_load(&s->moved), ms, err);

    if (!rc)
        return 0;
    BM_LOCK(&s->lock);
    s->left = true;
    return rc;
}

struct bm_chain bm_replica_new_chain(const struct bm_job_disk *disk,
                                     size_t layer)
{
    struct bm_chain chain = bm_job_new_chain(disk);

    chain.layers += layer;
    chain.n -= layer;
    return chain;
}

struct bm_chain bm_replica_old_chain(const struct bm_job_disk *disk,
                                     size_t layer)
{
    return bm_job_below(disk, disk->overlays.n_source + (int)layer);
}

/* Of its replica: vda, and vda.1, vda.2 below it. */
static void layer_name(const struct bm_job_disk *disk, size_t layer,
                       char name[64])
{
    if (layer)
        snprintf(name, 64, "%s.%zu", disk->target, layer);
    else
        snprintf(name, 64, "%s", disk->target);
}

int bm_replica_run_forget(struct bm_run *run, const struct bm_job_disk *disk,
                          struct bm_error *err)
{
    char name[64];
    int rc = 0;

    for (size_t k = 0; !rc && k <= disk->n_lower; k++) {
        layer_name(disk, k, name);
        rc = bm_replica_forget(bm_job_store_dir(run->jobs), run->job->id, name,
                               err);
    }
    return rc;
}

static uint64_t layer_size(const struct bm_job_disk *disk, size_t layer)
{
    return layer ? disk->lower[layer - 1].size : disk->fixed.capacity;
}

int bm_replica_run_open(struct bm_replica_run *s, size_t i, size_t layer,
                        struct bm_replica_run_how *how, struct bm_replica **out,
                        struct bm_error *err)
{
    const struct bm_job_disk *disk = &s->run->job->disks[i];
    const struct bm_job_layer *lower = layer ? &disk->lower[layer - 1] : NULL;
    struct bm_chain image = bm_replica_new_chain(disk, layer);
    int rc = bm_target_check(disk, err);

    if (rc)
        return rc;
    layer_name(disk, layer, how->name);
    how->how = (struct bm_replica_how){
        .dir = bm_job_store_dir(s->run->jobs),
        .id = s->run->job->id,
        .disk = how->name,
        .image = &image.layers[0],
        .size = layer_size(disk, layer),
        .create = lower ? lower->create : disk->fixed.create,
        .below = image.n > 1 ? &image.layers[1] : NULL,
        .relative = lower ? lower->relative : disk->fixed.relative,
        .own = layer ? 1 : (unsigned)bm_job_own(disk),
        .map = lower ? NULL : disk->rescue.map,
        .fill_from = s->run->job->request.fill_from,
        .rate_limit = s->rate_limit,
        .progress = on_progress,
        .opaque = s};
    return bm_replica_open(&how->how, out, err);
}

/* For bm_background. */
static int work_on_all(void *opaque)
{
    struct bm_replica_run *s = opaque;
    size_t n = s->run->job->n_disks;
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        s->total += s->run->job->disks[i].fixed.capacity;
    for (size_t i = 0; !rc && i < n; i++)
        rc = bm_replica_run_open(s, i, 0, &s->hows[i], &s->replicas[i],
                                 &s->error);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = s->work(s, i, &s->error);
        s->before += s->run->job->disks[i].fixed.capacity;
    }
    for (size_t i = 0; i < n; i++)
        bm_replica_close(s->replicas[i]);
    return rc;
}

/* One layer; `below` it all is done. */
static int work_on_layer(struct bm_replica_run *s, size_t i, size_t layer)
{
    int rc;

    s->layer = layer;
    rc = bm_replica_run_open(s, i, layer, &s->hows[i], &s->replicas[i],
                             &s->error);
    if (!rc)
        rc = s->work(s, i, &s->error);
    bm_replica_close(s->replicas[i]);
    s->replicas[i] = NULL;
    s->before += layer_size(&s->run->job->disks[i], layer);
    return rc;
}

/* For bm_background. */
static int work_on_lower(void *opaque)
{
    struct bm_replica_run *s = opaque;
    const struct bm_job *job = s->run->job;
    int rc = 0;

    for (size_t i = 0; i < job->n_disks; i++)
        for (size_t k = 0; k < job->disks[i].n_lower; k++)
            s->total += job->disks[i].lower[k].size;
    for (size_t i = 0; !rc && i < job->n_disks; i++)
        for (size_t k = job->disks[i].n_lower; !rc && k > 0; k--)
            rc = work_on_layer(s, i, k);
    return rc;
}

static void staged_free(struct bm_replica_run *s)
{
    if (!s)
        return;
    bm_rate_limit_free(s->rate_limit);
    pthread_cond_destroy(&s->never);
    pthread_mutex_destroy(&s->lock);
    free(s->replicas);
    free(s->hows);
    free(s);
}

static struct bm_replica_run *staged_new(struct bm_run *run,
                                         bm_replica_work work)
{
    struct bm_replica_run *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->never, NULL);
    s->run = run;
    s->work = work;
    s->error = (struct bm_error)BM_ERROR_INIT;
    s->hows = calloc(run->job->n_disks, sizeof *s->hows);
    s->replicas = calloc(run->job->n_disks, sizeof *s->replicas);
    s->rate_limit = bm_rate_limit_new(run->job->limits.bandwidth);
    if (s->hows && s->replicas && s->rate_limit)
        return s;
    staged_free(s);
    return NULL;
}

static int at_work(struct bm_run *run, bm_replica_work work,
                   int (*on)(void *opaque), struct bm_error *err)
{
    struct bm_replica_run *s = staged_new(run, work);
    struct bm_background how = {.work = on,
                                .look = look,
                                .opaque = s,
                                .idle = run->job->limits.guest_latency > 0};
    int rc;

    if (bm_job_before_switch(run->job))
        bm_run_while_paused(run);
    rc = s ? bm_pacing_need(run, err)
           : bm_fail_errno(err, ENOMEM, "cannot move %s", run->job->domain);
    if (!rc) {
        bm_pacing_take(run->pacing, s->rate_limit);
        rc = bm_background_run(&how, err);
    }
    if (run->pacing)
        bm_pacing_take(run->pacing, NULL);
    if (s && s->left)
        return rc; /* the work hangs in it */
    if (rc && s && s->error.code)
        *err = s->error;
    staged_free(s);
    return rc;
}

int bm_replica_run_each(struct bm_run *run, bm_replica_work work,
                        struct bm_error *err)
{
    return at_work(run, work, work_on_all, err);
}

int bm_replica_run_lower(struct bm_run *run, bm_replica_work work,
                         struct bm_error *err)
{
    bool any = false;

    for (size_t i = 0; i < run->job->n_disks; i++)
        any |= run->job->disks[i].n_lower > 0;
    return any ? at_work(run, work, work_on_lower, err) : 0;
}

int bm_replica_run_name_maps(struct bm_run *run, struct bm_error *err)
{
    const char *dir = bm_job_store_dir(run->jobs);

    for (size_t i = 0; run->job->request.rescue && i < run->job->n_disks; i++) {
        struct bm_job_disk *disk = &run->job->disks[i];

        if (disk->rescue.map)
            continue;
        disk->rescue.map = bm_replica_map_name(dir, run->job->id, disk->target);
        if (!disk->rescue.map)
            return bm_fail_errno(err, ENOMEM, "cannot move %s",
                                 run->job->domain);
    }
    return run->job->request.rescue ? bm_run_save(run, NULL, err) : 0;
}

int bm_replica_run_keep_gaps(struct bm_replica_run *s, size_t i,
                             struct bm_error *err)
{
    struct bm_job_disk *disk = &s->run->job->disks[i];
    struct bm_replica_gaps gaps;
    int rc =
        disk->rescue.map ? bm_replica_find_gaps(s->replicas[i], &gaps, err) : 0;

    if (rc || !disk->rescue.map)
        return rc;
    disk->rescue.unreadable_bytes = gaps.unreadable;
    disk->rescue.filled_bytes = gaps.filled;
    disk->rescue.unproven_bytes = gaps.unproven;
    return 0;
}
