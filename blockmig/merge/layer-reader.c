// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/merge/layer-reader.h"

#include "blockmig/run/requests.h"
#include "blockmig/run/pacing.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>
#include <string.h>

int bm_merge_reading_no_memory(const struct bm_merge_reading *r,
                               struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot prove the merge of %s",
                         r->merge->target);
}

char *bm_merge_reading_before(const struct bm_run *run,
                              const struct bm_job_merge *merge)
{
    char *name;

    return asprintf(&name, "%s/%s-merge-%td.before",
                    bm_job_store_dir(run->jobs), run->job->id,
                    merge - run->job->snapshot->merges) < 0
               ? NULL
               : name;
}

struct bm_merge_reading *
bm_merge_reading_new(struct bm_run *run, struct bm_job_merge *merge,
                     int (*work)(struct bm_merge_reading *r),
                     struct bm_error *err)
{
    struct bm_merge_reading *r = calloc(1, sizeof *r);

    if (r) {
        *r = (struct bm_merge_reading){
            .run = run, .merge = merge, .work = work, .error = BM_ERROR_INIT};
        r->before = bm_merge_reading_before(run, merge);
        r->rate_limit = bm_rate_limit_new(run->job->limits.bandwidth);
        if (r->before && r->rate_limit)
            return r;
    }
    bm_merge_reading_free(r);
    bm_fail_errno(err, ENOMEM, "cannot prove the merge of %s", merge->target);
    return NULL;
}

void bm_merge_reading_free(struct bm_merge_reading *r)
{
    if (!r)
        return;
    bm_rate_limit_free(r->rate_limit);
    bm_manifest_close(r->manifest);
    bm_bitmap_free(r->only);
    bm_bitmap_free(r->parts);
    free(r->before);
    free(r);
}

/* --- in the thread of the work --- */

int bm_merge_reading_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct bm_merge_reading *r = opaque;

    r->moved = done;
    if (r->ahead)
        return atomic_load(&r->stop);
    bm_run_take_requests(r->run);
    bm_pacing_tick(r->run->pacing, r->run, done);
    bm_run_progress(r->run, done, total);
    return 0;
}

struct bm_scan bm_merge_reading_scan(struct bm_merge_reading *r,
                                     const struct bm_frozen_chain *view,
                                     const struct bm_bitmap *only)
{
    return (struct bm_scan){.device = view->device,
                            .only = only,
                            .rate_limit = r->rate_limit,
                            .queues = r->queues,
                            .progress = bm_merge_reading_progress,
                            .opaque = r};
}

/* What is below the base its header tells. */
static int side(const struct bm_merge_reading *r, size_t skip,
                struct bm_chain *out, struct bm_error *err)
{
    const struct bm_chain *layers = &r->merge->layers;
    int rc = 0;

    memset(out, 0, sizeof *out);
    for (size_t l = skip; !rc && l < layers->n; l++)
        rc = bm_chain_add(out, &layers->layers[l]);
    rc = rc ? bm_merge_reading_no_memory(r, err) : bm_chain_complete(out, err);
    if (rc)
        bm_chain_clear(out);
    return rc;
}

int bm_merge_reading_open(const struct bm_merge_reading *r, size_t skip,
                          unsigned depth, struct bm_frozen_chain *view,
                          struct bm_error *err)
{
    struct bm_chain chain;
    int rc = side(r, skip, &chain, err);

    if (rc)
        return rc;
    rc = r->beside ? bm_frozen_chain_open_beside(&chain, depth, view, err)
                   : bm_frozen_chain_open(&chain, depth, view, err);
    bm_chain_clear(&chain);
    return rc;
}

static int work(void *opaque)
{
    struct bm_merge_reading *r = opaque;

    return r->work(r);
}

/* --- in the moving thread --- */

static int look(void *opaque, struct bm_error *err)
{
    struct bm_merge_reading *r = opaque;

    if (r->ahead)
        bm_run_take_requests(r->run);
    return bm_stall_timer_check(&r->stall, r->run->job, atomic_load(&r->moved),
                                bm_call_ms(), err);
}

int bm_merge_reading_begin(struct bm_merge_reading *r, struct bm_error *err)
{
    const struct bm_background how = {
        .work = work,
        .look = look,
        .opaque = r,
        .idle = r->run->job->limits.guest_latency > 0};
    int rc = bm_pacing_need(r->run, err);

    if (rc)
        return rc;
    r->queues = bm_pacing_spares(r->run->pacing) ? 1 : bm_frozen_chain_queues();
    bm_pacing_take(r->run->pacing, r->rate_limit);
    if (r->ahead)
        bm_pacing_take_jobs_too(r->run->pacing);
    rc = bm_background_start(&how, &r->gentle, err);
    if (rc)
        bm_pacing_take(r->run->pacing, NULL);
    return rc;
}

int bm_merge_reading_end(struct bm_merge_reading *r, struct bm_error *err)
{
    int rc = bm_background_finish(r->gentle, err);

    r->gentle = NULL;
    bm_pacing_take(r->run->pacing, NULL);
    if (rc && !bm_background_left() && r->error.code)
        *err = r->error;
    return rc;
}

int bm_merge_reading_run(struct bm_merge_reading *r, struct bm_error *err)
{
    int64_t start = bm_now_ms();
    int rc = bm_merge_reading_begin(r, err);

    if (!rc)
        rc = bm_merge_reading_end(r, err);
    r->run->job->result.prove_ms += bm_now_ms() - start;
    return rc;
}
